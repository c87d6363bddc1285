"""Keeps what libmpg123 prints about damaged MP3 files from the terminal; the error that is raised says it."""

import multiprocessing
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

STDERR = 2  # file descriptor, to which the library writes
_lock = threading.RLock()  # of two threads the second would otherwise restore what the first has hidden


@contextmanager
def hidden() -> Iterator[None]:
    """Context in which nothing that this process writes to stderr is shown.

    One of several ranks shows all: another thread may have to say in this moment why the command ends.
    """
    # the package distributed imports PyTorch, which --check doesn't need
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and multiprocessing.parent_process() is None:
        yield
        return
    with _lock:
        sys.stderr.flush()
        try:
            shown = os.dup(STDERR)
        except OSError:  # it is closed
            yield
            return
        try:
            with open(os.devnull, "wb") as nowhere:  # noqa: PTH123
                os.dup2(nowhere.fileno(), STDERR)
            yield
        finally:
            os.dup2(shown, STDERR)
            os.close(shown)
