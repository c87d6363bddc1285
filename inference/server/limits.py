"""What a request may take, and how one that takes more is refused."""

from typing import NamedTuple


class Limits(NamedTuple):
    """Bounds of the server; together they bound its memory."""

    most_bytes: int = 64 << 20  # of a recording: half an hour of 16-bit samples at 16 kHz has 58 MB
    most_json: int = 64 << 10  # bytes of any other request
    longest_s: float = 1800.0  # of a recording
    headers_s: float = 10.0  # until a connection has sent the head of its request
    upload_s: float = 60.0  # until the body of a request is there
    most_waiting: int = 8  # requests that are read, wait or are answered at once
    most_connections: int = 64
    most_recordings: int = 200  # whose embeddings are remembered
    remembered_s: float = 3600.0


class RefusedError(Exception):
    """A request that isn't answered: its HTTP status, a sentence, and headers of the response."""

    def __init__(self, status: int, reason: str, headers: dict[str, str] | None = None) -> None:
        """Status, why, in one line, and headers of the response."""
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers = headers or {}
