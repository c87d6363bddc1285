"""Accept or reject trials by the threshold in a model file; records which scores the threshold is from."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import options
from audio.trials import Trials
from metrics.calibration import Calibration, probability
from metrics.rates import Floats
from options.flags import ADDED_SCORING, DETECTORS, PRECISIONS
from storage.files import digest, write_text, written_whole

CHOICES = {"vad": DETECTORS, "precision": PRECISIONS}
VERSION = "scoring_version"  # among the options of a decision; decisions without it are for version 1
IN_MODEL = "model"  # in the place of a cohort's absolute path: it is in the model file


def write_origin(
    scores: Path, model: str, weights: str, *, cohort: str, cohort_digest: str, deciding: dict[str, Any]
) -> None:
    """Write beside a score file what made it, for tuneThreshold.py --store.

    Args:
        scores: the score file.
        model: path of the model file.
        weights: digest of its weights.
        cohort: absolute path of the cohort's file, since --store may run elsewhere; IN_MODEL; or "" without
            one.
        cohort_digest: of this file, or of the cohort in the model.
        deciding: the options that decide a score.
    """
    origin = {"model": model, "weights": weights, "scores": digest(scores), "options": deciding}
    origin |= {"cohort": cohort, "cohort_digest": cohort_digest}
    write_text(scores.with_suffix(".json"), json.dumps(origin, indent=2) + "\n")


def read_origin(scores: str) -> dict[str, Any]:
    """Score file of --eval -> the model, options and cohort that made it, as the file beside it says.

    Raises:
        ValueError: there is none, it is damaged, or the score file or the cohort has changed since.
    """
    path = Path(scores).with_suffix(".json")
    try:
        origin = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"--store needs scores of --eval, which writes {path} beside them") from None
    except (UnicodeDecodeError, json.JSONDecodeError):
        origin = None
    texts = ("model", "weights", "scores", "cohort", "cohort_digest")
    is_whole = isinstance(origin, dict) and all(isinstance(origin.get(name), str) for name in texts)
    if not is_whole or not isinstance(origin.get("options"), dict) or "scoring" not in origin["options"]:
        raise ValueError(f"{path}: damaged; run --eval again")
    if origin["scores"] != digest(Path(scores)):
        raise ValueError(f"{scores}: changed since --eval wrote it; run --eval again")
    is_file = origin["cohort"] not in ("", IN_MODEL)
    if is_file and not (
        Path(origin["cohort"]).is_file() and origin["cohort_digest"] == digest(Path(origin["cohort"]))
    ):
        raise ValueError(f"{origin['cohort']}: gone or changed since {scores} was made; run --eval again")
    return origin


def decided_options(decision: Any, source: str) -> dict[str, Any]:
    """The decision in a model file -> the options that its threshold is for; {} without a decision.

    Raises:
        ValueError: it has another form; its options become values of flags without being parsed.
    """
    if decision is None:
        return {}
    damaged = ValueError(f"{source}: its decision is damaged; store it again (tuneThreshold.py --store)")
    kinds = {"threshold": float, "rule": str, "calibration": dict, "options": dict}
    values = dict(decision) if isinstance(decision, dict) else {}
    values.pop("curve", None)  # decisions of earlier versions have none
    if values.keys() != kinds.keys() or not all(isinstance(values[k], kind) for k, kind in kinds.items()):
        raise damaged
    known = {"eval_frames": int, "num_eval": int, "scoring": str, "subtract_mean": bool, "score_norm": str}
    known[VERSION] = int
    known |= {name: type(default) for name, default in ADDED_SCORING.items()}
    stored = {"backend": "none"} | values["options"]  # earlier versions had no backends
    for kind in options.TESTING_KINDS:
        chosen = stored.get(options.KINDS[kind].flag)
        if chosen not in options.available(kind):
            raise damaged
        names = options.plugin_options(options.plugin(kind, chosen))
        known |= {name: type(parameter.default) for name, parameter in names.items()}
    known["backend"] = str
    for name, value in stored.items():
        is_known = name in known and type(value) is known[name]
        if not is_known or value not in CHOICES.get(name, (value,)):
            raise ValueError(f"{source}: its decision has an unknown option, {name} {value}; store it again")
    return ADDED_SCORING | {name: value for name, value in stored.items() if name != VERSION}


def require_current(deciding: Mapping[str, Any], source: str) -> None:
    """Raises ValueError if scores that were computed with these options are now computed otherwise."""
    scoring = deciding["scoring"]
    if deciding.get(VERSION, 1) != options.plugin("scoring", scoring).version:
        raise ValueError(
            f"{source}: its scores were computed by another version of --scoring {scoring}; run --eval and "
            "tuneThreshold.py --store again"
        )


class Decided(NamedTuple):
    """Numbers of trials: all, accepted, and without a decision."""

    num_trials: int
    num_accepted: int
    num_undecided: int

    def describe(self, rule: str) -> str:
        """A line for the log, with the rule that the threshold was chosen by."""
        undecided = f", {self.num_undecided} without a decision" if self.num_undecided else ""
        return f"{self.num_accepted} of {self.num_trials} trials accepted ({rule}){undecided}"


def write_decisions(
    path: Path,
    trials: Trials,
    scores: Floats,
    decision: Mapping[str, Any],
    *,
    prior: float,
    silent: Sequence[str],
) -> Decided:
    """Write a table of trials: score, LLR, probability at a prior, decision, reason for none -> counts.

    Nothing is decided about names (U,) for which `silent` holds a recording without speech; others have "".
    """
    llrs = Calibration.from_dict(decision["calibration"]).apply(scores)
    accepted = scores >= decision["threshold"]
    is_silent = np.array([bool(recording) for recording in silent])
    undecided = is_silent[trials.enrol] | is_silent[trials.test]
    probabilities = probability(llrs, prior)

    def rows() -> Iterator[Sequence[str]]:
        yield "enrol", "test", "score", "llr", "probability", "decision", "reason"
        for row, (enrol, test) in enumerate(zip(trials.enrol, trials.test, strict=True)):
            sides = trials.names[enrol], trials.names[test]
            if undecided[row]:
                yield *sides, "", "", "", "undecided", f"no speech in {silent[enrol] or silent[test]}"
            else:
                values = (f"{each[row]:.6g}" for each in (scores, llrs, probabilities))
                yield *sides, *values, "accept" if accepted[row] else "reject", ""

    with written_whole(path) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8", errors="backslashreplace", newline="")
        csv.writer(text, lineterminator="\n").writerows(rows())
        text.detach()  # writes what it holds, and leaves the file open
    return Decided(len(scores), int(accepted[~undecided].sum()), int(undecided.sum()))
