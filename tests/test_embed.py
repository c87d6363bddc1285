"""The verb embed: many recordings to a file, whatever happens in between."""

import errno
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from conftest import assert_refused, run_here
from forked import Command

from distributed.signals import Stopped
from evaluation.embedder import Embedder
from evaluation.store import StoredEmbeddings
from inference import extraction, load
from inference.embedding_files import read_embeddings
from inference.extraction import parts_folder


@pytest.fixture
def model(trained):
    return [f"--initial_model={trained[0]}", "--device=cpu"]


def embed(*words):
    return run_here("inferSpeakerNet.py", "embed", *words)


@pytest.mark.parametrize("suffix", ["npz", "csv"])
def test_embeddings_are_those_of_the_voice(trained, model, corpus, tmp_path, suffix):
    out = tmp_path / f"x.{suffix}"
    result = embed(corpus.root / "spk0", corpus.root / "spk1" / "3.wav", *model, "--out", out)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == f"6 embeddings of 512 values in {out}"
    content = read_embeddings(out)
    paths = [*(corpus.root / "spk0" / f"{take}.wav" for take in range(5)), corpus.root / "spk1" / "3.wav"]
    assert content.names == [str(path) for path in paths]
    answering = load(str(trained[0]), device="cpu")
    np.testing.assert_allclose(content.vectors, answering.embed_files(paths), atol=1e-5)
    assert not parts_folder(out).exists()
    assert_refused(embed(corpus.root, *model, "--out", out), f"{out} exists already")


def test_recordings_that_cant_be_used_are_named_and_left_out(model, corpus, tmp_path):
    (tmp_path / "text.wav").write_text("not audio")
    soundfile.write(tmp_path / "silent.wav", np.zeros(16_000), 16_000)
    good = corpus.root / "spk0" / "0.wav"
    out = tmp_path / "x.npy"
    result = embed(
        tmp_path / "text.wav", tmp_path / "silent.wav", good, tmp_path / "none.wav", *model, "--out", out
    )
    assert result.returncode == 2, result.stderr
    notes = [line for line in result.stdout.splitlines() if line.startswith("note: skipped: ")]
    assert [name for line in notes for name in ("text", "silent", "none") if f"{name}.wav: " in line] == [
        "text",
        "none",
        "silent",
    ]
    assert result.stdout.splitlines()[-1].endswith("; 3 recordings left out")
    assert read_embeddings(out).names == [str(good)]
    nothing = embed(tmp_path / "text.wav", *model, "--out", tmp_path / "y.npy")
    assert_refused(nothing, "none of the 1 recordings has an embedding")
    assert not list(tmp_path.glob("y.*"))


def test_the_same_command_continues(model, corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(extraction, "BLOCK", 2)
    embedded, is_stopped = list[int](), [True]
    original = Embedder.embed

    def stop_in_the_second_block(self, *arguments, **more):
        if embedded and is_stopped[0]:
            raise Stopped(15)
        embeddings = original(self, *arguments, **more)
        embedded.append(int((~embeddings.stored).sum()))
        return embeddings

    monkeypatch.setattr(Embedder, "embed", stop_in_the_second_block)
    words = [corpus.root / "spk0", *model, "--out", tmp_path / "x.npz"]
    result = embed(*words)
    assert result.returncode == 128 + 15 and "the same command continues" in result.stderr
    assert not (tmp_path / "x.npz").exists()
    is_stopped[0] = False
    assert embed(*words).returncode == 0
    assert embedded == [2, 0, 2, 1] and len(read_embeddings(tmp_path / "x.npz").names) == 5


def test_mistakes_are_refused_before_anything_is_read(model, corpus, tmp_path):
    assert_refused(embed(*model), "expected recordings, folders or lists")
    assert_refused(embed(corpus.root, *model, "--out", tmp_path / "x.txt"), ".npz, .npy, .csv or .ark")
    assert_refused(embed("-", *model, "--out", tmp_path / "x.npz"), "embed reads files")
    (tmp_path / "a b.wav").write_bytes(b"")
    assert_refused(embed(tmp_path / "a b.wav", *model, "--out", tmp_path / "x.ark"), "a blank can't be in it")


def test_no_file_of_the_user_is_overwritten(model, corpus, tmp_path):
    for name, line, out in (("x.txt", "", "x.npy"), ("x.scp", "a ", "x.ark")):
        listed = tmp_path / name  # the file of names, or the index, would have its name
        listed.write_text(f"{line}{corpus.root / 'spk0' / '0.wav'}\n")
        before = listed.read_text()
        assert_refused(embed(listed, *model, "--out", tmp_path / out), f"{listed} exists already")
        assert listed.read_text() == before


def test_what_cannot_be_written_is_told_before_anything_is_embedded(model, corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(Embedder, "embed", None)
    recording = corpus.root / "spk0" / "0.wav"
    assert_refused(embed(recording, *model, "--out", recording / "x.npz"), "Not a directory")
    parts_folder(tmp_path / "x.npz").mkdir()
    code = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX); print(); input()"
    command = [sys.executable, "-c", code, parts_folder(tmp_path / "x.npz") / "lock"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        assert_refused(embed(recording, *model, "--out", tmp_path / "x.npz"), "is held by another process")
        other.communicate(b"\n")


def test_a_full_disk_is_told(model, corpus, tmp_path, monkeypatch):
    def add(self, *_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.folder))

    monkeypatch.setattr(StoredEmbeddings, "add", add)
    assert_refused(
        embed(corpus.root / "spk0", *model, "--out", tmp_path / "x.npz"), "No space left", ".parts"
    )


def test_recordings_that_are_named_twice_or_change_meanwhile_are_told(model, corpus, tmp_path, monkeypatch):
    shutil.copytree(corpus.root / "spk0", tmp_path / "spk0")
    original = Embedder.embed

    def embed_and_change(self, *arguments, **more):
        embeddings = original(self, *arguments, **more)
        os.utime(tmp_path / "spk0" / "1.wav", ns=(1, 1))
        return embeddings

    monkeypatch.setattr(Embedder, "embed", embed_and_change)
    words = [tmp_path / "spk0", tmp_path / "spk0" / "0.wav", *model]
    result = embed(*words, "--out", tmp_path / "x.npz")
    assert result.returncode == 2, result.stderr
    assert result.stdout.splitlines() == [
        f"note: skipped: {tmp_path}/spk0/1.wav: changed after it was embedded",
        "note: 1 recordings that are named again are embedded once",
        f"4 embeddings of 512 values in {tmp_path / 'x.npz'}; 1 recordings left out",
    ]


@pytest.mark.slow
def test_several_processes_write_the_same_file(trained, model, corpus, tmp_path):
    contents = []
    for nproc in (1, 2):
        out = tmp_path / f"{nproc}.npz"
        words = [corpus.root, *model, "--out", out, f"--nproc={nproc}"]
        process = Command("inferSpeakerNet.py", "embed", *words)
        assert process.wait(timeout=300) == 0, process.communicate()
        contents.append(read_embeddings(out))
    assert contents[0].names == contents[1].names and len(contents[0].names) == 30
    np.testing.assert_allclose(contents[0].vectors, contents[1].vectors, atol=1e-5)
