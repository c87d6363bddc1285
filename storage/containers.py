"""Files around tensors other than PyTorch's: safetensors is read, others are refused with what helps."""

import tarfile
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

LARGEST_PICKLE = 1 << 24  # bytes that are looked through


def is_safetensors(stream: BinaryIO) -> bool:
    """Whether a file begins as safetensors does: the length of a JSON header, then the header."""
    start = stream.read(9)
    stream.seek(0)
    return len(start) == 9 and start[8:] == b"{"


def load_safetensors(path: Path) -> dict[str, Any]:
    """File -> its tensors by name.

    Raises:
        ModuleNotFoundError: the optional package isn't installed.
        Exception: the file is damaged.
    """
    from safetensors.torch import load_file  # an optional package

    return load_file(path)


def refuse_container(path: Path) -> None:
    """Raises ValueError for files of other programs that can't be read with weights alone."""
    try:
        is_tar = tarfile.is_tarfile(path)
        names, start = ([], b"") if is_tar else _zip_members(path)
    except Exception:  # a damaged file can fail anywhere in the readers
        return
    if is_tar:
        raise ValueError(f"{path}: an archive such as NeMo's .nemo, whose networks models/ doesn't have")
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
