"""Error rates, costs, thresholds and their intervals: functions over arrays, a command over score files.

python tuneThreshold.py exps/demo/result/eval/trials.scores.txt --p_fa 0.01 --p_miss 0.05 --intervals
python tuneThreshold.py compare exps/a/result/eval/trials.scores.txt exps/b/result/eval/trials.scores.txt
"""

import argparse
import sys
from typing import NamedTuple, NoReturn

import numpy as np

from scoring._bootstrap import interval, resampled
from scoring._costs import act_dcf, cllr, cost, min_cllr
from scoring._files import (
    RESAMPLING,
    ScoreFile,
    condition_groups,
    read_conditions,
    read_score_file,
    read_scores,
    require_same_trials,
    units_of,
)
from scoring._rates import ErrorRates, Floats, error_rates, pick, turns

LOW_P_FA = (0.01, 0.001)  # where P_miss is told


class Eer(NamedTuple):
    """Equal error rate, as a fraction, and the threshold it belongs to."""

    value: float
    threshold: float


class MinDcf(NamedTuple):
    """Least normalised detection cost, at most 1, and the threshold it belongs to."""

    value: float
    threshold: float


def _crossing(gap: Floats) -> tuple[int, int, float]:
    """Gap (K,) that rises from below 0 -> points around its zero, the zero's share of the way between."""
    right = int(np.searchsorted(gap, 0.0))
    left = right - 1
    return left, right, float(-gap[left] / (gap[right] - gap[left]))


def eer(rates: ErrorRates) -> Eer:
    """Linear interpolation between the two operating points around P_miss = P_fa."""
    left, right, share = _crossing(rates.p_miss - rates.p_fa)  # rises from -1 to 1
    value = rates.p_miss[left] + share * (rates.p_miss[right] - rates.p_miss[left])
    step = rates.thresholds[right] - rates.thresholds[left]
    return Eer(float(value), float(rates.thresholds[left] + share * step))


def p_miss_at(rates: ErrorRates, p_fa: float) -> float:
    """P_miss at P_fa < 1, interpolated linearly between the two operating points around it, as for EER."""
    if not 0.0 <= p_fa < 1.0:
        raise ValueError(f"expected 0 <= P_fa < 1, got {p_fa} (1 % is 0.01)")
    left, right, share = _crossing(p_fa - rates.p_fa)
    return float(rates.p_miss[left] + share * (rates.p_miss[right] - rates.p_miss[left]))


def min_dcf(rates: ErrorRates, p_target: float = 0.05, c_miss: float = 1.0, c_fa: float = 1.0) -> MinDcf:
    """Least cost C_miss P_miss p + C_fa P_fa (1 - p), over that of the better blind decision.

    NIST SRE 2016 evaluation plan, eq. 2 to 4. Accept-all and reject-all are among the thresholds.
    """
    costs = cost(rates, p_target, c_miss, c_fa)
    best = int(np.argmin(costs))
    return MinDcf(float(costs[best]), float(rates.thresholds[best]))


def auc(rates: ErrorRates) -> float:
    """Probability that a target scores above a nontarget, ties counted half: the area under the ROC."""
    hits = 1.0 - (rates.p_miss[1:] + rates.p_miss[:-1]) / 2.0
    return float((-np.diff(rates.p_fa) * hits).sum())


def figures(
    rates: ErrorRates, p_targets: list[float], c_miss: float, c_fa: float, llr: bool = False
) -> dict[str, float]:
    """Operating points -> every figure and its threshold by name, fractions; llr: scores are natural LLRs."""
    equal, corners = eer(rates), pick(rates, turns(rates))
    found = {"eer": equal.value, "threshold": equal.threshold}
    for p in p_targets:
        least = min_dcf(corners, p, c_miss, c_fa)
        found |= {f"min_dcf_{p:g}": least.value, f"threshold_min_dcf_{p:g}": least.threshold}
        if llr:
            found[f"act_dcf_{p:g}"] = act_dcf(rates, p, c_miss, c_fa)
    found |= {f"p_miss_at_p_fa_{p:g}": p_miss_at(rates, p) for p in LOW_P_FA}
    found |= {"auc": auc(corners), "min_cllr": min_cllr(corners)}
    return found | {"cllr": cllr(rates)} if llr else found


def threshold_for_p_fa(rates: ErrorRates, p_fa: float) -> int:
    """Largest P_fa allowed -> index of the lowest threshold that keeps it."""
    return int(np.argmax(rates.p_fa <= _probability("P_fa", p_fa)))


