"""The recordings of a list: files under a folder, or slices of a pack."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audio.pack import Pack, PackedRecording
from audio.recording import AudioFile, Recording, WaveFile
from storage.files import require_files


class Recordings:
    """The recordings of a list: files under a folder, or slices of a pack where the folder is one."""

    def __init__(self, root: str, paths: Sequence[str], channel: int | None = None) -> None:
        """Raises ValueError if a pack lacks one of them; files are only looked at when they are opened."""
        self.root = root
        self.paths = paths
        self.channel = channel
        self.pack = Pack(Path(root)) if Path(root, Pack.INDEX).exists() else None
        self.rows = self.pack.rows(paths) if self.pack else None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> Recording:
        """Place in the list -> the recording; raises AudioError if it can't be used."""
        if self.pack is not None and self.rows is not None:
            return PackedRecording(self.pack.samples(self.rows[number]))
        path = os.path.join(self.root, self.paths[number])  # noqa: PTH118  (Path is 4 times as slow)
        return (path.endswith(".wav") and WaveFile.open(path)) or AudioFile(path, self.channel)

    def require(self, numbers: Iterable[int], flag: str) -> None:
        """Raises FileNotFoundError for the first of the recordings that isn't there."""
        if self.pack is None:
            require_files(self.root, (self.paths[number] for number in numbers), flag)

    def identities(self) -> list[str]:
        """A text for each recording, which changes if the recording does."""
        if self.pack is not None:
            root, columns = self.pack.folder.absolute(), self.pack.places[self.rows, 2:4].tolist()
            return [
                f"{root}/{path} {length} {crc}"
                for path, (length, crc) in zip(self.paths, columns, strict=True)
            ]
        files = [os.path.join(self.root, path) for path in self.paths]  # noqa: PTH118
        return [f"{os.path.abspath(file)} {self.channel} {_stamp(file)}" for file in files]  # noqa: PTH100

    def sizes(self) -> list[int]:
        """Of each recording a number that grows with its length: samples, or bytes of the file."""
        if (durations := self.durations()) is not None:
            return durations.tolist()
        files = (os.path.join(self.root, path) for path in self.paths)  # noqa: PTH118
        return [os.path.getsize(file) if os.path.exists(file) else 0 for file in files]  # noqa: PTH110, PTH202

    def durations(self) -> NDArray[np.int64] | None:
        """Length of each in samples; None where that would take opening every file."""
        return None if self.pack is None else self.pack.places[self.rows, 2]


def _stamp(file: str) -> str:
    """Size and time of a file, "" if there is none."""
    try:
        status = os.stat(file)  # noqa: PTH116  (Path is 4 times as slow)
    except OSError:
        return ""
    return f"{status.st_size} {status.st_mtime_ns}"
