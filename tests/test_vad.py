"""Voice activity: silence, steady sounds and padding; what evaluation and decisions do about them."""

import csv
import shutil
import sys
from unittest import mock

import numpy as np
import pytest
import soundfile
import torch
from conftest import assert_refused, run_here, voice
from scipy.signal import lfilter

import trainSpeakerNet
from audio import vad as detectors
from audio.quality import warnings_of
from audio.recording import ALL_CHANNELS, AudioFile
from audio.vad import (
    DETECTORS,
    LEAST_SPEECH_S,
    energy,
    hear,
    require_package,
    silero,
    webrtc,
    without_padding,
)
from evaluation.store import embedding_options
from metrics.score_files import read_score_file
from options import flags

RATE = 16_000
# 3 dB less in each octave (Kellet's filter, in Smith 2011, "Spectral audio signal processing")
PINK = [0.0499, -0.0960, 0.0506, -0.0044], [1.0, -2.4950, 2.0173, -0.5222]


def noise(seconds, level, seed=0):
    return (level * np.random.default_rng(seed).normal(size=round(seconds * RATE))).astype(np.float32)


NO_SPEECH = {
    "zeros": np.zeros(48_000, np.float32),
    "one sample": np.ones(1, np.float32) / 10,
    "hiss": noise(3.0, 0.1),
    "faint hiss": noise(60.0, 1e-3),
    "hiss after zeros": np.concatenate([np.zeros(RATE, np.float32), noise(2.0, 0.05)]),
    "rumble": np.cumsum(noise(3.0, 1e-3)),
    "hum": (0.3 * np.sin(2 * np.pi * 50 * np.arange(48_000) / RATE) + noise(3.0, 1e-4)).astype(np.float32),
    "click": np.eye(1, 48_000, 20_000, dtype=np.float32)[0],
    "offset": np.full(48_000, 0.2, np.float32),
    "too quiet": voice(0, 0, 2.0) * np.float32(1e-5),
}


@pytest.mark.parametrize("name", NO_SPEECH)
def test_no_speech(name):
    audio = NO_SPEECH[name]
    assert energy(audio).duration_s < LEAST_SPEECH_S
    heard = hear(audio, "energy")
    assert heard.remarks[-1] == "no speech found" and np.array_equal(heard.audio, audio)


@pytest.mark.parametrize("level", [1.0, 0.1])
@pytest.mark.parametrize("background", [0.0, 1e-2])
def test_speech_is_found_where_it_is(level, background):
    """One second of silence, two of syllables, one of silence; 0.1 s are kept before and after."""
    audio = np.concatenate([np.zeros(RATE), voice(1, 0, 2.0), np.zeros(RATE)]) + noise(4.0, background * 0.1)
    speech = energy((level * audio).astype(np.float32))
    kept = np.flatnonzero(speech.hops) / 100  # s
    assert 0.88 <= kept[0] <= 1.0 and 3.0 <= kept[-1] <= 3.12
    assert 1.5 < speech.duration_s < 2.1
    assert len(speech.of(audio)) == 160 * speech.hops.sum()


def resemblyzers_speech(audio):
    """Samples (T,) -> the speech in them, in Resemblyzer's steps, frame by frame."""
    webrtcvad = pytest.importorskip("webrtcvad", reason="pip install webrtcvad-wheels")
    level_db = 20 * np.log10(np.sqrt(np.mean(audio.astype(float) ** 2)))
    audio = (audio * 10 ** (max(0.0, -30.0 - level_db) / 20)).astype(np.float32)
    frames = [audio[start : start + 480] for start in range(0, len(audio) - 479, 480)]
    detector = webrtcvad.Vad(3)
    pcm = [np.round(32_767 * frame).astype(np.int16).tobytes() for frame in frames]
    voiced = [0, 0, 0, *(detector.is_speech(samples, RATE) for samples in pcm), 0, 0, 0, 0]
    speech = [round(np.mean(voiced[k : k + 8])) for k in range(len(frames))]
    return [frames[k] for k in range(len(frames)) if any(speech[max(0, k - 3) : k + 4])]


