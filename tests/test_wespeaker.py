"""Models against embeddings that wespeaker computed with the weights of test_reference.py's formula."""

import json
import re

import numpy as np
import pytest
import torch
from test_models import build
from test_reference import formula_weight
from torch import nn

# Names in the files of wespeaker and 3D-Speaker -> names in the model; the first rule that matches applies.
RESNET_RULES = [
    *(
        (rf"^layer{stage}\.(\d+)\.shortcut\.", rf"stages.{stage - 1}.\1.downsample.")
        for stage in (1, 2, 3, 4)
    ),
    *((rf"^layer{stage}\.", f"stages.{stage - 1}.") for stage in (1, 2, 3, 4)),
    (r"^seg_1\.", "head."),
]
CAMPPLUS_RULES = [(r"^head\.(layer\d\.\d)\.shortcut\.", r"head.\1.downsample.")]


def renamed(name, rules):
    """Name in the original's files -> name in the model."""
    for pattern, replacement in rules:
        if re.match(pattern, name):
            return re.sub(pattern, replacement, name)
    return name


@pytest.mark.parametrize(
    ("model", "original", "rules"),
    [
        ("ResNet", "wespeaker_ResNet34", RESNET_RULES),
        ("CAMPPlus", "wespeaker_CAMPPlus", CAMPPLUS_RULES),
    ],
)
@torch.inference_mode()
def test_embeddings(reference, model, original, rules):
    expected = json.loads((reference / f"{original}.json").read_text())
    model = build("--model", model).model.eval()
    weights = {
        renamed(name, rules): formula_weight(name, torch.zeros(shape, dtype=getattr(torch, kind)))
        for name, shape, kind in expected["tensors"]
    }
    model.load_state_dict(weights)  # strict: no tensor is left over on either side
    features = np.random.RandomState(expected["signal_seed"]).randn(2, 200, 80).astype(np.float32)
    embeddings = model(torch.from_numpy(features).transpose(1, 2))
    original_embeddings = torch.tensor(expected["embeddings"])
    errors = (embeddings - original_embeddings).norm(dim=1) / original_embeddings.norm(dim=1)
    assert errors.max() < 1e-4


def test_resnet34_of_wespeaker_is_not_the_model_resnet34():
    ours, other = (build("--model", *words.split()).model for words in ("ResNet --depth 34", "ResNet34"))
    assert isinstance(ours.head, nn.Linear)
    assert [type(layer).__name__ for layer in other.head] == ["Linear", "ReLU", "BatchNorm1d"]
    assert (ours.bn1.momentum, other.bn1.momentum) == (0.1, 0.5)
    poolings = [type(model.poolings[0]).__module__ for model in (ours, other)]
    assert poolings == ["pooling.TSTP", "pooling.STATS"]
