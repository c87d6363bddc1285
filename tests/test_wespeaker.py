"""Model files with the tensors of wespeaker's networks, and the embeddings that it computed with them."""

import json

import numpy as np
import pytest
import torch
from test_models import build
from test_reference import formula_weight
from torch import nn
from torch.nn import functional as F

from inference.conversion import converted
from models.ResNet import Bottleneck
from SpeakerNet import SpeakerNet

VARIANTS = {  # reference -> options that the file must show
    "ResNet34": {"model": "ResNet", "depth": 34, "n_mels": 80, "nOut": 256, "window": "hamming"},
    "CAMPPlus": {"model": "CAMPPlus", "n_mels": 80, "nOut": 512, "waveform_scale": 32768.0},
    "ECAPA_GLOB_c512": {"model": "ECAPA", "variant": "wespeaker", "channels": 512, "nOut": 192},
    "XVEC": {"model": "XVector", "n_mels": 80, "nOut": 512, "window": "hamming"},
    "ReDimNetB2": {"model": "ReDimNet", "architecture": "wespeaker-B2", "n_mels": 72, "nOut": 192},
}


@pytest.mark.parametrize(
    "variant",
    [pytest.param(name, marks=[pytest.mark.slow] if name == "ReDimNetB2" else []) for name in VARIANTS],
)
@torch.inference_mode()
def test_embeddings(variant, reference, tmp_path):
    original = json.loads((reference / f"wespeaker_{variant}.json").read_text())
    tensors = {
        name: formula_weight(name, torch.zeros(shape, dtype=getattr(torch, kind)))
        for name, shape, kind in original["tensors"]
    }
    torch.save(tensors | {"projection.weight": torch.zeros(6, 4)}, tmp_path / "avg_model.pt")
    model_file = converted(str(tmp_path / "avg_model.pt")).model_file
    shown = {**VARIANTS[variant], "eval_frames": 0, "use_energy": False}
    assert {name: model_file.options[name] for name in shown} == shown
    network = SpeakerNet.from_model_file(model_file).eval()
    single = 1 if variant == "ReDimNetB2" else 0  # the weight of a single output, always 1
    assert sum(p.numel() for p in network.parameters()) == original["parameters"] - single
    shape = (2, 200, network.features.num_features)
    features = np.random.RandomState(original["signal_seed"]).randn(*shape).astype(np.float32)
    embeddings = network.model(torch.from_numpy(features).transpose(1, 2))
    expected = torch.tensor(original["embeddings"])
    assert ((embeddings - expected).norm(dim=1) / expected.norm(dim=1)).max() < 1e-4


@torch.inference_mode()
def test_the_3x3_convolution_of_a_bottleneck_has_its_stride():
    """Names and shapes of tensors don't tell where the stride is, and no reference has bottlenecks."""
    torch.manual_seed(0)
    block, maps = Bottleneck(8, 16, 2).eval(), torch.randn(2, 8, 5, 7)
    hidden = F.conv2d(maps, block.conv1.weight)
    hidden = F.conv2d(block.bn1(hidden).relu(), block.conv2.weight, stride=2, padding=1)
    hidden = F.conv2d(block.bn2(hidden).relu(), block.conv3.weight)
    convolution, norm = block.downsample
    expected = block.bn3(hidden) + norm(F.conv2d(maps, convolution.weight, stride=2))
    torch.testing.assert_close(block(maps), expected.relu())
    assert expected.shape == (2, 16, 3, 4)


def test_resnet34_of_wespeaker_is_not_the_model_resnet34():
    ours, other = (build("--model", *words.split()).model for words in ("ResNet --depth 34", "ResNet34"))
    assert isinstance(ours.head, nn.Linear)
    assert [type(layer).__name__ for layer in other.head] == ["Linear", "ReLU", "BatchNorm1d"]
    assert (ours.bn1.momentum, other.bn1.momentum) == (0.1, 0.5)
    poolings = [type(model.poolings[0]).__module__ for model in (ours, other)]
    assert poolings == ["pooling.TSTP", "pooling.STATS"]
