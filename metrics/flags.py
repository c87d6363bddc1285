"""The command lines of tuneThreshold.py: a parser for each command, whose help teaches it."""

import argparse
from typing import NoReturn

from metrics.score_files import RESAMPLING

FIGURES = """EER, minDCF, thresholds and other figures of a score file. A trial is accepted if its
score is at least the threshold. Probabilities are fractions: 0.01 is 1 %.

commands, each with its own --help:
  tuneThreshold.py compare A B [C ...]    is A better than B? By score files of the same trials
  tuneThreshold.py calibrate A [B ...]    scores of one or several systems -> log-likelihood ratios
  tuneThreshold.py report A [B ...]       a page to read, look at and listen to"""
REPORT = """A page with figures and their intervals, DET curves, scores, conditions, and the trials that went
wrong most to listen to, of one or several score files; and det.png.

  tuneThreshold.py report a.scores.txt b.scores.txt --audio data/voxceleb1/test/wav --output report"""
COMPARE = """Is the first better than each other one? The difference of EER and minDCF with its 95 %
interval, by a bootstrap over the speakers that both have. The score files hold the same trials.

  tuneThreshold.py compare exps/a/result/eval/trials.scores.txt exps/b/result/eval/trials.scores.txt"""
CALIBRATE = """Scores -> log-likelihood ratios (LLRs), by a logistic regression fitted on other trials. One
score file: calibration. Several of the same trials, from several systems: their fusion. Test trials need
labels only for figures and for --cross_validate.

  on trials of development, in the order of the systems:
    tuneThreshold.py calibrate a.test.txt b.test.txt --fit a.dev.txt b.dev.txt --output llr.txt
  without such: each trial by the speakers that aren't in it, who are folders of the paths:
    tuneThreshold.py calibrate a.test.txt --cross_validate --speaker_folder 0 --output llr.txt

--quality adds the smaller and the greater value of both sides, for every column of numbers: duration_s
(any name that starts with `duration` becomes a logarithm), norm, ..."""


class Parser(argparse.ArgumentParser):
    """Tells a mistake in one line."""

    def error(self, message: str) -> NoReturn:
        """Exits with 2."""
        self.exit(2, f"tuneThreshold.py: error: {message}\n")


class Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Descriptions keep their lines, options tell the defaults that say something."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        empty = action.default is False or action.default in (None, "") or action.default == []
        return action.help if empty else super()._get_help_string(action)


def prior(text: str) -> float:
    """An option's text -> a probability that is neither 0 nor 1."""
    if not 0.0 < float(text) < 1.0:
        raise argparse.ArgumentTypeError(f"a prior lies between 0 and 1, got {text}")
    return float(text)


def file_name(text: str) -> str:
    """An option's text -> the same, unless it is empty, as a variable of a shell may be."""
    if not text:
        raise argparse.ArgumentTypeError("expected a file, got an empty name")
    return text


def _parser(command: str, description: str) -> Parser:
    """A command's word -> its parser with the options that all commands have."""
    made = Parser(
        f"tuneThreshold.py {command}".rstrip(),
        description=description,
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    add = made.add_argument
    add("scores", nargs="+", help="file with lines `score enrol test label`, as --eval writes it")
    add("--dcf_p_target", type=float, nargs="+", default=[0.05, 0.01, 0.001], help="priors of minDCF")
    add("--dcf_c_miss", type=float, default=1.0, help="cost of a miss")
    add("--dcf_c_fa", type=float, default=1.0, help="cost of a false alarm")
    add("--speaker_folder", type=int, help="folder that names the speaker, from 0; default: what fits")
    add("--utt2spk", default="", help="file with lines `path speaker`, instead of --speaker_folder")
    return made


def _bootstrap_flags(made: Parser) -> None:
    add = made.add_argument
    add("--resample", choices=RESAMPLING, default="speakers", help="what the bootstrap draws")
    add("--replicates", type=int, default=1000, help="how often the bootstrap draws")
    add("--seed", type=int, default=0, help="of the bootstrap, from 0")


def _figure_flags(made: Parser) -> list[argparse.Action]:
    add = made.add_argument
    return [
        add("--p_fa", type=float, nargs="+", default=[0.01, 0.001], help="P_fa to find thresholds for"),
        add("--p_miss", type=float, nargs="+", default=[], help="P_miss to find thresholds for"),
        add(
            "--llr",
            action="store_true",
            help="scores are natural log-likelihood ratios: also Cllr and actDCF",
        ),
        add("--intervals", action="store_true", help="95 %% intervals of all figures and thresholds"),
        add(
            "--conditions", default="", help="table by tabs: header, path, attributes; figures for each group"
        ),
    ]


def parser() -> Parser:
    """The options without a command."""
    made = _parser("", FIGURES)
    _figure_flags(made)
    made.add_argument(
        "--store", default="", metavar="MODEL", help="put a threshold and a calibration into this model file"
    )
    made.add_argument(
        "--rule",
        choices=("eer", "p_fa", "p_miss", "cost"),
        default="eer",
        help="which threshold to store: the first --p_fa, --p_miss or --dcf_p_target, or the EER's",
    )
    _bootstrap_flags(made)
    return made


def compare_parser() -> Parser:
    """The options of `compare`."""
    made = _parser("compare", COMPARE)
    _bootstrap_flags(made)
    for action in _figure_flags(made):  # taken as ever, but they change nothing here
        action.help = argparse.SUPPRESS
    return made


def report_parser() -> Parser:
    """The options of `report`."""
    made = _parser("report", REPORT)
    made.add_argument("--output", type=file_name, required=True, metavar="FOLDER", help="for the report")
    made.add_argument("--audio", default=".", metavar="FOLDER", help="where the paths of the trials start")
    _bootstrap_flags(made)
    _figure_flags(made)
    return made


def calibrate_parser() -> Parser:
    """The options of `calibrate`."""
    made = _parser("calibrate", CALIBRATE)
    add, way = made.add_argument, made.add_mutually_exclusive_group(required=True).add_argument
    way("--fit", nargs="+", default=[], metavar="DEV", help="score files of other trials, with labels")
    way("--cross_validate", action="store_true", help="fit on the other speakers of the same trials")
    way("--load", default="", metavar="JSON", help="apply what --save wrote")
    add(
        "--output",
        type=file_name,
        required=True,
        metavar="FILE",
        help="score file of the LLRs, natural logarithm",
    )
    add("--csv", default="", metavar="FILE", help="table enrol,test,llr,probability[,label] by commas")
    add("--prior", type=prior, default=0.5, help="of a target, for the probabilities in --csv")
    add("--save", default="", metavar="JSON", help="weights and offset, for --load")
    add("--quality", default="", metavar="TSV", help="table by tabs: header, path, numbers of the utterance")
    add("--p_target", type=prior, default=0.5, help="prior to fit for; 0.5 minimises Cllr")
    add("--num_groups", type=int, default=5, help="of speakers, for --cross_validate")
    add("--seed", type=int, default=0, help="of the speakers' groups, from 0")
    return made
