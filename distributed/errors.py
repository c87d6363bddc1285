"""Recognises the errors by which PyTorch reports that another process or a data worker has died."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

LOST_PROCESS_TEXTS = (
    "gloo",
    "NCCL",
    "Connection closed by peer",
    "Connection reset",
    "Broken pipe",
    "Timed out waiting",
)


class LostProcessError(OSError):
    """Another process of this command has failed or does not answer any more."""


def lost_process_reason(error: BaseException) -> str:
    """An exception -> its text if it means that another process is lost, else ""."""
    is_lost = isinstance(error, LostProcessError | torch.distributed.DistError) or (
        isinstance(error, RuntimeError) and any(text in str(error) for text in LOST_PROCESS_TEXTS)
    )
    if not is_lost:
        return ""
    text = re.sub(r"\[/\S*\] ", "", first_line(error))  # gloo names its source file
    return text.split(". ")[0]


@contextmanager
def lost_process_errors() -> Iterator[None]:
    """Context that raises LostProcessError instead of the RuntimeErrors that mean a lost process."""
    try:
        yield
    except RuntimeError as error:
        if reason := lost_process_reason(error):
            raise LostProcessError(reason) from None
        raise  # PyTorch's signal handler reports a dead data worker anywhere in the main process


def is_dead_worker(error: BaseException | None) -> bool:
    """Whether an exception is PyTorch's report that a DataLoader worker died or failed.

    A signal handler raises it, so it interrupts whatever the main process is doing.
    """
    return "DataLoader worker" in str(error)


def first_line(error: BaseException) -> str:
    """The first line of an exception's text, or its class name if it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]
