"""Heads split over the processes by class: each one keeps and trains the rows of its own classes.

The softmax is still that over all classes (after An et al. 2022, arXiv:2203.15565). Each process keeps a
contiguous slice, the first ones a class more where the classes can't be shared out evenly. Alone, a process's
part is the whole.
"""

import torch
from torch import Tensor, nn

import distributed

BLOCK_ROWS = 2**16  # of a slice, that are sent at once


def own_classes(num_classes: int) -> range:
    """Classes 0 to num_classes - 1 -> those of this process."""
    rank, num_ranks = distributed.place()
    size, longer = divmod(num_classes, num_ranks)
    first = rank * size + min(rank, longer)
    return range(first, first + size + (rank < longer))


def own_part(tensor: Tensor) -> Tensor:
    """A row for each class (num_classes, ...) -> this process's rows (own classes, ...), a view."""
    own = own_classes(len(tensor))
    return tensor[own.start : own.stop]


@torch.no_grad()
def joined(tensor: Tensor, num_classes: int, first_only: bool = False) -> Tensor:
    """The rows of each process's classes (own classes, ...) -> those of all (num_classes, ...), everywhere.

    To be called by all processes. Serves parameters and what optimizers keep for them.

    Args:
        tensor: this process's rows.
        num_classes: of all processes.
        first_only: the others get (0, ...) instead, and never hold more than a block of each slice.
    """
    rank, num_ranks = distributed.place()
    if num_ranks == 1:
        return tensor
    size, longer = divmod(num_classes, num_ranks)
    whole = tensor.new_empty((0 if first_only and rank else num_classes, *tensor.shape[1:]))
    for start in range(0, size + (longer > 0), BLOCK_ROWS):
        block = tensor[start : start + BLOCK_ROWS]
        rows = min(BLOCK_ROWS, size + (longer > 0) - start)  # of the longest slice
        padded = torch.cat([block, block.new_zeros((rows - len(block), *tensor.shape[1:]))])
        blocks = distributed.gather_rows(padded).unflatten(0, (num_ranks, rows))
        for other in range(num_ranks if len(whole) else 0):
            first = other * size + min(other, longer) + start
            kept = min(rows, size + (other < longer) - start)
            whole[first : first + kept] = blocks[other, :kept]
    return whole


def split_parameters(loss: nn.Module) -> list[str]:
    """A loss -> names of its parameters that hold this process's classes only; none where it isn't split."""
    return list(loss.per_class) if getattr(loss, "is_split", False) else []  # type: ignore[arg-type]


def split(loss: nn.Module, names: tuple[str, ...], num_classes: int) -> None:
    """Replace the parameters (num_classes, ...) of these names by this process's rows.

    Their gradients, which the collectives make those of the sum of all processes' losses, are divided by the
    number of processes: each process's loss is the same one.

    Raises:
        ValueError: fewer classes than processes.
    """
    num_ranks = distributed.place()[1]
    if num_classes < num_ranks:
        raise ValueError(
            f"--shard_head needs a class for each process: {num_classes} classes, {num_ranks} processes"
        )
    for name in names:
        folder, _, leaf = name.rpartition(".")
        module = loss.get_submodule(folder)
        whole = getattr(module, leaf)
        part = nn.Parameter(own_part(whole.detach()).clone())  # a view would keep the whole alive
        part.register_hook(lambda gradient: gradient / num_ranks)
        setattr(module, leaf, part)


def own_columns(targets: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Targets (N,) among all classes -> (N,) among this process's, any where it isn't one; is one (N,)."""
    own = own_classes(num_classes)
    mine = (targets >= own.start) & (targets < own.stop)
    return (targets - own.start).clamp(0, len(own) - 1), mine


def classify_split(logits: Tensor, columns: Tensor, mine: Tensor, num_speakers: int) -> tuple[Tensor, Tensor]:
    """Logits of this process's classes (N, K) -> what `_head.classify` gives for all classes.

    The mean cross-entropy () is that of all processes' utterances, the accuracy (S,) this one's speakers'.

    Args:
        logits: of the utterances of all processes, in the order of ranks.
        columns: (N,) the target's column, where it is here.
        mine: (N,) whether it is.
        num_speakers: S, of this process's part of the batch.
    """
    largest = distributed.all_max(logits.detach().amax(dim=1))  # (N,)
    own = torch.where(mine, logits.gather(1, columns[:, None])[:, 0], 0.0)
    shares = (logits.logsumexp(dim=1) - largest).exp()  # of the sum over all classes
    total, target = distributed.all_sum(torch.stack([shares, own]))
    rank, num_ranks = distributed.place()
    correct = (target.detach() >= largest).float().unflatten(0, (num_ranks, num_speakers, -1))
    return (total.log() - (target - largest)).mean(), correct[rank].mean(dim=1)
