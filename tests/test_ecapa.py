"""The variants of ECAPA: tensors and embeddings of the implementations that they follow."""

import json
import re

import numpy as np
import pytest
import torch
from test_models import build_shapes
from test_reference import formula_weight

# Names in a checkpoint -> names here; the first pattern that matches the beginning of a name applies.
WESPEAKER = (
    (r"layer1\.(conv|bn)\.", r"\g<1>1."),
    *(
        (rf"layer{ours + 1}\.se_res2block\.{pattern}", f"layer{ours}.{replacement}")
        for ours in (1, 2, 3)
        for pattern, replacement in (
            (r"0\.(conv|bn)\.", r"\g<1>1."),
            (r"1\.(convs|bns)\.", r"\1."),
            (r"2\.(conv|bn)\.", r"\g<1>3."),
            (r"3\.linear1\.", "se.se.1."),
            (r"3\.linear2\.", "se.se.3."),
        )
    ),
    (r"conv\.", "layer4."),
    (r"pool\.linear1\.", "pooling.attention.layers.0."),
    (r"pool\.linear2\.", "pooling.attention.layers.2."),
    (r"bn\.", "bn5."),
    (r"linear\.", "fc6."),
)
SPEECHBRAIN = (
    (r"blocks\.0\.conv\.conv\.", "conv1."),
    (r"blocks\.0\.norm\.norm\.", "bn1."),
    (r"blocks\.(\d)\.tdnn1\.conv\.conv\.", r"layer\1.conv1."),
    (r"blocks\.(\d)\.tdnn1\.norm\.norm\.", r"layer\1.bn1."),
    (r"blocks\.(\d)\.res2net_block\.blocks\.(\d)\.conv\.conv\.", r"layer\1.convs.\2."),
    (r"blocks\.(\d)\.res2net_block\.blocks\.(\d)\.norm\.norm\.", r"layer\1.bns.\2."),
    (r"blocks\.(\d)\.tdnn2\.conv\.conv\.", r"layer\1.conv3."),
    (r"blocks\.(\d)\.tdnn2\.norm\.norm\.", r"layer\1.bn3."),
    (r"blocks\.(\d)\.se_block\.conv1\.conv\.", r"layer\1.se.se.1."),
    (r"blocks\.(\d)\.se_block\.conv2\.conv\.", r"layer\1.se.se.3."),
    (r"mfa\.conv\.conv\.", "layer4."),
    (r"mfa\.norm\.norm\.", "bn4."),
    (r"asp\.tdnn\.conv\.conv\.", "pooling.attention.layers.0."),
    (r"asp\.tdnn\.norm\.norm\.", "pooling.attention.layers.2."),
    (r"asp\.conv\.conv\.", "pooling.attention.layers.4."),
    (r"asp_bn\.norm\.", "bn5."),
    (r"fc\.conv\.", "fc6."),
)


def renamed(name, rules):
    """Name in a checkpoint -> name here."""
    for pattern, replacement in rules:
        new, matches = re.subn("^" + pattern, replacement, name)
        if matches:
            return new
    raise AssertionError(f"no rule for {name}")


def with_formula_weights(variant, channels, tensors, rules):
    """Tensors {name in a checkpoint: shape} -> network in evaluation mode with their formula weights."""
    network = build_shapes("--model", "ECAPA", "--variant", variant, "--channels", channels).model.eval()
    weights = {
        renamed(name, rules): formula_weight(name, torch.zeros(shape)) for name, shape in tensors.items()
    }
    # a 1x1 convolution of one frame is a linear layer: their shapes differ by a last dimension of 1
    shaped = {name: weights[name].reshape(own.shape) for name, own in network.state_dict().items()}
    network.load_state_dict(shaped, assign=True)
    return network


def test_wespeaker_computes_the_same(reference):
    original = json.loads((reference / "wespeaker_ECAPA_GLOB_c512.json").read_text())
    tensors = {name: shape for name, shape, _ in original["tensors"]}
    network = with_formula_weights("wespeaker", 512, tensors, WESPEAKER)
    features = torch.tensor(np.random.RandomState(7).randn(2, 200, 80), dtype=torch.float32)
    with torch.inference_mode():
        embeddings = network(features.transpose(1, 2))
    expected = torch.tensor(original["embeddings"])
    assert ((embeddings - expected).norm(dim=1) / expected.norm(dim=1)).max() < 1e-4


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


def test_speechbrain_has_the_same_tensors():
    tensors = speechbrain_tensors(1024)
    own = build_shapes("--model", "ECAPA", "--variant", "speechbrain").model.state_dict()
    assert len(tensors) == len(own) == 231
    tensors["fc.conv.weight"] = tensors["fc.conv.weight"][:2]  # here it is a linear layer
    assert {renamed(name, SPEECHBRAIN): shape for name, shape in tensors.items()} == {
        name: tuple(tensor.shape) for name, tensor in own.items()
    }


def test_speechbrain_computes_the_same():
    network = with_formula_weights("speechbrain", 32, speechbrain_tensors(32), SPEECHBRAIN)
    features = torch.tensor(np.random.RandomState(7).randn(1, 100, 80), dtype=torch.float32)
    with torch.inference_mode():
        embedding = network(features.transpose(1, 2))[0]
    # computed by speechbrain 1.1.2, ECAPA_TDNN(80, channels=[32, 32, 32, 32, 96]), in float64
    expected = torch.tensor(
        [2.269582, 2.332035, -3.400609, -2.467542, -2.469103, -3.947518, -0.180566, 0.979335]
    )
    torch.testing.assert_close(embedding[:8], expected, rtol=1e-4, atol=1e-5)
    assert embedding.norm().item() == pytest.approx(47.279670, rel=1e-5)
