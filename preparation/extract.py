"""Archives of corpora -> files: parts read as one, hostile members refused, an interrupted run continued."""

import errno
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import tarfile
import zipfile
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple, Self

from tqdm import tqdm

from storage.files import write_text

CHUNK = 2**20  # bytes that are read at once
BLOCK = 4096  # bytes of a block of the disk
HEADER = 2**14  # bytes of an extended tar header, which tarfile searches in quadratic time
HEADERS = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
# Names that are absolute, lead upwards, have a drive or a backslash, are of markers and temporary files, or
# lie too deep; that have control characters or ends of lines, or aren't UTF-8: no list could hold those.
ASTRAY = r"^/|^[A-Za-z]:|\\|(^|/)\.\.(/|$)|^(\./+)*\.{1,2}extract(ed|ing)-|(/[^/]*){200}"
UNFIT = re.compile(ASTRAY + r"|[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# What the readers raise for damaged or hostile bytes, besides ValueError and OSError without a number.
BROKEN = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError),
    *(ArithmeticError, LookupError, RuntimeError, UnicodeError),
)
_bar = partial(tqdm, unit="B", unit_scale=True, disable=None, leave=False)


class Joined(io.RawIOBase):
    """Parts (paths, in order) read as one seekable file, without a joined copy."""

    def __init__(self, parts: Sequence[Path]) -> None:
        super().__init__()
        self._parts, self._position = list(parts), 0
        self._ends = list(accumulate((part.stat().st_size for part in parts), initial=0))
        self.size = self._ends[-1]

    def readable(self) -> bool:
        """Yes."""
        return True

    seekable = readable

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Offset from the start, from here or from the end -> position."""
        position = offset + (0, self._position, self.size)[whence]
        if position < 0:
            raise OSError(errno.EINVAL, "a position before the start", str(self._parts[0]))
        self._position = position
        return position

    def readinto(self, buffer: Any, /) -> int:
        """Fill the buffer, across the ends of parts -> number of bytes."""
        view, filled = memoryview(buffer).cast("B"), 0
        while filled < len(view) and self._position < self.size:
            index = bisect_right(self._ends, self._position) - 1
            with io.FileIO(self._parts[index]) as part:  # opening costs nothing beside a read of CHUNK
                part.seek(self._position - self._ends[index])
                count = part.readinto(view[filled : filled + self._ends[index + 1] - self._position])
            if not count:
                raise OSError(errno.EIO, "became shorter while it was read", str(self._parts[index]))
            filled += count
            self._position += count
        return filled


def check_joined(parts: Sequence[Path], md5: str) -> None:
    """Parts of an archive, in order -> ValueError unless their joined bytes have this md5."""
    digest = hashlib.md5(usedforsecurity=False)
    with Joined(parts) as joined, _bar(desc=f"checking {parts[0].name} ...", total=joined.size) as bar:
        while chunk := joined.read(CHUNK):
            digest.update(chunk)
            bar.update(len(chunk))
    if (got := digest.hexdigest()) != md5.lower():
        raise ValueError(f"{parts[0]} ...: expected md5 {md5} of the joined parts, got {got}; is any wrong?")


def extract_archive(
    archive: Path | Sequence[Path],
    target: Path,
    *,
    name: str = "",
    only: Callable[[str], bool] | None = None,
    max_bytes: int = 2 * 10**12,
    max_files: int = 5_000_000,
    max_ratio: float = 200.0,
) -> int:
    """Zip, tar or tar.gz, or its parts -> its files whose path `only` takes, under target; their number.

    Every member is checked before the first is written; a ValueError or OSError says what is wrong. A file
    with the archive's contents stays, another in its place is replaced. `.extracted-NAME.json` says what is
    complete; without it all is checked anew.
    """
    parts = [archive] if isinstance(archive, Path) else list(archive)
    name, target = Path(name or parts[0].name).name, target.resolve()
    with _in_one_line(name, target), Joined(parts) as joined, io.BufferedReader(joined, CHUNK) as stream:
        stamp = [[part.name, part.stat().st_size, part.stat().st_mtime_ns] for part in parts]
        marker = target / f".extracted-{name}.json"
        done = _read_marker(marker, stamp)
        if done and done["only"] is None:
            return int(done["count"])
        plan = _Plan(target, {part.resolve() for part in parts}, only or (lambda path: True), bool(done))
        most = min(max_bytes, max(2**20, int(max_ratio * joined.size)))  # 1 MB is harmless
        with _bar(desc=f"checking {name}") as bar:
            for member in _members(stream, target):
                plan.add(member)
                if plan.size > most or len(plan.files) + len(plan.folders) > max_files:
                    raise ValueError(f"over {most:,} bytes or {max_files:,} files: made to fill the disk?")
                bar.update(member.size)
        chosen = None if only is None else plan.digest.hexdigest()
        if not done or done["only"] != chosen:
            _write_missing(_members(stream, target), plan, name)
            done = {"archive": name, "parts": stamp, "only": chosen, "count": plan.count}
            write_text(marker, json.dumps(done) + "\n")
        return plan.count


def _read_marker(marker: Path, stamp: list[list[Any]]) -> dict[str, Any]:
    """What was extracted completely from these very parts: how many files, and which if not all."""
    try:
        done = json.loads(marker.read_text(encoding="utf-8"))
        return {key: done[key] for key in ("only", "count")} if done["parts"] == stamp else {}
    except (FileNotFoundError, NotADirectoryError, ValueError, LookupError, TypeError):
        return {}


@contextmanager
def _in_one_line(name: str, target: Path) -> Iterator[None]:
    """Errors of the readers and of the system -> one line that names the archive or the file."""
    try:
        yield
    except (*BROKEN, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise OSError(error.errno, error.strerror, str(error.filename or target)) from None
        text = " ".join(str(error).split())[:300]
        if isinstance(error, (*BROKEN, OSError)):
            text = f"broken or cut short ({text}); download it again"
        raise ValueError(f"{name}: {text}") from None


class _Member(NamedTuple):
    """A file or folder in an archive."""

    path: str  # under the target, parts between single slashes
    size: int
    folder: bool
    open: Callable[[], Any]  # of a file, while no later member was asked for


class _Plan:
    """Members, one after the other -> what is to be written; ValueError for one that mustn't be."""

    def __init__(self, target: Path, parts: set[Path], wants: Callable[[str], bool], trusted: bool) -> None:
        self.target, self.parts, self.wants, self.trusted = target, parts, wants, trusted
        self.files, self.folders, self.missing = set[str](), set[str](), set[str]()
        self.size = self.needed = self.count = 0  # bytes of all, bytes of the missing ones, wanted files
        self.digest = hashlib.sha256()  # of the paths and sizes of wanted files

    def add(self, member: _Member) -> None:
        """Check a member and note whether it is wanted and missing."""
        path, folder = self.target / member.path, member.path
        if path.resolve() != path or path in self.parts or (path.exists() and path.is_dir() != member.folder):
            raise ValueError(f"a link or another thing lies where a member belongs; remove {str(path)!r}")
        if not member.folder:
            if member.path in self.files or member.path in self.folders:
                raise ValueError(f"a member comes twice: {member.path!r}")
            self.files.add(member.path)
            folder = member.path.rpartition("/")[0]
        while folder and folder not in self.folders:
            if folder in self.files or (self.target / folder).is_file():
                raise ValueError(f"a file lies where a folder of the archive belongs: {folder!r}")
            self.folders.add(folder)
            folder = folder.rpartition("/")[0]
        self.size += member.size
        if not member.folder and self.wants(member.path):
            self.count += 1
            self.digest.update(f"{member.path}\0{member.size}\0".encode())
            if not self._is_there(member, path):
                self.missing.add(member.path)
                self.needed += member.size + BLOCK

    def _is_there(self, member: _Member, path: Path) -> bool:
        same_size = path.is_file() and path.stat().st_size == member.size
        if self.trusted or not same_size:
            return same_size
        with path.open("rb") as file, member.open() as source:
            digests = [hashlib.file_digest(stream, "sha256").digest() for stream in (file, source)]
        return digests[0] == digests[1]


