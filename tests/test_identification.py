"""The verbs about enrolled speakers, with a small trained network."""

import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from conftest import assert_refused, run_here

from evaluation.cohort import Cohort
from inference import load
from inference.diarization.diarizer import diarize
from inference.diarization.naming import NamedSpeaker
from inference.speakers.database import SpeakerDatabase
from inference.speakers.identification import SpeakerBook, model_of, open_book
from inference.speakers.open_set import OpenSetRule
from inference.thresholds import Rule


@pytest.fixture(scope="module")
def enrolled(trained, corpus, tmp_path_factory):
    """A database of five speakers with two recordings each, and the words that name it and its model."""
    path = tmp_path_factory.mktemp("enrolled") / "s.db"
    answering = load(str(trained[0]), device="cpu")
    for speaker in range(5):
        files = [corpus.root / f"spk{speaker}" / f"{take}.wav" for take in range(2)]
        assert "5 s or more are advised" in answering.enrol(f"speaker {speaker}", files, path)[-1]
    return answering, [f"--db={path}", f"--initial_model={trained[0]}", "--device=cpu"]


@pytest.fixture(autouse=True)
def one_voice(enrolled, monkeypatch):
    """The model is read once; a command would read it again each time."""
    monkeypatch.setattr("inference.voices.load", lambda *_, **__: enrolled[0])


def call(*words):
    return run_here("inferSpeakerNet.py", *words)


def test_speakers_are_identified_and_strangers_are_not(enrolled, corpus, tmp_path):
    answering, words = enrolled
    file, stranger = corpus.root / "spk3" / "4.wav", corpus.root / "spk5" / "0.wav"
    result = call("identify", file, *words, "--threshold=-1", "--format=json", "--top=3")
    answer = json.loads(result.stdout)
    assert result.returncode == 0 and answer["speaker"] == "speaker 3" and len(answer["ranked"]) == 3
    # the score is that with the mean of the two recordings
    vectors = answering.embed_files([corpus.root / "spk3" / f"{take}.wav" for take in range(2)])
    mean = vectors.mean(axis=0)
    expected = answering.embed_files([file])[0] @ mean / np.linalg.norm(mean)
    assert answer["ranked"][0]["score"] == pytest.approx(float(expected), abs=1e-5)
    database = words[0].removeprefix("--db=")
    found = answering.identify(soundfile.read(file), database, threshold=-1.0)
    assert found.answer.name == "speaker 3"
    assert found.ranked[0].score == pytest.approx(answer["ranked"][0]["score"], abs=1e-4)
    result = call("identify", file, stranger, *words, "--threshold=2")
    assert (
        result.returncode == 1 and result.stdout.count("nobody: the score is below the threshold 2.000") == 2
    )
    assert "speaker 3" in result.stdout and "(as given)" in result.stdout
    result = call("identify", file, *words, "--threshold=-1", "--margin=2")
    assert result.returncode == 1 and "differ by less than the margin 2.000" in result.stdout
    soundfile.write(tmp_path / "silent.wav", np.zeros(16_000), 16_000)
    result = call("identify", tmp_path / "silent.wav", tmp_path / "none.wav", *words, "--threshold=-1")
    assert result.returncode == 2 and "silent.wav: no speech in 1.0 s" in result.stdout
    assert "error: " in result.stderr and "none.wav" in result.stderr


def test_a_speaker_is_verified_by_one_score(enrolled, corpus, monkeypatch):
    words = enrolled[1]
    file = corpus.root / "spk2" / "3.wav"
    result = call("verify", " speaker 2 ", file, *words, "--threshold=-1", "--format=json")
    answer = json.loads(result.stdout)
    assert result.returncode == 0 and answer["speaker"] == "speaker 2"
    below = answer["ranked"][0]["score"] + 0.001
    result = call("verify", "speaker 2", file, *words, f"--threshold={below}")
    assert result.returncode == 1 and "not speaker 2: the score is below the threshold" in result.stdout
    unknown = call("verify", "speaker 9", "none.wav", *words, "--threshold=0")  # before anything is read
    assert_refused(unknown, "speaker 9: unknown; did you mean")
    assert_refused(call("verify", "speaker 2", file, *words, "--threshold=nan"), "--threshold", "nan")
    assert_refused(
        call("verify", "speaker 2", file, *words), "no threshold; give --threshold, tune the database"
    )


def test_rules_are_given_or_tuned_or_the_models(enrolled, monkeypatch):
    answering, (db, *_) = enrolled
    monkeypatch.setattr(answering, "rule", Rule(0.5, "measured", None, 0.02))
    with open_book(answering, db.removeprefix("--db=")) as book:
        database = book.database
        model_rule = book.rule()
        assert (model_rule.threshold, model_rule.tail, model_rule.margin) == (0.5, 0.02, 0.04)
        assert SpeakerBook(answering, database, margin=0.3).rule().margin == 0.3
        tuned = book.tune(0.05).rule
        assert book.rule() == tuned and tuned.origin.startswith("tuned on 10 recordings of 5 speakers on 20")
        assert SpeakerBook(answering, database, margin=0.3).rule().threshold == tuned.threshold
        with pytest.raises(ValueError, match="expected numbers, got threshold nan"):
            SpeakerBook(answering, database, threshold=float("nan"))
        given = SpeakerBook(answering, database, threshold=0.7).rule()
        assert (given.threshold_for(99), given.margin, given.origin) == (0.7, 0.0, "as given")
        database.set_tuning(database.tuning() | {"score_norm": "other"})
        with pytest.raises(ValueError, match="tuned with another cohort; tune it again"):
            book.rule()
        with database.writing() as connection:
            connection.execute("DELETE FROM meta WHERE key = 'tuning'")


