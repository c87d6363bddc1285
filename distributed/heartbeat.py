"""Heartbeats: a thread of each process shows that it is alive and watches the process of the next rank."""

import os
import threading
from collections.abc import Callable
from contextlib import suppress

from distributed import launch
from distributed.environment import is_local_first, rank, world_size
from distributed.status import GONE, Status


class Heartbeat:
    """Sends heartbeats in a thread and calls on_loss when another process or the store is lost.

    Args:
        status: where heartbeats are published; the threads end when this process announces its end.
        on_loss: called with what to report, "" if another process reports it; expected to end the process.
    """

    def __init__(self, status: Status, on_loss: Callable[[str], object]) -> None:
        self.status = status
        self.on_loss = on_loss
        self.interval_s = status.timeouts.heartbeat_interval_s
        self.max_missed = status.timeouts.max_missed_heartbeats
        self.silence = f"{self.max_missed * self.interval_s:.0f} s"
        self._num_sent = 0

    def start(self) -> None:
        """Start the threads.

        Under launch.py the store is in the launcher, which watches its processes itself and may be suspended
        for a while; so only other stores are watched.
        """
        tasks = [self._beat]
        if launch.LAUNCHED not in os.environ:
            tasks.append(self._watch_store)
        for task in tasks:
            threading.Thread(target=task, daemon=True).start()

    def _beat(self) -> None:
        """Send heartbeats; watch those of the next rank, and whether a process has failed."""
        neighbour = (rank() + 1) % world_size()
        is_stalled = _StallDetector(self.max_missed)
        failed_s = 0.0
        with suppress(RuntimeError):  # without a store heartbeats cease, which _watch_store notices
            while not self.status.ended.wait(self.interval_s):
                self.status.add_heartbeat()
                self._num_sent += 1
                reason = self.status.killed_reason(neighbour)
                if is_stalled(self.status.heartbeats(neighbour)) and not reason:
                    reason = f"rank {neighbour}: no heartbeat for {self.silence}: {GONE}"
                if reason and not self.status.has_ended(neighbour):
                    self.on_loss(reason if self.status.claim_report() else "")
                if self.status.any_failed():  # the main thread has this long to notice it by itself
                    failed_s += self.interval_s
                if failed_s > self.status.timeouts.report_s:
                    self.on_loss("")

    def _watch_store(self) -> None:
        """Watch whether the store answers _beat; it may be on a machine that is cut off."""
        is_stalled = _StallDetector(self.max_missed)
        while not self.status.ended.wait(self.interval_s):
            if is_stalled(self._num_sent):
                host = os.environ["MASTER_ADDR"]
                reason = f"no answer from the rendezvous host {host} for {self.silence}: {GONE}"
                self.on_loss(reason if is_local_first() else "")


class _StallDetector:
    """Counts observations of an unchanged number.

    It counts observations, not seconds: processes that were all suspended together are not lost.
    """

    def __init__(self, max_repeats: int) -> None:
        self.max_repeats = max_repeats
        self.number = 0
        self.repeats = 0

    def __call__(self, number: int) -> bool:
        """Whether the number has been the same for max_repeats observations."""
        self.repeats = self.repeats + 1 if number == self.number else 0
        self.number = number
        return self.repeats >= self.max_repeats
