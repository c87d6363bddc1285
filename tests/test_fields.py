"""Names in lists: whatever a file system allows is read back as it was written."""

import os
import random

import numpy as np
import pytest
import soundfile
from conftest import run_here, voice

from audio.enrolments import read_enrolments
from audio.lists import read_excluded, read_train_list
from audio.trials import Trials, read_trials
from audio.utterances import Utterance
from evaluation.trials import write_scores
from metrics.fields import ESCAPED, lines_of, shown, text_of
from metrics.score_files import read_conditions, read_score_file
from preparation.check import Finding, Listed, write_report
from preparation.lists import Utterances, train_list
from storage.files import write_text

PIECES = (  # ordinary characters, blanks of every kind, ends of lines, marks, bytes that aren't UTF-8
    *"ab0.-_#\"'\\%,;:=|~$*?&<>()[]{}éßя中👩",
    *" \t\n\r\v\f\x1c\x1d\x1e\x85\xa0\u1680\u2003\u2028\u2029\u202f\u3000\ufeff\u200b\u200d",
    *"\x01\x7f\udc80\udcff",
    "\\x41",
    "\\n",
)
PLAIN = "ab0.-_éя中"


def names(generator, pieces, count):
    """Distinct names that a folder can hold at once."""
    drawn = {"".join(generator.choices(pieces, k=generator.randint(1, 6))) for _ in range(3 * count)}
    return sorted(drawn - {".", ".."})[:count]


@pytest.mark.parametrize("seed", range(40))
def test_what_is_written_is_read(seed, tmp_path):
    generator = random.Random(seed)
    pieces = generator.choice([PIECES, PIECES, PLAIN, (*PLAIN, " ")])
    people = names(generator, pieces, 3)
    files = [f"{speaker}/{file}" for speaker in people for file in names(generator, pieces, 3)]
    speakers = [file.split("/")[0] for file in files]
    path = tmp_path / "list.txt"

    write_text(path, train_list(Utterances(files, speakers, speakers)))
    listed = read_train_list(str(path))
    assert list(listed.paths) == files and [listed.speakers[label] for label in listed.labels] == speakers

    sides = np.array([generator.choices(range(len(files)), k=2) for _ in range(8)])
    labels = np.array([0, 1] * 4, np.int8)
    write_text(path, text_of((str(k), files[a], files[b]) for k, (a, b) in zip(labels, sides, strict=True)))
    pairs = {tuple(sorted(side)) for side in sides.tolist()}
    if len(pairs) == len(sides):  # a pair with both labels is refused
        trials = read_trials([str(path)])[0]
        assert [trials.names[i] for i in trials.enrol] == [files[i] for i in sides[:, 0]]
        assert [trials.names[i] for i in trials.test] == [files[i] for i in sides[:, 1]]

    scored = Trials(files, sides[:, 0], sides[:, 1], labels)
    write_scores(path, scored, np.arange(8.0))
    read = read_score_file(str(path))
    expected = [(files[a], files[b]) for a, b in sides]
    by_score = sorted(zip(read.scores.tolist(), read.pairs(), strict=True))
    assert [pair for _, pair in by_score] == expected

    write_text(path, text_of([("path", "duration_s"), *((file, "1.5") for file in files)], by_tabs=True))
    assert read_conditions(str(path), files) == {"duration_s": ["1.5"] * len(files)}

    write_text(path, text_of([(speakers[0], *files)]))
    enrolled = read_enrolments(str(path), set().__contains__)
    assert enrolled == {speakers[0]: [Utterance(file) for file in files]}

    findings = [Finding("silent", file, "all zero") for file in files]
    write_report(findings, tmp_path, Listed(dict(zip(files, speakers, strict=True)), [], {}))
    assert read_excluded(str(tmp_path / "excluded.txt")) == set(files)


def test_lists_are_written_as_plainly_as_their_names_allow():
    assert text_of([("a", "b/c.wav")]) == "a b/c.wav\n"
    assert text_of([("a", "b c.wav")]) == "a\tb c.wav\n"
    assert text_of([("a", "b"), ("c d", "é\udcff\\")]) == f"{ESCAPED}\na\tb\nc\\x20d\té\\xff\\x5c\n"


def test_lines_of_other_programs_are_read_as_before():
    pairs = [line.pair() for line in lines_of(["spk a b.wav\n", "\n", "spk\t\ta b.wav\n", " spk  x\\x41 \n"])]
    assert pairs == [("spk", "a b.wav"), ("spk", "a b.wav"), ("spk", "x\\x41")]
    (line,) = lines_of(["1 a\u00a0b.wav c\u202fd.wav\t\n"])  # no-break spaces are parts of names
    assert line.fields() == ["1", "a\u00a0b.wav", "c\u202fd.wav"] and not line.is_by_tabs
    (line,) = lines_of(["0.5\t\ta b.wav\tc.wav\n"])
    assert line.fields() == ["0.5", "a b.wav", "c.wav"]
    assert [line.fields() for line in lines_of([ESCAPED, "a\\x00b \\x41"])] == [["a\\x00b", "A"]]
    (line,) = lines_of(["a b\tc d\n"])
    assert line.pair() == ("a b", "c d") and line.fields() == ["a b", "c d"]


def test_errors_show_names_in_one_line():
    assert shown("a\n\udcff é") == "a\\x0a\\xff é"


@pytest.mark.slow
def test_any_name_from_dataprep_to_the_report(tmp_path):
    """Three people with awkward names: lists, check, pack, training, evaluation with a report, decisions."""
    source = tmp_path / "recordings"
    people = ["John Smith", "tab\there", os.fsdecode(b"latin-1 \xe9\n")]
    for number, person in enumerate(people):
        for take in range(5):
            path = source / person / f"take {take}\udc80.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as stream:
                soundfile.write(stream, voice(number, take), 16_000, format="WAV")
    done = run_here(
        "dataprep.py", "--generate", "--check", "--pack", "--from", source, "--save_path", tmp_path / "lists"
    )
    assert done.returncode == 0 and "0 files to leave out" in done.stdout, done.stderr
    made = tmp_path / "lists"
    words = ["--train_list", made / "train_list.txt", "--test_list", made / "test_list.txt"]
    words += ["--model", "ResNetSE34L", "--n_mels", 16, "--trainfunc", "proto", "--batch_size", 3]
    words += ["--max_frames", 30, "--max_epoch", 1, "--test_interval", 1, "--nDataLoaderThread", 0]
    words += ["--eval_frames", 40, "--num_eval", 1, "--save_path", tmp_path / "run"]
    done = run_here("trainSpeakerNet.py", *words, "--train_path", source, "--test_path", source)
    assert done.returncode == 0, done.stderr
    packed = ["--train_path", made / "pack" / "own", "--test_path", made / "pack" / "own"]
    done = run_here("trainSpeakerNet.py", "--eval", *words, *packed, "--score_norm", "asnorm")
    assert done.returncode == 0, done.stderr
    evaluation = tmp_path / "run" / "result" / "eval"
    assert "latin-1 \\udce9" in (evaluation / "report.html").read_text()
    scored = read_score_file(str(evaluation / "test_list.scores.txt"))
    assert {name.split("/")[0] for name in scored.files} == set(people)
