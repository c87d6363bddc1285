"""The members of a zip, tar or tar.gz, each of which is checked before it is returned.

Refused are names that lead out of the target or that no list could hold, links, devices, encrypted or
overlapping entries, and headers that would make the readers of the standard library use much memory or time.
"""

import gzip
import io
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

from preparation.joined import CHUNK

MAX_HEADER = 2**14  # bytes of an extended tar header, which tarfile searches in quadratic time
EXTENDED_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
UNSAFE_NAME = re.compile(
    r"^/|^[A-Za-z]:|\\"  # absolute, with a drive or a backslash
    r"|(^|/)\.\.(/|$)"  # upwards
    r"|^(\./+)*\.{1,2}extract(ed|ing)-"  # a marker or temporary file of extract.py
    r"|(/[^/]*){200}"  # too deep
    r"|[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]"  # control characters, ends of lines, not UTF-8
)
ZIP_LOCAL_HEADER = 30  # bytes, without the name
ZIP_ENCRYPTED_OR_PATCH = 0x2061  # bits of the flags
ZIP_UTF8_NAME = 0x800
ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # bz2 and lzma unpack a chunk of any size in memory
ZIP_FILE_TYPES = (0, 4, 8)  # upper four bits of the Unix mode: not stated, folder, file
# What the readers raise for damaged or hostile bytes, besides ValueError and OSError without a number.
READER_ERRORS = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    ArithmeticError,
    LookupError,
    RuntimeError,
    UnicodeError,
)


class Member(NamedTuple):
    """A file or folder in an archive."""

    path: str  # under the target, parts between single slashes
    size: int  # bytes
    is_folder: bool
    open: Callable[[], Any]  # of a file, until the next member is requested


def read_members(stream: "io.BufferedReader[Any]", target: Path) -> Iterator[Member]:
    """Archive, its format recognised by the first bytes -> its members in the order of their data.

    Raises:
        ValueError: another format, or a member that may not be extracted.
        READER_ERRORS: a damaged archive.
    """
    stream.seek(0)
    head = stream.peek()[: tarfile.BLOCKSIZE]
    if head.startswith((b"PK\3\4", b"PK\5\6")):
        return _zip_members(stream)
    is_gzip = head.startswith(b"\x1f\x8b")
    if is_gzip or head[257:262] == b"ustar":
        return _tar_members(gzip.GzipFile(fileobj=stream) if is_gzip else stream, target)
    raise ValueError(f"expected a zip, tar or tar.gz, but it begins with {head[:20]!r}; download it again")


def _safe_path(name: str) -> str:
    """Name of a member -> path under the target; ValueError for a name that isn't safe."""
    path = "/".join(part for part in name.split("/") if part not in ("", "."))
    encoded = path.encode(errors="surrogatepass")
    too_long = len(encoded) > 4096 or max(map(len, encoded.split(b"/"))) > 255
    if too_long or UNSAFE_NAME.search(name):
        raise ValueError(f"a member's name leads elsewhere, is too long or has control characters: {name!r}")
    return path


def _zip_members(stream: Any) -> Iterator[Member]:
    with zipfile.ZipFile(stream) as archive:
        infos = sorted(archive.infolist(), key=lambda info: info.header_offset)
        ends = [*(info.header_offset for info in infos[1:]), archive.start_dir]
        for info, end in zip(infos, ends, strict=False):
            name = info.orig_filename  # `filename` ends at a NUL
            encoded = name.encode("utf-8" if info.flag_bits & ZIP_UTF8_NAME else "cp437")
            data_offset = info.header_offset + ZIP_LOCAL_HEADER + len(encoded)
            if info.header_offset < 0 or data_offset + info.compress_size > end:
                raise ValueError(f"a member overlaps the next one: {name!r}")
            readable = not info.flag_bits & ZIP_ENCRYPTED_OR_PATCH and info.compress_type in ZIP_METHODS
            if not readable or info.external_attr >> 28 not in ZIP_FILE_TYPES:
                raise ValueError(f"a member is encrypted, not deflated, or neither file nor folder: {name!r}")
            if path := _safe_path(name):
                yield Member(path, info.file_size, name.endswith("/"), partial(archive.open, info))


class StrictHeader(tarfile.TarInfo):
    """A tar header; an error where tarfile would read too much, or take damage for the end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """A block of a tar -> the header in it."""
        try:
            info = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if buf == bytes(tarfile.BLOCKSIZE):  # the end
                raise
            raise tarfile.ReadError(str(error)) from None
        plain = info.type in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE)
        extended = info.type in EXTENDED_HEADERS and info.size <= MAX_HEADER
        if info.size < 0 or not (plain or extended):
            raise ValueError(f"a member is neither a file nor a folder, or its name too long: {info.name!r}")
        return info


def tar_headers(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Tar that is opened with StrictHeader -> the headers of its members, none of which is kept.

    Raises:
        ValueError: a member that is neither a file nor a folder.
    """
    while (info := archive.next()) is not None:
        archive.members.clear()  # type: ignore[attr-defined]  # it would keep every header in memory
        if info.size < 0 or info.issparse():  # as an extended header may say
            raise ValueError(f"a member is neither a file nor a folder: {info.name!r}")
        yield info


def _tar_members(stream: Any, target: Path) -> Iterator[Member]:
    # A tar has no table of contents: for all of it to be checked first, a tar.gz is unpacked twice.
    with tarfile.open(fileobj=stream, mode="r:", encoding="utf-8", tarinfo=StrictHeader) as archive:
        for info in tar_headers(archive):
            if path := _safe_path(info.name):
                if hasattr(tarfile, "data_filter"):  # a second check, since Python 3.11.4
                    tarfile.data_filter(info, str(target))
                yield Member(path, info.size, info.isdir(), partial(archive.extractfile, info))
        if all(stream.read(CHUNK) for _ in range(1000)):  # to the end, where gzip has its checksum
            raise ValueError("a gigabyte follows the last member; is the archive meant to fill the disk?")
