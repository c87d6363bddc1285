"""Figures of a list of scored trials: EER, minDCF, AUC, thresholds for given error rates."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from metrics.costs import act_dcf, cllr, cost, min_cllr
from metrics.rates import ErrorRates, Floats, pick, turns

LOW_P_FA = (0.01, 0.001)  # at which P_miss is reported


class Eer(NamedTuple):
    """Equal error rate, as a fraction, and its threshold."""

    value: float
    threshold: float


class MinDcf(NamedTuple):
    """Least normalised detection cost, at most 1, and its threshold."""

    value: float
    threshold: float


def _crossing(gap: Floats) -> tuple[int, int, float]:
    """Gap (K,) that rises from below 0 -> the points around its zero, where between them it is (0 to 1)."""
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
    """Least cost C_miss P_miss p + C_fa P_fa (1 - p), divided by min(C_miss p, C_fa (1 - p)).

    NIST SRE 2016 evaluation plan, eq. 2 to 4. Accept-all and reject-all are among the thresholds.
    """
    costs = cost(rates, p_target, c_miss, c_fa)
    best = int(np.argmin(costs))
    return MinDcf(float(costs[best]), float(rates.thresholds[best]))


def auc(rates: ErrorRates) -> float:
    """Probability that a target scores above a nontarget, ties counted half: the area under the ROC."""
    hits = 1.0 - (rates.p_miss[1:] + rates.p_miss[:-1]) / 2.0
    return float((-np.diff(rates.p_fa) * hits).sum())


def separating_threshold(rates: ErrorRates, threshold: float) -> float:
    """Threshold -> the middle between the two scores around it, which decides these trials alike.

    A threshold that is itself a score would decide differently once that score is rounded.
    """
    scores = rates.thresholds[:-1]
    if len(scores) < 2:
        return float(threshold)
    accepted = int(np.searchsorted(scores, threshold))  # the number of the lowest score that is accepted
    right = min(max(accepted, 1), len(scores) - 1)
    half = (scores[right] - scores[right - 1]) / 2.0
    if accepted == len(scores):  # rejects all
        return float(max(scores[-1] + half, rates.thresholds[-1]))
    middle = float(scores[accepted] - half)
    return middle if accepted == 0 or middle > scores[accepted - 1] else float(scores[accepted])


def figures(
    rates: ErrorRates, p_targets: Sequence[float], c_miss: float, c_fa: float, llr: bool = False
) -> dict[str, float]:
    """Operating points -> every figure and its threshold by name, fractions; llr: scores are natural LLRs.

    Thresholds lie in the middle between two scores.
    """
    equal = eer(rates)
    corners = pick(rates, turns(rates))
    values = {"eer": equal.value, "threshold": separating_threshold(rates, equal.threshold)}
    for p in p_targets:
        least = min_dcf(corners, p, c_miss, c_fa)
        threshold = separating_threshold(rates, least.threshold)
        values |= {f"min_dcf_{p:g}": least.value, f"threshold_min_dcf_{p:g}": threshold}
        if llr:
            values[f"act_dcf_{p:g}"] = act_dcf(rates, p, c_miss, c_fa)
    values |= {f"p_miss_at_p_fa_{p:g}": p_miss_at(rates, p) for p in LOW_P_FA}
    values |= {"auc": auc(corners), "min_cllr": min_cllr(corners)}
    if llr:
        values["cllr"] = cllr(rates)
    return values


def threshold_for_p_fa(rates: ErrorRates, p_fa: float) -> int:
    """Largest P_fa allowed -> index of the lowest threshold that meets it."""
    return int(np.argmax(rates.p_fa <= _probability("P_fa", p_fa)))


def threshold_for_p_miss(rates: ErrorRates, p_miss: float) -> int:
    """Largest P_miss allowed -> index of the highest threshold that meets it."""
    return int(np.searchsorted(rates.p_miss, _probability("P_miss", p_miss), side="right")) - 1


def _probability(name: str, value: float) -> float:
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} is a fraction from 0 to 1, got {value} (1 % is 0.01)")
    return value
