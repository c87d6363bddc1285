"""The variants of ECAPA: tensors and embeddings of the implementations that they follow."""

import numpy as np
import pytest
import torch
from test_models import build, build_shapes
from test_reference import formula_weight

from models._res2net import PointwiseConv1d
from storage.toolkits import read_foreign


def speechbrain_tensors(channels):
    """Names and shapes in SpeechBrain's and 3D-Speaker's checkpoints, for 80 bands and 192 dimensions."""
    group, aggregated = channels // 8, 3 * channels
    tensors = {}

    def conv(name, *shape):
        tensors.update({f"{name}.conv.weight": shape, f"{name}.conv.bias": shape[:1]})

    def norm(name, size):
        vectors = ("weight", "bias", "running_mean", "running_var")
        tensors.update({f"{name}.norm.{vector}": (size,) for vector in vectors})
        tensors[f"{name}.norm.num_batches_tracked"] = ()

    def conv_and_norm(name, *shape):
        conv(f"{name}.conv", *shape)
        norm(f"{name}.norm", shape[0])

    conv_and_norm("blocks.0", channels, 80, 5)
    for block in ("blocks.1", "blocks.2", "blocks.3"):
        for layer in ("tdnn1", "tdnn2"):
            conv_and_norm(f"{block}.{layer}", channels, channels, 1)
        for i in range(7):
            conv_and_norm(f"{block}.res2net_block.blocks.{i}", group, group, 3)
        conv(f"{block}.se_block.conv1", 128, channels, 1)
        conv(f"{block}.se_block.conv2", channels, 128, 1)
    conv_and_norm("mfa", aggregated, aggregated, 1)
    conv_and_norm("asp.tdnn", 128, 3 * aggregated, 1)
    conv("asp.conv", aggregated, 128, 1)
    norm("asp_bn", 2 * aggregated)
    conv("fc", 192, 2 * aggregated, 1)
    return tensors


def loaded(channels):
    """Network with the formula weights of SpeechBrain's tensors, as the loader converts them."""
    tensors = {k: formula_weight(k, torch.zeros(shape)) for k, shape in speechbrain_tensors(channels).items()}
    foreign = read_foreign(tensors, "embedding_model.ckpt", "speechbrain")
    network = build(*(f"--{name}={value}" for name, value in foreign.options.items())).eval()
    assert network.features.num_features == 80 and foreign.options["features"] == "dbmel"
    network.load_state_dict(foreign.weights)  # strict
    return network.model


def test_speechbrain_has_the_same_tensors():
    assert len(speechbrain_tensors(1024)) == len(loaded(64).state_dict()) == 231
    model = build_shapes("--model", "ECAPA", "--variant", "speechbrain").model
    assert sum(p.numel() for p in model.parameters()) == 20_767_552


def test_speechbrain_computes_the_same():
    network = loaded(32)
    features = torch.tensor(np.random.RandomState(7).randn(1, 100, 80), dtype=torch.float32)
    with torch.inference_mode():
        embedding = network(features.transpose(1, 2))[0]
    # computed by speechbrain 1.1.2, ECAPA_TDNN(80, channels=[32, 32, 32, 32, 96]), in float64
    expected = torch.tensor(
        [2.269582, 2.332035, -3.400609, -2.467542, -2.469103, -3.947518, -0.180566, 0.979335]
    )
    torch.testing.assert_close(embedding[:8], expected, rtol=1e-4, atol=1e-5)
    assert embedding.norm().item() == pytest.approx(47.279670, rel=1e-5)


def test_pointwise_convolutions_are_the_same_in_both_modes():
    torch.manual_seed(0)
    convolution, frames = PointwiseConv1d(6, 4), torch.randn(2, 6, 9)
    trained = convolution(frames)
    evaluated = convolution.eval()(frames)
    assert evaluated.is_contiguous()
    torch.testing.assert_close(evaluated, trained)
