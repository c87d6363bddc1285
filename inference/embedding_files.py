"""Files of embeddings for other programs: .npz, .npy, .csv and Kaldi's .ark; nothing here imports PyTorch.

Writers take blocks of rows, so that memory stays small for any number of recordings.
"""

import csv
import io
import json
import re
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from metrics.fields import shown
from storage.files import written_whole

Vectors = NDArray[np.float32]  # (N, D)
Write = Callable[[Sequence[str], Vectors], None]
BLOCK = 10_000  # names
KEPT = "surrogateescape"  # how bytes of names that aren't UTF-8 are read and written: unchanged
BINARY = b"\0B"  # Kaldi's mark of a binary object
FLOAT_VECTOR = b"FV \x04"  # and of a float32 vector; 4 = bytes of the integer that follows, its length


class NamedEmbeddings(NamedTuple):
    """N recordings: names, vectors (N, D), fingerprint of their model ("" where the file has none)."""

    names: list[str]
    vectors: Vectors
    model: str = ""


class Extracted(NamedTuple):
    """How many recordings are in a file of embeddings, and how many are not."""

    num_written: int
    num_left_out: int


def parts_folder(path: Path) -> Path:
    """File of embeddings -> folder of those that are done, until the file is written."""
    return path.with_name(f"{path.name}.parts")


def companion(path: Path) -> Path | None:
    """File of embeddings -> the file written beside it: the names for .npy, the index for .ark."""
    suffix = {".npy": ".txt", ".ark": ".scp"}.get(path.suffix)
    return path.with_suffix(suffix) if suffix else None


def check_names(path: Path, names: Iterable[str]) -> None:
    """Raises ValueError if the suffix is none of the four, or a name can't be held by that kind of file."""
    _require_known(path)
    forbidden = {".npy": (r"[\r\n]", "a line break"), ".ark": (r"\s|^$", "a blank")}.get(path.suffix)
    if forbidden is None:
        return
    pattern, what = re.compile(forbidden[0], re.ASCII), forbidden[1]
    for name in names:
        if pattern.search(name):
            raise ValueError(f"{path}: a name with {what} can't be in it; write .npz or .csv: {shown(name)}")


@contextmanager
def write_embeddings(path: Path, model: str = "") -> Iterator[Write]:
    """Context with a function that takes names and vectors (n, D), block after block.

    The file and its companion appear when the context ends, or not at all if it ends by an error.

    Args:
        path: its suffix chooses the format: .npz, .npy, .csv or .ark.
        model: fingerprint of the model, which only .npz keeps.

    Raises:
        ValueError: another suffix, or a name that the format can't hold.
        OSError: the file can't be written.
    """
    _require_known(path)
    with WRITERS[path.suffix](path, model) as append:

        def write(names: Sequence[str], vectors: Vectors) -> None:
            assert len(names) == len(vectors)
            check_names(path, names)
            append(names, np.asarray(vectors, np.dtype("<f4")))

        yield write


def _require_known(path: Path) -> None:
    if path.suffix not in WRITERS:
        *others, last = WRITERS
        raise ValueError(f"{path}: expected a file that ends in {', '.join(others)} or {last}")


class _GrowingArray:
    """A .npy file of float32 rows; their number is put into the header at the end."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.num_rows = 0
        self.dim = 0

    def append(self, vectors: Vectors) -> None:
        """Rows (n, D)."""
        if not self.num_rows:
            self.dim = vectors.shape[1]
            self._write_header()
        assert vectors.shape[1] == self.dim
        self.num_rows += len(vectors)
        self.stream.write(vectors.tobytes())

    def finish(self) -> None:
        """Complete the header, which has the same length for any number of rows."""
        self.stream.seek(0)
        self._write_header()
        self.stream.flush()

    def _write_header(self) -> None:
        shape = (self.num_rows, self.dim)
        npy.write_array_header_1_0(self.stream, {"descr": "<f4", "fortran_order": False, "shape": shape})


@contextmanager
def _write_npy(path: Path, _model: str) -> Iterator[Write]:
    with written_whole(path.with_suffix(".txt")) as names_stream, written_whole(path) as stream:
        array = _GrowingArray(stream)

        def append(names: Sequence[str], vectors: Vectors) -> None:
            array.append(vectors)
            names_stream.write("".join(f"{name}\n" for name in names).encode(errors=KEPT))

        yield append
        array.finish()
        names_stream.flush()  # a full disk shows before either file appears


@contextmanager
def _write_npz(path: Path, model: str) -> Iterator[Write]:
    """A member of a zip file can't be amended, so rows and names wait in temporary files for their number."""
    with (
        written_whole(path) as stream,
        tempfile.TemporaryFile(dir=path.parent) as rows,
        tempfile.TemporaryFile("w+", dir=path.parent, encoding="ascii") as all_names,
    ):
        array = _GrowingArray(rows)
        longest = 1

        def append(names: Sequence[str], vectors: Vectors) -> None:
            nonlocal longest
            array.append(vectors)
            longest = max(longest, *map(len, names))
            all_names.writelines(f"{json.dumps(name)}\n" for name in names)

        yield append
        array.finish()
        for spool in (rows, all_names):
            spool.seek(0)
        with zipfile.ZipFile(stream, "w") as archive:
            with archive.open("embeddings.npy", "w", force_zip64=True) as member:
                shutil.copyfileobj(rows, member, 1 << 20)
            names = zipfile.ZipInfo("names.npy")
            names.compress_type = zipfile.ZIP_DEFLATED  # all are padded to the longest
            with archive.open(names, "w", force_zip64=True) as member:
                _write_names(member, map(json.loads, all_names), array.num_rows, longest)
            with archive.open("model.npy", "w") as member:
                npy.write_array(member, np.array(model), allow_pickle=False)


