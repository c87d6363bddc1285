"""dataprep.py from a server's archives to lists that train, with a miniature VoxCeleb: faults, kills, key."""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import mini_voxceleb
import pytest
from conftest import ROOT, run_here, voice

import dataprep
from audio.lists import read_train_list
from audio.pack import Pack
from audio.trials import read_trials

STEPS = ["--download", "--concatenate", "--extract", "--convert", "--generate", "--check", "--pack"]
KILLS = 10


@pytest.fixture(scope="module")
def served(tmp_path_factory, ffmpeg):
    """The miniature's files as a server has them."""
    folder = tmp_path_factory.mktemp("mini") / "served"
    mini_voxceleb.build(folder, ffmpeg, voice)
    key_file(folder).write_text(f"{mini_voxceleb.KEY}\n")
    return folder


def key_file(served):
    return served.parent / "key.txt"


def words(save_path, address, key, steps=STEPS):
    places = ["--save_path", str(save_path), "--base_url", address, "--key_file", str(key)]
    return ["--corpus", "voxceleb1", "voxceleb2", *steps, *places]


def contents(root):
    """Path -> digest or link target of every file that the steps wrote, except the downloader's records."""
    digests = {}
    for path in sorted(root.rglob("*")):
        if path.is_symlink():
            digests[path.relative_to(root).as_posix()] = str(path.readlink())
        elif path.name == Pack.INDEX:
            pack = Pack(path.parent)
            digests[path.relative_to(root).as_posix()] = str((list(pack.paths), pack.places[:, :-1].tolist()))
        elif path.is_file() and path.suffix != ".json":
            digests[path.relative_to(root).as_posix()] = hashlib.md5(path.read_bytes()).hexdigest()
    return digests


@pytest.fixture(scope="module")
def prepared(served, tmp_path_factory):
    """A run of all steps, uninterrupted, against the misbehaving server."""
    save_path = tmp_path_factory.mktemp("prepared") / "data"
    with pytest.MonkeyPatch.context() as patch, mini_voxceleb.server(served) as (address, log):
        corpora = mini_voxceleb.corpora(served)
        patch.setattr(dataprep, "corpora", lambda: corpora)
        result = run_here("dataprep.py", *words(save_path, address, key_file(served)))
        again = run_here("dataprep.py", *words(save_path, address, key_file(served)))
        status = run_here("dataprep.py", "--corpus", *corpora, "--status", "--save_path", save_path)
    assert result.returncode == 0, result.stderr + result.stdout
    return save_path, result, again, status, log


def test_the_lists_are_right(prepared):
    save_path, result, *_ = prepared
    train = read_train_list(str(save_path / "train_list.txt"))
    assert train.speakers == list(mini_voxceleb.VOX2_DEV) and len(train.paths) == 12
    assert all((save_path / "voxceleb2/dev/wav" / path).is_file() for path in train.paths)
    voxceleb1 = read_train_list(str(save_path / "voxceleb1_train_list.txt"))
    assert voxceleb1.speakers == sorted(mini_voxceleb.VOX1_DEV)
    [trials] = read_trials([str(save_path / "veri_test.txt")])
    assert all((save_path / "voxceleb1/test/wav" / path).is_file() for path in trials.names)
    [hard] = read_trials([str(save_path / "list_test_hard.txt")])
    assert any("id10001" in path for path in hard.names)
    assert all((save_path / "voxceleb1/all/wav" / path).is_file() for path in hard.names)
    train, test = "voxceleb2/dev/wav", "voxceleb1/test/wav"
    expected = f"--train_list {save_path}/train_list.txt --train_path {save_path / train} "
    expected += f"--test_list {save_path}/veri_test.txt --test_path {save_path / test}"
    assert result.stdout.splitlines()[-1].endswith(expected)
    assert "5994 speakers" in result.stdout  # the remark that this isn't all of VoxCeleb2


def test_the_servers_faults_occurred_and_were_corrected(prepared):
    *_, log = prepared
    corrupted = [entry for entry in log if entry[0] == "vox1_dev_wav_partab"]
    dropped = [entry for entry in log if entry[0] == "vox2_dev_aac_partac"]
    assert len(corrupted) == 2 and len(dropped) == 2
    assert dropped[1][1] > 0 and dropped[1][2] == 206  # resumed where it broke off
    assert all(status in (200, 206) for *_, status in log)


