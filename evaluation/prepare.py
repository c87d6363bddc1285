"""--prepare: a cohort and a backend from a list of speakers, written into the model file."""

from pathlib import Path

import options
from distributed.signals import StopSignal
from evaluation.backends import PLAIN, FittedBackend, fit
from evaluation.cohort import Cohort, CohortList, any_input_binding, save_cohort
from evaluation.store import embedding_options
from options import Options
from options.flags import EVALUATION, NETWORK
from SpeakerNet import SpeakerNet
from storage import checkpoint
from storage.checkpoint import ModelFile
from storage.run_folder import RunFolder
from storage.run_log import RunLog


def prepare(
    cohort_list: CohortList,
    network: SpeakerNet,
    model_file: ModelFile,
    target: Path,
    *,
    folder: RunFolder,
    log: RunLog,
    stop: StopSignal,
) -> None:
    """Make the cohort, and the backend of --backend; write the cohort file and a model file with both.

    Args:
        cohort_list: the speakers.
        network: that of the model.
        model_file: the model.
        target: where the model file is written, whole or not at all; that of the model is replaced.
        folder: where the cohort file is written.
        log: says what was written.
        stop: request to stop.
    """
    values = cohort_list.values
    mean = cohort_list.mean(network, stop)
    vectors = cohort_list.vectors(network, stop, mean)
    log.remarks.gather()
    if vectors is None:  # not the first process
        return
    cohort = cohort_list.cohort(network, vectors, mean)
    way = any_input_binding(network, embedding_options(values), mean)
    backend = PLAIN if values.backend == "none" else fit(values, vectors, way)
    save_cohort(folder, log, cohort)
    checkpoint.save_model(target, _prepared(model_file, values, cohort._replace(way=way), backend))
    log.say(f"{target} now has {_contents(cohort, backend, len(vectors.labels))}")
    if model_file.decision is not None and not _is_plain(model_file):
        log.say(
            "note: its threshold was for other scores and is gone; tuneThreshold.py --store saves a new one"
        )


def _contents(cohort: Cohort, backend: FittedBackend, num_utterances: int) -> str:
    text = f"a cohort of {len(cohort.entries)} entries"
    if backend is not PLAIN:
        text += f" and --backend {backend.name}, fitted on {num_utterances} utterances"
    return text


def _prepared(model_file: ModelFile, values: Options, cohort: Cohort, backend: FittedBackend) -> ModelFile:
    """The model with a cohort and a backend, and with all its options if another program wrote it."""
    complete = model_file.options
    if model_file.origin:
        names = [flag.option for flag in (*NETWORK, *EVALUATION)]
        plugin_values = options.chosen_options(values, options.NETWORK_KINDS)
        complete = complete | {name: values[name] for name in names} | plugin_values
    return model_file._replace(
        options=complete,
        origin="",
        cohort=cohort._asdict(),
        backend=None if backend is PLAIN else backend._asdict(),
        decision=model_file.decision if _is_plain(model_file) else None,
    )


def _is_plain(model_file: ModelFile) -> bool:
    """Whether neither a cohort nor a backend takes part in the scores that the decision is for."""
    deciding = (model_file.decision or {}).get("options", {})
    usual = {"score_norm": "none", "subtract_mean": False, "backend": "none"}
    return all(deciding.get(name, value) == value for name, value in usual.items())
