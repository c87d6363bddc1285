"""Error rates, EER, minDCF and thresholds: functions over NumPy arrays, and a command over a score file.

python tuneThreshold.py exps/demo/result/eval/trials.scores.txt --p_fa 0.01 --p_miss 0.05
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


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


def error_rates(scores: ArrayLike, labels: ArrayLike) -> ErrorRates:
    """Scores (N,), labels (N,) with 1 = target and 0 = nontarget -> every operating point.

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
    num_nontargets = len(labels) - num_targets
    if num_targets == 0 or num_nontargets == 0:
        missing = "target" if num_targets == 0 else "nontarget"
        raise ValueError(f"no error rates from {len(labels)} trials without a {missing} trial")
    order = np.argsort(scores)
    scores = scores[order]
    targets_below = np.cumsum(labels[order] != 0)  # up to and with each trial
    last = np.append(np.flatnonzero(scores[1:] > scores[:-1]), len(scores) - 1)  # of each tie
    missed = np.append(0, targets_below[last])
    rejected = np.append(0, last + 1)
    return ErrorRates(
        np.append(scores[rejected[:-1]], np.nextafter(scores[-1], np.inf)),
        missed / num_targets,
        (num_nontargets - (rejected - missed)) / num_nontargets,
    )


def eer(rates: ErrorRates) -> Eer:
    """Linear interpolation between the two operating points around P_miss = P_fa."""
    gap = rates.p_miss - rates.p_fa  # rises from -1 to 1
    right = int(np.searchsorted(gap, 0.0))
    left = right - 1
    share = -gap[left] / (gap[right] - gap[left])
    value = rates.p_miss[left] + share * (rates.p_miss[right] - rates.p_miss[left])
    step = rates.thresholds[right] - rates.thresholds[left]
    return Eer(float(value), float(rates.thresholds[left] + share * step))


def min_dcf(rates: ErrorRates, p_target: float = 0.05, c_miss: float = 1.0, c_fa: float = 1.0) -> MinDcf:
    """Least cost C_miss P_miss p + C_fa P_fa (1 - p), over that of the better blind decision.

    NIST SRE 2016 evaluation plan, eq. 2 to 4. Accept-all and reject-all are among the thresholds.
    """
    if not 0.0 < p_target < 1.0 or not min(c_miss, c_fa) > 0.0:
        raise ValueError(f"expected 0 < p_target < 1 and costs > 0, got {p_target}, {c_miss}, {c_fa}")
    cost = c_miss * p_target * rates.p_miss + c_fa * (1.0 - p_target) * rates.p_fa
    best = int(np.argmin(cost))
    blind = min(c_miss * p_target, c_fa * (1.0 - p_target))
    return MinDcf(float(cost[best] / blind), float(rates.thresholds[best]))


def figures(rates: ErrorRates, p_targets: list[float], c_miss: float, c_fa: float) -> dict[str, float]:
    """Operating points -> EER, its threshold, and minDCF for each prior, by name; fractions."""
    equal = eer(rates)
    costs = {f"min_dcf_{p:g}": min_dcf(rates, p, c_miss, c_fa).value for p in p_targets}
    return {"eer": equal.value, "threshold": equal.threshold, **costs}


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


def read_scores(path: str) -> tuple[Floats, NDArray[np.int8]]:
    """Score file with lines `score enrol test label` -> scores (N,), labels (N,)."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not a text file in UTF-8") from None
    scores, labels = [], []
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if not fields:
            continue
        try:
            scores.append(float(fields[0]))
        except ValueError:
            raise ValueError(f"{path}:{number}: expected a score first, got {fields[0]!r}") from None
        if len(fields) < 4 or fields[-1] not in ("0", "1"):
            raise ValueError(f'{path}:{number}: expected "score enrol test label" with label 0 or 1')
        labels.append(fields[-1] == "1")
    if not scores:
        raise ValueError(f"{path}: holds no scores")
    return np.array(scores), np.array(labels, dtype=np.int8)


def summary(rates: ErrorRates, args: argparse.Namespace) -> list[str]:
    """Operating points, the command's options -> the lines that it prints; thresholds to the last digit."""
    equal = eer(rates)
    lines = [f"EER {100 * equal.value:.4f} % at threshold {equal.threshold!r}"]
    for p_target in args.dcf_p_target:
        cost = min_dcf(rates, p_target, args.dcf_c_miss, args.dcf_c_fa)
        lines.append(
            f"minDCF {cost.value:.5f} at threshold {cost.threshold!r} "
            f"(p_target {p_target:g}, c_miss {args.dcf_c_miss:g}, c_fa {args.dcf_c_fa:g})"
        )
    points = [(f"P_fa <= {100 * p:g} %", threshold_for_p_fa(rates, p)) for p in args.p_fa]
    points += [(f"P_miss <= {100 * p:g} %", threshold_for_p_miss(rates, p)) for p in args.p_miss]
    for wanted, i in points:
        lines.append(
            f"{wanted}: threshold {float(rates.thresholds[i])!r} gives "
            f"P_fa {100 * rates.p_fa[i]:.4f} %, P_miss {100 * rates.p_miss[i]:.4f} %"
        )
    return lines


class Parser(argparse.ArgumentParser):
    """Tells a mistake in one line."""

    def error(self, message: str) -> NoReturn:
        """Exits with 2."""
        self.exit(2, f"tuneThreshold.py: error: {message}\n")


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = Parser(
        description="EER, minDCF and thresholds of a score file. A trial is accepted if its score is at "
        "least the threshold. Probabilities are fractions: 0.01 is 1 %.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("scores", help="file with lines `score enrol test label`, as --eval writes it")
    made.add_argument(
        "--p_fa",
        type=float,
        nargs="+",
        default=[0.01, 0.001],
        help="false-alarm rates to find thresholds for",
    )
    made.add_argument("--p_miss", type=float, nargs="+", default=[], help="miss rates to find thresholds for")
    made.add_argument("--dcf_p_target", type=float, nargs="+", default=[0.05, 0.01], help="priors of minDCF")
    made.add_argument("--dcf_c_miss", type=float, default=1.0, help="cost of a miss")
    made.add_argument("--dcf_c_fa", type=float, default=1.0, help="cost of a false alarm")
    return made


def main(argv: list[str] | None = None) -> int:
    """Print the figures of one score file."""
    args = parser().parse_args(argv)
    try:
        scores, labels = read_scores(args.scores)
        lines = summary(error_rates(scores, labels), args)
    except (OSError, ValueError) as error:
        where = "" if args.scores in str(error) else f"{args.scores}: "
        print(f"tuneThreshold.py: error: {where}{error}", file=sys.stderr)
        return 2
    print(f"{len(labels)} trials, {np.count_nonzero(labels)} of them target", *lines, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
