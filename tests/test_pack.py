"""Packs: exact samples, added to, damaged, refused."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
import zlib

import numpy as np
import pytest
import soundfile
from conftest import ROOT, assert_refused, heed_ctrl_c, run_here, voice

from audio.lists import read_train_list
from audio.pack import Pack
from audio.recording import AudioError, AudioFile
from audio.recordings import Recordings
from preparation import pack_parts
from preparation.pack import damaged, write_pack
from preparation.parts import ListPart

SCRIPT = """
import sys, time
from pathlib import Path
from audio.recording import AudioFile
from preparation import pack
read = AudioFile.whole_int16
AudioFile.whole_int16 = lambda audio: time.sleep(0.2) or read(audio)
root = Path(sys.argv[1])
try:
    pack.write_pack(root, [f"{k}.wav" for k in range(64)], root / "pack", workers=2)
except KeyboardInterrupt:
    print("interrupted")
"""
inherits_patches = pytest.mark.skipif(
    multiprocessing.get_start_method() != "fork", reason="worker processes don't inherit monkeypatches"
)


@pytest.fixture
def recordings(tmp_path):
    """Files of three formats -> their folder and paths."""
    paths = []
    for number, (suffix, subtype) in enumerate([("wav", "PCM_16"), ("flac", "PCM_16"), ("wav", "FLOAT")]):
        path = tmp_path / "audio" / f"s{number}" / f"a {number}.{suffix}"
        path.parent.mkdir(parents=True)
        soundfile.write(path, voice(number, 0, 0.2 + 0.1 * number), 16_000, subtype=subtype)
        paths.append(path.relative_to(tmp_path / "audio").as_posix())
    return tmp_path / "audio", paths


def test_samples_come_back_exactly(recordings, tmp_path):
    root, paths = recordings
    assert write_pack(root, [*paths, paths[0]], tmp_path / "pack") == 3
    pack = Pack(tmp_path / "pack")
    assert pack.paths == paths and damaged(pack) == []
    for row, path in enumerate(paths[:2]):
        expected, _ = soundfile.read(root / path, dtype="int16")
        assert np.array_equal(pack.samples(row), expected)
    floats, _ = soundfile.read(root / paths[2])
    assert np.array_equal(pack.samples(2), np.clip(np.rint(floats * 32768), -32768, 32767))
    assert pack.samples(1).base is not None  # a view, not a copy
    assert {p.name for p in (tmp_path / "pack").iterdir()} == {"0000.npy", "index.npz"}


def test_recordings_of_a_pack_are_those_of_the_files(recordings, tmp_path):
    root, paths = recordings
    write_pack(root, paths, tmp_path / "pack")
    files, packed = (Recordings(str(place), paths[1::-1]) for place in (root, tmp_path / "pack"))
    assert files.durations() is None
    assert packed.durations().tolist() == [files[number].num_frames for number in range(2)]
    for number in range(2):
        assert np.array_equal(files[number].whole(), packed[number].whole())
        for speed, length in ((1.0, 2000), (0.9, 2000), (1.0, 20_000)):
            crops = [each[number].crop(length, np.random.default_rng(0), speed) for each in (files, packed)]
            assert np.array_equal(*crops)
    packed.require([0, 1], "--train_path")
    with pytest.raises(ValueError, match=r"x\.wav is not in the pack .*; add it with dataprep\.py --pack"):
        Recordings(str(tmp_path / "pack"), ["x.wav"])


def test_loud_floats_are_clipped_and_not_wrapped(tmp_path):
    soundfile.write(
        tmp_path / "a.wav", np.array([1.0, 1.5, -1.0, -2.0, 0.5 / 32768]), 16_000, subtype="FLOAT"
    )
    assert AudioFile(str(tmp_path / "a.wav")).whole_int16().tolist() == [32767, 32767, -32768, -32768, 0]


def test_flac_files_that_are_cut_off_or_joined_are_refused(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, voice(0, 0), 16_000)
    content = path.read_bytes()
    path.write_bytes(content + content)
    with pytest.raises(
        AudioError, match=r"a\.flac: holds several FLAC streams, one after another; convert it"
    ):
        write_pack(tmp_path, ["a.flac"], tmp_path / "pack", workers=1)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(AudioError, match=r"a\.flac: damaged or truncated: Error : flac decoder lost sync$"):
        write_pack(tmp_path, ["a.flac"], tmp_path / "pack", workers=1)
    assert list((tmp_path / "pack").iterdir()) == []


def test_more_recordings_add_a_shard(recordings, tmp_path):
    root, paths = recordings
    assert write_pack(root, paths[:1], tmp_path / "pack") == 1
    first = (tmp_path / "pack" / "0000.npy").read_bytes()
    assert write_pack(root, paths, tmp_path / "pack") == 2
    assert write_pack(root, paths, tmp_path / "pack") == 0
    assert (tmp_path / "pack" / "0000.npy").read_bytes() == first
    pack = Pack(tmp_path / "pack")
    assert pack.places[:, 0].tolist() == [0, 1, 1] and pack.paths == paths and damaged(pack) == []


def pack_words(tmp_path, root, paths):
    (tmp_path / "list").write_text("".join(f"s{n}\t{path}\n" for n, path in enumerate(paths)))
    return ["--pack", f"--root={root}", f"--train_list={tmp_path / 'list'}", f"--save_path={tmp_path}"]


@pytest.mark.parametrize("most", [1 << 30, 6_000])  # 0.2, 0.3 and 0.4 s: of 6,000 samples one to a shard
def test_parts_are_joined_by_the_last_to_end(recordings, tmp_path, most, monkeypatch):
    monkeypatch.setattr("preparation.pack.SHARD_SAMPLES", most)
    root, paths = recordings
    folder = tmp_path / "pack" / "own"

    def said(part, listed=paths):
        done = run_here("dataprep.py", *pack_words(tmp_path, root, listed), f"--shard={part}")
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "part 2 of 2: 2 recordings, verified; waiting for the other parts" in said("2/2")
    assert "part 2 of 2: 2 recordings, verified; waiting for the other parts" in said("2/2")
    assert not (folder / Pack.INDEX).exists()
    assert "part 1 of 2: 1 recordings, verified; all parts are there: 3 recordings" in said("1/2")
    assert f"{folder}: 0 recordings added, 3 in all, verified" in said("1/2")
    pack = Pack(folder)
    assert pack.paths == paths and damaged(pack) == []
    assert pack.num_shards == len(list(folder.rglob("*.npy"))) == (3 if most == 6_000 else 2)
    for path in ("new.wav", "newer.wav"):
        soundfile.write(root / path, voice(5, 0, 0.1), 16_000)
    # fewer recordings than parts: the first one has none
    assert "part 2 of 2: 1 recordings, verified; all parts are there: 4" in said("2/2", [*paths, "new.wav"])
    assert "0 recordings added, 4 in all" in said("1/2", [*paths, "new.wav"])
    assert write_pack(root, [*paths, "new.wav", "newer.wav"], folder) == 1
    pack = Pack(folder)
    assert pack.paths == [*paths, "new.wav", "newer.wav"] and damaged(pack) == []


def test_other_parts_and_other_lists_do_not_meet(recordings, tmp_path):
    """Parts of 2 and of 3, a list that has grown in between, and the whole list while parts wait."""
    root, paths = recordings
    folder = tmp_path / "pack" / "own"
    for listed, part in ((paths, "1/2"), (paths, "1/3"), (paths[:2], "2/2")):
        done = run_here("dataprep.py", *pack_words(tmp_path, root, listed), f"--shard={part}")
        assert "waiting for the other parts" in done.stdout, done
    assert not (folder / Pack.INDEX).exists()
    assert (
        "3 recordings added, 3 in all" in run_here("dataprep.py", *pack_words(tmp_path, root, paths)).stdout
    )
    done = run_here("dataprep.py", *pack_words(tmp_path, root, paths), "--shard=2/2")
    assert "0 recordings added, 3 in all, verified" in done.stdout
    assert Pack(folder).paths == paths and damaged(Pack(folder)) == []


def test_recordings_that_another_command_packs_meanwhile_stay(recordings, tmp_path, monkeypatch):
    root, paths = recordings
    folder = tmp_path / "pack"
    first, second = ListPart(0, 2), ListPart(1, 2)
    pack_parts.pack_and_verify(root, paths, folder, 1, first)

    def write_another_first(*words):
        write_pack(root, meanwhile, folder)
        return write_pack(*words)

    monkeypatch.setattr(pack_parts, "write_pack", write_another_first)
    meanwhile = paths[:1]
    with pytest.raises(ValueError, match="another command has added to it; pack the rest without --shard"):
        pack_parts.pack_and_verify(root, paths, folder, 1, second)
    assert Pack(folder).paths == paths[:1]
    (folder / Pack.INDEX).unlink()
    meanwhile = paths
    assert "all parts are there: 3" in pack_parts.pack_and_verify(root, paths, folder, 1, second)[0]
    assert Pack(folder).paths == paths and damaged(Pack(folder)) == []


def test_a_stopped_command_goes_on_with_the_next_shard(recordings, tmp_path, monkeypatch):
    monkeypatch.setattr("preparation.pack.SHARD_SAMPLES", 1)
    root, paths = recordings
    whole = AudioFile.whole_int16

    def stop(audio):
        if audio.path.endswith(paths[1]):
            raise KeyboardInterrupt
        return whole(audio)

    with monkeypatch.context() as patch:
        patch.setattr(AudioFile, "whole_int16", stop)
        with pytest.raises(KeyboardInterrupt):
            write_pack(root, paths, tmp_path / "pack")
    assert Pack(tmp_path / "pack").paths == paths[:1]
    first = (tmp_path / "pack" / "0000.npy").stat()
    assert write_pack(root, paths, tmp_path / "pack") == 2
    assert (tmp_path / "pack" / "0000.npy").stat().st_mtime_ns == first.st_mtime_ns
    pack = Pack(tmp_path / "pack")
    assert pack.paths == paths and damaged(pack) == [] and pack.places[:, 0].tolist() == [0, 1, 2]


def test_damage_is_detected(recordings, tmp_path):
    root, paths = recordings
    write_pack(root, paths, tmp_path / "pack")
    first = tmp_path / "pack" / "0000.npy"
    shard = np.load(first, mmap_mode="r+")
    shard[Pack(tmp_path / "pack").places[1, 1]] ^= 1
    shard.flush()
    assert damaged(Pack(tmp_path / "pack")) == [paths[1]]
    first.write_bytes(b"x")
    with pytest.raises(ValueError, match=r"0000\.npy: damaged"):
        Pack(tmp_path / "pack").samples(0)
    with np.load(tmp_path / "pack" / "index.npz") as index:
        older = dict(index) | {"places": index["places"][:, :4]}
    np.savez(tmp_path / "pack" / "index.npz", **older)
    with pytest.raises(ValueError, match=r"damaged: places are \(3, 4\), not \(3, 6\); make the pack again"):
        Pack(tmp_path / "pack")
    (tmp_path / "pack" / "index.npz").write_text("a b\n")
    with pytest.raises(ValueError, match=r"index\.npz: damaged: .*; make the pack again"):
        Pack(tmp_path / "pack")
    with pytest.raises(FileNotFoundError, match="no pack; make one"):
        Pack(tmp_path / "absent")


@pytest.mark.parametrize("number", [0, 2])
def test_a_recording_that_changed_is_refused(recordings, tmp_path, number):
    root, paths = recordings
    write_pack(root, paths, tmp_path / "pack")
    (root / paths[1]).unlink()  # nobody needs the files once they are packed
    path, before = root / paths[number], (root / paths[number]).stat()
    for content, time_ns in ((path.read_bytes(), before.st_mtime_ns + 1), (b"x", before.st_mtime_ns)):
        path.write_bytes(content)
        os.utime(path, ns=(time_ns, time_ns))
        with pytest.raises(
            ValueError, match=rf"{path.name}: changed since it was packed; delete .* and pack"
        ):
            write_pack(root, paths, tmp_path / "pack")
    assert write_pack(root, paths[1:2], tmp_path / "pack") == 0  # what isn't listed isn't looked at


def test_what_is_no_longer_listed_is_counted(recordings, tmp_path):
    root, paths = recordings
    words = ("--pack", "--root", root, "--train_list", tmp_path / "list", "--save_path", tmp_path)
    for listed, expected in (
        (paths, []),
        (paths[:1], [f"{tmp_path}/pack/own: 2 of them are no longer listed"]),
    ):
        (tmp_path / "list").write_text("".join(f"s {path}\n" for path in listed))
        result = run_here("dataprep.py", *words)
        assert result.returncode == 0, result.stderr
        assert result.stdout.splitlines()[1:] == expected


def test_what_the_check_excludes_is_left_out(recordings, tmp_path):
    root, short = recordings
    for name in ("junk.wav", "trial.wav"):
        (root / name).write_text("no audio")
    soundfile.write(root / "silent.wav", np.zeros(16_000), 16_000)  # of no use to train on; but trials may
    (tmp_path / "train").write_text("".join(f"s {path}\n" for path in [*short, "junk.wav", "absent.wav"]))
    (tmp_path / "test").write_text("1 trial.wav silent.wav\n")
    lists = ("--root", root, "--train_list", tmp_path / "train", "--test_list", tmp_path / "test")
    words = ("--pack", *lists, "--save_path", tmp_path)
    assert_refused(run_here("dataprep.py", *words), "junk.wav: cannot be read")
    result = run_here("dataprep.py", "--check", *words)
    assert result.returncode == 0, result.stderr
    excluded = tmp_path / "check" / "own" / "excluded.txt"
    assert excluded.read_text().splitlines() == ["absent.wav", "junk.wav", *short, "trial.wav"]
    assert f"own: 6 recordings left out by {excluded}; train with --exclude {excluded}" in result.stdout
    assert Pack(tmp_path / "pack" / "own").paths == ["silent.wav"]
    (tmp_path / "fewer").write_text("junk.wav\nabsent.wav\ntrial.wav\n")
    result = run_here("dataprep.py", *words, "--exclude", tmp_path / "fewer")
    assert "own: 3 recordings left out" in result.stdout and "3 recordings added, 4 in all" in result.stdout
    (tmp_path / "all").write_text(excluded.read_text() + "silent.wav\n")
    assert_refused(run_here("dataprep.py", *words, "--exclude", tmp_path / "all"), "leaves nothing to pack")
    assert_refused(run_here("dataprep.py", *words, "--exclude", tmp_path / "no"), "--exclude", "no such file")
    excluded.write_text("")  # as for a corpus without faults
    assert_refused(run_here("dataprep.py", *words), "junk.wav: cannot be read")


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (16_000, 2)])
def test_other_rates_and_channels_are_refused_before_writing(recordings, tmp_path, rate, channels):
    root, paths = recordings
    soundfile.write(root / "x.wav", np.zeros((4000, channels)), rate)
    with pytest.raises(AudioError, match=rf"x\.wav: {rate} Hz, {channels} channels; a pack holds 16000 Hz"):
        write_pack(root, [*paths, "x.wav"], tmp_path / "pack")
    assert not (tmp_path / "pack").exists()


def test_a_pack_has_one_channel(recordings, tmp_path):
    root, paths = recordings
    write_pack(root, paths, tmp_path / "pack", workers=1)
    assert len(Recordings(str(tmp_path / "pack"), paths, 0)[0].whole())
    with pytest.raises(
        ValueError, match=r"^--channel 1: the recordings of the pack \S+ have one channel; leave"
    ):
        Recordings(str(tmp_path / "pack"), paths, 1)
    with pytest.raises(ValueError, match=r"^channels in the list: the recordings of the pack \S+ have one"):
        Recordings(str(tmp_path / "pack"), paths, spans=np.zeros((len(paths), 3)))


def test_checksums_are_those_of_the_samples(recordings, tmp_path):
    root, paths = recordings
    write_pack(root, paths, tmp_path / "pack", workers=1)
    assert Pack(tmp_path / "pack").places[0, 3] == zlib.crc32(
        AudioFile(str(root / paths[0])).whole_int16().tobytes()
    )


@inherits_patches
def test_a_killed_process_is_one_line_and_leaves_nothing(recordings, tmp_path, monkeypatch):
    monkeypatch.setattr(AudioFile, "whole_int16", lambda _: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(OSError, match=r"^packing: a process was killed[^\n]*with fewer --workers$"):
        write_pack(*recordings, tmp_path / "pack", workers=2)
    assert list((tmp_path / "pack").iterdir()) == []


def test_too_little_space_is_reported_before_anything_is_written(recordings, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=28_799))
    with pytest.raises(OSError, match=r"28,800 bytes needed, 28,799 free: .*0000\.npy"):  # 0.9 s
        write_pack(*recordings, tmp_path / "pack")
    assert list((tmp_path / "pack").iterdir()) == []


@inherits_patches
@pytest.mark.parametrize(("sent", "printed"), [(signal.SIGINT, "interrupted\n"), (signal.SIGKILL, "")])
def test_stopped_it_is_quick_and_quiet(sent, printed, tmp_path):
    for number in range(64):  # 6 s of work
        soundfile.write(tmp_path / f"{number}.wav", voice(0, number, 0.1), 16_000)
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    settings = {"cwd": ROOT, "env": os.environ | {"PYTHONPATH": str(ROOT)}, "start_new_session": True}
    process = subprocess.Popen(command, text=True, stdout=-1, stderr=-1, preexec_fn=heed_ctrl_c, **settings)
    while not (tmp_path / "pack" / "0000.tmp").exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    time.sleep(0.5)
    # Ctrl-C goes to all of them, the kill to the parent alone; the pipes close when the last one has ended
    (os.killpg if sent == signal.SIGINT else os.kill)(process.pid, sent)
    assert process.communicate(timeout=3) == (printed, "")
    assert not (tmp_path / "pack" / "0000.npy").exists()


def test_a_pack_given_as_a_list_is_refused_with_the_flag_to_use(recordings, tmp_path):
    root, paths = recordings
    pack_folder = tmp_path / "pack"
    write_pack(root, paths, pack_folder)
    for flag, path_flag in {"--train_list": "--train_path", "--cohort_list": "--cohort_path"}.items():
        expected = (
            rf"^{flag} .*pack: this is a pack of recordings.* to {path_flag} and the list file to {flag}$"
        )
        with pytest.raises(ValueError, match=expected):
            read_train_list(str(pack_folder), flag=flag)
        expected = rf"^{flag} .*audio: this is a folder of recordings.* dataprep.py --generate --from .*audio"
        with pytest.raises(ValueError, match=expected):
            read_train_list(str(root), flag=flag)
    words = ("--train_list", pack_folder, "--root", root, "--save_path", tmp_path)
    for step in ("--check", "--pack"):
        assert_refused(run_here("dataprep.py", step, *words), "this is a pack of recordings, not a list")
    words = ("--train_list", pack_folder, "--train_path", root, "--save_path", tmp_path / "run")
    refused = run_here("trainSpeakerNet.py", "--model", "ResNetSE34L", "--trainfunc", "amsoftmax", *words)
    assert_refused(refused, "give the pack to --train_path and the list file to --train_list")


def test_a_file_called_index_in_the_working_folder_is_no_pack(recordings, tmp_path, monkeypatch):
    root, paths = recordings
    monkeypatch.chdir(tmp_path)
    (tmp_path / Pack.INDEX).write_bytes(b"embeddings of inferSpeakerNet.py embed, for example")
    listed = Recordings("", [str(root / paths[0])])
    assert np.array_equal(listed[0].whole(), Recordings(str(root), paths)[0].whole())
