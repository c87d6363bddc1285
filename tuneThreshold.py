"""Error rates, costs, thresholds and their intervals; LLRs: functions over arrays, commands over files.

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

from metrics.bootstrap import interval
from metrics.figures import (
    LOW_P_FA,
    auc,
    eer,
    figures,
    min_dcf,
    p_miss_at,
    threshold_for_p_fa,
    threshold_for_p_miss,
)
from metrics.flags import calibrate_parser, compare_parser, parser, report_parser
from metrics.rates import error_rates
from metrics.score_files import (
    ScoreFile,
    naming,
    read_conditions,
    read_score_file,
    read_scores,
    require_same_trials,
    score_text,
    units_of,
)
from metrics.summary import Measured, Resampling, Wanted, measure, replicates
from storage.files import write_text

if TYPE_CHECKING:
    from audio.recording import Audio

__all__ = ["auc", "eer", "figures", "min_dcf", "p_miss_at", "threshold_for_p_fa", "threshold_for_p_miss"]


def wanted(args: argparse.Namespace) -> Wanted:
    """The command's options -> which figures it finds."""
    return Wanted(
        tuple(args.dcf_p_target),
        args.dcf_c_miss,
        args.dcf_c_fa,
        tuple(args.p_fa),
        tuple(args.p_miss),
        args.llr,
    )


def drawing(trials: ScoreFile, args: argparse.Namespace) -> Resampling:
    """Trials, the command's options -> the bootstrap."""
    units = units_of(trials, args.resample, args.speaker_folder, args.utt2spk)
    return Resampling(units, args.resample, args.replicates, args.seed)


def summary(found: Measured) -> list[str]:
    """What was measured -> the lines to print; thresholds to the last digit."""
    rates, wants = found.rates, found.wanted

    def shown(name: str, form: str, scale: float = 1.0, unit: str = "") -> str:
        text = f"{scale * found.figures[name]:{form}}{unit}"
        if not found.intervals:
            return text
        limits = (f"{scale * end:{form or '.6g'}}" for end in found.intervals[name])
        return f"{text} ({' to '.join(limits)})"

    def percent(name: str) -> str:
        return shown(name, ".4f", 100.0, " %")

    lines = [f"EER {percent('eer')} at threshold {shown('threshold', '')}"]
    for p in wants.p_targets:
        costs = f"(p_target {p:g}, c_miss {wants.c_miss:g}, c_fa {wants.c_fa:g})"
        least, threshold = shown(f"min_dcf_{p:g}", ".5f"), shown(f"threshold_min_dcf_{p:g}", "")
        lines.append(f"minDCF {least} at threshold {threshold} {costs}")
        if wants.llr:
            lines.append(f"actDCF {shown(f'act_dcf_{p:g}', '.5f')} {costs}")
    points = [("P_fa", p, threshold_for_p_fa(rates, p)) for p in wants.p_fa]
    points += [("P_miss", p, threshold_for_p_miss(rates, p)) for p in wants.p_miss]
    for kind, p, i in points:
        lines.append(
            f"{kind} <= {100 * p:g} %: threshold {shown(f'threshold_{kind.lower()}_{p}', '')} gives "
            f"P_fa {100 * rates.p_fa[i]:.4f} %, P_miss {100 * rates.p_miss[i]:.4f} %"
        )
    lines += [f"P_miss {percent(f'p_miss_at_p_fa_{p:g}')} at P_fa {100 * p:g} %" for p in LOW_P_FA]
    lines += [f"AUC {percent('auc')}", f"minCllr {shown('min_cllr', '.5f')} bit"]
    return [*lines, f"Cllr {shown('cllr', '.5f')} bit"] if wants.llr else lines


def breakdown(found: Measured) -> list[str]:
    """What was measured -> a line for each group of each attribute."""
    lines, p = [], found.wanted.p_targets[0]
    for row in found.conditions:
        told = "no error rates without both classes"
        if row.eer is not None:
            told = f"EER {100 * row.eer:.4f} %, minDCF {row.min_dcf:.5f} (p_target {p:g})"
        counts = f"{row.trials} trials, {row.targets} of them target"
        lines.append(f"{row.attribute} {row.group}: {counts}: {told}")
    return lines


