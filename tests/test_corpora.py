"""corpora/*.py, tree.py, archives.py: addresses, checksums, path patterns, recordings found on the disk."""

import hashlib
import os
import re

import pytest
import soundfile
from conftest import assert_refused, run_here, voice

import dataprep
from corpora._corpus import Listing
from preparation.corpus_lists import link_all_speakers
from preparation.generate import read_genders
from preparation.tree import find_tree, read_tree
from storage.files import walk

EXAMPLES = {  # a path under the root -> part, speaker and session; None if it belongs to neither part
    "voxceleb1": {
        "id10001/1zcIwhmdeo4/00001.wav": ("train", "id10001", "1zcIwhmdeo4"),
        "id10270/5r0dWxy17C8/00001.wav": ("test", "id10270", "5r0dWxy17C8"),
        "id10309/0b1inHMAr6o/00001.wav": ("test", "id10309", "0b1inHMAr6o"),
        "id10310/0b1inHMAr6o/00001.wav": ("train", "id10310", "0b1inHMAr6o"),
        "id00012/21Uxsk56VDQ/00001.wav": None,
    },
    "voxceleb2": {
        "id00012/21Uxsk56VDQ/00001.wav": ("train", "id00012", "21Uxsk56VDQ"),
        "id10001/a/1.wav": None,
    },
    "librispeech": {
        "train-clean-100/103/1240/103-1240-0000.flac": ("train", "103", "1240"),
        "test-other/1688/142285/1688-142285-0000.flac": ("test", "1688", "142285"),
    },
    "mini_librispeech": {
        "train-clean-5/19/198/19-198-0000.flac": ("train", "19", "198"),
        "dev-clean-2/84/121123/84-121123-0000.flac": ("test", "84", "121123"),
    },
    "cnceleb": {
        "CN-Celeb_flac/data/id00012/interview-01-002.flac": ("train", "id00012", "interview-01"),
        "CN-Celeb2_flac/data/id10001/live_broadcast-01-002.flac": ("train", "id10001", "live_broadcast-01"),
        "CN-Celeb_flac/data/id00800/song-01-002.flac": ("test", "id00800", "song-01"),
        "CN-Celeb_flac/data/id00999/song-01-002.flac": ("test", "id00999", "song-01"),
    },
    "voxblink2": {"id000001/aB-cdEfg_h1/00000.wav": ("train", "id000001", "aB-cdEfg_h1")},
    "musan": {"noise/free-sound/noise-free-sound-0000.wav": ("train", "noise", "free-sound")},
    "rirs_noises": {"smallroom/Room001/Room001-00001.wav": ("train", "smallroom", "Room001")},
}


@pytest.mark.parametrize("name", dataprep.corpora())
def test_every_corpus_is_described(name):
    corpus = dataprep.corpora()[name]
    assert corpus.title and corpus.licence and "http" in corpus.access
    for archive in corpus.archives:
        assert all(re.fullmatch("[0-9a-f]{32}", part.md5 or "0" * 32) for part in archive.parts)
        assert archive.md5 is None or re.fullmatch("[0-9a-f]{32}", archive.md5)
    for part in (
        *corpus.lists,
        *corpus.tables,
        *(part for archive in corpus.archives for part in archive.parts),
    ):
        assert part.url.startswith("https://") and part.url.endswith(part.name)
    paths = EXAMPLES.get(name, {})  # others name their speakers in files: test_protocols.py
    assert paths or corpus.protocols or isinstance(corpus.train, Listing)
    for path, expected in paths.items():
        matches = [
            (kind, match["speaker"], match["session"])
            for kind in ("train", "test")
            if (tree := getattr(corpus, kind)) and (match := re.fullmatch(tree.pattern, path))
        ]
        assert matches == ([expected] if expected else [])


def test_recordings_are_found_in_any_mirrors_layout(tmp_path):
    corpus = dataprep.corpora()["voxceleb1"]
    for folder, speaker in (("mirror/vox1/dev/wav", "id10001"), ("mirror/vox1/test/wav", "id10270")):
        path = tmp_path / folder / speaker / "video" / "00001.wav"
        path.parent.mkdir(parents=True)
        soundfile.write(path, voice(1, 1, 0.1), 16_000)
    assert find_tree(corpus.train, tmp_path / "data", tmp_path) == tmp_path / "mirror/vox1/dev/wav"
    assert find_tree(corpus.test, tmp_path / "data", tmp_path) == tmp_path / "mirror/vox1/test/wav"
    assert find_tree(corpus.train, tmp_path / "data", None) is None
    utterances = read_tree(tmp_path / "mirror/vox1/dev/wav", corpus.train.pattern)
    assert utterances == (["id10001/video/00001.wav"], ["id10001"], ["video"])


