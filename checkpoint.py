"""Model files and training states: the only file that calls torch.load, and only with weights_only."""

import pickle
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from files import written_whole

MODEL_FORMAT, STATE_FORMAT = "speakernet-model-1", "speakernet-state-1"


class ModelFile(NamedTuple):
    """Everything that a trained network needs to be used alone."""

    weights: dict[str, Tensor]
    options: dict[str, Any]  # resolved; decide the network and how it is scored
    speakers: list[str]
    normalize: bool  # whether `distance` scoring length-normalises
    metrics: dict[str, float]


def save_model(path: Path, model: ModelFile) -> None:
    """Write a model file, whole or not at all."""
    _save(path, {"format": MODEL_FORMAT, **model._asdict()})


def load_model(path: str) -> ModelFile:
    """Model file -> its contents, on the CPU.

    Raises:
        FileNotFoundError, ValueError: absent, damaged, with code inside, or of another kind.
    """
    content = _load(Path(path), "or not a model file")
    if content.get("format") == STATE_FORMAT:
        raise ValueError(f"{path}: a training state, not a model; models lie in the folder model/")
    if content.get("format") != MODEL_FORMAT:
        raise ValueError(f"{path}: not a model file of this trainer (older formats can't be read yet)")
    if not content.keys() >= set(ModelFile._fields):
        raise ValueError(f"{path}: damaged: it lacks parts of a model file")
    return ModelFile(**{name: content[name] for name in ModelFile._fields})


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a training state; the one before stays until this one is whole."""
    _save(path, {"format": STATE_FORMAT, **state})


def load_state(path: Path) -> dict[str, Any]:
    """State file -> what save_state was given."""
    content = _load(path, "delete it to start anew")
    if content.pop("format", None) != STATE_FORMAT:
        raise ValueError(f"{path}: not a training state of this trainer")
    return content


def load_weights(network: nn.Module, weights: dict[str, Tensor], source: str) -> None:
    """Copy weights by name; nothing is copied unless all of them fit.

    Raises:
        ValueError: lists what is missing, what is unexpected and what has another shape.
    """
    own = network.state_dict()
    wrong = [f"missing {name}" for name in own if name not in weights]
    wrong += [f"unexpected {name}" for name in weights if name not in own]
    wrong += [
        f"{name} is {tuple(weights[name].shape)}, not {tuple(tensor.shape)}"
        for name, tensor in own.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise ValueError(f"{source} doesn't fit the network: {'; '.join(wrong[:5])}{more}")
    network.load_state_dict(weights)


def _save(path: Path, content: dict[str, Any]) -> None:
    try:
        with written_whole(path) as stream:
            torch.save(content, stream)
    except RuntimeError as error:  # how torch's zip writer reports a failed write
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
