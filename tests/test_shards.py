"""A head split over processes by class is the same as the whole head in one process."""

import os
import socket

import pytest
import torch
from torch import multiprocessing

import distributed
import options
from distributed.launch import end_at_once
from loss import _head, _sharded

DIM, CLASSES, STEPS, SEEDS = 8, 11, 20, range(3)  # 11 classes: 6 + 5, or 4 + 4 + 3
CASES = {
    "softmax": {},
    "amsoftmax": {"scale": 10.0},
    "aamsoftmax": {"scale": 10.0, "margin": 0.3},
    "amsoftmax 2": {"scale": 10.0, "sub_centers": 2},
    "aamsoftmax 2": {"scale": 10.0, "sub_centers": 2, "easy_margin": True},
}
TENSORS = {
    "matrix": torch.arange(33.0).view(11, 3),
    "sub-centres": torch.arange(66.0).view(11, 2, 3),
    "bias": torch.arange(12),
    "few": torch.arange(3.0)[:, None],
}


def head(case, **settings):
    """A loss (with the same weights each time) and a matrix that stands for the network before it."""
    torch.manual_seed(1)
    loss_fn = options.plugin("loss", case.split()[0])(DIM, CLASSES, **CASES[case] | settings)
    return loss_fn, torch.nn.Parameter(torch.eye(DIM) + 0.1 * torch.randn(DIM, DIM))


def batch(step):
    """What this process has of the step's batch: (S, 2, D), (S,)."""
    torch.manual_seed(100 + step)
    rank, num_ranks = distributed.place()
    inputs, labels = torch.randn(6, 2, DIM), torch.randint(CLASSES, (6,))
    return inputs.chunk(num_ranks)[rank], labels.chunk(num_ranks)[rank]


def train(case):
    """Some steps as DistributedDataParallel makes them -> what can be seen of them."""
    num_ranks = distributed.place()[1]
    loss_fn, network = head(case)
    loss_fn.shard()
    optimizer = torch.optim.SGD([network, *loss_fn.parameters()], lr=0.1, momentum=0.9, weight_decay=1e-3)
    seen = {"curve": [], "split": _sharded.split_parameters(loss_fn), "accuracy": []}
    for step in range(STEPS):
        inputs, labels = batch(step)
        embeddings = inputs @ network
        embeddings.retain_grad()
        loss, accuracy = loss_fn(embeddings, labels)
        optimizer.zero_grad()
        loss.backward()
        network.grad = distributed.all_sum(network.grad) / num_ranks
        if step == 0:
            seen["embeddings"] = embeddings.grad / num_ranks
            seen["network"] = network.grad.clone()
            seen |= {
                f"gradient {name}": _sharded.joined(p.grad, CLASSES) for name, p in loss_fn.named_parameters()
            }
        optimizer.step()
        seen["curve"].append(loss.item())
        seen["accuracy"].append(accuracy)
    for name, parameter in loss_fn.named_parameters():
        seen[f"trained {name}"] = _sharded.joined(parameter.detach(), CLASSES)
        momentum = optimizer.state[parameter]["momentum_buffer"]
        seen[f"momentum {name}"] = _sharded.joined(momentum, CLASSES)
        seen[f"stored {name}"] = parameter.untyped_storage().nbytes() // parameter.element_size()
    seen["accuracy"] = torch.stack(seen["accuracy"], dim=1)  # (S, steps)
    return seen


def sampled_step(case, seed, share):
    """One step with classes drawn -> loss, accuracy, and gradients of all classes."""
    loss_fn, network = head(case, sample_classes=share)
    loss_fn.shard()
    inputs, labels = batch(seed)
    loss, accuracy = loss_fn(inputs @ network, labels)
    loss.backward()
    (weight,) = (p.grad for name, p in loss_fn.named_parameters() if name.endswith("weight"))
    return {"loss": loss.item(), "accuracy": accuracy, "gradient": _sharded.joined(weight, CLASSES)}


def together():
    """Everything that takes several processes."""
    results = {case: train(case) for case in CASES}
    results |= {f"sampled {c} {s}": sampled_step(c, s, 0.5) for c in CASES for s in SEEDS}
    for name, tensor in TENSORS.items():
        part = _sharded.own_part(tensor)
        results[f"part {name}"] = part.clone()
        results[f"joined {name}"] = _sharded.joined(part, len(tensor))
        results[f"first {name}"] = _sharded.joined(part, len(tensor), first_only=True)
    try:
        options.plugin("loss", "softmax")(DIM, distributed.place()[1] - 1).shard()
    except ValueError as error:
        results["refusal"] = str(error)
    return results


def work(rank, ports, folder):
    """One of three processes: two of them meet first, then all; starting them takes longest."""
    torch.set_num_threads(1)
    _sharded.BLOCK_ROWS = 2
    for num_ranks in (2, 3):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": num_ranks, "MASTER_PORT": ports[num_ranks]}
        os.environ |= {name: str(value) for name, value in place.items()} | {"MASTER_ADDR": "127.0.0.1"}
        if rank < num_ranks:
            distributed.meet()
            distributed.join(torch.device("cpu"), 60.0)
            torch.save(together(), folder / f"{num_ranks}-{rank}.pt")
            distributed.leave()
    end_at_once(0)


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """Number of processes -> what each of them saw."""
    folder, ports = tmp_path_factory.mktemp("ranks"), {}
    with socket.socket() as first, socket.socket() as second:
        for num_ranks, probe in ((2, first), (3, second)):
            probe.bind(("127.0.0.1", 0))
            ports[num_ranks] = probe.getsockname()[1]
    multiprocessing.spawn(work, (ports, folder), nprocs=3)
    return {
        n: [torch.load(folder / f"{n}-{rank}.pt", weights_only=True) for rank in range(n)] for n in (2, 3)
    }


