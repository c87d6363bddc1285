"""Model files, training states and cohorts on disk: the only file that calls torch.load."""

import hashlib
import pickle
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from torch import Tensor, nn

import runtime
from distributed import is_dead_worker
from storage.containers import (
    SAFETENSORS,
    ConfigError,
    is_safetensors,
    load_nemo,
    load_safetensors,
    refuse_container,
    save_safetensors,
)
from storage.files import written_whole
from storage.legacy import from_older
from storage.toolkits import read_foreign, rows_of_head

MODEL_FORMAT = "speakernet-model-1"
STATE_FORMAT = "speakernet-state-4"
COHORT_FORMAT = "speakernet-cohort-1"


class DamagedError(ValueError):
    """A file whose content is not what was written, although all of it can be read."""


class ModelFile(NamedTuple):
    """Everything that a trained network needs to be used alone."""

    weights: dict[str, Tensor]
    options: dict[str, Any]  # resolved; they decide the network and how it is scored
    speakers: list[str]
    normalize: bool  # whether `distance` scoring length-normalises
    metrics: dict[str, float]
    origin: str = ""  # of a file of another program: which program, and which options the file shows
    cohort: dict[str, Any] | None = None  # for score normalisation, as save_cohort takes it
    decision: dict[str, Any] | None = None  # threshold, calibration and the options that they are for
    backend: dict[str, Any] | None = None  # fields of an evaluation.backends.FittedBackend
    path: str = ""  # where it was read from; not part of the file


def save_model(path: Path, model: ModelFile) -> None:
    """Write a model file, whole or not at all; its name may end in .safetensors."""
    content = {"format": MODEL_FORMAT, **model._asdict()}
    del content["path"]
    (save_safetensors if path.suffix == SAFETENSORS else _save)(path, content)


def load_model(path: str, origin: str = "", head_speakers: Sequence[str] = ()) -> ModelFile:
    """Model file -> its contents, on the CPU.

    Args:
        path: of a file of this trainer, of an older program, or of a toolkit.
        origin: the toolkit that wrote it, where its tensors and the files beside it don't tell.
        head_speakers: of a toolkit's file, the speakers of its loss head in the order of the rows; without
            them the head is left out.

    Raises:
        FileNotFoundError, ValueError: it is missing, damaged, contains code, or is of another kind.
    """
    content = _load(Path(path), "or not a model file")
    if str(content.get("format")).startswith("speakernet-state-"):
        raise ValueError(f"{path}: a training state, not a model; models are in the folder model/")
    if content.get("format") != MODEL_FORMAT:
        return _load_foreign(content, path, origin, head_speakers)
    if origin:
        raise ValueError(f"{path} is a file of this trainer; leave out --origin {origin}")
    if head_speakers:
        raise ValueError(f"{path} is a file of this trainer, with its speakers; leave out --head_speakers")
    missing = set(ModelFile._fields) - ModelFile._field_defaults.keys() - content.keys()
    if missing:
        raise ValueError(f"{path}: damaged: it lacks {', '.join(sorted(missing))}")
    known = {name: content[name] for name in ModelFile._fields if name in content}
    return ModelFile(**known | {"path": path})


def _load_foreign(content: dict[str, Any], path: str, origin: str, head_speakers: Sequence[str]) -> ModelFile:
    """Contents of a file of another program -> the model in it."""
    foreign = read_foreign(content, path, origin)
    if foreign is None:
        if head_speakers:
            raise ValueError(f"{path} isn't a file of a toolkit; leave out --head_speakers")
        weights, options, description = from_older(content, path)
        return ModelFile(weights, options, [], True, {}, description, path=path)
    weights = foreign.weights
    if head_speakers:
        weights = weights | {"loss.weight": rows_of_head(foreign.head, len(head_speakers), path)}
    return ModelFile(weights, foreign.options, list(head_speakers), True, {}, foreign.description, path=path)


def digest(weights: dict[str, Tensor]) -> str:
    """A hash of weights and their names."""
    sha256 = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        # as bytes, because NumPy lacks some of PyTorch's types
        sha256.update(
            name.encode() + tensor.detach().cpu().flatten().contiguous().view(torch.uint8).numpy().tobytes()
        )
    return sha256.hexdigest()


def save_cohort(path: Path, cohort: dict[str, Any]) -> None:
    """Write the fields of an evaluation.cohort.Cohort, whole or not at all."""
    _save(path, {"format": COHORT_FORMAT, **cohort})


