"""The mel front ends of other systems against their formulas, written out in numpy in float64."""

import numpy as np
import pytest
import torch
from test_reference import signal

from features import dbmel, linmel, logmel, slaneymel, tfmel
from features._steps import standardise


def power_of_frames(waveform, window, num_points, num_bins, hop):
    """Power (L, num_bins) of a DFT by its definition; there are as many frames as fit into the waveform."""
    bins, samples = np.arange(num_bins), np.arange(len(window))
    waves = window[:, None] * np.exp(-2j * np.pi * np.outer(samples, bins) / num_points)
    starts = range(0, len(waveform) - len(window) + 1, hop)
    return np.stack([np.abs(waveform[start : start + len(window)] @ waves) ** 2 for start in starts])


def from_mel(mel):
    return 700.0 * (10.0 ** (np.asarray(mel) / 2595.0) - 1.0)


def to_mel(hz):
    return 2595.0 * np.log10(1.0 + np.asarray(hz) / 700.0)


def speechbrain(waveform):
    """The formulas of SpeechBrain's Fbank: 80 bands, no context."""
    window = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(400) / 400)
    power = power_of_frames(np.pad(waveform, 200), window, 400, 201, 160)
    edges = from_mel(np.linspace(0.0, to_mel(8000.0), 82))
    decibels = np.empty((len(power), 80))
    for band in range(80):
        centre, width = edges[band + 1], edges[band + 1] - edges[band]
        slope = (np.linspace(0.0, 8000.0, 201) - centre) / width
        weights = [max(0.0, min(1.0 + s, 1.0 - s)) for s in slope]
        decibels[:, band] = 10.0 * np.log10(np.maximum(power @ weights, 1e-10))
    return np.maximum(decibels, decibels.max() - 80.0).T


def test_dbmel_equals_speechbrains_formulas():
    waveforms = signal(7)[:, :8000]
    waveforms[0, 3000:] *= 1e-6  # more than 80 dB below the rest
    waveforms[1] *= 0.01
    features = dbmel.Features(feature_norm="none")(waveforms)
    expected = np.stack([speechbrain(waveform) for waveform in waveforms.double().numpy()])
    assert features.shape == expected.shape == (2, 80, 51)
    np.testing.assert_allclose(features, expected, atol=2e-3)
    floor = features.amax(dim=(1, 2), keepdim=True) - 80.0
    assert (features[0] == floor[0]).float().mean() > 0.4 and (features[1] > floor[1]).all()
    centred = expected - expected.mean(axis=2, keepdims=True)
    np.testing.assert_allclose(dbmel.Features()(waveforms), centred, atol=2e-3)


def redimnet(waveform, hop):
    """The formulas of ReDimNet's SpectralFeaturesTF with 72 bands."""
    x = (waveform - waveform.mean()) / (waveform.std() + 1e-8)
    x = x - 0.97 * np.concatenate([x[1:2], x[:-1]])
    window = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(400) / 399)
    power = power_of_frames(np.pad(x, hop // 2), window, 512, 256, hop).clip(1e-8, 1e8)
    mels = to_mel(np.linspace(0.0, 8000.0, 256))
    edges = np.linspace(to_mel(20.0), to_mel(7600.0), 74)
    bank = np.empty((256, 72))
    for band in range(72):
        low, centre, high = edges[band : band + 3]
        bank[:, band] = [
            max(0.0, min((m - low) / (centre - low), (high - m) / (high - centre))) for m in mels
        ]
    energies = (power @ bank).clip(1e-8, 1e8)
    return (np.log(energies + 1e-8) - np.log(energies + 1e-8).mean(axis=0)).T


@pytest.mark.parametrize(("hop", "num_frames"), [(160, 50), (240, 34)])
def test_tfmel_equals_redimnets_formulas(hop, num_frames):
    """1 + (8123 + 160 - 400) // 160 = 50 frames, 1 + (8123 + 240 - 400) // 240 = 34."""
    waveforms = 0.05 * signal(7)[:, :8123] + 0.2
    features = tfmel.Features(hop_length=hop)(waveforms)
    expected = np.stack([redimnet(waveform, hop) for waveform in waveforms.double().numpy()])
    assert features.shape == expected.shape == (2, 72, num_frames)
    np.testing.assert_allclose(features, expected, atol=1e-3)
    level = tfmel.Features(hop_length=hop)(3.0 * waveforms - 0.1)
    torch.testing.assert_close(level, features, atol=1e-3, rtol=0)


def nemo(waveform):
    """The formulas of NeMo's FilterbankFeatures with librosa's filters."""
    emphasised = np.concatenate([waveform[:1], waveform[1:] - 0.97 * waveform[:-1]])
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399)
    power = power_of_frames(np.pad(emphasised, 200), window, 512, 257, 160)[: len(waveform) // 160]
    highest = 15.0 + 27.0 * np.log(8.0) / np.log(6.4)
    mels = np.linspace(0.0, highest, 82)
    edges = np.where(mels < 15.0, mels * 200.0 / 3.0, 1000.0 * 6.4 ** ((mels - 15.0) / 27.0))
    bins = np.arange(257) * 16000.0 / 512.0
    bank = np.empty((257, 80))
    for band in range(80):
        low, centre, high = edges[band : band + 3]
        slopes = np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre))
        bank[:, band] = np.maximum(slopes, 0.0) * 2.0 / (high - low)
    energies = np.log(power @ bank + 2.0**-24)
    return ((energies - energies.mean(axis=0)) / (energies.std(axis=0, ddof=1) + 1e-5)).T


