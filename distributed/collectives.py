"""Collectives of Python objects; with world size 1 a process gets back what it passes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from distributed.environment import is_first, rank, world_size
from distributed.errors import LostProcessError, lost_process_errors
from distributed.process_group import current
from distributed.signals import Stopped


def shard(numbers: Sequence[int]) -> Sequence[int]:
    """The part of some work that this rank does: every world_size-th item."""
    return numbers[rank() :: world_size()]


def gather(value: Any) -> list[Any]:
    """A value of each process -> in rank 0 the values in the order of ranks; in the others []."""
    if world_size() == 1:
        return [value]
    values = [None] * world_size() if is_first() else None
    with lost_process_errors():
        torch.distributed.gather_object(value, values, group=current().object_group)
    return values or []


def all_gather(value: Any) -> list[Any]:
    """A value of each process -> in every process the values in the order of ranks."""
    if world_size() == 1:
        return [value]
    values = [None] * world_size()
    with lost_process_errors():
        torch.distributed.all_gather_object(values, value, group=current().object_group)
    return values


def broadcast(value: Any) -> Any:
    """The value of rank 0, in every process."""
    if world_size() == 1:
        return value
    values = [value]
    with lost_process_errors():
        torch.distributed.broadcast_object_list(values, group=current().object_group)
    return values[0]


def raise_first_error(error: Exception | None) -> None:
    """Raise in every process if one of them passes an error, so that all end together.

    A process that has an error raises that one. The others raise LostProcessError with the text of the error
    of the lowest rank, or Stopped if that is a request to stop, which concerns all processes.
    """
    message = error
    if error is not None and not isinstance(error, Stopped):
        message = LostProcessError(str(error))  # the error itself might not survive pickling
    first = next((each for each in all_gather(message) if each is not None), None)
    if error is not None:
        raise error
    if first is not None:
        raise first


@contextmanager
def errors_on_all_ranks() -> Iterator[None]:
    """Run the block in every process and, if it fails in one of them, raise in all: see raise_first_error.

    No process goes on before all have reached the end of the block.
    """
    error = None
    try:
        yield
    except Exception as caught:
        error = caught
    raise_first_error(error)


class DelayedMaximum:
    """The maximum over all ranks of a number that they pass at every step.

    Asynchronous: the result arrives one step later, at the same step on all ranks; with world size 1 at once.
    """

    def __init__(self) -> None:
        self._pending: tuple[Any, Tensor] | None = None
        self._is_discarded = False

    def __call__(self, number: int) -> int:
        """The number of this step -> the maximum of those of the step before; 0 at the first step."""
        if world_size() == 1:
            return number
        previous = self._pending
        maximum = torch.tensor([number])
        with lost_process_errors():
            if previous is not None:
                previous[0].wait()
            work = torch.distributed.all_reduce(
                maximum, torch.distributed.ReduceOp.MAX, group=current().step_group, async_op=True
            )
        self._pending = work, maximum
        is_valid = previous is not None and not self._is_discarded
        self._is_discarded = False
        return int(previous[1]) if previous is not None and is_valid else 0

    def discard(self) -> None:
        """Ignore the pending maximum, because it has been acted upon; to be called in every process."""
        self._is_discarded = True