@pytest.mark.parametrize("level", [1.0, 0.02])
def test_webrtc_keeps_what_resemblyzer_keeps(level):
    """Also where speech begins and ends with the recording, and pauses of several lengths."""
    parts = [voice(1, 0, 1.01), 0.4, voice(3, 0, 0.3), 1.5, voice(2, 0, 0.5), 0.1, voice(2, 1, 0.22)]
    pieces = [noise(part, 1e-4) if isinstance(part, float) else part for part in parts]
    audio = np.float32(level) * np.concatenate(pieces)
    heard, frames = hear(audio, "webrtc"), resemblyzers_speech(audio)
    assert 40 < len(frames) < len(audio) // 480 - 20
    np.testing.assert_allclose(heard.audio, np.concatenate(frames), rtol=1e-5)
    assert heard.remarks == [] and LEAST_SPEECH_S < heard.speech_s <= 0.03 * len(frames)


@pytest.mark.parametrize("name", ["zeros", "one sample", "faint hiss", "click"])
def test_no_speech_for_webrtc(name):
    pytest.importorskip("webrtcvad", reason="pip install webrtcvad-wheels")
    audio = NO_SPEECH[name]
    assert not webrtc(audio).hops.any()
    heard = hear(audio, "webrtc")
    assert heard.remarks[-1] == "no speech found" and np.array_equal(heard.audio, audio)


def test_a_missing_package_is_named(monkeypatch):
    require_package("energy")
    monkeypatch.setitem(sys.modules, "webrtcvad", None)
    with pytest.raises(ValueError, match=r"^--vad webrtc needs a package: pip install webrtcvad-wheels$"):
        require_package("webrtc")


class Silero:
    """In place of the package silero-vad: takes half a second from 0.305 s on for speech."""

    def __init__(self):
        self.loaded = 0

    def load_silero_vad(self):  # noqa: D102
        self.loaded += 1
        return self

    def get_speech_timestamps(self, audio, network, *, sampling_rate, **settings):  # noqa: D102
        assert network is self and sampling_rate == RATE and audio.dtype == torch.float32
        return [{"start": 4880, "end": 12_880}] if len(audio) >= 12_880 else []


@pytest.fixture
def fresh_silero():
    """A process that hasn't loaded the package yet."""
    detectors._silero.cache_clear()
    yield
    detectors._silero.cache_clear()


def test_silero_keeps_what_its_package_finds(monkeypatch, fresh_silero):
    """From hop 30 (0.30 s) to hop 80, and 10 hops before and after; the network is loaded once."""
    package = Silero()
    monkeypatch.setitem(sys.modules, "silero_vad", package)
    require_package("silero")
    speech = silero(voice(0, 0, 2.0))
    np.testing.assert_array_equal(np.flatnonzero(speech.hops), np.arange(20, 91))
    assert speech.duration_s == 0.5 and len(speech.hops) == 200 and package.loaded == 1
    heard = hear(voice(0, 0, 0.5), "silero")
    assert heard.remarks == ["no speech found"] and len(heard.audio) == 8000 and package.loaded == 1


def test_a_missing_silero_is_named(monkeypatch, fresh_silero):
    monkeypatch.setitem(sys.modules, "silero_vad", None)
    with pytest.raises(ValueError, match=r"^--vad silero needs a package: pip install silero-vad$"):
        require_package("silero")


