"""How sure a figure is: the same trials, with their speakers drawn anew many times."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from metrics.rates import ErrorRates, Floats, Integers, sort_trials, turns, weighted_rates

LEVEL = 0.95  # of every interval
FINENESS = 20_000  # parts of a list between which a replicate's threshold is found


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
