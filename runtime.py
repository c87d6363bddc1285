"""Device, precision, seeds and threads: the only file that names cuda and autocast."""

import gc
import os
import random
import re
import shutil
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

CPU = torch.device("cpu")
SHARED_MEMORY = Path("/dev/shm")
# Batches from which on compiling, which takes a minute, repays: one of 0.1 s becomes 15 % faster.
REPAYS_COMPILING = 4000
MOST_THREADS = 16  # of map_in_threads, whose memory grows with them

T = TypeVar("T")
R = TypeVar("R")


def choose_device(name: str, gpu_id: int = 0) -> torch.device:
    """--device and --gpu_id -> device; "auto" takes the GPU where there is one, else the CPU.

    Under torchrun each process of a machine uses another GPU.

    Raises:
        ValueError: the requested device does not exist.
    """
    count = num_gpus(name)
    if name == "cpu" or (name == "auto" and count == 0):
        return CPU
    if count == 0:
        raise ValueError("--device cuda: no usable GPU was found; use --device cpu or auto")
    local = os.environ.get("LOCAL_RANK")
    if local and int(local) >= count:
        raise ValueError(f"process {local} of this machine has no GPU: there are {count}")
    gpu_id = int(local or gpu_id)
    if not 0 <= gpu_id < count:
        raise ValueError(f"--gpu_id {gpu_id}: this machine has GPUs 0 to {count - 1}")
    torch.cuda.set_device(gpu_id)
    _allow_tf32(False)  # PyTorch's default allows it in convolutions
    return torch.device("cuda", gpu_id)


def num_gpus(name: str) -> int:
    """--device -> number of GPUs of this machine that may be used."""
    return torch.cuda.device_count() if name != "cpu" and torch.cuda.is_available() else 0


def best_precision(device: torch.device) -> str:
    """The precision of --precision auto: bf16 on processors that multiply in it natively, else fp32."""
    about = Path("/proc/cpuinfo")
    flags = about.read_text(encoding="utf-8") if device == CPU and about.exists() else ""
    return "bf16" if re.search(r"\b(avx512_bf16|amx_bf16)\b", flags) else "fp32"


def has_compiler() -> bool:
    """Whether there is a C++ compiler, as torch.compile needs it."""
    default = "clang++" if sys.platform == "darwin" else "g++"
    return shutil.which(os.environ.get("CXX", default)) is not None


def compiles(choice: bool | str, batches: int, earlier: bool | None) -> bool:
    """--compile -> whether a network is compiled for training.

    `auto` goes by the number of batches and not by measured speeds, so that a seed gives the same training
    on every machine that has a compiler: rounding differs between the two.

    Args:
        choice: True, False or auto.
        batches: of the whole training.
        earlier: what the run that is resumed did; None for a new one.

    Raises:
        ValueError: the compiler is missing.
    """
    if choice == "auto" and earlier is None:
        return has_compiler() and batches >= REPAYS_COMPILING
    wanted = bool(earlier if choice == "auto" else choice)
    if wanted and not has_compiler():
        raise ValueError("--compile: no C++ compiler was found; install g++, or give --compile False")
    return wanted


def use_threads(threads: int) -> None:
    """Set the number of threads on the CPU; 0: as many as this process may use cores.

    Several processes of a machine share the cores. A single one respects OMP_NUM_THREADS.
    """
    if not threads:
        threads = cores_of_rank()
        if _ranks_of_machine() == 1:
            threads = min(threads, torch.get_num_threads())
    torch.set_num_threads(threads)


