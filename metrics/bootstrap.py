"""Confidence intervals of figures by the bootstrap: speakers are drawn with replacement, many times."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from metrics.rates import ErrorRates, Floats, Integers, sort_trials, turns, weighted_rates

LEVEL = 0.95  # of every interval
MAX_THRESHOLDS = 20_000  # of a replicate, besides those where the ROC turns


def resampled(
    scores: ArrayLike,
    labels: ArrayLike,
    units: Integers,
    replicates: int = 1000,
    *,
    seed: int = 0,
    every_point: bool = False,
) -> Iterator[ErrorRates]:
    """Scores (N,), labels (N,), units of both sides (N, 2) -> operating points of each bootstrap replicate.

    A replicate draws as many units as there are, with replacement. The weight of a trial of two units is
    the product of how often each was drawn (Owen 2007, "The pigeonhole bootstrap", with the same units on
    both sides); that of a trial within one unit, such as a speaker's target trial, is how often the unit was
    drawn (speakers as the units: Poh, Martin & Bengio 2007). The same units and seed draw the same
    replicates, which pairs systems. Memory doesn't grow with R: a replicate is only weights of the sorted
    trials. The points are those where the list's ROC turns, so that no error rate changes, and 20,000 evenly
    spaced ones for the resolution of the thresholds; Cllr and actDCF need every point.
    """
    trials = sort_trials(scores, labels)
    if not every_point:
        whole = weighted_rates(trials, np.ones(len(trials.order), dtype=np.int64))
        points = len(trials.thresholds)
        kept = np.union1d(turns(whole), np.arange(0, points, max(1, points // MAX_THRESHOLDS)))
        trials = trials._replace(last=trials.last[kept[1:] - 1], thresholds=trials.thresholds[kept])
    enrol, test, count = _numbered(units[:, 0][trials.order], units[:, 1][trials.order])
    if count < 2 or replicates < 2:
        raise ValueError(f"no interval from {count} units in {replicates} replicates: at least 2 of each")
    test[enrol == test] = count  # a unit that occurs once in each replicate
    generator = np.random.default_rng(seed)
    for _ in range(replicates):
        times = np.bincount(generator.integers(count, size=count), minlength=count + 1)
        times[count] = 1
        yield weighted_rates(trials, times[enrol] * times[test])


def _numbered(enrol: Integers, test: Integers) -> tuple[NDArray[np.int32], NDArray[np.int32], int]:
    """Units from 0 on, of both sides (N,) -> the same, numbered without gaps, and their count."""
    is_used = np.zeros(max(enrol.max(), test.max()) + 1, bool)
    for side in (enrol, test):
        is_used[side] = True
    places = np.cumsum(is_used, dtype=np.int32) - 1
    return places[enrol], places[test], int(np.count_nonzero(is_used))


def interval(
    drawn: Floats, value: float | None = None, lowest: float = -np.inf, highest: float = np.inf
) -> tuple[float, float]:
    """A figure in every replicate (R,), its value on the list -> its 95 % interval within [lowest, highest].

    With a value, the quantiles are reflected about it (basic bootstrap, Davison & Hinkley 1997, eq. 5.6):
    minDCF is a minimum over the list and thus biased downwards, and biased once more in each replicate;
    reflection removes this bias, while plain quantiles would double it. Without a value, plain quantiles
    (eq. 5.18), for the difference of two systems, in which the bias cancels.
    """
    low, high = np.quantile(drawn, [(1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0])
    if value is not None:
        low, high = 2.0 * value - high, 2.0 * value - low
    return float(np.clip(low, lowest, highest)), float(np.clip(high, lowest, highest))
