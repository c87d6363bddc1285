"""Downloads that resume, are verified, and never show the key."""

import hashlib
import json
import logging
import os
import random
import re
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime
from http.client import IncompleteRead
from multiprocessing.pool import ThreadPool
from pathlib import Path
from threading import Event, RLock
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, quote_plus

from tqdm import tqdm

from files import write_text

if TYPE_CHECKING:
    from requests import Response

CHUNK = 1 << 16  # bytes, the most that a broken connection loses
TIMEOUTS_S = (10.0, 60.0)  # to connect, between two packets
BACKOFF_S = 1.0  # before the first retry; doubles with each
LONGEST_WAIT_S = 60.0
CERTIFICATE = "CERTIFICATE_VERIFY_FAILED"  # as ssl says it
PASSING = (408, 425, 429)  # states of a server that a later try may find gone, as those from 500 on
KEYS_FROM = "https://mm.kaist.ac.kr/datasets/voxceleb"
_secrets: set[str] = set()
_lock = RLock()  # of verified.json, the progress bar and what is said


class Part(NamedTuple):
    """One file to download."""

    name: str  # file name; also what the server calls it
    url: str  # complete address without secrets
    md5: str | None = None  # hex, where known
    size: int | None = None  # bytes, where known


def download(
    parts: Sequence[Part],
    folder: Path,
    *,
    base_url: str = "",  # in place of all before the file name in each address
    key: str = "",  # sent as the query parameter `key`, shown nowhere
    jobs: int = 4,
    retries: int = 6,  # of one file, in a row without progress
    say: Callable[[str], None] = print,
) -> None:
    """Files to have, folder -> they are in it, whole and verified; those that were aren't fetched again.

    Raises:
        OSError, ValueError: no space, refused, unreachable, or wrong twice.
    """
    _never_show(key)
    folder.mkdir(parents=True, exist_ok=True)
    todo = [part for part in dict.fromkeys(parts) if not _is_done(part, folder)]
    assert len({part.name for part in todo}) == len(todo), "two parts of one name"
    if todo:
        _Run(folder, base_url, key, retries, say).all(todo, jobs)


def missing(parts: Sequence[Part], folder: Path) -> list[str]:
    """Files to have, folder -> names of those that aren't there, or aren't in their size; reads none."""
    return [part.name for part in parts if not _is_there(part, folder)]


def verify(path: Path, md5: str, folder: Path) -> bool:
    """File, md5 in hex -> whether it is the file's; folder/verified.json spares computing it again."""
    entry = _entry(path, md5)  # before the file is read: a change meanwhile then shows
    if _is_remembered(path, md5, folder):
        return True
    with path.open("rb") as stream:
        right = hashlib.file_digest(stream, "md5").hexdigest() == md5.lower()
    if right:
        _remember(path, entry, folder)
    return right


def _is_there(part: Part, folder: Path) -> bool:
    path = folder / part.name
    return path.is_file() and (part.md5 is not None or part.size in (None, path.stat().st_size))


def _is_done(part: Part, folder: Path) -> bool:
    path = folder / part.name
    return _is_there(part, folder) and (part.md5 is None or _is_remembered(path, part.md5, folder))


def _is_remembered(path: Path, md5: str, folder: Path) -> bool:
    memory = _read_json(folder / "verified.json")
    return memory.get(os.path.relpath(path, folder)) == _entry(path, md5)


def _remember(path: Path, entry: dict[str, Any], folder: Path) -> None:
    with _lock:
        memory = _read_json(folder / "verified.json") | {os.path.relpath(path, folder): entry}
        write_text(folder / "verified.json", json.dumps(memory, indent=1, sort_keys=True) + "\n")


def _entry(path: Path, md5: str) -> dict[str, Any]:
    status = path.stat()
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "md5": md5.lower()}


