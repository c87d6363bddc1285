"""The weights that training starts from, where --initial_model names a model file."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from metrics.fields import lines_of
from storage import checkpoint
from storage.checkpoint import ModelFile


def read_head_speakers(path: str) -> list[str]:
    """--head_speakers, or "" for none -> the names in it, in the order of the rows of a loss head.

    Raises:
        FileNotFoundError, ValueError: it is missing or empty, or a name occurs twice.
    """
    if not path:
        return []
    try:
        with Path(path).open(encoding="utf-8", errors="surrogateescape") as stream:
            names = [line.name() for line in lines_of(stream)]
    except FileNotFoundError:
        raise FileNotFoundError(f"--head_speakers {path}: no such file") from None
    except OSError as error:
        raise OSError(f"--head_speakers {path}: cannot be read: {error.strerror}") from None
    if not names:
        raise ValueError(f"--head_speakers {path}: expected one speaker a line, got an empty file")
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise ValueError(f"--head_speakers {path}: {name} is in {count} lines; expected each speaker once")
    return names


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
    kind = initial.options.get("trainfunc") or trainfunc  # older files don't say
    if fresh_loss and not stored_loss:
        problem = "none"
    elif _parts(kind) != _parts(trainfunc):
        problem = f"that of {kind}"
    else:
        problem = _other_speakers(initial.speakers, speakers) or _other_shapes(stored_loss, fresh_loss)
    if problem:
        notes.append(f"note: the loss is re-initialised: --initial_model has {problem}")
        weights = trunk | fresh_loss
    elif initial.speakers:
        weights = trunk | in_order(stored_loss, initial.speakers, speakers)
    misfits = checkpoint.load_weights(network, weights, initial.path, allow_partial)
    if misfits:
        notes.append(f"note: --allow_partial: these keep their initial values or are left out: {misfits}")
    return notes


def _parts(trainfunc: str) -> list[str]:
    """`aamsoftmax+0.5*angleproto` -> the names of its losses."""
    return [part.rpartition("*")[2] for part in trainfunc.split("+")]


def _other_speakers(stored: Sequence[str], speakers: Sequence[str]) -> str:
    """Speakers of a loss and of the train list -> how they differ; "" if they don't or aren't known."""
    if not stored or sorted(stored) == sorted(speakers):
        return ""
    shared = len({*stored} & {*speakers})
    return f"one for other speakers: {shared} of its {len(stored)} are among the {len(speakers)} to train on"


def _other_shapes(stored: dict[str, Tensor], fresh: dict[str, Tensor]) -> str:
    shapes, expected = ({name: t.shape for name, t in loss.items()} for loss in (stored, fresh))
    return "" if shapes == expected else "one of another kind or size"


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
