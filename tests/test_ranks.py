"""Several processes compute what one does on the joined batch."""

import os
import re
import signal
import socket
import threading
import time

import pytest
import torch
from torch import multiprocessing
from tqdm import tqdm

import distributed
import options
import runtime
import trainSpeakerNet
from DatasetLoader import TrainBatch
from distributed import heartbeat, launch, rendezvous
from SpeakerNet import ModelTrainer, SpeakerNet
from training.sync_batchnorm import synchronize

STEPS, SPEAKERS, UTTERANCES, SAMPLES, CLASSES = 20, 6, 2, 4_000, 7


def free_port():
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return made.getsockname()[1]


def _enter(rank, count, port, work, arguments, results):
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    tqdm.set_lock(threading.RLock())  # its own is a semaphore, which ending at once leaves behind
    distributed.meet()
    distributed.join(runtime.CPU, 60.0)
    results[rank] = work(*arguments)
    distributed.leave()
    launch.end_at_once(0)


def in_processes(count, work, *arguments):
    """What `work` returns in each of so many processes."""
    with multiprocessing.Manager() as manager:
        results = manager.dict()
        multiprocessing.spawn(_enter, (count, free_port(), work, arguments, results), nprocs=count)
        return [results[rank] for rank in range(count)]


def batches():
    """What each step trains on: this process's speakers of a batch that is the same for any number."""
    rank, num_ranks = distributed.place()
    for step in range(STEPS):
        generator = torch.Generator().manual_seed(step)
        crops = torch.randn(SPEAKERS, UTTERANCES, SAMPLES, generator=generator)
        labels = torch.randperm(CLASSES, generator=generator)[:SPEAKERS]
        own = slice(rank * SPEAKERS // num_ranks, (rank + 1) * SPEAKERS // num_ranks)
        masks = torch.zeros(len(crops[own]) * UTTERANCES, 2, 2)
        yield TrainBatch(0.1 * crops[own], labels[own], masks, [], [], torch.zeros(1))


class Batches:
    """A loader."""

    def __iter__(self):
        return batches()

    def __len__(self):
        return STEPS


def curve(*words):
    """Mean losses of the steps, and the weights after them."""
    given = ["--model=ResNetSE34L", "--optimizer=sgd", "--lr=0.01", "--precision=fp32", "--sync_bn", *words]
    args = options.resolve(trainSpeakerNet.core, given).args
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = (
        torch.Tensor.double
    )  # so that all is, and steps that magnify rounding errors do no harm
    runtime.seed_everything(1)
    network = SpeakerNet.build(args, CLASSES).double()
    synchronize(network, runtime.CPU)
    if args.shard_head:
        network.loss.shard()
    trainer = ModelTrainer(network, args, runtime.CPU, STEPS, CLASSES, lambda _: None, lambda *_: None)
    sums = []
    trainer.train_epoch(Batches(), "", (1, 1), lambda: sums.append(distributed.all_sum(trainer.sums).clone()))
    sums = torch.stack([*sums, distributed.all_sum(trainer.sums)])
    assert sums[-1, 2] == STEPS * distributed.place()[1]
    return sums.diff(dim=0)[:, 0] / distributed.place()[1], trainer.weights(network)


def _come(rank, count, port, results, seconds):
    """Meet in less time than usual, tell what is found, and wait for losses."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": "0", "WORLD_SIZE": str(count)}
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
    rendezvous.MEETING_S, heartbeat.BEAT_S, heartbeat.SILENCE_S = seconds, 0.1, 0.5

    def on_loss(reason):
        results[rank] = reason
        os._exit(0)

    try:
        distributed.meet(on_loss)
    except OSError as error:
        on_loss(distributed.last_word(str(error), bool(distributed.lost(error))))
    results[rank] = "met"
    time.sleep(60)


def _keep_store(port):
    store = torch.distributed.TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False)
    time.sleep(100)
    del store


@pytest.mark.parametrize(
    ("came", "told"),
    [((0, 1), {0: "rank 0: rank 2 didn't come in 2 s"}), ((1, 2), {1: "rank 0 didn't come in 2 s", 2: ""})],
)
def test_a_process_that_doesnt_come_is_named(came, told):
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    with multiprocessing.Manager() as manager:
        results = manager.dict()
        ones = [start(_come, rank, 3, store.port, results, 2) for rank in came]
        for one in ones:
            one.join(30)
        assert {rank: results[rank] for rank in told} == told
        assert [word for word in results.values() if word] == [word for word in told.values() if word]


def test_a_store_that_doesnt_answer_is_noticed():
    """As where torchrun's first machine is cut off; each other machine says it once."""
    port = free_port()
    keeper = start(_keep_store, port)
    try:
        with multiprocessing.Manager() as manager:
            results = manager.dict()
            ones = [start(_come, rank, 2, port, results, 30) for rank in range(2)]
            while len(results) < 2:
                time.sleep(0.05)
            time.sleep(2)  # longer than it may be silent
            assert [*results.values()] == ["met", "met"]
            os.kill(keeper.pid, signal.SIGSTOP)
            for one in ones:
                one.join(30)
            for word in results.values():
                assert re.match(r"127.0.0.1, where .* gives no answer for 1 s: ", word)
    finally:
        keeper.kill()


def start(work, *arguments):
    process = multiprocessing.get_context("spawn").Process(target=work, args=arguments, daemon=True)
    process.start()
    return process


def _start_anew(rank, port, attempt, results):
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": str(attempt * rank)}
    distributed.meet()
    distributed.join(runtime.CPU, 60.0)
    told = distributed.gather_everywhere((rank, attempt))
    results[rank, attempt] = told, distributed.last_word("gone")
    os._exit(0)  # as if killed


def test_processes_started_anew_dont_see_what_dead_ones_left():
    """As under torchrun, whose store stays and whose agents count their restarts each by itself."""
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    with multiprocessing.Manager() as manager:
        results = manager.dict()
        for attempt in range(3):
            arguments = store.port, attempt, results
            multiprocessing.spawn(_start_anew, arguments, nprocs=2)
            both = [results[rank, attempt] for rank in range(2)]
            assert [told for told, _ in both] == [[(0, attempt), (1, attempt)]] * 2
            assert sorted(word.split(": ")[-1] for _, word in both) == ["", "gone"]


CASES = {
    "angleproto": ["--trainfunc=angleproto"],
    "aamsoftmax": ["--trainfunc=aamsoftmax"],
    "sharded": ["--trainfunc=aamsoftmax", "--shard_head"],
}


def curves():
    """Of every case; processes take long to start."""
    return {name: curve(*words) for name, words in CASES.items()}


@pytest.fixture(scope="module")
def trained_curves():
    return in_processes(1, curves)[0], *in_processes(2, curves)


@pytest.mark.parametrize("case", CASES)
def test_two_processes_are_one(trained_curves, case):
    (alone, weights), (first, own), (second, _) = (found[case] for found in trained_curves)
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    torch.testing.assert_close(first, alone, rtol=0, atol=1e-6)
    for name, tensor in weights.items():
        torch.testing.assert_close(own[name], tensor, rtol=1e-4, atol=1e-5)
