"""The recordings of `make demo`: what examples/demo holds, and how --demo unpacks it."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import ROOT, voice

from audio.lists import read_train_list
from preparation import demo
from preparation.generate import SavedLists, training_command

TRIALS = (demo.SOURCE / "test_list.txt").read_text().splitlines()


@pytest.fixture(scope="module")
def clips():
    """All recordings of the demo."""
    return demo.read_clips(demo.SOURCE)


def test_every_recording_is_in_its_file_once(clips):
    names = {path.name for path in demo.SOURCE.glob("*.opus")}
    assert {clip.file for clip in clips} == names
    assert len({clip.path for clip in clips}) == len(clips)
    for name in names:
        ends = 0
        for clip in (clip for clip in clips if clip.file == name):
            assert clip.start >= ends
            ends = clip.start + clip.num_samples
        assert ends <= soundfile.info(demo.SOURCE / name).frames
    demo.require_checksums(demo.SOURCE)
    sums = (demo.SOURCE / "sha256sums.txt").read_text().split()
    assert {*sums[1::2], "README.md", "sha256sums.txt"} == {path.name for path in demo.SOURCE.iterdir()}
    assert sum(path.stat().st_size for path in demo.SOURCE.iterdir()) < 25e6


def test_speakers_and_corpora_of_train_and_test_differ_as_the_readme_says(clips):
    readme = (demo.SOURCE / "README.md").read_text()
    counts = []
    speakers = {}
    for part in ("train", "test"):
        of_part = [clip for clip in clips if clip.path.startswith(f"{part}/")]
        speakers[part] = {clip.speaker for clip in of_part}
        for corpus in {clip.file.split(".")[0] for clip in of_part}:
            of_corpus = [clip for clip in of_part if clip.file.startswith(f"{corpus}.")]
            counts.append(f"{len(of_corpus)} of {len({clip.speaker for clip in of_corpus})}")
            row = next(line for line in readme.splitlines() if f"`{corpus}.{part}`" in line)
            assert counts[-1] in row and ("CC BY 4.0" in row or "CC0 1.0" in row)
    assert len(counts) == 8 and not speakers["train"] & speakers["test"]
    assert f"{len(speakers['train'])} of them to train on and {len(speakers['test'])} others" in readme


def test_trials_are_right_and_within_a_corpus_and_a_language(clips):
    places = {clip.path: clip for clip in clips}
    assert len(set(TRIALS)) == len(TRIALS) > 900
    for line in TRIALS:
        label, *pair = line.split()
        first, second = (places[path] for path in pair)
        assert (label == "1") == (first.speaker == second.speaker) and first.path != second.path
        assert first.file == second.file
        if first.speaker.startswith("cv_"):
            assert first.speaker.split("_")[1] == second.speaker.split("_")[1]


def test_the_demo_compares_recordings_that_it_has(clips):
    makefile = (ROOT / "Makefile").read_text()
    a, b, c = (re.search(f"^DEMO_{x} := data/demo/(.*)$", makefile, re.MULTILINE)[1] for x in "ABC")
    assert f"1 {a} {b}" in TRIALS and f"0 {a} {c}" in TRIALS


def test_recordings_are_decoded_where_they_are(tmp_path):
    """Two speakers with two recordings each in one file; the trials are copied."""
    source, root = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    sounds = [0.9 * voice(i // 2, i, 0.5) / np.abs(voice(i // 2, i, 0.5)).max() for i in range(4)]
    stream = np.concatenate([np.pad(sound, (0, 640)) for sound in sounds])  # 8,000 samples, then silence
    soundfile.write(source / "a.opus", stream, 16_000, format="OGG", subtype="OPUS")
    paths = ["train/x/0/0.wav", "train/x/0/1.wav", "test/y/0/0.wav", "test/y/0/1.wav"]
    rows = [f"{path}\ta.opus\t{8640 * i}\t8000" for i, path in enumerate(paths)]
    (source / "clips.tsv").write_text("\n".join(["path\tfile\tstart\tsamples", *rows]))
    (source / "test_list.txt").write_text(f"1 {paths[2]} {paths[3]}\n")
    names = ("a.opus", "clips.tsv", "test_list.txt")
    sums = [f"{demo.file_checksum(source / name, 'sha256').value}  {name}\n" for name in names]
    (source / "sha256sums.txt").write_text("".join(sums))
    saved = demo.prepare(root, source)
    assert saved.messages[0].endswith("2 recordings of 1 speakers")
    assert read_train_list(str(saved.train_list)).paths == paths[:2]
    for path, sound in zip(paths, sounds, strict=True):
        decoded, rate = soundfile.read(root / path)
        assert rate == 16_000 and len(decoded) == 8000
        assert np.corrcoef(decoded, sound)[0, 1] > 0.9
    (root / paths[1]).write_bytes(b"")  # a full disk; decoded again
    whole = root / paths[0]
    demo.prepare(root, source)
    assert (root / paths[1]).stat().st_size == whole.stat().st_size == 44 + 16_000
    shutil.copy(source / "clips.tsv", source / "test_list.txt")
    with pytest.raises(ValueError, match=r"test_list.txt differs from sha256sums.txt; take it from"):
        demo.prepare(root, source)
    (source / "a.opus").unlink()
    with pytest.raises(ValueError, match=r"a.opus is missing, and is in sha256sums.txt; take it from"):
        demo.prepare(root, source)


def test_what_comes_next_is_the_recipe_for_these_recordings():
    saved = SavedLists(Path("d/train_list.txt"), Path("d"), Path("d/test_list.txt"), Path("d"), [])
    words = (
        "--config configs/demo.yaml --train_list d/train_list.txt --train_path d --test_list d/test_list.txt"
    )
    assert (
        training_command([saved], "configs/demo.yaml") == f"python trainSpeakerNet.py {words} --test_path d"
    )
