"""The transfer of one file, with retries, each of which continues where the last one ended."""

import random
from typing import TYPE_CHECKING

from corpora._corpus import Part
from preparation.http import (
    MAX_WAIT_S,
    Server,
    content_range,
    is_temporary,
    retry_after,
    root_cause,
    version_of,
)
from preparation.partial_file import PartialFile
from preparation.progress import Progress
from preparation.redaction import redact

if TYPE_CHECKING:
    from requests import Response

CHUNK = 1 << 16  # bytes; what a broken connection loses at most
BACKOFF_S = 1.0  # before the first retry; doubles with each
CERTIFICATE_ERROR = "CERTIFICATE_VERIFY_FAILED"  # in the message of ssl


class Transfer:
    """Requests what a partial file lacks until it is complete."""

    def __init__(
        self, part: Part, file: PartialFile, server: Server, progress: Progress, retries: int
    ) -> None:
        self.part = part
        self.file = file
        self.server = server
        self.progress = progress
        self.retries = retries

    def run(self) -> None:
        """Complete the file; raises OSError if the server refuses it or the retries are used up."""
        import requests
        from urllib3.exceptions import HTTPError  # raised, unlike all else of requests, by reading a body

        failures = 0  # in a row, without progress
        longest = self.file.length
        while not self.file.is_complete():
            if self.file.length and not (self.file.version or self.part.checksum):
                self.file.restart()  # nothing would show that the rest is of another version
            permanent = False
            wait_s = None
            try:
                with self._request() as response:
                    problem, wait_s = self._receive(response)
            except (requests.RequestException, HTTPError, ValueError) as error:
                problem = root_cause(error)
                permanent = isinstance(error, ValueError | requests.TooManyRedirects)
                permanent = permanent or CERTIFICATE_ERROR in problem
            self.progress.raise_if_stopped()
            failures = 1 if self.file.length > longest else failures + 1
            longest = max(longest, self.file.length)
            if not self.file.is_complete():
                problem = f"{self.part.name} from {self.server.host(self.part)}: {problem}"
                if permanent:
                    raise OSError(
                        redact(f"{problem}; check the address, the proxy and the certificates here")
                    )
                self._wait_to_retry(problem, failures, wait_s)

    def _request(self) -> "Response":
        return self.server.request("GET", self.part, self.file.length, self.file.version)

    def _wait_to_retry(self, problem: str, failures: int, wait_s: float | None) -> None:
        """Wait as long as the server asked for, if it did; raises OSError if the retries are used up."""
        if failures > self.retries:
            raise OSError(
                redact(f"{problem}; given up at try {failures}, what has arrived is kept for later")
            )
        if wait_s is None:  # random, so that clients that lost a server don't all return at once
            wait_s = min(BACKOFF_S * 2 ** (failures - 1), MAX_WAIT_S) * random.uniform(0.5, 1.0)
        self.progress.message(f"{problem}; trying again in {wait_s:.0f} s ({failures} of {self.retries})")
        self.progress.wait(wait_s)

    def _receive(self, response: "Response") -> tuple[str, float | None]:
        """Append a response's body to the file -> why bytes may be missing, seconds to wait for a retry."""
        self.progress.raise_if_stopped()
        self.server.raise_if_refused(self.part, response)
        status = response.status_code
        if is_temporary(status):
            return f"the server answered {status}", retry_after(response.headers.get("Retry-After", ""))
        begin, total = content_range(response)
        version = version_of(response)
        same_version = not self.file.version or version in ("", self.file.version)
        if status == 416:
            self._end_or_restart(same_version and self.file.length == total)
            return "the server has nothing after the bytes that are here", 0.0
        if begin == 0:
            self.file.restart(version, total)
        elif begin != self.file.length or not same_version or self.file.total not in (None, total):
            self.file.restart()
            return "the file has changed on the server", 0.0
        self.file.total = total
        self.progress.set_size(self.part, total)
        for chunk in response.raw.stream(CHUNK, decode_content=False):
            self.progress.raise_if_stopped()
            self.file.append(chunk)
        if total is None:
            self.file.total = self.file.length  # the end of the body is the only sign
        return f"the body ended after {self.file.length} of {total} bytes", None

    def _end_or_restart(self, complete: bool) -> None:
        """The server has no bytes after ours: the file is complete, or of another version."""
        if complete or (self.part.checksum and not self.file.mismatch()):
            self.file.total = self.file.length
        else:
            self.file.restart()
