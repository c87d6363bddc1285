"""Error rates, costs, thresholds and their intervals: functions over arrays, a command over score files.

python tuneThreshold.py exps/demo/result/eval/trials.scores.txt --p_fa 0.01 --p_miss 0.05 --intervals
python tuneThreshold.py compare exps/a/result/eval/trials.scores.txt exps/b/result/eval/trials.scores.txt
"""

import argparse
import sys
from collections.abc import Iterator
from typing import NamedTuple, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scorefiles import (
    RESAMPLING,
    ScoreFile,
    condition_groups,
    read_conditions,
    read_score_file,
    read_scores,
    require_same_trials,
    units_of,
)

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

LOW_P_FA = (0.01, 0.001)  # where P_miss is told
LEVEL = 0.95  # of every interval
FINENESS = 20_000  # parts of a list between which a replicate's threshold is found


class ErrorRates(NamedTuple):
    """Operating points in order of rising thresholds (K,): a trial is accepted if score >= threshold.

    The first point accepts all, the last rejects all; tied scores share one point.
    """

    thresholds: Floats
    p_miss: Floats  # share of the target trials that are rejected
    p_fa: Floats  # share of the nontarget trials that are accepted


class Eer(NamedTuple):
    """Equal error rate, as a fraction, and the threshold it belongs to."""

    value: float
    threshold: float


class MinDcf(NamedTuple):
    """Least normalised detection cost, at most 1, and the threshold it belongs to."""

    value: float
    threshold: float


class SortedTrials(NamedTuple):
    """Trials in order of rising scores: checked and sorted once, for any number of weightings."""

    order: Integers  # (N,) of the trials as they came
    is_target: NDArray[np.bool_]  # (N,) in that order, as are the weights
    last: Integers  # (K - 1,) position of the last trial of each tie
    thresholds: Floats  # (K,)


def sort_trials(scores: ArrayLike, labels: ArrayLike) -> SortedTrials:
    """Scores (N,), labels (N,) with 1 = target and 0 = nontarget -> the trials, sorted.

    Raises:
        ValueError: shapes that differ, scores that are not finite, other labels, only one class.
    """
    scores, labels = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise ValueError(f"expected as many labels as scores, got {labels.shape} and {scores.shape}")
    if not np.isfinite(scores).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(scores))} scores are not finite numbers")
    if not ((labels == 0) | (labels == 1)).all():
        raise ValueError("expected labels 1 (target) and 0 (nontarget) only")
    num_targets = int(np.count_nonzero(labels))
    if num_targets in (0, len(labels)):
        missing = "target" if num_targets == 0 else "nontarget"
        raise ValueError(f"no error rates from {len(labels)} trials without a {missing} trial")
    order = np.argsort(scores)
    scores = scores[order]
    last = np.append(np.flatnonzero(scores[1:] > scores[:-1]), len(scores) - 1)
    thresholds = np.append(scores[last], np.nextafter(scores[-1], np.inf))
    return SortedTrials(order, labels[order] != 0, last, thresholds)


def weighted_rates(trials: SortedTrials, weights: Integers) -> ErrorRates:
    """Weights (N,) >= 0 in the sorted order -> operating points, as if each trial were there so often."""
    rejected = np.append(0, np.cumsum(weights)[trials.last])
    missed = np.append(0, np.cumsum(weights * trials.is_target)[trials.last])
    num_targets, num_nontargets = missed[-1], rejected[-1] - missed[-1]
    if num_targets == 0 or num_nontargets == 0:
        raise ValueError("too few speakers or trials to resample: a replicate holds one class only")
    p_fa = (num_nontargets - (rejected - missed)) / num_nontargets
    return ErrorRates(trials.thresholds, missed / num_targets, p_fa)


def error_rates(scores: ArrayLike, labels: ArrayLike) -> ErrorRates:
    """Scores (N,), labels (N,) with 1 = target and 0 = nontarget -> every operating point.

    Raises:
        ValueError: see sort_trials.
    """
    trials = sort_trials(scores, labels)
    return weighted_rates(trials, np.ones(len(trials.order), dtype=np.int64))


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
    cost = _cost(rates, p_target, c_miss, c_fa)
    best = int(np.argmin(cost))
    return MinDcf(float(cost[best]), float(rates.thresholds[best]))


