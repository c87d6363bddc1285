"""From which score on two recordings are taken for one speaker: what a model file, or the table, says."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from inference.public_models import PublicModel
from metrics.calibration import Calibration


class Rule(NamedTuple):
    """A threshold for scores, where it comes from, and what else is known about the scores."""

    threshold: float | None  # scores from it on are accepted; None: nothing is decided
    origin: str  # for people
    calibration: tuple[float, float] | None = None  # log-likelihood ratio = w * score + b
    tail: float | None = None  # how much the threshold rises where e times as many speakers are enrolled

    def accepts(self, score: float) -> bool | None:
        """Score -> decision; None without a threshold."""
        return None if self.threshold is None else score >= self.threshold

    def probability(self, score: float, prior: float = 0.5) -> float | None:
        """Score, prior probability of one speaker -> the probability given both; None without calibration."""
        if self.calibration is None:
            return None
        weight, offset = self.calibration
        log_odds = weight * score + offset + math.log(prior / (1.0 - prior))
        return 1.0 / (1.0 + math.exp(-min(max(log_odds, -700.0), 700.0)))


def stored_rule(decision: Mapping[str, Any], source: str) -> Rule:
    """The decision in a model file (evaluation.decisions) -> its rule.

    Raises:
        ValueError: its calibration is damaged.
    """
    calibration = Calibration.from_dict(decision["calibration"])
    line = calibration.weights[0], calibration.offset
    # with e times as many speakers enrolled, each of them is e times as improbable beforehand
    tail = 1.0 / line[0] if line[0] > 0.0 else None
    return Rule(decision["threshold"], f"{decision['rule']}, stored in {source}", line, tail)


def default_vad(model: PublicModel | None) -> str:
    """A public model, or None for others -> the voice activity detector that is used unless one is given."""
    return model.measured[0].vad if model and model.measured else "energy"


def measured_rule(model: PublicModel, vad: str) -> Rule:
    """A public model, a detector -> the rule of its table entry: measured, or published by its authors."""
    measured = next((each for each in model.measured if each.vad == vad), None)
    if measured is None:
        return Rule(model.threshold, "" if model.threshold is None else "published by its authors")
    first, *others = measured.thresholds
    low, high = first.interval
    origin = (
        f"P_fa {100 * first.p_fa:g} % on 4,628 trials of 110 real speakers, 95 % interval {low} to {high}"
    )
    tail = None
    if others:  # where nontarget scores have an exponential tail, two thresholds show its scale
        tail = (others[0].cosine - first.cosine) / math.log(first.p_fa / others[0].p_fa)
    return Rule(first.cosine, origin, measured.calibration, tail)
