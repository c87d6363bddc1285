"""Packs: many recordings as 16-bit samples in a few memory-mapped files."""

import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audio.recording import Samples
from audio.utterances import Paths


@contextmanager
def index_arrays(
    file: Path, num_columns: int, absent: str, advice: str
) -> Iterator[Mapping[str, NDArray[Any]]]:
    """Context with the arrays of an index of recordings, by name.

    Args:
        file: a file of NumPy's, whose `places` have a row for each of `ends`.
        num_columns: of these places.
        absent: what to say if there is no such file.
        advice: what to do if it is damaged.

    Raises:
        FileNotFoundError, OSError, ValueError: it is absent, can't be read, or isn't whole.
    """
    try:
        with np.load(file, allow_pickle=False) as index:
            found, expected = index["places"].shape, (*index["ends"].shape, num_columns)
            if found != expected:
                raise ValueError(f"places are {found}, not {expected}")
            yield index
    except FileNotFoundError:
        raise FileNotFoundError(absent) from None
    except OSError as error:
        raise OSError(f"{file}: cannot be read: {error.strerror or error}") from None
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{file}: damaged: {error}; {advice}") from None


class Pack:
    """A pack, as dataprep.py --pack writes it: recordings as 16-bit samples in a row, memory-mapped.

    A folder with shards `0000.npy`, `0001.npy`, ... and `index.npz`: the recordings' paths (arrays of
    lists.Paths) and `places`, for each its shard, start, length in samples and CRC-32, and the size in bytes
    and time in ns (mtime_ns) of the file that it was packed from. Where parts of it were packed by several
    commands, the first shards have other names, relative to the folder: arrays `shard_text`, `shard_ends`.
    """

    INDEX = "index.npz"
    COLUMNS = 6  # of places

    def __init__(self, folder: Path) -> None:
        """Read the index; raises ValueError or FileNotFoundError if it isn't whole."""
        self.folder = folder
        self._shards = dict[int, Samples]()
        absent = f"{folder}: no pack; make one with dataprep.py --pack"
        with index_arrays(folder / self.INDEX, self.COLUMNS, absent, "make the pack again") as index:
            self.paths = Paths(index["text"], index["ends"])
            self.places = index["places"]
            has_names = "shard_text" in index
            self.names = Paths(index["shard_text"], index["shard_ends"]) if has_names else Paths.of([])

    def samples(self, row: int) -> Samples:
        """Row of the index -> samples (T,), a view of the shard."""
        number, start, length = self.places[row, :3].tolist()
        if number not in self._shards:
            path = self.shard(number)
            try:
                # a plain view of the map: slices of np.memmap take four times as long
                self._shards[number] = np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)
            except FileNotFoundError:
                raise FileNotFoundError(f"{path}: no such file; make the pack again") from None
            except OSError as error:
                raise OSError(f"{path}: cannot be read: {error.strerror or error}") from None
            except (ValueError, EOFError) as error:
                raise ValueError(f"{path}: damaged: {error}; make the pack again") from None
        return self._shards[number][start : start + length]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_shards": {}}  # another process maps them itself

    def shard(self, number: int) -> Path:
        """Where a shard lies."""
        return self.folder / (self.names[number] if number < len(self.names) else f"{number:04d}.npy")

    @property
    def num_shards(self) -> int:
        """How many shards there are."""
        return 1 + int(self.places[:, 0].max())

    def rows(self, paths: Sequence[str]) -> NDArray[np.int64]:
        """Paths -> their rows; raises ValueError if the pack lacks one."""
        if isinstance(paths, Paths) and paths == self.paths:
            return np.arange(len(paths))
        known = {path: row for row, path in enumerate(self.paths)}
        try:
            return np.array([known[path] for path in paths], dtype=np.int64)
        except KeyError as error:
            raise ValueError(
                f"{error.args[0]} is not in the pack {self.folder}; add it with dataprep.py --pack"
            ) from None
