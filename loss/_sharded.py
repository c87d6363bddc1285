"""Class heads sharded over the processes: each process keeps and trains the rows of its slice of the classes.

The softmax remains that over all classes (after An et al. 2022, arXiv:2203.15565). Slices are contiguous;
where the world size doesn't divide the number of classes, the first ranks have one class more. In a process
that is alone (world size 1) the slice is all classes.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

import distributed
from loss._classification import per_utterance

if TYPE_CHECKING:
    from loss._head import ClassHead

BLOCK_ROWS = 2**16  # rows of each slice that are sent at once


class ShardedHead:
    """The forward pass of a class head of which each process holds one slice."""

    def __init__(self, head: nn.Module, per_class: tuple[str, ...], num_classes: int) -> None:
        """Replace the parameters per_class (num_classes, ...) of the head by this process's rows.

        The gradient that reaches a row is that of the sum of all processes' losses. These are the same loss,
        so it is divided by the world size.

        Raises:
            ValueError: there are fewer classes than processes.
        """
        world_size = distributed.world_size()
        if num_classes < world_size:
            raise ValueError(
                f"--shard_head needs at least one class for each process, got {num_classes} classes for "
                f"{world_size} processes"
            )
        self.classes = local_classes(num_classes)
        for name in per_class:
            module_name, _, leaf = name.rpartition(".")
            rows = local_rows(head.get_parameter(name).detach())
            parameter = nn.Parameter(rows.clone())  # a view would keep all rows in memory
            parameter.register_hook(lambda gradient: gradient / world_size)
            head.get_submodule(module_name).register_parameter(leaf, parameter)

    def __call__(self, head: "ClassHead", embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Local embeddings (S, M, D), labels (S,) -> mean loss of all processes (), local accuracy (S,)."""
        all_embeddings = distributed.all_gather_rows(embeddings)
        utterances, targets = per_utterance(all_embeddings, distributed.all_gather_rows(labels))
        is_local = (targets >= self.classes.start) & (targets < self.classes.stop)
        columns = (targets - self.classes.start).clamp(0, len(self.classes) - 1)
        speakers = slice(None, None, embeddings.shape[1])  # one utterance of each
        drawn = head.draw(len(self.classes), columns[speakers], is_local[speakers])
        if drawn is not None:
            columns = torch.searchsorted(drawn, columns).clamp(max=len(drawn) - 1)
        logits = head.logits(head.similarities(utterances, drawn), columns, is_local)
        return head.classify(logits, columns, len(labels), is_local)


def classify_sharded(
    logits: Tensor, columns: Tensor, is_local: Tensor, num_speakers: int
) -> tuple[Tensor, Tensor]:
    """Logits (N, K) of this process's classes -> what `classify` returns for all classes.

    The mean cross-entropy () is that of the utterances of all processes, the accuracy (S,) that of this
    process's speakers.

    Args:
        logits: of the utterances of all processes, in the order of ranks.
        columns: (N,) columns of the targets; any column where the target is in another process.
        is_local: (N,) whether the target is one of this process's classes.
        num_speakers: S, the speakers in this process's part of the batch.
    """
    largest = distributed.all_reduce_max(logits.detach().amax(dim=1))  # (N,)
    local_target = torch.where(is_local, logits.gather(1, columns[:, None])[:, 0], 0.0)
    local_sum = (logits.logsumexp(dim=1) - largest).exp()
    total, target = distributed.all_reduce_sum(torch.stack([local_sum, local_target]))
    accuracy = accuracy_of_sharded(target.detach(), largest, num_speakers)
    return (total.log() - (target - largest)).mean(), accuracy


def accuracy_of_sharded(target: Tensor, largest: Tensor, num_speakers: int) -> Tensor:
    """Logits of the targets (N,), largest ones (N,), of all processes -> accuracy (S,) of this one's."""
    correct = (target >= largest).float().unflatten(0, (distributed.world_size(), num_speakers, -1))
    return correct[distributed.rank()].mean(dim=1)


def shard_head(loss: nn.Module | None, name: str, gathers: bool) -> None:
    """Let a loss, or the parts of a combined one, keep only this process's classes.

    Args:
        loss: the loss.
        name: its name for errors.
        gathers: whether the loss sees the utterances of all processes, which a sharded head gathers itself.

    Raises:
        ValueError: it has no classes, or it is split although it gets all utterances.
    """
    assert loss is not None
    heads = [module for module in loss.modules() if hasattr(module, "shard")]
    if not heads:
        raise ValueError(f"--shard_head: {name} has no classes to split")
    for head in heads:
        head.shard()  # type: ignore[operator]
    if gathers and sharded_parameters(loss):
        raise ValueError(
            f"--shard_head gathers the utterances of all processes for a part of {name}, which gets them "
            "already; give --gather_negatives False"
        )


def sharded_parameters(loss: nn.Module) -> list[str]:
    """Loss -> names of its parameters that hold this process's classes only; [] if it isn't sharded."""
    names = list[str]()
    for path, module in loss.named_modules():
        if getattr(module, "sharded", None):
            names += [f"{path}.{name}".removeprefix(".") for name in module.per_class]
    return names


def local_classes(num_classes: int) -> range:
    """Number of classes -> the classes of this process."""
    return _slice(num_classes, distributed.rank())


def local_rows(tensor: Tensor) -> Tensor:
    """A row for each class (num_classes, ...) -> the rows of this process's classes, a view."""
    classes = local_classes(len(tensor))
    return tensor[classes.start : classes.stop]


@torch.no_grad()
def join_rows(tensor: Tensor, num_classes: int, first_only: bool = False) -> Tensor:
    """The rows of the local classes -> those of all classes (num_classes, ...), in every process.

    Called by all processes, for parameters and for what optimizers keep for them.

    Args:
        tensor: this process's rows.
        num_classes: of all processes.
        first_only: only rank 0 gets the rows; the others get (0, ...) and never hold more than a block of
            each slice.
    """
    world_size = distributed.world_size()
    if world_size == 1:
        return tensor
    is_receiver = distributed.is_first() or not first_only
    joined = tensor.new_empty((num_classes if is_receiver else 0, *tensor.shape[1:]))
    longest = len(_slice(num_classes, 0))
    for start in range(0, longest, BLOCK_ROWS):
        num_rows = min(BLOCK_ROWS, longest - start)
        block = tensor[start : start + num_rows]
        padding = block.new_zeros((num_rows - len(block), *block.shape[1:]))
        blocks = distributed.all_gather_rows(torch.cat([block, padding])).unflatten(0, (world_size, num_rows))
        if is_receiver:
            for rank in range(world_size):
                classes = _slice(num_classes, rank)[start : start + num_rows]
                joined[classes.start : classes.stop] = blocks[rank, : len(classes)]
    return joined


def _slice(num_classes: int, rank: int) -> range:
    """The classes of a rank."""
    size, num_longer = divmod(num_classes, distributed.world_size())
    first = rank * size + min(rank, num_longer)
    return range(first, first + size + (1 if rank < num_longer else 0))
