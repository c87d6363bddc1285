"""The command lines of tuneThreshold.py: a parser for each command."""

import argparse
import os
from typing import NoReturn

from metrics.speakers import RESAMPLING

FIGURES = """EER, minDCF, thresholds and other figures of a score file. A trial is accepted if its
score is at least the threshold. Probabilities are fractions: 0.01 is 1 %.

commands, each with its own --help:
  tuneThreshold.py compare A B [C ...]    is A better than B? Score files of the same trials
  tuneThreshold.py calibrate A [B ...]    scores of one or several systems -> log-likelihood ratios
  tuneThreshold.py report A [B ...]       a web page with figures, plots and recordings"""
REPORT = """A page with figures and their intervals, DET curves, scores, conditions, and the worst errors to
listen to, of one or several score files; and det.png.

  tuneThreshold.py report a.scores.txt b.scores.txt --audio data/voxceleb1/test/wav --output report"""
COMPARE = """Is the first better than each other one? The difference of EER and minDCF with its 95 %
interval, by a paired bootstrap over the speakers. The score files must hold the same trials.

  tuneThreshold.py compare exps/a/result/eval/trials.scores.txt exps/b/result/eval/trials.scores.txt"""
CALIBRATE = """Scores -> log-likelihood ratios (LLRs), by a logistic regression fitted on other trials. One
score file: calibration. Several of the same trials, from several systems: their fusion. Test trials need
labels only for figures and for --cross_validate.

  fitted on development trials, in the order of the systems:
    tuneThreshold.py calibrate a.test.txt b.test.txt --fit a.dev.txt b.dev.txt --output llr.txt
  without these, each trial by models fitted on other speakers; a folder of the path names the speaker:
    tuneThreshold.py calibrate a.test.txt --cross_validate --speaker_folder 0 --output llr.txt

--quality adds the smaller and the greater value of both sides for every numeric column, for instance
duration_s or norm; columns whose names start with `duration` become logarithms."""


class Parser(argparse.ArgumentParser):
    """Reports errors in one line."""

    def error(self, message: str) -> NoReturn:
        """Exits with 2."""
        self.exit(2, f"tuneThreshold.py: error: {message}\n")


class Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of descriptions, and omits empty defaults."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        empty = action.default is False or action.default in (None, "") or action.default == []
        return action.help if empty else super()._get_help_string(action)


def prior(text: str) -> float:
    """Text of an option -> probability, neither 0 nor 1."""
    if not 0.0 < float(text) < 1.0:
        raise argparse.ArgumentTypeError(f"a prior must be between 0 and 1, got {text}")
    return float(text)


def path(text: str) -> str:
    """`~/x` -> the path in the home directory, which shells expand only at the start of a word."""
    return os.path.expanduser(text)  # noqa: PTH111  (a Path would turn "" into ".")


def file_name(text: str) -> str:
    """As path; an empty name, as from an unset shell variable, is an error."""
    if not text:
        raise argparse.ArgumentTypeError("expected a file, got an empty name")
    return path(text)


def _new_parser(command: str, description: str) -> Parser:
    """Name of a command -> its parser with the options that all commands have."""
    parser = Parser(
        f"tuneThreshold.py {command}".rstrip(),
        description=description,
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "scores",
        type=path,
        nargs="+",
        help="file with lines `score enrol test label` (as --eval writes it) or `enrol test score label`",
    )
    add("--dcf_p_target", type=float, nargs="+", default=[0.05, 0.01, 0.001], help="priors of minDCF")
    add("--dcf_c_miss", type=float, default=1.0, help="cost of a miss")
    add("--dcf_c_fa", type=float, default=1.0, help="cost of a false alarm")
    add(
        "--speaker_folder",
        type=int,
        help="folder that names the speaker, from 0; default: the first that fits",
    )
    add(
        "--utt2spk", type=path, default="", help="file with lines `path speaker`, instead of --speaker_folder"
    )
    return parser


