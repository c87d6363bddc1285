"""Augmentation: exact levels, aligned rooms, drawn as asked, the same batched or alone, here or there."""

import pickle
import shutil
from collections import Counter
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
import scipy.signal
import soundfile
import torch
from conftest import remarks_of, voice

from audio import augment, effects
from audio.augment import Augmenter, Ranges
from audio.effects import Band, Equaliser, Gain, Mix, MuLaw, Reverb
from audio.noise import Material, find_audio, find_noises
from audio.recording import AudioError, AudioFile
from preparation.pack import write_pack

RANGES = Ranges(
    {"noise": (0.0, 15.0), "music": (5.0, 15.0), "babble": (13.0, 20.0)},
    (3.0, 7.0),
    (-10.0, 10.0),
    (-10.0, 10.0),
)
ALL = torch.arange


def speech(count=3, length=8000):
    return torch.from_numpy(np.stack([voice(number, 0, length / 16_000) for number in range(count)]))


def decibels(signal):
    return 10.0 * signal.double().square().mean(dim=1).log10()


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """Noises as MUSAN lays them out, and rooms -> their folders."""
    root = tmp_path_factory.mktemp("material")
    generator = np.random.default_rng(0)
    for place, count in {
        "musan/noise/free-sound": 2,
        "musan/music/fma": 2,
        "musan/speech/librivox/deep": 8,
    }.items():
        for number in range(count):
            path = root / place / f"{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, generator.normal(0.0, 0.01 * 3.0**number / 3.0**7, 20_000), 16_000)
    for number in range(3):
        path = root / "rirs" / "room" / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        tail = generator.normal(size=4000) * np.exp(-np.arange(4000) / 600)
        response = np.concatenate([np.zeros(100 * number), [4.0], 0.2 * tail])
        polarity = -1.0 if number == 1 else 1.0
        soundfile.write(path, polarity * response, 16_000, subtype="FLOAT")
    return root


def augmenter(root, chain, speeds=(0.9, 1.1), ranges=RANGES, skip_bad=False):
    stages = augment.read_chain(chain)
    found = Material(augment.kinds_of(stages), str(root / "musan"), str(root / "rirs"), skip_bad)
    return Augmenter(stages, found, ranges, speeds)


@pytest.mark.parametrize("level", [1e-4, 1e-2, 1.0])
def test_the_snr_is_exact_at_any_level(level):
    crops, noise = level * speech(), torch.randn(3, 8000)
    asked = torch.tensor([-5.0, 0.0, 20.0])
    added = Mix(ALL(3), noise, asked).apply(crops) - crops
    torch.testing.assert_close(decibels(crops) - decibels(added), asked.double(), atol=0.02, rtol=0.0)


def test_silence_stays_silent_and_silent_noise_adds_nothing():
    crops, noise = speech(2), torch.randn(2, 8000)
    crops[0], noise[1] = 0.0, 0.0
    assert torch.equal(Mix(ALL(2), noise, torch.zeros(2)).apply(crops), crops)


def test_a_room_is_in_time_with_its_direct_path_and_keeps_the_energy(material):
    rooms = Material({"reverb"}, "", str(material / "rirs"))
    crops, values = speech(), [rooms._response(rooms.rooms[number], number) for number in range(3)]
    wet = Reverb.gather(ALL(3), values).apply(crops)
    torch.testing.assert_close(decibels(wet), decibels(crops), atol=1e-3, rtol=0.0)
    for row, number in enumerate(range(3)):
        response, _ = soundfile.read(material / "rirs" / rooms.rooms.paths[number])
        direct = np.abs(response).argmax()
        dry = crops[row].double().numpy()
        expected = scipy.signal.convolve(dry, response)[direct : direct + 8000]
        expected *= np.sign(response[direct]) * np.sqrt((dry**2).sum() / (expected**2).sum())
        assert np.abs(wet[row].numpy() - expected).max() < 2e-3 * np.abs(expected).max()  # -60 dB is cut off
        lags = scipy.signal.correlate(wet[row].numpy(), dry, "same")
        assert lags.argmax() == 4000  # no delay
        alone = Reverb.gather(ALL(1), [values[row]]).apply(crops[row : row + 1])
        torch.testing.assert_close(wet[row : row + 1], alone, atol=1e-6, rtol=1e-5)


