"""Device, precision and seeds: the only file that names cuda and autocast."""

import gc
import os
import random
import re
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

CPU = torch.device("cpu")
SHARED_MEMORY = Path("/dev/shm")


def choose_device(name: str, gpu_id: int = 0) -> torch.device:
    """--device and --gpu_id -> device; "auto" takes the GPU where there is one, else the CPU.

    Under torchrun each process of a machine takes a GPU of its own.

    Raises:
        ValueError: the device that was asked for is not there.
    """
    count = num_gpus(name)
    if name == "cpu" or (name == "auto" and count == 0):
        return CPU
    if count == 0:
        raise ValueError("--device cuda: no usable GPU was found; use --device cpu or auto")
    local = os.environ.get("LOCAL_RANK")
    if local and int(local) >= count:
        raise ValueError(f"process {local} of this machine has no GPU of its own: there are {count}")
    gpu_id = int(local or gpu_id)
    if not 0 <= gpu_id < count:
        raise ValueError(f"--gpu_id {gpu_id}: this machine has GPUs 0 to {count - 1}")
    torch.cuda.set_device(gpu_id)
    _let_products_round(False)  # PyTorch lets convolutions do it
    return torch.device("cuda", gpu_id)


def num_gpus(name: str) -> int:
    """--device -> GPUs of this machine that it lets be used."""
    return torch.cuda.device_count() if name != "cpu" and torch.cuda.is_available() else 0


def best_precision(device: torch.device) -> str:
    """What --precision auto stands for: bf16 on processors that multiply in it natively, else fp32."""
    about = Path("/proc/cpuinfo")
    flags = about.read_text(encoding="utf-8") if device == CPU and about.exists() else ""
    return "bf16" if re.search(r"\b(avx512_bf16|amx_bf16)\b", flags) else "fp32"


def use_threads(threads: int) -> None:
    """Compute with so many threads on the CPU; 0: with the cores that this process may use.

    Several processes of a machine share them. Alone, OMP_NUM_THREADS may ask for fewer.
    """
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    if not threads:
        threads = _num_cores() // processes if processes > 1 else min(_num_cores(), torch.get_num_threads())
    torch.set_num_threads(max(threads, 1))


def _num_cores() -> int:
    """Cores by this process's affinity and its container's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="utf-8").split()
        return min(cores, max(1, int(quota) // int(period)))
    except (OSError, ValueError):  # no control groups of version 2, or no quota ("max")
        return cores


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


def _let_products_round(may: bool) -> None:
    """Whether GPUs may round what they multiply to 10 bits (TF32), from now on."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = may


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
        self.rounds = name == "tf32"

    @contextmanager
    def context(self) -> Iterator[None]:
        """Context in which the network is called."""
        _let_products_round(self.rounds)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
            yield
        _let_products_round(False)

    def backward(self, loss: Tensor) -> None:
        """Gradients of the loss, scaled as step expects them."""
        _let_products_round(self.rounds)
        self.scaler.scale(loss).backward()
        _let_products_round(False)

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Take the loss's scale off the gradients."""
        self.scaler.unscale_(optimizer)

    def update(self) -> None:
        """After a step: choose the scale of the next loss."""
        self.scaler.update()

    def expects_overflows(self) -> bool:
        """Whether infinite gradients may only mean that the loss's scale is still too large."""
        return self.scaler.is_enabled() and self.scaler.get_scale() > 1.0


def float32(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator for `forward(self, *tensors)`: float32 arguments and no autocast inside it."""

    @wraps(forward)
    def full_precision(self: Any, *tensors: Tensor) -> Any:
        casts = [t.float() if t.is_floating_point() else t for t in tensors]
        rounds = torch.backends.cuda.matmul.allow_tf32
        _let_products_round(False)
        with torch.autocast(tensors[0].device.type, enabled=False):
            made = forward(self, *casts)
        _let_products_round(rounds)
        return made

    return full_precision


def free_memory() -> None:
    """Give back what tensors no longer use."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that the device's or the process's memory is used up."""
    text = str(error)
    return isinstance(error, MemoryError) or "out of memory" in text or "allocate memory" in text


class BatchTooLargeError(MemoryError):
    """The batch doesn't fit into memory."""