def test_enrolment_says_what_is_wrong_with_recordings(enrolled, corpus, tmp_path, monkeypatch):
    answering, (_, *words) = enrolled
    monkeypatch.setattr(answering, "rule", Rule(0.999, "strict", None, 0.0))
    db = f"--db={tmp_path / 'new.db'}"
    files = [corpus.root / "spk0" / "0.wav", corpus.root / "spk1" / "0.wav"]
    result = call("enrol", "id1", *files, tmp_path / "none.wav", db, *words, "--prototypes=max")
    assert result.returncode == 2 and "none.wav" in result.stderr  # the others are enrolled
    assert "id1: 2 recordings" in result.stdout and "may be of different speakers" in result.stdout
    assert "s of speech in all, 5 s or more are advised" in result.stdout
    result = call("enrol", "id2", files[0], db, *words, "--format=json")
    remarks = json.loads(result.stdout)["remarks"]
    assert result.returncode == 0 and "id2 resembles id1, who is enrolled already" in remarks[-1]
    assert call("enrol", "Cleo", tmp_path / "none.wav", db, *words).returncode == 2
    never = tmp_path / "never.db"
    assert call("enrol", "Cleo", tmp_path / "none.wav", f"--db={never}", *words).returncode == 2
    result = call("enrol", "Cleo", "-", f"--db={never}", *words)
    assert result.returncode == 2 and "standard input can't be enrolled" in result.stderr
    assert not never.exists()
    assert_refused(call("enrol", "Cleo", files[0], f"--db={never}/s.db", *words), "doesn't exist")
    assert_refused(call("enrol", "", files[0], db, *words), "a blank one")
    assert_refused(call("enrol", "id1", files[0], db, *words, "--prototypes=mean"), "leave the flag out")
    result = call("list", db)
    assert [line.split()[-1] for line in result.stdout.splitlines()] == ["id1", "id2"]
    assert [
        json.loads(line)["path"] for line in call("list", "id1", db, "--format=json").stdout.splitlines()
    ] == [str(file) for file in files]
    assert call("remove", "id1", f"--recording={files[1]}", db).returncode == 0
    assert len(call("dump", db, "--format=csv").stdout.splitlines()) == 3
    assert call("remove", "id2", db).returncode == 0
    assert len(call("dump", db, "--vectors").stdout.splitlines()) == 2
    result = call("db-check", db)
    assert result.returncode == 0 and "1 speakers, nothing wrong" in result.stdout


def test_databases_of_another_model_are_refused_until_they_are_migrated(enrolled, corpus, tmp_path):
    answering, (_, *words) = enrolled
    path = tmp_path / "s.db"
    other = model_of(answering)._replace(name="old.model", fingerprint="0", embedding_size=2)
    file = corpus.root / "spk0" / "0.wav"
    with SpeakerDatabase.create(path, other) as database, database.writing() as connection:
        connection.execute("INSERT INTO speakers (name) VALUES ('id1')")
        columns = "speaker, path, vector, duration_s, speech_s, date"
        values = str(file), b"\0" * 8, "2026-01-01T00:00:00Z"
        sql = f"INSERT INTO recordings ({columns}) VALUES (1, ?, ?, 1.0, 1.0, ?)"
        connection.execute(sql, values)
    refused = call("identify", file, f"--db={path}", *words, "--threshold=0")
    assert_refused(refused, "computed by --initial_model old.model --vad", "(migrate)")
    result = call("migrate", f"--db={path}", *words)
    assert result.returncode == 0 and "1 recordings embedded by" in result.stdout
    assert call("identify", file, f"--db={path}", *words, "--threshold=0.9").returncode == 0
    assert_refused(call("tune", f"--db={path}", *words), "tuning needs 5 speakers")
    assert_refused(call("identify", file, f"--db={tmp_path / 'x.db'}", *words), "x.db: no such database")


def test_scores_are_normalised_by_the_models_cohort(enrolled, corpus, tmp_path, monkeypatch):
    answering = enrolled[0]
    entries = torch.nn.functional.normalize(torch.randn(6, 512, generator=torch.Generator().manual_seed(0)))
    cohort = Cohort(entries, torch.arange(6), list("abcdef"), [], torch.arange(0), None, "")
    monkeypatch.setattr(answering, "cohort", cohort)
    monkeypatch.setattr(answering, "values", answering.values.replaced(score_norm="asnorm", top_n=3))
    monkeypatch.setattr(answering, "is_norm_asked_for", True)
    first, second = (answering.listen(corpus.root / f"spk{speaker}" / "0.wav") for speaker in range(2))
    with open_book(answering, tmp_path / "s.db", prototypes="", threshold=0.0) as book:
        book.enrol("id1", [book.listen(first.name)])
        found = book.identify(second.name)
        assert found.ranked[0].score == pytest.approx(answering.score(first, second), abs=1e-3)
        monkeypatch.setattr(answering, "values", answering.values.replaced(score_norm="znorm"))
        with pytest.raises(ValueError, match=r"znorm of .* identification takes asnorm or snorm"):
            SpeakerBook(answering, book.database)


