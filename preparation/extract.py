"""Extraction of archives: all is checked before anything is written, and an interrupted run is continued."""

import errno
import hashlib
import io
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from preparation.joined import CHUNK, JoinedFile, byte_progress
from preparation.members import READER_ERRORS, Member, read_members
from storage.files import write_text

DISK_BLOCK = 4096  # bytes
HARMLESS_SIZE = 2**20  # bytes, whatever the size of the archive


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
    """Zip, tar or tar.gz, or its parts -> number of its files whose path `only` accepts, now under target.

    Every member is checked before the first is written. A file with the archive's contents stays, another one
    of its name is replaced. `.extracted-NAME.json` records a complete extraction; without it all files are
    compared again.

    Raises:
        ValueError, OSError: one line that says what is wrong.
    """
    parts = [archive] if isinstance(archive, Path) else list(archive)
    name = Path(name or parts[0].name).name
    target = target.resolve()
    with (
        _errors_on_one_line(name, target),
        JoinedFile(parts) as joined,
        io.BufferedReader(joined, CHUNK) as stream,
    ):
        part_stamps = [[part.name, part.stat().st_size, part.stat().st_mtime_ns] for part in parts]
        marker = target / f".extracted-{name}.json"
        previous = _read_marker(marker, part_stamps)
        if previous and previous["only"] is None:
            return int(previous["count"])
        plan = _Plan(
            target,
            archive_paths={part.resolve() for part in parts},
            wants=only or (lambda path: True),
            trust_sizes=bool(previous),
        )
        size_limit = min(max_bytes, max(HARMLESS_SIZE, int(max_ratio * joined.size)))
        _add_all(read_members(stream, target), plan, name, size_limit, max_files)
        selection = None if only is None else plan.digest.hexdigest()
        if not previous or previous["only"] != selection:
            _write_missing(read_members(stream, target), plan, name)
            content = {"archive": name, "parts": part_stamps, "only": selection, "count": plan.num_wanted}
            write_text(marker, json.dumps(content) + "\n")
        return plan.num_wanted


def _read_marker(marker: Path, part_stamps: list[list[Any]]) -> dict[str, Any]:
    """Marker of an extraction from these parts -> number of files and selection; empty if there is none."""
    try:
        content = json.loads(marker.read_text(encoding="utf-8"))
        if content["parts"] != part_stamps:
            return {}
        return {"only": content["only"], "count": content["count"]}
    except (FileNotFoundError, NotADirectoryError, ValueError, LookupError, TypeError):
        return {}