def test_a_second_run_does_nothing(prepared):
    _, _, again, status, log = prepared
    assert again.returncode == 0, again.stderr
    # parts, the test sets, two again, the table of speakers and the overlap with another corpus
    assert sum(name.startswith("vox") for name, *_ in log) == 4 + 8 + 2 + 2 + 2
    assert "0 recordings added" in again.stdout and "converted: 0 files" in again.stdout
    table = status.stdout.splitlines()
    assert table[1].split()[:4] == ["voxceleb1", "2", "of", "2"] and "6 of 6" in table[1]


def copied(save_path, target, *names):
    """Some of what was prepared, elsewhere."""
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (save_path / name).is_dir() else shutil.copy)(save_path / name, target / name)
    return target


def test_what_is_on_the_disk_is_not_downloaded_and_needs_no_key(served, prepared, tmp_path, monkeypatch):
    corpora = mini_voxceleb.corpora(served)
    monkeypatch.setattr(dataprep, "corpora", lambda: corpora)
    monkeypatch.delenv("VOXCELEB_KEY", raising=False)
    whole, words = prepared[0], ["--corpus", *corpora, "--save_path", tmp_path / "data"]
    have = copied(whole, tmp_path / "have", "voxceleb1/test/wav", "voxceleb2/dev/wav")
    copied(whole / "archives", have, *(f"vox1_dev_wav_parta{c}" for c in "abc"))
    with mini_voxceleb.server(served, misbehave=False) as (address, log):
        at = [*words, "--base_url", address, "--key_file", key_file(served)]
        result = run_here("dataprep.py", "--download", *at, "--from", have)
        assert result.returncode == 0, result.stderr
        downloaded = {name for name, *_ in log if name.startswith("vox")}
        tables = {"vox1_meta.csv", "voxceleb1_sitw_overlap.txt"}
        assert downloaded == {"vox1_dev_wav_partad", "vox2_test_aac.zip", *tables}
        assert (
            f"vox1_test_wav.zip: not downloaded, its recordings are in {have}/voxceleb1/test/wav"
            in result.stdout
        )
        assert f"vox1_dev_wav.zip: 3 of 4 files there already, in {have}" in result.stdout
        assert "downloaded: 10 files, 0 were there already" in result.stdout  # with the six lists
        again = run_here("dataprep.py", "--download", *words, "--from", have)  # from the real servers
    assert again.returncode == 0 and "downloaded: 0 files, 10 were there already" in again.stdout, (
        again.stderr
    )
    assert "next: python dataprep.py --extract" in again.stdout
    status = run_here("dataprep.py", "--status", *words, "--from", have).stdout
    assert "missing" not in status
    assert "missing vox1_dev_wav_parta" in run_here("dataprep.py", "--status", *words).stdout


def test_status_counts_what_is_converted_checked_and_packed(served, prepared, tmp_path, monkeypatch):
    corpora = mini_voxceleb.corpora(served)
    monkeypatch.setattr(dataprep, "corpora", lambda: corpora)
    table = [line.split() for line in prepared[3].stdout.splitlines()]
    assert table[0][:4] == ["corpus", "archives", "extracted", "converted"]
    assert table[2][7:10] == ["16", "of", "16"] and table[2][-2:] == ["yes", "yes"]
    data = copied(prepared[0], tmp_path / "data", "voxceleb2/dev/aac")
    words = ("--corpus", "voxceleb2", "--status", "--save_path", data)
    assert "0 of 12" in run_here("dataprep.py", *words).stdout
    copied(prepared[0], tmp_path / "data", "voxceleb2/dev/wav/id00012")
    assert "4 of 12" in run_here("dataprep.py", *words).stdout


def test_check_and_pack(prepared):
    save_path, *_ = prepared
    report = (save_path / "check" / "voxceleb2" / "check.txt").read_text()
    assert "counts" in report and "unreadable" not in report and "duplicate" not in report
    assert (save_path / "check" / "voxceleb2" / "excluded.txt").read_text() == ""
    pack = Pack(save_path / "pack" / "voxceleb2")
    assert pack.paths == read_train_list(str(save_path / "train_list.txt")).paths


