"""--convert: any format to 16 kHz mono 16 bit, damage reported, interruptions, parallel processes."""

import errno
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import ROOT, assert_refused, fake_program, heed_ctrl_c, run_here

from audio.any_format import NAMES
from preparation import convert
from preparation import workers as worker_pool
from preparation.convert import Job, Report, convert_files, shard
from preparation.parts import ListPart

DURATION_S = 1.5
SCRIPT = """
import sys
from pathlib import Path
from preparation.convert import Job, convert_files
try:
    folder = Path(sys.argv[1])
    jobs = [Job(path, folder / "out" / f"{path.stem}.flac") for path in sorted(folder.glob("*.wav"))]
    print(convert_files(jobs, workers=2).failed)
except KeyboardInterrupt:
    print("interrupted")
"""


def tone(path, rate=16_000, channels=1, hz=440.0, duration_s=DURATION_S, **how):
    wave = 0.5 * np.sin(2 * np.pi * hz * np.arange(round(duration_s * rate)) / rate)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.repeat(wave[:, None], channels, axis=1), rate, **how)
    return path


def encode(ffmpeg, path, *flags, **kind):
    """An m4a of a tone."""
    wav = tone(path.with_name("to_encode.wav"), 44_100, 2, **kind)
    subprocess.run([ffmpeg, "-v", "error", "-y", "-i", wav, "-b:a", "96k", *flags, path], check=True)
    wav.unlink()
    return path


def one(source, target, **settings):
    """Convert one file that must not fail -> its samples."""
    report = convert_files([Job(source, target)], **settings)
    assert report == Report(1, 0, [])
    info = soundfile.info(target)
    assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
    assert info.format == {".wav": "WAV", ".flac": "FLAC"}[target.suffix]
    return soundfile.read(target, dtype="int16")[0]


def assert_tone(samples, hz, level_db):
    """That samples are a sine of amplitude 0.5 within so many dB, their frequency within 1 Hz."""
    middle = samples[2000:18_000] / 32768  # 1 s, so that the bins are 1 Hz apart
    spectrum = np.abs(np.fft.rfft(middle))
    assert np.argmax(spectrum) == hz
    amplitude = np.sqrt(2 * np.mean(middle**2))
    assert abs(20 * np.log10(amplitude / 0.5)) < level_db


def failures(report):
    """Report -> reason by name of the source, each in one line."""
    for _, reason in report.failed:
        assert reason and reason.isprintable()
    return {Path(path).name: reason for path, reason in report.failed}


