"""A system on a trial list: figures with confidence intervals, thresholds, conditions; and their wording."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metrics.bootstrap import interval, resampled
from metrics.costs import bayes_threshold
from metrics.figures import (
    LOW_P_FA,
    eer,
    figures,
    min_dcf,
    separating_threshold,
    threshold_for_p_fa,
    threshold_for_p_miss,
)
from metrics.rates import ErrorRates, Floats, Integers, error_rates
from metrics.speakers import units_of
from metrics.trials import ScoredTrials, condition_groups

BAND_POINTS = 100  # of the DET curve, at which an interval is computed


class FigureOptions(NamedTuple):
    """Priors and costs of the DCFs, error rates to determine thresholds for; whether the scores are LLRs."""

    p_targets: tuple[float, ...] = (0.05, 0.01, 0.001)
    c_miss: float = 1.0
    c_fa: float = 1.0
    p_fa: tuple[float, ...] = (0.01, 0.001)
    p_miss: tuple[float, ...] = ()
    llr: bool = False

    def figures(self, rates: ErrorRates) -> dict[str, float]:
        """Operating points -> every figure and every threshold, by name."""
        values = figures(rates, self.p_targets, self.c_miss, self.c_fa, self.llr)
        for p in self.p_fa:
            lowest = rates.thresholds[threshold_for_p_fa(rates, p)]
            values[f"threshold_p_fa_{p}"] = separating_threshold(rates, lowest)
        for p in self.p_miss:
            highest = rates.thresholds[threshold_for_p_miss(rates, p)]
            values[f"threshold_p_miss_{p}"] = separating_threshold(rates, highest)
        return values

    def rules(self) -> dict[str, str]:
        """Criterion for a threshold -> the threshold's name among the figures."""
        rules = {"EER": "threshold"}
        rules |= {f"P_fa ≤ {100 * p:g} %": f"threshold_p_fa_{p}" for p in self.p_fa}
        rules |= {f"P_miss ≤ {100 * p:g} %": f"threshold_p_miss_{p}" for p in self.p_miss}
        return rules | {f"minDCF, p {p:g}": f"threshold_min_dcf_{p:g}" for p in self.p_targets}


class Resampling(NamedTuple):
    """A bootstrap: what is drawn, how often, and from which seed."""

    units: Integers  # (N, 2) their numbers, of both sides of each trial
    kind: str = "speakers"  # or another of speakers.RESAMPLING
    replicates: int = 1000
    seed: int = 0

    def counts(self) -> tuple[int, str, int]:
        """Number of units, their kind, number of replicates."""
        return len(np.unique(self.units)), self.kind, self.replicates


class Condition(NamedTuple):
    """Figures of the trials of one group; None where a class is missing."""

    attribute: str
    group: str
    trials: int
    targets: int
    eer: float | None
    min_dcf: float | None  # of the first prior


class Measured(NamedTuple):
    """A system on a trial list: everything that the report shows of it."""

    name: str
    trials: ScoredTrials
    rates: ErrorRates
    figures: dict[str, float]  # by name
    intervals: dict[str, tuple[float, float]]  # of each figure; {} without units
    band: Floats | None  # (3, G): P_fa, both ends of the interval of P_miss there
    bootstrap: Resampling | None
    conditions: list[Condition]
    options: FigureOptions

    @property
    def num_speakers(self) -> int | None:
        """Number of speakers, if the bootstrap draws speakers."""
        if self.bootstrap is None or self.bootstrap.kind != "speakers":
            return None
        return self.bootstrap.counts()[0]


