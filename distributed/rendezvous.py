"""How the processes of a command find one another."""

import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch

from distributed import heartbeat
from distributed.rank import Stores, others, place

MEETING_S = 300.0  # that processes have to find one another


def meet(on_loss: Callable[[str], object] | None = None) -> None:
    """Find the other processes of this command; from then on the first that fails is the one that speaks.

    on_loss: called in a thread when another process or the store is found dead, frozen or cut off, or has
    failed while this one doesn't notice; with what to say of it, "" if that is said elsewhere. Without it
    this is noticed by what waits for them only.

    Raises:
        TimeoutError: not all of them came in MEETING_S.
    """
    if place()[1] == 1:
        return
    with heartbeat.lost_process():
        store, _, _ = next(torch.distributed.rendezvous("env://", timeout=timedelta(seconds=MEETING_S)))
        name = _common_name(store)
        Stores.waiting = torch.distributed.PrefixStore(name, store)
        Stores.prompt = Stores.waiting.clone()
        _await_all(store, name)
    if on_loss is not None:
        heartbeat.start(on_loss)


def _common_name(store: Any) -> str:
    """A name that the processes of this start have in common, and those of no earlier one.

    torchrun keeps the store when it starts its processes anew, with all that the dead ones wrote, and its
    agents' counts of restarts differ (PyTorch's issue 135712). So everyone shows a new name, and the first
    tells each of them its own.
    """
    rank, own = place()[0], uuid.uuid4().hex
    if rank == 0:
        return own
    store.set(f"shown/{rank}", own)
    try:
        return str(store.get(f"told/{own}"), "ascii")
    except torch.distributed.DistStoreError:
        raise TimeoutError(f"rank 0 didn't come in {MEETING_S:.0f} s") from None


def _await_all(store: Any, name: str) -> None:
    """Return when every process knows the name; the first one tells it."""
    rank = place()[0]
    if rank > 0:
        store.set(f"answered/{name}/{rank}", "")
        store.wait([f"all/{name}"], timedelta(seconds=2 * MEETING_S))
        return
    missing, deadline = others(), time.monotonic() + MEETING_S
    while missing:
        if time.monotonic() > deadline:
            store.set(f"all/{name}", "")  # they learn of the failure then
            raise TimeoutError(f"rank {', '.join(map(str, missing))} didn't come in {MEETING_S:.0f} s")
        for other in missing:
            if store.check([f"shown/{other}"]):  # it may still be a dead one's
                store.set(f"told/{str(store.get(f'shown/{other}'), 'ascii')}", name)
        missing = [other for other in missing if not store.check([f"answered/{name}/{other}"])]
        time.sleep(0.01)
    store.set(f"all/{name}", "")
