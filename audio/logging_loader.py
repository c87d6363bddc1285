"""Data loaders whose worker processes' log records reach the main process, each with the next batch."""

from collections.abc import Iterator
from logging import LogRecord
from typing import Any

from torch.utils.data import DataLoader, Dataset

from audio.remarks import handle_records, queue_records, take_queued
from distributed.launch import ignore_stop_signals


class WithRecords(Dataset[tuple[Any, list[LogRecord]]]):
    """Another data set's items, each with what the worker process has logged."""

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, key: Any) -> tuple[Any, list[LogRecord]]:
        return self.dataset[key], take_queued()


class LoggingLoader:
    """A DataLoader of a data set WithRecords: handles the records, and yields the items."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        for item, records in self.loader:
            handle_records(records)
            yield item

    def close(self) -> None:
        """End the workers now.

        Left to the garbage collector, which may finalise their queues before it ends them, they would keep
        the main process waiting for ten seconds each.
        """
        del self.loader


def begin_worker(worker_id: int) -> None:
    """worker_init_fn of these loaders."""
    ignore_stop_signals(worker_id)
    queue_records()