def act_dcf(rates: ErrorRates, p_target: float = 0.05, c_miss: float = 1.0, c_fa: float = 1.0) -> float:
    """Normalised detection cost of log-likelihood ratios (natural log) at the Bayes threshold.

    Threshold log(C_fa (1 - p) / (C_miss p)): Bruemmer & du Preez 2006, eq. 4. Above 1 if calibrated badly.
    """
    cost = _cost(rates, p_target, c_miss, c_fa)
    bayes = np.log(c_fa * (1.0 - p_target) / (c_miss * p_target))
    return float(cost[min(int(np.searchsorted(rates.thresholds, bayes)), len(cost) - 1)])


def _cost(rates: ErrorRates, p_target: float, c_miss: float, c_fa: float) -> Floats:
    """Normalised detection cost (K,) of every operating point."""
    if not 0.0 < p_target < 1.0 or not min(c_miss, c_fa) > 0.0:
        raise ValueError(f"expected 0 < p_target < 1 and costs > 0, got {p_target}, {c_miss}, {c_fa}")
    blind = min(c_miss * p_target, c_fa * (1.0 - p_target))
    return (c_miss * p_target * rates.p_miss + c_fa * (1.0 - p_target) * rates.p_fa) / blind


def cllr(rates: ErrorRates) -> float:
    """Cost of log-likelihood ratios (natural log) over all priors, in bits; 1 for LLRs that are all 0.

    (mean of log2(1 + e^-s) over targets + mean of log2(1 + e^s) over nontargets) / 2:
    Bruemmer & du Preez 2006, "Application-independent evaluation of speaker detection".
    """
    llrs = rates.thresholds[:-1]  # (K - 1,), each with the share of either class that has this score
    targets, nontargets = np.diff(rates.p_miss), -np.diff(rates.p_fa)
    bits = targets * np.logaddexp(0.0, -llrs) + nontargets * np.logaddexp(0.0, llrs)
    return float(bits.sum() / (2.0 * np.log(2.0)))


def turns(rates: ErrorRates) -> Integers:
    """Numbers of the operating points where the ROC turns (J,): no figure's value depends on others."""
    misses, rejects = rates.p_miss[1:] > rates.p_miss[:-1], rates.p_fa[1:] < rates.p_fa[:-1]
    steps = np.flatnonzero(misses | rejects)  # weights of 0 don't move the point
    kind = misses[steps] + 2 * rejects[steps]  # 1 targets only, 2 nontargets only, 3 both
    bends = (kind[1:] != kind[:-1]) | (kind[1:] == 3)
    return np.concatenate(([0], steps[:-1][bends] + 1, steps[-1:] + 1))


def _pick(rates: ErrorRates, points: Integers) -> ErrorRates:
    return ErrorRates(*(column[points] for column in rates))


def auc(rates: ErrorRates) -> float:
    """Probability that a target scores above a nontarget, ties counted half: the area under the ROC."""
    hits = 1.0 - (rates.p_miss[1:] + rates.p_miss[:-1]) / 2.0
    return float((-np.diff(rates.p_fa) * hits).sum())


def roc_hull(rates: ErrorRates) -> ErrorRates:
    """The vertices of the ROC's convex hull (J,): trials between two of them are a block of PAV.

    Fawcett & Niculescu-Mizil 2007, "PAV and the ROC convex hull". First all points at once that lie on
    or above the line between their neighbours, while there are many; then Andrew's monotone chain.
    """
    hull = _pick(rates, turns(rates))
    while True:
        missed, rejected = np.diff(hull.p_miss), -np.diff(hull.p_fa)
        convex = missed[:-1] * rejected[1:] < missed[1:] * rejected[:-1]
        kept = np.concatenate(([0], np.flatnonzero(convex) + 1, [len(convex) + 1]))
        few = len(kept) > 0.9 * len(hull.p_miss)
        hull = _pick(hull, kept)
        if few:
            break
    x, y = hull.p_fa.tolist(), hull.p_miss.tolist()
    chain: list[int] = []
    for k in range(len(x)):
        while len(chain) > 1:
            i, j = chain[-2:]
            if (y[j] - y[i]) * (x[j] - x[k]) < (y[k] - y[j]) * (x[i] - x[j]):
                break
            chain.pop()
        chain.append(k)
    return _pick(hull, np.array(chain))