def test_the_first_of_several_channels_is_the_room(tmp_path):
    response = np.zeros((500, 2))
    response[50, 0], response[90, 1] = 1.0, 1.0
    soundfile.write(tmp_path / "a.wav", response, 16_000, subtype="FLOAT")
    found, direct = Material({"reverb"}, "", str(tmp_path)).room(np.random.default_rng(0))
    assert found.tolist() == [1.0] and direct == 0
    assert len(AudioFile(str(tmp_path / "a.wav")).remarks) == 1


def test_noises_in_opposite_phase_are_heard(tmp_path):
    (tmp_path / "noise").mkdir()
    soundfile.write(tmp_path / "noise" / "a.wav", np.stack([voice(0, 0), -voice(0, 0)], 1), 16_000, "FLOAT")
    material = Material({"noise"}, str(tmp_path), "")
    np.testing.assert_array_equal(material.noise("noise", np.random.default_rng(0), 16_000), voice(0, 0))


def test_mu_law_has_256_levels_of_g711():
    crops = torch.linspace(-1.5, 1.5, 90_001)[None]
    coded = MuLaw(ALL(1), torch.empty(1, 0)).apply(crops)
    assert len(coded.unique()) == 256
    levels = coded.unique()
    assert levels[-1] == 1.0 and levels[-2].item() == pytest.approx((256 ** (253 / 255) - 1) / 255)
    torch.testing.assert_close(MuLaw(ALL(1), torch.empty(1, 0)).apply(coded), coded)


def test_a_band_passes_what_lies_in_it():
    time = torch.arange(8000) / 16_000
    crops = torch.stack([torch.sin(2 * np.pi * hertz * time) for hertz in (100.0, 1000.0, 5000.0)])
    edges = torch.tensor([[300.0, 3400.0]]).repeat(3, 1)
    heard = decibels(Band(ALL(3), edges).apply(crops)) - decibels(crops)
    assert heard[0] < -40.0 and abs(heard[1]) < 0.01 and heard[2] < -40.0


def test_an_equaliser_has_its_gains_at_the_octaves_and_keeps_the_level():
    time = torch.arange(8000) / 16_000
    hertz = (60.0, 125.0, 500.0, 500.0 * 2**0.5, 4000.0, 8000.0 * (1 - 1e-3))
    crops = torch.stack([torch.sin(2 * np.pi * each * time) for each in (*hertz, 1000.0)])
    crops = crops[:-1] + crops[-1]  # 1 kHz in all, for comparison
    gains_db = torch.tensor([[-3.0, 7.0, 4.0, 0.0, -5.0, 2.0, 6.0]]).repeat(len(hertz), 1)
    heard = Equaliser(ALL(len(hertz)), gains_db).apply(crops)
    torch.testing.assert_close(decibels(heard), decibels(crops), atol=1e-4, rtol=0.0)
    before, after = (torch.fft.rfft(each * torch.hann_window(8000)).abs() for each in (crops, heard))
    levels = [
        20.0 * (a / b)[[round(f / 2), 500]].log10() for f, a, b in zip(hertz, after, before, strict=True)
    ]
    relative = [float(own - of_1_khz) for own, of_1_khz in levels]
    assert relative == pytest.approx([-3.0, -3.0, 4.0, 2.0, 2.0, 6.0], abs=0.1)


def test_gain_is_in_decibels():
    louder = Gain(ALL(3), torch.tensor([[6.0], [0.0], [-20.0]])).apply(speech())
    torch.testing.assert_close(
        decibels(louder) - decibels(speech()), torch.tensor([6.0, 0.0, -20.0]).double(), atol=1e-3, rtol=0.0
    )


def test_what_is_drawn_has_the_chain_s_probabilities_and_order(material):
    chain = "reverb:0.2|babble+music:1/5|noise:0.2 gain:0.5"
    made, generator = augmenter(material, chain), np.random.default_rng(0)
    drawn = [made.draw(generator, 400) for _ in range(4000)]
    kinds = Counter("+".join(each.kind for each in own if each.kind != "gain") for own in drawn)
    for name, share in {"reverb": 0.2, "babble+music": 0.2, "noise": 0.2, "": 0.4}.items():
        assert abs(kinds[name] / 4000 - share) < 0.025  # four deviations
    assert abs(sum(any(each.kind == "gain" for each in own) for own in drawn) / 4000 - 0.5) < 0.032
    steps = effects.gather(drawn[:200])
    assert [type(effect) for effect in steps[-2:]] == [Mix, Gain]  # music after babble, gain last
    snrs = [each.values[1] for own in drawn for each in own if each.kind == "babble"]
    assert 13.0 <= min(snrs) < 13.2 and 19.8 < max(snrs) <= 20.0