def measure(
    name: str,
    trials: ScoredTrials,
    options: FigureOptions,
    bootstrap: Resampling | None = None,
    conditions: Mapping[str, list[str]] | None = None,
    *,
    rates: ErrorRates | None = None,
) -> Measured:
    """Name, trials -> figures; with a bootstrap their intervals and the band of the DET curve.

    Args:
        name: what the report calls the system or list.
        trials: scores with labels.
        options: which figures.
        bootstrap: what is drawn for the intervals; None for no intervals.
        conditions: each attribute's values for the trials' files, as score_files.read_conditions returns.
        rates: the operating points of these scores, if they have been computed already.
    """
    if rates is None:
        rates = error_rates(trials.scores, trials.known_labels())
    values = options.figures(rates)
    intervals = dict[str, tuple[float, float]]()
    band = None
    if bootstrap is not None:
        intervals, band = _intervals(trials, rates, values, options, bootstrap)
    groups = list[Condition]()
    for attribute, column in (conditions or {}).items():
        for group, is_member in condition_groups(column, trials.sides).items():
            if is_member.any():
                groups.append(_condition(trials, attribute, group, is_member, options))
    return Measured(name, trials, rates, values, intervals, band, bootstrap, groups, options)


def _intervals(
    trials: ScoredTrials,
    rates: ErrorRates,
    values: dict[str, float],
    options: FigureOptions,
    bootstrap: Resampling,
) -> tuple[dict[str, tuple[float, float]], Floats]:
    """Trials, their operating points and figures -> intervals of the figures, DET curve's band (3, G)."""
    grid = _band_grid(rates)
    drawn, misses = [], []
    for replicate in replicates(trials, bootstrap, options.llr):
        drawn.append(list(options.figures(replicate).values()))
        misses.append(misses_at(replicate, grid))
    intervals = {}
    for name, column in zip(values, np.array(drawn).T, strict=True):
        intervals[name] = _limits(name, column, values[name])
    centre = misses_at(rates, grid).tolist()
    ends = [interval(m, c, 0.0, 1.0) for m, c in zip(np.array(misses).T, centre, strict=True)]
    return intervals, np.vstack([grid, np.array(ends).T])


def measure_with_default_intervals(
    name: str,
    trials: ScoredTrials,
    options: FigureOptions,
    conditions: Mapping[str, list[str]] | None = None,
    *,
    rates: ErrorRates | None = None,
) -> Measured:
    """As measure, with a bootstrap over speakers if a folder of the paths names them, else over recordings.

    Lists that are too small get no intervals.
    """
    for kind in ("speakers", "utterances"):
        with suppress(ValueError):
            bootstrap = Resampling(units_of(trials, kind), kind)
            return measure(name, trials, options, bootstrap, conditions, rates=rates)
    return measure(name, trials, options, None, conditions, rates=rates)


def replicates(trials: ScoredTrials, bootstrap: Resampling, every_point: bool) -> Iterator[ErrorRates]:
    """Trials, bootstrap -> operating points of each replicate."""
    return resampled(
        trials.scores,
        trials.known_labels(),
        bootstrap.units,
        replicates=bootstrap.replicates,
        seed=bootstrap.seed,
        every_point=every_point,
    )


def _limits(name: str, drawn: Floats, value: float) -> tuple[float, float]:
    """A figure in every replicate, on the list -> its interval within the figure's range."""
    least = -np.inf if name.startswith("threshold") else 0.0
    most = np.inf if name.startswith(("threshold", "act_dcf", "cllr")) else 1.0
    return interval(drawn, value, least, most)


def _band_grid(rates: ErrorRates) -> Floats:
    """P_fa (G,) at equal distances on the DET plot's axis, from one false alarm to 98 %."""
    least = float(rates.p_fa[rates.p_fa > 0.0].min())
    normal = NormalDist()
    probits = np.linspace(normal.inv_cdf(min(least, 0.5)), normal.inv_cdf(0.98), BAND_POINTS)
    return np.array([normal.cdf(probit) for probit in probits.tolist()])


def misses_at(rates: ErrorRates, p_fa: Floats) -> Floats:
    """P_fa (G,) in (0, 1) -> P_miss (G,), as p_miss_at interpolates it."""
    right = np.searchsorted(-rates.p_fa, -p_fa)
    left = right - 1
    share = (rates.p_fa[left] - p_fa) / (rates.p_fa[left] - rates.p_fa[right])
    return rates.p_miss[left] + share * (rates.p_miss[right] - rates.p_miss[left])