def load_cohort(path: str) -> dict[str, Any]:
    """Cohort file -> the fields that save_cohort wrote."""
    content = _load(Path(path), "make it again with --prepare")
    if content.pop("format", None) != COHORT_FORMAT:
        raise ValueError(f"--cohort {path}: not a cohort file, as --prepare writes it")
    return content


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a training state; the previous one is kept beside it."""
    new = path.with_name(f"{path.name}.new")
    _save(new, {"format": STATE_FORMAT, **state})
    if path.exists():
        path.replace(previous(path))
    new.replace(path)


def previous(path: Path) -> Path:
    """State file -> the file of the previous state."""
    return path.with_name(f"{path.name}.before")


def load_last_state(path: Path) -> tuple[dict[str, Any] | None, str]:
    """State file -> the newest undamaged state or None, and a note if it is not the last one.

    Raises:
        DamagedError: both the last state and the previous one are damaged.
        OSError, MemoryError: a state can't be read, which doesn't show whether it is damaged.
    """
    if not path.exists() and not previous(path).exists():
        return None, ""
    try:
        return load_state(path), ""
    except (DamagedError, FileNotFoundError) as error:
        if not previous(path).exists():
            raise
        return load_state(previous(path)), f"{error}; resuming from {previous(path)}"


def load_state(path: Path) -> dict[str, Any]:
    """State file -> the state that save_state wrote."""
    content = _load(path, "give another --save_path to start again")
    kind = content.pop("format", None)
    if kind != STATE_FORMAT:
        if str(kind).startswith("speakernet-state-"):
            raise ValueError(f"{path} was written by another version; give another --save_path")
        raise ValueError(f"{path}: not a training state of this trainer")
    return content


def load_weights(
    network: nn.Module, weights: dict[str, Tensor], source: str, allow_partial: bool = False
) -> str:
    """Copy all weights by name, or with allow_partial those that fit -> a list of those that don't fit.

    Buffers of the front end follow from the options; the file may lack them.

    Raises:
        ValueError: some are missing, unexpected or of another shape; with allow_partial, none fits.
    """
    expected = network.state_dict()
    derived = {name for name, _ in network.named_buffers() if name.startswith("features.")}
    wrong = [f"missing {name}" for name in expected if name not in weights and name not in derived]
    wrong += [f"unexpected {name}" for name in weights if name not in expected]
    wrong += [
        f"{name} is {tuple(weights[name].shape)}, not {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    fitting = {k: t for k, t in weights.items() if k in expected and t.shape == expected[k].shape}
    more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
    misfits = "; ".join(wrong[:5]) + more
    if wrong and not (allow_partial and split_loss(fitting)[0]):
        raise ValueError(f"{source} doesn't fit the network: {misfits}")
    network.load_state_dict(expected | fitting)
    return misfits


def split_loss(weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights by name -> those of front end and encoder, those of the loss."""
    loss = {name: tensor for name, tensor in weights.items() if name.startswith("loss.")}
    return {name: tensor for name, tensor in weights.items() if name not in loss}, loss


def keep_classes(weights: dict[str, Tensor], classes: int, kept: int) -> dict[str, Tensor]:
    """Weights of a loss over `classes` -> those over the first `kept` of them."""
    if kept == classes:
        return weights
    loss = split_loss(weights)[1]
    per_class = {name for name, tensor in loss.items() if tensor.ndim and len(tensor) == classes}
    return {name: tensor[:kept].clone() if name in per_class else tensor for name, tensor in weights.items()}


def _save(path: Path, content: dict[str, Any]) -> None:
    try:
        with written_whole(path) as stream:
            torch.save(content, stream)
    except RuntimeError as error:  # how torch's zip writer reports a failed write
        if is_dead_worker(error) or is_dead_worker(error.__context__):
            raise error.__context__ or error from None  # PyTorch's signal handler interrupted the writing
        raise OSError(f"{path} could not be written: {str(error).splitlines()[0]}") from None


def _load(path: Path, advice: str) -> dict[str, Any]:
    """File -> the dictionary in it.

    Raises:
        DamagedError: its content isn't whole; the message ends with the advice.
        ValueError: it holds other objects than weights.
        OSError, MemoryError, RuntimeError: it can't be read, or memory is exhausted.
    """
    try:
        with path.open("rb") as stream:
            if is_safetensors(stream):
                content: Any = load_safetensors(path)
            else:
                content = load_nemo(path, _load_tensors) or _load_tensors(stream)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except OSError as error:
        raise OSError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ConfigError:
        raise
    except Exception as error:  # a damaged file can fail anywhere in the unpickler
        if runtime.is_out_of_memory(error) or is_dead_worker(error):
            raise
        _require_readable(path)
        if isinstance(error, ModuleNotFoundError):
            raise ValueError(f"{path}: a safetensors file; to read it: pip install safetensors") from None
        refuse_container(path)
        if isinstance(error, pickle.UnpicklingError) and "GLOBAL" in str(error):
            raise ValueError(  # the pickle names a class or function that tensors don't need
                f"{path}: refused: it holds Python objects other than weights, which could run code"
            ) from None
        raise DamagedError(f"{path}: damaged, {advice}") from None
    if not isinstance(content, dict):
        raise DamagedError(f"{path}: damaged, {advice}")
    return content


def _load_tensors(stream: BinaryIO) -> Any:
    """PyTorch's file -> what is in it; tensors and plain values only."""
    # of TorchScript programs, which are refused later
    warnings.filterwarnings("ignore", message="'torch.load' received a zip file")
    return torch.load(stream, map_location="cpu", weights_only=True)


def _require_readable(path: Path) -> None:
    """Raises OSError if the disk doesn't give all of a file; PyTorch's reader hides such errors."""
    try:
        with path.open("rb") as stream:
            while stream.read(1 << 24):
                pass
    except OSError as error:
        raise OSError(f"{path}: cannot be read: {error.strerror or error}") from None
