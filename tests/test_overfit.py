"""Every model with every pooling, and every loss, learns a small batch of real speech by heart."""

import numpy as np
import pytest
import soundfile
import torch
from conftest import voice

import options
from options import flags
from SpeakerNet import SpeakerNet

SPEAKERS, UTTERANCES, SAMPLES = 4, 2, 8240  # half a second each
MOST_STEPS = 60


@pytest.fixture(scope="module")
def batch(request):
    """Crops (4, 2, 8240) of real speech where it is at hand, else of the tests' buzzes."""
    try:
        folder = request.getfixturevalue("real_data")
    except pytest.skip.Exception:
        takes = [[voice(s, t, 1.0)[:SAMPLES] for t in range(UTTERANCES)] for s in range(SPEAKERS)]
        return torch.from_numpy(np.array(takes))
    paths: dict[str, list[str]] = {}
    for line in (folder / "train_list.txt").read_text().splitlines():
        speaker, path = line.split(" ", 1)
        paths.setdefault(speaker, []).append(path)
    chosen = list(paths.values())[::60][:SPEAKERS]  # of all corpora
    crops = [soundfile.read(folder / p, SAMPLES, 3000)[0] for own in chosen for p in own[:UTTERANCES]]
    return torch.from_numpy(np.stack(crops)).float().unflatten(0, (SPEAKERS, UTTERANCES))


def steps_to_a_tenth(batch, *words):
    """Adam steps until the loss on the batch has fallen below a tenth of its start."""

    def core(add_help):
        return flags.training_flags("", add_help)

    torch.manual_seed(0)
    network = SpeakerNet.build(options.resolve(core, list(words)).args, SPEAKERS).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    start = None
    for step in range(MOST_STEPS + 1):
        loss, _ = network(batch, torch.arange(SPEAKERS))
        start = loss.item() if start is None else start
        if loss.item() < 0.1 * start:
            return step
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return None


@pytest.mark.parametrize("pooling", options.available("pooling"))
@pytest.mark.parametrize("model", options.available("models"))
def test_models(batch, model, pooling):
    assert steps_to_a_tenth(batch, "--model", model, "--encoder_type", pooling, "--trainfunc", "softmax")


@pytest.mark.parametrize("loss", options.available("loss"))
def test_losses(batch, loss):
    assert steps_to_a_tenth(batch, "--model", "ResNetSE34L", "--trainfunc", loss)


@pytest.mark.parametrize(
    "words", [["--model", "DeepSpeaker", "--variant", "GRU"], ["--model", "SEResNet34", "--stages", "all"]]
)
def test_variants(batch, words):
    assert steps_to_a_tenth(batch, *words, "--trainfunc", "softmax")