@pytest.fixture(params=[2, 3])
def processes(request, seen):
    """What each of so many processes saw."""
    return seen[request.param]


@pytest.mark.parametrize("case", CASES)
def test_a_split_head_trains_like_the_whole_one(processes, case):
    expected, found = train(case), [each[case] for each in processes]
    for each in found:
        assert each["curve"] == pytest.approx(expected["curve"], rel=1e-6, abs=1e-6)
        for name in (
            "network",
            *(n for n in expected if n.split()[0] in ("gradient", "trained", "momentum")),
        ):
            torch.testing.assert_close(each[name], expected[name], rtol=1e-5, atol=1e-6)
        assert each["split"] == (["fc.weight", "fc.bias"] if case == "softmax" else ["weight"])
    torch.testing.assert_close(
        torch.cat([each["embeddings"] for each in found]), expected["embeddings"], rtol=1e-5, atol=1e-6
    )
    accuracy = torch.cat([each["accuracy"] for each in found])
    torch.testing.assert_close(accuracy, expected["accuracy"], rtol=0, atol=0)
    assert 0.0 < accuracy.mean() < 1.0
    for name in (n for n in expected if n.startswith("stored")):  # no process keeps what isn't its own
        assert sum(each[name] for each in found) == expected[name] and expected["split"] == []


def restricted(case, seed, drawn):
    """Loss and accuracy of a head that has only these classes."""
    (whole, network), (inputs, labels) = head(case), batch(seed)
    torch.manual_seed(1)
    few = options.plugin("loss", case.split()[0])(DIM, len(drawn), **CASES[case])
    few.load_state_dict({name: tensor[drawn] for name, tensor in whole.state_dict().items()})
    loss, accuracy = few(inputs @ network, torch.searchsorted(drawn, labels))
    return loss.item(), accuracy


def drawn_classes(gradient):
    return gradient.flatten(1).abs().sum(dim=1).nonzero()[:, 0]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("seed", SEEDS)
def test_split_or_not_the_loss_is_that_of_the_classes_drawn(processes, case, seed):
    labels = batch(seed)[1]
    split = [each[f"sampled {case} {seed}"] for each in processes]
    drawn = drawn_classes(split[0]["gradient"])
    assert set(labels.tolist()) <= set(drawn.tolist())
    for part in (each["part matrix"][:, 0] / 3 for each in processes):  # row c of matrix begins with 3 c
        targets = [label for label in labels.unique() if label in part]
        assert sum(c in part for c in drawn) == max(-(-len(part) // 2), len(targets))
    loss, accuracy = restricted(case, seed, drawn)
    assert [each["loss"] for each in split] == pytest.approx([loss] * len(split), rel=1e-5)
    assert torch.cat([each["accuracy"] for each in split]).tolist() == accuracy.tolist()
    alone = sampled_step(case, seed, 0.7)
    drawn = drawn_classes(alone["gradient"])
    assert set(labels.tolist()) <= set(drawn.tolist()) and len(drawn) == 8  # 7.7, rounded up
    loss, accuracy = restricted(case, seed, drawn)
    assert alone["loss"] == pytest.approx(loss, rel=1e-5) and alone["accuracy"].tolist() == accuracy.tolist()


@pytest.mark.parametrize("name", TENSORS)
def test_parts_are_those_of_array_split_and_join_to_the_whole(processes, name):
    parts = TENSORS[name].tensor_split(len(processes))
    for rank, each in enumerate(processes):
        assert torch.equal(each[f"part {name}"], parts[rank])
        assert torch.equal(each[f"joined {name}"], TENSORS[name])
        assert torch.equal(each[f"first {name}"], TENSORS[name][: None if rank == 0 else 0])


def test_fewer_classes_than_processes_are_refused(processes):
    assert all("--shard_head" in each["refusal"] for each in processes)


@pytest.mark.parametrize("case", CASES)
def test_alone_a_process_keeps_the_head_as_it_is(case):
    loss_fn, _ = head(case)
    before = dict(loss_fn.named_parameters())
    loss_fn.shard()
    assert all(parameter is before[name] for name, parameter in loss_fn.named_parameters())
    assert _sharded.split_parameters(loss_fn) == []
    whole = next(iter(before.values()))
    assert torch.equal(_sharded.own_part(whole), whole) and _sharded.joined(whole, CLASSES) is whole


def test_losses_that_cant_be_split_have_no_split_parameters():
    for name in options.available("loss"):
        loss_fn = options.plugin("loss", name)(DIM, CLASSES)
        assert hasattr(loss_fn, "shard") == (name in ("softmax", "amsoftmax", "aamsoftmax"))
        assert _sharded.split_parameters(loss_fn) == []


@pytest.mark.parametrize("case", CASES)
def test_all_classes_count_where_none_are_drawn(case, monkeypatch):
    sampling, network = head(case, sample_classes=0.3)
    inputs, labels = batch(0)
    expected = head(case)[0].eval()(inputs @ network, labels)
    torch.testing.assert_close(sampling.eval()(inputs @ network, labels), expected, rtol=0, atol=0)
    monkeypatch.setattr(_head, "draw_classes", None)
    everything, state = head(case, sample_classes=1.0)[0], torch.get_rng_state()
    torch.testing.assert_close(everything(inputs @ network, labels), expected, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), state)
