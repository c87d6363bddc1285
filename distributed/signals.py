"""Signals that ask a process to stop, handled where stopping is safe."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Self

from distributed.errors import is_dead_worker

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)  # the last before a SLURM job's time is up


class Stopped(Exception):  # noqa: N818  (a request, not an error)
    """The user or the system has asked the process to stop."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.exit_code = 128 + signum

    def __str__(self) -> str:
        return signal.Signals(self.args[0]).name


class StopSignal:
    """Turns the first SIGINT, SIGTERM or SIGUSR1 into a request that is checked where stopping is safe."""

    def __init__(self) -> None:
        self.signum: int | None = None

    def install(self) -> None:
        """Handle the stop signals from now on; a second one ends the process at once."""
        for signum in STOP_SIGNALS:
            signal.signal(signum, self._request)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

    @contextmanager
    def installed(self) -> Iterator[Self]:
        """Context in which the stop signals are handled; afterwards they are as before.

        Off the main thread, where Python installs no handlers, nothing changes.
        """
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {signum: signal.getsignal(signum) or signal.SIG_DFL for signum in STOP_SIGNALS}
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        self.install()
        try:
            yield self
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def _request(self, signum: int, _: FrameType | None) -> None:
        self.signum = signum
        for each in STOP_SIGNALS:
            signal.signal(each, signal.SIG_DFL)

    def requested(self) -> int:
        """The signal that has arrived; 0 if none has."""
        return self.signum or 0

    def check(self) -> None:
        """Raise Stopped if a signal has arrived."""
        if signum := self.requested():
            raise Stopped(signum)

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Context that raises Stopped instead of the errors of data workers that got the signal too.

        PyTorch reports a dead worker by an exception wherever the main process is, even while it writes a
        file.
        """
        try:
            yield
        except (RuntimeError, ConnectionError, EOFError) as error:
            if is_dead_worker(error) or not isinstance(error, RuntimeError):
                self.check()
            raise
