"""Error rates, costs, thresholds and their intervals, and LLRs, of score files; a command line over metrics/.

python tuneThreshold.py exps/demo/result/eval/trials.scores.txt --p_fa 0.01 --p_miss 0.05 --intervals
python tuneThreshold.py compare exps/a/result/eval/trials.scores.txt exps/b/result/eval/trials.scores.txt
python tuneThreshold.py calibrate test.scores.txt --fit dev.scores.txt --output test.llr.txt
python tuneThreshold.py report a.scores.txt b.scores.txt --output report
"""

import argparse
import string
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from metrics.fields import shown
from metrics.figures import (
    auc,
    eer,
    figures,
    min_dcf,
    p_miss_at,
    threshold_for_p_fa,
    threshold_for_p_miss,
)
from metrics.flags import calibrate_parser, compare_parser, figures_parser, report_parser
from metrics.rates import Floats, error_rates
from metrics.score_files import (
    naming,
    read_conditions,
    read_score_file,
    read_scores,
    score_texts,
)
from metrics.speakers import units_of
from metrics.summary import FigureOptions, Measured, Resampling, measure, replicates
from metrics.text import DIGITS, condition_lines, difference_line, summary_lines
from metrics.trials import ScoredTrials, require_same_trials
from storage.console import print_any_name
from storage.files import write_text, write_texts

if TYPE_CHECKING:
    from audio.recording import Audio
    from metrics.fusion import Calibrated

__all__ = ["auc", "eer", "figures", "min_dcf", "p_miss_at", "threshold_for_p_fa", "threshold_for_p_miss"]


def figure_options(args: argparse.Namespace) -> FigureOptions:
    """The command's options -> which figures to compute."""
    return FigureOptions(
        p_targets=tuple(args.dcf_p_target),
        c_miss=args.dcf_c_miss,
        c_fa=args.dcf_c_fa,
        p_fa=tuple(args.p_fa),
        p_miss=tuple(args.p_miss),
        llr=args.llr,
    )


def resampling(trials: ScoredTrials, args: argparse.Namespace) -> Resampling:
    """Trials, the command's options -> the bootstrap."""
    units = units_of(trials, args.resample, args.speaker_folder, args.utt2spk)
    return Resampling(units, args.resample, args.replicates, args.seed)


def measure_file(name: str, trials: ScoredTrials, args: argparse.Namespace, intervals: bool) -> Measured:
    """Trials of a score file, the command's options -> its figures."""
    with naming(trials.name):
        bootstrap = resampling(trials, args) if intervals else None
        conditions = read_conditions(args.conditions, trials.files) if args.conditions else None
        return measure(name, trials, figure_options(args), bootstrap, conditions)


def compare(args: argparse.Namespace) -> list[str]:
    """The command's options -> its first score file against each other one, by a paired bootstrap."""
    if len(args.scores) < 2:
        raise ValueError("compare: expected at least two score files of the same trials")
    if len({Path(path).resolve() for path in args.scores}) < len(args.scores) or len(args.scores) > 26:
        raise ValueError("compare: expected 2 to 26 different files")
    systems = [read_score_file(path) for path in args.scores]
    for other in systems[1:]:
        require_same_trials(systems[0], other)
    titles = {"eer": "EER"} | {f"min_dcf_{p:g}": f"minDCF({p:g})" for p in args.dcf_p_target}
    options = figure_options(args)
    lines, differences = [], []
    first = None
    for letter, trials in zip(string.ascii_uppercase, systems, strict=False):
        with naming(trials.name):
            figures = options.figures(error_rates(trials.scores, trials.known_labels()))
            drawn = replicate_figures(trials, resampling(trials, args), options)
        values = [f"EER {100 * figures['eer']:.4f} %"]
        values += [f"{title} {figures[name]:.5f}" for name, title in titles.items() if name != "eer"]
        lines.append(f"{letter} = {trials.name}: {', '.join(values)}")
        if first is None:
            first = figures, drawn
            continue
        for name, title in titles.items():
            change = figures[name] - first[0][name]
            differences.append(difference_line(letter, name, title, change, drawn[name] - first[1][name]))
    return [*lines, *differences]


