"""The progress bar of a download and the messages above it, shared by its threads."""

from collections.abc import Callable
from threading import Event, RLock

from tqdm import tqdm

from corpora._corpus import Part
from preparation.redaction import redact

_lock = RLock()  # of the bar and the messages


class Progress:
    """Counts the bytes of all files, prints messages, and stops the threads."""

    def __init__(self, sizes: dict[Part, int], num_bytes_present: int, say: Callable[[str], None]) -> None:
        self.sizes = sizes  # bytes; 0 = unknown
        self.say = say
        self.stopped = Event()
        self.bar = tqdm(
            desc="downloading",
            total=sum(sizes.values()) or None,
            initial=num_bytes_present,
            unit="B",
            unit_scale=True,
            disable=None,
        )

    def set_size(self, part: Part, num_bytes: int | None) -> None:
        """Correct the size of a file by what its server states."""
        with _lock:
            self.sizes[part] = num_bytes or self.sizes[part]
            self.bar.total = sum(self.sizes.values())

    def add(self, num_bytes: int) -> None:
        """Count bytes that have arrived, or, negative, those that were discarded."""
        with _lock:
            if not self.stopped.is_set():
                self.bar.update(num_bytes)

    def message(self, text: str) -> None:
        """Print a line above the bar, without secrets."""
        with _lock, tqdm.external_write_mode():
            self.say(redact(text))

    def wait(self, duration_s: float) -> None:
        """Wait, at most until the threads are to stop; then raises InterruptedError."""
        self.stopped.wait(duration_s)
        self.raise_if_stopped()

    def raise_if_stopped(self) -> None:
        """Raises InterruptedError, which ends a thread, if another one failed or the user pressed Ctrl-C."""
        if self.stopped.is_set():
            raise InterruptedError