def map_in_threads(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Map in order, each call on one of as many threads as PyTorch has, none of which has others to help it.

    A small network on one recording gains little from several cores, but several recordings do: 2.1 times the
    speed of CAM++ with two cores. What a call returns doesn't depend on the number of threads. One item for
    each thread, and MOST_THREADS at most, are in memory at once.
    """
    threads = torch.get_num_threads()
    if threads == 1:
        yield from map(function, items)
        return
    count = min(threads, MOST_THREADS)
    waiting = deque[Future[R]]()
    with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            for item in items:
                if len(waiting) == count:
                    yield waiting.popleft().result()
                waiting.append(pool.submit(function, item))
            while waiting:
                yield waiting.popleft().result()
        finally:
            for call in waiting:
                call.cancel()
            torch.set_num_threads(threads)  # the initializer also set that of threads still to come


def cores_of_rank() -> int:
    """Number of cores for this rank, with which the other ranks of the machine share them."""
    return max(1, num_cores() // _ranks_of_machine())


def _ranks_of_machine() -> int:
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def num_cores() -> int:
    """Number of cores by this process's affinity and its container's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="utf-8").split()
        return min(cores, max(1, int(quota) // int(period)))
    except (OSError, ValueError):  # no control groups of version 2, or no quota ("max")
        return cores


def describe(device: torch.device) -> str:
    """Device -> its name for logs and run records."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({torch.get_num_threads()} threads)"


def wait_for(device: torch.device) -> None:
    """Wait until everything that was queued on the device is done; for measuring time."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def free_shared_mb() -> float:
    """Free shared memory, MB; infinite where no mount limits it."""
    return shutil.disk_usage(SHARED_MEMORY).free / 1e6 if SHARED_MEMORY.is_dir() else float("inf")


def peak_memory(device: torch.device) -> str:
    """Largest memory of the process so far, and of its tensors on a GPU."""
    try:
        import resource  # not on every platform
    except ModuleNotFoundError:
        text = "unknown"
    else:
        unit = 1 if sys.platform == "darwin" else 1000  # bytes, or kilobytes on Linux
        text = f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9:.2f} GB"
    if device.type == "cuda":
        text += f", {torch.cuda.max_memory_reserved(device) / 1e9:.2f} GB on the GPU"
    return text


def seed_everything(*seed: int) -> None:
    """Seed every global generator from a tuple such as (seed, epoch, step).

    Draws for an utterance never come from these but from a generator of the utterance (see DatasetLoader);
    these serve weight initialisation, and in training what depends on the batch, such as the negatives of
    triplets. They are seeded again for each step, so that their states need not be saved.
    """
    words = np.random.SeedSequence(seed).generate_state(2)
    random.seed(int(words[0]))
    np.random.seed(words[0])
    torch.manual_seed(int(words[1]))
    torch.backends.cudnn.deterministic = True


@contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    """Context in which GPUs may round the inputs of products to 10 bits (TF32), or may not."""
    before = torch.backends.cuda.matmul.allow_tf32
    _allow_tf32(allowed)
    try:
        yield
    finally:
        _allow_tf32(before)


def _allow_tf32(allowed: bool) -> None:
    torch.backends.cudnn.allow_tf32 = allowed
    torch.backends.cuda.matmul.allow_tf32 = allowed


class Precision:
    """How convolutions and matrix products of training are computed; everything else stays in float32.

    fp32: exact. tf32: their inputs rounded to 10 bits where a GPU can do that. bf16, fp16: mixed precision,
    the latter with a scale on the loss that is halved where gradients overflow (Micikevicius et al. 2018,
    arXiv:1710.03740, section 3.2).
    """

    NAMES = ("fp32", "tf32", "bf16", "fp16")

    def __init__(self, name: str, device: torch.device) -> None:
        self.name = name
        self.device = device
        self.dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(name)
        self.scaler = torch.amp.GradScaler(device.type, enabled=name == "fp16")
        self.allows_tf32 = name == "tf32"

    @contextmanager
    def context(self) -> Iterator[None]:
        """Context in which the network is called."""
        with (
            _tf32(self.allows_tf32),
            torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None),
        ):
            yield

    def backward(self, loss: Tensor) -> None:
        """Compute the gradients of the loss, scaled as the step expects them."""
        with _tf32(self.allows_tf32):
            self.scaler.scale(loss).backward()

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Divide the gradients by the scale of the loss."""
        self.scaler.unscale_(optimizer)

    def update(self) -> None:
        """After a step: choose the scale of the next loss."""
        self.scaler.update()

    def expects_overflows(self) -> bool:
        """Whether infinite gradients may only mean that the scale of the loss is still too large."""
        return self.scaler.is_enabled() and self.scaler.get_scale() > 1.0


def float32(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator for `forward(self, *tensors)`: float32 arguments, neither autocast nor TF32 inside it."""

    @wraps(forward)
    def full_precision(self: Any, *tensors: Tensor) -> Any:
        casts = [t.float() if t.is_floating_point() else t for t in tensors]
        if (
            torch.compiler.is_exporting()
        ):  # there is no autocast, and a context would become part of the graph
            return forward(self, *casts)
        with _tf32(False), torch.autocast(tensors[0].device.type, enabled=False):
            return forward(self, *casts)

    return full_precision


def float32_on_cpu() -> torch.autocast:
    """Context without autocast on CPUs, for recurrent layers, which fail where oneDNN has none in bf16."""
    return torch.autocast("cpu", enabled=False)


def free_memory() -> None:
    """Release memory that no tensor uses."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that the device's or the process's memory is exhausted."""
    text = str(error)
    return isinstance(error, MemoryError) or "out of memory" in text or "allocate memory" in text


class BatchTooLargeError(MemoryError):
    """The batch doesn't fit into memory."""
