"""Model files and training states, older formats too: the only file that calls torch.load."""

import hashlib
import pickle
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from storage.files import written_whole
from storage.legacy import from_older

MODEL_FORMAT, STATE_FORMAT = "speakernet-model-1", "speakernet-state-2"
COHORT_FORMAT = "speakernet-cohort-1"


class ModelFile(NamedTuple):
    """Everything that a trained network needs to be used alone."""

    weights: dict[str, Tensor]
    options: dict[str, Any]  # resolved; decide the network and how it is scored
    speakers: list[str]
    normalize: bool  # whether `distance` scoring length-normalises
    metrics: dict[str, float]
    origin: str = ""  # of a file of another program: which program, and what the file tells
    cohort: dict[str, Any] | None = None  # what scores are normalised by, as save_cohort takes it
    decision: dict[str, Any] | None = None  # threshold, calibration and the options that they are for


def save_model(path: Path, model: ModelFile) -> None:
    """Write a model file, whole or not at all."""
    _save(path, {"format": MODEL_FORMAT, **model._asdict()})


def load_model(path: str) -> ModelFile:
    """Model file -> its contents, on the CPU.

    Raises:
        FileNotFoundError, ValueError: absent, damaged, with code inside, or of another kind.
    """
    content = _load(Path(path), "or not a model file")
    if str(content.get("format")).startswith("speakernet-state-"):
        raise ValueError(f"{path}: a training state, not a model; models lie in the folder model/")
    if content.get("format") != MODEL_FORMAT:
        weights, found, origin = from_older(content, path)
        return ModelFile(weights, found, [], True, {}, origin)
    if not content.keys() >= set(ModelFile._fields) - ModelFile._field_defaults.keys():
        raise ValueError(f"{path}: damaged: it lacks parts of a model file")
    return ModelFile(**{name: content[name] for name in ModelFile._fields if name in content})


def digest(weights: dict[str, Tensor]) -> str:
    """A hash of weights and their names."""
    made = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        made.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return made.hexdigest()


def save_cohort(path: Path, cohort: dict[str, Any]) -> None:
    """Write what evaluation.cohort.Cohort holds, whole or not at all."""
    _save(path, {"format": COHORT_FORMAT, **cohort})


def load_cohort(path: str) -> dict[str, Any]:
    """Cohort file -> what save_cohort was given."""
    content = _load(Path(path), "make it anew with --prepare")
    if content.pop("format", None) != COHORT_FORMAT:
        raise ValueError(f"--cohort {path}: not a cohort, as --prepare makes it")
    return content


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a training state; the one before is kept beside it."""
    new = path.with_name(f"{path.name}.new")
    _save(new, {"format": STATE_FORMAT, **state})
    if path.exists():
        path.replace(before(path))
    new.replace(path)


def before(path: Path) -> Path:
    """State file -> the file of the state before it."""
    return path.with_name(f"{path.name}.before")


def load_last_state(path: Path) -> tuple[dict[str, Any] | None, str]:
    """State file -> the newest whole state, None if there is none, and why it isn't the file's own.

    Raises:
        ValueError: neither the state nor the one before it is whole.
    """
    if not path.exists() and not before(path).exists():
        return None, ""
    try:
        return load_state(path), ""
    except (ValueError, FileNotFoundError) as error:
        if not before(path).exists():
            raise
        return load_state(before(path)), f"{error}; going on from {before(path)}"


def load_state(path: Path) -> dict[str, Any]:
    """State file -> what save_state was given."""
    content = _load(path, "delete it to start anew")
    kind = content.pop("format", None)
    if kind != STATE_FORMAT:
        if str(kind).startswith("speakernet-state-"):
            raise ValueError(f"{path} was written by another version; give another --save_path")
        raise ValueError(f"{path}: not a training state of this trainer")
    return content


def load_weights(
    network: nn.Module, weights: dict[str, Tensor], source: str, allow_partial: bool = False
) -> str:
    """Copy weights by name, all of them or nothing; with allow_partial those that fit -> what doesn't.

    Buffers of the front end follow from the options; where the file has none, those stand.

    Raises:
        ValueError: lists what is missing, what is unexpected and what has another shape; or nothing fits.
    """
    own = network.state_dict()
    derived = {name for name, _ in network.named_buffers() if name.startswith("features.")}
    wrong = [f"missing {name}" for name in own if name not in weights and name not in derived]
    wrong += [f"unexpected {name}" for name in weights if name not in own]
    wrong += [
        f"{name} is {tuple(weights[name].shape)}, not {tuple(tensor.shape)}"
        for name, tensor in own.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    fitting = {k: t for k, t in weights.items() if k in own and t.shape == own[k].shape}
    more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
    misfits = "; ".join(wrong[:5]) + more
    if wrong and not (allow_partial and split_loss(fitting)[0]):
        raise ValueError(f"{source} doesn't fit the network: {misfits}")
    network.load_state_dict(own | fitting)
    return misfits


def split_loss(weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights by name -> those of front end and encoder, those of the loss."""
    loss = {name: tensor for name, tensor in weights.items() if name.startswith("loss.")}
    return {name: tensor for name, tensor in weights.items() if name not in loss}, loss


def keep_classes(weights: dict[str, Tensor], classes: int, kept: int) -> dict[str, Tensor]:
    """Weights of a loss over so many classes -> the same over the first of them."""
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
        if "DataLoader worker" in f"{error} {error.__context__}":
            raise error.__context__ or error from None  # its death is told wherever the main process is
        raise OSError(f"{path} could not be written: {str(error).splitlines()[0]}") from None


def _load(path: Path, advice: str) -> dict[str, Any]:
    try:
        stream = path.open("rb")
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    with stream:
        try:
            content = torch.load(stream, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            if "GLOBAL" not in str(error):
                raise ValueError(f"{path}: damaged, {advice}") from None
            raise ValueError(  # a class or function that is no plain tensor's
                f"{path}: refused: it holds Python objects other than weights, which could run code"
            ) from None
        except Exception:  # a damaged file can fail anywhere in the unpickler
            raise ValueError(f"{path}: damaged, {advice}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: damaged, {advice}")
    return content
