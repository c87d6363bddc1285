"""A class head sharded over processes computes the same as the whole head in one process."""

import pytest
import torch
from rank_processes import in_group

import distributed
import options
from loss import _head, _sharded

DIM, CLASSES, STEPS, SEEDS = 8, 11, 12, range(3)  # 11 classes: 6 + 5, or 4 + 4 + 3
CASES = {
    "softmax": {},
    "amsoftmax": {"scale": 10.0},
    "aamsoftmax": {"scale": 10.0, "margin": 0.3},
    "amsoftmax 2": {"scale": 10.0, "sub_centers": 2},
    "aamsoftmax 2": {"scale": 10.0, "sub_centers": 2, "easy_margin": True},
    "amsoftmax 5 nearest": {"scale": 10.0, "inter_topk": 5, "inter_topk_penalty": 0.3},
    "aamsoftmax 20 nearest": {"scale": 10.0, "inter_topk": 20, "inter_topk_penalty": 0.3},  # all
    "sphereface2": {"scale": 10.0, "exponent": 2.0},
    "sphereface2 A": {"scale": 10.0, "margin_type": "A"},
}
SAMPLED = [case for case in CASES if not case.startswith("sphereface2")]
TENSORS = {
    "matrix": torch.arange(33.0).view(11, 3),
    "sub-centres": torch.arange(66.0).view(11, 2, 3),
    "bias": torch.arange(12),
    "few": torch.arange(3.0)[:, None],
}


def head(case, **settings):
    """A loss, with the same weights each time, and a matrix as the network before it."""
    torch.manual_seed(1)
    loss_fn = options.plugin("loss", case.split()[0])(DIM, CLASSES, **CASES[case] | settings)
    return loss_fn, torch.nn.Parameter(torch.eye(DIM) + 0.1 * torch.randn(DIM, DIM))


def batch(step):
    """Step -> this process's part of its batch: (S, 2, D), (S,)."""
    torch.manual_seed(100 + step)
    inputs = torch.randn(6, 2, DIM)
    labels = torch.randint(CLASSES, (6,))
    rank, world_size = distributed.rank(), distributed.world_size()
    return inputs.chunk(world_size)[rank], labels.chunk(world_size)[rank]


def train(case):
    """Training steps as with DistributedDataParallel -> their losses, accuracies, gradients and weights."""
    world_size = distributed.world_size()
    loss_fn, network = head(case)
    loss_fn.shard()
    optimizer = torch.optim.SGD([network, *loss_fn.parameters()], lr=0.1, momentum=0.9, weight_decay=1e-3)
    parameters = dict(loss_fn.named_parameters())
    per_class = {name: parameters.pop(name) for name in loss_fn.per_class}
    replicated = parameters
    result = {"losses": [], "sharded": _sharded.sharded_parameters(loss_fn), "accuracy": []}
    for step in range(STEPS):
        inputs, labels = batch(step)
        embeddings = inputs @ network
        embeddings.retain_grad()
        loss, accuracy = loss_fn(embeddings, labels)
        optimizer.zero_grad()
        loss.backward()
        for parameter in (network, *replicated.values()):
            parameter.grad = distributed.all_reduce_sum(parameter.grad) / world_size
        if step == 0:
            result["embeddings"] = embeddings.grad / world_size
            result["network"] = network.grad.clone()
            for name, parameter in per_class.items():
                result[f"gradient {name}"] = _sharded.join_rows(parameter.grad, CLASSES)
            for name, parameter in replicated.items():
                result[f"gradient {name}"] = parameter.grad.clone()
        optimizer.step()
        result["losses"].append(loss.item())
        result["accuracy"].append(accuracy)
    for name, parameter in replicated.items():
        result[f"trained {name}"] = parameter.detach()
    for name, parameter in per_class.items():
        result[f"trained {name}"] = _sharded.join_rows(parameter.detach(), CLASSES)
        momentum = optimizer.state[parameter]["momentum_buffer"]
        result[f"momentum {name}"] = _sharded.join_rows(momentum, CLASSES)
        result[f"stored {name}"] = parameter.untyped_storage().nbytes() // parameter.element_size()
    result["accuracy"] = torch.stack(result["accuracy"], dim=1)  # (S, steps)
    return result


def sampled_step(case, seed, fraction):
    """One step with sampled classes -> loss, accuracy, and gradients of all classes."""
    loss_fn, network = head(case, sample_classes=fraction)
    loss_fn.shard()
    inputs, labels = batch(seed)
    loss, accuracy = loss_fn(inputs @ network, labels)
    loss.backward()
    (weight,) = (p.grad for name, p in loss_fn.named_parameters() if name.endswith("weight"))
    return {"loss": loss.item(), "accuracy": accuracy, "gradient": _sharded.join_rows(weight, CLASSES)}


def run_all():
    """Everything that takes several processes."""
    _sharded.BLOCK_ROWS = 2
    results = {case: train(case) for case in CASES}
    results |= {f"sampled {c} {s}": sampled_step(c, s, 0.5) for c in SAMPLED for s in SEEDS}
    for name, tensor in TENSORS.items():
        rows = _sharded.local_rows(tensor)
        results[f"local {name}"] = rows.clone()
        results[f"joined {name}"] = _sharded.join_rows(rows, len(tensor))
        results[f"first {name}"] = _sharded.join_rows(rows, len(tensor), first_only=True)
    try:
        options.plugin("loss", "softmax")(DIM, distributed.world_size() - 1).shard()
    except ValueError as error:
        results["error"] = str(error)
    return results


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """World size -> the results of each process."""
    return {n: in_group(tmp_path_factory.mktemp(f"ranks{n}"), n, run_all) for n in (2, 3)}


