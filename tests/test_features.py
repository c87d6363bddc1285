"""Front ends against Kaldi and python_speech_features; SpecAugment's masks; the filters of sinc."""

import kaldi_native_fbank
import numpy as np
import pytest
import torch
from test_reference import signal
from torch import Tensor

from features import dbmel, fbank, linmel, logmel, psf, sinc, spectrogram, tfmel
from features._steps import spec_augment
from features._torchaudio import torchaudio
from SpeakerNet import SpeakerNet


def with_quiet_parts() -> Tensor:
    """(2, 32240): the reference signal, at -120 dB in the first third and silent in the last quarter."""
    waveforms = signal(7)
    waveforms[:, :10_000] *= 1e-6
    waveforms[:, 24_000:] = 0.0
    return waveforms


@pytest.mark.parametrize("window", ["povey", "hamming"])
@pytest.mark.parametrize(("n_mels", "use_energy"), [(80, True), (40, False)])
@pytest.mark.parametrize("waveforms", [signal(7), with_quiet_parts()], ids=["loud", "quiet"])
def test_fbank_equals_kaldi(n_mels, use_energy, window, waveforms):
    features = fbank.Features(n_mels=n_mels, use_energy=use_energy, window=window, feature_norm="none")(
        waveforms
    )
    settings = kaldi_native_fbank.FbankOptions()
    settings.frame_opts.dither = 0
    settings.frame_opts.window_type = window
    settings.mel_opts.num_bins = n_mels
    settings.mel_opts.high_freq = 8000
    settings.use_energy = use_energy
    settings.energy_floor = 0
    for waveform, maps in zip(waveforms, features, strict=True):
        kaldi = kaldi_native_fbank.OnlineFbank(settings)
        kaldi.accept_waveform(16_000, (32768.0 * waveform).tolist())
        kaldi.input_finished()
        frames = np.stack([kaldi.get_frame(i) for i in range(kaldi.num_frames_ready)])
        np.testing.assert_allclose(maps, frames.T, atol=1e-3)


@pytest.mark.parametrize("window", ["povey", "hamming"])
@pytest.mark.parametrize("use_energy", [True, False])
@pytest.mark.parametrize("waveforms", [signal(7), with_quiet_parts()], ids=["loud", "quiet"])
def test_fbank_of_unscaled_waveforms_equals_torchaudio(window, use_energy, waveforms):
    features = fbank.Features(use_energy=use_energy, window=window, waveform_scale=1.0, feature_norm="none")
    settings = {"num_mel_bins": 80, "use_energy": use_energy, "window_type": window, "energy_floor": 0.0}
    for waveform, maps in zip(waveforms, features(waveforms), strict=True):
        expected = torchaudio.compliance.kaldi.fbank(waveform[None], **settings).T
        torch.testing.assert_close(maps, expected, atol=1e-3, rtol=0)
    floor = np.log(np.finfo(np.float32).eps)  # -15.94
    assert (features(with_quiet_parts()) == floor).float().mean() > 0.5
    assert (features(signal(7)) > floor).float().mean() > 0.99


def test_fbank_subtracts_the_mean_of_each_band():
    features = fbank.Features()(signal(7))
    assert features.shape == (2, 81, 200)
    torch.testing.assert_close(features.mean(dim=2), torch.zeros(2, 81), atol=1e-4, rtol=0)
    assert (features.std(dim=2) > 0.01).all()


def test_psf_equals_python_speech_features():
    """Values of fbank(signal, 16000, winlen=0.025, winstep=0.01, nfilt=64, nfft=512) of version 0.6."""
    features = psf.Features(feature_norm="none")(signal(7)[:1].repeat(3, 1))[0]
    assert features.shape == (64, 200)
    assert features.sum().item() == pytest.approx(-642311.894, rel=1e-6)
    np.testing.assert_allclose(
        features[[3, 20, 63], [0, 100, 199]], [-77.9283, -57.6372, -34.3957], atol=1e-3
    )


