"""Collectives of tensors, and networks trained by several processes.

Where gradients flow through collectives, they are those of the sum of all processes' losses: divided by their
number, as DataParallel does, they belong to the mean of the losses.
"""

import warnings
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from distributed.heartbeat import lost_process
from distributed.rank import place


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
        with lost_process():
            for buffer in network.buffers():
                torch.distributed.broadcast(buffer, 0)


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