def test_slaneymel_equals_nemos_formulas():
    waveforms = signal(7)[:, :8123]
    waveforms[1, 4000:] *= 1e-4  # down to the floor
    features = slaneymel.Features()(waveforms)
    expected = np.stack([nemo(waveform) for waveform in waveforms.double().numpy()])
    assert features.shape == expected.shape == (2, 80, 50)
    np.testing.assert_allclose(features, expected, atol=1e-3)


def test_linmel_equals_librosa():
    """Values of librosa.feature.melspectrogram(y, sr=16000, n_fft=400, hop_length=160, n_mels=40)."""
    features = linmel.Features()(signal(7))
    assert features.shape == (2, 40, 204)  # 3 + 32240 // 160
    np.testing.assert_allclose(features[0, :4, 10], [0.0056143, 2.761252, 12.818881, 2.554636], rtol=1e-5)


def test_frames_of_linmel_after_its_last_are_zero():
    for num_samples in (8000, 8159):  # 8159: the last sample is the first of frame 52, 8320 - 200 = 8120
        waveform = signal(7)[:, :num_samples]
        features = linmel.Features()(waveform)
        padded = linmel.Features()(torch.nn.functional.pad(waveform, (0, 800)))
        torch.testing.assert_close(padded[:, :, : features.shape[2]], features)
        assert not padded[:, :, features.shape[2] :].any()
    assert features.shape[2] == 53 and features[:, :, 52].any()


@pytest.mark.parametrize("hop", [80, 240])
def test_logmel_with_another_hop_has_the_frames_of_a_small_one(hop):
    every_10_samples = logmel.Features(hop_length=10, feature_norm="none")(signal(7)[:, :8123])
    front_end = logmel.Features(hop_length=hop, feature_norm="none")
    features = front_end(signal(7)[:, :8123])
    assert features.shape[2] == front_end.num_frames(8123) == 1 + 8123 // hop
    torch.testing.assert_close(features, every_10_samples[:, :, :: hop // 10])


def test_standardise_by_hand():
    """Mean 3; squares of -2, -1, 0, 3 have the mean 3.5, whose root is 1.870829; silence stays silence."""
    waveforms = torch.tensor([[1.0, 2.0, 3.0, 6.0], [0.0, 0.0, 0.0, 0.0]])
    expected = torch.tensor([[-1.069045, -0.534522, 0.0, 1.603567], [0.0, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(standardise(waveforms, 1e-6), expected)


def test_logmel_of_a_normalised_waveform_is_redimnets():
    """Its MelBanks with norm_signal: the level and the offset of a recording have no effect."""
    settings = {"n_mels": 60, "pre_emphasis": 0.97, "f_min": 20.0, "f_max": 7600.0, "feature_norm": "mean"}
    waveforms = signal(7)[:, :8123]
    exact = waveforms.double().numpy()
    mean, deviation = exact.mean(axis=1, keepdims=True), exact.std(axis=1, keepdims=True)
    by_hand = torch.from_numpy((exact - mean) / (deviation + 1e-6)).float()
    expected = logmel.Features(**settings)(by_hand)
    front_end = logmel.Features(**settings, normalise_waveform=True)
    for changed in (waveforms, 0.003 * waveforms + 0.02):
        torch.testing.assert_close(front_end(changed), expected, atol=1e-3, rtol=0)
        assert (logmel.Features(**settings)(changed) - expected).abs().max() > 0.1
    torch.testing.assert_close(front_end.as_convolution()(waveforms), expected, atol=1e-3, rtol=0)
    assert front_end(torch.zeros(1, 8000)).abs().max() < 1e-5