def names(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
def test_any_rate_and_channels_become_16_khz_mono(rate, channels, tmp_path):
    source = tone(tmp_path / "a.wav", rate, channels)
    samples = one(source, tmp_path / "out" / "a.flac")
    assert len(samples) == 24_000  # 1.5 s
    assert_tone(samples, 440, 0.1)


@pytest.mark.parametrize(("suffix", "level_db"), [("flac", 0.1), ("ogg", 0.5), ("mp3", 0.5)])
def test_formats_of_libsndfile(suffix, level_db, tmp_path, no_ffmpeg):
    samples = one(tone(tmp_path / f"a.{suffix}", 44_100, 2), tmp_path / "a.wav")
    padding = 1600 if suffix == "mp3" else 0  # its encoder may put up to 0.1 s of silence around the sound
    assert -1 <= len(samples) - 24_000 <= 1 + padding
    assert_tone(samples, 440, level_db)


@pytest.mark.parametrize("suffix", ["m4a", "mp4", "aac"])
def test_formats_of_ffmpeg(suffix, ffmpeg, tmp_path):
    samples = one(encode(ffmpeg, tmp_path / f"a.{suffix}"), tmp_path / "a.wav")
    padding = 2 * 1024 if suffix == "aac" else 0  # without a container, nothing says what is padding
    assert -1 <= len(samples) - 24_000 <= 1 + padding
    assert_tone(samples, 440, 0.5)


def test_rounding_and_clipping(tmp_path):
    values = np.array([0.0, 0.4, 0.6, 1.5, 2.5, -0.6, -1.5, 32766.6, 32768, 1e6, -32768, -32769, -1e6])
    soundfile.write(tmp_path / "a.wav", (values / 32768).astype(np.float32), 16_000, "FLOAT")
    # halves go to the even neighbour, 32768 isn't a 16-bit number
    expected = [0, 0, 1, 2, 2, -1, -2, 32767, 32767, 32767, -32768, -32768, -32768]
    assert one(tmp_path / "a.wav", tmp_path / "b.wav").tolist() == expected


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_16_bit_samples_stay_as_they_are(suffix, tmp_path):
    every = np.arange(-32768, 32768).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", every, 16_000)
    assert np.array_equal(one(tmp_path / "a.wav", tmp_path / f"b.{suffix}"), every)


def test_two_channels_become_their_mean(tmp_path):
    samples = np.array([[100, 300], [-32768, 32766], [32767, 32766]], np.int16)
    soundfile.write(tmp_path / "a.wav", samples, 16_000)
    assert one(tmp_path / "a.wav", tmp_path / "b.wav").tolist() == [200, -1, 32766]  # halves: to even


@pytest.mark.parametrize("suffix", ["wav", "flac", "m4a", "mkv"])
def test_channels_in_opposite_phase_are_not_converted_to_silence(suffix, ffmpeg, tmp_path):
    wave = soundfile.read(tone(tmp_path / "mono.wav"), dtype="int16")[0]
    soundfile.write(tmp_path / "a.wav", np.stack([wave, -wave], axis=1), 16_000)
    if suffix != "wav":  # without loss
        codec = "alac" if suffix == "m4a" else "flac"
        command = [ffmpeg, "-v", "error", "-i", tmp_path / "a.wav", "-c:a", codec, tmp_path / f"a.{suffix}"]
        subprocess.run(command, check=True)
    source = tmp_path / f"a.{suffix}"
    np.testing.assert_array_equal(one(source, tmp_path / "out" / "mixed.wav"), wave)
    for channel, expected in enumerate((wave, -wave)):
        target = tmp_path / "out" / f"{channel}.wav"
        np.testing.assert_array_equal(one(source, target, channel=channel), expected)
    report = convert_files([Job(source, tmp_path / "out" / "2.wav")], channel=2)
    assert failures(report) == {f"a.{suffix}": "has no channel 2: it has 2, and --channel counts from 0"}


def test_webm_in_opposite_phase_is_converted(ffmpeg, tmp_path):
    wave = soundfile.read(tone(tmp_path / "mono.wav", 48_000))[0]
    soundfile.write(tmp_path / "a.wav", np.stack([wave, -wave], axis=1), 48_000)
    command = [ffmpeg, "-v", "error", "-i", tmp_path / "a.wav", "-c:a", "libopus", tmp_path / "a.webm"]
    subprocess.run(command, check=True)
    assert_tone(one(tmp_path / "a.webm", tmp_path / "out.wav"), 440, 0.5)


def test_what_ffmpeg_reads_of_one_channel_stays_bit_for_bit(ffmpeg, tmp_path):
    source = encode(ffmpeg, tmp_path / "a.m4a", "-ac", "1")
    command = [ffmpeg, "-v", "error", "-i", source, "-ac", "1", "-ar", "16000", "-f", "s16le", "-"]
    expected = np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, "<i2")
    np.testing.assert_array_equal(one(source, tmp_path / "out.wav"), expected)
    np.testing.assert_array_equal(one(source, tmp_path / "0.wav", channel=0), expected)


