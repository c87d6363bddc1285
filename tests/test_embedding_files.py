"""Files of embeddings: each format is read by what reads it elsewhere, and appears whole or not at all."""

import csv
import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from inference.embedding_files import check_names, companion, read_embeddings, write_embeddings

NAMES = ["a/1.wav", "b/zwölf.flac", 'c/"quoted",comma.wav', "d/\udcff.wav"]  # the last isn't UTF-8
VECTORS = np.array(
    [[0.1, -2.0, 1e-38], [1 / 3, 16777217.0, 3e38], [0.0, -0.0, 5e-45], [1.0, 2.0, np.float32(np.pi)]],
    np.float32,
)
SUFFIXES = (".npz", ".npy", ".csv", ".ark")


def written(path, names=NAMES, vectors=VECTORS):
    with write_embeddings(path, "f1e2") as write:
        write(names[:1], vectors[:1])
        write(names[1:], vectors[1:])
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_rows_come_back_bit_for_bit(tmp_path, suffix):
    found = read_embeddings(written(tmp_path / f"x{suffix}"))
    assert found.names == NAMES
    assert found.vectors.dtype == np.float32 and found.vectors.tobytes() == VECTORS.tobytes()
    assert found.model == ("f1e2" if suffix == ".npz" else "")


def test_npz_is_read_by_numpy_alone(tmp_path):
    with np.load(written(tmp_path / "x.npz"), allow_pickle=False) as content:
        assert sorted(content) == ["embeddings", "model", "names"]
        assert content["names"].dtype == "<U20" and content["names"][1] == "b/zwölf.flac"
        assert content["embeddings"].shape == (4, 3) and content["model"] == "f1e2"


def test_npy_has_its_names_in_a_text_file(tmp_path):
    path = written(tmp_path / "x.npy", ["a b", "c", "d", "e"])
    np.testing.assert_array_equal(np.load(path, mmap_mode="r"), VECTORS)
    assert (tmp_path / "x.txt").read_text() == "a b\nc\nd\ne\n"


def test_csv_is_quoted_as_csv_is_and_restores_float32(tmp_path):
    lines = written(tmp_path / "x.csv").read_bytes().split(b"\n")
    assert lines[0] == b"name,e0,e1,e2" and lines[3].startswith(b'"c/""quoted"",comma.wav",0,-0,')
    with (tmp_path / "x.csv").open(newline="", errors="surrogateescape") as stream:
        rows = list(csv.reader(stream))[1:]
    assert [row[0] for row in rows] == NAMES
    assert (
        np.array([row[1:] for row in rows]).astype(np.float64).astype(np.float32).tolist() == VECTORS.tolist()
    )


def test_ark_and_scp_follow_kaldis_definition(tmp_path):
    path = written(tmp_path / "x.ark", ["a", "b", "c", "d"])
    content = path.read_bytes()
    # name, blank, zero byte, B, FV, blank, size of the integer, length 3, floats
    assert content[: 2 + 2 + 3 + 1 + 4] == b"a \0BFV \x04\x03\0\0\0"
    assert struct.unpack("<3f", content[12:24]) == tuple(VECTORS[0].tolist())
    for line, vector in zip((tmp_path / "x.scp").read_text().splitlines(), VECTORS, strict=True):
        name, place = line.split(" ", 1)
        file, _, offset = place.rpartition(":")
        with Path(file).open("rb") as stream:
            stream.seek(int(offset) - 2)
            assert stream.read(9) == f"{name} ".encode() + b"\0BFV \x04" + b"\x03"
            stream.seek(3, 1)
            assert np.frombuffer(stream.read(12), "<f4").tolist() == vector.tolist()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_nothing_is_left_by_an_error(tmp_path, suffix):
    with pytest.raises(KeyboardInterrupt), write_embeddings(tmp_path / f"x{suffix}") as write:
        write(["a"], VECTORS[:1])
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_recordings_give_a_file_without_rows(tmp_path, suffix):
    with write_embeddings(tmp_path / f"x{suffix}"):
        pass
    assert read_embeddings(tmp_path / f"x{suffix}").vectors.shape == (0, 0)


def test_names_that_a_format_cannot_hold_are_refused_beforehand(tmp_path):
    with pytest.raises(
        ValueError, match=r"x\.ark: a name with a blank can't be in it; write \.npz or \.csv: a b"
    ):
        check_names(tmp_path / "x.ark", ["a", "a b"])
    with pytest.raises(ValueError, match=r"a line break can't .*: a\\x0ab"):
        check_names(tmp_path / "x.npy", ["a\nb"])
    check_names(tmp_path / "x.csv", ["a\nb", "a b"])
    with pytest.raises(ValueError, match="a blank"), write_embeddings(tmp_path / "x.ark") as write:
        write(["a\tb"], VECTORS[:1])
    assert not list(tmp_path.iterdir())


def test_unknown_suffixes_name_the_four(tmp_path):
    expected = r"x\.txt: expected a file that ends in \.npz, \.npy, \.csv or \.ark"
    with pytest.raises(ValueError, match=expected), write_embeddings(tmp_path / "x.txt"):
        pass
    with pytest.raises(ValueError, match=expected):
        read_embeddings(tmp_path / "x.txt")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damaged_and_missing_files_are_told_in_one_line(tmp_path, suffix):
    path = written(tmp_path / f"x{suffix}", ["a", "b", "c", "d"])
    path.write_bytes(path.read_bytes()[:-7] + (b",x\n" if suffix == ".csv" else b""))
    with pytest.raises(ValueError, match=rf"x\{suffix}: damaged, or not a file of embeddings"):
        read_embeddings(path)
    content = path.read_bytes()
    for place in range(0, len(content), 13):  # whatever is read, no other error comes
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        with suppress(ValueError):
            read_embeddings(path)
    path.write_bytes(written(tmp_path / ("y.npz" if suffix == ".npy" else "y.npy"), [*"abcd"]).read_bytes())
    with pytest.raises(ValueError, match="damaged"):
        read_embeddings(path)
    (companion(path) if suffix == ".npy" else path).unlink()
    with pytest.raises(FileNotFoundError, match=r"x\.\w+: no such file"):
        read_embeddings(path)