def test_silero_has_one_thread_and_leaves_the_others(monkeypatch, fresh_silero):
    """The import of the package sets it to 1 for the whole process."""
    pytest.importorskip("silero_vad", reason="pip install silero-vad")
    for module in ("silero_vad", "silero_vad.model"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr(torch, "set_num_threads", calls := mock.Mock())
    require_package("silero")
    assert calls.call_args_list == [mock.call(1), mock.call(1), mock.call(3)]
    silero(voice(0, 0))
    assert calls.call_args_list[3:] == [mock.call(1), mock.call(3)]


def test_silero_tells_speech_from_other_sounds(real_data):
    """A voice between two noises that come and go, which `energy` takes for speech."""
    pytest.importorskip("silero_vad", reason="pip install silero-vad")
    path = next(real_data.glob("test/ls*/*/*.flac"))
    speech = AudioFile(str(path)).whole()[: 3 * RATE]
    bursts = noise(3.0, 0.1) * (np.arange(3 * RATE) // 4000 % 2).astype(np.float32)
    audio = np.concatenate([bursts, speech, bursts])
    shares = {}
    for name in ("energy", "silero"):
        hops = DETECTORS[name](audio).hops
        shares[name] = hops[300:600].mean(), np.append(hops[:300], hops[600:]).mean()
    assert shares["silero"][0] > 0.6 and shares["silero"][1] < 0.1 and shares["energy"][1] > 0.3, shares


def test_real_speech_is_speech(real_data):
    """Telephones, phones, studios; also in noise as loud as the speech, and pieces without pauses."""
    shares = []
    for number, path in enumerate(sorted(real_data.glob("test/*/*/*"))[::120][:60]):
        audio = AudioFile(str(path)).whole()
        speech = energy(audio)
        assert speech.duration_s > 0.3, path
        shares.append(len(speech.of(audio)) / len(audio))
        white = noise(len(audio) / RATE, float(np.sqrt(np.mean(audio**2))), number)
        pink = lfilter(*PINK, white)
        for disturbance in (white, pink * np.sqrt(np.mean(white**2) / np.mean(pink**2))):
            assert energy((audio + disturbance[: len(audio)]).astype(np.float32)).duration_s > 0.3, path
        loudest = int(np.argmax(np.convolve(audio**2, np.ones(RATE // 2), "valid")))
        assert energy(audio[loudest : loudest + RATE // 2]).duration_s > 0.1, path
    assert 0.5 < np.mean(shares) < 0.95


def test_long_zeros_at_an_end_are_no_part_of_a_recording():
    speech = voice(0, 0)
    for before, after in ((0, 90_000), (90_000, 0), (80_000, 80_000)):
        padded = np.pad(speech, (before, after))
        np.testing.assert_array_equal(without_padding(padded), speech)
    for audio in (np.pad(speech, (79_999, 79_999)), np.zeros(200_000, np.float32)):
        np.testing.assert_array_equal(without_padding(audio), audio)
    heard = hear(np.pad(speech, (0, 90_000)), "none")
    assert heard.remarks == ["at least 5 s of zeros at an end left out"]
    assert heard.duration_s == (len(speech) + 90_000) / RATE and len(heard.audio) == len(speech)


def test_much_silence_is_said():
    audio = np.concatenate([noise(6.0, 1e-3), voice(0, 0)])
    assert hear(audio, "none").remarks == ["mostly without speech, which --vad energy would leave out"]
    assert hear(audio, "energy").remarks == [] and len(hear(audio, "energy").audio) < 1.5 * RATE
    assert hear(voice(0, 0, 3.0), "none").remarks == []


def warned(audio):
    return warnings_of(audio, hear(audio, "energy"))


def test_warnings_have_their_numbers():
    assert warned(voice(0, 0, 4.0)) == [] == warned(np.zeros(RATE, np.float32))
    (short,) = warned(voice(0, 0, 1.0))
    spoken = energy(voice(0, 0, 1.0)).duration_s
    assert short.startswith(f"short: {spoken:.1f} s of speech") and 0.5 < spoken <= 1.0
    audio = np.concatenate([np.zeros(9 * RATE, np.float32), voice(0, 0, 3.0), np.zeros(4 * RATE, np.float32)])
    left_out, silent = warned(audio)
    assert left_out == "at least 5 s of zeros at an end left out"  # a remark of `hear`
    spoken = energy(audio).duration_s
    assert silent == f"mostly silent: {spoken:.1f} of 16.0 s are speech, {100 * spoken / 16:.0f} %"
    audio = voice(0, 0, 4.0)
    audio[:320] = 1.0  # 320 of 64,000 samples are 0.5 %
    audio[320:384] = -0.99  # 0.1 % more
    assert warned(audio) == ["clipped: 0.6 % of the samples are at full scale; record it more quietly"]
    audio[:384] = 0.0
    audio[:64] = 1.0  # 0.1 % may be peaks
    assert warned(audio) == []


def test_the_flags_mean_what_the_code_means():
    assert ("none", *DETECTORS) == flags.DETECTORS
    assert flags.ALL_CHANNELS == ALL_CHANNELS


@pytest.fixture(scope="module")
def padded(tmp_path_factory):
    """Folder with a voice, the same with faint hiss around it, another voice, a dead microphone and hiss."""
    root = tmp_path_factory.mktemp("padded")
    hiss = noise(4.0, 3e-4)
    voices = {"a": voice(0, 0, 2.0), "b": voice(3, 0, 2.0)}
    voices |= {
        "around": np.concatenate([hiss, voices["a"], hiss]),
        "dead": np.zeros(30_000),
        "hiss": noise(3.0, 0.05),
    }
    for name, audio in voices.items():
        soundfile.write(root / f"{name}.wav", audio, RATE)
    (root / "list.txt").write_text("1 a.wav around.wav\n0 a.wav b.wav\n")
    (root / "pairs.txt").write_text("a.wav dead.wav\ndead.wav hiss.wav\na.wav a.wav\n")
    return root


def evaluate(model, padded, save_path, *more):
    words = (
        "--initial_model",
        model,
        "--nDataLoaderThread",
        0,
        "--report",
        "False",
        "--save_path",
        save_path,
    )
    lists = ("--test_path", padded, "--num_eval", 4, "--eval_frames", 100)
    done = run_here("trainSpeakerNet.py", *words, *lists, *more)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_silence_around_speech_is_left_out_on_request(padded, trained, tmp_path):
    model, scores = trained[0] / "model" / "best.model", {}
    for vad in ("none", "energy"):
        printed = evaluate(
            model, padded, tmp_path, "--eval", "--test_list", padded / "list.txt", "--vad", vad
        )
        scores[vad] = read_score_file(str(tmp_path / "result" / "eval" / "list.scores.txt"))
        assert ("mostly without speech" in printed) == (vad == "none")
    of_same = {vad: dict(zip(each.pairs(), each.scores, strict=True)) for vad, each in scores.items()}
    pair = ("a.wav", "around.wav")
    assert of_same["energy"][pair] > 0.99 > of_same["none"][pair]
    table = (tmp_path / "result" / "eval" / "utterances.tsv").read_text().splitlines()
    assert table[0].split("\t")[3] == "speech_s" and 1.5 < float(table[2].split("\t")[3]) < 2.2


def test_nothing_is_decided_about_recordings_without_speech(padded, trained, tmp_path):
    """The detector is stored with the threshold; other scores need another threshold."""
    model = tmp_path / "m.model"
    shutil.copy(trained[0] / "model" / "best.model", model)
    evaluate(model, padded, tmp_path, "--eval", "--test_list", padded / "list.txt", "--vad", "energy")
    done = run_here("tuneThreshold.py", tmp_path / "result" / "eval" / "list.scores.txt", "--store", model)
    assert done.returncode == 0, done.stderr
    printed = evaluate(model, padded, tmp_path, "--test", "--test_list", padded / "pairs.txt")
    assert (
        "1 of 3 trials accepted (EER), 2 without a decision" in printed
        and "no speech found: 2 files" in printed
    )
    with (tmp_path / "result" / "eval" / "pairs.decisions.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["decision"], row["reason"]) for row in rows] == [
        ("undecided", "no speech in dead.wav"),
        ("undecided", "no speech in dead.wav"),
        ("accept", ""),
    ]
    assert [bool(row["probability"]) for row in rows] == [False, False, True]
    words = ("--initial_model", model, "--test_list", padded / "pairs.txt", "--test_path", padded)
    refused = run_here("trainSpeakerNet.py", "--test", *words, "--vad", "none", "--save_path", tmp_path)
    assert_refused(refused, "--vad")
    (tmp_path / "models.txt").write_text("m a.wav dead.wav\n")
    (tmp_path / "trial.txt").write_text("m a.wav\n")
    words = ("--test_list", tmp_path / "trial.txt", "--enrol_list", tmp_path / "models.txt")
    evaluate(model, padded, tmp_path, "--test", *words)
    table = (tmp_path / "result" / "eval" / "trial.decisions.csv").read_text()
    assert table.splitlines()[1] == "m,a.wav,,,,undecided,no speech in dead.wav"


def test_cohorts_know_the_detector(corpus, padded, trained, tmp_path):
    model = shutil.copy(trained[0] / "model" / "best.model", tmp_path)
    words = ("--cohort_list", corpus.train_list, "--cohort_path", corpus.root)
    evaluate(model, padded, tmp_path, "--prepare", *words, "--vad", "energy")
    words = ("--test_list", padded / "list.txt", "--score_norm", "asnorm", "--top_n", 3)
    words += ("--cohort", tmp_path / "result" / "cohort.pt")
    evaluate(model, padded, tmp_path, "--eval", *words, "--vad", "energy")
    with pytest.raises(AssertionError, match="made with another network or other options"):
        evaluate(model, padded, tmp_path, "--eval", *words)


def test_options_that_earlier_versions_lack_leave_fingerprints_as_they_were(corpus, tmp_path):
    values = trainSpeakerNet.parse(corpus.options(tmp_path)).options
    assert "vad" not in embedding_options(values)
    assert embedding_options(values.replaced(vad="energy"))["vad"] == "energy"
