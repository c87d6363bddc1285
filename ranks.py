"""The processes that train or evaluate together: who they are, what they tell one another.

The only file that names gloo and NCCL. A process knows its place by the environment, from torchrun or
processes.launch.
"""

import os
import re
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import timedelta
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import processes

MEETING_S = 300.0  # that processes have to find one another
BEAT_S = 2.0  # between the signs of life of a process
FROZEN_BEATS = 10  # that don't come until a process counts as frozen or cut off
SILENCE_S = 10.0  # that processes have to say why they end, when one of them is missed


def place() -> tuple[int, int]:
    """(rank of this process, number of processes) of this command; (0, 1) alone."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


class _Ranks:
    """What the processes of a command are joined by."""

    store: Any = None  # keys and values that all of them see; for PyTorch, which may wait there
    words: Any = None  # the same by another connection, for what follows
    left = threading.Event()  # whether this process needs the others no more
    group: Any = None  # for what they tell one another
    patient_group: Any = None  # the same, whose members wait for one another as long as it takes
    is_patient = False  # whether that one is used


def meet(end: Callable[[str], object] | None = None) -> None:
    """Find the other processes of this command; from then on the first that fails is the one that speaks.

    end: called in a thread with the reason when another process is found frozen or cut off. Without it they
    are noticed by what waits for them only.

    Raises:
        LostProcess: not all of them came in MEETING_S.
    """
    if place()[1] == 1:
        return
    with _lost_process():
        store, _, _ = next(torch.distributed.rendezvous("env://", timeout=timedelta(seconds=MEETING_S)))
        _Ranks.store = torch.distributed.PrefixStore(_common_name(store), store)
        _Ranks.words = _Ranks.store.clone()
    if end is not None:
        threading.Thread(target=_watch, args=(end,), daemon=True).start()


def _watch(end: Callable[[str], object]) -> None:
    """Show that this process lives, and look whether the next one does, whatever the main thread waits for.

    Beats are counted, not seconds: processes that were all halted for a while go on.
    """
    rank, num_ranks = place()
    other, last, missed = (rank + 1) % num_ranks, 0, 0
    with suppress(RuntimeError):  # whoever kept the store is gone, which is noticed elsewhere
        while not _Ranks.left.wait(BEAT_S):
            _Ranks.words.add(f"beats/{rank}", 1)
            beats = _Ranks.words.add(f"beats/{other}", 0)
            alive = beats != last or not beats or _Ranks.words.check([f"ends/{other}"])
            last, missed = beats, 0 if alive else missed + 1
            if missed == FROZEN_BEATS:
                end(f"no sign of life for {missed * BEAT_S:.0f} s")


def _common_name(store: Any) -> str:
    """A name that the processes of this start have in common, and those of no earlier one.

    torchrun keeps the store when it starts its processes anew, with all that the dead ones wrote, and its
    agents' counts of restarts differ (PyTorch's issue 135712). So everyone shows a new name, and the first
    tells its own to each of them, until everyone has answered to it.
    """
    (rank, num_ranks), own = place(), uuid.uuid4().hex
    if rank > 0:
        store.set(f"shown/{rank}", own)
        name = str(store.get(f"told/{own}"), "ascii")
        store.set(f"answered/{name}/{rank}", "")
        return name
    missing, end = list(range(1, num_ranks)), time.monotonic() + MEETING_S
    while missing:
        if time.monotonic() > end:
            raise LostProcess(f"rank {', '.join(map(str, missing))} didn't come")
        for other in missing:
            if store.check([f"shown/{other}"]):
                store.set(f"told/{str(store.get(f'shown/{other}'), 'ascii')}", own)
        missing = [other for other in missing if not store.check([f"answered/{own}/{other}"])]
        time.sleep(0.01)
    return own


def join(device: torch.device, timeout_s: float) -> None:
    """Join those that meet has found; does nothing alone.

    Tensors go by NCCL between GPUs and by gloo between CPUs. Steps of training that wait longer than
    timeout_s for another process fail; NCCL, which would end the process with a trace, waits twice as long.
    """
    rank, num_ranks = place()
    if num_ranks == 1:
        return
    backend, factor = ("gloo", 1) if device.type == "cpu" else ("cpu:gloo,cuda:nccl", 2)
    timeout = timedelta(seconds=timeout_s)
    torch.distributed.init_process_group(
        backend, store=_Ranks.store, rank=rank, world_size=num_ranks, timeout=factor * timeout
    )
    _Ranks.group = torch.distributed.new_group(backend="gloo", timeout=timeout)
    _Ranks.patient_group = torch.distributed.new_group(backend="gloo", timeout=timedelta(days=1))


@contextmanager
def patience() -> Iterator[None]:
    """Within, processes that are ready early wait for the others as long as it takes, as tests need it."""
    _Ranks.is_patient = True
    try:
        yield
    finally:
        _Ranks.is_patient = False


def _group() -> Any:
    return _Ranks.patient_group if _Ranks.is_patient else _Ranks.group


def leave() -> None:
    """Leave the other processes; one that ends without it may be aborted by its network threads."""
    _Ranks.left.set()
    if _Ranks.words is not None:
        with suppress(RuntimeError):
            _Ranks.words.set(f"ends/{place()[0]}", "")
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def is_first() -> bool:
    """Whether this process, among those of the same command, is the one that speaks and writes."""
    return place()[0] == 0


def last_word(reason: str, lost: bool = False, names_rank: bool = True) -> str:
    """Why this process ends early -> what it has to print: of all processes the first that fails speaks.

    lost: whether it ends because another one doesn't answer; that one is named, or has spoken itself.
    names_rank: False for mistakes that are the same in every process.
    """
    rank, num_ranks = place()
    store = _Ranks.words
    if num_ranks == 1 or store is None:
        return reason if rank == 0 else ""
    try:
        speaks = not lost and store.add("spoken", 1) == 1
        store.set(f"ends/{rank}", "")
        fault = _fault(store) if lost else ""
        if not speaks and (not lost or store.add("spoken", 1) > 1):
            return ""
    except RuntimeError:  # whoever kept the store is gone too
        return f"rank {rank}: {reason}"
    if fault:
        return f"{fault} (rank {rank} was told: {reason})"
    return f"rank {rank}: {reason}" if names_rank else reason


def _fault(store: Any) -> str:
    """Which other process is gone; "" if all say why they end."""
    silent, end = list(range(place()[1])), time.monotonic() + SILENCE_S
    beats = [store.add(f"beats/{other}", 0) for other in silent]
    while time.monotonic() < end:
        silent = [other for other in silent if not store.check([f"ends/{other}"])]
        if store.add("spoken", 0) or not silent:
            return ""
        for other in silent:
            if store.underlying_store.check([processes.KILLED.format(other)]):
                cause = str(store.underlying_store.get(processes.KILLED.format(other)), "ascii")
                return f"rank {other}: ended by {cause}"
        time.sleep(0.1)
    still = [other for other in silent if store.add(f"beats/{other}", 0) == beats[other]]
    state = "no sign of life: killed, frozen or cut off" if still else "no answer: alive, but hung"
    return f"rank {', '.join(map(str, still or silent))}: {state}"


def lost(error: BaseException) -> str:
    """An exception -> what it says if it comes from another process that doesn't answer, else ""."""
    text = str(error)
    signs = ("Connection closed by peer", "Timed out waiting", "Connection reset", "Broken pipe", "NCCL")
    if isinstance(error, LostProcess | torch.distributed.DistError) or (
        isinstance(error, RuntimeError) and ("gloo" in text or any(sign in text for sign in signs))
    ):
        return re.sub(r"\[/\S*\] ", "", first_line(error)).split(". ")[0]  # without gloo's source file
    return ""


