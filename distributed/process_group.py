"""The process group: the processes of one command, connected by a store, heartbeats and collectives.

A command has at most one, as torch.distributed has its default group: rendezvous creates it, join adds the
collectives, leave closes it. The functions of collectives.py and tensors.py use it.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import timedelta
from typing import Any

import torch

from distributed import store
from distributed.environment import is_local_first, rank, world_size
from distributed.errors import lost_process_errors
from distributed.heartbeat import Heartbeat
from distributed.status import Status, Timeouts

STRAGGLER_TIMEOUT = timedelta(days=1)


class ProcessGroup:
    """The connected processes; it lives as long as the process, since rank 0 may keep the store for all.

    Attributes:
        status: what the processes publish about themselves.
        step_group: gloo group whose collectives fail after the timeout of join.
        object_group: gloo group for Python objects: step_group, or the one that waits for stragglers.
    """

    def __init__(self, timeouts: Timeouts) -> None:
        self.timeouts = timeouts
        self._store, self._start_id = store.connect(timeouts.rendezvous_s)
        self._prefix_store = torch.distributed.PrefixStore(self._start_id, self._store)
        connection = self._prefix_store.clone()  # type: ignore[attr-defined]  # PyTorch's stubs lack it
        self.status = Status(connection, timeouts)
        self.step_group: Any = None
        self.object_group: Any = None
        self._straggler_group: Any = None

    def wait_for_all(self) -> None:
        """Return when all processes have connected; raises TimeoutError."""
        store.wait_for_all(self._store, self._start_id, self.timeouts.rendezvous_s)

    def join(self, device: torch.device, timeout_s: float) -> None:
        """Initialise the collectives: NCCL for tensors on GPUs, gloo for all others.

        NCCL aborts the process with a stack trace, so it gets twice the time of gloo, which raises an error.
        """
        timeout = timedelta(seconds=timeout_s)
        on_cpu = device.type == "cpu"
        torch.distributed.init_process_group(
            "gloo" if on_cpu else "cpu:gloo,cuda:nccl",
            store=self._prefix_store,
            rank=rank(),
            world_size=world_size(),
            timeout=timeout if on_cpu else 2 * timeout,
        )
        self.step_group = torch.distributed.new_group(backend="gloo", timeout=timeout)
        self._straggler_group = torch.distributed.new_group(backend="gloo", timeout=STRAGGLER_TIMEOUT)
        self.object_group = self.step_group
        with lost_process_errors():  # no process continues, and possibly fails, while another still connects
            torch.distributed.barrier(group=self.step_group)

    @contextmanager
    def wait_for_stragglers(self) -> Iterator[None]:
        """Context in which collectives of Python objects wait for slow processes for up to a day."""
        before = self.object_group
        self.object_group = self._straggler_group
        try:
            yield
        finally:
            self.object_group = before

    def close(self) -> None:
        """Announce the planned end of this process and shut the collectives down."""
        self.status.announce_end()
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


_current: ProcessGroup | None = None


def current() -> ProcessGroup:
    """The process group of this command; only where world_size() > 1."""
    assert _current is not None, "rendezvous comes first"
    return _current


def rendezvous(on_loss: Callable[[str], object] | None = None, timeouts: Timeouts | None = None) -> None:
    """Connect the processes of this command; from then on only the first one that fails reports its error.

    Args:
        on_loss: called in a thread when another process or the store is lost; see heartbeat.Heartbeat.
            Without it there are no heartbeats, and only collectives notice a lost process.
        timeouts: default: Timeouts().

    Raises:
        TimeoutError: some processes did not connect.
    """
    global _current
    if world_size() == 1:
        return
    with lost_process_errors():
        _current = ProcessGroup(timeouts or Timeouts())
        _current.wait_for_all()
    if on_loss is not None:
        Heartbeat(_current.status, on_loss).start()


def join(device: torch.device, timeout_s: float) -> None:
    """Initialise the collectives once; those of training steps fail if they wait longer than timeout_s."""
    if world_size() > 1 and not torch.distributed.is_initialized():
        current().join(device, timeout_s)


def wait_for_stragglers() -> AbstractContextManager[None]:
    """Context in which collectives of Python objects wait for slow processes, for evaluation and saving."""
    return nullcontext() if world_size() == 1 else current().wait_for_stragglers()


def leave() -> None:
    """Close the process group; launch.exit_immediately should follow."""
    if _current is not None:
        _current.close()


def announce_exit() -> None:
    """Tell processes that wait for this one that it ends as requested, so that they do not report it lost."""
    if _current is not None:
        with suppress(RuntimeError):
            _current.status.mark_reported()
        _current.status.announce_end()


def error_to_report(reason: str, *, is_lost_process: bool = False, names_rank: bool = True) -> str:
    """Why this process fails -> what it has to print; "" if another process reports the failure.

    Args:
        reason: one line.
        is_lost_process: it fails because another process does not answer; that one is named, unless it has
            reported its failure itself.
        names_rank: False for mistakes that are the same in every process.
    """
    if world_size() == 1:
        return reason
    if _current is None:  # no store yet: rank 0 failed to open it, or rank 1 waited for rank 0 in vain
        return reason if rank() <= 1 else ""
    message = f"rank {rank()}: {reason}" if names_rank else reason
    try:
        if is_lost_process:
            message = _current.status.diagnose_loss(reason) or message
        reports = _current.status.claim_report()
    except RuntimeError:  # the process that kept the store is gone too
        reports = is_local_first() or not is_lost_process
    return message if reports else ""