def threshold_for_p_miss(rates: ErrorRates, p_miss: float) -> int:
    """Largest P_miss allowed -> index of the highest threshold that keeps it."""
    return int(np.searchsorted(rates.p_miss, _probability("P_miss", p_miss), side="right")) - 1


def _probability(name: str, value: float) -> float:
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} is a fraction from 0 to 1, got {value} (1 % is 0.01)")
    return value


def breakdown(trials: ScoreFile, args: argparse.Namespace) -> list[str]:
    """Trials -> a line for each group of each attribute."""
    lines, p = [], args.dcf_p_target[0]
    for attribute, values in read_conditions(args.conditions, trials.files).items():
        for name, chosen in condition_groups(values, trials.sides).items():
            labels = trials.labels[chosen]
            line = f"{attribute} {name}: {len(labels)} trials, {np.count_nonzero(labels)} of them target: "
            if len(np.unique(labels)) < 2:
                lines.append(line + "no error rates without both classes")
                continue
            rates = error_rates(trials.scores[chosen], labels)
            least = min_dcf(rates, p, args.dcf_c_miss, args.dcf_c_fa).value
            lines.append(f"{line}EER {100 * eer(rates).value:.4f} %, minDCF {least:.5f} (p_target {p:g})")
    return lines


def _measure(rates: ErrorRates, args: argparse.Namespace) -> dict[str, float]:
    """Operating points, the command's options -> every figure and every threshold that it finds, by name."""
    found = figures(rates, args.dcf_p_target, args.dcf_c_miss, args.dcf_c_fa, args.llr)
    points = {f"threshold_p_fa_{p}": threshold_for_p_fa(rates, p) for p in args.p_fa}
    points |= {f"threshold_p_miss_{p}": threshold_for_p_miss(rates, p) for p in args.p_miss}
    return found | {name: float(rates.thresholds[i]) for name, i in points.items()}


def bootstrap(trials: ScoreFile, args: argparse.Namespace) -> dict[str, Floats]:
    """Trials, the command's options -> each figure in every replicate (R,)."""
    units = units_of(trials, args.resample, args.speaker_folder, args.utt2spk)
    rates = resampled(trials.scores, trials.labels, units, args.replicates, args.seed, args.llr)
    drawn = [_measure(replicate, args) for replicate in rates]
    return {name: np.array([found[name] for found in drawn]) for name in drawn[0]}


def summary(rates: ErrorRates, args: argparse.Namespace, drawn: dict[str, Floats]) -> list[str]:
    """Operating points, options, replicates or {} -> the lines to print; thresholds to the last digit."""
    found = _measure(rates, args)

    def shown(name: str, form: str, scale: float = 1.0, unit: str = "") -> str:
        text = f"{scale * found[name]:{form}}{unit}"
        if not drawn:
            return text
        least = -np.inf if name.startswith("threshold") else 0.0
        most = np.inf if name.startswith(("threshold", "act_dcf", "cllr")) else 1.0
        limits = (f"{scale * x:{form or '.6g'}}" for x in interval(drawn[name], found[name], least, most))
        return f"{text} ({' to '.join(limits)})"

    def percent(name: str) -> str:
        return shown(name, ".4f", 100.0, " %")

    lines = [f"EER {percent('eer')} at threshold {shown('threshold', '')}"]
    for p in args.dcf_p_target:
        costs = f"(p_target {p:g}, c_miss {args.dcf_c_miss:g}, c_fa {args.dcf_c_fa:g})"
        least, threshold = shown(f"min_dcf_{p:g}", ".5f"), shown(f"threshold_min_dcf_{p:g}", "")
        lines.append(f"minDCF {least} at threshold {threshold} {costs}")
        if args.llr:
            lines.append(f"actDCF {shown(f'act_dcf_{p:g}', '.5f')} {costs}")
    points = [("P_fa", p, threshold_for_p_fa(rates, p)) for p in args.p_fa]
    points += [("P_miss", p, threshold_for_p_miss(rates, p)) for p in args.p_miss]
    for kind, p, i in points:
        lines.append(
            f"{kind} <= {100 * p:g} %: threshold {shown(f'threshold_{kind.lower()}_{p}', '')} gives "
            f"P_fa {100 * rates.p_fa[i]:.4f} %, P_miss {100 * rates.p_miss[i]:.4f} %"
        )
    lines += [f"P_miss {percent(f'p_miss_at_p_fa_{p:g}')} at P_fa {100 * p:g} %" for p in LOW_P_FA]
    lines += [f"AUC {percent('auc')}", f"minCllr {shown('min_cllr', '.5f')} bit"]
    return [*lines, f"Cllr {shown('cllr', '.5f')} bit"] if args.llr else lines