class LostProcess(OSError):  # noqa: N818  (what it is, not what was done wrong)
    """Another process of this command doesn't answer any more."""


@contextmanager
def _lost_process() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if reason := lost(error):
            raise LostProcess(reason) from None
        raise  # such as PyTorch's news of a dead data worker, which come wherever the main process is


def first_line(error: BaseException) -> str:
    """What an exception says first."""
    return (str(error).splitlines() or [type(error).__name__])[0]


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
    with _lost_process():
        torch.distributed.gather_object(value, values, group=_group())
    return values or []


def gather_everywhere(value: Any) -> list[Any]:
    """A value of each process -> all of them, in the order of ranks, in every process."""
    num_ranks = place()[1]
    if num_ranks == 1:
        return [value]
    values = [None] * num_ranks
    with _lost_process():
        torch.distributed.all_gather_object(values, value, group=_group())
    return values


def broadcast(value: Any) -> Any:
    """The first process's value, in every process."""
    if place()[1] == 1:
        return value
    values = [value]
    with _lost_process():
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
        raise other if isinstance(other, processes.Stopped) else LostProcess(str(other))


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
        with _lost_process():
            if before is not None:
                before[0].wait()
            most = torch.distributed.ReduceOp.MAX
            work = torch.distributed.all_reduce(told, most, group=_Ranks.group, async_op=True)
        self._told = work, told
        forgotten, self._forgets = self._forgets, False
        return int(before[1]) if before is not None and not forgotten else 0

    def forget(self) -> None:
        """What was told is done; to be called in every process."""
        self._forgets = True