def test_the_snr_of_babble_is_that_of_the_sum_of_equally_loud_voices(material):
    ranges = RANGES._replace(snr_db={**RANGES.snr_db, "babble": (10.0, 10.0)}, voices=(2.0, 2.0))
    made = augmenter(material, "babble:1", ranges=ranges)
    drawn = [made.draw(np.random.default_rng(seed), 8000) for seed in range(3)]
    (mix,) = effects.gather(drawn)
    crops = speech()
    added = mix.apply(crops) - crops
    torch.testing.assert_close(
        decibels(crops) - decibels(added), torch.full((3,), 10.0).double(), atol=0.02, rtol=0
    )
    # two independent voices of power 1, although their files differ by up to 67 dB in level
    assert all(abs(power - 2.0) < 0.3 or abs(power - 4.0) < 0.3 for power in mix.noise.square().mean(dim=1))


def test_effects_are_the_same_with_the_fft_of_either_library(material, monkeypatch):
    made = augmenter(material, "reverb:0.5 noise:0.5 band:0.5 eq:0.5 mulaw:0.5 gain:0.5")
    drawn = [made.draw(np.random.default_rng(seed), 8000) for seed in range(12)]
    steps = effects.gather(drawn)
    here = effects.apply_effects(speech(12), steps)
    monkeypatch.setattr(effects, "_spectrum", torch.fft.rfft)
    monkeypatch.setattr(effects, "_inverse", torch.fft.irfft)
    there = effects.apply_effects(speech(12), steps)
    # mu-law rounds: where a last bit decides, a sample may come one level apart
    assert ((here - there).abs() > 1e-5).float().mean() < 1e-4
    assert not torch.equal(here, speech(12))


@pytest.mark.requires_cuda
def test_effects_are_the_same_on_a_gpu(material):
    made = augmenter(material, "reverb:0.5 noise:0.5 band:0.5 eq:0.5 gain:0.5")
    steps = effects.gather([made.draw(np.random.default_rng(seed), 8000) for seed in range(12)])
    here = effects.apply_effects(speech(12), steps)
    there = effects.apply_effects(speech(12).cuda(), steps).cpu()
    torch.testing.assert_close(here, there, atol=1e-5, rtol=1e-5)


def test_speed_moves_pitch_and_time(tmp_path):
    time = np.arange(32_000) / 16_000
    soundfile.write(tmp_path / "a.wav", 0.5 * np.sin(2 * np.pi * 1000.0 * time), 16_000)
    for speed in (0.9, 1.0, 1.1):
        crop = AudioFile(str(tmp_path / "a.wav")).crop(16_000, np.random.default_rng(0), speed)
        assert np.abs(np.fft.rfft(crop * np.hanning(16_000))).argmax() == 1000 * speed  # bins of 1 Hz
    whole = AudioFile(str(tmp_path / "a.wav")).crop(32_000, np.random.default_rng(0), 1.1)
    assert len(whole) == 32_000  # the 29,091 samples that there are at this speed repeat


def test_musan_split_and_packs_are_found_too(material, tmp_path):
    paths = find_audio(str(material / "musan"))
    assert len(paths) == 12
    write_pack(material / "musan", paths, tmp_path / "pack")
    files, packed = (find_noises(str(root)) for root in (material / "musan", tmp_path / "pack"))
    assert {kind: len(found) for kind, found in files.items()} == {"noise": 2, "music": 2, "babble": 8}
    for kind, found in files.items():
        assert found.paths == packed[kind].paths
        assert np.array_equal(found[1].whole(), packed[kind][1].whole())
    split = tmp_path / "noise" / "musan_split" / "music" / "fma" / "0" / "00000.wav"
    split.parent.mkdir(parents=True)
    soundfile.write(split, np.ones(100), 16_000)
    (found,) = find_noises(str(tmp_path / "noise")).values()
    assert found.paths == ["musan_split/music/fma/0/00000.wav"]
    assert find_noises(str(tmp_path))["music"].paths == [
        "noise/musan_split/music/fma/0/00000.wav"
    ]  # innermost


