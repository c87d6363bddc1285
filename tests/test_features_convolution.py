"""Every front end's form without FFT computes the same features."""

import pytest
import torch
from test_models import FRONT_ENDS
from test_reference import signal

import options
from features import fbank, logmel, tfmel

# Float32 rounding of the loudest bin, seen in the quietest band: in dB for dbmel and psf, else in nepers. The
# reference signal has 60 dB between them.
TOLERANCES = {"dbmel": 2e-3, "psf": 1e-3, "sinc": 0.0}
TOLERANCE = 1e-3


def refuse(*args, **kwargs):
    raise NotImplementedError("FFT")


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_convolution_computes_the_same_features_without_fft(name, monkeypatch):
    features = options.plugin("features", name)()
    form = features.as_convolution()
    assert form.num_features == features.num_features
    lengths = (4_800, 16_123, 32_240)
    expected = [features(signal(7)[:, :length]) for length in lengths]
    monkeypatch.setattr(torch.fft, "rfft", refuse)
    monkeypatch.setattr(torch, "stft", refuse)
    for length, wanted in zip(lengths, expected, strict=True):
        maps = form(signal(7)[:, :length])
        assert maps.shape == wanted.shape == (2, form.num_features, form.num_frames(length))
        torch.testing.assert_close(maps, wanted, atol=TOLERANCES.get(name, TOLERANCE), rtol=0)
    if name != "sinc":
        with pytest.raises(NotImplementedError, match="FFT"):  # the front end itself is as it was
            features(signal(7))


@pytest.mark.parametrize(
    "features",
    [
        fbank.Features(window="hamming", waveform_scale=1.0),
        fbank.Features(use_energy=False),
        logmel.Features(window="hann", hop_length=240, pre_emphasis=0.97, feature_norm="mean"),
        tfmel.Features(hop_length=240),
    ],
    ids=["fbank-hamming", "fbank-no_energy", "logmel", "tfmel"],
)
def test_convolution_with_other_options(features):
    waveforms = signal(7)[:, :8000]
    torch.testing.assert_close(features.as_convolution()(waveforms), features(waveforms), atol=1e-3, rtol=0)


def test_convolution_has_the_window_and_the_filterbank_of_the_checkpoint():
    features, other = logmel.Features(n_mels=40), logmel.Features(window="hann", f_min=300.0)
    features.load_state_dict(other.state_dict())
    waveforms = signal(7)[:, :8000]
    torch.testing.assert_close(features.as_convolution()(waveforms), other(waveforms), atol=1e-3, rtol=0)


@pytest.mark.slow
def test_convolution_stays_on_the_device():
    for name in FRONT_ENDS:
        form = options.plugin("features", name)().to("meta").as_convolution()
        assert all(tensor.is_meta for tensor in [*form.parameters(), *form.buffers()])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fbank", "logmel", "psf"])
def test_convolution_is_exported_for_any_length_without_fft(name):
    form = options.plugin("features", name)().as_convolution()
    any_size = {0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO}
    program = torch.export.export(form, (signal(7)[:, :16_000],), dynamic_shapes=(any_size,))
    modules = [module for module in program.graph_module.modules() if hasattr(module, "graph")]
    names = {str(node.target) for module in modules for node in module.graph.nodes}
    assert any("conv1d" in name for name in names)
    assert not any("fft" in name or "stft" in name for name in names)
    waveform = signal(7)[:1, :9_001]
    torch.testing.assert_close(program.module()(waveform), form(waveform))
