"""--prepare: a cohort and a backend from a list of speakers, written into the model file."""

import os
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


def target_of(model_file: ModelFile, folder: RunFolder, cache: Path) -> Path:
    """A model file, the run folder, the folder of public models -> where --prepare writes the model.

    That is the file itself, or the run folder where it is another program's, in the cache, or can't be
    replaced.

    Raises:
        ValueError: the run folder has a model of that name.
    """
    path = Path(model_file.path)
    is_cached = path.resolve().parent == cache.resolve()
    if not model_file.origin and not is_cached and os.access(path.parent, os.W_OK):
        return path
    target = folder.models / f"{path.stem}.model"
    if target.exists():
        raise ValueError(
            f"{target} exists already: --initial_model {target} replaces what --prepare put into it; or give "
            "another --save_path"
        )
    return target


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
    if model_file.origin:
        model_file = _complete(model_file, values, network)
    prepared = model_file._replace(
        cohort=cohort._replace(way=way)._asdict(),
        backend=None if backend is PLAIN else backend._asdict(),
        decision=model_file.decision if _is_plain(model_file) else None,
    )
    checkpoint.save_model(target, prepared)
    log.say(f"{target} now has {_contents(cohort, backend, len(vectors.labels))}")
    if prepared.decision is not None:
        log.say("note: its threshold is for scores without these: --score_norm and --backend ask for them")
    elif model_file.decision is not None:
        log.say(
            "note: its threshold was for other scores and is gone; tuneThreshold.py --store saves a new one"
        )


def _contents(cohort: Cohort, backend: FittedBackend, num_utterances: int) -> str:
    text = f"a cohort of {len(cohort.entries)} entries"
    if backend is not PLAIN:
        text += f" and --backend {backend.name}, fitted on {num_utterances} utterances"
    return text


def _complete(model_file: ModelFile, values: Options, network: SpeakerNet) -> ModelFile:
    """A model file of another program -> with all options that its network and its tests need."""
    names = [flag.option for flag in (*NETWORK, *EVALUATION)]
    plugin_values = options.chosen_options(values, options.NETWORK_KINDS)
    complete = model_file.options | {name: values[name] for name in names} | plugin_values
    return model_file._replace(options=complete, normalize=network.normalize, origin="")


def _is_plain(model_file: ModelFile) -> bool:
    """Whether neither a cohort nor a backend takes part in the scores that the decision is for."""
    deciding = (model_file.decision or {}).get("options", {})
    usual = {"score_norm": "none", "subtract_mean": False, "backend": "none"}
    return all(deciding.get(name, value) == value for name, value in usual.items())
