"""Reading and cropping: partial reads equal whole reads, other rates and channels, damaged files."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import voice
from scipy.signal import resample_poly

from audio import recording
from audio.evaluation_crops import evaluation_crops
from audio.recording import (
    OPPOSITE_PHASE,
    AudioError,
    AudioFile,
    RecordingInMemory,
    mix_down,
    num_samples,
)
from audio.recordings import Recordings
from audio.wave_file import WaveFile


def write(path, audio, rate=16_000, **settings):
    soundfile.write(path, audio, rate, **settings)
    return str(path)


def generator(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_a_crop_is_a_piece_of_the_whole(tmp_path, suffix):
    path = write(tmp_path / f"a.{suffix}", voice(0, 0, 2.0))
    whole = AudioFile(path).whole()
    assert whole.dtype == np.float32 and len(whole) == 32_000
    starts = set()
    for seed in range(20):
        crop = AudioFile(path).crop(4000, generator(seed))
        start = int(generator(seed).integers(32_000 - 4000 + 1))
        np.testing.assert_array_equal(crop, whole[start : start + 4000])
        starts.add(start)
    assert max(starts) - min(starts) > 10_000


def test_a_crop_reads_only_what_it_needs(tmp_path, monkeypatch):
    path = write(tmp_path / "long.wav", voice(0, 0, 20.0))
    counts = []
    read = soundfile.SoundFile.read
    monkeypatch.setattr(
        soundfile.SoundFile, "read", lambda f, n, **kw: (counts.append(n), read(f, n, **kw))[1]
    )
    AudioFile(path).crop(8000, generator())
    assert counts == [8000]


def test_short_files_repeat(tmp_path):
    path = write(tmp_path / "short.wav", np.array([0.1, 0.2, 0.3]), subtype="FLOAT")
    np.testing.assert_allclose(AudioFile(path).crop(7, generator()), [0.1, 0.2, 0.3] * 2 + [0.1], rtol=1e-6)
    crops = evaluation_crops(AudioFile(path).whole(), 5, 2)
    np.testing.assert_allclose(crops, [[0.1, 0.2, 0.3, 0.1, 0.2]] * 2, rtol=1e-6)


@pytest.mark.parametrize("rate", [8000, 22_050, 44_100, 48_000])
def test_other_rates_are_resampled_and_crops_equal_the_resampled_whole(tmp_path, rate):
    path = write(tmp_path / "a.wav", voice(1, 0, 2.0, rate), rate, subtype="FLOAT")
    opened = AudioFile(path)
    whole = opened.whole()
    assert len(whole) == 32_000
    assert opened.remarks[0] == f"resampled from {rate} to 16000 Hz"
    common = np.gcd(rate, 16_000)
    expected = resample_poly(soundfile.read(path)[0], 16_000 // common, rate // common)
    np.testing.assert_allclose(whole, expected, atol=1e-5)


class At(np.random.Generator):
    """A generator that draws one number."""

    def __init__(self, number):
        super().__init__(np.random.PCG64(0))
        self.number = number

    def integers(self, *_):  # noqa: D102
        return self.number


@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 44_100, 48_000])
def test_a_resampled_crop_is_a_piece_of_the_resampled_whole_wherever_it_starts(tmp_path, rate):
    """Silence before the recording moves the crop's start to a place where the two sample grids coincide."""
    path = write(tmp_path / "a.wav", 0.5 + 0.1 * voice(1, 0, 1.0, rate), rate, subtype="FLOAT")
    whole, common = soundfile.read(path)[0], int(np.gcd(rate, 16_000))
    up, down = 16_000 // common, rate // common
    span = -(-4000 * down // up)
    for start in (0, 1, 2, 7, 10, 60, down - 1, down, down + 1, len(whole) // 2, len(whole) - span):
        silence = -start % down
        shifted = resample_poly(np.concatenate([np.zeros(silence), whole]), up, down)
        begin = (start + silence) // down * up
        crop = AudioFile(path).crop(4000, At(start))
        np.testing.assert_allclose(crop, shifted[begin : begin + 4000], atol=1e-5, err_msg=str(start))


def test_stereo_is_mixed_down_and_said(tmp_path):
    path = write(tmp_path / "stereo.wav", np.array([[0.2, 0.4], [0.0, -0.2]]), subtype="FLOAT")
    opened = AudioFile(path)
    np.testing.assert_allclose(opened.whole(), [0.3, -0.1], rtol=1e-6)
    assert opened.remarks == ["2 channels mixed down to one"]


WAVE = np.array([0.5, -0.25, 0.125], np.float32)


@pytest.mark.parametrize(
    ("channels", "mixed", "has_cancelled"),
    [
        ([WAVE, -WAVE], WAVE, True),
        # power 0.1^2 of the mean, (1 + 0.8^2) / 2 of the channels: 1.2 %; then 0.05^2 and 0.905: 0.28 %
        ([WAVE, -0.8 * WAVE], 0.1 * WAVE, False),
        ([WAVE, -0.9 * WAVE], WAVE, True),
        ([WAVE, -WAVE, 0 * WAVE], WAVE, True),
        ([0 * WAVE, -WAVE, WAVE], -WAVE, True),  # the first one would be silence
        ([WAVE, WAVE, -WAVE], WAVE / 3, False),
        ([WAVE, 0 * WAVE], WAVE / 2, False),
        ([0 * WAVE, 0 * WAVE], 0 * WAVE, False),
        ([WAVE], WAVE, False),
    ],
)
def test_channels_in_opposite_phase_are_not_mixed_to_silence(channels, mixed, has_cancelled):
    found, cancelled = mix_down(np.stack(channels, axis=1).astype(np.float32))
    np.testing.assert_allclose(found, mixed, rtol=1e-5, atol=1e-8)
    assert cancelled == has_cancelled


def test_each_piece_is_mixed_down_by_itself(tmp_path):
    first, second = voice(0, 0), voice(0, 1)
    turned = np.stack([np.append(first, second), np.append(-first, second)], axis=1)
    path = write(tmp_path / "a.wav", turned, subtype="FLOAT")
    opened = AudioFile(path)
    # of the whole, half is left; 8000 samples that begin at 2000 are all in opposite phase, at 20000 none
    np.testing.assert_array_equal(opened.whole(), np.append(0 * first, second))
    np.testing.assert_array_equal(opened.crop(8000, At(20_000)), second[4000:12_000])
    assert opened.remarks == ["2 channels mixed down to one"]
    for _ in range(2):
        np.testing.assert_array_equal(opened.crop(8000, At(2000)), first[2000:10_000])
    assert opened.remarks == ["2 channels mixed down to one", OPPOSITE_PHASE]
    write(tmp_path / "a.wav", np.stack([first, -first], axis=1), 8000, subtype="FLOAT")
    np.testing.assert_array_equal(AudioFile(path).whole(), resample_poly(first, 2, 1))


def test_a_channel_is_chosen(tmp_path):
    for suffix in ("wav", "flac"):
        write(tmp_path / f"two.{suffix}", np.stack([voice(0, 0), voice(1, 0)], axis=1))
        write(tmp_path / f"one.{suffix}", voice(0, 0))
        for channel in (0, 1):
            expected = soundfile.read(tmp_path / f"two.{suffix}", dtype="float32")[0][:, channel]
            [recording] = Recordings(str(tmp_path), [f"two.{suffix}"], channel)
            np.testing.assert_array_equal(recording.whole(), expected)
            assert not recording.remarks
        [recording] = Recordings(str(tmp_path), [f"one.{suffix}"], 0)
        assert len(recording.whole()) == 16_000
        for name, there in {"one": 1, "two": 2}.items():
            message = rf"{name}\.{suffix}: has no channel 2: it has {there}, and --channel counts from 0$"
            with pytest.raises(AudioError, match=message):
                Recordings(str(tmp_path), [f"{name}.{suffix}"], 2)[0]


def damaged(folder):
    """Path -> words of the error, for every way a file can be bad."""
    good = folder / "good.wav"
    write(good, voice(0, 0))
    (folder / "cut.wav").write_bytes(good.read_bytes()[:9000])
    write(folder / "good.flac", voice(0, 0))
    flac = (folder / "good.flac").read_bytes()
    (folder / "cut.flac").write_bytes(flac[: len(flac) // 2])
    (folder / "text.wav").write_text("this is no audio")
    (folder / "zero_bytes.wav").write_bytes(b"")
    write(folder / "no_samples.wav", np.zeros(0))
    write(folder / "nan.wav", np.array([0.1, np.nan, 0.1] * 1000), subtype="FLOAT")
    return {
        "cut.wav": "truncated",
        "cut.flac": "truncated",
        "text.wav": "cannot be read",
        "zero_bytes.wav": "cannot be read",
        "no_samples.wav": "holds no samples",
        "nan.wav": "not finite",
        "absent.wav": "no such file",
    }


def test_bad_files_are_named(tmp_path):
    for name, words in damaged(tmp_path).items():
        with pytest.raises(AudioError, match=words) as caught:
            AudioFile(str(tmp_path / name)).whole()
        assert name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("offset", "value"),
    [(28, 99_999), (32, 4), (4, 32_044), (40, 0xFFFFFFFF)],
    ids=["bytes/s", "block align", "RIFF size", "piped"],
)
def test_whole_files_with_untidy_headers_are_read(tmp_path, offset, value):
    path = tmp_path / "a.wav"
    write(path, voice(0, 0))
    content = bytearray(path.read_bytes())
    width = 2 if offset == 32 else 4
    content[offset : offset + width] = value.to_bytes(width, "little")
    path.write_bytes(content)
    assert len(AudioFile(str(path)).whole()) == 16_000


@pytest.mark.parametrize("padding", [b"", b"LIST\x03\0\0\0abc\0"])
def test_wav_files_are_read_without_libsndfile_bit_for_bit(tmp_path, padding):
    path = write(tmp_path / "a.wav", voice(0, 0))
    content = Path(path).read_bytes()
    Path(path).write_bytes(content[:36] + padding + content[36:])  # other chunks may come before the samples
    opened = WaveFile.open(path)
    np.testing.assert_array_equal(opened.whole(), AudioFile(path).whole())
    for length, speed in ((4000, 1.0), (40_000, 1.0), (4000, 0.9)):
        crops = [each.crop(length, generator(7), speed) for each in (opened, AudioFile(path))]
        np.testing.assert_array_equal(*crops)
    assert isinstance(Recordings(str(tmp_path), ["a.wav"])[0], WaveFile)
    stream = opened.stream
    del opened
    assert stream.closed


def test_other_wav_files_are_left_to_libsndfile(tmp_path):
    damaged(tmp_path)
    write(tmp_path / "deep.wav", voice(0, 0), subtype="PCM_24")
    write(tmp_path / "stereo.wav", np.zeros((100, 2)))
    write(tmp_path / "slow.wav", voice(0, 0), rate=8000)
    for path in sorted(tmp_path.glob("*.wav")):
        assert (WaveFile.open(str(path)) is not None) == (path.name == "good.wav"), path
    assert isinstance(Recordings(str(tmp_path), ["slow.wav"])[0], AudioFile)


def test_a_wav_file_that_shrinks_is_named(tmp_path):
    path = write(tmp_path / "a.wav", voice(0, 0))
    opened = WaveFile.open(path)
    os.truncate(path, 1000)
    with pytest.raises(AudioError, match=r"a\.wav: truncated: \d+ of 16000 samples"):
        opened.whole()


def test_evaluation_crops_are_spread_evenly():
    audio = np.arange(100, dtype=np.float32)
    crops = evaluation_crops(audio, 10, 4)
    np.testing.assert_array_equal(crops[:, 0], [0, 30, 60, 90])
    np.testing.assert_array_equal(crops[3], np.arange(90, 100))
    np.testing.assert_array_equal(evaluation_crops(audio, 0, 4), [np.resize(audio, 4800)])  # 0.3 s
    long = np.arange(5000, dtype=np.float32)
    np.testing.assert_array_equal(evaluation_crops(long, 0, 4), long[None])


def test_frames_are_counted_as_in_voxceleb_trainer():
    assert num_samples(200) == 32_240


@pytest.mark.parametrize("rate", [8000, 11_025, 16_000, 44_100, 48_000, 16_001])
@pytest.mark.parametrize("suffix", ["wav", "mp3"])
def test_long_recordings_are_read_in_pieces_of_the_whole(rate, suffix, tmp_path, monkeypatch):
    """MP3 is decoded on from where the last piece ended."""
    if suffix == "mp3" and rate == 16_001:
        pytest.skip("no rate of MP3")
    path = write(tmp_path / f"a.{suffix}", np.stack([voice(1, 0, 1.0, rate)] * 2, axis=1), rate)
    whole = AudioFile(path).whole()
    for piece in (4000, 30_000):
        monkeypatch.setattr(recording, "PIECE", piece)
        opened = AudioFile(path)
        with monkeypatch.context() as context:
            counts = []
            read = soundfile.SoundFile.read
            counted = lambda file, n, **kw: (counts.append(n), read(file, n, **kw))[1]  # noqa: B023, E731
            context.setattr(soundfile.SoundFile, "read", counted)
            np.testing.assert_allclose(opened.whole(), whole, atol=1e-6)
        most = max(piece // 2, 16_001) if rate == 16_001 else piece // 2
        assert sum(counts) == opened.num_frames and max(counts) <= most


def test_pieces_end_with_the_recording(tmp_path, monkeypatch):
    """Whatever is left for the last piece: nothing, one sample, less than the filter reaches."""
    for count in (24_000, 24_001, 24_010, 23_999, 23_989):
        samples = voice(1, 0, count / 48_000, 48_000)
        expected = resample_poly(samples, 1, 3)
        monkeypatch.setattr(recording, "PIECE", 6000)
        np.testing.assert_allclose(RecordingInMemory("", samples, 48_000).whole(), expected, atol=1e-6)


@pytest.mark.parametrize("rate", [0, 1, 999, 768_001])
def test_sample_rates_that_no_recording_has(rate, tmp_path):
    path = tmp_path / "a.wav"
    write(path, voice(0, 0))
    content = bytearray(path.read_bytes())
    content[24:28] = rate.to_bytes(4, "little")
    path.write_bytes(content)
    reason = (
        rf"its sample rate is {rate} Hz, expected 1000 to 768000 Hz; is the header right\?|cannot be read"
    )
    with pytest.raises(AudioError, match=rf"a\.wav: ({reason})"):
        AudioFile(str(path))


def test_a_fifo_is_no_recording(tmp_path):
    """Opening one waits until somebody writes to it."""
    os.mkfifo(tmp_path / "a.wav")
    with pytest.raises(AudioError, match=r"a\.wav: cannot be read: a FIFO, not a file$"):
        Recordings(str(tmp_path), ["a.wav"])[0]


def test_errors_have_one_line_whatever_the_file_is_called(tmp_path):
    with pytest.raises(AudioError) as caught:
        AudioFile(str(tmp_path / "a\n\udcff.wav"))
    assert str(caught.value) == f"{tmp_path}/a\\x0a\\xff.wav: cannot be read: no such file"
    assert caught.value.reason(str(tmp_path / "a\n\udcff.wav")) == "cannot be read: no such file"
