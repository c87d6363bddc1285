"""Every model, every pooling and every loss learns a small batch by heart.

Each of them once, not in all combinations: test_plugins.py checks both sides of the interfaces between them.
Poolings train behind a single convolution, losses behind the fastest model.

A network passes when its loss falls below a tenth of its first value within MOST_STEPS. Rounding must not
decide that: over three seeds or more, with and without ATEN_CPU_CAPABILITY=default, GE2E needed at most 50
steps, softmaxtriplet 35, DeepSpeaker's GRU 24, poolings 21, the others 16.
"""

import numpy as np
import pytest
import torch
from conftest import voice
from test_models import NETWORKS, build
from torch import nn

import options

pytestmark = pytest.mark.usefixtures("small_models")
SPEAKERS = 4
UTTERANCES = 2
DURATION_S = 0.4
LEARNING_RATE = 1e-3
MOST_STEPS = 100
# Softmax needs more steps on embeddings of length 1, an LSTM on energies without a logarithm for some seeds.
LEARNABLE = {"GE2E": "--trainfunc ge2e --features logmel"}


def steps_to_a_tenth(network):
    """Adam steps on one batch until the loss is below a tenth of its first value; None after MOST_STEPS."""
    voices = [[voice(s, t, DURATION_S) for t in range(UTTERANCES)] for s in range(SPEAKERS)]
    crops = torch.from_numpy(np.array(voices))  # (S, M, T)
    labels = torch.arange(SPEAKERS)
    optimizer = torch.optim.Adam(network.train().parameters(), LEARNING_RATE)
    first_loss = None
    for step in range(MOST_STEPS + 1):
        loss, _ = network(crops, labels)
        if first_loss is None:
            first_loss = loss.item()
        elif loss.item() < 0.1 * first_loss:
            return step
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return None


def network_of(kind, words, seed=0):
    """A network whose model, pooling or loss is the one named."""
    torch.manual_seed(seed)
    if kind == "model":
        words = f"--trainfunc softmax --model {words} {LEARNABLE.get(words.split()[0], '')}"
        return build(*words.split(), speakers=SPEAKERS)
    if kind == "loss":
        return build("--model", "ResNetSE34L", "--n_mels", 16, "--trainfunc", words, speakers=SPEAKERS)
    network = build("--model", "ResNetSE34L", "--trainfunc", "softmax", speakers=SPEAKERS)
    pooling = options.plugin("pooling", words)(64)
    network.model = nn.Sequential(
        nn.Conv1d(40, 64, kernel_size=5),
        nn.ReLU(),
        nn.BatchNorm1d(64),
        pooling,
        nn.Linear(pooling.out_channels, 512),
    )
    return network


@pytest.mark.parametrize("words", NETWORKS)
def test_models(words):
    assert steps_to_a_tenth(network_of("model", words))


@pytest.mark.parametrize("name", options.available("pooling"))
def test_poolings(name):
    assert steps_to_a_tenth(network_of("pooling", name))


@pytest.mark.parametrize("name", options.available("loss"))
def test_losses(name):
    assert steps_to_a_tenth(network_of("loss", name))