def _bootstrap_flags(parser: Parser) -> None:
    add = parser.add_argument
    add("--resample", choices=RESAMPLING, default="speakers", help="what the bootstrap draws")
    add("--replicates", type=int, default=1000, help="how often the bootstrap draws")
    add("--seed", type=int, default=0, help="of the bootstrap's random draws, from 0")


def _figure_flags(parser: Parser) -> list[argparse.Action]:
    add = parser.add_argument
    return [
        add(
            "--p_fa",
            type=float,
            nargs="+",
            default=[0.01, 0.001],
            help="false alarm rates to determine thresholds for",
        ),
        add("--p_miss", type=float, nargs="+", default=[], help="miss rates to determine thresholds for"),
        add(
            "--llr",
            action="store_true",
            help="scores are natural log-likelihood ratios: also Cllr and actDCF",
        ),
        add("--intervals", action="store_true", help="95 %% intervals of all figures and thresholds"),
        add(
            "--conditions",
            type=path,
            default="",
            help="tab-separated table with a header: path, attributes; adds figures for each group",
        ),
    ]


def figures_parser() -> Parser:
    """The options without a command."""
    parser = _new_parser("", FIGURES)
    _figure_flags(parser)
    parser.add_argument(
        "--store",
        type=path,
        default="",
        metavar="MODEL",
        help="save a threshold and a calibration in this model file",
    )
    parser.add_argument(
        "--rule",
        choices=("eer", "p_fa", "p_miss", "cost"),
        default="eer",
        help="which threshold to store: the first --p_fa, --p_miss or --dcf_p_target, or the EER's",
    )
    _bootstrap_flags(parser)
    return parser


def compare_parser() -> Parser:
    """The options of `compare`."""
    parser = _new_parser("compare", COMPARE)
    _bootstrap_flags(parser)
    for action in _figure_flags(parser):  # accepted, but they have no effect here
        action.help = argparse.SUPPRESS
    return parser


def report_parser() -> Parser:
    """The options of `report`."""
    parser = _new_parser("report", REPORT)
    parser.add_argument("--output", type=file_name, required=True, metavar="FOLDER", help="of the report")
    parser.add_argument(
        "--audio",
        type=path,
        default=".",
        metavar="FOLDER",
        help="that the paths of the trials are relative to",
    )
    _bootstrap_flags(parser)
    _figure_flags(parser)
    return parser


def calibrate_parser() -> Parser:
    """The options of `calibrate`."""
    parser = _new_parser("calibrate", CALIBRATE)
    add, way = parser.add_argument, parser.add_mutually_exclusive_group(required=True).add_argument
    way(
        "--fit",
        type=path,
        nargs="+",
        default=[],
        metavar="DEV",
        help="score files of other trials, with labels",
    )
    way("--cross_validate", action="store_true", help="fit on the other speakers of the same trials")
    way("--load", type=path, default="", metavar="JSON", help="apply a calibration written by --save")
    add(
        "--output",
        type=file_name,
        required=True,
        metavar="FILE",
        help="score file of the LLRs, natural logarithm",
    )
    add(
        "--csv",
        type=path,
        default="",
        metavar="FILE",
        help="comma-separated table enrol,test,llr,probability[,label]",
    )
    add("--prior", type=prior, default=0.5, help="prior of a target for the probabilities in --csv")
    add("--save", type=path, default="", metavar="JSON", help="file for the weights and offset, for --load")
    add(
        "--quality",
        type=path,
        default="",
        metavar="TSV",
        help="tab-separated table with a header: path, numbers",
    )
    add("--p_target", type=prior, default=0.5, help="prior to fit for; 0.5 minimises Cllr")
    add("--num_groups", type=int, default=5, help="groups of speakers for --cross_validate")
    add("--seed", type=int, default=0, help="of the random division into groups, from 0")
    return parser