def compare(files: list[ScoreFile], args: argparse.Namespace) -> list[str]:
    """Score files of the same trials -> the first against each other one, by a paired bootstrap."""
    names = {"eer": "EER"} | {f"min_dcf_{p:g}": f"minDCF({p:g})" for p in args.dcf_p_target}
    found = [_measure(error_rates(file.scores, file.labels), args) for file in files]
    drawn = [bootstrap(file, args) for file in files]
    lines = []
    for file, point in zip(files, found, strict=True):
        values = (f"{label} {point[name]:.6f}" for name, label in names.items())
        lines.append(f"{file.path}: {', '.join(values)}")
    first = files[0].path
    for i, other in enumerate((file.path for file in files[1:]), 1):
        for name, label in names.items():
            change = found[i][name] - found[0][name]
            low, high = interval(drawn[i][name] - drawn[0][name])
            verdict = f"no difference between {first} and {other} beyond what chance explains"
            if low > 0.0 or high < 0.0:
                better, worse = (first, other) if low > 0.0 else (other, first)
                verdict = f"{better} is better than {worse}"
            limits = f"({low:+.6f} to {high:+.6f})"
            lines.append(f"{label} of {other} minus {first}: {change:+.6f} {limits}: {verdict}")
    return lines


class Parser(argparse.ArgumentParser):
    """Tells a mistake in one line."""

    def error(self, message: str) -> NoReturn:
        """Exits with 2."""
        self.exit(2, f"tuneThreshold.py: error: {message}\n")


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = Parser(
        description="EER, minDCF, thresholds and other figures of a score file; or `compare A B [C ...]`: "
        "is A better than B, given score files of the same trials? A trial is accepted if its score is "
        "at least the threshold. Probabilities are fractions: 0.01 is 1 %.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    add = made.add_argument
    add("scores", nargs="+", help="file with lines `score enrol test label`, as --eval writes it")
    add("--p_fa", type=float, nargs="+", default=[0.01, 0.001], help="P_fa to find thresholds for")
    add("--p_miss", type=float, nargs="+", default=[], help="P_miss to find thresholds for")
    add("--dcf_p_target", type=float, nargs="+", default=[0.05, 0.01, 0.001], help="priors of minDCF")
    add("--dcf_c_miss", type=float, default=1.0, help="cost of a miss")
    add("--dcf_c_fa", type=float, default=1.0, help="cost of a false alarm")
    add("--llr", action="store_true", help="scores are natural log-likelihood ratios: also Cllr and actDCF")
    add("--intervals", action="store_true", help="95 %% intervals of every figure and threshold by bootstrap")
    add("--resample", choices=RESAMPLING, default="speakers", help="what the bootstrap draws")
    add("--replicates", type=int, default=1000, help="how often the bootstrap draws")
    add("--seed", type=int, default=0, help="of the bootstrap, from 0")
    add("--speaker_folder", type=int, default=0, help="folder of a path that names its speaker, from 0")
    add("--utt2spk", default="", help="file with lines `path speaker`, instead of --speaker_folder")
    add("--conditions", default="", help="table by tabs: header, path, attributes; figures for each group")
    return made


def report(args: argparse.Namespace) -> list[str]:
    """The command's options -> what it prints of one score file."""
    path = args.scores[0]
    if not (args.intervals or args.conditions):
        scores, labels = read_scores(path)
        spread, groups = {}, []
    else:
        trials = read_score_file(path)
        scores, labels = trials.scores, trials.labels
        spread = bootstrap(trials, args) if args.intervals else {}
        groups = breakdown(trials, args) if args.conditions else []
    lines = summary(error_rates(scores, labels), args, spread)
    return [f"{len(labels)} trials, {np.count_nonzero(labels)} of them target", *lines, *groups]


def main(argv: list[str] | None = None) -> int:
    """Print the figures of one score file, or the difference between several."""
    args = parser().parse_args(argv)
    command, *paths = args.scores
    try:
        if paths and (command != "compare" or len(paths) < 2):
            raise ValueError('expected one score file, or "compare" and at least two')
        if not paths:
            lines = report(args)
        else:
            files = [read_score_file(path) for path in paths]
            for other in files[1:]:
                require_same_trials(files[0], other)
            lines = compare(files, args)
    except (OSError, ValueError) as error:
        named = isinstance(error, OSError) or any(path in str(error) for path in args.scores)
        where = "" if named else f"{(paths or [command])[0]}: "
        print(f"tuneThreshold.py: error: {where}{error}", file=sys.stderr)
        return 2
    print(*lines, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
