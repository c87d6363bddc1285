"""Device, precision, seeds and stop signals: the only file that names cuda and autocast."""

import atexit
import multiprocessing
import os
import random
import resource
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import wraps
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor

CPU = torch.device("cpu")
SHARED_MEMORY = Path("/dev/shm")
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)  # Slurm sends the last before a job's time is up


def choose_device(name: str, gpu_id: int = 0) -> torch.device:
    """--device and --gpu_id -> device; "auto" takes the GPU where there is one, else the CPU.

    Under torchrun each process of a machine takes a GPU of its own.

    Raises:
        ValueError: the device that was asked for is not there.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cpu" or (name == "auto" and count == 0):
        return CPU
    if count == 0:
        raise ValueError("--device cuda: no usable GPU was found; use --device cpu or auto")
    gpu_id = int(os.environ.get("LOCAL_RANK", gpu_id))
    if not 0 <= gpu_id < count:
        raise ValueError(f"--gpu_id {gpu_id}: this machine has GPUs 0 to {count - 1}")
    return torch.device("cuda", gpu_id)


def place() -> tuple[int, int]:
    """(rank of this process, number of processes) of a training; (0, 1) alone."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def is_started_by_torchrun() -> bool:
    """Whether several processes run this command together."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def join() -> None:
    """Join the processes that torchrun started for this command; does nothing where it was started alone.

    They exchange embeddings on the CPU only. Ranks that are ready early wait as long as the others need.
    """
    if is_started_by_torchrun() and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo", timeout=timedelta(days=1))


def leave() -> None:
    """Leave the other processes; one that ends without it may be aborted by its network threads."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def is_first() -> bool:
    """Whether this process, among those of the same command, is the one that speaks and writes."""
    return place()[0] == 0


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
        torch.distributed.gather_object(value, values)
    return values or []


def broadcast(value: Any) -> Any:
    """The first process's value, in every process."""
    if place()[1] == 1:
        return value
    values = [value]
    with _lost_process():
        torch.distributed.broadcast_object_list(values)
    return values[0]


def raise_anyones(error: BaseException | None) -> None:
    """Raise this process's error; or another one's, so that all end together."""
    errors = [each for each in gather_everywhere(error) if each is not None]
    if errors:
        raise error or errors[0]


@contextmanager
def _lost_process() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise OSError(f"another process of this command is gone: {reason}") from None


def gather_everywhere(value: Any) -> list[Any]:
    """A value of each process -> all of them, in the order of ranks, in every process."""
    num_ranks = place()[1]
    if num_ranks == 1:
        return [value]
    values = [None] * num_ranks
    with _lost_process():
        torch.distributed.all_gather_object(values, value)
    return values


def describe(device: torch.device) -> str:
    """Device -> one line for logs and run records."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({torch.get_num_threads()} threads)"


def wait_for(device: torch.device) -> None:
    """Return when everything that was queued on the device is done; for measuring time."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def free_shared_mb() -> float:
    """Free shared memory, MB; infinite where it isn't limited by a mount."""
    return shutil.disk_usage(SHARED_MEMORY).free / 1e6 if SHARED_MEMORY.is_dir() else float("inf")


def peak_memory(device: torch.device) -> str:
    """Most memory that the process had so far, and its tensors on a GPU."""
    text = f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB"  # KB on Linux
    if device.type == "cuda":
        text += f", {torch.cuda.max_memory_reserved(device) / 1e9:.2f} GB on the GPU"
    return text


def seed_everything(*seed: int) -> None:
    """Seed every global generator from a tuple such as (seed, epoch, step).

    What is drawn for an utterance never comes from these but from its own generator
    (see DatasetLoader); these serve weight initialisation, and in training what depends on the batch:
    masks of features, negatives of triplets. Seeded anew for each step, they need not be saved.
    """
    words = np.random.SeedSequence(seed).generate_state(2)
    random.seed(int(words[0]))
    np.random.seed(words[0])
    torch.manual_seed(int(words[1]))
    torch.backends.cudnn.deterministic = True


class Precision:
    """How convolutions and matrix products of training are computed; all else stays in float32.

    fp32: exact. tf32: their inputs rounded to 10 bits where a GPU can do that. bf16, fp16: mixed precision,
    the latter with a scale on the loss that is halved where gradients overflow (Micikevicius et al. 2018,
    arXiv:1710.03740, section 3.2).
    """

    NAMES = ("fp32", "tf32", "bf16", "fp16")

    def __init__(self, name: str, device: torch.device) -> None:
        self.device = device
        self.dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(name)
        self.scaler = torch.amp.GradScaler(device.type, enabled=name == "fp16")
        if device.type == "cuda":
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = name != "fp32"

    def context(self) -> Any:
        """Context in which the network is called."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None)

    def backward(self, loss: Tensor) -> None:
        """Gradients of the loss, scaled as step expects them."""
        self.scaler.scale(loss).backward()

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """One step, or none where fp16 gradients have overflowed."""
        self.scaler.step(optimizer)
        self.scaler.update()


def float32(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator for `forward(self, *tensors)`: float32 arguments and no autocast inside it."""

    @wraps(forward)
    def full_precision(self: Any, *tensors: Tensor) -> Any:
        casts = [t.float() if t.is_floating_point() else t for t in tensors]
        with torch.autocast(tensors[0].device.type, enabled=False):
            return forward(self, *casts)

    return full_precision


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that the device's or the process's memory is used up."""
    text = str(error)
    return isinstance(error, MemoryError) or "out of memory" in text or "allocate memory" in text


def leave_stops_to_parent(_: int) -> None:
    """For a data worker to begin with: terminals and batch systems tell all processes of a stop.

    The main process then finishes its step and saves; the workers end with it in any case.
    """
    for signum in STOPS:
        signal.signal(signum, signal.SIG_IGN)


@atexit.register
def _end_children() -> None:
    """When this process ends: Python would ask its children to stop, and wait for those who don't listen."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch's handler takes their end for a failure
    for child in multiprocessing.active_children():
        child.kill()


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

    def _request(self, signum: int, _: FrameType | None) -> None:
        self.signum = signum
        for each in STOPS:
            signal.signal(each, signal.SIG_DFL)

    def check(self) -> None:
        """Raises Stopped if a signal has come."""
        if self.signum is not None:
            raise Stopped(self.signum)

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Around code whose worker processes may get the signal too.

        PyTorch reports their death by an exception wherever the main process is, even in the middle of
        writing a file; after a signal that is no error.
        """
        try:
            yield
        except (RuntimeError, OSError):
            self.check()
            raise
