"""From which score on two recordings are taken for one speaker: what a model file, or the table, says."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from inference.public_models import TRIALS, PublicModel
from metrics.calibration import Calibration
from metrics.error_curve import ErrorCurve

CURVES = Path(__file__).parent / "error_curves.json"  # of public models, by detector and normalisation
NO_THRESHOLD = "the model has no threshold: give one, or store one in it (tuneThreshold.py --store)"


class Rule(NamedTuple):
    """A threshold for scores, and what else is known about them."""

    threshold: float | None  # scores of at least this are accepted; None: nothing is decided
    origin: str  # for people: where the threshold comes from, or why there is none
    calibration: tuple[float, float] | None = None  # log-likelihood ratio = w * score + b
    tail: float | None = None  # how much the threshold rises where e times as many speakers are enrolled
    curve: ErrorCurve | None = None  # error rates over the score, on the trials that the threshold is from

    def accepts(self, score: float) -> bool | None:
        """Score -> decision; None without a threshold."""
        return None if self.threshold is None else score >= self.threshold

    def probability(self, score: float, prior: float = 0.5) -> float | None:
        """Score, prior probability of one speaker -> the probability given both; None without calibration.

        Raises:
            ValueError: the prior isn't between 0 and 1.
        """
        if not 0.0 < prior < 1.0:
            raise ValueError(f"prior: expected a probability between 0 and 1, got {prior}")
        if self.calibration is None:
            return None
        weight, offset = self.calibration
        log_odds = weight * score + offset + math.log(prior / (1.0 - prior))
        return 1.0 / (1.0 + math.exp(-min(max(log_odds, -700.0), 700.0)))


def given_rule(threshold: float) -> Rule:
    """A threshold that the user gives -> its rule; raises ValueError if it isn't a finite number."""
    if not math.isfinite(threshold):
        raise ValueError(f"threshold: expected a finite number, got {threshold}")
    return Rule(threshold, "as given")


def stored_rule(
    decision: Mapping[str, Any], source: str, decided: Mapping[str, Any], chosen: Mapping[str, Any]
) -> Rule:
    """The decision in a model file (evaluation.decisions) -> its rule; it has no threshold for other options.

    Args:
        decision: what the file holds.
        source: the file, for people.
        decided: the options that the threshold is for.
        chosen: those that the user gives.

    Raises:
        ValueError: its calibration or its threshold is damaged.
    """
    for name, value in chosen.items():
        if value != decided[name]:
            return Rule(
                None,
                f"the threshold in {source} is for --{name} {decided[name]}, not {value}; give another one "
                "(--threshold)",
            )
    if not math.isfinite(decision["threshold"]):
        raise ValueError(
            f"{source}: its threshold isn't a finite number; store it again (tuneThreshold.py --store)"
        )
    try:
        calibration = Calibration.from_dict(decision["calibration"])
        curve = ErrorCurve.from_dict(decision["curve"]) if "curve" in decision else None
    except ValueError as error:
        raise ValueError(f"{source}: {error}; store it again (tuneThreshold.py --store)") from None
    line = calibration.weights[0], calibration.offset
    # with e times as many speakers enrolled, each of them is e times as improbable beforehand
    tail = 1.0 / line[0] if line[0] > 0.0 else None
    return Rule(decision["threshold"], f"{decision['rule']}, stored in {source}", line, tail, curve)


def default_vad(stored: str, model: PublicModel | None) -> str:
    """--vad in a model file, its table entry or None -> the detector that is used unless another is given.

    Networks that were tested without a detector, which is the default of --eval, have `energy`: what users
    record begins and ends with silence.
    """
    if stored != "none":
        return stored
    return model.measured[0].vad if model and model.measured else "energy"


def measured_rule(model: PublicModel, vad: str, score_norm: str) -> Rule:
    """A public model, a detector, --score_norm -> the rule of its table entry: measured, or its authors'."""
    known = (each for each in model.measured if (each.vad, each.score_norm) == (vad, score_norm))
    measured = next(known, None)
    if measured is None:
        if model.threshold is not None and score_norm == "none":
            return Rule(model.threshold, "published by its authors")
        norm = "" if score_norm == "none" else f" --score_norm {score_norm}"
        return Rule(
            None, f"no threshold is known for {model.name} with --vad {vad}{norm}; give one (--threshold)"
        )
    first, *others = measured.thresholds
    low, high = first.interval
    origin = f"P_fa {100 * first.p_fa:g} % on {TRIALS}, 95 % interval {low} to {high}"
    tail = None
    if others:  # where nontarget scores have an exponential tail, two thresholds show its scale
        tail = (others[0].score - first.score) / math.log(first.p_fa / others[0].p_fa)
    return Rule(first.score, origin, measured.calibration, tail, measured_curve(model.name, vad, score_norm))


def measured_curve(name: str, vad: str, score_norm: str) -> ErrorCurve | None:
    """Name of a public model, a detector, --score_norm -> error rates on TRIALS; None if not measured."""
    content = json.loads(CURVES.read_text(encoding="utf-8")).get(f"{name} {vad} {score_norm}")
    return None if content is None else ErrorCurve.from_dict(content)
