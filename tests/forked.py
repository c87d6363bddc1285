"""Commands in processes that a server forks which has already imported the product.

A new interpreter imports torch, and for the first optimizer torch._dynamo, which takes longer than most of
what the tests then do. A few tests start real ones all the same: those that end a whole process group, share
a training between two processes, or go by torchrun.
"""

import atexit
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import time
from multiprocessing import forkserver, get_context
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from conftest import ROOT
from tqdm import tqdm

from distributed import launch

TORCHRUN = "torch.distributed.run"
context = get_context("forkserver")
context.set_forkserver_preload(["trainSpeakerNet", "torch._dynamo", "features.logmel", "rank_processes"])


def start(work, *arguments, daemon=False):
    """A new process that calls work(*arguments)."""
    path = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
    # as launch sets it for ranks: torch reads it when it is imported
    with mock.patch.dict(os.environ, PYTHONPATH=path, TORCH_CPP_LOG_LEVEL="ERROR"):
        forkserver.ensure_running()
    process = context.Process(target=work, args=arguments, daemon=daemon)
    process.start()
    return process


def redirect(stdout, stderr):
    """Append to these files from now on."""
    for descriptor, path in ((1, stdout), (2, stderr)):
        with open(path, "ab") as stream:  # noqa: PTH123
            os.dup2(stream.fileno(), descriptor)
    _open_standard_streams()
    tqdm.set_lock(threading.RLock())  # its default is a semaphore, which exit_immediately leaves behind


def _open_standard_streams():
    sys.stdin = os.fdopen(0, "r", closefd=False)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", closefd=False)


class _Process:
    """What subprocess.Popen does with a process id."""

    def wait(self, timeout=None):
        """Exit code."""
        deadline = time.monotonic() + (timeout or 1e9)
        while self.poll() is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(0.02)
        return self.returncode

    def send_signal(self, signum):
        """As os.kill, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, signum)

    def kill(self):
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Command(_Process):
    """A process of a script of the repository, or of torchrun, that is used as a subprocess.Popen.

    The ranks of a launcher are forked from it.
    """

    def __init__(self, script, *words, start_new_session=False):
        self._folder = tempfile.TemporaryDirectory()
        self._paths = [Path(self._folder.name, name) for name in ("stdout", "stderr")]
        words = [str(word) for word in words]
        self._process = start(_run_command, script, words, self._paths, start_new_session)
        self.pid, self.returncode = self._process.pid, None
        atexit.register(self.kill)  # of a test that failed; multiprocessing would wait for it

    def poll(self):
        """Exit code, minus the signal that has ended it, or None."""
        self.returncode = self._process.exitcode
        return self.returncode

    def communicate(self, timeout=None):
        """What it has written to stdout and to stderr when it has ended."""
        self.wait(timeout)
        return tuple(path.read_text() for path in self._paths)


def _run_command(script, words, paths, start_new_session):
    """In the new process: what an interpreter does for a script."""
    if start_new_session:
        os.setsid()
    multiprocessing.set_start_method(None, force=True)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    redirect(*paths)
    launch.subprocess = SimpleNamespace(Popen=_ForkedScript, PIPE=subprocess.PIPE)
    if script == TORCHRUN:
        from torch.distributed.elastic.multiprocessing.subprocess_handler import subprocess_handler

        subprocess_handler.Popen = _ForkedScript
    _run_script(script, words)


def _run_script(script, words):
    sys.argv = [str(ROOT / script), *words]
    try:
        if script == TORCHRUN:
            runpy.run_module(TORCHRUN, run_name="__main__")
        else:
            sys.path.insert(0, str(Path(sys.argv[0]).parent))
            runpy.run_path(sys.argv[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()


class _ForkedScript(_Process):
    """What launchers need of subprocess.Popen(["python", "script.py", ...]) in a session of its own."""

    def __init__(self, args, *, env, stdin=None, stdout=None, stderr=None, start_new_session=False):
        assert start_new_session and stdout is None and stderr is None
        read, self.stdin = os.pipe()
        self.returncode = None
        sys.stdout.flush()  # else both processes write what is in its buffer
        self.pid = os.fork()
        if self.pid == 0:
            os.dup2(read, 0)
            os.closerange(3, 4096)
            os.setsid()
            _as_script(args, env)
        os.close(read)

    def poll(self):
        """Exit code or None."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


def _as_script(command, env):
    """In a fork: run the script and end."""
    code = 1
    try:
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            signal.signal(signum, signal.default_int_handler if signum == signal.SIGINT else signal.SIG_DFL)
        os.environ.clear()
        os.environ.update(env)
        _open_standard_streams()
        script = next(number for number, word in enumerate(command) if word.endswith(".py"))
        _run_script(command[script], command[script + 1 :])
        code = 0
    except SystemExit as end:
        code = end.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
