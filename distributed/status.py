"""What each process publishes about itself: heartbeats, its end, and whether an error has been reported."""

import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from distributed import launch
from distributed.environment import other_ranks, rank

GONE = "killed, frozen or cut off"


@dataclass(frozen=True)
class Timeouts:
    """How long processes wait for each other, apart from the timeout of collectives."""

    rendezvous_s: float = 300.0  # until all processes have connected
    heartbeat_interval_s: float = 2.0
    max_missed_heartbeats: int = 12  # until a process counts as frozen or cut off
    report_s: float = 10.0  # for a failing process to report its error before the others end without it


class Status:
    """Reads and writes the state of a group's processes in their store.

    Heartbeat threads and the main thread use it at the same time. Every method that reads or writes the store
    raises RuntimeError once the process or machine that keeps the store is gone.

    Args:
        store: PrefixStore with a connection that nothing else uses: one that waits for a key blocks.
        timeouts: of the process group.
    """

    def __init__(self, store: Any, timeouts: Timeouts) -> None:
        self.store = store
        self.timeouts = timeouts
        self.ended = threading.Event()  # this process is about to exit normally
        self._report_lock = threading.Lock()  # held by the thread that reports and then ends the process

    def add_heartbeat(self) -> None:
        """Show that this process is alive."""
        self.store.add(f"heartbeats/{rank()}", 1)

    def heartbeats(self, other: int) -> int:
        """How often a process has shown that it is alive."""
        return int(self.store.add(f"heartbeats/{other}", 0))

    def has_ended(self, other: int) -> bool:
        """Whether a process has announced its end."""
        return bool(self.store.check([f"ended/{other}"]))

    def any_failed(self) -> bool:
        """Whether a process has announced that it ends because of an error."""
        return bool(self.store.check(["failed"]))

    def announce_end(self, failed: bool = False) -> None:
        """Publish that this process ends, so that it isn't reported as lost; after a failure all end."""
        with suppress(RuntimeError):
            if failed:
                self.store.set("failed", "")
            self.store.set(f"ended/{rank()}", "")
        self.ended.set()

    def killed_reason(self, other: int) -> str:
        """What to report about a process that launch.py saw killed by a signal, else ""."""
        key = launch.KILLED_KEY.format(other)
        launcher_store = self.store.underlying_store
        if not launcher_store.check([key]):
            return ""
        return f"rank {other}: ended by {str(launcher_store.get(key), 'ascii')}"

    def mark_reported(self) -> bool:
        """Claim the report of the error -> whether this is the first claim."""
        return bool(self.store.add("reports", 1) == 1)

    def claim_report(self) -> bool:
        """Announce a failure -> whether this thread has to report it; all other processes end silently."""
        if not self._report_lock.acquire(timeout=self.timeouts.report_s):
            return False
        is_first_report = self.mark_reported()  # before the end is announced: the others may all have ended
        self.announce_end(failed=True)
        return is_first_report

    def diagnose_loss(self, reason: str) -> str:
        """The error caused by the loss of another process -> which one, and what happened to it.

        Returns "" if another process reports the failure or all others have announced their end.
        """
        self.store.set(f"ended/{rank()}", "")
        silent = other_ranks()
        before = {other: self.heartbeats(other) for other in silent}
        deadline = time.monotonic() + self.timeouts.report_s
        while time.monotonic() < deadline:
            silent = [other for other in silent if not self.has_ended(other)]
            if self.store.add("reports", 0) or not silent:
                return ""
            killed = next(filter(None, map(self.killed_reason, silent)), None)
            if killed is not None:
                return killed
            time.sleep(0.1)
        gone = [other for other in silent if self.heartbeats(other) == before[other]]
        state = f"no heartbeat: {GONE}" if gone else "no response, but still alive: hung"
        return f"rank {', '.join(map(str, gone or silent))}: {state} (error of rank {rank()}: {reason})"
