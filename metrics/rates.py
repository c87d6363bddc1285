"""Scores and labels -> operating points: the rates of misses and false alarms at each threshold."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.integer]


class ErrorRates(NamedTuple):
    """Operating points in order of rising thresholds (K,): a trial is accepted if score >= threshold.

    The first point accepts all, the last rejects all; tied scores share one point.
    """

    thresholds: Floats
    p_miss: Floats  # share of the target trials that are rejected
    p_fa: Floats  # share of the nontarget trials that are accepted


class SortedTrials(NamedTuple):
    """Trials in order of rising scores, checked and sorted once for any number of weightings."""

    order: Integers  # (N,) numbers of the trials in the input
    is_target: NDArray[np.bool_]  # (N,) in sorted order, like the weights
    last: Integers  # (K - 1,) position of the last trial of each group of tied scores
    thresholds: Floats  # (K,)


def _checked(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
    """Scores (N,), labels (N,) -> scores as float64, is a target (N,); ValueError as sort_trials."""
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
    return scores, labels != 0


def sort_trials(scores: ArrayLike, labels: ArrayLike) -> SortedTrials:
    """Scores (N,), labels (N,) with 1 = target and 0 = nontarget -> the trials, sorted.

    Raises:
        ValueError: shapes that differ, scores that are not finite, other labels, only one class.
    """
    scores, is_target = _checked(scores, labels)
    order = np.argsort(scores)
    scores = scores[order]
    last = np.append(np.flatnonzero(scores[1:] > scores[:-1]), len(scores) - 1)
    thresholds = np.append(scores[last], np.nextafter(scores[-1], np.inf))
    return SortedTrials(order, is_target[order], last, thresholds)


def weighted_rates(trials: SortedTrials, weights: Integers) -> ErrorRates:
    """Sorted trials, weights (N,) >= 0 in the same order -> operating points of the weighted trials."""
    first = np.append(0, trials.last[:-1] + 1)  # of each group of trials
    rejected = np.append(0, np.cumsum(np.add.reduceat(weights, first)))
    missed = np.append(0, np.cumsum(np.add.reduceat(weights * trials.is_target, first)))
    num_targets, num_nontargets = missed[-1], rejected[-1] - missed[-1]
    if num_targets == 0 or num_nontargets == 0:
        raise ValueError("too few speakers or trials to resample: a replicate has one class only")
    p_fa = (num_nontargets - (rejected - missed)) / num_nontargets
    return ErrorRates(trials.thresholds, missed / num_targets, p_fa)


def error_rates(scores: ArrayLike, labels: ArrayLike) -> ErrorRates:
    """Scores (N,), labels (N,) with 1 = target and 0 = nontarget -> every operating point.

    Each class is sorted alone, which takes half the memory of sorting the trials.

    Raises:
        ValueError: see sort_trials.
    """
    scores, is_target = _checked(scores, labels)
    thresholds = np.unique(scores)
    thresholds = np.append(thresholds, np.nextafter(thresholds[-1], np.inf))
    targets = np.sort(scores[is_target])
    p_miss = np.searchsorted(targets, thresholds) / len(targets)
    nontargets = np.sort(scores[~is_target])
    accepted = np.searchsorted(nontargets, thresholds)
    np.subtract(len(nontargets), accepted, out=accepted)
    return ErrorRates(thresholds, p_miss, accepted / len(nontargets))


def turns(rates: ErrorRates) -> Integers:
    """Numbers (J,) of the operating points where the ROC turns, which alone determine the figures' values."""
    misses = rates.p_miss[1:] > rates.p_miss[:-1]
    rejects = rates.p_fa[1:] < rates.p_fa[:-1]
    steps = np.flatnonzero(misses | rejects)  # trials of weight 0 don't move the point
    kind = misses[steps] + 2 * rejects[steps]  # 1 targets only, 2 nontargets only, 3 both
    bends = (kind[1:] != kind[:-1]) | (kind[1:] == 3)
    return np.concatenate(([0], steps[:-1][bends] + 1, steps[-1:] + 1))


def pick(rates: ErrorRates, points: Integers) -> ErrorRates:
    """Operating points, numbers (J,) -> the operating points with these numbers."""
    return ErrorRates(*(column[points] for column in rates))
