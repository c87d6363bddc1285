"""Crops to embeddings: those that coincide, long recordings, batches of bounded size, precision."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import options
import runtime
from audio import evaluation_crops
from DatasetLoader import EvaluationItem
from evaluation import embedder as embedder_module
from evaluation.embedder import Embedder, embed_crops
from SpeakerNet import SpeakerNet


class Frames(nn.Module):
    """Front end whose frames are four samples."""

    def forward(self, waveforms):
        """Waveforms (B, T) -> (B, 4, T / 4)."""
        return waveforms.unflatten(1, (-1, 4)).transpose(1, 2)

    def num_frames(self, num_samples):
        """Samples of a waveform -> frames."""
        return num_samples // 4


class Encoder(nn.Module):
    """Embeddings depend on the order of the frames; notes the shape of each batch."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 3)
        self.shapes = []

    def forward(self, features):
        """Features (B, 4, L) -> (B, 3)."""
        self.shapes.append(tuple(features.shape))
        frames = torch.arange(features.shape[2]) / 10
        pooled = torch.cat([features.mean(dim=2), (features * frames).sum(dim=2)], dim=1)
        return self.linear(pooled)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return SpeakerNet(Frames(), Encoder()).eval()


@pytest.fixture
def audio():
    return np.random.default_rng(0).standard_normal(40).astype(np.float32)


def embed(network, scoring, audio):
    """Audio -> the embeddings of its groups, and how many inputs of which length the encoder got."""
    network.model.shapes.clear()
    with torch.inference_mode():
        groups = [
            embed_crops(network, [torch.from_numpy(group)], scoring.windows, runtime.CPU)
            for group in scoring.crops(audio)
        ]
    return groups, [(shape[0], shape[2] * 4) for shape in network.model.shapes]


@pytest.mark.parametrize(
    ("name", "length", "expected"),
    [  # of 40 samples, crops of 40, 60, 36 and 20
        ("cosine", 40, [(1, 40)]),
        ("distance", 60, [(1, 60)]),
        ("distance", 36, [(4, 36)]),
        ("full_and_crops", 40, [(1, 4800), (1, 40)]),
        ("mean", 40, [(1, 40)]),
        ("mean", 60, [(1, 60)]),
        ("mean", 20, [(4, 20)]),
    ],
)
def test_crops_that_coincide_are_embedded_once(network, audio, name, length, expected):
    scoring = options.plugin("scoring", name)(length, 4)
    groups, inputs = embed(network, scoring, audio)
    assert inputs == expected
    assert groups[-1].shape == (1, 4, 3)
    with torch.inference_mode():
        if scoring.windows is None:
            alone = [network.embed(torch.from_numpy(crop)[None]) for crop in scoring.crops(audio)[-1]]
        else:
            features = network.features(torch.from_numpy(scoring.crops(audio)[0]))
            cut = scoring.windows.cut(features, network.features.num_frames(length))
            alone = [network.model(window[None]) for window in cut]
    torch.testing.assert_close(groups[-1][0], torch.cat(alone))


def test_crops_of_several_recordings_keep_their_places(network):
    crops = [torch.randn(1, 8).repeat(3, 1), torch.randn(3, 8), torch.zeros(3, 8), torch.zeros(3, 8)]
    with torch.inference_mode():
        embeddings = embed_crops(network, crops, None, runtime.CPU)
        assert network.model.shapes == [(1 + 3 + 1, 4, 2)]
        for found, each in zip(embeddings, crops, strict=True):
            torch.testing.assert_close(found, network.embed(each))


def test_batches_are_bounded(network, audio, monkeypatch):
    scoring = options.plugin("scoring", "cosine")(12, 5)
    [whole], inputs = embed(network, scoring, audio)
    assert inputs == [(5, 12)]
    monkeypatch.setattr(embedder_module, "LONGEST", 30)
    [bounded], inputs = embed(network, scoring, audio)
    assert inputs == [(2, 12), (2, 12), (1, 12)]
    torch.testing.assert_close(bounded, whole)


@pytest.mark.parametrize("name", ["cosine", "distance", "mean"])
def test_long_recordings_are_embedded_in_parts(network, audio, name, monkeypatch):
    for module in (evaluation_crops, embedder_module):
        monkeypatch.setattr(module, "LONGEST", 16)
    monkeypatch.setattr(evaluation_crops, "SHORTEST", 8)
    scoring = options.plugin("scoring", name)(0, 10)
    groups, inputs = embed(network, scoring, audio[:36])
    assert inputs == [(1, 12)] * 3  # each in turn
    with torch.inference_mode():
        parts = network.embed(torch.from_numpy(audio[:36]).view(3, 12))
    torch.testing.assert_close(groups, [parts[None]])
    expected = {
        "cosine": F.normalize(parts).mean(dim=0),
        "distance": F.normalize(parts).mean(dim=0),
        "mean": F.normalize(parts.mean(dim=0), dim=0),
    }
    torch.testing.assert_close(scoring.summarise(groups, True), expected[name][None, None])
    assert embed(network, scoring, audio[:16])[1] == [(1, 16)]


def test_the_parts_of_a_long_recording_cover_it(monkeypatch):
    monkeypatch.setattr(evaluation_crops, "LONGEST", 5000)
    audio = np.arange(12_000, dtype=np.float32)
    assert evaluation_crops.evaluation_crops(audio[:5000], 0, 4).shape == (1, 5000)
    parts = evaluation_crops.evaluation_crops(audio[:11_999], 0, 4)
    assert parts[:, 0].tolist() == [0, 3999, 7999] and parts[:, -1].tolist() == [3999, 7998, 11_998]
    full, crops = options.plugin("scoring", "full_and_crops")(4800, 4).crops(audio)
    assert full.shape == (3, 4000) and crops.shape == (4, 4800)


@pytest.mark.parametrize("embeds_unequal", [True, False])
def test_long_recordings_share_no_batch_with_shorter_ones(network, monkeypatch, embeds_unequal):
    embedder = Embedder(
        [],
        scoring=options.plugin("scoring", "cosine")(0, 1),
        device=runtime.CPU,
        num_workers=0,
        skip_bad=False,
    )
    embedder.shares_batches = True
    monkeypatch.setattr(embedder_module, "BATCH_SAMPLES", 40)
    monkeypatch.setattr(SpeakerNet, "embeds_unequal", embeds_unequal)
    shapes = [(1, 8), (1, 8), (1, 10), (2, 6), (2, 7), (2, 20), (2, 20)]
    items = [EvaluationItem(i, [torch.zeros(shape)], 1.0, 1.0) for i, shape in enumerate(shapes)]

    def batches(*numbers):
        made = embedder._in_batches(network, [items[number] for number in numbers])
        return [[item.number for item in batch] for batch in made]

    assert batches(0, 1, 2, 3, 4) == ([[0, 1, 2], [3, 4]] if embeds_unequal else [[0, 1], [2], [3], [4]])
    assert batches(5, 6) == [[5], [6]]  # 2 * 2 * 20 samples are too many
    assert batches() == []