def test_the_lists_train(prepared, tmp_path):
    save_path, *_ = prepared
    settings = {
        "train_list": save_path / "train_list.txt", "train_path": save_path / "voxceleb2/dev/wav",
        "test_list": save_path / "veri_test.txt", "test_path": save_path / "voxceleb1/test/wav",
        "model": "ResNetSE34L", "trainfunc": "angleproto", "max_epoch": 1, "max_frames": 30, "batch_size": 3,
        "eval_frames": 30, "num_eval": 1, "nDataLoaderThread": 0, "save_path": tmp_path,
        "device": "cpu", "precision": "fp32",
    }  # fmt: skip
    result = run_here("trainSpeakerNet.py", *(f"--{name}={value}" for name, value in settings.items()))
    assert result.returncode == 0 and "VEER" in result.stdout, result.stderr
    lists = ("--train_list", settings["train_list"], "--root", settings["train_path"])
    model = tmp_path / "model" / "best.model"
    result = run_here("dataprep.py", "--check", *lists, "--suspects", model, "--save_path", tmp_path)
    assert result.returncode == 0 and "suspects.txt" in result.stdout, result.stderr
    for line in (tmp_path / "check" / "own" / "suspects.txt").read_text().splitlines():
        kind, first, *_ = line.split("\t")
        assert (kind, first.split("/")[0] in mini_voxceleb.VOX2_DEV) in (("label", True), ("same", True))


def test_the_key_is_in_no_file_and_no_output(prepared):
    save_path, result, again, status, _ = prepared
    for text in (result, again, status):
        assert mini_voxceleb.KEY not in text.stdout + text.stderr
    for path in save_path.rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert mini_voxceleb.KEY.encode() not in path.read_bytes(), path


def test_a_wrong_key_is_one_line_without_it(served, tmp_path, monkeypatch):
    corpora = mini_voxceleb.corpora(served)
    monkeypatch.setattr(dataprep, "corpora", lambda: corpora)
    (tmp_path / "key.txt").write_text("wr0ng-k3y")
    with mini_voxceleb.server(served) as (address, _):
        result = run_here("dataprep.py", *words(tmp_path / "data", address, tmp_path / "key.txt"))
    assert result.returncode == 2 and "wr0ng-k3y" not in result.stdout + result.stderr
    assert len(result.stderr.splitlines()) == 1 and "403" in result.stderr


def test_the_key_is_not_in_the_process_list(served, tmp_path):
    command = [sys.executable, str(ROOT / "tests" / "mini_voxceleb.py"), str(served)]
    with mini_voxceleb.server(served) as (address, _):
        arguments = words(tmp_path / "data", address, key_file(served), ["--download"])
        process = subprocess.Popen([*command, *arguments], stdout=subprocess.DEVNULL)
        seen = []
        while process.poll() is None:
            listing = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
            seen.append(mini_voxceleb.KEY in listing.stdout)
            time.sleep(0.1)
    assert process.returncode == 0 and len(seen) > 3 and not any(seen)


def new_names(folder, before):
    """How many files and folders have appeared since."""
    return len(set(folder.rglob("*")) - before)


@pytest.mark.slow
def test_killed_at_any_moment_the_result_is_the_same(served, prepared, tmp_path):
    """Killed after a drawn number of new files, and not after a time: processors differ in speed."""
    whole, draw, folder = prepared[0], random.Random(3), tmp_path / "data"
    command = [sys.executable, str(ROOT / "tests" / "mini_voxceleb.py"), str(served)]
    with mini_voxceleb.server(served) as (address, _):
        arguments = [*command, *words(folder, address, key_file(served))]
        killed = 0
        for _ in range(KILLS):
            before, number = set(folder.rglob("*")), draw.randint(1, 12)
            process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, start_new_session=True)
            while process.poll() is None and new_names(folder, before) < number:
                time.sleep(0.01)
            time.sleep(draw.uniform(0.0, 0.02))
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                killed += 1
            process.wait()
        assert killed >= 3  # the later ones may come to their end
        last = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert last.returncode == 0, last.stderr
    mine, theirs = contents(tmp_path / "data"), contents(whole)
    leftovers = {path for path in mine if path.endswith((".tmp", ".part", ".bad"))}
    assert {k: v for k, v in mine.items() if k not in leftovers} == {
        k: v for k, v in theirs.items() if not k.endswith((".tmp", ".part", ".bad"))
    }
