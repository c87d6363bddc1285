"""Downloads of files: several at once, resumed, verified, without ever showing the key."""

import shutil
from collections.abc import Callable, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path

from corpora._corpus import Part
from preparation.checksums import fingerprint, has_checksum, is_complete, read_json, record
from preparation.http import KEY_HELP, Server
from preparation.partial_file import PartialFile
from preparation.progress import Progress
from preparation.redaction import register_secret
from preparation.transfer import Transfer


def download_parts(
    parts: Sequence[Part],
    folder: Path,
    *,
    base_url: str = "",  # replaces all before the file name in each address
    key: str = "",  # sent as the query parameter `key`, shown nowhere
    access_help: str = KEY_HELP,  # for an error: how to get access
    jobs: int = 4,
    retries: int = 6,  # of one file, in a row without progress
    say: Callable[[str], None] = print,
) -> None:
    """Download files into a folder, whole and verified; those that are there already aren't requested again.

    Raises:
        OSError: too little space on the disk, or a server that refuses or can't be reached.
        ValueError: a file with a wrong checksum or size, twice.
    """
    register_secret(key)
    folder.mkdir(parents=True, exist_ok=True)
    missing = [part for part in dict.fromkeys(parts) if not is_complete(part, folder)]
    assert len({part.name for part in missing}) == len(missing), "two parts of one name"
    if not missing:
        return
    server = Server(base_url, key, access_help)
    # Daemon threads: after Ctrl-C nobody waits for a silent server, as Python does for an executor's.
    with ThreadPool(max(1, min(jobs, len(missing)))) as pool:
        sizes = dict(zip(missing, pool.map(lambda part: _size(part, folder, server), missing), strict=True))
        present = {part: _num_bytes_present(part, folder) for part in missing}
        _check_free_space(folder, sum(max(0, sizes[part] - present[part]) for part in missing))
        progress = Progress(sizes, sum(present.values()), say)
        download = _Download(folder, server, progress, retries)
        with progress.bar:
            try:
                for _ in pool.imap_unordered(download.fetch, missing):
                    pass
            finally:
                progress.stopped.set()


def _size(part: Part, folder: Path, server: Server) -> int:
    """File -> its whole size in bytes: that on the disk, the known or noted one, or the server's; else 0."""
    path = folder / part.name
    if path.is_file():
        return path.stat().st_size
    return part.size or read_json(Path(f"{path}.part.json")).get("total") or server.size(part) or 0


def _num_bytes_present(part: Part, folder: Path) -> int:
    path = folder / part.name
    if not path.is_file():
        path = Path(f"{path}.part")
    return path.stat().st_size if path.is_file() else 0


def _check_free_space(folder: Path, num_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if num_bytes > free:
        sizes = f"{num_bytes / 1e9:.2f} GB are still to come, {free / 1e9:.2f} GB are free"
        raise OSError(f"{folder}: {sizes}; free some or take a folder elsewhere")


class _Download:
    """Fetches and verifies one file after the other; used by several threads."""

    def __init__(self, folder: Path, server: Server, progress: Progress, retries: int) -> None:
        self.folder = folder
        self.server = server
        self.progress = progress
        self.retries = retries

    def fetch(self, part: Part) -> None:
        """Download one file and verify it; one that is wrong is downloaded a second time."""
        path = self.folder / part.name
        bad_path = self.folder / f"{part.name}.bad"
        if path.is_file() and self._keep(part, path, bad_path):
            return
        problem = self._fetch_once(part, path, bad_path)
        if problem:
            self.progress.message(f"{problem}; downloading it once more")
            problem = self._fetch_once(part, path, bad_path)
        if problem:
            raise ValueError(f"{problem}, for the second time; try another mirror, or later")
        verified = ""
        if checksum := part.checksum:
            record(path, fingerprint(path, checksum), self.folder)
            verified = f", its {checksum.algorithm} is right"
        self.progress.message(f"{part.name}: complete{verified}")

    def _keep(self, part: Part, path: Path, bad_path: Path) -> bool:
        """Whether the file on the disk is right; a wrong one is renamed."""
        if checksum := part.checksum:
            algorithm = checksum.algorithm
            self.progress.message(f"{part.name}: already on the disk, its {algorithm} is being computed")
            if has_checksum(path, checksum, self.folder):
                return True
        self.progress.add(-path.stat().st_size)
        path.replace(bad_path)
        self.progress.message(
            f"{part.name}: the file on the disk is wrong, kept as {bad_path}; downloading it"
        )
        return False

    def _fetch_once(self, part: Part, path: Path, bad_path: Path) -> str:
        """Download a file to path, or to bad_path if it is wrong -> what is wrong with it, or ""."""
        file = PartialFile(path, part, self.progress.add)
        try:
            with file.stream:
                Transfer(part, file, self.server, self.progress, self.retries).run()
                problem = file.mismatch()
                file.rename(bad_path if problem else path)
        except OSError as error:
            if error.errno is None:  # not an error of the disk
                raise
            raise OSError(error.errno, error.strerror, error.filename or str(file.path)) from None
        if not problem:
            return ""
        self.progress.add(-file.length)
        return f"{part.name} from {self.server.host(part)}: {problem}, kept as {bad_path}"
