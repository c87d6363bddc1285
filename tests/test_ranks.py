"""Several processes compute what one does on the joined batch."""

import os
import socket

import pytest
import torch
from torch import multiprocessing

import options
import ranks
import runtime
import trainSpeakerNet
from DatasetLoader import TrainBatch
from models._sync import synchronize
from SpeakerNet import ModelTrainer, SpeakerNet

STEPS, SPEAKERS, UTTERANCES, SAMPLES, CLASSES = 20, 6, 2, 4_000, 7


def free_port():
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return made.getsockname()[1]


def _enter(rank, count, port, work, arguments, results):
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    ranks.meet()
    ranks.join(runtime.CPU, 60.0)
    results[rank] = work(*arguments)
    ranks.leave()


def in_processes(count, work, *arguments):
    """What `work` returns in each of so many processes."""
    with multiprocessing.Manager() as manager:
        results = manager.dict()
        multiprocessing.spawn(_enter, (count, free_port(), work, arguments, results), nprocs=count)
        return [results[rank] for rank in range(count)]


def batches():
    """What each step trains on: this process's speakers of a batch that is the same for any number."""
    rank, num_ranks = ranks.place()
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
    trainer.train_epoch(Batches(), "", (1, 1), lambda: sums.append(ranks.all_sum(trainer.sums).clone()))
    sums = torch.stack([*sums, ranks.all_sum(trainer.sums)])
    assert sums[-1, 2] == STEPS * ranks.place()[1]
    return sums.diff(dim=0)[:, 0] / ranks.place()[1], trainer.weights(network)


def _start_anew(rank, port, attempt, results):
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": str(attempt * rank)}
    ranks.meet()
    ranks.join(runtime.CPU, 60.0)
    told = ranks.gather_everywhere((rank, attempt))
    results[rank, attempt] = told, ranks.last_word("gone")
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
