"""A system on a trial list: its figures, how sure they are, thresholds, conditions; and how to say it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metrics.bootstrap import interval, resampled
from metrics.figures import LOW_P_FA, eer, figures, min_dcf, threshold_for_p_fa, threshold_for_p_miss
from metrics.rates import ErrorRates, Floats, Integers, error_rates
from metrics.score_files import ScoreFile, condition_groups, units_of

BAND_POINTS = 100  # at which the DET curve's interval is computed


class Wanted(NamedTuple):
    """Which figures: priors and costs of DCFs, error rates to find thresholds for; whether they are LLRs."""

    p_targets: tuple[float, ...] = (0.05, 0.01, 0.001)
    c_miss: float = 1.0
    c_fa: float = 1.0
    p_fa: tuple[float, ...] = (0.01, 0.001)
    p_miss: tuple[float, ...] = ()
    llr: bool = False

    def find(self, rates: ErrorRates) -> dict[str, float]:
        """Operating points -> every figure and every threshold, by name."""
        found = figures(rates, [*self.p_targets], self.c_miss, self.c_fa, self.llr)
        points = {f"threshold_p_fa_{p}": threshold_for_p_fa(rates, p) for p in self.p_fa}
        points |= {f"threshold_p_miss_{p}": threshold_for_p_miss(rates, p) for p in self.p_miss}
        return found | {name: float(rates.thresholds[i]) for name, i in points.items()}

    def rules(self) -> dict[str, str]:
        """What a threshold is chosen for -> its name among the figures."""
        chosen = {"EER": "threshold"}
        chosen |= {f"P_fa ≤ {100 * p:g} %": f"threshold_p_fa_{p}" for p in self.p_fa}
        chosen |= {f"P_miss ≤ {100 * p:g} %": f"threshold_p_miss_{p}" for p in self.p_miss}
        return chosen | {f"minDCF, p {p:g}": f"threshold_min_dcf_{p:g}" for p in self.p_targets}


class Resampling(NamedTuple):
    """A bootstrap: units of both sides of each trial (N, 2), what they are, how often and how it draws."""

    units: Integers
    what: str = "speakers"
    replicates: int = 1000
    seed: int = 0

    def told(self) -> tuple[int, str, int]:
        """How many units there are, what they are, how often they are drawn."""
        return len(np.unique(self.units)), self.what, self.replicates


class Condition(NamedTuple):
    """Figures of the trials of one group; None where a class is missing."""

    attribute: str
    group: str
    trials: int
    targets: int
    eer: float | None
    min_dcf: float | None  # of the first prior


class Measured(NamedTuple):
    """A system on a list: all that the page shows of it."""

    name: str
    trials: ScoreFile
    rates: ErrorRates
    figures: dict[str, float]  # by their names
    intervals: dict[str, tuple[float, float]]  # of each figure; {} without units
    band: Floats | None  # (3, G): P_fa, ends of the interval of P_miss there
    bootstrap: Resampling | None
    conditions: list[Condition]
    wanted: Wanted

    @property
    def num_speakers(self) -> int | None:
        """How many there are, where the bootstrap knows."""
        return self.bootstrap.told()[0] if self.bootstrap and self.bootstrap.what == "speakers" else None


def measure(
    name: str,
    trials: ScoreFile,
    wanted: Wanted,
    bootstrap: Resampling | None = None,
    conditions: Mapping[str, list[str]] | None = None,
) -> Measured:
    """Name, trials -> figures; with a bootstrap their intervals and the band of the DET curve.

    `conditions` are each attribute's values for the trials' files, as score_files.read_conditions returns.
    """
    rates = error_rates(trials.scores, trials.known_labels())
    values, spread, band = wanted.find(rates), dict[str, tuple[float, float]](), None
    if bootstrap is not None:
        drawn, misses, grid = [], [], _band_grid(rates)
        for replicate in replicates(trials, bootstrap, wanted.llr):
            drawn.append(list(wanted.find(replicate).values()))
            misses.append(misses_at(replicate, grid))
        columns = np.array(drawn).T
        spread = {key: _limits(key, column, values[key]) for key, column in zip(values, columns, strict=True)}
        centre = misses_at(rates, grid)
        ends = [interval(m, c, 0.0, 1.0) for m, c in zip(np.array(misses).T, centre.tolist(), strict=True)]
        band = np.vstack([grid, np.array(ends).T])
    groups = [
        _condition(trials, attribute, group, picked, wanted)
        for attribute, held in (conditions or {}).items()
        for group, picked in condition_groups(held, trials.sides).items()
        if picked.any()
    ]
    return Measured(name, trials, rates, values, spread, band, bootstrap, groups, wanted)


def measure_freely(
    name: str, trials: ScoreFile, wanted: Wanted, conditions: Mapping[str, list[str]] | None = None
) -> Measured:
    """As measure, with a bootstrap over speakers if a folder of the paths names them, else over recordings.

    Lists that are too small get no intervals.
    """
    for what in ("speakers", "utterances"):
        with suppress(ValueError):
            bootstrap = Resampling(units_of(trials, what, None, ""), what)
            return measure(name, trials, wanted, bootstrap, conditions)
    return measure(name, trials, wanted, None, conditions)


def replicates(trials: ScoreFile, bootstrap: Resampling, every_point: bool) -> Iterator[ErrorRates]:
    """Trials, how they are drawn -> operating points of each replicate."""
    drawn = bootstrap.units, bootstrap.replicates, bootstrap.seed, every_point
    return resampled(trials.scores, trials.known_labels(), *drawn)


def _limits(name: str, drawn: Floats, value: float) -> tuple[float, float]:
    """A figure in every replicate, on the list -> its interval, where such a figure can lie."""
    least = -np.inf if name.startswith("threshold") else 0.0
    most = np.inf if name.startswith(("threshold", "act_dcf", "cllr")) else 1.0
    return interval(drawn, value, least, most)


def _band_grid(rates: ErrorRates) -> Floats:
    """P_fa (G,), even on the DET plot's axis, from one false alarm to nearly all."""
    least = float(rates.p_fa[rates.p_fa > 0.0].min())
    normal = NormalDist()
    places = np.linspace(normal.inv_cdf(min(least, 0.5)), normal.inv_cdf(0.98), BAND_POINTS)
    return np.array([normal.cdf(place) for place in places.tolist()])