def min_cllr(rates: ErrorRates) -> float:
    """Cllr in bits after the best monotonous map of the scores: isotonic regression by PAV, ties merged.

    A block with shares t of the targets and n of the nontargets gets the LLR log(t / n).
    """
    hull = roc_hull(rates)
    shares = np.stack([np.diff(hull.p_miss), -np.diff(hull.p_fa)])  # (2, J - 1)
    ratios = np.divide(shares.sum(axis=0), shares, out=np.ones_like(shares), where=shares > 0.0)
    return float((shares * np.log2(ratios)).sum() / 2.0)


def figures(
    rates: ErrorRates, p_targets: list[float], c_miss: float, c_fa: float, llr: bool = False
) -> dict[str, float]:
    """Operating points -> every figure and its threshold by name, fractions; llr: scores are natural LLRs."""
    equal, corners = eer(rates), _pick(rates, turns(rates))
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


def resampled(
    scores: ArrayLike,
    labels: ArrayLike,
    units: Integers,
    replicates: int = 1000,
    seed: int = 0,
    every_point: bool = False,
) -> Iterator[ErrorRates]:
    """Scores (N,), labels (N,), units of both sides (N, 2) -> operating points of each bootstrap replicate.

    A replicate draws as many units as there are, with replacement. A trial of two units counts as often
    as the product of how often either was drawn (Owen 2007, "The pigeonhole bootstrap", with the same
    units on both sides); a trial within one unit, such as a speaker's target trial, as often as it was
    (speakers as the units: Poh, Martin & Bengio 2007). The same units and seed draw the same replicates,
    which pairs systems. Memory doesn't grow with R, as replicates are only weights of the sorted trials.
    The points are those where the list's ROC turns, so that no error rate changes, and every 20,000th
    part of the list, so that thresholds are as fine; Cllr and actDCF need every point.
    """
    trials = sort_trials(scores, labels)
    if not every_point:
        whole = weighted_rates(trials, np.ones(len(trials.order), dtype=np.int64))
        points = len(trials.thresholds)
        kept = np.union1d(turns(whole), np.arange(0, points, max(1, points // FINENESS)))
        trials = trials._replace(last=trials.last[kept[1:] - 1], thresholds=trials.thresholds[kept])
    names, numbers = np.unique(units[trials.order].T, return_inverse=True)
    count = len(names)
    if count < 2 or replicates < 2:
        raise ValueError(f"no interval from {count} units in {replicates} replicates: at least 2 of either")
    enrol, test = numbers.reshape(2, -1)
    test = np.where(enrol == test, count, test)  # unit `count` is there once in each replicate
    generator = np.random.default_rng(seed)
    for _ in range(replicates):
        times = np.bincount(generator.integers(count, size=count), minlength=count + 1)
        times[count] = 1
        yield weighted_rates(trials, times[enrol] * times[test])


def interval(
    drawn: Floats, value: float | None = None, least: float = -np.inf, most: float = np.inf
) -> tuple[float, float]:
    """A figure in every replicate (R,), on the list -> its 95 % interval within [least, most].

    With a value, quantiles reflected about it (basic bootstrap, Davison & Hinkley 1997, eq. 5.6): minDCF
    is a minimum over the list and so too low on it, and too low once more in each replicate; reflecting
    takes that off, where the quantiles as they are double it. Without, the quantiles as they are
    (eq. 5.18): for the difference of two systems, in which it cancels.
    """
    low, high = np.quantile(drawn, [(1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0])
    if value is not None:
        low, high = 2.0 * value - high, 2.0 * value - low
    return float(np.clip(low, least, most)), float(np.clip(high, least, most))


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
            cost = min_dcf(rates, p, args.dcf_c_miss, args.dcf_c_fa).value
            lines.append(f"{line}EER {100 * eer(rates).value:.4f} %, minDCF {cost:.5f} (p_target {p:g})")
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
