"""The options of a voice, its cohort and its threshold: from the user, a model file, or the public models."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import options
from evaluation.backends import stored_backend
from evaluation.cohort import Cohort, check_cohort
from evaluation.decisions import decided_options, require_current
from inference.public_models import MODELS, PublicModel
from inference.thresholds import NO_THRESHOLD, Rule, default_vad, given_rule, measured_rule, stored_rule
from options import Options
from options.checks import needs_cohort
from options.flags import ADDED_SCORING
from SpeakerNet import SpeakerNet
from storage import checkpoint
from storage.checkpoint import ModelFile

COHORTS = Path(__file__).parent / "cohorts"  # of public models; cohorts/README.md says what they are
USUAL = "asnorm"  # where a model file has a cohort and nobody says otherwise


def public_cohort(source: str) -> str:
    """What --initial_model names -> path of the cohort that comes with a public model; "" if none does.

    A file or folder of the name of a public model isn't one.
    """
    path = COHORTS / f"{source}.pt"
    return str(path) if source in MODELS and not Path(source).exists() and path.is_file() else ""


def with_public_cohort(values: Options, source: str) -> Options:
    """Resolved options of --eval, what --initial_model names -> with the cohort of a public model.

    That is used where scores are normalised and no other cohort is asked for.
    """
    is_other = values.prepare or values.cohort or values.cohort_list or values.subtract_mean
    return values if is_other or not needs_cohort(values) else values.replaced(cohort=public_cohort(source))


def cohort_of_model(model_file: ModelFile, source: str) -> Cohort | None:
    """A model, what --initial_model names it -> its cohort.

    Raises:
        ValueError: it is damaged.
    """
    if model_file.cohort is not None:
        return Cohort.from_dict(model_file.cohort, source)
    path = public_cohort(source)
    return Cohort.from_dict(checkpoint.load_cohort(path), path) if path else None


def voice_options(
    model_file: ModelFile,
    source: str,
    public: PublicModel | None,
    cohort: Cohort | None,
    *,
    chosen: Mapping[str, Any],
    is_threshold_given: bool,
) -> Options:
    """The options of a voice: those of the user, else of the decision in the file, else the usual ones.

    Scores are normalised, and vectors changed by a backend, where the model file has what these need. But a
    threshold that is given alone is for scores as they are; and so are scores by the cohort of a public model
    unless the user asks: it may have no recordings like the user's, and then strangers score too high.

    Args:
        model_file: the model, complete.
        source: what --initial_model names.
        public: its entry in the table of public models, or None.
        cohort: that of the model, or None.
        chosen: the options that the user gives.
        is_threshold_given: whether the user gives a threshold.
    """
    backend = stored_backend(model_file, source)
    decided = decided_options(model_file.decision, source)
    given = {**decided, **chosen}
    scoring = options.plugin("scoring", given.get("scoring", model_file.options["scoring"]))
    has_own = model_file.cohort is not None and cohort is not None and len(cohort.entries) > 0
    is_usual = has_own and scoring.is_vector and not is_threshold_given
    norm = given.get("score_norm", USUAL if is_usual else "none")
    parameters = options.plugin_options(options.plugin("normalization", norm))
    usual = {
        **ADDED_SCORING,
        "vad": default_vad(model_file.options.get("vad", "none"), public),
        "score_norm": norm,
        **{option: parameter.default for option, parameter in parameters.items()},
        "backend": "none",
    }
    if given.get("backend", "none" if is_threshold_given else backend.name) == backend.name:
        usual |= backend.options
    is_plain = norm == "none" and given.get("backend", usual["backend"]) == "none"
    usual["subtract_mean"] = not is_plain and cohort is not None and cohort.mean is not None
    # with `eval` the precision isn't that of training
    named = {"initial_model": source, "eval": True}
    return Options({**model_file.options, **usual, **given, **named})


def voice_rule(
    decision: Mapping[str, Any] | None,
    source: str,
    public: PublicModel | None,
    *,
    chosen: Mapping[str, Any],
    values: Options,
    threshold: float | None,
) -> Rule:
    """A given threshold, or the decision in a model file, or the table's entry -> the rule of a voice.

    Args:
        decision: that in the model file, or None.
        source: what --initial_model names.
        public: its entry in the table of public models, or None.
        chosen: the options that the user gives.
        values: those of the voice.
        threshold: that which the user gives, or None.
    """
    if threshold is not None:
        return given_rule(threshold)
    if decision is not None:
        require_current(decision["options"], source)
        return stored_rule(decision, source, decided_options(decision, source), chosen)
    return measured_rule(public, values.vad, values.score_norm) if public else Rule(None, NO_THRESHOLD)


def checked_cohort(cohort: Cohort | None, network: SpeakerNet, values: Options) -> Cohort | None:
    """The cohort of a model, its network, resolved options -> what these options need of it, or None.

    Raises:
        ValueError: there is no cohort, or it was made with another network or other options.
    """
    if not needs_cohort(values):
        return None
    if cohort is None:
        raise ValueError(
            f"{values.initial_model}: --score_norm {values.score_norm} needs a cohort, which isn't there; "
            "trainSpeakerNet.py --prepare puts one into it"
        )
    check_cohort(cohort, network, values, from_model_file=True)
    return cohort
