"""An utterance in a padded batch of unequal lengths has the embedding that it has alone."""

import pytest
import torch
from test_models import NETWORKS, SMALL, build
from torch import nn
from torch.nn import functional as F

import options
from models import GE2E
from models._padded import embed_padded, fewest_frames

pytestmark = pytest.mark.usefixtures("small_models")
DURATIONS_S = (0.77, 0.3, 1.0, 0.89)
POOLINGS = [
    f"{model} {SMALL[model]} --encoder_type {pooling}"
    for model in ("ResNetSE34L", "ECAPA")
    for pooling in options.available("pooling")
]


def trained(*words):
    """Command-line words -> network in evaluation mode with random batch norms and offsets, as if trained."""
    torch.manual_seed(0)
    network = build("--model", *words).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_(0.0, 0.3)
            module.running_var.uniform_(0.5, 2.0)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, 0.0, 0.3)
            else:  # as after training: what comes out has unit deviation, whatever the layers before do
                module.running_var.mul_(0.1)
        elif hasattr(module, "alpha"):
            nn.init.normal_(module.alpha)
    return network


def utterances():
    generator = torch.Generator().manual_seed(1)
    return [0.1 * torch.randn(round(16_000 * s), generator=generator) for s in DURATIONS_S]


def one_by_one(network, waveforms):
    return torch.cat([network.embed(waveform[None]) for waveform in waveforms])


def distances(embeddings, expected):
    """Two embeddings (B, D) of each utterance -> their distances (B,) after length normalisation."""
    return (F.normalize(embeddings) - F.normalize(expected)).norm(dim=1)


@pytest.mark.parametrize("words", NETWORKS + POOLINGS)
@torch.inference_mode()
def test_a_batch_of_unequal_lengths_equals_single_utterances(words):
    network, waveforms = trained(*words.split()), utterances()
    together = network.embed_unequal(waveforms)
    assert distances(together, one_by_one(network, waveforms)).max() < 1e-5
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


@pytest.mark.parametrize("words", NETWORKS)
@torch.inference_mode()
def test_lengths_that_no_stride_divides_and_any_padding(words):
    network = trained(*words.split())
    model = network.model
    fewest = 190 if isinstance(model, GE2E.MainModel) else fewest_frames(model)  # from 200 on two partials
    lengths = torch.arange(fewest, fewest + 18)
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(len(lengths), network.features.num_features, fewest + 20, generator=generator)
    alone = torch.cat([model(noise[i : i + 1, :, :length]) for i, length in enumerate(lengths)])
    zeros = noise * (torch.arange(fewest + 20) < lengths[:, None])[:, None]
    for padded in (zeros, noise):
        assert distances(embed_padded(model, padded, lengths), alone).max() < 1e-5
    assert distances(model(noise), alone).max() > 5e-3  # without masks they differ


class UserModel(nn.Sequential):
    """A model of a user, whose max-pooling gets negative maps only."""

    unequal_from = 2

    def __init__(self):
        convolution = nn.Conv1d(16, 8, 4, stride=2, padding=2, dilation=2)
        nn.init.constant_(convolution.bias, -100.0)
        super().__init__(convolution, nn.MaxPool1d(3, 2, padding=1), options.plugin("pooling", "STATS")(8))


@torch.inference_mode()
def test_a_model_of_a_user_is_batched_by_one_attribute():
    network = trained("ResNetSE34L", "--n_mels", 16)
    network.model = UserModel()
    alone = one_by_one(network, utterances())
    assert network.embeds_unequal
    assert distances(network.embed_unequal(utterances()), alone).max() < 1e-5


class MeanModel(nn.Module):
    """A model of a user without the attribute `unequal_from`."""

    def forward(self, features):  # noqa: D102
        return features.mean(dim=2)


class Pooling(nn.Module):
    """A pooling of a user that takes no mask."""

    def forward(self, frames):  # noqa: D102
        return frames.mean(dim=2)


@pytest.mark.parametrize("part", ["model", "pooling"])
@torch.inference_mode()
def test_without_support_for_masks_each_utterance_is_embedded_alone(part):
    network, waveforms = trained("ResNetSE34L", "--n_mels", 16, "--encoder_type", "TAP"), utterances()
    if part == "model":
        network.model = MeanModel()
    else:
        network.model.pooling = Pooling()
    assert not network.embeds_unequal
    assert torch.equal(network.embed_unequal(waveforms), one_by_one(network, waveforms))
