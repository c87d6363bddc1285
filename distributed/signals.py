"""Signals that ask a process to stop, and where it is safe to do so."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)  # Slurm sends the last before a job's time is up


class Stopped(Exception):  # noqa: N818  (a request, not an error)
    """The user or the system asked the process to end."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.exit_code = 128 + signum

    def __str__(self) -> str:
        return signal.Signals(self.args[0]).name


class StopSignal:
    """Turns the first Ctrl-C, SIGTERM or SIGUSR1 into a request that is checked where stopping is safe."""

    def __init__(self) -> None:
        self.signum: int | None = None

    def install(self) -> None:
        """Listen from now on; the second signal ends the process at once."""
        for signum in STOPS:
            signal.signal(signum, self._request)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)

    def _request(self, signum: int, _: FrameType | None) -> None:
        self.signum = signum
        for each in STOPS:
            signal.signal(each, signal.SIG_DFL)

    def asked(self) -> int:
        """The signal that has come, 0 if none has."""
        return self.signum or 0

    def check(self) -> None:
        """Raises Stopped if a signal has come."""
        if signum := self.asked():
            raise Stopped(signum)

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Around code whose worker processes may get the signal too.

        PyTorch reports their death by an exception wherever the main process is, even in the middle of
        writing a file; after a signal that is no error.
        """
        try:
            yield
        except (RuntimeError, ConnectionError, EOFError) as error:
            if not isinstance(error, RuntimeError) or "DataLoader worker" in str(error):
                self.check()
            raise
