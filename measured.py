"""A system on a trial list, as the evaluation report shows it: figures, intervals, thresholds, conditions."""

from collections.abc import Callable, Mapping, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scoring._bootstrap import interval, resampled
from scoring._files import ScoreFile, condition_groups
from scoring._rates import ErrorRates, Floats, Integers, error_rates
from tuneThreshold import LOW_P_FA, eer, figures, min_dcf, threshold_for_p_fa, threshold_for_p_miss

BAND_POINTS = 100  # at which the DET curve's interval is computed


class Costs(NamedTuple):
    """Of what minDCF and actDCF are computed."""

    p_targets: tuple[float, ...] = (0.05, 0.01, 0.001)
    c_miss: float = 1.0
    c_fa: float = 1.0


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
    figures: dict[str, float]  # those of tuneThreshold.figures, and the chosen thresholds
    intervals: dict[str, tuple[float, float]]  # of each figure; {} without units
    band: Floats | None  # (3, G): P_fa, ends of the interval of P_miss there
    resample: str  # what was drawn: speakers, utterances or trials
    num_units: int
    replicates: int
    thresholds: dict[str, str]  # what it is chosen for -> the threshold's name among the figures
    conditions: list[Condition]
    llr: bool
    costs: Costs


def measure(
    name: str,
    trials: ScoreFile,
    units: Integers | None,
    resample: str = "speakers",
    *,
    replicates: int = 1000,
    seed: int = 0,
    llr: bool = False,
    p_fa: Sequence[float] = (0.01, 0.001),
    p_miss: Sequence[float] = (),
    costs: Costs | None = None,
    conditions: Mapping[str, list[str]] | None = None,
) -> Measured:
    """Name, trials, units of both sides (N, 2) or None -> figures, their intervals, the DET curve's band.

    `resample` says what the units are; `conditions` are each attribute's values for the trials' files, as
    scoring._files.read_conditions returns them.
    """
    costs = costs or Costs()

    def found(rates: ErrorRates) -> dict[str, float]:
        points = {f"threshold_p_fa_{p}": threshold_for_p_fa(rates, p) for p in p_fa}
        points |= {f"threshold_p_miss_{p}": threshold_for_p_miss(rates, p) for p in p_miss}
        values = figures(rates, [*costs.p_targets], costs.c_miss, costs.c_fa, llr)
        return values | {key: float(rates.thresholds[i]) for key, i in points.items()}

    rates = error_rates(trials.scores, trials.labels)
    values, spread, band = found(rates), dict[str, tuple[float, float]](), None
    if units is not None:
        drawn, misses, grid = [], [], _band_grid(rates)
        for replicate in resampled(trials.scores, trials.labels, units, replicates, seed, llr):
            drawn.append(list(found(replicate).values()))
            misses.append(misses_at(replicate, grid))
        columns = np.array(drawn).T
        spread = {key: _limits(key, column, values[key]) for key, column in zip(values, columns, strict=True)}
        centre = misses_at(rates, grid)
        ends = [interval(m, c, 0.0, 1.0) for m, c in zip(np.array(misses).T, centre.tolist(), strict=True)]
        band = np.vstack([grid, np.array(ends).T])
    chosen = {"EER": "threshold"}
    chosen |= {f"P_fa ≤ {100 * p:g} %": f"threshold_p_fa_{p}" for p in p_fa}
    chosen |= {f"P_miss ≤ {100 * p:g} %": f"threshold_p_miss_{p}" for p in p_miss}
    chosen |= {f"minDCF, p {p:g}": f"threshold_min_dcf_{p:g}" for p in costs.p_targets}
    groups = [
        _condition(trials, attribute, group, picked, costs)
        for attribute, held in (conditions or {}).items()
        for group, picked in condition_groups(held, trials.sides).items()
    ]
    num_units = 0 if units is None else len(np.unique(units))
    return Measured(
        name, trials, rates, values, spread, band, resample, num_units, replicates, chosen, groups, llr, costs
    )


def _limits(name: str, drawn: Floats, value: float) -> tuple[float, float]:
    """A figure in every replicate, on the list -> its interval, clipped as tuneThreshold.py does."""
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
    """P_fa (G,) in (0, 1) -> P_miss (G,), as tuneThreshold.p_miss_at interpolates it."""
    right = np.searchsorted(-rates.p_fa, -p_fa)
    left = right - 1
    share = (rates.p_fa[left] - p_fa) / (rates.p_fa[left] - rates.p_fa[right])
    return rates.p_miss[left] + share * (rates.p_miss[right] - rates.p_miss[left])


def _condition(
    trials: ScoreFile, attribute: str, group: str, picked: NDArray[np.bool_], costs: Costs
) -> Condition:
    labels = trials.labels[picked]
    count, targets = len(labels), int(np.count_nonzero(labels))
    if targets in (0, count):
        return Condition(attribute, group, count, targets, None, None)
    rates = error_rates(trials.scores[picked], labels)
    least = min_dcf(rates, costs.p_targets[0], costs.c_miss, costs.c_fa).value
    return Condition(attribute, group, count, targets, eer(rates).value, least)


def errors_at(system: Measured, threshold: float) -> tuple[float, float]:
    """Threshold -> P_fa and P_miss."""
    thresholds = system.rates.thresholds
    i = min(int(np.searchsorted(thresholds, threshold)), len(thresholds) - 1)
    return float(system.rates.p_fa[i]), float(system.rates.p_miss[i])


def marks(system: Measured) -> dict[str, tuple[float, float]]:
    """EER and the costs' decisions by label -> P_fa and P_miss."""
    equal, costs = system.figures["eer"], system.costs
    found = {"EER": (equal, equal)}
    for p in costs.p_targets:
        found[f"minDCF, p {p:g}"] = errors_at(system, system.figures[f"threshold_min_dcf_{p:g}"])
        if system.llr:
            bayes = float(np.log(costs.c_fa * (1.0 - p) / (costs.c_miss * p)))
            found[f"actDCF, p {p:g}"] = errors_at(system, bayes)
    return found


def worst(system: Measured, label: int, count: int) -> Integers:
    """Label -> numbers of its trials whose scores speak most against it, the worst first."""
    picked = np.flatnonzero(system.trials.labels == label)
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
    for p in system.costs.p_targets:
        meaning = f"least cost where {100 * p:g} % of trials are targets; 1 is as good as no system"
        rows[f"min_dcf_{p:g}"] = (f"minDCF, p {p:g}", meaning, cost)
        if system.llr:
            meaning = "the same cost, by the threshold that the scores themselves ask for"
            rows[f"act_dcf_{p:g}"] = (f"actDCF, p {p:g}", meaning, cost)
    for p in LOW_P_FA:
        meaning = f"targets rejected where {100 * p:g} % of nontargets are accepted"
        rows[f"p_miss_at_p_fa_{p:g}"] = (f"P_miss at P_fa {100 * p:g} %", meaning, percent)
    rows["auc"] = ("AUC", "how often a target scores higher than a nontarget", percent)
    rows["min_cllr"] = ("minCllr, bit", "what the scores fail to tell, of 1 bit, calibrated at best", cost)
    if system.llr:
        rows["cllr"] = ("Cllr, bit", "the same with the scores as they are", cost)
    return rows


def share(value: float) -> str:
    """Fraction -> "about 16 of 100", of as many that the number is at least 1."""
    total = next((n for n in (100, 1_000, 10_000, 100_000, 1_000_000) if n * value > 0.995), 0)
    return f"about {round(total * value):,} of {total:,}" if total else "none"
