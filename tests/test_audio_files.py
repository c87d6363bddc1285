"""Files, folders and lists that users name -> recordings, each once."""

import os
from pathlib import Path

import pytest

from inference.audio_files import files_of


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Working folder with `lists` and `speech`; names alone matter, no recording is opened."""
    names = ("a.wav", "b c.m4a", "deep/d.FLAC", "notes.txt", "deep/.hidden.wav", "deep/video.mp4")
    for name in names:
        path = tmp_path / "speech" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "lists").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def listed(name, text):
    path = Path("lists", name)
    path.write_text(text)
    return str(path)


def test_files_and_folders(tree):
    files = files_of(["./new.xyz", "speech", "-", "speech/a.wav", "./speech//deep/d.FLAC"])
    expected = [
        "new.xyz",
        "speech/a.wav",
        "speech/b c.m4a",
        "speech/deep/d.FLAC",
        "speech/deep/video.mp4",
        "-",
    ]
    assert list(files.paths) == list(files.names) == expected
    assert list(files.speakers) == [""] * 6 and files.num_repeated == 2 and files.unreadable == []
    assert list(files_of([]).paths) == []
    assert list(files_of(["./-", "/-", ".//a/./../b"]).paths) == ["./-", "/-", "a/../b"]


@pytest.mark.parametrize(
    ("start", "root"),
    [("speech/", ""), ("../speech/", "lists/"), ("ABSOLUTE/speech/", "")],
    ids=["working folder", "the list's folder", "absolute"],
)
def test_lists_of_paths_and_of_speakers_and_paths(start, root, tree):
    """The first line that names a file decides how all lines are read, those of missing files, too."""
    start = start.replace("ABSOLUTE", str(tree))
    paths = [f"{start}{name}" for name in ("gone.wav", "a.wav", "b c.m4a", "also gone.wav")]
    expected = [f"{root}{path}" for path in paths]
    files = files_of([listed("a.txt", "\n".join(paths))])
    assert list(files.paths) == list(files.names) == expected and set(files.speakers) == {""}
    for separator in " \t":
        lines = [f"s{k % 2}{separator}{path}" for k, path in enumerate(paths)]
        files = files_of([listed("b.lst", "\n".join(lines) + "\n\n" + lines[0])])
        assert list(files.paths) == expected and list(files.speakers) == ["s0", "s1", "s0", "s1"]
        assert files.num_repeated == 1


def test_a_speaker_is_kept_whichever_argument_names_it(tree):
    text = listed("a.txt", "anna speech/a.wav\n")
    for arguments in (["speech/a.wav", text], [text, "./speech/a.wav"]):
        files = files_of(arguments)
        assert list(files.speakers) == ["anna"] and files.num_repeated == 1
    other = listed("b.txt", "bob ./speech/a.wav\n")
    with pytest.raises(ValueError, match=r"^lists/b\.txt: speech/a\.wav is listed under anna and bob$"):
        files_of([text, other])


def test_kaldis_lists_name_their_utterances(tree):
    files = files_of([listed("wav.scp", "u1 speech/a.wav\nu2 speech/b c.m4a\nu3 speech/a.wav\n")])
    assert list(files.paths) == ["speech/a.wav", "speech/b c.m4a", "speech/a.wav"]
    assert list(files.names) == ["u1", "u2", "u3"] and list(files.speakers) == [""] * 3
    other = listed("other.scp", "u1 speech/b c.m4a\n")
    with pytest.raises(
        ValueError, match=r"other\.scp: u1 is speech/b c\.m4a, and in another list speech/a\.wav$"
    ):
        files_of([listed("wav.scp", "u1 speech/a.wav\n"), other])
    with pytest.raises(ValueError, match=r"^lists/wav\.scp:2: u2 is a command; expected a path, "):
        files_of([listed("wav.scp", "u1 speech/a.wav\nu2 sox a.wav -t wav - |\n")])
    with pytest.raises(
        ValueError, match=r"^lists: no recordings \(wav, .*\) in this folder; give its wav\.scp$"
    ):
        files_of(["lists"])


def test_escaped_names_and_names_of_other_bytes(tree):
    name = b"speech/\xff\n.wav"
    Path(os.fsdecode(name)).touch()
    text = listed("a.txt", "# In this list \\xNN stands for a byte of a name.\nspeech/\\xff\\x0a.wav\n")
    assert list(files_of([text]).paths) == [os.fsdecode(name)]
    assert os.fsdecode(name) in list(files_of(["speech"]).paths)


@pytest.mark.parametrize(
    ("argument", "text", "words"),
    [
        ("lists/none.txt", None, "list lists/none.txt: no such file"),
        ("lists/empty.txt", "\n", "list lists/empty.txt: the list is empty"),
        ("lists/bytes.txt", "\udcff", "list lists/bytes.txt: not a text file in UTF-8"),
        (
            "lists/gone.txt",
            "a.wav\ns b.wav\n",
            "lists/gone.txt: no line names a file that is there; relative ",
        ),
        ("lists/gone.scp", "u a.wav\n", "lists/gone.scp: no line names a file that is there; relative paths"),
        ("lists/short.txt", "s speech/a.wav\nspeech/a.wav\n", '.txt:2: expected "speaker path", got 1 field'),
        ("empty", None, "empty: no recordings (wav, flac, mp3, m4a, ...) in this folder"),
        ("fifo.txt", None, "fifo.txt: not a file; expected a list of recordings"),
    ],
)
def test_what_names_no_recordings_is_refused(argument, text, words, tree):
    (tree / "empty").mkdir()
    os.mkfifo("fifo.txt")
    if text is not None:
        Path(argument).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        files_of([argument])
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_folders_that_cannot_be_read_are_named(tree, monkeypatch):
    scandir = os.scandir

    def locked(folder):
        if str(folder).endswith("deep"):
            raise PermissionError
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", locked)
    files = files_of(["speech"])
    assert list(files.paths) == ["speech/a.wav", "speech/b c.m4a"] and files.unreadable == ["speech/deep"]