def _write_names(stream: Any, names: Iterator[str], count: int, longest: int) -> None:
    """The content of a .npy file of text."""
    kind = np.dtype(f"<U{longest}")
    npy.write_array_header_1_0(stream, {"descr": kind.str, "fortran_order": False, "shape": (count,)})
    while block := list(islice(names, BLOCK)):
        stream.write(np.array(block, kind).tobytes())


@contextmanager
def _write_csv(path: Path, _model: str) -> Iterator[Write]:
    with written_whole(path) as stream:
        num_rows = 0

        def append(names: Sequence[str], vectors: Vectors) -> None:
            nonlocal num_rows
            text = io.StringIO(newline="")
            writer = csv.writer(text, lineterminator="\n")
            if not num_rows:
                writer.writerow(["name", *(f"e{i}" for i in range(vectors.shape[1]))])
            for name, row in zip(names, vectors.tolist(), strict=True):
                writer.writerow([name, *(f"{value:.9g}" for value in row)])  # 9 digits restore a float32
            num_rows += len(names)
            stream.write(text.getvalue().encode(errors=KEPT))

        yield append


@contextmanager
def _write_ark(path: Path, _model: str) -> Iterator[Write]:
    """Kaldi's archive, `name vector` for each, and its index, `name path:offset of the vector`."""
    with written_whole(path.with_suffix(".scp")) as index, written_whole(path) as stream:

        def append(names: Sequence[str], vectors: Vectors) -> None:
            for name, row in zip(names, vectors, strict=True):
                stream.write(f"{name} ".encode(errors=KEPT))
                index.write(f"{name} {path}:{stream.tell()}\n".encode(errors=KEPT))
                stream.write(BINARY + FLOAT_VECTOR + struct.pack("<i", len(row)) + row.tobytes())

        yield append
        stream.flush()
        index.flush()


WRITERS: dict[str, Callable[[Path, str], AbstractContextManager[Write]]] = {
    ".npz": _write_npz,
    ".npy": _write_npy,
    ".csv": _write_csv,
    ".ark": _write_ark,
}


def read_embeddings(path: str | Path) -> NamedEmbeddings:
    """A file that write_embeddings wrote -> its names and vectors, all in memory.

    Raises:
        FileNotFoundError, ValueError: it or its companion is missing, damaged, or of another kind.
    """
    path = Path(path)
    _require_known(path)
    for file in filter(None, (path, companion(path) if path.suffix == ".npy" else None)):
        if not file.is_file():
            raise FileNotFoundError(f"{file}: no such file")
    try:
        found = READERS[path.suffix](path)
        is_whole = found.vectors.ndim == 2 and len(found.names) == len(found.vectors)
    except (OSError, MemoryError):
        raise
    except Exception:  # damaged in one of many ways
        is_whole = False
    if not is_whole:
        raise ValueError(f"{path}: damaged, or not a file of embeddings as `embed --out` writes it")
    return found


def _read_npy(path: Path) -> NamedEmbeddings:
    text = path.with_suffix(".txt").read_text(encoding="utf-8", errors=KEPT)
    return NamedEmbeddings(text.split("\n")[:-1], np.load(path, allow_pickle=False))


def _read_npz(path: Path) -> NamedEmbeddings:
    with np.load(path, allow_pickle=False) as content:
        return NamedEmbeddings(content["names"].tolist(), content["embeddings"], str(content["model"]))


def _read_csv(path: Path) -> NamedEmbeddings:
    with path.open(newline="", encoding="utf-8", errors=KEPT) as stream:
        rows = csv.reader(stream)
        if next(rows, ["name"])[:1] != ["name"]:
            raise ValueError("no header")
        names, vectors = list[str](), list[Vectors]()
        for name, *values in rows:
            names.append(name)
            vectors.append(np.array(values, np.float32))
    return NamedEmbeddings(names, _stacked(vectors))


def _read_ark(path: Path) -> NamedEmbeddings:
    names, vectors = list[str](), list[Vectors]()
    begin = BINARY + FLOAT_VECTOR
    content = path.read_bytes()
    place = 0
    while place < len(content):
        end = content.index(b" " + begin, place)
        names.append(content[place:end].decode(errors=KEPT))
        place = end + 1 + len(begin)
        (dim,) = struct.unpack_from("<i", content, place)
        if dim < 0:
            raise ValueError("negative length")
        vectors.append(np.frombuffer(content, "<f4", dim, place + 4))
        place += 4 + 4 * dim
    return NamedEmbeddings(names, _stacked(vectors))


def _stacked(vectors: list[Vectors]) -> Vectors:
    return np.stack(vectors) if vectors else np.empty((0, 0), np.float32)


READERS: dict[str, Callable[[Path], NamedEmbeddings]] = {
    ".npz": _read_npz,
    ".npy": _read_npy,
    ".csv": _read_csv,
    ".ark": _read_ark,
}