def compare(args: argparse.Namespace) -> list[str]:
    """The command's options -> its first score file against each other one, by a paired bootstrap."""
    if len(args.scores) < 2:
        raise ValueError("compare: expected at least two score files of the same trials")
    if len({Path(path).resolve() for path in args.scores}) < len(args.scores) or len(args.scores) > 26:
        raise ValueError("compare: expected 2 to 26 different files")
    files = [read_score_file(path) for path in args.scores]
    for file in files[1:]:
        require_same_trials(files[0], file)
    names = {"eer": "EER"} | {f"min_dcf_{p:g}": f"minDCF({p:g})" for p in args.dcf_p_target}
    wants, found, drawn = wanted(args), [], []
    for file in files:
        with naming(file.path):
            found.append(wants.find(error_rates(file.scores, file.known_labels())))
            rows = [wants.find(rates) for rates in replicates(file, drawing(file, args), wants.llr)]
            drawn.append({name: np.array([row[name] for row in rows]) for name in rows[0]})
    letters, lines = string.ascii_uppercase, []
    for letter, file, point in zip(letters, files, found, strict=False):
        values = [f"EER {100 * point['eer']:.4f} %"]
        values += [f"{label} {point[name]:.5f}" for name, label in names.items() if name != "eer"]
        lines.append(f"{letter} = {file.path}: {', '.join(values)}")
    for i in range(1, len(files)):
        for name, label in names.items():
            scale, form, unit = (100.0, "+.3f", " points") if name == "eer" else (1.0, "+.5f", "")
            change = scale * (found[i][name] - found[0][name])
            low, high = interval(scale * (drawn[i][name] - drawn[0][name]))
            verdict = "no difference beyond what chance explains"
            if low > 0.0 or high < 0.0:
                verdict = f"{letters[0] if low > 0.0 else letters[i]} is better"
            limits = f"({low:{form}} to {high:{form}})"
            lines.append(f"{label} of {letters[i]} minus A: {change:{form}}{unit} {limits}: {verdict}")
    return lines


def show(args: argparse.Namespace) -> list[str]:
    """The options without a command -> the figures of one score file."""
    if len(args.scores) > 1:
        raise ValueError(f"expected one score file, or a command first: {', '.join(filter(None, COMMANDS))}")
    path = args.scores[0]
    with naming(path):
        if args.intervals or args.conditions:
            trials = read_score_file(path)
        else:  # paths with blanks don't matter
            trials = ScoreFile(path, *read_scores(path), [], np.empty((0, 2), dtype=np.int64))
        drawn = drawing(trials, args) if args.intervals else None
        groups = read_conditions(args.conditions, trials.files) if args.conditions else None
        found = measure(path, trials, wanted(args), drawn, groups)
    labels = trials.known_labels()
    counts = f"{len(labels)} trials, {np.count_nonzero(labels)} of them target"
    stored = store(args, found) if args.store else []
    return [counts, *summary(found), *breakdown(found), *stored]


def calibrate(args: argparse.Namespace) -> list[str]:
    """The command's options -> files written, lines that say what was fitted and what it brought."""
    from metrics import fusion

    read = [*args.scores, *args.fit, args.load, args.quality, args.utt2spk]
    fusion.refuse_overwriting({"--output": args.output, "--csv": args.csv, "--save": args.save}, read)
    if args.cross_validate:
        done = fusion.cross_validated(
            *(args.scores, args.quality, args.p_target),
            **{name: getattr(args, name) for name in ("speaker_folder", "utt2spk", "num_groups", "seed")},
        )
    elif args.fit:
        done = fusion.fitted(args.scores, args.fit, args.quality, args.p_target)
    else:
        done = fusion.loaded(args.scores, args.load, args.quality)
    first = done.systems[0]
    wants = Wanted(tuple(args.dcf_p_target), args.dcf_c_miss, args.dcf_c_fa)
    lines = [*fusion.told(done), *fusion.gain(done, args.output, wants)]
    write_text(Path(args.output), score_text(first.files, first.sides, done.llr, first.labels))
    if args.csv:
        write_text(Path(args.csv), fusion.csv_text(done, args.prior))
    if args.save:
        write_text(Path(args.save), fusion.saved_text(done.models))
    return [*lines, f"{len(done.llr)} LLRs in {args.output}"]


