"""Model files of wespeaker, 3D-Speaker, SpeechBrain, Resemblyzer and ReDimNet, recognised by tensors.

Toolkits share networks but not front ends. Where tensors don't tell whose a file is, the configuration file
beside it or --origin does.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from storage.renaming import renamed
from storage.toolkit_configs import toolkit_beside, wespeaker_front_end
from storage.toolkit_networks import NETWORKS, Network

WRAPPERS = (
    "model_state",
    "state_dict",
    "model",
    "modules",
    "spk_model",
)  # keys of files that hold more than tensors
PREFIXES = ("module.", "resnet.")  # of DataParallel, of pyannote's copy of wespeaker's ResNet
SPEEDS = 3  # unchanged, slower and faster recordings are classes of their own
HEAD = "projection.weight"  # of wespeaker: (speakers, or three times as many for changed speeds, D)
NAMES = {
    "wespeaker": "wespeaker",
    "3dspeaker": "3D-Speaker",
    "speechbrain": "SpeechBrain",
    "resemblyzer": "Resemblyzer",
    "redimnet": "ReDimNet",
}
TESTED_WHOLE = {"eval_frames": 0, "scoring": "cosine"}  # as their authors test
KALDI = {"features": "fbank", "use_energy": False, "feature_norm": "mean", "f_min": 20.0, "f_max": 8000.0}
WESPEAKER_FRONT_ENDS: dict[str, dict[str, Any]] = {  # by what its configuration file says, if there is one
    "": {},
    "fbank": KALDI | {"window": "hamming", "waveform_scale": 32768.0},
    "tfmel": {"features": "tfmel"},
}
FRONT_ENDS: dict[str, dict[str, Any]] = {  # of the networks that the toolkits share
    "wespeaker": WESPEAKER_FRONT_ENDS["fbank"],
    "speechbrain": {"features": "dbmel", "feature_norm": "mean"},
    "3dspeaker": KALDI | {"window": "povey", "waveform_scale": 1.0, "channel": 0},
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
    tensors = _tensors(content)
    network = next((n for n in NETWORKS if any(re.fullmatch(n.marker, name) for name in tensors)), None)
    if network is None:
        if origin:
            raise ValueError(f"{path}: --origin {origin}: its tensors are of no network of {NAMES[origin]}")
        return None
    if network.options is None:
        raise ValueError(f"{path}: {network.name}, which is not among the networks of models/")
    system = _toolkit(network, tensors, path, origin)
    head = tensors.pop(HEAD, None) if system == "wespeaker" else None
    try:
        options = network.options(tensors, content) | TESTED_WHOLE
    except (KeyError, IndexError) as error:
        raise ValueError(f"{path}: {network.name}, but incomplete: it has no {error}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if "features" not in options:
        options |= FRONT_ENDS[system]
    if system == "wespeaker":
        options |= WESPEAKER_FRONT_ENDS[wespeaker_front_end(Path(path))]
    weights = {f"model.{k}": t for k, t in _shaped(renamed(tensors, network.rules), network).items()}
    shown = ", ".join(f"{key} {value}" for key, value in options.items())
    return Foreign(weights, options, f"a file of {NAMES[system]}; it shows: {shown}", head)


def rows_of_head(head: Tensor | None, num_speakers: int, path: str) -> Tensor:
    """Head of a file -> the weights (num_speakers, D) of its speakers at unchanged speed.

    Raises:
        ValueError: the file has no head, or one for another number of speakers.
    """
    if head is None:
        raise ValueError(f"{path} has no loss head; leave out --head_speakers")
    if len(head) not in (num_speakers, SPEEDS * num_speakers):
        raise ValueError(
            f"--head_speakers has {num_speakers} speakers, the head in {path} {len(head)} rows; expected one "
            f"row for each speaker, or {SPEEDS} for changed speeds"
        )
    return head[:num_speakers].clone()


def _tensors(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """Contents of a file -> the tensors in it by name, without what wraps them."""
    inner: Any = content
    for wrapper in WRAPPERS:
        if isinstance(inner.get(wrapper), Mapping):
            inner = inner[wrapper]
    tensors = {str(name): value for name, value in inner.items() if isinstance(value, Tensor)}
    for prefix in PREFIXES:
        if all(name.startswith((prefix, HEAD)) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def _toolkit(network: Network, tensors: Mapping[str, Tensor], path: str, origin: str) -> str:
    """The toolkit that wrote a file of a network that several have."""
    candidates = network.systems
    if HEAD in tensors:
        candidates = tuple(name for name in candidates if name == "wespeaker")
    if origin:
        if origin not in candidates:
            names = " or ".join(NAMES[name] for name in candidates)
            raise ValueError(f"{path}: --origin {origin}: it is a {network.name} of {names}")
        return origin
    if len(candidates) == 1:
        return candidates[0]
    beside = toolkit_beside(Path(path))
    if beside in candidates:
        return beside
    names = " or ".join(NAMES[name] for name in candidates)
    raise ValueError(
        f"{path}: a {network.name} of {names}, whose front ends differ; say which: --origin "
        f"{'|'.join(candidates)}"
    )


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