def recording(path, seed=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, voice(seed, 1, 0.1), 16_000)
    return path


@pytest.mark.parametrize("first", ["id00000", "id00900"])
def test_cnceleb_is_recognised_by_any_of_its_speakers(first, tmp_path):
    corpus = dataprep.corpora()["cnceleb"]
    for speaker in (first, "id00500", "id00801"):
        recording(tmp_path / "have" / "CN-Celeb_flac" / "data" / speaker / "song-01-001.flac")
    recording(tmp_path / "have" / "CN-Celeb_flac" / "data" / "a" / "song-01-001.flac")
    for tree in (corpus.train, corpus.test):
        assert find_tree(tree, tmp_path / "data", tmp_path) == tmp_path / "have"


def test_no_file_is_listed_twice_through_links(tmp_path):
    for speaker in "ab":
        recording(tmp_path / "in" / speaker / "1.wav")
    (tmp_path / "in" / "a" / "loop").symlink_to("..")
    (tmp_path / "in" / "a" / "to_b").symlink_to("../b")
    (tmp_path / "in" / "b" / "to_a").symlink_to("../a")
    (tmp_path / "in" / "b" / "self").symlink_to("self")
    paths = [path for path in walk(tmp_path / "in") if path.endswith(".wav")]
    assert paths == ["a/1.wav", "a/to_b/1.wav", "b/1.wav", "b/to_a/1.wav"]