def _write_missing(members: Iterator[_Member], plan: _Plan, name: str) -> None:
    """Members -> those files that are wanted and missing, each whole or not at all."""
    free = shutil.disk_usage(next(path for path in (plan.target, *plan.target.parents) if path.exists())).free
    if plan.needed > free:
        raise OSError(errno.ENOSPC, f"{plan.needed:,} bytes needed, {free:,} free", str(plan.target))
    ours = re.compile(rf"\.{{1,2}}extract(ed|ing)-{re.escape(name)}(-\d+|\.json(\.\d+\.tmp)?)")
    temporary = plan.target / f".extracting-{name}-{os.getpid()}"
    umask = os.umask(0o022)  # files 0644, folders 0755, whatever the archive says
    try:
        plan.target.mkdir(parents=True, exist_ok=True)
        for path in plan.target.iterdir():  # what a killed run left, and a marker that is no longer true
            if ours.fullmatch(path.name):
                path.unlink()
        with _bar(desc=f"extracting {name}", total=plan.needed) as bar:
            for member in members if plan.missing else ():
                if member.path in plan.missing:
                    path = plan.target / member.path
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with temporary.open("xb") as file, member.open() as source:
                        shutil.copyfileobj(source, file, CHUNK)  # readers stop where the archive says
                    if temporary.stat().st_size != member.size:
                        raise ValueError(f"a member is shorter than the archive says: {member.path!r}")
                    temporary.replace(path)
                    bar.update(member.size + BLOCK)
        os.sync()  # once, before the marker: fsync of every one of a million files would take hours
    finally:
        temporary.unlink(missing_ok=True)
        os.umask(umask)


