"""Model files of wespeaker, 3D-Speaker, SpeechBrain and others, recognised by their tensors.

Toolkits share networks but not front ends. Where tensors don't tell whose a file is, the configuration file
beside it or --origin does.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from storage.renaming import renamed
from storage.toolkit_configs import (
    require_sample_rate,
    toolkits_beside,
    wespeaker_front_end,
    wespeaker_projection,
)
from storage.toolkit_networks import NETWORKS, Network

# keys of files that hold more than tensors, the outer one first
WRAPPERS = ("model_state", "state_dict", "model", "modules", "spk_model")
DATA_PARALLEL = "module."  # prefix of names
PYANNOTE = "resnet."  # prefix of names in pyannote's copy of wespeaker's ResNet
SPEEDS = 3  # unchanged, slower and faster recordings are classes of their own
PROJECTION = "projection."  # prefix of the names in wespeaker's loss heads
HEAD = f"{PROJECTION}weight"  # (speakers, or three times as many for changed speeds, D)
NAMES = {
    "wespeaker": "wespeaker",
    "3dspeaker": "3D-Speaker",
    "speechbrain": "SpeechBrain",
    "resemblyzer": "Resemblyzer",
    "redimnet": "ReDimNet",
    "nemo": "NeMo",
    "voxblink2": "VoxBlink2",
}
TESTED_WHOLE = {"eval_frames": 0, "scoring": "cosine"}  # as their authors test
KALDI = {"features": "fbank", "use_energy": False, "feature_norm": "mean", "f_min": 20.0, "f_max": 8000.0}
WESPEAKER_FRONT_ENDS: dict[str, dict[str, Any]] = {  # by their names in its configuration files
    "fbank": KALDI | {"window": "hamming", "waveform_scale": 32768.0},
    "tfmel": {"features": "tfmel"},
}
FRONT_ENDS: dict[str, dict[str, Any]] = {  # of the networks that the toolkits share
    "wespeaker": WESPEAKER_FRONT_ENDS["fbank"],
    "speechbrain": {"features": "dbmel", "feature_norm": "mean"},
    "3dspeaker": KALDI | {"window": "povey", "waveform_scale": 1.0, "channel": 0},
    # VoxBlink2 divides by the deviation without subtracting the mean, which is near zero in recordings
    "voxblink2": {
        "features": "logmel",
        "window": "hann",
        "normalise_waveform": True,
        "feature_norm": "mean",
    },
}


class Foreign(NamedTuple):
    """A model file of a toolkit, in this trainer's terms."""

    weights: dict[str, Tensor]
    options: dict[str, Any]
    description: str  # whose it is and what it shows
    head: Tensor | None  # of a softmax loss: a row (D,) for each speaker, perhaps then for changed speeds


def read_foreign(content: Mapping[str, Any], path: str, origin: str = "") -> Foreign | None:
    """Contents of a file -> the model in it, or None if no toolkit's network is recognised.

    Args:
        content: what was loaded from it.
        path: of the file; the configuration file of its toolkit is looked for beside it.
        origin: the toolkit that wrote it, one of NAMES; "": whose tensors or configuration file tell.

    Raises:
        ValueError: whose it is can't be told, contradicts origin, or the network isn't one of models/.
    """
    tensors, is_wespeakers = _tensors(content)
    network = next((n for n in NETWORKS if any(re.fullmatch(n.marker, name) for name in tensors)), None)
    if network is None:
        if origin:
            raise ValueError(f"{path}: --origin {origin}: its tensors are of no network of {NAMES[origin]}")
        return None
    if network.options is None:
        raise ValueError(f"{path}: {network.name}, which is not among the networks of models/")
    system = _toolkit(network, is_wespeakers, path, origin)
    head = tensors.get(HEAD) if system == "wespeaker" else None
    if system == "wespeaker":
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(PROJECTION)}
    try:
        options = network.options(tensors, content) | TESTED_WHOLE
        weights = {f"model.{k}": t for k, t in _shaped(renamed(tensors, network.rules), network).items()}
    except KeyError as error:
        raise ValueError(f"{path}: {network.name}, but incomplete: it has no {error}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {network.name}: {error}") from None
    except (ArithmeticError, AttributeError, IndexError, RuntimeError, TypeError) as error:
        raise ValueError(f"{path}: {network.name}, but of unexpected shapes or settings: {error}") from None
    options |= _front_end(system, Path(path), options)
    shown = ", ".join(f"{key} {value}" for key, value in options.items())
    return Foreign(weights, options, f"a file of {NAMES[system]}; it shows: {shown}", head)