def test_an_unreadable_folder_is_named_if_there_are_no_recordings(tmp_path, monkeypatch):
    (tmp_path / "have" / "lost+found").mkdir(parents=True)
    scandir = os.scandir

    def refuse(folder):
        if str(folder).endswith("lost+found"):
            raise PermissionError(13, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    words = (
        "--corpus",
        "voxceleb1",
        "--generate",
        "--from",
        tmp_path / "have",
        "--save_path",
        tmp_path / "x",
    )
    assert_refused(run_here("dataprep.py", *words), "no recordings in", "lost+found can't be read")
    recording(tmp_path / "have" / "wav" / "id10001" / "v" / "1.wav")
    result = run_here("dataprep.py", *words)
    assert result.returncode == 0 and "lost+found" not in result.stdout


def test_genders_of_both_voxcelebs_and_librispeech(tmp_path):
    root = tmp_path / "voxceleb1" / "dev" / "wav"
    root.mkdir(parents=True)
    for name, text in {
        "voxceleb1/a.csv": "VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\nid10001\tA.J.\tm\tIreland\n",
        "b.csv": "VoxCeleb2 ID ,VGGFace2 ID ,Gender ,Set \nid10001 ,n000012 ,m ,dev \n",
        "voxceleb1/dev/wav/c.txt": ";ID  |SEX| SUBSET\nid10001 | M | train-clean-100 | 25.03 | F\n",
    }.items():
        (tmp_path / name).write_text(text)
        assert read_genders(name.rpartition("/")[2], root) == {"id10001": "m"}
    assert read_genders("absent.csv", root) is None


def test_links_to_all_speakers_hold_where_save_path_is_one_and_follow_the_source(tmp_path):
    corpus = dataprep.corpora()["voxceleb1"]
    for mirror in "ab":
        for part, speaker in (("dev", "id10001"), ("test", "id10270")):
            recording(tmp_path / mirror / part / "wav" / speaker / "v" / "1.wav")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    save_path = tmp_path / "data"
    save_path.symlink_to("deep/er")
    for mirror in "ab":
        link_all_speakers(save_path, tmp_path / mirror, corpus)
        everyone = save_path / "voxceleb1" / "all" / "wav"
        assert sorted(link.name for link in everyone.iterdir()) == ["id10001", "id10270"]
        assert all(
            (link / "v" / "1.wav").samefile(next(tmp_path.glob(f"{mirror}/*/wav/{link.name}/v/1.wav")))
            for link in everyone.iterdir()
        )


def test_archives_in_parts_without_a_joined_checksum(tmp_path, monkeypatch):
    (archive,) = (a for a in dataprep.corpora()["cnceleb"].archives if len(a.parts) > 1)
    contents = {part.name: part.name.encode() for part in archive.parts}
    parts = tuple(p._replace(md5=hashlib.md5(contents[p.name]).hexdigest()) for p in archive.parts)
    corpora = {"cnceleb": dataprep.corpora()["cnceleb"]._replace(archives=(archive._replace(parts=parts),))}
    monkeypatch.setattr(dataprep, "corpora", lambda: corpora)
    folder = tmp_path / "archives"
    folder.mkdir()
    words = ("--corpus", "cnceleb", "--concatenate", "--save_path", tmp_path)
    assert "no archive in parts is there" in run_here("dataprep.py", *words).stdout
    for count, part in enumerate(parts, start=1):
        (folder / part.name).write_bytes(contents[part.name])
        output = run_here("dataprep.py", *words).stdout
        assert ("3 files, whole" in output) if count == 3 else (f"{count} of 3 parts; missing" in output)
    (folder / parts[1].name).write_bytes(b"x")
    assert_refused(run_here("dataprep.py", *words), "cn-celeb2_v2.tar.gzab: expected md5")


def test_librispeech_from_the_disk(tmp_path):
    """A tree on the disk: trials of speakers outside the train list, across chapters, of one gender."""
    genders = {"10": "F", "11": "M", "20": "F", "21": "F", "22": "M", "23": "M"}
    root = tmp_path / "have" / "LibriSpeech"
    for speaker in genders:
        subset = "train-clean-5" if speaker < "20" else "dev-clean-2"
        for chapter in ("1", "2"):
            for take in range(3):
                path = root / subset / speaker / chapter / f"{speaker}-{chapter}-{take:04d}.flac"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, voice(int(speaker), take, 0.1), 16_000)
    table = "".join(f"{s} | {g} | subset | 25.0 | Name\n" for s, g in genders.items())
    save_path = tmp_path / "data"
    (root / "SPEAKERS.TXT").write_text("; ID | SEX\n" + table)
    words = (
        "--corpus",
        "mini_librispeech",
        "--generate",
        "--from",
        tmp_path / "have",
        "--save_path",
        save_path,
    )
    result = run_here("dataprep.py", *words, "--num_trials", 40)
    assert result.returncode == 0, result.stderr
    assert f"their paths start at {root}" in result.stdout
    train = (save_path / "mini_librispeech_train_list.txt").read_text().splitlines()
    assert len(train) == 12 and all("train-clean-5" in line for line in train)
    trials = [
        line.split() for line in (save_path / "mini_librispeech_test_list.txt").read_text().splitlines()
    ]
    assert len(trials) == 40
    for label, first, second in trials:
        _, *a = first.split("/")
        _, *b = second.split("/")
        assert genders[a[0]] == genders[b[0]] and (a[0] == b[0]) == (label == "1")
        assert label == "0" or a[1] != b[1]


@pytest.mark.parametrize("folder", ["", "part/"])
def test_check_finds_speakers_of_both_lists_wherever_their_folder_stands(folder, tmp_path):
    for speaker in "abc":
        for take in range(2):
            path = tmp_path / folder / speaker / "s0" / f"{take}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, voice(ord(speaker), take, 0.6), 16_000)
    a, b, c = ([f"{folder}{speaker}/s0/{take}.wav" for take in range(2)] for speaker in "abc")
    lists = {"train": f"a {a[0]}\nb {b[0]}\nb {b[1]}\n", "test": f"0 {a[1]} {c[0]}\n1 {c[0]} {c[1]}\n"}
    words = ["--root", tmp_path]
    for name, lines in lists.items():
        (tmp_path / f"{name}.txt").write_text(lines)
        words += [f"--{name}_list", tmp_path / f"{name}.txt"]
    result = run_here("dataprep.py", "--check", *words, "--save_path", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert "1 shared speakers" in result.stdout and "1 finding," in result.stdout
    report = (tmp_path / "out" / "check" / "own" / "check.txt").read_text()
    assert "1 of 2 in test.txt are in train.txt: a\n" in report
