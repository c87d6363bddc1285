"""GE2E against its formulas in NumPy, and its partials against Resemblyzer's rule, which counts samples."""

import numpy as np
import pytest
import torch
from test_models import build
from torch import nn

from features.linmel import Features
from models import GE2E

UNITS = 4


def partial_starts(num_samples):
    """Samples -> first frames of the partials; the last needs 75 % of its 1.6 s, unless it is alone."""
    frames = num_samples // 160 + 1
    starts = list(range(0, max(1, frames - 160 + 77 + 1), 77))
    if len(starts) > 1 and (num_samples - 160 * starts[-1]) / 25_600 < 0.75:
        starts.pop()
    return starts


def test_partials():
    lengths = [160, 399, 31_519, 31_520, 43_839, 43_840, *range(480, 120_000, 79)]
    frames = torch.tensor([Features.num_frames(length) for length in lengths])
    counts = GE2E.num_partials(frames)
    assert counts.tolist() == [len(partial_starts(length)) for length in lengths]
    # 19,200 samples of the second partial, which begins with sample 12,320, and of the third
    assert counts[:6].tolist() == [1, 1, 1, 2, 2, 3]


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def embedding(network, frames):
    """Frames (L, F) -> (D,): gates i, f, g, o of three layers, ReLU of the last state, length 1."""
    weights = {name: p.detach().double().numpy() for name, p in network.model.named_parameters()}
    for layer in range(3):
        of_input, of_state, *biases = (
            weights[f"lstm.{name}_l{layer}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        state = cell = np.zeros(UNITS)
        states = []
        for frame in frames:
            i, f, g, o = np.split(of_input @ frame + of_state @ state + sum(biases), 4)
            cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
            state = sigmoid(o) * np.tanh(cell)
            states.append(state)
        frames = states
    vector = np.maximum(weights["linear.weight"] @ state + weights["linear.bias"], 0.0)
    return vector / np.linalg.norm(vector)


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = build("--model", "GE2E", "--channels", UNITS, "--nOut", 16).eval()
    for parameter in network.parameters():
        nn.init.uniform_(parameter, -1.0, 1.0)  # so that frames matter
    return network


@torch.no_grad()
def test_an_embedding_is_the_mean_of_those_of_partials(network):
    """2.3 s: partials from 0, 77 and, covered by 76 of 160 frames, none from 154; 0.5 s: one, padded."""
    generator = torch.Generator().manual_seed(1)
    for duration_s, starts in ((2.3, [0, 77]), (0.5, [0])):
        waveform = 0.1 * torch.randn(1, round(16_000 * duration_s), generator=generator)
        frames = network.features(waveform)[0].T.double().numpy()
        frames = np.pad(frames, ((0, 160), (0, 0)))
        mean = sum(embedding(network, frames[start : start + 160]) for start in starts)
        expected = mean / np.linalg.norm(mean)
        np.testing.assert_allclose(network.embed(waveform)[0].numpy(), expected, atol=1e-5)


@torch.no_grad()
def test_a_crop_in_training_is_one_sequence(network):
    features = torch.rand(1, 40, 190)
    expected = embedding(network, features[0].T.double().numpy())
    np.testing.assert_allclose(network.train().model(features)[0].numpy(), expected, atol=1e-5)


@torch.no_grad()
def test_long_recordings_go_through_the_network_in_parts(network, monkeypatch):
    features = torch.rand(1, 40, 300)
    whole, rows = network.model(features), []
    monkeypatch.setattr(GE2E, "PARTIALS_AT_ONCE", 2)
    network.model.lstm.register_forward_pre_hook(lambda _, inputs: rows.append(inputs[0].shape[1]))
    torch.testing.assert_close(network.model(features), whole)
    assert rows == [2, 1]  # partials begin with frames 0, 77 and 154


def test_it_trains_in_mixed_precision_on_any_processor(network):
    """PyTorch's LSTM in bf16 fails on processors whose oneDNN has none."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        embeddings = network.train().model(torch.rand(4, 40, 30))
    (embeddings.float() * torch.randn(4, 16)).sum().backward()
    assert all(p.grad.isfinite().all() and p.grad.abs().sum() > 0 for p in network.model.parameters())


def test_weights_have_the_names_of_resemblyzers():
    """Without `similarity_weight` and `similarity_bias`, which belong to the loss."""
    network = build("--model", "GE2E", "--channels", UNITS)
    layers = [
        f"lstm.{kind}_l{n}" for n in range(3) for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    ]
    assert [name for name, _ in network.model.named_parameters()] == [*layers, "linear.weight", "linear.bias"]
