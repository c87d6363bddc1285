"""The weights that training starts from, where --initial_model names a model file."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from storage import checkpoint
from storage.checkpoint import ModelFile


def read_head_speakers(path: str) -> list[str]:
    """--head_speakers, or "" for none -> the names in it, in the order of the rows of a loss head."""
    if not path:
        return []
    try:
        return Path(path).read_text(encoding="utf-8").split()
    except FileNotFoundError:
        raise FileNotFoundError(f"--head_speakers {path}: no such file") from None


def load_initial_weights(
    network: nn.Module,
    initial: ModelFile,
    *,
    trainfunc: str,
    speakers: Sequence[str],
    allow_partial: bool,
) -> list[str]:
    """Load a model file into a network that is to be trained on these speakers -> notes for the log.

    The loss is re-initialised if the file has none, or one of another kind or size or for other speakers.

    Raises:
        ValueError: the weights don't fit; with allow_partial, none of them does.
    """
    notes = list[str]()
    weights = dict(initial.weights)
    trunk, stored_loss = checkpoint.split_loss(weights)
    fresh_loss = checkpoint.split_loss(network.state_dict())[1]
    stored_shapes = {name: tensor.shape for name, tensor in stored_loss.items()}
    same_shapes = stored_shapes == {name: tensor.shape for name, tensor in fresh_loss.items()}
    same_kind = initial.options.get("trainfunc") in (None, trainfunc)  # older files don't say
    same_speakers = not initial.speakers or sorted(initial.speakers) == sorted(speakers)
    if not (same_shapes and same_kind and same_speakers):
        notes.append(
            "note: the loss is re-initialised: --initial_model has none, one of another kind or size, or one "
            "for other speakers"
        )
        weights = trunk | fresh_loss
    elif initial.speakers:
        weights = trunk | in_order(stored_loss, initial.speakers, speakers)
    misfits = checkpoint.load_weights(network, weights, initial.path, allow_partial)
    if misfits:
        notes.append(f"note: --allow_partial: these keep their initial values or are left out: {misfits}")
    return notes


def in_order(loss: dict[str, Tensor], stored: Sequence[str], speakers: Sequence[str]) -> dict[str, Tensor]:
    """Weights of a loss with one row for each stored speaker -> with the rows in the order of `speakers`."""
    if list(stored) == list(speakers):
        return loss
    places = {speaker: row for row, speaker in enumerate(stored)}
    rows = torch.tensor([places[speaker] for speaker in speakers])
    return {
        name: tensor[rows] if tensor.ndim and len(tensor) == len(rows) else tensor
        for name, tensor in loss.items()
    }
