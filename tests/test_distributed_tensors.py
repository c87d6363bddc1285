"""Two processes compute what one computes on the joined batch, in double precision."""

import pytest
import torch
from random_batches import CLASSES, Batches
from rank_processes import in_group

import distributed
import options
import runtime
import trainSpeakerNet
from SpeakerNet import ModelTrainer, SpeakerNet
from training.sync_batchnorm import convert_sync_batchnorm

STEPS = 2
CASES = {
    "angleproto": ["--trainfunc=angleproto"],
    "aamsoftmax": ["--trainfunc=aamsoftmax"],
    "sharded": ["--trainfunc=aamsoftmax", "--shard_head"],
    "frozen": ["--trainfunc=aamsoftmax", "--trunk_lr=0"],
    "frozen, sharded": ["--trainfunc=aamsoftmax", "--shard_head", "--trunk_lr=0", "--clip_norm=1"],
}


def curve(*words):
    """Mean losses of the steps, and the weights after them."""
    given = [
        "--model=ResNetSE34L",
        "--n_mels=16",
        "--optimizer=sgd",
        "--lr=0.01",
        "--precision=fp32",
        "--sync_bn",
        *words,
    ]
    values = options.resolve(trainSpeakerNet.make_parser, given).options
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double  # features and losses cast to float32
    runtime.seed_everything(1)
    network = SpeakerNet.build(values, CLASSES).double()
    convert_sync_batchnorm(network, runtime.CPU)
    if values.shard_head:
        network.loss.shard()
    trainer = ModelTrainer(
        network,
        values,
        runtime.CPU,
        num_batches=STEPS,
        num_classes=CLASSES,
        report_nonfinite=lambda *_: None,
    )
    sums = []

    def pause():
        sums.append(distributed.all_reduce_sum(trainer.state.sums).clone())

    trainer.train_epoch(Batches(STEPS), "", (1, 1), pause)
    pause()
    sums = torch.stack(sums)
    assert sums[-1, 2] == STEPS * distributed.world_size()
    return sums.diff(dim=0)[:, 0] / distributed.world_size(), trainer.state.whole_weights(network)


def ranks_after_data_parallel():
    """The tensors of a network that hold the rank; only weight and bias of its second layer are local."""
    network = torch.nn.Sequential(torch.nn.Conv2d(2, 2, 3), torch.nn.BatchNorm2d(2))
    network = network.to(memory_format=torch.channels_last)
    for tensor in network.state_dict().values():
        tensor.fill_(distributed.rank())
    network[0].requires_grad_(False)
    assert distributed.data_parallel(network, runtime.CPU, ["1.weight", "1.bias"]) is network
    return {name: tensor.unique().tolist() for name, tensor in network.state_dict().items()}


def curves():
    return {name: curve(*words) for name, words in CASES.items()} | {"ranks": ranks_after_data_parallel()}


@pytest.fixture(scope="module")
def trained_curves(tmp_path_factory):
    folders = [tmp_path_factory.mktemp("ranks") for _ in range(2)]
    return [*in_group(folders[0], 1, curves), *in_group(folders[1], 2, curves)]


@pytest.mark.parametrize("case", CASES)
def test_two_processes_train_as_one(trained_curves, case):
    (alone, weights), (first, first_weights), (second, _) = (each[case] for each in trained_curves)
    assert len(first) == STEPS
    torch.testing.assert_close(first, second, rtol=0, atol=0)  # both read the same all-reduced sums
    torch.testing.assert_close(first, alone, rtol=0, atol=1e-6)
    for name, tensor in weights.items():
        torch.testing.assert_close(first_weights[name], tensor, rtol=1e-4, atol=1e-5)


def test_a_network_with_nothing_to_average_has_the_weights_of_rank_0(trained_curves):
    _, first, second = (each["ranks"] for each in trained_curves)
    assert {name for name, ranks in second.items() if ranks != [0]} == {"1.weight", "1.bias"}
    assert second["1.weight"] == second["1.bias"] == [1]
    assert len(first) == 7 and all(ranks == [0] for ranks in first.values())
