"""Collectives of objects and tensors in two processes; all of them work in one process too."""

import signal

import pytest
import torch
from rank_processes import in_group

import distributed
from distributed.signals import Stopped


def fail_in(rank, error):
    """Text and type of what each process raises if one of them meets an error."""
    try:
        with distributed.errors_on_all_ranks():
            if distributed.rank() == rank:
                raise error
    except Exception as caught:
        return type(caught).__name__, str(caught)
    return None


class UnpicklableError(Exception):
    """pickle would call it with one argument."""

    def __init__(self, first, second):
        super().__init__(f"{first} {second}")


def collect():
    """Everything that the tests below look at, in one start of the processes."""
    rank = distributed.rank()
    ours = torch.tensor([float(rank), -float(rank)], requires_grad=True)
    total = distributed.all_reduce_sum(ours)
    total.backward(torch.tensor([1.0, 10.0 * (rank + 1)]))
    rows = torch.full((1, 2), float(rank), requires_grad=True)
    gathered = distributed.all_gather_rows(rows)
    (gathered * torch.tensor([[1.0], [5.0]]) * (rank + 1)).sum().backward()
    network = torch.nn.BatchNorm1d(1)
    network.running_mean.fill_(7.0 + rank)
    distributed.broadcast_buffers(network)
    maximum = distributed.DelayedMaximum()
    maxima = []
    for step in range(4):
        maxima.append(maximum(10 * step + rank))
        if step == 1:
            maximum.discard()
    with distributed.wait_for_stragglers():
        everywhere = distributed.all_gather(rank)
    return {
        "shard": list(distributed.shard(range(5))),
        "gather": distributed.gather(f"rank {rank}"),
        "all_gather": everywhere,
        "broadcast": distributed.broadcast(rank + 1),
        "sum": total.detach(),
        "sum gradient": ours.grad,
        "rows": gathered.detach(),
        "rows gradient": rows.grad,
        "max": distributed.all_reduce_max(torch.tensor([rank, -rank])),
        "buffer": network.running_mean.item(),
        "maxima": maxima,
        "no error": fail_in(None, None),
        "error": fail_in(1, ValueError("a wrong flag")),
        "stop": fail_in(1, Stopped(signal.SIGTERM)),
        "unpicklable": fail_in(0, UnpicklableError("two", "words")),
        "still joined": distributed.all_gather(rank),
    }


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return in_group(tmp_path_factory.mktemp("pair"), 2, collect)


def both(pair, name):
    return [each[name] for each in pair]


def test_objects_are_gathered_in_the_order_of_ranks(pair):
    assert both(pair, "gather") == [["rank 0", "rank 1"], []]
    assert both(pair, "all_gather") == [[0, 1]] * 2
    assert both(pair, "broadcast") == [1, 1]
    assert both(pair, "shard") == [[0, 2, 4], [1, 3]]


def test_tensors_are_reduced_and_gathered_with_gradients_of_all_losses(pair):
    for each in pair:
        assert each["sum"].tolist() == [1.0, -1.0]
        assert each["sum gradient"].tolist() == [2.0, 30.0]  # 1 + 1, 10 + 20
        assert each["rows"].tolist() == [[0.0, 0.0], [1.0, 1.0]]
        assert each["max"].tolist() == [1, 0]
        assert each["buffer"] == 7.0
    assert both(pair, "rows gradient")[0].tolist() == [[3.0, 3.0]]  # row 0: 1 * (1 + 2)
    assert both(pair, "rows gradient")[1].tolist() == [[15.0, 15.0]]  # row 1: 5 * (1 + 2)


def test_a_delayed_maximum_is_that_of_the_step_before(pair):
    assert both(pair, "maxima") == [[0, 1, 0, 21]] * 2  # that of step 1, 11, is discarded


def test_an_error_of_one_rank_is_raised_on_all(pair):
    assert both(pair, "no error") == [None, None]
    assert both(pair, "error") == [("LostProcessError", "a wrong flag"), ("ValueError", "a wrong flag")]
    assert both(pair, "stop") == [("Stopped", "SIGTERM")] * 2
    assert both(pair, "unpicklable") == [("UnpicklableError", "two words"), ("LostProcessError", "two words")]
    assert both(pair, "still joined") == [[0, 1]] * 2


def test_one_process_gets_back_what_it_passes():
    tensor = torch.ones(1, 2, requires_grad=True)
    assert distributed.gather("x") == distributed.all_gather("x") == ["x"]
    assert distributed.broadcast("x") == "x" and distributed.shard([1, 2, 3]) == [1, 2, 3]
    assert distributed.all_reduce_sum(tensor) is tensor and distributed.all_gather_rows(tensor) is tensor
    assert torch.equal(distributed.all_reduce_max(tensor), tensor)
    assert distributed.data_parallel(torch.nn.Linear(1, 1), tensor.device).training
    assert distributed.DelayedMaximum()(3) == 3
    contexts = distributed.wait_for_stragglers(), distributed.errors_on_all_ranks()
    with pytest.raises(KeyError, match="unchanged"), contexts[0], contexts[1]:
        raise KeyError("unchanged")
