"""Files around tensors other than PyTorch's: safetensors and NeMo's archives are read, others refused."""

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import yaml
from torch import Tensor

from storage.files import written_whole

SAFETENSORS = ".safetensors"
CONTENT = "speakernet"  # of the metadata: what a model file holds besides its weights, as JSON
TENSOR = "tensor"  # in its place there is the name of one
WEIGHTS = "weights"  # of the content, whose names need no prefix

LARGEST_PICKLE = 1 << 24  # bytes that are looked through
NEMO_WEIGHTS, NEMO_CONFIG = "model_weights.ckpt", "model_config.yaml"
LARGEST_NEMO = 1 << 32  # bytes that are unpacked


def is_safetensors(stream: BinaryIO) -> bool:
    """Whether a file begins as safetensors does: the length of a JSON header, then the header."""
    start = stream.read(9)
    stream.seek(0)
    return len(start) == 9 and start[8:] == b"{"


def load_safetensors(path: Path) -> dict[str, Any]:
    """File -> its tensors by name, or the content that save_safetensors wrote.

    Raises:
        ModuleNotFoundError: the optional package isn't installed.
        Exception: the file is damaged.
    """
    from safetensors import safe_open  # an optional package

    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
        text = (file.metadata() or {}).get(CONTENT)
    if text is None:
        return tensors
    content: dict[str, Any] = json.loads(
        text, object_hook=lambda each: tensors[each[TENSOR]] if each.keys() == {TENSOR} else each
    )
    return content


def save_safetensors(path: Path, content: dict[str, Any]) -> None:
    """Write the content of a model file, whole or not at all: tensors, the rest as JSON in the header.

    Raises:
        ValueError: the optional package isn't installed.
    """
    try:
        from safetensors.torch import save
    except ModuleNotFoundError:
        raise ValueError(f"{path}: to write it: pip install safetensors") from None
    tensors = dict[str, Tensor]()

    def without_tensors(value: Any, name: str) -> Any:
        if isinstance(value, Tensor):
            tensors[name] = value.contiguous().clone()  # none may share memory
            return {TENSOR: name}
        if isinstance(value, dict):
            prefix = "" if name == WEIGHTS else f"{name}."
            return {
                key: without_tensors(each, f"{prefix}{key}" if name else key) for key, each in value.items()
            }
        return value

    text = json.dumps(without_tensors(content, ""))
    with written_whole(path) as stream:
        stream.write(save(tensors, {CONTENT: text}))


class ConfigError(ValueError):
    """A configuration in an archive that can't be used; the message says where."""


def load_nemo(path: Path, load: Callable[[BinaryIO], Any]) -> dict[str, Any] | None:
    """NeMo's archive -> its tensors and configuration, read in memory; None for other files.

    Args:
        path: of a file.
        load: reads PyTorch's files.

    Raises:
        ConfigError: the configuration isn't one.
        Exception: the archive or the weights in it are damaged.
    """
    if not tarfile.is_tarfile(path):
        return None
    found = dict[str, bytes]()
    with tarfile.open(path) as archive:
        for member in archive:
            name = member.name.removeprefix("./")
            if member.offset_data + member.size > LARGEST_NEMO:
                break
            if name in (NEMO_WEIGHTS, NEMO_CONFIG) and (stream := archive.extractfile(member)):
                found[name] = stream.read()
    if NEMO_WEIGHTS not in found:
        return None
    try:
        config = yaml.safe_load(found.get(NEMO_CONFIG, b"{}"))
    except yaml.YAMLError:
        config = None
    if not isinstance(config, dict) or not isinstance(config.get("preprocessor", {}), dict):
        raise ConfigError(
            f"{path}: {NEMO_CONFIG} in it isn't a configuration of NeMo; copy the archive again"
        )
    return {"model_config": config, "state_dict": load(io.BytesIO(found[NEMO_WEIGHTS]))}


def refuse_container(path: Path) -> None:
    """Raises ValueError for files of other programs that can't be read with weights alone."""
    if path.suffix == ".onnx":
        raise ValueError(
            f"{path}: exported for inferSpeakerNet.py and other programs; give the model file it was made of"
        )
    try:
        is_tar = tarfile.is_tarfile(path)
        names, start = ([], b"") if is_tar else _zip_members(path)
    except Exception:  # a damaged file can fail anywhere in the readers
        return
    if is_tar:
        raise ValueError(
            f"{path}: an archive without {NEMO_WEIGHTS}; unpack it and give the model file, or the folder"
        )
    if any("/code/" in name for name in names):
        raise ValueError(f"{path}: refused: a TorchScript program, not weights")
    if b"pyannote" in start:  # the names of its classes are in the pickle as text
        raise ValueError(
            f"{path}: refused: pyannote's files hold Python objects besides weights. If you trust it, write "
            "them alone where pyannote is installed: torch.save(Model.from_pretrained(FILE).state_dict(), F)"
        )


def _zip_members(path: Path) -> tuple[list[str], bytes]:
    """Zip -> names of its members, and the beginning of the pickle in it, if it has one."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        pickles = [name for name in names if name.endswith("/data.pkl")]
        return names, archive.open(pickles[0]).read(LARGEST_PICKLE) if pickles else b""