def test_names_that_are_listed_for_convert_are_of_formats_that_it_reads(ffmpeg, tmp_path):
    wav = tone(tmp_path / "a.wav", 48_000)
    suffixes = ["tta", "wv", "mka", "avi", "flv", "ts", "m4b", "m4v", "ac3", "eac3", "wmv", "aifc"]
    command = [ffmpeg, "-v", "error", "-i", wav]
    for suffix in suffixes:
        command += ["-c:a", "adpcm_ima_qt"] if suffix == "aifc" else []
        command.append(tmp_path / f"a.{suffix}")
    command += ["-c:a", "adpcm_g722", "-ar", "16000", tmp_path / "a.au"]
    subprocess.run(command, check=True)
    sources = [tmp_path / f"a.{suffix}" for suffix in [*suffixes, "au"]]
    assert all(NAMES.fullmatch(source.name) for source in sources)
    jobs = [Job(source, tmp_path / "out" / f"{source.name}.wav") for source in sources]
    assert convert_files(jobs, workers=1) == Report(13, 0, [])
    for job in jobs:
        samples, rate = soundfile.read(job.target)
        assert rate == 16_000 and len(samples) == pytest.approx(DURATION_S * rate, abs=2500)  # padded
        spectrum = np.abs(np.fft.rfft(samples[4000:20_000]))  # 1 s, so that a bin is 1 Hz
        assert np.argmax(spectrum) == 440


def test_files_with_several_audio_streams_fail(ffmpeg, tmp_path):
    wav, source = tone(tmp_path / "a.wav"), tmp_path / "a.mka"
    command = [ffmpeg, "-v", "error", "-i", wav, "-i", wav, "-map", "0:a", "-map", "1:a", source]
    subprocess.run(command, check=True)
    report = convert_files([Job(source, tmp_path / "out.wav")], workers=1)
    words = "holds several audio streams; extract one: ffmpeg -i FILE -map 0:a:0 NEW.wav"
    assert failures(report) == {"a.mka": words}


def test_both_reasons_of_a_failure_are_given(ffmpeg, tmp_path, monkeypatch):
    content = bytearray(tone(tmp_path / "a.aiff").read_bytes())
    frames, size = content.index(b"COMM") + 10, content.index(b"SSND") + 4
    content[frames : frames + 4] = bytes(4)
    content[size : size + 4] = b"\0\0\0\x08"
    (tmp_path / "a.aiff").write_bytes(content)
    reason = f"its header says that its {len(content)} bytes hold no samples"
    jobs = [Job(tmp_path / "a.aiff", tmp_path / "out.wav")]
    assert failures(convert_files(jobs, workers=1)) == {"a.aiff": f"{reason}; ffmpeg finds none either"}
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    (failure,) = failures(convert_files(jobs, workers=1)).values()
    assert failure.startswith(f"{reason}; ffmpeg is needed to read m4a")


def test_more_samples_than_a_wav_header_counts_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(convert, "LONGEST_WAV", 23_999)
    source = tone(tmp_path / "a.flac")
    words = "24000 samples are more than a WAV file holds; use --format flac"
    assert failures(convert_files([Job(source, tmp_path / "out.wav")], workers=1)) == {"a.flac": words}
    assert len(one(source, tmp_path / "out.flac", workers=1)) == 24_000


def test_a_channel_is_chosen_on_the_command_line(tmp_path):
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in" / "a.wav", np.array([[100, 300]] * 3, np.int16), 16_000)
    soundfile.write(tmp_path / "in" / "b.wav", np.array([100] * 3, np.int16), 16_000)
    words = ["--convert", "--from", tmp_path / "in", "--workers=1", "--save_path", tmp_path / "out"]
    result = run_here("dataprep.py", *words, "--channel=1")
    assert result.returncode == 0 and "1 files, 0 were there already, 1 failed" in result.stdout, (
        result.stderr
    )
    assert soundfile.read(tmp_path / "out/converted/a.wav", dtype="int16")[0].tolist() == [300] * 3
    reason = "has no channel 1: it has 1, and --channel counts from 0"
    assert (tmp_path / "out" / "convert_failures.txt").read_text() == f"{tmp_path}/in/b.wav\t{reason}\n"
    assert_refused(run_here("dataprep.py", *words, "--channel=-2"), "--channel", "at least -1")
    warning = "1 files were converted earlier, perhaps not with --channel 0; delete them, or give another"
    result = run_here("dataprep.py", *words, "--channel=0")
    assert warning in result.stdout + result.stderr
    result = run_here("dataprep.py", *words)
    assert "earlier" not in result.stdout + result.stderr and "2 were there already" in result.stdout