def replicate_figures(
    trials: ScoredTrials, bootstrap: Resampling, options: FigureOptions
) -> dict[str, Floats]:
    """Trials, bootstrap -> each figure in every replicate (R,)."""
    rows = [options.figures(rates) for rates in replicates(trials, bootstrap, options.llr)]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def show(args: argparse.Namespace) -> list[str]:
    """The options without a command -> the figures of one score file."""
    if len(args.scores) > 1:
        raise ValueError(f"expected one score file, or a command first: {', '.join(filter(None, COMMANDS))}")
    path = args.scores[0]
    if args.intervals or args.conditions:
        trials = read_score_file(path)
    else:  # only scores and labels are needed, so that paths may hold blanks
        scores, labels = read_scores(path)
        trials = ScoredTrials(path, scores, labels, [], np.empty((0, 2), dtype=np.int64))
    system = measure_file(path, trials, args, args.intervals)
    labels = trials.known_labels()
    lines = [f"{len(labels)} trials, {np.count_nonzero(labels)} of them target"]
    lines += [*summary_lines(system), *condition_lines(system)]
    if args.store:
        lines += store(args, system)
    return lines


def calibrate(args: argparse.Namespace) -> list[str]:
    """The command's options -> files written, lines about the models and the change of the figures."""
    from metrics import fusion

    refuse_overwriting(args)
    result, notes = calibrated(args)
    first = result.systems[0]
    options = FigureOptions(tuple(args.dcf_p_target), args.dcf_c_miss, args.dcf_c_fa)
    lines = [*fusion.describe(result), *notes, *fusion.gain(result, args.output, options)]
    sides = first.sides[:, 0], first.sides[:, 1]
    write_texts(Path(args.output), score_texts(first.files, sides, result.llr, first.labels))
    if args.csv:
        write_text(Path(args.csv), fusion.csv_text(result, args.prior))
    if args.save:
        write_text(Path(args.save), fusion.saved_text(result.models))
    return [*lines, f"{len(result.llr)} LLRs in {args.output}"]


def calibrated(args: argparse.Namespace) -> "tuple[Calibrated, list[str]]":
    """The options of `calibrate` -> LLRs of its score files, remarks on the quality table."""
    from metrics import fusion
    from metrics.quality import read_quality

    if args.fit and len(args.fit) != len(args.scores):
        raise ValueError(
            f"--fit: expected {len(args.scores)} score files, one for each file to calibrate, in order, "
            f"got {len(args.fit)} ({', '.join(args.fit)})"
        )
    systems = [read_score_file(path, args.cross_validate) for path in args.scores]
    fitting = [read_score_file(path) for path in args.fit]
    quality, notes = None, []
    if args.quality:
        files = {path for trials in (systems[0], *fitting[:1]) for path in trials.files}
        quality, skipped = read_quality(args.quality, sorted(files))
        if skipped:
            notes.append(f"note: no numbers in the table's {', '.join(skipped)}: left out")
    if fitting:
        return fusion.fitted(systems, fitting, quality, args.p_target), notes
    if args.load:
        model = fusion.read_calibration(args.load)
        with naming(args.load):
            return fusion.applied(systems, model, quality), notes
    result = fusion.cross_validated(
        systems,
        quality,
        args.p_target,
        speakers=units_of(systems[0], "speakers", args.speaker_folder, args.utt2spk),
        num_groups=args.num_groups,
        seed=args.seed,
    )
    return result, notes


def refuse_overwriting(args: argparse.Namespace) -> None:
    """Raises ValueError if `calibrate` would write a file twice or over one that it reads."""
    read = [*args.scores, *args.fit, args.load, args.quality, args.utt2spk]
    taken = {Path(path).resolve() for path in read if path}
    for flag, path in {"--output": args.output, "--csv": args.csv, "--save": args.save}.items():
        if not path:
            continue
        if Path(path).resolve() in taken:
            raise ValueError(
                f"{flag} {path}: this command already reads or writes that file; give another name"
            )
        taken.add(Path(path).resolve())


