"""What the processes tell one another."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor

from distributed import heartbeat, signals
from distributed.heartbeat import LostProcess, lost_process
from distributed.rank import Stores, place


class _Groups:
    """By what the processes are joined."""

    prompt: Any = None  # whose members fail if others let them wait
    patient: Any = None  # whose members wait for one another as long as it takes
    is_patient = False  # whether that one is used


def join(device: torch.device, timeout_s: float) -> None:
    """Join those that meet has found; does nothing alone.

    Tensors go by NCCL between GPUs and by gloo between CPUs. Steps of training that wait longer than
    timeout_s for another process fail; NCCL, which ends the process with a trace, waits twice as long.
    """
    rank, num_ranks = place()
    if num_ranks == 1:
        return
    backend, factor = ("gloo", 1) if device.type == "cpu" else ("cpu:gloo,cuda:nccl", 2)
    timeout = timedelta(seconds=timeout_s)
    torch.distributed.init_process_group(
        backend, store=Stores.waiting, rank=rank, world_size=num_ranks, timeout=factor * timeout
    )
    _Groups.prompt = torch.distributed.new_group(backend="gloo", timeout=timeout)
    _Groups.patient = torch.distributed.new_group(backend="gloo", timeout=timedelta(days=1))
    # so that nobody fails while another one still connects, which gloo tells in its own words
    gather_everywhere(None)


@contextmanager
def patience() -> Iterator[None]:
    """Within, processes that are ready early wait for the others as long as it takes, as tests need it."""
    _Groups.is_patient = True
    try:
        yield
    finally:
        _Groups.is_patient = False


def _group() -> Any:
    return _Groups.patient if _Groups.is_patient else _Groups.prompt


def leave() -> None:
    """Leave the other processes, before launch.end_at_once."""
    heartbeat.say_end()
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def share(numbers: Sequence[int]) -> Sequence[int]:
    """Some work -> the part of it that is this process's."""
    rank, num_ranks = place()
    return numbers[rank::num_ranks]


def gather(value: Any) -> list[Any]:
    """A value of each process -> all of them, in the order of ranks, in the first process; else nothing."""
    rank, num_ranks = place()
    if num_ranks == 1:
        return [value]
    values = [None] * num_ranks if rank == 0 else None
    with lost_process():
        torch.distributed.gather_object(value, values, group=_group())
    return values or []


def gather_everywhere(value: Any) -> list[Any]:
    """A value of each process -> all of them, in the order of ranks, in every process."""
    num_ranks = place()[1]
    if num_ranks == 1:
        return [value]
    values = [None] * num_ranks
    with lost_process():
        torch.distributed.all_gather_object(values, value, group=_group())
    return values


def broadcast(value: Any) -> Any:
    """The first process's value, in every process."""
    if place()[1] == 1:
        return value
    values = [value]
    with lost_process():
        torch.distributed.broadcast_object_list(values, group=_group())
    return values[0]


def raise_anyones(error: BaseException | None) -> None:
    """Raise this process's error; or one that says that another has raised its own, so that all end together.

    Requests to stop are everyone's.
    """
    errors = [each for each in gather_everywhere(error) if each is not None]
    if error is not None:
        raise error
    for other in errors:
        raise other if isinstance(other, signals.Stopped) else LostProcess(str(other))


class Agreement:
    """A number that the processes tell one another at every step: the largest, known one step later.

    So nobody waits for it, and what follows from it happens after the same step everywhere. Alone, it is
    known at once.
    """

    def __init__(self) -> None:
        self._told: tuple[Any, Tensor] | None = None
        self._forgets = False

    def __call__(self, number: int) -> int:
        """The number of this process -> the largest of those told at the last step, 0 at the first."""
        if place()[1] == 1:
            return number
        before, told = self._told, torch.tensor([number])
        with lost_process():
            if before is not None:
                before[0].wait()
            most = torch.distributed.ReduceOp.MAX
            work = torch.distributed.all_reduce(told, most, group=_Groups.prompt, async_op=True)
        self._told = work, told
        forgotten, self._forgets = self._forgets, False
        return int(before[1]) if before is not None and not forgotten else 0

    def forget(self) -> None:
        """What was told is done; to be called in every process."""
        self._forgets = True
