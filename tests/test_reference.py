"""Features, models and losses against the values that the original systems compute."""

import json
import zlib
from argparse import Namespace

import numpy as np
import pytest
import torch
from torch import Tensor

import options
from features.logmel import Features
from SpeakerNet import SpeakerNet

NUM_SAMPLES = 32_240


def signal(seed: int) -> Tensor:
    """The recipe's two waveforms (2, 32240)."""
    n = np.arange(NUM_SAMPLES)
    noise = np.random.RandomState(seed).uniform(-0.5, 0.5, NUM_SAMPLES)
    x = 0.3 * np.sin(2 * np.pi * 220 * n / 16000) + 0.2 * np.sin(2 * np.pi * 1330 * n / 16000) + 0.1 * noise
    return torch.tensor(np.stack([x, x[::-1]]).astype(np.float32))


def formula_weight(name: str, tensor: Tensor) -> Tensor:
    """The recipe's value of a weight that the original calls by this name."""
    if not tensor.is_floating_point() or tensor.ndim == 0:
        return tensor
    u = np.random.RandomState(zlib.crc32(name.encode())).uniform(-0.5, 0.5, tensor.numel())
    if tensor.ndim > 1:
        u = 2 * np.sqrt(6 / np.prod(tensor.shape[1:])) * u
    elif name.endswith("running_var"):
        u = 1 + 0.4 * u
    else:
        u = 1 + 0.2 * u if name.endswith(".weight") else 0.2 * u
    return torch.tensor(u.reshape(tensor.shape), dtype=torch.float32)


def original_name(name: str) -> str:
    """Our name of a trunk's tensor -> the original's."""
    return name.replace("pooling.attention.linear", "sap_linear").replace(
        "pooling.attention.vector", "attention"
    )


LOGMEL = {"pre_emphasis": 0.0, "f_min": 0.0, "f_max": 8000.0, "feature_norm": "instance"}
VARIANTS = {
    "ResNetSE34L_SAP_40_log": {"n_mels": 40, "log_input": True, "window": "hamming", "encoder_type": "SAP"},
    "ResNetSE34L_SAP_40_linear": {
        "n_mels": 40, "log_input": False, "window": "hamming", "encoder_type": "SAP",
    },
    "ResNetSE34L_ASP_64_log": {"n_mels": 64, "log_input": True, "window": "hamming", "encoder_type": "ASP"},
    "seed_ResNetSE34L_SAP": {"n_mels": 40, "log_input": True, "window": "hann", "encoder_type": "SAP"},
}  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS)
def test_embeddings(variant, reference):
    original = json.loads((reference / f"{variant}.json").read_text())
    args = Namespace(model="ResNetSE34L", features="logmel", nOut=512, **LOGMEL, **VARIANTS[variant])
    network = SpeakerNet.build(args).eval()
    names = {original_name(name): name for name in network.model.state_dict()}
    assert set(names) == {name for name, *_ in original["tensors"] if not name.startswith("torchfb")}
    weights = network.model.state_dict()
    network.model.load_state_dict({n: formula_weight(o, weights[n]) for o, n in names.items()})
    assert sum(p.numel() for p in network.parameters()) == original["parameters"]
    with torch.no_grad():
        embeddings = network.embed(signal(original["signal_seed"]))
    expected = torch.tensor(original["embeddings"])
    assert (embeddings - expected).norm() / expected.norm() < 1e-4


@pytest.mark.parametrize("variant", VARIANTS)
def test_front_end_buffers(variant, reference):
    buffers = np.load(reference / f"{variant}.buffers.npz")
    chosen = {k: v for k, v in VARIANTS[variant].items() if k != "encoder_type"}
    mel = Features(**chosen).mel
    window, bank = (next(buffers[k] for k in buffers.files if k.endswith(end)) for end in ("window", "fb"))
    np.testing.assert_allclose(mel.spectrogram.window, window, atol=1e-6)
    np.testing.assert_allclose(mel.mel_scale.fb, bank, atol=1e-6)


# Sums that voxceleb_trainer's front ends give for the recipe's signal (seed 7): filterbank, total power.
@pytest.mark.parametrize(
    ("n_mels", "f_min", "f_max", "bank_sum", "total"),
    [
        (64, 0.0, 8000.0, 250.195114, 541121.06),
        (40, 0.0, 8000.0, 246.898895, 541006.69),
        (80, 20.0, 7600.0, 238.258362, 540744.88),
    ],
)
def test_mel_spectrogram(n_mels, f_min, f_max, bank_sum, total):
    features = Features(n_mels=n_mels, f_min=f_min, f_max=f_max, log_input=False, feature_norm="none")
    assert features.mel.mel_scale.fb.sum().item() == pytest.approx(bank_sum, rel=1e-5)
    assert features.mel.spectrogram.window.sum().item() == pytest.approx(216.0, rel=1e-5)
    maps = features(signal(7)[:1])
    assert maps.shape == (1, n_mels, 202)
    assert (maps - 1e-6).sum().item() == pytest.approx(total, rel=1e-4)
    if n_mels == 64:
        np.testing.assert_allclose(maps[0, :4, 100], [0.078001, 0.055605, 0.123172, 0.083449], rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "utterances", "settings", "value", "accuracy"),
    [
        ("softmax", 1, {}, 3.004319, 0.0),
        ("amsoftmax", 1, {"margin": 0.1, "scale": 30.0}, 15.236768, 0.0),
        ("amsoftmax", 1, {"margin": 0.3, "scale": 15.0}, 11.091341, 0.0),
        ("angleproto", 2, {}, 3.365215, 0.0),
        ("angleproto", 3, {}, 2.942683, 0.25),
    ],
)
def test_losses(name, utterances, settings, value, accuracy):
    draws = np.random.RandomState(99).uniform(-0.5, 0.5, 8 * utterances * 32)
    embeddings = torch.tensor(draws.reshape(8, utterances, 32), dtype=torch.float32)
    labels = (7 * torch.arange(8) + 3) % 20
    loss_fn = options.plugin("loss", name)(32, 20, **settings)
    if name == "amsoftmax":  # the original stores it as W (embedding, classes)
        loss_fn.weight.data = formula_weight("W", torch.empty(32, 20)).T
    elif name == "softmax":
        loss_fn.load_state_dict({k: formula_weight(k, v) for k, v in loss_fn.state_dict().items()})
    loss, correct = loss_fn(embeddings, labels)
    assert loss.item() == pytest.approx(value, rel=1e-4)
    assert correct.item() == pytest.approx(accuracy)