def _condition(
    trials: ScoredTrials, attribute: str, group: str, is_member: NDArray[np.bool_], options: FigureOptions
) -> Condition:
    labels = trials.known_labels()[is_member]
    num_targets = int(np.count_nonzero(labels))
    if num_targets in (0, len(labels)):
        return Condition(attribute, group, len(labels), num_targets, None, None)
    rates = error_rates(trials.scores[is_member], labels)
    least = min_dcf(rates, options.p_targets[0], options.c_miss, options.c_fa).value
    return Condition(attribute, group, len(labels), num_targets, eer(rates).value, least)


def errors_at(system: Measured, threshold: float) -> tuple[float, float]:
    """Threshold -> P_fa and P_miss."""
    thresholds = system.rates.thresholds
    i = min(int(np.searchsorted(thresholds, threshold)), len(thresholds) - 1)
    return float(system.rates.p_fa[i]), float(system.rates.p_miss[i])


def marks(system: Measured) -> dict[str, tuple[float, float]]:
    """Labels of points on the DET curve, the EER and the decisions of the costs -> P_fa and P_miss."""
    points = {"EER": (system.figures["eer"], system.figures["eer"])}
    options = system.options
    for p in options.p_targets:
        points[f"minDCF, p {p:g}"] = errors_at(system, system.figures[f"threshold_min_dcf_{p:g}"])
        if options.llr:
            threshold = bayes_threshold(p, options.c_miss, options.c_fa)
            points[f"actDCF, p {p:g}"] = errors_at(system, threshold)
    return points


def worst(system: Measured, label: int, count: int) -> Integers:
    """Label -> numbers of its trials whose scores contradict it most, the worst first."""
    members = np.flatnonzero(system.trials.known_labels() == label)
    agreement = system.trials.scores[members] * (1 if label else -1)
    return members[np.argsort(agreement, kind="stable")[:count]]


def typical(system: Measured, label: int, count: int) -> Integers:
    """Label -> numbers of its trials whose scores are nearest to the label's median score."""
    members = np.flatnonzero(system.trials.known_labels() == label)
    scores = system.trials.scores[members]
    return members[np.argsort(np.abs(scores - np.median(scores)), kind="stable")[:count]]


def percent(value: float) -> str:
    """Fraction -> text in percent."""
    return f"{100 * value:.2f} %"


def cost(value: float) -> str:
    """Cost or bits -> text."""
    return f"{value:.3f}"


def meanings(system: Measured) -> dict[str, tuple[str, str, Callable[[float], str]]]:
    """Figures by name -> title, explanation, function that formats the value."""
    rows: dict[str, tuple[str, str, Callable[[float], str]]]
    rows = {"eer": ("EER", "both kinds of error are equally frequent", percent)}
    for p in system.options.p_targets:
        meaning = f"least cost where {100 * p:g} % of trials are targets; 1 is as good as no system"
        rows[f"min_dcf_{p:g}"] = (f"minDCF, p {p:g}", meaning, cost)
        if system.options.llr:
            meaning = "the same cost at the threshold that follows from the prior and the costs"
            rows[f"act_dcf_{p:g}"] = (f"actDCF, p {p:g}", meaning, cost)
    for p in LOW_P_FA:
        meaning = f"targets rejected where {100 * p:g} % of nontargets are accepted"
        rows[f"p_miss_at_p_fa_{p:g}"] = (f"P_miss at P_fa {100 * p:g} %", meaning, percent)
    rows["auc"] = ("AUC", "how often a target scores higher than a nontarget", percent)
    rows["min_cllr"] = (
        "minCllr, bit",
        "information missing from the scores, of 1 bit, with the best calibration",
        cost,
    )
    if system.options.llr:
        rows["cllr"] = ("Cllr, bit", "the same for the scores as they are", cost)
    return rows


def share(value: float) -> str:
    """Fraction -> "about 16 of 100", of the least power of ten that gives at least 1."""
    total = next((n for n in (100, 1_000, 10_000, 100_000, 1_000_000) if n * value > 0.995), 0)
    return f"about {round(total * value):,} of {total:,}" if total else "none of the"