def rows_of_head(head: Tensor | None, num_speakers: int, path: str) -> Tensor:
    """Head of a file -> the weights (num_speakers, D) of its speakers at unchanged speed.

    Raises:
        ValueError: the file has no head, or one for another number of speakers; three rows for each may be
            for something else than changed speeds.
    """
    if head is None or head.ndim != 2:
        raise ValueError(f"{path} has no loss head; leave out --head_speakers")
    if len(head) not in (num_speakers, SPEEDS * num_speakers):
        raise ValueError(
            f"--head_speakers has {num_speakers} speakers, the head in {path} {len(head)} rows; expected one "
            f"row for each speaker, or {SPEEDS} for changed speeds"
        )
    if len(head) != num_speakers:
        projection = wespeaker_projection(Path(path))
        if not projection:
            raise ValueError(
                f"{path} has {SPEEDS} rows for each speaker of --head_speakers; only the config.yaml of "
                "wespeaker says what they are: put it beside the file"
            )
        if "subcenter" in projection:
            raise ValueError(f"{path} has a head with sub-centers, not supported; leave out --head_speakers")
    return head[:num_speakers].clone()


def _tensors(content: Mapping[str, Any]) -> tuple[dict[str, Tensor], bool]:
    """Contents of a file -> the tensors in it by name, without what wraps them; whether they are wespeaker's.

    They can be wespeaker's even if nothing in the file shows it.
    """
    inner: Any = content
    for wrapper in WRAPPERS:
        if isinstance(inner.get(wrapper), Mapping):
            inner = inner[wrapper]
    tensors = {str(name): value for name, value in inner.items() if isinstance(value, Tensor)}
    is_pyannotes = False
    for prefix in (DATA_PARALLEL, PYANNOTE):
        if all(name.startswith((prefix, PROJECTION)) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
            is_pyannotes = prefix == PYANNOTE
    return tensors, is_pyannotes or HEAD in tensors


def _toolkit(network: Network, is_wespeakers: bool, path: str, origin: str) -> str:
    """The toolkit that wrote a file of a network that several have."""
    candidates = network.systems
    if is_wespeakers and "wespeaker" in candidates:
        candidates = ("wespeaker",)
    names = " or ".join(NAMES[name] for name in candidates)
    if origin:
        if origin not in candidates:
            raise ValueError(f"{path}: --origin {origin}: its network is {network.name} of {names}")
        return origin
    if len(candidates) > 1:
        candidates = tuple(set(toolkits_beside(Path(path))) & set(candidates)) or candidates
    if len(candidates) > 1:
        raise ValueError(
            f"{path}: {network.name} of {names}, whose front ends differ; say which: --origin "
            f"{'|'.join(network.systems)}"
        )
    return candidates[0]


def _front_end(system: str, path: Path, shown: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a toolkit's front end, as far as the network in the file doesn't show them.

    Raises:
        ValueError: the configuration file beside it asks for another input.
    """
    if system == "3dspeaker":
        require_sample_rate(path)
    named = wespeaker_front_end(path, shown["n_mels"]) if system == "wespeaker" else ""
    if named:
        return WESPEAKER_FRONT_ENDS[named]
    return {} if "features" in shown else FRONT_ENDS[system]


def _shaped(weights: dict[str, Tensor], network: Network) -> dict[str, Tensor]:
    """Weights by their names here -> with the shapes that they have here."""
    shaped = dict[str, Tensor]()
    for name, tensor in weights.items():
        if name.endswith("num_batches_tracked"):
            tensor = tensor.round().long()  # averaging has made it a fraction
        for pattern, rank in network.ranks:
            if re.fullmatch(pattern, name):
                tensor = tensor.reshape(*tensor.shape, 1) if rank > tensor.ndim else tensor.flatten(rank - 1)
        shaped[name] = tensor
    return shaped
