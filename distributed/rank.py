"""Which of the processes this one is, and the store that all of them see."""

import os
from typing import Any


def place() -> tuple[int, int]:
    """(rank of this process, number of processes) of this command; (0, 1) alone."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def is_first() -> bool:
    """Whether this process of the command is the one that prints and writes when all is well."""
    return place()[0] == 0


def others() -> list[int]:
    """Ranks of the other processes."""
    rank, num_ranks = place()
    return [other for other in range(num_ranks) if other != rank]


class Stores:
    """Keys and values of this start's processes, by two connections; None until they have met."""

    waiting: Any = None  # for PyTorch, which may wait there for a key
    prompt: Any = None  # for what mustn't be kept waiting