def test_a_pack_of_rooms_is_one_of_rooms(material, tmp_path):
    paths = find_audio(str(material / "rirs"))
    write_pack(material / "rirs", paths, tmp_path / "pack")
    files, packed = (Material({"reverb"}, "", str(root)) for root in (material / "rirs", tmp_path / "pack"))
    for seed in range(3):
        (a, direct), (b, other) = (each.room(np.random.default_rng(seed)) for each in (files, packed))
        assert direct == other
        np.testing.assert_allclose(a[direct], np.clip(b[other] * a[direct] / b[other], -4.0, 4.0), rtol=1e-3)


def test_bad_noises_and_silent_rooms_are_named_or_replaced(material, tmp_path):
    shutil.copytree(material, tmp_path / "m")
    (tmp_path / "m" / "musan" / "noise" / "free-sound" / "0.wav").write_bytes(b"no audio")
    soundfile.write(tmp_path / "m" / "rirs" / "room" / "1.wav", np.zeros(500), 16_000)
    for chain, words in {
        "noise:1": "noise/free-sound/0.wav: cannot",
        "reverb:1": "1.wav: a room response of",
    }.items():
        strict, lenient = (augmenter(tmp_path / "m", chain, skip_bad=skip) for skip in (False, True))
        with pytest.raises(AudioError, match=f"augmentation: .*{words}"):
            for seed in range(20):
                strict.draw(np.random.default_rng(seed), 400)
        with remarks_of() as remarks:
            drawn = [lenient.draw(np.random.default_rng(seed), 400) for seed in range(20)]
        assert all(len(own) == 1 for own in drawn)  # nothing is left undone
        assert remarks and all(kind == "skipped" for kind, _ in remarks)
        assert all(words.split(":")[0] in recording for _, recording in remarks)
    (tmp_path / "m" / "musan" / "noise" / "free-sound" / "1.wav").write_bytes(b"no audio")
    with pytest.raises(AudioError, match=r"augmentation: .*cannot be read"):
        augmenter(tmp_path / "m", "noise:1", skip_bad=True).draw(np.random.default_rng(0), 400)


def test_an_augmenter_travels_to_other_processes(material):
    made = augmenter(material, "speed:0.5 reverb:0.5|noise:0.5 gain:0.5")
    made.draw(np.random.default_rng(0), 400)
    again = pickle.loads(ForkingPickler.dumps(made))
    for seed in range(5):
        drawn = (effects.gather([each.draw(np.random.default_rng(seed), 400)]) for each in (made, again))
        for a, b in zip(*drawn, strict=True):
            assert all(
                torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y
                for x, y in zip(a, b, strict=True)
            )


@pytest.mark.parametrize(
    ("chain", "words"),
    [
        ("", "expected at least one stage"),
        ("noise:0.6|music:0.6", "add up to more than 1"),
        ("hiss:0.5", "'hiss' is unknown; there are noise, music, babble"),
        ("noise:2", "0 < PROBABILITY <= 1, got noise:2"),
        ("noise", "expected KIND:PROBABILITY"),
        ("noise:1/0", "expected KIND:PROBABILITY"),
        ("speed:0.5|noise:0.5", "speed must be alone in the first one"),
        ("speed:0.5 speed:0.5", "speed must be alone in the first one"),
        ("gain:0.5 speed:0.5", "speed must be alone in the first one"),
    ],
)
def test_wrong_chains_are_refused(chain, words):
    with pytest.raises(ValueError, match=words):
        augment.read_chain(chain)


def test_missing_material_is_refused(material, tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"--musan_path .*: no recordings in folders called speech; get"
    ):
        augmenter(tmp_path, "babble:0.5")
    with pytest.raises(FileNotFoundError, match=r"--rir_path .*: no recordings there; get them"):
        augmenter(tmp_path, "reverb:0.5")
    assert "gain 50 %" in augmenter(tmp_path, "gain:0.5").describe()
    said = augmenter(material, "reverb:0.5 noise:0.25|music:0.25").describe()
    counts = "2 of noise, 2 of music, 8 of babble, 3 rooms"
    assert said == f"augmentation: reverb 50 %, then noise 25 % or music 25 % ({counts})"
