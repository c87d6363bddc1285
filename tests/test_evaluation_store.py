"""Embeddings kept in parts: several writers, damage and kills."""

import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT

from evaluation import store as store_module
from evaluation.store import Embeddings, Index, StoredEmbeddings


def embeddings(*values):
    """Recordings whose vectors (1, 2) and measures hold a number; None for one that isn't present."""
    made = Embeddings(len(values))
    numbers = [i for i, value in enumerate(values) if value is not None]
    kept = torch.tensor([float(values[i]) for i in numbers])
    if numbers:
        made.put(numbers, kept[:, None, None].expand(-1, 1, 2), kept[:, None].expand(-1, 3).double().numpy())
    return made


def stored(folder, names):
    """Names -> the numbers stored for them, None for those that aren't."""
    filled = Embeddings(len(names))
    StoredEmbeddings(folder).fill(filled, names)
    assert (filled.stored == filled.present).all()
    assert (filled.measures[:, 0] == filled.measures[:, 2]).all()
    pairs = zip(filled.present.tolist(), filled.measures[:, 0].tolist(), strict=True)
    for number in filled.present.nonzero()[0]:
        assert (filled.vectors[number] == filled.measures[number, 0]).all()
    return [value if present else None for present, value in pairs]


def test_two_writers_lose_nothing(tmp_path):
    first, second = StoredEmbeddings(tmp_path), StoredEmbeddings(tmp_path)
    first.add(embeddings(1, None), ["a", "b"])
    second.add(embeddings(3, 2), ["c", "b"])
    first.add(embeddings(4), ["d"])
    assert stored(tmp_path, ["d", "b", "x", "a", "c"]) == [4, 2, None, 1, 3]
    assert len(list(tmp_path.iterdir())) == 3
    known = Embeddings(2)
    first.fill(known, ["a", "d"])  # its own, without opening the folder again
    assert known.present.all()
    first.add(known, ["a", "d"])
    assert len(list(tmp_path.iterdir())) == 3  # what came from the folder isn't written again


@pytest.mark.parametrize("block", [1, 2, 3, 100])
def test_embeddings_come_in_the_order_asked_for(tmp_path, monkeypatch, block):
    monkeypatch.setattr(store_module, "BLOCK", block)
    kept = StoredEmbeddings(tmp_path)
    kept.add(embeddings(0, 1, 2, 3, 4), [*"abcde"])
    kept.add(embeddings(5, 6), [*"fg"])
    assert len(list(tmp_path.iterdir())) == -(-5 // block) + -(-2 // block)
    assert stored(tmp_path, [*"gaxfecc"]) == [6, 0, None, 5, 4, 2, 2]
    assert stored(tmp_path / "none", ["a"]) == [None]


def test_a_damaged_part_is_computed_again_and_the_others_are_kept(tmp_path):
    kept = StoredEmbeddings(tmp_path)
    for value, name in enumerate("abcdef"):
        kept.add(embeddings(value), [name])
    paths = {np.load(path)["measures"][0, 0]: path for path in tmp_path.iterdir()}
    whole = paths[0].read_bytes()
    paths[0].write_bytes(whole[:-100])
    paths[1].write_bytes(b"")
    vectors = whole.index(np.array([[[0.0, 0.0]]], np.float32).tobytes() + b"PK")
    paths[0 + 2].write_bytes(whole[:vectors] + b"?" + whole[vectors + 1 :])
    np.savez(
        paths[3], keys=np.zeros((2, 2), np.uint64), vectors=np.zeros((2, 1, 4)), measures=np.zeros((2, 2))
    )
    np.savez(paths[4], keys=np.array([object()]), vectors=0, measures=0)
    assert stored(tmp_path, [*"abcdef"]) == [None, None, None, None, None, 5]
    opened = StoredEmbeddings(tmp_path)
    paths[5].unlink()  # by somebody who frees disk space
    again = Embeddings(1)
    opened.fill(again, ["f"])
    assert not again.present.any()
    opened.add(embeddings(7), ["f"])
    assert stored(tmp_path, ["f"]) == [7]


def test_embeddings_that_are_not_finite_are_not_believed(tmp_path):
    StoredEmbeddings(tmp_path).add(embeddings(float("nan")), ["a"])
    assert stored(tmp_path, ["a"]) == [None]


def test_a_writer_killed_in_the_middle_leaves_the_rest_as_it_was(tmp_path):
    StoredEmbeddings(tmp_path).add(embeddings(1), ["a"])
    code = f"""
import os, pathlib, signal
from storage.files import written_whole
folder = pathlib.Path({str(tmp_path)!r})
with written_whole(folder / "part.npz") as stream:
    stream.write(next(folder.glob("*.npz")).read_bytes()[:200])
    stream.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2
    assert stored(tmp_path, ["a"]) == [1]


def test_keys_are_found_in_any_of_many_parts():
    generator = np.random.default_rng(0)
    index = Index()
    parts = [generator.integers(1 << 63, size=(size, 2), dtype=np.uint64) for size in (5, 1, 2, 1, 1, 40, 3)]
    parts.append(parts[2])  # again: the first part counts
    for number, keys in enumerate(parts):
        index.add(keys, number)
    for number, keys in enumerate(parts[:-1]):
        found, rows = index.find(keys)
        assert (found == number).all() and rows.tolist() == list(range(len(keys)))
    assert index.find(parts[0] + np.uint64(1))[0].tolist() == [-1] * 5
    assert Index().find(parts[0])[0].tolist() == [-1] * 5