@pytest.mark.parametrize("workers", [1, 2])
def test_failures_are_named_and_the_others_converted(workers, tmp_path):
    good = tone(tmp_path / "good.wav", 8_000).read_bytes()
    (tmp_path / "text.wav").write_text("this is no recording\n" * 50)
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "cut.wav").write_bytes(good[: len(good) // 2])
    (tmp_path / "folder.wav").mkdir()
    soundfile.write(tmp_path / "silent.wav", np.zeros(0), 16_000)
    flac = tone(tmp_path / "cut.flac")
    flac.write_bytes(flac.read_bytes()[: flac.stat().st_size // 2])
    stems = ["text.wav", "empty.wav", "good.wav", "cut.wav", "folder.wav", "silent.wav", "no.wav", "cut.flac"]
    jobs = [Job(tmp_path / name, tmp_path / "out" / f"{name}.wav") for name in stems]
    report = convert_files(jobs, workers=workers)
    reasons = failures(report)
    assert (report.converted, report.skipped) == (1, 0)
    assert list(reasons) == [name for name in stems if name != "good.wav"]  # in the jobs' order
    assert "empty" in reasons["empty.wav"] and "no such file" in reasons["no.wav"]
    assert "truncated" in reasons["cut.wav"] and "truncated" in reasons["cut.flac"]
    assert "ffmpeg" in reasons["text.wav"] and "not a file" in reasons["folder.wav"]
    assert "no samples" in reasons["silent.wav"]
    assert not any(str(tmp_path) in reason for reason in reasons.values())  # the path is given beside it
    assert names(tmp_path / "out") == ["good.wav.wav"]


def test_truncated_m4a_is_never_half_converted(ffmpeg, tmp_path):
    for name, flags in {"last": (), "first": ("-movflags", "+faststart")}.items():  # place of the index
        whole = encode(ffmpeg, tmp_path / f"{name}.m4a", *flags).read_bytes()
        for cut in (10, len(whole) // 4, len(whole) // 2, len(whole) - 500, len(whole) - 1):
            (tmp_path / f"{name}{cut - len(whole)}.m4a").write_bytes(whole[:cut])
    (tmp_path / "text.m4a").write_text("no recording\n" * 100)
    jobs = [Job(path, tmp_path / "out" / f"{path.stem}.wav") for path in sorted(tmp_path.glob("*.m4a"))]
    report = convert_files(jobs, workers=1, ffmpeg=ffmpeg)
    # The last byte of an index at the end belongs to a remark: all samples are there.
    assert names(tmp_path / "out") == ["first.wav", "last-1.wav", "last.wav"]
    assert len({path.read_bytes() for path in (tmp_path / "out").glob("last*")}) == 1
    assert report.converted == 3 and len(failures(report)) == 10
    assert all("@ 0x" not in reason for _, reason in report.failed)  # addresses differ from run to run


def test_absence_of_ffmpeg_is_explained(tmp_path, no_ffmpeg):
    (tmp_path / "a.m4a").write_bytes(b"x")
    (tmp_path / "text.wav").write_text("this is no recording")
    good = tone(tmp_path / "good.wav")
    encoded = Job(tmp_path / "a.m4a", tmp_path / "out" / "a.wav")
    with pytest.raises(ValueError, match="apt install ffmpeg"):
        convert_files([Job(good, tmp_path / "out" / "good.wav"), encoded])
    assert names(tmp_path / "out") == []  # nothing was begun
    tone(encoded.target)  # a job that is done needs none
    others = [Job(tmp_path / name, tmp_path / "out" / name) for name in ("good.wav", "text.wav")]
    report = convert_files([encoded, *others])
    assert (report.converted, report.skipped) == (1, 1)
    assert "apt install ffmpeg" in failures(report)["text.wav"]
    with pytest.raises(ValueError, match="nowhere: no such program"):
        convert_files([encoded], ffmpeg="nowhere")


def test_complete_outputs_are_skipped_and_bad_ones_converted_again(tmp_path):
    stems = ["good", "empty", "garbage", "slow", "stereo", "cut", "absent"]
    jobs = [Job(tone(tmp_path / f"{stem}.wav"), tmp_path / "out" / f"{stem}.wav") for stem in stems]
    kept = tone(jobs[0].target, hz=880.0).read_bytes()  # another tone: so that a second conversion would show
    tone(jobs[3].target, 8_000)
    tone(jobs[4].target, channels=2)
    jobs[1].target.write_bytes(b"")
    jobs[2].target.write_bytes(b"garbage" * 100)
    jobs[5].target.write_bytes(kept[:1000])
    assert convert_files(jobs, workers=2) == Report(6, 1, [])
    assert jobs[0].target.read_bytes() == kept
    for job in jobs[1:]:
        assert_tone(soundfile.read(job.target, dtype="int16")[0], 440, 0.1)
    assert convert_files(jobs, workers=2) == Report(0, 7, [])


def test_ffmpeg_is_not_called_for_what_is_done(tmp_path):
    program = fake_program(tmp_path / "ffmpeg", f"touch '{tmp_path}/called'")
    jobs = [Job(tmp_path / f"{k}.m4a", tone(tmp_path / "out" / f"{k}.wav")) for k in range(8)]
    for job in jobs:
        job.source.write_bytes(b"x")
    assert convert_files(jobs, workers=1, ffmpeg=program) == Report(0, 8, [])
    assert not (tmp_path / "called").exists()


def test_temporary_files_of_killed_runs_are_removed_with_the_next_conversion(tmp_path):
    source = tone(tmp_path / "a.wav")
    for name in (".a.wav.123.tmp", ".b.wav.123.tmp"):
        (tmp_path / "out").mkdir(exist_ok=True)
        (tmp_path / "out" / name).write_bytes(b"half")
    one(source, tmp_path / "out" / "a.wav")
    assert names(tmp_path / "out") == [".b.wav.123.tmp", "a.wav"]


ODD = ["-i.wav", "-.wav", "a b.wav", "'\".wav", "new\nline.wav", "$(touch x).wav", "%03d.wav", "é:?*.wav"]


def test_odd_names(tmp_path, monkeypatch, ffmpeg):
    monkeypatch.chdir(tmp_path)  # relative names, so that a `-` comes first
    jobs = []
    for name in ODD:
        encode(ffmpeg, tmp_path / "a.m4a").rename(Path(name).with_suffix(".m4a"))
        tone(tmp_path / name, 8_000)
        jobs += [Job(Path(name), Path("out") / name), Job(Path(name).with_suffix(".m4a"), Path("m4a") / name)]
    jobs.append(Job(Path("broken\n\x1b.wav"), Path("out") / "broken.wav"))
    report = convert_files(jobs, workers=2)
    assert report.converted == 2 * len(ODD) and len(failures(report)) == 1
    assert names(Path("out")) == names(Path("m4a")) == sorted(ODD)
    assert not Path("x").exists()
    jobs = [Job(Path(name).with_suffix(".m4a"), Path("alone") / name) for name in ODD]
    assert all(convert_files([job]) == Report(1, 0, []) for job in jobs)


def test_shards_are_disjoint_and_complete():
    jobs = [Job(Path(f"{k}.m4a"), Path(f"{k}.wav")) for k in range(11)]
    assert shard(jobs, ListPart.read("1/1")) == jobs
    assert shard(jobs, ListPart.read("2/4")) == [jobs[1], jobs[5], jobs[9]]
    parts = [shard(jobs, ListPart.read(f"{i}/4")) for i in range(1, 5)]
    assert sorted(job for part in parts for job in part) == sorted(jobs)
    assert shard(jobs, ListPart.read("12/20")) == []


@pytest.mark.parametrize("text", ["0/4", "5/4", "-1/4", "1/0", "1", "a/b", "1/2/3", "1 / 2", "", "1/2\n"])
def test_bad_shards_are_refused(text):
    with pytest.raises(ValueError, match=r"^--shard .*expected i/n with 1 <= i <= n"):
        ListPart.read(text)


def test_targets_that_cannot_be_are_refused_before_any_work(tmp_path):
    a, b = tone(tmp_path / "a.wav"), tone(tmp_path / "b.wav")
    same = [Job(a, tmp_path / "out" / "c.wav"), Job(b, tmp_path / "x" / ".." / "out" / "c.wav")]
    for call in (convert_files, lambda jobs: shard(jobs, ListPart.read("1/2"))):
        with pytest.raises(ValueError, match=r"a\.wav and .*b\.wav would both become .*c\.wav"):
            call(same)
    with pytest.raises(ValueError, match=r"b\.wav would be overwritten"):
        convert_files([Job(a, tmp_path / "out" / "a.wav"), Job(b, b)])
    with pytest.raises(ValueError, match=r"a\.mp3: expected a name that ends in \.wav or \.flac"):
        convert_files([Job(b, tmp_path / "out" / "b.wav"), Job(a, tmp_path / "out" / "a.mp3")])
    assert names(tmp_path / "out") == []
    assert convert_files([]) == Report(0, 0, [])


def test_a_source_is_not_overwritten_through_a_link(tmp_path):
    source = tone(tmp_path / "a.wav", 8_000)
    (tmp_path / "link").symlink_to(tmp_path)
    before = source.read_bytes()
    assert "same file" in failures(convert_files([Job(source, tmp_path / "link" / "a.wav")]))["a.wav"]
    assert source.read_bytes() == before


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_ends_the_run(workers, tmp_path, monkeypatch):
    if workers > 1 and multiprocessing.get_start_method() != "fork":
        pytest.skip("workers don't inherit what the test puts in place")

    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(convert, "written_whole", full)
    jobs = [Job(tone(tmp_path / f"{k}.wav"), tmp_path / "out" / f"{k}.wav") for k in range(8)]
    with pytest.raises(OSError, match="No space left on device"):
        convert_files(jobs, workers=workers)


def test_a_target_that_cannot_be_written_fails_alone(tmp_path):
    source = tone(tmp_path / "a.wav", 8_000)
    (tmp_path / "file").write_text("where a folder should be")
    jobs = [Job(source, tmp_path / "file" / "a.wav"), Job(source, tmp_path / "out" / "a.wav")]
    report = convert_files(jobs, workers=1)
    assert report.converted == 1 and str(tmp_path / "file") in failures(report)["a.wav"]


@pytest.mark.skipif(multiprocessing.get_start_method() != "fork", reason="workers don't inherit the patch")
def test_killed_while_writing_leaves_no_file_under_its_name(tmp_path, monkeypatch):
    jobs = [Job(tone(tmp_path / f"{k}.wav", 8_000), tmp_path / "out" / f"{k}.wav") for k in range(4)]
    monkeypatch.setattr(os, "fsync", lambda _: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(OSError, match=r"^[^\n]*was killed[^\n]*start again, with fewer --workers$"):
        convert_files(jobs, workers=2)
    assert names(tmp_path / "out") and not list((tmp_path / "out").glob("*.wav"))
    monkeypatch.undo()
    assert convert_files(jobs, workers=2) == Report(4, 0, [])
    assert names(tmp_path / "out") == ["0.wav", "1.wav", "2.wav", "3.wav"]


def test_parallel_equals_sequential(ffmpeg, tmp_path, monkeypatch):
    sources = [tone(tmp_path / f"{k}.wav", 44_100, hz=200.0 + 10 * k, duration_s=0.4) for k in range(12)]
    sources += [encode(ffmpeg, tmp_path / f"m{k}.m4a", hz=200.0 + 10 * k, duration_s=0.4) for k in range(8)]
    bad = tmp_path / "m3.m4a"
    bad.write_bytes(bad.read_bytes()[:2000])  # the others of its call of ffmpeg don't suffer
    runs = {"parallel": (2, 16), "sequential": (1, 16), "singly": (1, 1)}
    outcomes = []
    for name, (workers, files_at_once) in runs.items():
        monkeypatch.setattr(worker_pool, "FILES_AT_ONCE", files_at_once)
        folder = tmp_path / name
        report = convert_files([Job(path, folder / f"{path.stem}.wav") for path in sources], workers=workers)
        contents = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
        outcomes.append((report, contents))
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert outcomes[0][0].converted == 19 and list(failures(outcomes[0][0])) == ["m3.m4a"]
    assert len(set(outcomes[0][1].values())) == 19  # no output is another's


@pytest.mark.skipif(multiprocessing.get_start_method() != "fork", reason="workers don't inherit the patch")
def test_workers_leave_ctrl_c_to_the_parent(tmp_path, monkeypatch):
    jobs = [Job(tone(tmp_path / f"{k}.wav", 8_000), tmp_path / "out" / f"{k}.wav") for k in range(4)]
    open_any = convert.open_any

    def interrupted(*arguments, **settings):
        os.kill(os.getpid(), signal.SIGINT)
        return open_any(*arguments, **settings)

    monkeypatch.setattr(convert, "open_any", interrupted)
    assert convert_files(jobs, workers=2) == Report(4, 0, [])


def start(folder):
    """Convert folder/*.wav in another process and group; its output ends when its last worker has."""
    settings = {"cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "start_new_session": True}
    command = [sys.executable, "-c", SCRIPT, str(folder)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, text=True, env=environment, preexec_fn=heed_ctrl_c, **settings)


def wait_for(folder, count):
    deadline = time.monotonic() + 60
    while len(names(folder)) < count:
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.fixture(scope="module")
def thirty(tmp_path_factory):
    """A folder of thirty files, and what they become."""
    folder = tmp_path_factory.mktemp("thirty")
    sources = [tone(folder / f"{k:02d}.wav", 44_100, hz=100.0 + k, duration_s=3.0) for k in range(30)]
    convert_files([Job(path, folder / "expected" / f"{path.stem}.flac") for path in sources], workers=1)
    expected = {path.name: path.read_bytes() for path in (folder / "expected").iterdir()}
    assert len(expected) == 30
    return folder, expected


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith(".tmp")}


@pytest.mark.slow
def test_killed_at_any_moment_then_finished_gives_the_same(thirty):
    folder, expected = thirty
    generator, left = random.Random(1), []
    for count in (1, 8, 16):
        process = start(folder)
        wait_for(folder / "out", count)
        time.sleep(generator.uniform(0.0, 0.02))
        if count == 8:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.communicate(timeout=30)  # the workers have ended too
        done = contents(folder / "out")
        assert done.items() <= expected.items()
        left.append(30 - len(done))
    assert left[0] > 0  # that run was in its midst
    process = start(folder)
    assert process.communicate(timeout=60) == ("[]\n", "")
    assert contents(folder / "out") == expected


@pytest.mark.slow
def test_ctrl_c_ends_cleanly(thirty, tmp_path):
    folder, expected = thirty
    for name in expected:
        for k in range(4):  # 120 files, so that many are queued
            (tmp_path / f"{k}{name}").with_suffix(".wav").symlink_to((folder / name).with_suffix(".wav"))
    process = start(tmp_path)
    wait_for(tmp_path / "out", 3)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it
    assert process.communicate(timeout=20) == ("interrupted\n", "")
    assert names(tmp_path / "out") == sorted(contents(tmp_path / "out"))  # no temporary files
    done = contents(tmp_path / "out")
    assert 0 < len(done) < 30  # what was queued wasn't begun
    assert all(data == expected[name[1:]] for name, data in done.items())
