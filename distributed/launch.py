"""The processes of a command: one for each device, and the signals that ask them to end."""

import atexit
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

from torch.distributed import TCPStore

from distributed.signals import STOPS, StopSignal

GRACE_S = 20.0  # that processes have to end by themselves after one has failed; ranks waits less for a word
TRY_AGAIN = 75  # exit code, as sysexits.h has it, where another process is gone: worth the same command
KILLED = "killed/{}"  # key of launch's store, for the signal that ended a rank
LAUNCHED = "SPEAKERNET_LAUNCHED"  # in the environment of those that launch has started


def launch(words: Sequence[str], count: int, port: int, stop: StopSignal) -> int:
    """Run a Python command line in so many processes of this machine -> its exit code.

    They find one another as under torchrun, by the environment; port: 0 for any that is free. Signals are
    passed on to them. If one fails, the others are given a while to say so and to end.
    """
    store = _store(port)
    children = [_start(words, rank, count, store.port) for rank in range(count)]
    passed_on = list[int]()

    def pass_on(signum: int, _: FrameType | None) -> None:
        passed_on.append(signum)
        for child in children:
            with suppress(ProcessLookupError):  # one that waits for another hears no second signal
                child.send_signal(signum if len(passed_on) == 1 else signal.SIGKILL)

    for signum in STOPS:
        signal.signal(signum, pass_on)
    if stop.asked():
        pass_on(stop.asked(), None)
    failed = _failures(children, store)
    if failed and max(failed.values()) < 0 and not passed_on:  # else it was asked for
        rank, code = next(iter(failed.items()))
        print(f"{Path(words[0]).name}: error: rank {rank}: ended by {_signal(-code)}", file=sys.stderr)
    if len(passed_on) > 1:
        return 128 + passed_on[0]
    codes = [code if code > 0 else 128 - code for code in failed.values()]
    return next((code for code in codes if code != TRY_AGAIN), TRY_AGAIN) if codes else 0


def _failures(children: Sequence["subprocess.Popen[bytes]"], store: TCPStore) -> dict[int, int]:
    """Wait for all -> rank to exit code of those that failed, in the order of their ends.

    The others learn of signals that end one. Those that don't end by themselves after a failure are killed,
    which doesn't count.
    """
    failed, late = dict[int, int](), float("inf")
    while True:
        ended = [child.poll() for child in children]
        for rank, code in enumerate(ended):
            if code and rank not in failed:
                failed[rank] = code
                late = min(late, time.monotonic() + GRACE_S)
                if code < 0:
                    store.set(KILLED.format(rank), _signal(-code))
        if None not in ended or time.monotonic() > late:
            break
        time.sleep(0.05)
    for rank, child in enumerate(children):
        child.kill()
        if (code := child.wait()) > 0:  # it was about to end by itself
            failed.setdefault(rank, code)
    return failed


def _signal(number: int) -> str:
    """A signal's name; those without one have their number."""
    return signal.Signals(number).name if number in [*signal.Signals] else f"signal {number}"


def _store(port: int) -> TCPStore:
    """Where the processes find one another; for this machine's only."""
    try:
        listener = socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise ValueError(f"--port {port}: {os.strerror(error.errno or 0)}") from None
    port = listener.getsockname()[1]
    return TCPStore(
        "127.0.0.1", port, is_master=True, wait_for_workers=False, master_listen_fd=listener.detach()
    )


def _start(words: Sequence[str], rank: int, count: int, port: int) -> "subprocess.Popen[bytes]":
    """One of the processes; in a session of its own, so that Ctrl-C reaches it by launch alone."""
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    place |= {"MASTER_PORT": port, LAUNCHED: 1}
    environment = os.environ | {name: str(value) for name, value in place.items()}
    # the store is here, not in rank 0
    environment |= {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_USE_AGENT_STORE": "True"}
    environment.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # no traces where one end of a connection is gone
    if Path("/sys/class/net/lo").exists():
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo")
    command = [sys.executable, *words]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)  # until it has its StopSignal
    try:
        return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, start_new_session=True)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_launcher() -> None:
    """In a process that launch has started: ask it to stop when the launcher is gone."""
    if LAUNCHED in os.environ:
        threading.Thread(target=_watch_launcher, daemon=True).start()


def _watch_launcher() -> None:
    while os.read(sys.stdin.fileno(), 1):  # a pipe, whose other end only the launcher holds
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)  # it may be waiting for others where signals aren't heeded
    os._exit(128 + signal.SIGTERM)  # data workers notice it


def end_at_once(exit_code: int) -> None:
    """End without waiting for other processes, which may be gone, and for the network's threads.

    Python's own end aborts those that release a tensor just then.
    """
    _end_children()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)


def leave_stops_to_parent(_: int) -> None:
    """For a data worker to begin with: terminals and batch systems tell all processes of a stop.

    The main process then finishes its step and saves; the workers end with it in any case.
    """
    for signum in STOPS:
        signal.signal(signum, signal.SIG_IGN)


@atexit.register
def _end_children() -> None:
    """When this process ends: Python would ask its children to stop, and wait for those who don't listen."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch's handler takes their end for a failure
    for child in multiprocessing.active_children():
        child.kill()