def misses_at(rates: ErrorRates, p_fa: Floats) -> Floats:
    """P_fa (G,) in (0, 1) -> P_miss (G,), as p_miss_at interpolates it."""
    right = np.searchsorted(-rates.p_fa, -p_fa)
    left = right - 1
    share = (rates.p_fa[left] - p_fa) / (rates.p_fa[left] - rates.p_fa[right])
    return rates.p_miss[left] + share * (rates.p_miss[right] - rates.p_miss[left])


def _condition(
    trials: ScoreFile, attribute: str, group: str, picked: NDArray[np.bool_], wanted: Wanted
) -> Condition:
    labels = trials.known_labels()[picked]
    count, targets = len(labels), int(np.count_nonzero(labels))
    if targets in (0, count):
        return Condition(attribute, group, count, targets, None, None)
    rates = error_rates(trials.scores[picked], labels)
    least = min_dcf(rates, wanted.p_targets[0], wanted.c_miss, wanted.c_fa).value
    return Condition(attribute, group, count, targets, eer(rates).value, least)


def errors_at(system: Measured, threshold: float) -> tuple[float, float]:
    """Threshold -> P_fa and P_miss."""
    thresholds = system.rates.thresholds
    i = min(int(np.searchsorted(thresholds, threshold)), len(thresholds) - 1)
    return float(system.rates.p_fa[i]), float(system.rates.p_miss[i])


def marks(system: Measured) -> dict[str, tuple[float, float]]:
    """EER and the costs' decisions by label -> P_fa and P_miss."""
    equal, costs = system.figures["eer"], system.wanted
    found = {"EER": (equal, equal)}
    for p in costs.p_targets:
        found[f"minDCF, p {p:g}"] = errors_at(system, system.figures[f"threshold_min_dcf_{p:g}"])
        if system.wanted.llr:
            bayes = float(np.log(costs.c_fa * (1.0 - p) / (costs.c_miss * p)))
            found[f"actDCF, p {p:g}"] = errors_at(system, bayes)
    return found


def worst(system: Measured, label: int, count: int) -> Integers:
    """Label -> numbers of its trials whose scores speak most against it, the worst first."""
    picked = np.flatnonzero(system.trials.known_labels() == label)
    wrong = system.trials.scores[picked] * (1 if label else -1)
    return picked[np.argsort(wrong, kind="stable")[:count]]


def percent(value: float) -> str:
    """Fraction -> percent to be read."""
    return f"{100 * value:.2f} %"


def cost(value: float) -> str:
    """Cost or bits -> to be read."""
    return f"{value:.3f}"


def meanings(system: Measured) -> dict[str, tuple[str, str, Callable[[float], str]]]:
    """Figures by name -> what they are called, what they mean, how they are written."""
    rows: dict[str, tuple[str, str, Callable[[float], str]]]
    rows = {"eer": ("EER", "both kinds of error are equally frequent", percent)}
    for p in system.wanted.p_targets:
        meaning = f"least cost where {100 * p:g} % of trials are targets; 1 is as good as no system"
        rows[f"min_dcf_{p:g}"] = (f"minDCF, p {p:g}", meaning, cost)
        if system.wanted.llr:
            meaning = "the same cost, by the threshold that the scores themselves ask for"
            rows[f"act_dcf_{p:g}"] = (f"actDCF, p {p:g}", meaning, cost)
    for p in LOW_P_FA:
        meaning = f"targets rejected where {100 * p:g} % of nontargets are accepted"
        rows[f"p_miss_at_p_fa_{p:g}"] = (f"P_miss at P_fa {100 * p:g} %", meaning, percent)
    rows["auc"] = ("AUC", "how often a target scores higher than a nontarget", percent)
    rows["min_cllr"] = ("minCllr, bit", "what the scores fail to tell, of 1 bit, calibrated at best", cost)
    if system.wanted.llr:
        rows["cllr"] = ("Cllr, bit", "the same with the scores as they are", cost)
    return rows


def share(value: float) -> str:
    """Fraction -> "about 16 of 100", of as many that the number is at least 1."""
    total = next((n for n in (100, 1_000, 10_000, 100_000, 1_000_000) if n * value > 0.995), 0)
    return f"about {round(total * value):,} of {total:,}" if total else "none"
