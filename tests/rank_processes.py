"""The processes of one command for tests, forked from the server."""

import os
import signal
import socket
import time
from functools import partial

import forked
import torch

import distributed
import runtime
import trainSpeakerNet
from distributed import launch

SHORT = distributed.Timeouts(
    rendezvous_s=60, heartbeat_interval_s=0.3, max_missed_heartbeats=12, report_s=2.0
)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Ranks:
    """Processes that share a store, which is in this process unless another port is given.

    Each calls work(rank, *arguments); what it returns is in results() once they have ended.
    """

    def __init__(self, folder, ranks, work, *arguments, world_size=None, port=None):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        if port is None:
            self.store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
            port = self.store.port
        variables = {
            "WORLD_SIZE": str(world_size or len(ranks)),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "TORCHELASTIC_USE_AGENT_STORE": "True",
            "TORCH_CPP_LOG_LEVEL": "ERROR",
        }
        self.processes = {}
        for rank in ranks:
            environment = variables | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            self.processes[rank] = forked.start(_run, folder, environment, work, arguments)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes.values():
            process.kill()
            process.join()

    def wait(self, timeout_s=120):
        """Exit codes in the order of ranks."""
        deadline = time.monotonic() + timeout_s
        for process in self.processes.values():
            process.join(max(deadline - time.monotonic(), 0))
        return [process.exitcode for process in self.processes.values()]

    def results(self, timeout_s=120):
        """What work returned in each rank."""
        codes = self.wait(timeout_s)
        assert not any(codes), self.errors()
        return [torch.load(self.folder / f"{rank}.pt", weights_only=False) for rank in self.processes]

    def errors(self):
        """What all ranks have written to stderr."""
        return self._text("stderr")

    def output(self):
        """What all ranks have written to stdout."""
        return self._text("stdout")

    def _text(self, kind):
        return "".join((self.folder / f"{rank}.{kind}").read_text() for rank in self.processes)

    def wait_for(self, path, text):
        """Return when a file holds the text."""
        for _ in range(1200):
            if path.exists() and text in path.read_text():
                return
            assert all(process.is_alive() for process in self.processes.values()), self.errors()
            time.sleep(0.05)
        raise AssertionError(f"{text!r} is not in {path}")

    def kill(self, rank, signum=signal.SIGKILL):
        """Send a signal to one rank."""
        os.kill(self.processes[rank].pid, signum)


def _run(folder, environment, work, arguments):
    """In the new process."""
    os.environ |= environment
    rank = environment["RANK"]
    forked.redirect(folder / f"{rank}.stdout", folder / f"{rank}.stderr")
    torch.set_num_threads(1)
    result = work(int(rank), *arguments)
    torch.save(result, folder / f"{rank}.pt")
    launch.exit_immediately(0)


def _in_group(rank, work, arguments):
    distributed.rendezvous(timeouts=SHORT)
    distributed.join(runtime.CPU, 60.0)
    result = work(*arguments)
    distributed.leave()
    return result


def in_group(folder, world_size, work, *arguments):
    """What work(*arguments) returns in each process of a group."""
    with Ranks(folder, range(world_size), _in_group, work, arguments) as ranks:
        return ranks.results()


def _train(rank, words, prepare):
    """The command in one rank; @ in its words is the rank."""
    distributed.rendezvous = partial(distributed.rendezvous, timeouts=SHORT)
    if prepare is not None:
        prepare(rank)
    launch.exit_immediately(trainSpeakerNet.main([word.replace("@", str(rank)) for word in words]))


def train(folder, words, prepare=None, world_size=2):
    """Ranks of trainSpeakerNet.py without a launcher; prepare(rank) is called in each before it starts."""
    return Ranks(folder, range(world_size), _train, words, prepare)
