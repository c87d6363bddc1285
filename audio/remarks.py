"""Remarks about recordings (resampled, mixed down, skipped) through the standard logging module.

Whoever reads a recording logs; the handler of the command (storage/run_log.py) shows each kind of remark
once. A worker process of a data loader queues its records, which travel to the main process with the next
batch.
"""

import logging
import queue
from collections.abc import Sequence
from logging.handlers import QueueHandler

SKIPPED = "skipped"  # the kind of a remark on a recording that can't be used
LOGGER = logging.getLogger("speakernet.audio")
LOGGER.setLevel(logging.INFO)
_queued: "queue.SimpleQueue[logging.LogRecord]" = queue.SimpleQueue()  # of this worker process


def log_remark(kind: str, recording: str) -> None:
    """Log a remark of some kind on a recording, given by its path."""
    LOGGER.info("%s: %s", kind, recording, extra={"kind": kind, "recording": recording})


def queue_records() -> None:
    """In a worker process: queue everything that is logged from here on."""
    logging.getLogger("speakernet").handlers = [QueueHandler(_queued)]


def take_queued() -> list[logging.LogRecord]:
    """In a worker process: the records queued since the last call, for the main process."""
    return [_queued.get() for _ in range(_queued.qsize())]


def handle_records(records: Sequence[logging.LogRecord]) -> None:
    """In the main process: handle the records of a worker process."""
    for record in records:
        logging.getLogger(record.name).handle(record)