def report(args: argparse.Namespace) -> list[str]:
    """The command's options -> report.html and det.png of one or several score files."""
    try:
        from report import page
    except ModuleNotFoundError as error:
        raise ValueError(f"report needs {error.name}: pip install -r requirements.txt") from None
    from audio.errors import AudioError
    from audio.named import recordings_of_names

    names = short_names(args.scores)
    systems = [
        measure_file(name, read_score_file(path), args, intervals=True)
        for name, path in zip(names, args.scores, strict=True)
    ]
    paths = sorted({path for system in systems for path in system.trials.files})
    recordings = recordings_of_names(args.audio, paths, "--audio")
    rows = {path: row for row, path in enumerate(paths)}

    def listen(path: str) -> "Audio | None":
        try:
            return recordings[rows[path]].whole()
        except AudioError:
            return None

    folder = Path(args.output)
    link = page.linker(folder, lambda path: recordings.file(rows[path]))
    written = page.write(folder, systems, read_audio=listen, link=link)
    return [str(written)]


def short_names(paths: list[str]) -> list[str]:
    """Paths -> names without the first and the last parts that all paths have in common."""
    parts = [Path(path).parts for path in paths]
    while all(len(each) > 1 for each in parts) and len({each[0] for each in parts}) == 1:
        parts = [each[1:] for each in parts]
    while all(len(each) > 1 for each in parts) and len({each[-1] for each in parts}) == 1:
        parts = [each[:-1] for each in parts]
    return ["/".join(each).removesuffix(".scores.txt") for each in parts]


def store(args: argparse.Namespace, system: Measured) -> list[str]:
    """Save the threshold of --rule, a calibration and the scores' origin in a model file -> lines."""
    from evaluation.backends import scores_digest
    from evaluation.cohort import require_cohort
    from evaluation.decisions import IN_MODEL, read_origin, require_current
    from metrics.calibration import fit
    from metrics.error_curve import ErrorCurve
    from storage import checkpoint

    names = {"eer": "EER", "p_fa": "P_fa", "p_miss": "P_miss", "cost": "minDCF"}
    rules = system.options.rules()
    rule = next((rule for rule in rules if rule.startswith(names[args.rule])), None)
    if rule is None:
        raise ValueError(f"--rule {args.rule} needs --{args.rule}")
    model = checkpoint.load_model(args.store)
    origin = read_origin(args.scores[0])
    if model.origin:
        raise ValueError(
            f"--store {args.store}: convert it first: python inferSpeakerNet.py convert {args.store} NEW"
        )
    if origin["weights"] != scores_digest(model, origin["options"].get("backend", "none")):
        raise ValueError(
            f"--store {args.store}: {args.scores[0]} was computed with other weights ({origin['model']})"
        )
    require_current(origin["options"], args.scores[0])
    decision = {
        "threshold": system.figures[rules[rule]],
        "rule": rule,
        "calibration": fit(system.trials.scores, system.trials.known_labels(), names=["score"]).to_dict(),
        "curve": ErrorCurve.of_trials(system.trials.scores, system.trials.known_labels())._asdict(),
        "options": origin["options"],
    }
    cohort = model.cohort
    if origin["cohort"] == IN_MODEL:
        require_cohort(origin, model, args.scores[0])
    elif origin["cohort"]:
        cohort = checkpoint.load_cohort(origin["cohort"])
    checkpoint.save_model(Path(args.store), model._replace(cohort=cohort, decision=decision))
    return [
        f"{args.store} now decides at {decision['threshold']:{DIGITS}} ({rule}): trainSpeakerNet.py --test"
    ]


COMMANDS = {
    "": (figures_parser, show),
    "compare": (compare_parser, compare),
    "calibrate": (calibrate_parser, calibrate),
    "report": (report_parser, report),
}


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line -> options, with `command`: "" for the figures of one score file."""
    words = list(sys.argv[1:] if argv is None else argv)
    command = words[0] if words and words[0] in COMMANDS else ""
    args = COMMANDS[command][0]().parse_args(words[1:] if command else words)
    if not command and args.scores[0] in COMMANDS:  # options before the command
        command = args.scores[0]
        words.remove(command)
        args = COMMANDS[command][0]().parse_args(words)
    return argparse.Namespace(**vars(args), command=command)


def main(argv: list[str] | None = None) -> int:
    """Run the command and print its lines -> exit status."""
    print_any_name()
    args = parse(argv)
    try:
        lines = COMMANDS[args.command][1](args)
    except (OSError, ValueError) as error:
        print(f"tuneThreshold.py: error: {shown(str(error))}", file=sys.stderr)
        return 2
    print(*lines, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
