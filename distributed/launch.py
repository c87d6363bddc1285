"""Starts the processes of a command on this machine, one for each device, and waits for them."""

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

import runtime
from distributed.environment import world_size
from distributed.signals import STOP_SIGNALS, StopSignal

GRACE_S = 20.0  # that processes have to end after one has failed; longer than Timeouts.report_s
TEMPORARY_FAILURE = 75  # exit code (EX_TEMPFAIL of sysexits.h) after a lost process: repeat the same command
KILLED_KEY = "killed/{}"  # key of the launcher's store: the signal that ended a rank
LAUNCHED = "SPEAKERNET_LAUNCHED"  # environment variable of the processes that launch has started


def num_processes(is_distributed: bool, nproc: int, device: str) -> int:
    """--distributed, --nproc, --device -> processes to start; 1 in one that was started as one of several.

    Raises:
        ValueError: this machine has fewer GPUs.
    """
    if (not is_distributed and not nproc) or world_size() > 1:
        return 1
    num_gpus = runtime.num_gpus(device)
    if 0 < num_gpus < nproc:
        raise ValueError(
            f"--nproc {nproc}: this machine has {num_gpus} GPUs; --device cpu trains without them"
        )
    return nproc or num_gpus or 1


def launch(
    words: Sequence[str], num_processes: int, port: int, stop: StopSignal, grace_s: float = GRACE_S
) -> int:
    """Run a Python command line in several processes of this machine -> its exit code.

    The processes connect as under torchrun, by environment variables. Signals are forwarded to them. If one
    fails, the others have grace_s seconds to end by themselves.

    Args:
        words: the script and its arguments.
        num_processes: the world size.
        port: of the store; 0: any free one.
        stop: a signal that it has already received is forwarded.
        grace_s: see above.
    """
    store = _create_store(port)
    children = [_start(words, rank, num_processes, store.port) for rank in range(num_processes)]
    forwarded = list[int]()

    def forward(signum: int, _: FrameType | None) -> None:
        forwarded.append(signum)
        for child in children:
            with suppress(
                ProcessLookupError
            ):  # a process that waits for another does not handle a second signal
                child.send_signal(signum if len(forwarded) == 1 else signal.SIGKILL)

    if threading.current_thread() is threading.main_thread():  # Python installs handlers nowhere else
        for signum in STOP_SIGNALS:
            signal.signal(signum, forward)
    if stop.requested():
        forward(stop.requested(), None)
    failed = _wait(children, store, grace_s)
    if (
        failed and max(failed.values()) < 0 and not forwarded
    ):  # killed from outside, and nobody has reported it
        rank, code = next(iter(failed.items()))
        print(f"{Path(words[0]).name}: error: rank {rank}: ended by {_signal_name(-code)}", file=sys.stderr)
    if len(forwarded) > 1:
        return 128 + forwarded[0]
    return _exit_code(failed)


def _exit_code(failed: dict[int, int]) -> int:
    """Exit codes of the failed processes in the order of their ends -> exit code of the command."""
    if not failed:
        return 0
    codes = [code if code > 0 else 128 - code for code in failed.values()]
    return next((code for code in codes if code != TEMPORARY_FAILURE), TEMPORARY_FAILURE)


def _wait(children: Sequence["subprocess.Popen[bytes]"], store: TCPStore, grace_s: float) -> dict[int, int]:
    """Wait for all processes -> rank to exit code of those that failed, in the order of their ends.

    The others learn from the store if a signal has ended one. Those that do not end within grace_s after a
    failure are killed, which does not count as a failure of theirs.
    """
    failed = dict[int, int]()
    deadline = float("inf")
    while True:
        codes = [child.poll() for child in children]
        for rank, code in enumerate(codes):
            if code and rank not in failed:
                failed[rank] = code
                deadline = min(deadline, time.monotonic() + grace_s)
                if code < 0:
                    store.set(KILLED_KEY.format(rank), _signal_name(-code))
        if None not in codes or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    for rank, child in enumerate(children):
        child.kill()
        if (code := child.wait()) > 0:  # it was ending by itself
            failed.setdefault(rank, code)
    return failed


def _signal_name(number: int) -> str:
    """A signal's name, or its number if it has none."""
    return signal.Signals(number).name if number in [*signal.Signals] else f"signal {number}"


def _create_store(port: int) -> TCPStore:
    """The store of the processes, which only this machine can reach."""
    try:
        listener = socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise ValueError(f"--port {port}: {os.strerror(error.errno or 0)}") from None
    port = listener.getsockname()[1]
    return TCPStore(
        "127.0.0.1", port, is_master=True, wait_for_workers=False, master_listen_fd=listener.detach()
    )


def _start(words: Sequence[str], rank: int, num_processes: int, port: int) -> "subprocess.Popen[bytes]":
    """Start one process, in a session of its own, so that Ctrl-C reaches it only through the launcher."""
    variables = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": num_processes,
        "LOCAL_WORLD_SIZE": num_processes,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "TORCHELASTIC_USE_AGENT_STORE": True,  # the store is in the launcher, not in rank 0
        LAUNCHED: 1,
    }
    environment = os.environ | {name: str(value) for name, value in variables.items()}
    environment.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # no traces about closed connections
    if Path("/sys/class/net/lo").exists():
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo")
    command = [sys.executable, *words]
    mask = signal.pthread_sigmask(
        signal.SIG_BLOCK, STOP_SIGNALS
    )  # inherited, until its StopSignal is installed
    try:
        return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, start_new_session=True)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def exit_with_launcher(grace_s: float = GRACE_S) -> None:
    """In a process that launch has started: stop when the launcher is gone, at the latest after grace_s."""
    if LAUNCHED in os.environ:
        threading.Thread(target=_watch_launcher, args=(grace_s,), daemon=True).start()


def _watch_launcher(grace_s: float) -> None:
    while os.read(sys.stdin.fileno(), 1):  # a pipe whose other end only the launcher holds
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace_s)  # the main thread may wait for other processes where it does not check for signals
    os._exit(128 + signal.SIGTERM)  # data workers notice it


def exit_immediately(exit_code: int) -> None:
    """End without waiting for other processes, which may be gone, or for threads of the network.

    Python's normal exit aborts if such a thread releases a tensor just then.
    """
    _kill_children()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)


def ignore_stop_signals(_: int) -> None:
    """worker_init_fn of data loaders: terminals and batch systems send stop signals to all processes.

    The main process then finishes its step and saves; the workers end with it in any case.
    """
    for signum in STOP_SIGNALS:
        signal.signal(signum, signal.SIG_IGN)


@atexit.register
def _kill_children() -> None:
    """At exit Python would ask its child processes to end, and wait for those that do not react."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch's handler takes their end for a failure
    for child in multiprocessing.active_children():
        child.kill()