def _members(stream: "io.BufferedReader[Any]", target: Path) -> Iterator[_Member]:
    """Zip or tar, told by its first bytes -> its members in the order in which they lie."""
    stream.seek(0)
    head = stream.peek()[: tarfile.BLOCKSIZE]
    if head.startswith((b"PK\3\4", b"PK\5\6")):
        return _zip_members(stream)
    gzipped = head.startswith(b"\x1f\x8b")
    if gzipped or head[257:262] == b"ustar":
        return _tar_members(gzip.GzipFile(fileobj=stream) if gzipped else stream, target)
    raise ValueError(f"expected a zip, tar or tar.gz, but it begins with {head[:20]!r}; download it again")


def _path(name: str) -> str:
    """Name of a member -> path under the target; ValueError for one that leads elsewhere or is no name."""
    path = "/".join(part for part in name.split("/") if part not in ("", "."))
    if UNFIT.search(name) or max(map(len, path.encode().split(b"/"))) > 255 or len(path.encode()) > 4096:
        raise ValueError(f"a member's name leads elsewhere, is too long or has control characters: {name!r}")
    return path


def _zip_members(stream: Any) -> Iterator[_Member]:
    with zipfile.ZipFile(stream) as archive:
        infos = sorted(archive.infolist(), key=lambda info: info.header_offset)
        ends = [*(info.header_offset for info in infos[1:]), archive.start_dir]
        for info, end in zip(infos, ends, strict=False):
            name = info.orig_filename  # `filename` ends at a NUL
            least = 30 + len(name.encode("utf-8" if info.flag_bits & 0x800 else "cp437"))  # local header
            if info.header_offset < 0 or info.header_offset + least + info.compress_size > end:
                raise ValueError(f"a member overlaps the next one: {name!r}")
            # Encrypted; bz2 or lzma, which unpack a chunk into memory whatever its size; links and devices.
            kind, packed = info.external_attr >> 28, info.compress_type
            if info.flag_bits & 0x2061 or packed not in (0, 8) or kind not in (0, 4, 8):
                raise ValueError(f"a member is encrypted, not deflated, or neither file nor folder: {name!r}")
            if path := _path(name):
                yield _Member(path, info.file_size, name.endswith("/"), partial(archive.open, info))


class _Header(tarfile.TarInfo):
    """A header of a tar; an error where tarfile would read too much, or take damage for the end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            info = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if buf == bytes(tarfile.BLOCKSIZE):  # the end
                raise
            raise tarfile.ReadError(str(error)) from None
        plain = info.type in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE)
        if info.size < 0 or not (plain or (info.type in HEADERS and info.size <= HEADER)):
            raise ValueError(f"a member is neither a file nor a folder, or its name too long: {info.name!r}")
        return info


def _tar_members(stream: Any, target: Path) -> Iterator[_Member]:
    # A tar has no table of contents: for all of it to be checked first, a tar.gz is unpacked twice.
    with tarfile.open(fileobj=stream, mode="r:", encoding="utf-8", tarinfo=_Header) as archive:
        while (info := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # it would keep every header in memory
            if info.size < 0 or info.issparse():  # as an extended header may say
                raise ValueError(f"a member is neither a file nor a folder: {info.name!r}")
            if path := _path(info.name):
                if hasattr(tarfile, "data_filter"):  # a second opinion, since Python 3.11.4
                    tarfile.data_filter(info, str(target))
                yield _Member(path, info.size, info.isdir(), partial(archive.extractfile, info))
        if all(stream.read(CHUNK) for _ in range(1000)):  # to the end, where gzip has its checksum
            raise ValueError("a gigabyte follows the last member; is it made to fill the disk?")
