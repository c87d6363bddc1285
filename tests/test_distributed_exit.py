"""How trainings in two processes end: one message after a fault, a resumable state after a stop."""

import os
import re
import resource
import signal
import subprocess
import time

import pytest
import torch
from conftest import run_here
from rank_processes import train

import distributed
import SpeakerNet
from distributed.exit import user_message
from distributed.launch import TEMPORARY_FAILURE
from runtime import BatchTooLargeError
from storage import checkpoint

SCRIPT = "trainSpeakerNet.py"
TRAINING = {"batch_size": 4, "test_list": "", "test_interval": 100}


def one_error(ranks, pattern):
    lines = [line for line in ranks.errors().splitlines() if line]
    assert len(lines) == 1, ranks.errors()
    assert re.search(pattern, lines[0]), lines[0]


def final_state(folder):
    return checkpoint.load_state(folder / "state" / "last.state")["trainer"]


def assert_same_weights(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"train_list": "none.txt"}, "--train_list none.txt: no such file"),
        ({"batch_size": 5}, "batches of 5 speakers can't be split over 2 processes"),
        ({"shard_head": True}, "--shard_head: angleproto has no classes to split"),
        ({"device": "cuda"}, "GPU"),
    ],
    ids=["no list", "odd batch", "no classes", "no device"],
)
def test_a_mistake_that_all_ranks_meet_is_reported_once(corpus, tmp_path, changes, expected):
    with train(tmp_path, corpus.options(tmp_path / "exp", **TRAINING | changes)) as ranks:
        assert set(ranks.wait()) <= {2, TEMPORARY_FAILURE}
        one_error(ranks, expected)


@pytest.mark.slow
def test_ranks_that_see_different_folders_are_refused(corpus, tmp_path):
    words = corpus.options(tmp_path / "exp@", **TRAINING, max_epoch=3)
    alone = [word.replace("exp@", "exp0") for word in words]
    assert run_here(SCRIPT, *alone, "--max_epoch=1").returncode == 0
    with train(tmp_path / "ranks", words) as ranks:
        assert ranks.wait() == [2, 2]
        one_error(ranks, "processes found different states: all must see")


def limit_file_size(_):
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))


def test_a_full_disk_is_reported_once(corpus, tmp_path):
    """A limit on the size of files acts like a full disk."""
    with train(tmp_path, corpus.options(tmp_path / "exp", **TRAINING, max_epoch=3), limit_file_size) as ranks:
        assert 2 in ranks.wait()
        one_error(ranks, "rank [01]: .*last.state")
    assert not list(tmp_path.rglob("*.tmp"))


def raise_in_forward(rank):
    def forward(*_):
        raise KeyError("unforeseen")

    if rank == 1:
        SpeakerNet.SpeakerNet.forward = forward


def test_only_the_rank_with_an_unforeseen_error_prints_a_traceback(corpus, tmp_path):
    words = corpus.options(tmp_path / "exp", **TRAINING, max_epoch=5)
    with train(tmp_path, words, raise_in_forward) as ranks:
        assert ranks.wait() == [TEMPORARY_FAILURE, 1]
        assert ranks.errors().count("Traceback") == 1 and "unforeseen" in ranks.errors().splitlines()[-1]


def freeze_in_forward(rank):
    if rank == 1:
        SpeakerNet.SpeakerNet.forward = lambda *_: os.kill(os.getpid(), signal.SIGSTOP)


def freeze_in_embed(rank):
    if rank == 1:
        SpeakerNet.SpeakerNet.embed = lambda *_, **__: os.kill(os.getpid(), signal.SIGSTOP)


def hang_in_forward(rank):
    if rank == 1:
        SpeakerNet.SpeakerNet.forward = lambda *_: time.sleep(1000)


@pytest.mark.parametrize(
    ("prepare", "changes", "expected"),
    [
        (freeze_in_forward, {}, "no heartbeat for 4 s: killed, frozen or cut off$"),
        pytest.param(
            freeze_in_embed,
            {"test_interval": 1, "max_epoch": 1},
            "no heartbeat for 4 s: killed, frozen or cut off$",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            hang_in_forward,
            {"rank_timeout": 4},
            r"no response, but still alive: hung \(error of rank 0: Timed out waiting",
            marks=pytest.mark.slow,
        ),
    ],
    ids=["frozen in a step", "frozen in a test", "hung in a step"],
)
def test_a_frozen_or_hung_rank_is_named_by_the_other(corpus, tmp_path, prepare, changes, expected):
    settings = {"batch_size": 4, "test_interval": 100} | changes
    with train(tmp_path, corpus.options(tmp_path / "exp", **settings), prepare) as ranks:
        ranks.processes[0].join(60)
        assert ranks.processes[0].exitcode == TEMPORARY_FAILURE
        one_error(ranks, f"rank 1: {expected}")


def children(pid):
    """Process ids of a process's children."""
    listing = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(line) for line in listing.stdout.split()]