@pytest.fixture(params=[2, 3])
def processes(request, results):
    """The results of each process of a group of two, and of three."""
    return results[request.param]


@pytest.mark.parametrize("case", CASES)
def test_a_sharded_head_trains_like_the_whole_one(processes, case):
    expected = train(case)
    actual = [process[case] for process in processes]
    compared = [
        name for name in expected if name.split()[0] in ("network", "gradient", "trained", "momentum")
    ]
    for result in actual:
        assert result["losses"] == pytest.approx(expected["losses"], rel=1e-6, abs=1e-6)
        for name in compared:
            torch.testing.assert_close(result[name], expected[name], rtol=1e-5, atol=1e-6)
        assert result["sharded"] == (["fc.weight", "fc.bias"] if case == "softmax" else ["weight"])
    embeddings = torch.cat([result["embeddings"] for result in actual])
    torch.testing.assert_close(embeddings, expected["embeddings"], rtol=1e-5, atol=1e-6)
    accuracy = torch.cat([result["accuracy"] for result in actual])
    torch.testing.assert_close(accuracy, expected["accuracy"], rtol=0, atol=0)
    assert 0.0 < accuracy.mean() < 1.0
    assert expected["sharded"] == []
    for name in (name for name in expected if name.startswith("stored")):  # no row is kept twice
        assert sum(result[name] for result in actual) == expected[name]


def restricted(case, seed, drawn):
    """Loss and accuracy of a head that has only these classes."""
    whole, network = head(case)
    inputs, labels = batch(seed)
    few = options.plugin("loss", case.split()[0])(DIM, len(drawn), **CASES[case])
    few.load_state_dict({name: tensor[drawn] for name, tensor in whole.state_dict().items()})
    loss, accuracy = few(inputs @ network, torch.searchsorted(drawn, labels))
    return loss.item(), accuracy


def drawn_classes(gradient):
    return gradient.flatten(1).abs().sum(dim=1).nonzero()[:, 0]


@pytest.mark.parametrize("case", SAMPLED)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_loss_is_that_of_the_drawn_classes_sharded_or_not(processes, case, seed):
    labels = batch(seed)[1]
    sharded = [process[f"sampled {case} {seed}"] for process in processes]
    drawn = drawn_classes(sharded[0]["gradient"])
    assert set(labels.tolist()) <= set(drawn.tolist())
    for process in processes:
        classes = process["local matrix"][:, 0] / 3  # row c of the matrix begins with 3 c
        num_targets = sum(label in classes for label in labels.unique())
        half = -(-len(classes) // 2)
        assert sum(c in classes for c in drawn) == max(half, num_targets)
    loss, accuracy = restricted(case, seed, drawn)
    assert [result["loss"] for result in sharded] == pytest.approx([loss] * len(sharded), rel=1e-5)
    assert torch.cat([result["accuracy"] for result in sharded]).tolist() == accuracy.tolist()
    alone = sampled_step(case, seed, 0.7)
    drawn = drawn_classes(alone["gradient"])
    assert set(labels.tolist()) <= set(drawn.tolist()) and len(drawn) == 8  # 7.7, rounded up
    loss, accuracy = restricted(case, seed, drawn)
    assert alone["loss"] == pytest.approx(loss, rel=1e-5)
    assert alone["accuracy"].tolist() == accuracy.tolist()


@pytest.mark.parametrize("name", TENSORS)
def test_local_rows_are_those_of_tensor_split_and_join_to_the_whole(processes, name):
    expected = TENSORS[name].tensor_split(len(processes))
    for rank, process in enumerate(processes):
        assert torch.equal(process[f"local {name}"], expected[rank])
        assert torch.equal(process[f"joined {name}"], TENSORS[name])
        assert torch.equal(process[f"first {name}"], TENSORS[name][: None if rank == 0 else 0])


def test_fewer_classes_than_processes_are_rejected(processes):
    assert all("--shard_head needs at least one class" in process["error"] for process in processes)


@pytest.mark.parametrize("case", CASES)
def test_a_process_that_is_alone_keeps_the_head_unchanged(case):
    loss_fn, _ = head(case)
    before = dict(loss_fn.named_parameters())
    loss_fn.shard()
    assert all(parameter is before[name] for name, parameter in loss_fn.named_parameters())
    assert _sharded.sharded_parameters(loss_fn) == []
    whole = next(iter(before.values()))
    assert torch.equal(_sharded.local_rows(whole), whole) and _sharded.join_rows(whole, CLASSES) is whole


def test_which_losses_can_be_sharded():
    for name in options.available("loss"):
        loss_fn = options.plugin("loss", name)(DIM, CLASSES)
        assert hasattr(loss_fn, "shard") == (name in {case.split()[0] for case in CASES})
        assert _sharded.sharded_parameters(loss_fn) == []


@pytest.mark.parametrize("case", SAMPLED)
def test_evaluation_and_a_fraction_of_one_use_all_classes(case, monkeypatch):
    sampling, network = head(case, sample_classes=0.3)
    inputs, labels = batch(0)
    expected = head(case)[0].eval()(inputs @ network, labels)
    torch.testing.assert_close(sampling.eval()(inputs @ network, labels), expected, rtol=0, atol=0)
    monkeypatch.setattr(_head, "draw_classes", None)
    everything, state = head(case, sample_classes=1.0)[0], torch.get_rng_state()
    torch.testing.assert_close(everything(inputs @ network, labels), expected, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), state)