def test_spectrogram_of_a_sine():
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
    for number in (20, 64, 127):  # cosine and sine phase
        for phase in (number, number + 128):
            centre = int((low[number] + high[number]) / 2)
            assert abs(int(response[phase].argmax()) - centre) < 40
            assert response[phase, centre // 2] < 0.02 * response[phase, centre]
    torch.testing.assert_close(filters[:128], filters[:128].flip(1))
    torch.testing.assert_close(filters[128:], -filters[128:].flip(1))
    features(torch.randn(2, 4000)).square().mean().backward()
    assert all(p.grad.abs().sum() > 0 for p in features.parameters())


def test_masks_are_no_wider_than_requested_and_absent_in_evaluation():
    waveforms = 0.1 * torch.randn(200, 8000)
    network = SpeakerNet(
        logmel.Features(n_mels=80, feature_norm="mean"), torch.nn.Identity(), widest_masks=(7, 9)
    )
    expected = network.features(waveforms)
    assert torch.equal(network.eval().embed(waveforms), expected)
    drawn = torch.rand(200, 2, 2, generator=torch.Generator().manual_seed(0))
    masked = network.embed(waveforms, drawn)
    zero = masked != expected
    torch.testing.assert_close(masked[zero], torch.zeros(int(zero.sum())), atol=1e-5, rtol=0)  # their mean
    in_another_batch = network.embed(waveforms[50:], drawn[50:]) != network.features(waveforms[50:])
    for dim in (1, 2):
        assert torch.equal(in_another_batch.all(dim), zero[50:].all(dim))
    bands, frames = zero.all(dim=2).sum(dim=1), zero.all(dim=1).sum(dim=1)
    assert set(bands.tolist()) == set(range(8)) and set(frames.tolist()) == set(range(10))
    kept = ~(zero.all(dim=2)[:, :, None] | zero.all(dim=1)[:, None, :])
    assert torch.equal(masked[kept], expected[kept])
    first = zero.all(dim=2).float().argmax(dim=1)[bands > 0]
    assert first.min() == 0 and first.max() > 70  # at any band
    for row in zero.all(dim=2):
        masked_bands = row.nonzero()
        if len(masked_bands):
            assert masked_bands.max() - masked_bands.min() + 1 == len(masked_bands)  # one stripe


def test_masks_have_the_mean_of_the_utterance_by_hand():
    """Means 3.5 and 35; the first loses band 1 (width and start 1), the second frames 0 and 1."""
    features = torch.tensor([[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]) * torch.tensor([1.0, 10.0])[:, None, None]
    drawn = torch.tensor([[[0.9, 0.6], [0.0, 0.0]], [[0.0, 0.0], [0.99, 0.3]]])
    expected = [[[1.0, 2.0, 3.0], [3.5, 3.5, 3.5]], [[35.0, 35.0, 30.0], [35.0, 35.0, 60.0]]]
    assert spec_augment(features, (1, 2), drawn).tolist() == expected


@pytest.mark.parametrize(
    ("front_end", "settings", "flag"),
    [
        (fbank, {"n_mels": 0}, "--n_mels"),
        (fbank, {"n_mels": 400}, "use fewer"),
        (fbank, {"f_min": 9000.0}, "--f_min"),
        (fbank, {"waveform_scale": 0.0}, "--waveform_scale"),
        (fbank, {"waveform_scale": float("inf")}, "--waveform_scale"),
        (fbank, {"waveform_scale": float("nan")}, "--waveform_scale"),
        (psf, {"n_mels": 500}, "use fewer"),
        (psf, {"n_mels": -3}, "--n_mels"),
        (linmel, {"n_mels": 300}, "use fewer"),
        (dbmel, {"n_mels": 0}, "--n_mels"),
        (dbmel, {"n_mels": 300}, "use fewer"),
        (tfmel, {"f_max": 8001.0}, "--f_max"),
        (tfmel, {"n_mels": 400}, "use fewer"),
        (tfmel, {"hop_length": 0}, "--hop_length"),
        (logmel, {"hop_length": 321}, "--hop_length must be 1 to 320 samples, got 321"),
    ],
)
def test_refused(front_end, settings, flag):
    with pytest.raises(ValueError, match=flag):
        front_end.Features(**settings)
