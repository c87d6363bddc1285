"""Rendezvous: the processes of a command connect to one store and wait until all of them have.

torchrun keeps its store when it restarts the processes, with everything that dead processes wrote, and its
agents count restarts independently (PyTorch issue 135712). Therefore rank 0 invents an identifier for each
start and hands it to the other processes, and all keys of a start are prefixed by its identifier.
"""

import time
import uuid
from datetime import timedelta
from typing import Any

import torch

from distributed.environment import other_ranks, rank


def connect(timeout_s: float) -> tuple[Any, str]:
    """Connect to the store -> the store, and the identifier of this start of the processes.

    Raises:
        TimeoutError: rank 0 did not connect.
    """
    store, _, _ = next(torch.distributed.rendezvous("env://", timeout=timedelta(seconds=timeout_s)))
    unique = uuid.uuid4().hex
    if rank() == 0:
        return store, unique
    store.set(f"requests/{rank()}", unique)
    try:
        return store, str(store.get(f"replies/{unique}"), "ascii")
    except torch.distributed.DistStoreError:
        raise TimeoutError(f"rank 0 did not connect within {timeout_s:.0f} s") from None


def wait_for_all(store: Any, start_id: str, timeout_s: float) -> None:
    """Return when every process has received the identifier of this start.

    Raises:
        TimeoutError: in rank 0, if some processes did not connect.
    """
    if rank() > 0:
        store.set(f"connected/{start_id}/{rank()}", "")
        store.wait([f"complete/{start_id}"], timedelta(seconds=2 * timeout_s))
        return
    missing = other_ranks()
    deadline = time.monotonic() + timeout_s
    while missing:
        if time.monotonic() > deadline:
            store.set(f"complete/{start_id}", "")  # releases the others, which then notice the failure
            ranks = ", ".join(map(str, missing))
            raise TimeoutError(f"rank {ranks} did not connect within {timeout_s:.0f} s")
        for other in missing:
            request = f"requests/{other}"
            if store.check([request]):  # may be that of a dead process; the living one overwrites it
                store.set(f"replies/{str(store.get(request), 'ascii')}", start_id)
        missing = [other for other in missing if not store.check([f"connected/{start_id}/{other}"])]
        time.sleep(0.01)
    store.set(f"complete/{start_id}", "")
