"""What a model file decides by: where its threshold came from, which options that holds for, decisions."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

import options
from audio.lists import Trials
from metrics.calibration import Calibration, probability
from metrics.rates import Floats
from storage.files import digest, write_text

IN_MODEL = "model"  # where a cohort is that lies in no file of its own


def write_origin(scores: Path, model: str, weights: str, cohort: str, held: dict[str, Any]) -> None:
    """Score file, model, digest of its weights, cohort's file or IN_MODEL, options: written beside it."""
    told = {"model": model, "weights": weights, "scores": digest(scores), "options": held}
    own_file = bool(cohort) and cohort != IN_MODEL
    told["cohort"] = str(Path(cohort).absolute()) if own_file else cohort  # --store may run elsewhere
    told["cohort_digest"] = digest(Path(cohort)) if own_file else ""
    write_text(scores.with_suffix(".json"), json.dumps(told, indent=2) + "\n")


def read_origin(scores: str) -> dict[str, Any]:
    """Score file of --eval -> the model, options and cohort that made it, as the file beside it says.

    Raises:
        ValueError: there is none, it is damaged, or the score file or the cohort isn't the one it tells of.
    """
    path = Path(scores).with_suffix(".json")
    try:
        origin = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"--store needs scores of --eval, which writes {path} beside them") from None
    except (UnicodeDecodeError, json.JSONDecodeError):
        origin = None
    texts = ("model", "weights", "scores", "cohort", "cohort_digest")
    whole = isinstance(origin, dict) and all(isinstance(origin.get(name), str) for name in texts)
    if not whole or not isinstance(origin.get("options"), dict):
        raise ValueError(f"{path}: damaged; run --eval again")
    if origin["scores"] != digest(Path(scores)):
        raise ValueError(f"{scores}: changed since --eval wrote it; run --eval again")
    if origin["cohort_digest"] and not (
        Path(origin["cohort"]).is_file() and origin["cohort_digest"] == digest(Path(origin["cohort"]))
    ):
        raise ValueError(f"{origin['cohort']}: gone or changed since {scores} was made; run --eval again")
    return origin


def decided_options(decision: Any, source: str) -> dict[str, Any]:
    """What a model file decides by -> the options that its threshold is for; {} without a decision.

    Raises:
        ValueError: something else stands there; options out of a file become values of flags unseen.
    """
    if decision is None:
        return {}
    kinds = {"threshold": float, "rule": str, "calibration": dict, "options": dict}
    found = decision if isinstance(decision, dict) else {}
    if found.keys() != kinds.keys() or not all(isinstance(found[k], kind) for k, kind in kinds.items()):
        raise ValueError(f"{source}: its decision is damaged; store it anew (tuneThreshold.py --store)")
    known = {"eval_frames": int, "num_eval": int, "scoring": str, "subtract_mean": bool, "score_norm": str}
    for kind in options.TESTING_KINDS:
        name = str(found["options"].get(options.KINDS[kind].flag))
        names = options.plugin_options(options.plugin(kind, name))
        known |= {name: type(parameter.default) for name, parameter in names.items()}
    for name, value in found["options"].items():
        if name not in known or type(value) is not known[name]:
            raise ValueError(f"{source}: its decision has an unknown option, {name} {value}; store it anew")
    return dict(found["options"])


def write_decisions(
    path: Path, trials: Trials, scores: Floats, decision: dict[str, Any], prior: float
) -> int:
    """CSV of both sides, score, LLR, probability at a prior, decision -> how many were accepted."""
    llrs = Calibration.from_dict(decision["calibration"]).apply(scores)
    columns = [[f"{value:.6g}" for value in each] for each in (scores, llrs, probability(llrs, prior))]
    accepted = scores >= decision["threshold"]
    decisions = np.where(accepted, "accept", "reject").tolist()
    sides = [[trials.names[i] for i in side] for side in (trials.enrol, trials.test)]
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("enrol", "test", "score", "llr", "probability", "decision"))
    writer.writerows(zip(*sides, *columns, decisions, strict=True))
    write_text(path, text.getvalue())
    return int(accepted.sum())
