"""Recordings in tar files, as WebDataset and wespeaker write them, read at random by an index."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audio.pack import Pack, index_arrays
from audio.tar_member import TarMember
from audio.utterances import Paths


class TarIndex:
    """Where the recordings in the tar files under a folder are, as dataprep.py --index finds them.

    The file `tar_index.npz` in the folder holds, as arrays of Paths, the paths of the recordings, each
    `tar/member` (`text`, `ends`), and of the tars (`tar_text`, `tar_ends`), relative to the folder; `places`,
    of each recording its tar, first byte and number of bytes; `stamps`, of each tar its size in bytes and its
    time in ns (mtime_ns).
    """

    INDEX = "tar_index.npz"
    COLUMNS = 3  # of places

    def __init__(self, folder: Path) -> None:
        """Read the index; raises ValueError or FileNotFoundError if it isn't whole."""
        self.folder = folder
        self._prefix = os.path.join(folder, "")  # noqa: PTH118  (ends in a slash)
        self.again = f"index it again: dataprep.py --index --from {folder}"
        absent = f"{folder}: no index of tar files; {self.again}"
        with index_arrays(folder / self.INDEX, self.COLUMNS, absent, self.again) as index:
            self.paths = Paths(index["text"], index["ends"])
            self.tars = list(Paths(index["tar_text"], index["tar_ends"]))  # few, and looked up often
            self.places: NDArray[np.int64] = index["places"]
            self.stamps: NDArray[np.int64] = index["stamps"]

    def rows(self, paths: Sequence[str]) -> NDArray[np.int64]:
        """Paths -> their rows, -1 for those that aren't there.

        Raises:
            ValueError, FileNotFoundError: a tar that holds one of them has changed, or is missing.
        """
        if isinstance(paths, Paths) and paths == self.paths:
            rows = np.arange(len(paths))
        else:
            known = dict.fromkeys(paths, -1)
            known.update((path, row) for row, path in enumerate(self.paths) if path in known)
            rows = np.fromiter((known[path] for path in paths), np.int64, len(paths))
        found = rows[rows >= 0]
        tars, first = np.unique(self.places[found, 0], return_index=True)
        for tar, row in zip(tars.tolist(), found[first].tolist(), strict=True):
            self._require_unchanged(tar, row)
        return rows

    def _require_unchanged(self, tar: int, row: int) -> None:
        """Raises for a tar that isn't as it was when it was indexed, with the path of a recording in it."""
        file = self.folder / self.tars[tar]
        try:
            status = file.stat()
        except OSError as error:
            raise type(error)(
                f"{file}: cannot be read: {error.strerror}; {self.paths[row]} is in it"
            ) from None
        if [status.st_size, status.st_mtime_ns] != self.stamps[tar].tolist():
            raise ValueError(f"{file}: changed since {self.paths[row]} was found in it; {self.again}")

    def member(self, row: int) -> TarMember:
        """Row of the index -> the recording's path and place."""
        tar, begin, size = self.places[row].tolist()
        return TarMember(self._prefix + self.paths[row], self._prefix + self.tars[tar], begin, size)


def index_in(root: str) -> Pack | TarIndex | None:
    """Folder of recordings -> the pack that it is, or the index of the tars in it; None for files."""
    for kind in (Pack, TarIndex) if root else ():
        if Path(root, kind.INDEX).exists():
            return kind(Path(root))
    return None