def test_thresholds_from_before_the_model_had_a_cohort_are_for_cosines(
    enrolled, corpus, tmp_path, monkeypatch
):
    answering = enrolled[0]
    generator = torch.Generator().manual_seed(0)
    entries = torch.nn.functional.normalize(torch.randn(6, 512, generator=generator))
    cohort = Cohort(entries, torch.arange(6), [], [], torch.arange(0), None, "")
    monkeypatch.setattr(answering, "cohort", cohort)
    monkeypatch.setattr(answering, "values", answering.values.replaced(score_norm="asnorm", top_n=3))
    monkeypatch.setattr(answering, "rule", Rule(2.0, "measured", None, 0.02))
    first, second = (answering.listen(corpus.root / f"spk{speaker}" / "0.wav") for speaker in range(2))
    cosine = pytest.approx(float(first.vector @ second.vector), abs=1e-5)
    normalised = pytest.approx(answering.score(first, second), abs=1e-3)
    with open_book(answering, tmp_path / "s.db", prototypes="") as book:
        book.enrol("id1", [book.listen(first.name)])
        assert book.identify(second.name).ranked[0].score == normalised != cosine
        rule = OpenSetRule(0.5, 0.1, 0.0, 0.01, "tuned").to_dict()
        book.database.set_tuning({"score_norm": "none", **rule})
        assert book.verify("id1", second.name).ranked[0].score == cosine
        given = SpeakerBook(answering, book.database, threshold=0.5)
        assert given.identify(second.name).ranked[0].score == cosine
        with pytest.raises(ValueError, match="tuning needs 5 speakers"):
            book.tune()  # with the cohort, if there were enough


def test_a_recording_that_cant_be_enrolled_leaves_no_database(enrolled, corpus, tmp_path):
    answering, _ = enrolled
    with pytest.raises(ValueError, match=r"none\.wav: cannot be read"):
        answering.enrol("id1", [corpus.root / "spk0" / "0.wav", tmp_path / "none.wav"], tmp_path / "new.db")
    assert not (tmp_path / "new.db").exists()


def test_who_spoke_when_and_who_is_speaking(enrolled, corpus, tmp_path, monkeypatch):
    answering, words = enrolled
    pieces = [soundfile.read(corpus.root / "spk1" / f"{take}.wav")[0] for take in range(5)]
    soundfile.write(tmp_path / "a.wav", np.concatenate(pieces), 16_000)
    out = tmp_path / "a.rttm"
    result = call("diarize", tmp_path / "a.wav", *words, "--threshold=-1", "--speakers=1", f"--out={out}")
    assert result.returncode == 0 and "a.wav: 1 speaker, speech in " in result.stdout, result.stderr
    assert {line.split()[7] for line in out.read_text().splitlines()} == {"speaker_1"}
    samples = np.concatenate(pieces), 16_000
    found = diarize(answering, samples, num_speakers=1)
    assert [s._replace(speech_s=0.0) for s in found.speakers] == [NamedSpeaker("speaker 1", False, None, 0.0)]
    # nobody is like that
    found = diarize(answering, samples, num_speakers=1, database=words[0][5:], threshold=2.0)
    assert [(s.name, s.is_enrolled) for s in found.speakers] == [("speaker 1", False)]
    found = diarize(answering, samples, num_speakers=99)
    assert found.warnings[0].endswith("of 99 speakers are found")
    found = diarize(answering, samples)
    assert "which was chosen for campplus-zh-en" in found.warnings[0]  # this is another model
    assert len(diarize(answering, samples, least_cosine=-1.0).speakers) == 1
    silence = diarize(answering, (np.zeros(16_000), 16_000))
    assert silence.turns == [] and silence.duration_s == 1.0
    assert_refused(call("diarize", "a.wav", *words, f"--out={out}"), "a.rttm exists already")
    assert_refused(
        call("diarize", "a.wav", *words, "--out=a.txt"), "expected a name that ends in .rttm or .json"
    )
    assert_refused(call("listen", *words), 'expected one of a recording, "-" for standard input, and --mic')
    pcm = (32767 * np.concatenate(pieces)).astype("<i2").tobytes()
    stdin = SimpleNamespace(buffer=io.BytesIO(pcm), isatty=lambda: False)
    monkeypatch.setattr("sys.stdin", stdin)
    result = call("listen", "-", *words, "--threshold=-1")
    lines = result.stdout.splitlines()
    assert result.returncode == 0 and len(lines) == 8, result.stderr
    assert lines[4].endswith("speaker 1") and lines[5] == "  heard      5.0 s, 0.0 s skipped"
