"""Downloads that resume, are verified, and never show the key."""

import random
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.pool import ThreadPool
from pathlib import Path
from threading import Event, RLock
from typing import TYPE_CHECKING

from tqdm import tqdm

from corpora._corpus import Part
from preparation.http import LONGEST_WAIT_S, extent, hide, never_show, reason, retry_after, version_of
from preparation.partial import Partial
from preparation.verified import entry, is_done, read_json, remember, verify

if TYPE_CHECKING:
    from requests import Response

CHUNK = 1 << 16  # bytes, the most that a broken connection loses
TIMEOUTS_S = (10.0, 60.0)  # to connect, between two packets
BACKOFF_S = 1.0  # before the first retry; doubles with each
CERTIFICATE = "CERTIFICATE_VERIFY_FAILED"  # as ssl says it
PASSING = (408, 425, 429)  # states of a server that a later try may find gone, as those from 500 on
KEYS_FROM = "https://mm.kaist.ac.kr/datasets/voxceleb"
_lock = RLock()  # of the progress bar and what is said


def download_parts(
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
    never_show(key)
    folder.mkdir(parents=True, exist_ok=True)
    todo = [part for part in dict.fromkeys(parts) if not is_done(part, folder)]
    assert len({part.name for part in todo}) == len(todo), "two parts of one name"
    if todo:
        _Run(folder, base_url, key, retries, say).all(todo, jobs)


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
        known = part.size or read_json(Path(f"{path}.part.json")).get("total")
        with suppress(requests.RequestException, ValueError):
            if not known:
                with self.request("HEAD", part) as response:
                    known = extent(response)[1]
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
            remember(path, entry(path, part.md5), self.folder)
        self.tell(f"{part.name}: complete" + (", its md5 is right" if part.md5 else ""))

    def fetch_once(self, part: Part, path: Path, bad: Path) -> str:
        """Download a file to path, or to bad if it comes wrong -> what is wrong with it, "" if nothing is."""
        file = Partial(path, self.progress)
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

    def complete(self, part: Part, file: Partial) -> None:
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
                trouble = reason(error)
                hopeless = isinstance(error, ValueError | requests.TooManyRedirects) or CERTIFICATE in trouble
            self.end_if_stopped()
            failures = 1 if file.length > longest else failures + 1
            longest = max(longest, file.length)
            if file.length != file.total:
                self.wait(f"{part.name} from {self.host(part)}: {trouble}", failures, wait_s, hopeless)

    def wait(self, trouble: str, failures: int, wait_s: float | None, hopeless: bool) -> None:
        """Wait before the next try; raises OSError if there is none."""
        if hopeless:
            raise OSError(hide(f"{trouble}; check the address, the proxy and the certificates here"))
        if failures > self.retries:
            raise OSError(hide(f"{trouble}; given up at try {failures}, what has arrived is kept for later"))
        if wait_s is None:  # random, so that many who lost a server don't come back at once
            wait_s = min(BACKOFF_S * 2 ** (failures - 1), LONGEST_WAIT_S) * random.uniform(0.5, 1.0)
        self.tell(f"{trouble}; trying again in {wait_s:.0f} s ({failures} of {self.retries})")
        self.stop.wait(wait_s)
        self.end_if_stopped()

    def request(self, method: str, part: Part, file: Partial | None = None) -> "Response":
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

    def receive(self, part: Part, file: Partial, response: "Response") -> tuple[str, float | None]:
        """Response -> its body in the file, why that may lack something, seconds to wait before a retry."""
        self.end_if_stopped()
        self.refuse(part, response)
        status = response.status_code
        if status in PASSING or status >= 500:
            return f"the server answered {status}", retry_after(response.headers.get("Retry-After", ""))
        (begin, total), version = extent(response), version_of(response)
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
            self.say(hide(text))

    def end_if_stopped(self) -> None:
        """Ends the thread, quietly, where another has failed or the user has stopped all."""
        if self.stop.is_set():
            raise InterruptedError
