"""How processes show that they live, and which of them speaks when one doesn't or fails."""

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import torch

from distributed import launch
from distributed.rank import Stores, others, place

BEAT_S = 2.0  # between the signs of life of a process
FROZEN_BEATS = 12  # that don't come until a process counts as frozen or cut off
SILENCE_S = 10.0  # that processes have to say why they end, when one of them is missed or has failed
GONE = "killed, frozen or cut off"
left = threading.Event()  # whether this process needs the others no more
_word = threading.Lock()  # whose holder, one of this process's threads, speaks and ends the process


def start(on_loss: Callable[[str], object]) -> None:
    """Show in threads that this process lives, and look whether the others and their store do; see meet.

    launch.launch keeps a store of its own and sees to its processes itself; it may be halted for a while.
    """
    for work in (_show_and_look,) if launch.LAUNCHED in os.environ else (_show_and_look, _watch_store):
        threading.Thread(target=work, args=(on_loss,), daemon=True).start()


class _Stillness:
    """Counts looks at a number that stays the same.

    Looks, not seconds: processes that were all halted for a while go on.
    """

    def __init__(self) -> None:
        self.number, self.looks = 0, 0

    def __call__(self, number: int) -> bool:
        """Whether it has been so for long."""
        self.looks = self.looks + 1 if number == self.number else 0
        self.number = number
        return self.looks >= FROZEN_BEATS


class _Beats:
    """Signs of life that this process has shown."""

    shown = 0


def _show_and_look(on_loss: Callable[[str], object]) -> None:
    """Show that this process lives and look whether the next one does, whatever the main thread waits for."""
    rank, num_ranks = place()
    other, is_still, failed = (rank + 1) % num_ranks, _Stillness(), 0
    with suppress(RuntimeError):  # _watch_store notices that no more signs are shown
        while not left.wait(BEAT_S):
            Stores.prompt.add(f"beats/{rank}", 1)
            _Beats.shown += 1
            beats, fault = Stores.prompt.add(f"beats/{other}", 0), _killed(other)
            if is_still(beats):
                fault = fault or f"rank {other}: no sign of life for {FROZEN_BEATS * BEAT_S:.0f} s: " + GONE
            if fault and not Stores.prompt.check([f"ends/{other}"]):
                on_loss(fault if _speaks() else "")
            failed += Stores.prompt.check(["failed"])
            if failed * BEAT_S > SILENCE_S:
                on_loss("")


def _watch_store(on_loss: Callable[[str], object]) -> None:
    """Look whether the store answers _show_and_look; it may be on a machine that is cut off."""
    is_still = _Stillness()
    while not left.wait(BEAT_S):
        if is_still(_Beats.shown):
            where = f"{os.environ['MASTER_ADDR']}, where the processes meet,"
            fault = f"{where} gives no answer for {FROZEN_BEATS * BEAT_S:.0f} s: {GONE}"
            on_loss(fault if _is_local_first() else "")


def _is_local_first() -> bool:
    return os.environ.get("LOCAL_RANK", "0") == "0"


def say_end(failed: bool = False) -> None:
    """Others needn't look for this process any more; after a failure they have to end too."""
    if Stores.prompt is None:
        return
    with suppress(RuntimeError):
        if failed:
            Stores.prompt.set("failed", "")
        Stores.prompt.set(f"ends/{place()[0]}", "")
    left.set()


def excuse() -> None:
    """Tell others that are waiting for this process that it ends as it was asked to."""
    if Stores.prompt is not None:
        with suppress(RuntimeError):
            Stores.prompt.add("spoken", 1)
    say_end()


def last_word(reason: str, is_lost: bool = False, names_rank: bool = True) -> str:
    """Why this process ends early -> what it has to print: of all processes the first that fails speaks.

    is_lost: whether it ends because another one doesn't answer; that one is named, or has spoken itself.
    names_rank: False for mistakes that are the same in every process.
    """
    rank, num_ranks = place()
    if num_ranks == 1:
        return reason
    if Stores.prompt is None:  # they haven't met: the first one was there, or the second one has missed it
        return reason if rank <= 1 else ""
    told = f"rank {rank}: {reason}" if names_rank else reason
    try:
        if is_lost:
            Stores.prompt.set(f"ends/{rank}", "")
            told = _fault(reason) or told
        speaks = _speaks()
    except RuntimeError:  # whoever kept the store is gone too
        speaks = not is_lost or _is_local_first()
    return told if speaks else ""


def _speaks() -> bool:
    """Whether this thread, which knows of a failure, is the one that speaks; other processes end too."""
    if not _word.acquire(timeout=SILENCE_S):
        return False
    none_before = bool(Stores.prompt.add("spoken", 1) == 1)  # before its end is seen, which may be the last
    say_end(failed=True)
    return none_before


def _killed(rank: int) -> str:
    """What to say of a process that the launcher saw killed, else ""."""
    key, store = launch.KILLED.format(rank), Stores.prompt.underlying_store
    return f"rank {rank}: ended by {str(store.get(key), 'ascii')}" if store.check([key]) else ""


def _fault(reason: str) -> str:
    """What this process was told when it missed another -> what to say; "" if one has spoken or all end."""
    store, silent, deadline = Stores.prompt, others(), time.monotonic() + SILENCE_S
    beats = {other: store.add(f"beats/{other}", 0) for other in silent}
    while time.monotonic() < deadline:
        silent = [other for other in silent if not store.check([f"ends/{other}"])]
        if store.add("spoken", 0) or not silent:
            return ""
        for other in silent:
            if cause := _killed(other):
                return cause
        time.sleep(0.1)
    gone = [other for other in silent if store.add(f"beats/{other}", 0) == beats[other]]
    state = f"no sign of life: {GONE}" if gone else "no answer: alive, but hung"
    return f"rank {', '.join(map(str, gone or silent))}: {state} (rank {place()[0]} was told: {reason})"


def lost(error: BaseException) -> str:
    """An exception -> what it says if it comes from another process that doesn't answer, else ""."""
    text = str(error)
    signs = ("Connection closed by peer", "Timed out waiting", "Connection reset", "Broken pipe", "NCCL")
    if isinstance(error, LostProcess | torch.distributed.DistError) or (
        isinstance(error, RuntimeError) and ("gloo" in text or any(sign in text for sign in signs))
    ):
        return re.sub(r"\[/\S*\] ", "", first_line(error)).split(". ")[0]  # without gloo's source file
    return ""


class LostProcess(OSError):  # noqa: N818  (what it is, not what was done wrong)
    """Another process of this command doesn't answer any more."""


@contextmanager
def lost_process() -> Iterator[None]:
    """Errors that mean a lost process become LostProcess."""
    try:
        yield
    except RuntimeError as error:
        if reason := lost(error):
            raise LostProcess(reason) from None
        raise  # such as PyTorch's news of a dead data worker, which come wherever the main process is


def first_line(error: BaseException) -> str:
    """What an exception says first."""
    return (str(error).splitlines() or [type(error).__name__])[0]