@pytest.mark.slow
def test_a_dead_data_worker_is_reported_with_its_last_file(corpus, tmp_path):
    words = corpus.options(tmp_path / "exp", **TRAINING, nDataLoaderThread=1, max_epoch=1000)
    with train(tmp_path, words) as ranks:
        ranks.wait_for(tmp_path / "exp" / "result" / "scores.txt", "Epoch 2,")
        os.kill(children(ranks.processes[1].pid)[-1], signal.SIGKILL)
        assert ranks.wait() == [TEMPORARY_FAILURE, 2]
        one_error(ranks, r"rank 1: a data worker died.*its last file was spk")


def test_a_killed_rank_is_named_by_the_other(corpus, tmp_path):
    with train(tmp_path, corpus.options(tmp_path / "exp", **TRAINING, max_epoch=1000)) as ranks:
        ranks.wait_for(tmp_path / "exp" / "result" / "scores.txt", "Epoch 2,")
        ranks.kill(1)
        assert ranks.wait() == [TEMPORARY_FAILURE, -signal.SIGKILL]
        one_error(ranks, "rank 1: no heartbeat: killed, frozen or cut off")
    assert checkpoint.load_state(tmp_path / "exp" / "state" / "last.state")


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"trainfunc": "aamsoftmax", "shard_head": True, "sample_classes": 0.5, "ema_decay": 0.9},
        {"accumulate": 2, "clip_norm": 1.0, "trainfunc": "triplet", "optimizer": "sgd", "trunk_lr": 0.5},
    ],
    ids=["sharded", "accumulated"],
)
def test_a_stopped_training_resumes_to_the_same_weights(corpus, tmp_path, changes):
    settings = TRAINING | changes | {"max_epoch": 8}
    with train(tmp_path / "1", corpus.options(tmp_path / "whole", **settings)) as ranks:
        assert ranks.wait() == [0, 0], ranks.errors()
    words = corpus.options(tmp_path / "parts", **settings)
    with train(tmp_path / "2", words) as ranks:
        ranks.wait_for(tmp_path / "parts" / "result" / "scores.txt", "Epoch 2,")
        for rank in (1, 0):
            ranks.kill(rank, signal.SIGTERM)
        assert ranks.wait() == [128 + signal.SIGTERM] * 2 and ranks.errors() == ""
        assert ranks.output().count("stopped by SIGTERM") == 1
    with train(tmp_path / "3", words) as ranks:
        assert ranks.wait() == [0, 0], ranks.errors()
        assert ranks.output().count("resumed ") == 1
    whole, parts = (final_state(tmp_path / name) for name in ("whole", "parts"))
    assert_same_weights(whole["network"], parts["network"])
    if "shard_head" in changes:
        assert whole["network"]["loss.weight"].shape == (6, 512)  # that of all classes
        assert whole["optimizer"]["state"][0]["exp_avg"].shape == (6, 512)  # the head comes first
        assert_same_weights(whole["average"]["network"], parts["average"]["network"])
        alone = run_here(SCRIPT, *words, "--max_epoch=9")  # goes on in one process
        assert alone.returncode == 0 and "resumed after epoch 8" in alone.stdout, alone.stderr


def print_saved_states(_):
    save_state = checkpoint.save_state

    def save(path, state):
        print("SAVED", state["trainer"]["step"], state["progress"]["epoch"], flush=True)
        save_state(path, state)

    checkpoint.save_state = save


@pytest.mark.slow
def test_states_are_saved_once_where_ranks_agree(corpus, tmp_path):
    settings = TRAINING | {"batch_size": 2, "save_interval": 0.002, "max_epoch": 6}
    with train(tmp_path, corpus.options(tmp_path / "exp", **settings), print_saved_states) as ranks:
        assert ranks.wait() == [0, 0], ranks.errors()
        saved = re.findall(r"SAVED (\d+ \d+)", ranks.output())
    repeated = [place for place in set(saved) if saved.count(place) > 1]
    assert len(saved) > 6 and repeated in ([], ["0 6"]), saved  # the last: before and after its model


def test_errors_that_need_no_traceback_have_a_message():
    assert user_message(ValueError("--lr: expected")) == "--lr: expected"
    assert user_message(BatchTooLargeError("at most 3")) == "at most 3"
    assert "lower --batch_size" in user_message(RuntimeError("CUDA out of memory. Tried"))
    worker = RuntimeError("DataLoader worker (pid 7) is killed by signal.\nmore")
    assert user_message(worker) == "a data worker died: DataLoader worker (pid 7) is killed by signal."
    gloo = RuntimeError("[/pytorch/gloo/pair.cc:589] Connection closed by peer [127.0.0.1]:1. More")
    assert user_message(gloo) == "Connection closed by peer [127.0.0.1]:1"
    assert user_message(KeyError("bug")) == user_message(RuntimeError("bug")) == ""


def test_dead_workers_are_recognised():
    assert distributed.is_dead_worker(RuntimeError("DataLoader worker (pid(s) 3) exited unexpectedly"))
    assert not distributed.is_dead_worker(RuntimeError("anything else"))
    assert not distributed.is_dead_worker(None)
