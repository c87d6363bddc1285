"""Collectives of tensors, and networks trained by several processes.

Where gradients flow through a collective, they are those of the sum of the losses of all processes. Divided
by the world size, as DistributedDataParallel does, they are those of the mean loss.
"""

import warnings
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from distributed.environment import rank, world_size
from distributed.errors import lost_process_errors


def data_parallel(network: nn.Module, device: torch.device, local: Iterable[str] = ()) -> nn.Module:
    """Network -> network with the weights of rank 0 whose gradients are averaged over the processes.

    local: names of parameters that differ between the processes and are left alone.
    """
    local = set(local)
    if world_size() == 1:
        return network
    tensors = [*network.named_parameters(), *network.named_buffers()]
    others = [tensor for name, tensor in tensors if name not in local]
    if not any(tensor.requires_grad for tensor in others):  # none to average
        _broadcast(others)
        return network
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(network, list(local))
    with warnings.catch_warnings():  # PyTorch 2.13 renames broadcast_buffers
        warnings.simplefilter("ignore", FutureWarning)
        return DistributedDataParallel(
            network,
            device_ids=None if device.type == "cpu" else [device],
            broadcast_buffers=False,
            gradient_as_bucket_view=True,
        )


def no_sync(network: nn.Module) -> AbstractContextManager[None]:
    """Context in which a network of data_parallel accumulates gradients without averaging them."""
    return network.no_sync() if isinstance(network, DistributedDataParallel) else nullcontext()


def broadcast_buffers(network: nn.Module) -> None:
    """Give every process the buffers of rank 0, that is, batch norm's running statistics."""
    if world_size() > 1:
        _broadcast(network.buffers())


@torch.no_grad()
def _broadcast(tensors: Iterable[Tensor]) -> None:
    """Give every process the values of rank 0."""
    with lost_process_errors():
        for tensor in tensors:
            sent = tensor.contiguous()  # channels_last weights aren't
            torch.distributed.broadcast(sent, 0)
            tensor.copy_(sent)


def all_reduce_max(tensor: Tensor) -> Tensor:
    """The elementwise maximum over the processes; no gradient flows through it."""
    tensor = tensor.detach().clone()
    if world_size() > 1:
        torch.distributed.all_reduce(tensor, torch.distributed.ReduceOp.MAX)
    return tensor


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """The elementwise sum over the processes, differentiable."""
    return _AllReduceSum.apply(tensor) if world_size() > 1 else tensor


def all_gather_rows(tensor: Tensor) -> Tensor:
    """(B, ...) of every process, B the same in all -> (world size * B, ...) by rank, differentiable."""
    return _AllGatherRows.apply(tensor) if world_size() > 1 else tensor


def _sum(tensor: Tensor) -> Tensor:
    total = tensor.clone()
    torch.distributed.all_reduce(total)
    return total


class _AllReduceSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return _sum(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _sum(gradient)


class _AllGatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        rows = [torch.empty_like(tensor) for _ in range(world_size())]
        torch.distributed.all_gather(rows, tensor.contiguous())
        return torch.cat(rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _sum(gradient).unflatten(0, (world_size(), -1))[rank()]
