"""Hugging Face data sets in parquet files: turned into tars once, resumed, refused."""

import sys

import pytest
from conftest import assert_refused, run_here
from test_tars import sound

from audio.lists import read_train_list
from audio.recordings import Recordings
from audio.tar_member import open_bytes
from preparation import parquet

FORMATS = ("flac", "wav", "mp3", "opus", "wav")
SPEAKERS = [7, 12, 7, 12, 7]


@pytest.fixture
def arrow():
    return pytest.importorskip("pyarrow")


def write(arrow, path, contents, **columns):
    """Bytes of recordings, other columns -> a file like those of Hugging Face, in groups of two rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = arrow.struct({"bytes": arrow.binary(), "path": arrow.string()})
    audio = [None if content is None else {"bytes": content, "path": "a.bin"} for content in contents]
    table = arrow.table({"text": ["?"] * len(audio), "audio": arrow.array(audio, kind), **columns})
    __import__("pyarrow.parquet")
    arrow.parquet.write_table(table, path, row_group_size=2)


def prepare(tmp_path, *words):
    usual = ("--index", "--from", tmp_path / "hf", "--save_path", tmp_path / "new", "--workers", 1)
    return run_here("dataprep.py", *usual, *words)


@pytest.fixture
def source(arrow, tmp_path, monkeypatch):
    """Two files -> their folder and the bytes of the recordings."""
    monkeypatch.setattr(parquet, "ROWS_AT_ONCE", 3)  # neither that of groups nor of files
    sounds = [sound(number, suffix) for number, suffix in enumerate(FORMATS)]
    names = arrow.array(["anna", "bob"]).dictionary_encode()
    write(arrow, tmp_path / "hf" / "data" / "train-00000-of-00002.parquet", sounds, speaker_id=SPEAKERS)
    write(arrow, tmp_path / "hf" / "data" / "train-00001-of-00002.parquet", sounds[:2], speaker_id=names)
    return tmp_path / "hf", sounds


def test_rows_become_recordings_of_tars(source, tmp_path):
    _, sounds = source
    result = prepare(tmp_path, "--check")
    tars, train_list = tmp_path / "new" / "tars", tmp_path / "new" / "train_list.txt"
    assert result.stdout.splitlines()[:3] == [
        f"{tars}: 2 tars of parquet files, 2 of them new",
        f"{train_list}: 7 recordings of 4 speakers in 2 tars",
        f"{tars}/tar_index.npz: where they are; give --train_path {tars}",
    ], result
    assert "own: 7 files checked" in result.stdout
    assert f"--train_list {train_list} --train_path {tars} " in result.stdout
    listed = read_train_list(str(train_list))
    assert listed.paths[0] == "data/train-00000-of-00002.tar/00000000.flac"
    assert [path.rpartition(".")[2] for path in listed.paths[:5]] == ["flac", "wav", "mp3", "ogg", "wav"]
    assert [listed.speakers[label] for label in listed.labels] == [*map(str, SPEAKERS), "anna", "bob"]
    recordings = Recordings(str(tars), listed.paths)
    for number, content in enumerate(sounds + sounds[:2]):
        assert open_bytes(recordings.file(number)).read() == content and len(recordings[number].whole())


def test_tars_of_the_same_files_stay(source, arrow, tmp_path):
    folder, sounds = source
    assert prepare(tmp_path).returncode == 0
    tars = sorted((tmp_path / "new").rglob("*.tar"))
    before = [tar.stat().st_mtime_ns for tar in tars]
    with tars[1].open("r+b") as stream:
        stream.truncate(100)  # as by another program; this one writes whole files
    assert "2 tars of parquet files, 1 of them new" in prepare(tmp_path).stdout
    assert tars[0].stat().st_mtime_ns == before[0]
    write(arrow, folder / "data" / "train-00001-of-00002.parquet", sounds[:3], speaker_id=["x", "y", "z"])
    result = prepare(tmp_path)
    assert_refused(result, "train_list.txt exists and differs")
    (tmp_path / "new" / "train_list.txt").unlink()
    assert "2 tars of parquet files, 0 of them new" in prepare(tmp_path).stdout
    assert "speakers in 2 tars" in prepare(tmp_path).stdout
    write(arrow, folder / "data" / "test-00000-of-00001.parquet", sounds[:1], speaker_id=["x"])
    assert_refused(
        prepare(tmp_path), "test-00000-of-00001.parquet seems to be held out from data/train-00000"
    )
    (folder / "data" / "test-00000-of-00001.parquet").unlink()
    (folder / "data" / "train-00001-of-00002.parquet").unlink()
    assert_refused(prepare(tmp_path), f"{tars[1]}: of none of the parquet files in {folder}; remove it")


def test_the_column_of_speakers_can_be_chosen(source, arrow, tmp_path):
    folder, sounds = source
    assert prepare(tmp_path).returncode == 0
    for path in folder.rglob("*.parquet"):
        write(arrow, path, sounds[:2], speaker=["1", "2"], reader=["r", "s"], client_id=["3", "4"])
    words = "the column of speakers may be speaker or client_id; name it by --speaker_column"
    assert_refused(prepare(tmp_path), words)
    assert_refused(
        prepare(tmp_path, "--speaker_column=x"), "isn't among text, audio, speaker, reader, client_id"
    )
    (tmp_path / "new" / "train_list.txt").unlink()
    assert "2 of them new" in prepare(tmp_path, "--speaker_column=reader").stdout
    assert read_train_list(str(tmp_path / "new" / "train_list.txt")).speakers == ["r", "s"]


WAV = sound()
WRONG = {  # recordings, other columns -> words of the error
    "no bytes": (
        [WAV, WAV, WAV, None],
        {"speaker": list("abcd")},
        "row 3: has no recording; expected its bytes",
    ),
    "empty": ([b""], {"speaker": ["a"]}, "row 0: has no recording"),
    "another format": (
        [WAV, b"\0\0\0 ftypM4A"],
        {"speaker": list("ab")},
        r"row 1: begins with b'\x00\x00\x00 '",
    ),
    "no speaker": (
        [WAV, WAV],
        {"speaker": ["a", None]},
        "row 1: its speaker is None, expected a text or number",
    ),
    "empty speaker": ([WAV], {"speaker": [""]}, "row 0: its speaker is '', expected"),
    "a fraction": ([WAV], {"speaker": [0.5]}, "row 0: its speaker is 0.5, expected"),
    "no column of speakers": ([WAV], {}, "the column of speakers isn't among text, audio; name it"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_rows_are_one_line(arrow, tmp_path, kind):
    contents, columns, words = WRONG[kind]
    write(arrow, tmp_path / "hf" / "a.parquet", contents, **columns)
    assert_refused(prepare(tmp_path), f"{tmp_path}/hf/a.parquet: {words}")
    assert not list((tmp_path / "new").rglob("*.tar"))


def test_damaged_files_and_other_folders_are_refused(source, tmp_path):
    folder, _ = source
    [path, _] = sorted(folder.rglob("*.parquet"))
    content = path.read_bytes()
    middle = len(content) // 2
    for damaged in (content[:middle], b"", b"PAR1" * 9, content[:4] + bytes(middle) + content[middle + 4 :]):
        path.write_bytes(damaged)
        assert_refused(prepare(tmp_path), f"{path}: ")
    path.write_bytes(content)
    (folder / "x.tar").write_bytes(b"")
    assert_refused(prepare(tmp_path), f"{folder}/x.tar: of none of the parquet files in {folder}")


def test_a_file_without_recordings_is_refused(arrow, tmp_path):
    (tmp_path / "hf").mkdir()
    __import__("pyarrow.parquet")
    arrow.parquet.write_table(
        arrow.table({"audio": ["a.wav"], "speaker": ["a"]}), tmp_path / "hf" / "a.parquet"
    )
    assert_refused(
        prepare(tmp_path), "a.parquet: expected a column audio, a struct with bytes", "only audio, speaker"
    )


def test_without_pyarrow_or_parquet_files_the_advice_is_given(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "hf").mkdir()
    assert_refused(prepare(tmp_path, "--speaker_column=x"), "--speaker_column is for parquet files")
    (tmp_path / "hf" / "a.parquet").write_bytes(b"")
    assert_refused(prepare(tmp_path), "parquet files need a package: pip install pyarrow")