def _read_json(path: Path) -> dict[str, Any]:
    """File of one object -> the object; empty if it can't be read, which costs time only."""
    with suppress(OSError, ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    return {}


def _never_show(key: str) -> None:
    """Have the key replaced in what this module says and in urllib3's logs, some of which hold addresses."""
    import requests  # noqa: F401  (its import makes the loggers)

    if key:
        _secrets.update((key, quote(key), quote(key, safe=""), quote_plus(key)))
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("urllib3"):
            logging.getLogger(name).addFilter(_hide_in_log)


def _hide(text: str) -> str:
    """Text -> the same in one line without keys; the longest spelling first, as it may hold another."""
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return " ".join(text.split())


def _hide_in_log(record: logging.LogRecord) -> bool:
    record.msg, record.args, record.exc_info = _hide(record.getMessage()), (), None
    return True


def _reason(error: BaseException) -> str:
    """Error of a request -> the first of its causes, without the addresses in the others."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return "the connection broke off" if isinstance(error, IncompleteRead) else str(error) or repr(error)


def _retry_after(value: str) -> float | None:
    """Header, seconds or a date -> seconds to wait, None if it doesn't say."""
    with suppress(ValueError, TypeError, OverflowError):
        if value.isdecimal():
            return min(float(value), LONGEST_WAIT_S)
        return min(max(parsedate_to_datetime(value).timestamp() - time.time(), 0.0), LONGEST_WAIT_S)
    return None


def _extent(response: "Response") -> tuple[int, int | None]:
    """Response -> first byte of the file that it holds, size of the whole; -1 and None if it doesn't say."""
    if response.status_code == 200:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else None
    found = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(?:(\d+)|\*)", response.headers.get("Content-Range", ""))
    begin, total = found.groups() if found else (None, None)
    return int(begin or -1), int(total) if total else None


def _version(response: "Response") -> str:
    """Response -> what If-Range may name: a strong ETag, else the date of the file."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


class _Unfinished:
    """NAME.part: what has arrived of a file, its md5 so far, and the version that the server called it."""

    def __init__(self, path: Path, progress: Callable[[int], None]) -> None:
        self.path, self.notes = Path(f"{path}.part"), Path(f"{path}.part.json")
        self.progress, self.stream = progress, self.path.open("a+b")
        self.stream.seek(0)
        self.md5 = hashlib.file_digest(self.stream, "md5")
        self.length = self.stream.tell()
        notes = _read_json(self.notes) if self.length else {}
        self.version: str = notes.get("version", "")
        self.total: int | None = notes.get("total")

    def restart(self, version: str = "", total: int | None = None) -> None:
        """Empty the file, before the notes change: they never describe bytes of another version."""
        self.progress(-self.length)
        self.stream.truncate(0)
        self.md5, self.length, self.version, self.total = hashlib.md5(), 0, version, total
        write_text(self.notes, json.dumps({"version": version, "total": total}))

    def append(self, chunk: bytes) -> None:
        """Bytes of the body, in order."""
        self.stream.write(chunk)
        self.md5.update(chunk)
        self.length += len(chunk)
        self.progress(len(chunk))

    def differs(self, part: Part) -> str:
        """How the complete file differs from what it should be, "" if it doesn't."""
        if part.md5:
            got = self.md5.hexdigest()
            return "" if got == part.md5.lower() else f"expected md5 {part.md5.lower()}, got {got}"
        return "" if part.size in (None, self.length) else f"expected {part.size} bytes, got {self.length}"

    def rename(self, path: Path) -> None:
        """Give the file another name once all of it is on the disk."""
        self.stream.flush()
        os.fsync(self.stream.fileno())
        self.notes.unlink(missing_ok=True)
        self.path.replace(path)


class _Run:
    """What the threads of one download share."""

    def __init__(
        self, folder: Path, base_url: str, key: str, retries: int, say: Callable[[str], None]
    ) -> None:
        self.folder, self.base_url, self.retries, self.say = folder, base_url.rstrip("/"), retries, say
        self.params = {"key": key} if key else {}
        self.stop = Event()
        self.sizes = dict[Part, int]()  # 0 = unknown

    def all(self, parts: Sequence[Part], jobs: int) -> None:
        """Fetch the parts, several at once; the first error ends all."""
        # daemon threads: after Ctrl-C nobody waits for a silent server, as Python does for an executor's
        with ThreadPool(max(1, min(jobs, len(parts)))) as pool:
            self.sizes = dict(zip(parts, pool.map(self.size, parts), strict=True))
            with self.planned({part: self.arrived(part) for part in parts}) as self.bar:
                try:
                    for _ in pool.imap_unordered(self.fetch, parts):
                        pass
                finally:
                    self.stop.set()

    def planned(self, arrived: dict[Part, int]) -> tqdm:
        """Bytes on the disk -> progress bar; raises OSError if there is no room for the others."""
        lacking = sum(max(0, self.sizes[part] - here) for part, here in arrived.items())
        free = shutil.disk_usage(self.folder).free
        if lacking > free:
            what = f"{lacking / 1e9:.2f} GB are still to come, {free / 1e9:.2f} GB are free"
            raise OSError(f"{self.folder}: {what}; free some or take another --save_path")
        return tqdm(
            desc="downloading",
            total=sum(self.sizes.values()) or None,
            initial=sum(arrived.values()),
            unit="B",
            unit_scale=True,
            disable=None,
        )

    def arrived(self, part: Part) -> int:
        """Bytes of a file that are on the disk."""
        path = self.folder / part.name
        path = path if path.is_file() else Path(f"{path}.part")
        return path.stat().st_size if path.is_file() else 0

    def size(self, part: Part) -> int:
        """Bytes of the whole file: as known, as noted, or as the server says; 0 = unknown."""
        import requests

        path = self.folder / part.name
        if path.is_file():
            return path.stat().st_size
        known = part.size or _read_json(Path(f"{path}.part.json")).get("total")
        with suppress(requests.RequestException, ValueError):
            if not known:
                with self.request("HEAD", part) as response:
                    known = _extent(response)[1]
        return known or 0

    def fetch(self, part: Part) -> None:
        """Have one file, whole and verified; one that comes wrong is fetched a second time."""
        path, bad = self.folder / part.name, self.folder / f"{part.name}.bad"
        if path.is_file():
            if part.md5:
                self.tell(f"{part.name}: is there, its md5 is being computed")
                if verify(path, part.md5, self.folder):
                    return
            self.progress(-path.stat().st_size)
            path.replace(bad)
            self.tell(f"{part.name}: what is there is wrong, kept as {bad}; downloading it")
        wrong = self.fetch_once(part, path, bad)
        if wrong:
            self.tell(f"{wrong}; downloading it once more")
            wrong = self.fetch_once(part, path, bad)
        if wrong:
            raise ValueError(f"{wrong}, for the second time; try another mirror, or later")
        if part.md5:
            _remember(path, _entry(path, part.md5), self.folder)
        self.tell(f"{part.name}: complete" + (", its md5 is right" if part.md5 else ""))

    def fetch_once(self, part: Part, path: Path, bad: Path) -> str:
        """Download a file to path, or to bad if it comes wrong -> what is wrong with it, "" if nothing is."""
        file = _Unfinished(path, self.progress)
        try:
            with file.stream:
                self.complete(part, file)
                wrong = file.differs(part)
                file.rename(bad if wrong else path)
        except OSError as error:
            if error.errno is None:  # not the disk's
                raise
            raise OSError(error.errno, error.strerror, error.filename or str(file.path)) from None
        if not wrong:
            return ""
        self.progress(-file.length)
        return f"{part.name} from {self.host(part)}: {wrong}, kept as {bad}"

    def complete(self, part: Part, file: _Unfinished) -> None:
        """Ask for what is lacking of a file until nothing is."""
        import requests
        from urllib3.exceptions import HTTPError  # reading a body raises these, unlike all else of requests

        failures, longest = 0, file.length
        while file.length != file.total:
            if file.length and not (file.version or part.md5):
                file.restart()  # nothing would show that the rest is of another version
            hopeless, wait_s = False, None
            try:
                with self.request("GET", part, file) as response:
                    trouble, wait_s = self.receive(part, file, response)
            except (requests.RequestException, HTTPError, ValueError) as error:
                trouble = _reason(error)
                hopeless = isinstance(error, ValueError | requests.TooManyRedirects) or CERTIFICATE in trouble
            self.end_if_stopped()
            failures = 1 if file.length > longest else failures + 1
            longest = max(longest, file.length)
            if file.length != file.total:
                self.wait(f"{part.name} from {self.host(part)}: {trouble}", failures, wait_s, hopeless)

    def wait(self, trouble: str, failures: int, wait_s: float | None, hopeless: bool) -> None:
        """Wait before the next try; raises OSError if there is none."""
        if hopeless:
            raise OSError(_hide(f"{trouble}; check the address, the proxy and the certificates here"))
        if failures > self.retries:
            raise OSError(_hide(f"{trouble}; given up at try {failures}, what has arrived is kept for later"))
        if wait_s is None:  # random, so that many who lost a server don't come back at once
            wait_s = min(BACKOFF_S * 2 ** (failures - 1), LONGEST_WAIT_S) * random.uniform(0.5, 1.0)
        self.tell(f"{trouble}; trying again in {wait_s:.0f} s ({failures} of {self.retries})")
        self.stop.wait(wait_s)
        self.end_if_stopped()

    def request(self, method: str, part: Part, file: _Unfinished | None = None) -> "Response":
        """Response with its body still to be read; of a file, what it lacks."""
        import requests

        headers = {"Accept-Encoding": "identity"}  # the file's own bytes
        if file and file.length:
            headers["Range"] = f"bytes={file.length}-"
            if file.version:
                headers["If-Range"] = file.version
        return requests.request(
            method,
            f"{self.base_url}/{part.name}" if self.base_url else part.url,
            params=self.params,
            headers=headers,
            timeout=TIMEOUTS_S if method == "GET" else TIMEOUTS_S[0],
            stream=True,
        )

    def receive(self, part: Part, file: _Unfinished, response: "Response") -> tuple[str, float | None]:
        """Response -> its body in the file, why that may lack something, seconds to wait before a retry."""
        self.end_if_stopped()
        self.refuse(part, response)
        status = response.status_code
        if status in PASSING or status >= 500:
            return f"the server answered {status}", _retry_after(response.headers.get("Retry-After", ""))
        (begin, total), version = _extent(response), _version(response)
        same_version = not file.version or version in ("", file.version)
        if status == 416:
            if (same_version and file.length == total) or (part.md5 and not file.differs(part)):
                file.total = file.length
            else:
                file.restart()
            return "the server has nothing after what is here", 0.0
        if begin == 0:
            file.restart(version, total)
        elif begin != file.length or not same_version or file.total not in (None, total):
            file.restart()
            return "the file has changed on the server", 0.0
        file.total = total
        self.expect(part, total)
        for chunk in response.raw.stream(CHUNK, decode_content=False):
            self.end_if_stopped()
            file.append(chunk)
        if total is None:
            file.total = file.length  # the end of the body is the only sign
        return f"the body ended after {file.length} of {total} bytes", None

    def refuse(self, part: Part, response: "Response") -> None:
        """Raises OSError for an answer that no retry changes."""
        status, kind = response.status_code, response.headers.get("Content-Type", "")
        about_keys = f"VoxCeleb gives out keys at {KEYS_FROM}"
        if status in (401, 403) and self.params:
            why = f"refused the key ({status}), it may be mistyped or too old; {about_keys}"
        elif status in (401, 403):
            why = f"refused access ({status}), it may want a key; {about_keys}"
        elif status in (404, 410):
            why = f"has no such file ({status}); it may have moved, try another mirror"
        elif status in (200, 206) and kind.startswith("text/html") and Path(part.name).suffix != ".html":
            why = f"sent a web page instead of the file; is the address right? {about_keys}"
        elif status in (200, 206, 416, *PASSING) or status >= 500:
            return
        else:
            why = f"answered {status}, which isn't a file; is the address right?"
        raise OSError(f"{part.name}: {self.host(part)} {why}")

    def host(self, part: Part) -> str:
        """Server that a file comes from."""
        address = (self.base_url or part.url).partition("://")[2]
        return address.partition("/")[0].rpartition("@")[2] or "an incomplete address"

    def expect(self, part: Part, total: int | None) -> None:
        """Tell the progress bar the size of a file."""
        with _lock:
            self.sizes[part] = total or self.sizes[part]
            self.bar.total = sum(self.sizes.values())

    def progress(self, num_bytes: int) -> None:
        """Move the progress bar."""
        with _lock:
            if not self.stop.is_set():
                self.bar.update(num_bytes)

    def tell(self, text: str) -> None:
        """Say one line above the progress bar."""
        with _lock, tqdm.external_write_mode():
            self.say(_hide(text))

    def end_if_stopped(self) -> None:
        """Ends the thread, quietly, where another has failed or the user has stopped all."""
        if self.stop.is_set():
            raise InterruptedError