@contextmanager
def _errors_on_one_line(name: str, target: Path) -> Iterator[None]:
    """Errors of the readers and of the system -> one line that names the archive or the file."""
    try:
        yield
    except (*READER_ERRORS, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise OSError(error.errno, error.strerror, str(error.filename or target)) from None
        text = " ".join(str(error).split())[:300]
        if isinstance(error, (*READER_ERRORS, OSError)):
            text = f"broken or cut short ({text}); download it again"
        raise ValueError(f"{name}: {text}") from None


class _Plan:
    """The members of an archive that are still to be extracted; raises ValueError for one that is refused."""

    def __init__(
        self, target: Path, archive_paths: set[Path], wants: Callable[[str], bool], trust_sizes: bool
    ) -> None:
        self.target = target
        self.archive_paths = archive_paths
        self.wants = wants
        self.trust_sizes = trust_sizes  # whether a file of the right size needn't be compared
        self.files = set[str]()
        self.folders = set[str]()
        self.missing = set[str]()
        self.size = 0  # bytes of all members
        self.missing_size = 0  # bytes on the disk that the missing files need
        self.num_wanted = 0
        self.digest = hashlib.sha256()  # of the paths and sizes of wanted files

    def add(self, member: Member) -> None:
        """Check a member and note whether it is wanted and missing."""
        path = self.target / member.path
        wrong_kind = path.exists() and path.is_dir() != member.is_folder
        if path.resolve() != path or path in self.archive_paths or wrong_kind:
            raise ValueError(f"a link or something else is in the place of a member; remove {str(path)!r}")
        if member.is_folder:
            self._add_folders(member.path)
        else:
            if member.path in self.files or member.path in self.folders:
                raise ValueError(f"a member appears twice: {member.path!r}")
            self.files.add(member.path)
            self._add_folders(member.path.rpartition("/")[0])
        self.size += member.size
        if not member.is_folder and self.wants(member.path):
            self.num_wanted += 1
            self.digest.update(f"{member.path}\0{member.size}\0".encode())
            if not self._is_present(member, path):
                self.missing.add(member.path)
                self.missing_size += member.size + DISK_BLOCK

    def _add_folders(self, folder: str) -> None:
        """Note a folder and those above it."""
        while folder and folder not in self.folders:
            if folder in self.files or (self.target / folder).is_file():
                raise ValueError(f"a file is in the place of a folder of the archive: {folder!r}")
            self.folders.add(folder)
            folder = folder.rpartition("/")[0]

    def _is_present(self, member: Member, path: Path) -> bool:
        same_size = path.is_file() and path.stat().st_size == member.size
        if self.trust_sizes or not same_size:
            return same_size
        with path.open("rb") as file, member.open() as source:
            digests = [hashlib.file_digest(stream, "sha256").digest() for stream in (file, source)]
        return digests[0] == digests[1]


def _add_all(members: Iterator[Member], plan: _Plan, name: str, size_limit: int, max_files: int) -> None:
    """Add all members of an archive to the plan; ValueError if they are too many or too large."""
    with byte_progress(desc=f"checking {name}") as bar:
        for member in members:
            plan.add(member)
            if plan.size > size_limit or len(plan.files) + len(plan.folders) > max_files:
                limits = f"over {size_limit:,} bytes or {max_files:,} files"
                raise ValueError(f"{limits}; is the archive meant to fill the disk?")
            bar.update(member.size)


def _write_missing(members: Iterator[Member], plan: _Plan, name: str) -> None:
    """Write the wanted files that are missing, each whole or not at all."""
    _check_free_space(plan)
    temporary = plan.target / f".extracting-{name}-{os.getpid()}"
    umask = os.umask(0o022)  # files 0644, folders 0755, whatever the archive says
    try:
        plan.target.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(plan.target, name)
        with byte_progress(desc=f"extracting {name}", total=plan.missing_size) as bar:
            for member in members if plan.missing else ():
                if member.path in plan.missing:
                    _write_member(member, plan.target / member.path, temporary)
                    bar.update(member.size + DISK_BLOCK)
        os.sync()  # once, before the marker: fsync of every one of a million files would take hours
    finally:
        temporary.unlink(missing_ok=True)
        os.umask(umask)


def _check_free_space(plan: _Plan) -> None:
    existing = next(path for path in (plan.target, *plan.target.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if plan.missing_size > free:
        text = f"{plan.missing_size:,} bytes needed, {free:,} free"
        raise OSError(errno.ENOSPC, text, str(plan.target))


def _remove_leftovers(target: Path, name: str) -> None:
    """Remove temporary files that a killed run left, and a marker that is no longer true."""
    leftover = re.compile(rf"\.{{1,2}}extract(ed|ing)-{re.escape(name)}(-\d+|\.json(\.\d+\.tmp)?)")
    for path in target.iterdir():
        if leftover.fullmatch(path.name):
            path.unlink()


def _write_member(member: Member, path: Path, temporary: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary.open("xb") as file, member.open() as source:
        shutil.copyfileobj(source, file, CHUNK)  # the readers stop at the size that the archive states
    if temporary.stat().st_size != member.size:
        raise ValueError(f"a member is shorter than the archive says: {member.path!r}")
    temporary.replace(path)