def report(args: argparse.Namespace) -> list[str]:
    """The command's options -> report.html and det.png of one or several score files."""
    try:
        from report import page
    except ModuleNotFoundError as error:
        raise ValueError(f"report needs {error.name}: pip install -r requirements.txt") from None
    from audio.recording import AudioError
    from audio.recordings import Recordings

    found = []
    for path, name in zip(args.scores, short_names(args.scores), strict=True):
        trials = read_score_file(path)
        with naming(path):
            groups = read_conditions(args.conditions, trials.files) if args.conditions else None
            found.append(measure(name, trials, wanted(args), drawing(trials, args), groups))

    paths = sorted({path for system in found for path in system.trials.files})
    recordings, rows = Recordings(args.audio, paths), {path: row for row, path in enumerate(paths)}

    def listen(path: str) -> "Audio | None":
        try:
            return recordings[rows[path]].whole()
        except AudioError:
            return None

    folder = Path(args.output)
    written = page.write(folder, found, listen, page.linker(folder, args.audio), None, [])
    return [str(written)]


def short_names(paths: list[str]) -> list[str]:
    """Paths -> names without the folders that all share, and without the ending that all share."""
    parts = [Path(path).parts for path in paths]
    while all(len(each) > 1 for each in parts) and len({each[0] for each in parts}) == 1:
        parts = [each[1:] for each in parts]
    while all(len(each) > 1 for each in parts) and len({each[-1] for each in parts}) == 1:
        parts = [each[:-1] for each in parts]
    return ["/".join(each).removesuffix(".scores.txt") for each in parts]


def store(args: argparse.Namespace, found: Measured) -> list[str]:
    """Put the rule's threshold, a calibration and what made the scores into a model file -> what to say."""
    from evaluation.decisions import IN_MODEL, read_origin
    from metrics.calibration import fit
    from storage import checkpoint

    names = {"eer": "EER", "p_fa": "P_fa", "p_miss": "P_miss", "cost": "minDCF"}
    rules = found.wanted.rules()
    rule = next((rule for rule in rules if rule.startswith(names[args.rule])), None)
    if rule is None:
        raise ValueError(f"--rule {args.rule} needs --{args.rule}")
    model, origin = checkpoint.load_model(args.store), read_origin(args.scores[0])
    if model.origin:
        raise ValueError(f"--store {args.store}: turn it into this trainer's by inferSpeakerNet.py convert")
    if origin["weights"] != checkpoint.digest(model.weights):
        raise ValueError(
            f"--store {args.store}: {args.scores[0]} was made with {origin['model']} or older weights"
        )
    decision = {
        "threshold": found.figures[rules[rule]],
        "rule": rule,
        "calibration": fit(found.trials.scores, found.trials.known_labels(), names=["score"]).to_dict(),
        "options": origin["options"],
    }
    cohort = model.cohort if origin["cohort"] == IN_MODEL else None
    if origin["cohort_digest"]:
        cohort = checkpoint.load_cohort(origin["cohort"])
    checkpoint.save_model(Path(args.store), model._replace(cohort=cohort, decision=decision))
    return [f"{args.store} now decides at {decision['threshold']:.6g} ({rule}): trainSpeakerNet.py --test"]


COMMANDS = {
    "": (parser, show),
    "compare": (compare_parser, compare),
    "calibrate": (calibrate_parser, calibrate),
    "report": (report_parser, report),
}


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The words of the command line -> the options, `command` among them; none is the figures' own."""
    words = list(sys.argv[1:] if argv is None else argv)
    command = words[0] if words and words[0] in COMMANDS else ""
    args = COMMANDS[command][0]().parse_args(words[1:] if command else words)
    if not command and args.scores[0] in COMMANDS:  # options before the command
        command = args.scores[0]
        words.remove(command)
        args = COMMANDS[command][0]().parse_args(words)
    return argparse.Namespace(**vars(args), command=command)


def main(argv: list[str] | None = None) -> int:
    """Print what the command finds."""
    args = parse(argv)
    try:
        lines = COMMANDS[args.command][1](args)
    except (OSError, ValueError) as error:
        print(f"tuneThreshold.py: error: {error}", file=sys.stderr)
        return 2
    print(*lines, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
