"""Rank and world size, from the environment variables that torchrun and launch.py set."""

import os


def rank() -> int:
    """Number of this process among those of the command; 0 if it is alone."""
    return int(os.environ.get("RANK", 0))


def world_size() -> int:
    """Number of processes of this command; 1 if this one is alone."""
    return int(os.environ.get("WORLD_SIZE", 1))


def is_first() -> bool:
    """Whether this process has rank 0, which is the one that prints and writes files."""
    return rank() == 0


def is_local_first() -> bool:
    """Whether this process has the lowest rank on its machine."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def other_ranks() -> list[int]:
    """Ranks of the other processes."""
    return [other for other in range(world_size()) if other != rank()]