def parallel(network: nn.Module, device: torch.device, local: Iterable[str] = ()) -> nn.Module:
    """Network -> the same, its gradients averaged over the processes, its weights those of the first.

    local: names of parameters of which each process has its own.
    """
    if place()[1] == 1:
        return network
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(network, list(local))
    ids = None if device.type == "cpu" else [device]
    with warnings.catch_warnings():  # broadcast_buffers gets another name in PyTorch 2.13
        warnings.simplefilter("ignore", FutureWarning)
        return DistributedDataParallel(network, ids, broadcast_buffers=False, gradient_as_bucket_view=True)


def unshared(network: nn.Module) -> AbstractContextManager[None]:
    """Context in which a network made by parallel only adds up its own gradients, for a later average."""
    return network.no_sync() if isinstance(network, DistributedDataParallel) else nullcontext()


@torch.no_grad()
def share_buffers(network: nn.Module) -> None:
    """Batch norm's running figures: everywhere those of the first process."""
    if place()[1] > 1:
        with _lost_process():
            for buffer in network.buffers():
                torch.distributed.broadcast(buffer, 0)


# Collectives of tensors. Where gradients flow through them, they are those of the sum of all processes'
# losses: divided by their number, as DataParallel does, they belong to the mean of the losses.


def all_max(tensor: Tensor) -> Tensor:
    """The elementwise maximum over the processes; no gradient flows."""
    tensor = tensor.detach().clone()
    if place()[1] > 1:
        torch.distributed.all_reduce(tensor, torch.distributed.ReduceOp.MAX)
    return tensor


def all_sum(tensor: Tensor) -> Tensor:
    """The elementwise sum over the processes."""
    return _AllSum.apply(tensor) if place()[1] > 1 else tensor


def gather_rows(tensor: Tensor) -> Tensor:
    """(B, ...) of every process, equally many -> (processes * B, ...), in the order of ranks."""
    return _GatherRows.apply(tensor) if place()[1] > 1 else tensor


class _AllSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        torch.distributed.all_reduce(gradient)
        return gradient


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        rows = [torch.empty_like(tensor) for _ in range(place()[1])]
        torch.distributed.all_gather(rows, tensor.contiguous())
        return torch.cat(rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        torch.distributed.all_reduce(gradient)
        rank, num_ranks = place()
        return gradient.unflatten(0, (num_ranks, -1))[rank]
