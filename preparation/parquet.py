"""Hugging Face data sets in parquet files -> tars of samples, which --index then indexes.

The rows of a parquet file can't be read one by one: they are stored in groups of a hundred or more, column by
column. So each file is turned into a tar once, a few rows at a time; the recordings stay as they are.
"""

import io
import re
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from audio.lists import COLUMNS
from preparation.members import READER_ERRORS
from preparation.workers import in_processes
from storage.files import walk, written_whole

TARS = "tars"  # folder under --save_path
ROWS_AT_ONCE = 16  # whose recordings are in memory
BUFFER = 1 << 20  # bytes of a column that are read at a time
HELD_OUT = re.compile(r"(?:.*[/._-])?(test|dev|valid|validation|eval)(?:[/._-].*)?", re.IGNORECASE)
BEGINNINGS = {  # of recordings -> suffixes of their members
    b"RIFF": "wav",
    b"fLaC": "flac",
    b"OggS": "ogg",
    b"ID3": "mp3",
    **{bytes((0xFF, second)): "mp3" for second in range(0xE0, 0x100)},
}


class Source(NamedTuple):
    """A parquet file, the tar that it becomes, and the column that names the speakers, "" to search it."""

    file: Path
    tar: Path
    speaker_column: str


def has_parquet(folder: Path) -> bool:
    """Whether there are parquet files in a folder."""
    return any(map(_is_parquet, walk(folder)))


def unpack(folder: Path, save_path: Path, speaker_column: str, workers: int) -> list[str]:
    """Folder of parquet files -> messages; each file is then a tar in save_path/tars.

    Tars of the same files that are there already stay, so that a command goes on where it was stopped.

    Raises:
        ValueError, OSError: pyarrow is missing; a file isn't whole, lacks a column, or has a row without
            recording or speaker; held-out parts are among others; or there are tars of other files.
    """
    _pyarrow()
    files = [path for path in walk(folder) if _is_parquet(path)]
    _require_one_part(folder, files)
    target = save_path / TARS
    sources = [Source(folder / path, (target / path).with_suffix(".tar"), speaker_column) for path in files]
    known = {source.tar for source in sources}
    tars = (root / path for root in (folder, target) for path in walk(root) if path.endswith(".tar"))
    if other := next((tar for tar in tars if tar not in known), None):
        raise ValueError(
            f"{other}: of none of the parquet files in {folder}; remove it, or give other folders"
        )
    written = in_processes(partial(map, _unpack), sources, workers, "unpacking")
    return [f"{target}: {len(files)} tars of parquet files, {sum(written)} of them new"]


def _is_parquet(path: str) -> bool:
    return path.endswith(".parquet")


def _pyarrow() -> Any:
    """The package that reads parquet files."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ValueError("parquet files need a package: pip install pyarrow") from None
    return pyarrow


def _require_one_part(folder: Path, files: Sequence[str]) -> None:
    """Raises ValueError where files whose names say that they are for tests are among others."""
    held_out = [path for path in files if HELD_OUT.fullmatch(path)]
    if held_out and len(held_out) < len(files):
        other = next(path for path in files if path not in held_out)
        raise ValueError(
            f"{folder}: {held_out[0]} seems to be held out from {other}; give --from a folder with files of "
            "one kind, such as links to them"
        )


def _unpack(source: Source) -> bool:
    """Parquet file -> whether its tar had to be written."""
    status = source.file.stat()
    stamp = f"{status.st_size} {status.st_mtime_ns} {source.speaker_column}"
    if _stamp_of(source.tar) == stamp:
        return False
    with _errors_on_one_line(source.file):
        file = _pyarrow().parquet.ParquetFile(source.file, buffer_size=BUFFER, pre_buffer=False)
        audio = _audio_column(file.schema_arrow)
        speaker = _speaker_column(file.schema_arrow.names, source.speaker_column)
        rows = _rows(file, audio, speaker)
        with (
            written_whole(source.tar) as stream,
            tarfile.open(
                fileobj=stream, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": stamp}
            ) as archive,
        ):
            for number, (content, name) in enumerate(rows):
                _add_sample(archive, number, content, name)
    return True


def _stamp_of(tar: Path) -> str:
    """Tar -> which version of a parquet file it was made of; "" for other tars, or without one."""
    try:
        with tarfile.open(tar, "r:") as archive:
            return archive.pax_headers.get("comment", "")
    except (OSError, *READER_ERRORS):
        return ""


@contextmanager
def _errors_on_one_line(file: Path) -> Iterator[None]:
    """Errors about a parquet file -> one line that names it."""
    try:
        yield
    except (ValueError, OSError, _pyarrow().ArrowException) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the system
            raise
        raise ValueError(f"{file}: {' '.join(str(error).split())[:300]}") from None


def _audio_column(schema: Any) -> str:
    """Schema of a file -> the column of recordings, a struct with bytes; raises ValueError without one."""
    types = _pyarrow().types
    columns = [
        column.name
        for column in schema
        if types.is_struct(column.type) and any(part.name == "bytes" for part in column.type)
    ]
    if len(columns) != 1 and "audio" not in columns:
        found = " and ".join(columns) or f"only {', '.join(schema.names)}"
        raise ValueError(
            f"expected a column audio, a struct with bytes, as of Hugging Face; there is {found}"
        )
    return columns[0] if len(columns) == 1 else "audio"


def _speaker_column(names: Sequence[str], given: str) -> str:
    """Columns of a file, the given one or "" -> that of speakers; raises ValueError if it isn't clear."""
    known = [given] if given else COLUMNS["speaker"]
    columns = [name for name in names if name in known]
    if len(columns) != 1:
        found = "may be " + " or ".join(columns) if columns else f"isn't among {', '.join(names)}"
        raise ValueError(f"the column of speakers {found}; name it by --speaker_column")
    return columns[0]


def _rows(file: Any, audio: str, speaker: str) -> Iterator[tuple[Any, Any]]:
    """Parquet file, its columns -> the bytes of each recording and its speaker, as they are stored."""
    try:
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=[f"{audio}.bytes", speaker]):
            contents, speakers = batch.column(audio).field("bytes"), batch.column(speaker)
            yield from zip(contents.to_pylist(), speakers.to_pylist(), strict=True)
    except (OSError, _pyarrow().ArrowException) as error:
        raise ValueError(f"damaged: {error}; download it again") from None


def _add_sample(archive: tarfile.TarFile, number: int, content: Any, speaker: Any) -> None:
    """Append a row's recording and speaker to a tar; raises ValueError if it lacks one."""
    if not isinstance(speaker, str | int) or isinstance(speaker, bool) or speaker == "":
        raise ValueError(f"row {number}: its speaker is {speaker!r:.60}, expected a text or number")
    if not content:
        raise ValueError(f"row {number}: has no recording; expected its bytes in the file, not only a path")
    suffix = next((name for begin, name in BEGINNINGS.items() if content.startswith(begin)), None)
    if suffix is None:
        raise ValueError(f"row {number}: begins with {content[:4]!r}, expected wav, flac, ogg, opus or mp3")
    for name, data in ((suffix, content), ("spk", str(speaker).encode(errors="surrogateescape"))):
        info = tarfile.TarInfo(f"{number:08d}.{name}")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    archive.members.clear()  # type: ignore[attr-defined]  # it would keep every header in memory
