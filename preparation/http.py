"""HTTP requests for files, and what the responses say."""

import re
import time
from contextlib import suppress
from email.utils import parsedate_to_datetime
from http.client import IncompleteRead
from pathlib import Path
from typing import TYPE_CHECKING

from corpora._corpus import Part

if TYPE_CHECKING:
    from requests import Response

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 60.0  # between two packets
MAX_WAIT_S = 60.0  # before a retry
TEMPORARY_ERRORS = (408, 425, 429)  # status codes that may change at a retry, as all from 500 on
KEY_HELP = "VoxCeleb gives out keys at https://mm.kaist.ac.kr/datasets/voxceleb"


class Server:
    """The servers that the files come from, or the mirror that replaces them, and the key that they need."""

    def __init__(self, base_url: str, key: str, access_help: str) -> None:
        self.access_help = access_help  # for an error: how to get access
        self.base_url = base_url.rstrip("/")
        self.params = {"key": key} if key else {}

    def request(self, method: str, part: Part, offset: int = 0, version: str = "") -> "Response":
        """File, offset (bytes) -> response whose body, from there on, is still to be read.

        A server that has another version than the given one sends the whole file.
        """
        import requests

        headers = {"Accept-Encoding": "identity"}  # the file's bytes, not compressed for the transfer
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if version:
                headers["If-Range"] = version
        return requests.request(
            method,
            f"{self.base_url}/{part.name}" if self.base_url else part.url,
            params=self.params,
            headers=headers,
            timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S if method == "GET" else CONNECT_TIMEOUT_S),
            stream=True,
        )

    def size(self, part: Part) -> int | None:
        """File -> its size in bytes as the server states it, None if it doesn't."""
        import requests

        with suppress(requests.RequestException, ValueError), self.request("HEAD", part) as response:
            return content_range(response)[1]
        return None

    def host(self, part: Part) -> str:
        """Host and port that a file comes from."""
        address = (self.base_url or part.url).partition("://")[2]
        return address.partition("/")[0].rpartition("@")[2] or "an incomplete address"

    def raise_if_refused(self, part: Part, response: "Response") -> None:
        """Raises OSError for a response that a retry wouldn't change."""
        status = response.status_code
        content_type = response.headers.get("Content-Type", "")
        if status in (401, 403) and self.params:
            problem = f"refused the key ({status}), it may be mistyped or too old; {self.access_help}"
        elif status in (401, 403):
            problem = f"refused access ({status}), it may need a key; {self.access_help}"
        elif status in (404, 410):
            problem = f"has no such file ({status}); it may have moved, try another mirror"
        elif (
            status in (200, 206)
            and content_type.startswith("text/html")
            and Path(part.name).suffix != ".html"
        ):
            problem = f"sent a web page instead of the file; is the address right? {self.access_help}"
        elif status in (200, 206, 416) or is_temporary(status):
            return
        else:
            problem = f"answered {status} instead of sending a file; is the address right?"
        raise OSError(f"{part.name}: {self.host(part)} {problem}")


def is_temporary(status: int) -> bool:
    """Whether a later request may succeed after an error with this status code."""
    return status in TEMPORARY_ERRORS or status >= 500


def root_cause(error: BaseException) -> str:
    """Error of a request -> the message of its first cause: those of the later ones contain URLs."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return "the connection broke off" if isinstance(error, IncompleteRead) else str(error) or repr(error)


def retry_after(value: str) -> float | None:
    """Retry-After header, seconds or a date -> seconds to wait, None if it states neither."""
    with suppress(ValueError, TypeError, OverflowError):
        if value.isdecimal():
            return min(float(value), MAX_WAIT_S)
        return min(max(parsedate_to_datetime(value).timestamp() - time.time(), 0.0), MAX_WAIT_S)
    return None


def content_range(response: "Response") -> tuple[int, int | None]:
    """Response -> offset of its body in the file, size of the whole file; -1 and None where not stated."""
    if response.status_code == 200:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else None
    match = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(?:(\d+)|\*)", response.headers.get("Content-Range", ""))
    begin, total = match.groups() if match else (None, None)
    return int(begin or -1), int(total) if total else None


def version_of(response: "Response") -> str:
    """Response -> the version that If-Range may name: a strong ETag, else the date of the file."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified", "")
