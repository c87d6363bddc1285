"""A process pool over files, shared by --check, --convert and --pack."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from itertools import chain
from multiprocessing.synchronize import Event
from typing import TypeVar

from tqdm import tqdm

FILES_AT_ONCE = 16  # per task of a worker process, so that passing them costs little

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_processes(
    work: Callable[[Sequence[Item]], Iterable[Result]], items: Sequence[Item], workers: int, doing: str
) -> list[Result]:
    """Items, passed in parts to `work`, which yields one result for each -> all results, in order.

    After Ctrl-C or an error, the items being processed are finished and no others are started.

    Args:
        work: a part of the items -> their results.
        items: what to process.
        workers: processes, 0 = one per core.
        doing: a word for the progress bar and for errors.

    Raises:
        OSError: a process was killed; any error that `work` raises.
    """
    workers = max(1, min(workers or os.cpu_count() or 1, len(items)))
    size = max(1, min(FILES_AT_ONCE, len(items) // (4 * workers)))
    parts = [items[i : i + size] for i in range(0, len(items), size)]
    progress = partial(tqdm, desc=doing, total=len(items), unit="file", disable=None, leave=False)
    if workers == 1:
        return list(progress(chain.from_iterable(map(work, parts))))
    stop = multiprocessing.Event()
    pool = ProcessPoolExecutor(workers, initializer=_start, initargs=(stop,))
    try:
        with _ctrl_c_deferred():  # it would interrupt processes while they start
            results = pool.map(partial(_until_stopped, work), parts)
        return list(progress(chain.from_iterable(results)))
    except BrokenProcessPool:
        raise OSError(
            f"{doing}: a process was killed, perhaps for lack of memory; start again, with fewer --workers"
        ) from None
    finally:
        stop.set()
        with _ctrl_c_deferred():
            pool.shutdown(cancel_futures=True)


@contextmanager
def _ctrl_c_deferred() -> Iterator[None]:
    """Defers Ctrl-C to the end of the block; processes started in the block ignore it."""
    signals: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, frame: signals.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if signals:
        raise KeyboardInterrupt


_stop: Event  # in a worker process: set when no more items should be started


def _start(stop: Event) -> None:
    """Set up a worker process: it leaves Ctrl-C to its parent, and exits when the parent does."""
    global _stop
    _stop = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _until_stopped(work: Callable[[Sequence[Item]], Iterable[Result]], part: Sequence[Item]) -> list[Result]:
    """Results of a part's items, or only of its first ones if all processes should stop."""
    stream = iter(work(part))
    results: list[Result] = []
    for _ in part:
        if _stop.is_set():
            break
        results.append(next(stream))
    return results
