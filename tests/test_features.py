"""The front ends against Kaldi's and python_speech_features' values, and their masks and filters."""

import kaldi_native_fbank
import numpy as np
import pytest
import torch
from test_reference import signal

from features import fbank, logmel, psf, sinc, spectrogram
from SpeakerNet import SpeakerNet


@pytest.mark.parametrize(("n_mels", "use_energy"), [(80, True), (40, False)])
def test_fbank_is_kaldis(n_mels, use_energy):
    waveforms = signal(7)
    found = fbank.Features(n_mels=n_mels, use_energy=use_energy, feature_norm="none")(waveforms)
    settings = kaldi_native_fbank.FbankOptions()
    settings.frame_opts.dither = 0
    settings.mel_opts.num_bins = n_mels
    settings.mel_opts.high_freq = 8000
    settings.use_energy, settings.energy_floor = use_energy, 0
    for waveform, own in zip(waveforms, found, strict=True):
        kaldi = kaldi_native_fbank.OnlineFbank(settings)
        kaldi.accept_waveform(16_000, (32768.0 * waveform).tolist())
        kaldi.input_finished()
        frames = np.stack([kaldi.get_frame(i) for i in range(kaldi.num_frames_ready)])
        np.testing.assert_allclose(own, frames.T, atol=1e-3)


def test_fbanks_norm_takes_the_mean_of_each_band_away():
    features = fbank.Features()(signal(7))
    assert features.shape == (2, 81, 200)
    torch.testing.assert_close(features.mean(dim=2), torch.zeros(2, 81), atol=1e-4, rtol=0)
    assert (features.std(dim=2) > 0.01).all()


def test_psf_is_that_of_python_speech_features():
    """Values of fbank(signal, 16000, winlen=0.025, winstep=0.01, nfilt=64, nfft=512) of version 0.6."""
    features = psf.Features(feature_norm="none")(signal(7)[:1].repeat(3, 1))[0]
    assert features.shape == (64, 200)
    assert features.sum().item() == pytest.approx(-642311.894, rel=1e-6)
    np.testing.assert_allclose(
        features[[3, 20, 63], [0, 100, 199]], [-77.9283, -57.6372, -34.3957], atol=1e-3
    )


def test_the_spectrogram_is_the_magnitude_of_frames_that_lie_inside():
    waveform = torch.sin(2 * torch.pi * 1000 * torch.arange(16_000) / 16_000)[None]
    features = spectrogram.Features(feature_norm="none")(waveform)
    assert features.shape == (1, 257, 97)  # 1 + (16000 - 512) // 160
    assert (features.argmax(dim=1) == 32).all()  # 1000 Hz / 31.25 Hz
    assert features[0, 32, 50].item() == pytest.approx(100.0, rel=1e-3)  # half the window's sum of 200


def test_sinc_filters_pass_their_band():
    features = sinc.Features()
    filters = features.filters().detach()
    response = torch.fft.rfft(filters, 16_000).abs()  # (256, 8001), 1 Hz apart
    low = 50.0 + features.low_hz.detach().abs()[:, 0]
    high = low + 50.0 + features.band_hz.detach().abs()[:, 0]
    for number in (20, 64, 127):  # a cosine phase and its sine phase
        for phase in (number, number + 128):
            centre = int((low[number] + high[number]) / 2)
            assert abs(int(response[phase].argmax()) - centre) < 40
            assert response[phase, centre // 2] < 0.02 * response[phase, centre]
    torch.testing.assert_close(filters[:128], filters[:128].flip(1))
    torch.testing.assert_close(filters[128:], -filters[128:].flip(1))
    features(torch.randn(2, 4000)).square().mean().backward()
    assert all(p.grad.abs().sum() > 0 for p in features.parameters())


def test_masks_are_for_training_only_and_no_wider_than_asked():
    settings = {"n_mels": 80, "feature_norm": "mean"}
    waveforms = 0.1 * torch.randn(200, 8000)
    network = SpeakerNet(logmel.Features(**settings), torch.nn.Identity(), widest=(7, 9))
    expected = network.features(waveforms)
    assert torch.equal(network.eval().embed(waveforms), expected)
    drawn = torch.rand(200, 2, 2, generator=torch.Generator().manual_seed(0))
    found = network.embed(waveforms, drawn)
    assert torch.equal(network.embed(waveforms[50:], drawn[50:]), found[50:])  # whatever the batch
    zero = found == 0.0
    bands, frames = zero.all(dim=2).sum(dim=1), zero.all(dim=1).sum(dim=1)
    assert set(bands.tolist()) == set(range(8)) and set(frames.tolist()) == set(range(10))
    kept = ~(zero.all(dim=2)[:, :, None] | zero.all(dim=1)[:, None, :])
    assert torch.equal(found[kept], expected[kept])
    first = zero.all(dim=2).float().argmax(dim=1)[bands > 0]
    assert first.min() == 0 and first.max() > 70  # anywhere
    for row in zero.all(dim=2):
        places = row.nonzero()
        assert not len(places) or places.max() - places.min() + 1 == len(places)  # neighbours


@pytest.mark.parametrize(
    ("front_end", "settings", "flag"),
    [
        (fbank, {"n_mels": 0}, "--n_mels"),
        (fbank, {"n_mels": 400}, "use fewer"),
        (fbank, {"f_min": 9000.0}, "--f_min"),
        (psf, {"n_mels": 500}, "use fewer"),
    ],
)
def test_refused(front_end, settings, flag):
    with pytest.raises(ValueError, match=flag):
        front_end.Features(**settings)
