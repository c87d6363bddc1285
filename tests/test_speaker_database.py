"""Databases of enrolled speakers: what is kept, refused, searched, checked and re-embedded."""

import csv
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT

from audio.errors import AudioError
from inference.speakers import array_file
from inference.speakers import search as speaker_search
from inference.speakers.cohort_scores import Cohort
from inference.speakers.database import NOTHING, Enrolment, SpeakerDatabase, speaker_name
from inference.speakers.database_file import Model
from inference.speakers.search import SpeakerSearch, index_path
from inference.speakers.upkeep import csv_lines, findings, json_lines, migrate
from normalization.asnorm import Normalization

MODEL = Model("tiny.model", "f" * 64, 3, "--vad none")


def enrolment(path, *values, speech_s=2.5):
    return Enrolment(str(path), np.array(values, np.float32), 3.0, speech_s)


@pytest.fixture
def database(tmp_path):
    with SpeakerDatabase.create(tmp_path / "s.db", MODEL) as opened:
        yield opened


def ranked(search, *values, top=5):
    return [(name, round(score, 6)) for name, score in search.identify(np.array(values), top)]


def test_recordings_are_added_replaced_and_removed(database, tmp_path):
    database.enrol("Ann", [enrolment("/a/1.wav", 1, 0, 0), enrolment("/a/2.wav", 0, 1, 0)])
    database.enrol("Bob", [enrolment("/b/1.wav", 0, 0, 1)])
    database.enrol("Ann", [enrolment("/a/../a/1.wav", 0.6, 0, 0.8)])  # the same path again
    with SpeakerDatabase(tmp_path / "s.db", MODEL.fingerprint) as other:  # another process sees all of it
        assert [speaker[:4] for speaker in other.speakers()] == [("Ann", 2, 6.0, 5.0), ("Bob", 1, 3.0, 2.5)]
        np.testing.assert_array_equal(other.vectors("Ann"), np.float32([[0, 1, 0], [0.6, 0, 0.8]]))
        assert [record.path for record in other.recordings("Ann")] == ["/a/2.wav", "/a/1.wav"]
    database.remove("Ann", "/a/2.wav")
    assert [record.id for record in database.recordings()] == [3, 4]
    database.remove("Ann", "/a/1.wav")  # the last one: the speaker goes too
    assert [speaker.name for speaker in database.speakers()] == ["Bob"]
    database.enrol("Cleo", [enrolment("/c.wav", 1, 0, 0)])
    assert database.recordings("Cleo")[0].id == 5  # numbers are never used again
    assert findings(database) == [f"{n}, {p}: no such file; migrate will need it" for n, p in
                                  (("Bob", "/b/1.wav"), ("Cleo", "/c.wav"))]  # fmt: skip


def test_a_transaction_is_whole_or_not_at_all(database):
    with pytest.raises(ValueError, match=r"/a/2.wav: expected an embedding of 3 values, got"):
        database.enrol("Ann", [enrolment("/a/1.wav", 1, 0, 0), enrolment("/a/2.wav", 0, 1)])
    with pytest.raises(RuntimeError), database.writing() as connection:
        connection.execute("INSERT INTO speakers (name) VALUES ('Ann')")
        raise RuntimeError
    assert database.speakers() == [] and database.version() == NOTHING
    for values in ((np.nan, 0, 0), (np.inf, 0, 0), (0, 0, 0)):
        with pytest.raises(ValueError, match="its embedding isn't finite, or zero"):
            database.enrol("Ann", [enrolment("/a/1.wav", *values)])
    with pytest.raises(ValueError, match="speaker Ann: no recording to enrol"):
        database.enrol("Ann", [])


def test_names_and_paths_may_be_any_text(database):
    assert speaker_name("  Zoe\u0308 Müller ") == "Zo\u00eb Müller"
    for name in ("Zo\u00eb", "李雷", "O'Neil; --", "\U0001f600", "a\u200db"):
        database.enrol(name, [enrolment(f"/{name}.wav", 1, 0, 0), enrolment("/x\udcff\n.wav", 1, 0, 0)])
    assert database.recordings("Zoe\u0308")[1].path == "/x\udcff\n.wav"  # bytes that aren't UTF-8
    database.remove("李雷", "/x\udcff\n.wav")
    assert len(database.recordings("李雷")) == 1
    for name, message in (("", "a blank one"), (" \u3000", "a blank one"), ("a\nb", r"'\\n' can't be part")):
        with pytest.raises(ValueError, match=message):
            database.enrol(name, [enrolment("/a.wav", 1, 0, 0)])
    with pytest.raises(ValueError, match="speaker Zoe: unknown; did you mean Zoë"):
        database.remove("Zoe")
    with pytest.raises(ValueError, match=r"/y.wav: not a recording of 李雷"):
        database.remove("李雷", "/y.wav")
    with pytest.raises(ValueError, match="not a recording of 李雷"):  # an empty variable of a shell
        database.remove("李雷", "")
    assert len(database.recordings("李雷")) == 1


def test_names_are_utf8_and_paths_the_file_systems_in_any_locale(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsencode", lambda path: str(path).encode("latin-1", "surrogateescape"))
    monkeypatch.setattr(os, "fsdecode", lambda name: name.decode("latin-1", "surrogateescape"))
    with SpeakerDatabase.create(tmp_path / "s.db", MODEL) as database:
        database.enrol("李雷", [enrolment("/\u00c3\u00a9.wav", 1, 0, 0)])
        assert [record[1:3] for record in database.recordings()] == [("李雷", "/\u00c3\u00a9.wav")]
        assert database.speakers()[0].name == "李雷"


def test_paths_hold_after_the_working_folder_has_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(speaker_search, "MOST_CHANGED", 0)
    monkeypatch.chdir(tmp_path)
    with SpeakerDatabase.create("odd %20?#\n.db", MODEL) as database:
        database.enrol("Ann", [enrolment("a.wav", 1, 0, 0)])
        (tmp_path / "other").mkdir()
        monkeypatch.chdir(tmp_path / "other")
        assert SpeakerSearch(database).count() == 1
        assert database.recordings()[0].path == str(tmp_path / "a.wav")
        assert (tmp_path / "odd %20?#\n.db.index").is_file() and not list(Path().iterdir())


def _text(path):
    path.write_text("speakers\n" * 100)


def _other_tables(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE songs (name TEXT)")
    connection.close()


def _newer(path):
    SpeakerDatabase.create(path, MODEL).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE meta SET value = '2' WHERE key = 'format'")
    connection.close()


def _without_settings(path):
    SpeakerDatabase.create(path, MODEL).close()
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM meta WHERE key = 'fingerprint'")
    connection.close()


def _damaged(path):
    SpeakerDatabase.create(path, MODEL).close()
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)  # all pages but the first
    path.write_bytes(content)


def _other_model(path):
    SpeakerDatabase.create(path, MODEL._replace(fingerprint="e" * 64)).close()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "s.db: no such database; enrol makes it"),
        (lambda path: path.mkdir(), "s.db: no such database"),
        (_text, "s.db: not a database of speakers"),
        (lambda path: path.touch(), "s.db: an SQLite file, but not a database of speakers"),
        (_other_tables, "s.db: an SQLite file, but not a database of speakers"),
        (_newer, "s.db: its format is 2, this version reads up to 1"),
        (_damaged, "s.db: damaged; restore a copy"),
        (_without_settings, "s.db: its settings are damaged"),
        (
            _other_model,
            "computed by --initial_model tiny.model --vad none, or by that model before it changed",
        ),
    ],
)
def test_what_is_no_database_is_refused_in_a_line(make, message, tmp_path):
    make(tmp_path / "s.db")
    with pytest.raises((ValueError, OSError)) as error:
        SpeakerDatabase(tmp_path / "s.db", MODEL.fingerprint).speakers()
    assert message in str(error.value) and "\n" not in str(error.value)
    if make is _other_tables:
        with pytest.raises(ValueError, match="not a database of speakers"):
            SpeakerDatabase.create(tmp_path / "s.db", MODEL)


def test_an_interrupted_creation_is_completed(tmp_path):
    connection = sqlite3.connect(tmp_path / "s.db")
    connection.execute("PRAGMA journal_mode = WAL")  # the process was killed here
    connection.close()
    with SpeakerDatabase.create(tmp_path / "s.db", MODEL, "max") as database:
        assert database.model == MODEL and database.prototypes == "max"
    with pytest.raises(ValueError, match="made with --prototypes max, got mean; leave the flag out"):
        SpeakerDatabase.create(tmp_path / "s.db", MODEL, "mean")
    with pytest.raises(FileNotFoundError, match=r"the folder .*none doesn't exist"):
        SpeakerDatabase.create(tmp_path / "none" / "s.db", MODEL)


def test_of_processes_that_create_a_database_at_once_none_fails(tmp_path):
    other = sqlite3.connect(tmp_path / "s.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")  # between two steps of its creation
    timer = threading.Timer(0.1, other.close)
    timer.start()
    with SpeakerDatabase.create(tmp_path / "s.db", MODEL) as database:
        assert database.rows("PRAGMA journal_mode") == [("wal",)]
    timer.join()


def test_a_read_only_folder_can_be_searched():
    folder = Path(tempfile.mkdtemp())  # where another user may look
    is_root = os.geteuid() == 0
    try:
        with SpeakerDatabase.create(folder / "s.db", MODEL) as database:
            database.enrol("Ann", [enrolment("/a.wav", 1, 0, 0)])
        folder.chmod(0o555)
        if is_root:  # whom no permission stops
            os.seteuid(65534)
        with SpeakerDatabase(folder / "s.db", MODEL.fingerprint) as database:
            assert ranked(SpeakerSearch(database), 1, 0, 0) == [("Ann", 1.0)]
            with pytest.raises(OSError, match=r"s.db: can't be written: the file or its folder is read-only"):
                database.remove("Ann")
        with pytest.raises(OSError, match=r"t.db: can't be opened"):
            SpeakerDatabase.create(folder / "t.db", MODEL)
    finally:
        if is_root:
            os.seteuid(0)
        shutil.rmtree(folder)


@pytest.mark.parametrize("kind", ["mean", "max"])
def test_one_row_a_speaker_by_the_best_or_the_mean_of_its_recordings(kind, tmp_path):
    with SpeakerDatabase.create(tmp_path / "s.db", MODEL, kind) as database:
        database.enrol("Ann", [enrolment("/1", 1, 0, 0), enrolment("/2", 0, 1, 0)])
        database.enrol("Bob", [enrolment("/3", 0.8, 0, 0.6)])
        search = SpeakerSearch(database)
        # the mean of Ann's is (0.5, 0.5, 0), which becomes (0.7071, 0.7071, 0)
        expected = {"mean": [("Bob", 0.8), ("Ann", 0.707107)], "max": [("Ann", 1.0), ("Bob", 0.8)]}[kind]
        assert ranked(search, 1, 0, 0) == expected
        assert ranked(search, 1, 0, 0, top=1) == expected[:1]
        assert search.score("Ann", np.array([1, 0, 0])) == pytest.approx(dict(expected)["Ann"], abs=1e-6)
        with pytest.raises(ValueError, match="the recording: expected an embedding of 3 values"):
            search.identify(np.ones(4))


@pytest.mark.parametrize("kind", ["mean", "max"])
def test_the_index_shows_what_the_database_says(kind, tmp_path, monkeypatch):
    database = SpeakerDatabase.create(tmp_path / "s.db", MODEL, kind)
    monkeypatch.setattr(speaker_search, "MOST_CHANGED", 2)
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(8, 3))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    vectors = dict(zip("ABCDEFGH", rows.astype(np.float32), strict=True))

    def check(search):
        direct = sorted(vectors, key=lambda name: -vectors[name][0])
        assert [name for name, _ in ranked(search, 1, 0, 0, top=9)] == direct
        assert search.count() == len(vectors)

    search = SpeakerSearch(database)
    assert ranked(search, 1, 0, 0) == [] and search.count() == 0
    for name, vector in vectors.items():
        database.enrol(name, [enrolment("/x", *vector)])
    check(search)
    path = index_path(database.path)
    first = path.stat().st_mtime_ns
    vectors["A"] = np.float32([0.96, 0.28, 0])
    database.enrol("A", [enrolment("/x", *vectors["A"])])
    database.remove("B")
    del vectors["B"]
    check(search)
    check(SpeakerSearch(database))
    assert path.stat().st_mtime_ns == first  # two changes are read from the database
    database.remove("C")
    del vectors["C"]
    check(SpeakerSearch(database))
    assert path.stat().st_mtime_ns != first
    whole = path.read_bytes()
    for content in (b"", b"something else", whole[:-1], whole.replace(kind.encode(), b"nope")):
        path.write_bytes(content)
        check(SpeakerSearch(database))
        assert path.read_bytes() == whole  # made again
    assert not [line for line in findings(database) if "no such file" not in line]
    path.write_bytes(whole[:-4] + b"\0\0\0\x3f")
    with monkeypatch.context() as patch:  # recordings are there
        patch.setattr(os.path, "isfile", lambda path: True)
        assert findings(database) == [f"{path}: differs from the database; delete it, it is made again"]
    database.close()


def test_a_search_needs_no_pytorch(database):
    database.enrol("Ann", [enrolment("/a.wav", 1, 0, 0)])
    code = (
        "import sys; from inference.speakers.search import SpeakerSearch; "
        "from inference.speakers.database import SpeakerDatabase; "
        "print(SpeakerSearch(SpeakerDatabase(sys.argv[1])).identify([1, 0, 0]), 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, database.path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[Match(name='Ann', score=1.0)] False"


def test_a_file_that_is_replaced_meanwhile_is_mapped_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "s.db.index"
    array_file.write_arrays(path, {"number": 1}, [np.arange(3)])
    read_magic = array_file.npy.read_magic

    def replacing(stream):
        array_file.write_arrays(path, {"number": 2}, [np.arange(5, 9)])
        return read_magic(stream)

    monkeypatch.setattr(array_file.npy, "read_magic", replacing)
    header, (numbers,) = array_file.map_arrays(path, 1)
    assert header == {"number": 1} and numbers.tolist() == [0, 1, 2]


def test_an_index_of_another_history_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setattr(speaker_search, "MOST_CHANGED", 0)
    with SpeakerDatabase.create(tmp_path / "s.db", MODEL) as database:
        database.enrol("Ann", [enrolment("/1", 1, 0, 0)])
    shutil.copy(tmp_path / "s.db", tmp_path / "copy.db")
    with SpeakerDatabase(tmp_path / "s.db") as database:
        database.enrol("Bob", [enrolment("/2", 0, 1, 0)])
        SpeakerSearch(database).count()
    for name in ("s.db-wal", "s.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    shutil.move(tmp_path / "copy.db", tmp_path / "s.db")  # restored beside the newer index
    with SpeakerDatabase(tmp_path / "s.db") as database:
        database.enrol("Cleo", [enrolment("/3", 0, 0, 1)])
        assert ranked(SpeakerSearch(database), 0, 1, 0.5) == [("Cleo", 0.5), ("Ann", 0.0)]


@pytest.mark.parametrize("top_n", [0, 3])
def test_scores_are_normalised_as_by_score_norm(database, top_n, monkeypatch):
    generator = np.random.default_rng(1)
    cohort, vectors = (generator.normal(size=(count, 3)).astype(np.float32) for count in (6, 5))
    for name, vector in zip("ABCD", vectors, strict=False):
        database.enrol(name, [enrolment("/x", *vector)])
    sides = vectors.copy()
    sides[:4] /= np.linalg.norm(sides[:4], axis=1, keepdims=True)  # as enrolment models are
    method = Normalization(torch.from_numpy(cohort), top_n=top_n or 6)
    statistics = method.statistics(torch.from_numpy(sides))
    scores = sides[:4].astype(np.float64) @ sides[4]
    expected = method.apply(scores, statistics, np.arange(4), np.full(4, 4))
    search = SpeakerSearch(database, Cohort(cohort, top_n))
    assert dict(search.identify(vectors[4])) == pytest.approx(
        dict(zip("ABCD", expected, strict=True)), abs=1e-5
    )
    assert search.score("B", vectors[4]) == pytest.approx(expected[1], abs=1e-5)
    monkeypatch.setattr(speaker_search, "MOST_CHANGED", 0)  # with an index, whose cohort scores are kept
    for _ in range(2):
        kept = SpeakerSearch(database, Cohort(cohort, top_n)).identify(vectors[4])
        assert dict(kept) == pytest.approx(dict(zip("ABCD", expected, strict=True)), abs=1e-5)
    assert len(list(database.path.parent.glob("s.db.cohort-*.index"))) == 1
    with pytest.raises(
        ValueError, match=r"the cohort has vectors of 2 values, .* of 3; both must be computed"
    ):
        SpeakerSearch(database, Cohort(np.eye(2)))


def test_everything_is_written_as_text(database):
    database.enrol('A "b", \u00e9\U0001f600', [enrolment("/a.wav", 0.1, 0, 1)])
    meta, record = map(json.loads, json_lines(database, with_vectors=True))
    assert meta["database"]["fingerprint"] == MODEL.fingerprint and meta["database"]["embedding_size"] == "3"
    assert all(line.isascii() for line in json_lines(database))  # whatever the terminal's encoding
    assert record["speaker"] == 'A "b", \u00e9\U0001f600' and np.float32(record["vector"]).tolist() == [
        np.float32(0.1),
        0,
        1,
    ]
    assert "vector" not in json.loads(list(json_lines(database))[1])
    header, row = csv.reader(csv_lines(database, with_vectors=True))
    assert (
        header[:5] == ["speaker", "path", "duration_s", "speech_s", "date"]
        and row[0] == 'A "b", \u00e9\U0001f600'
    )
    assert [np.float32(value) for value in row[5:]] == [np.float32(0.1), 0, 1]
    assert [len(row) for row in csv.reader(csv_lines(database))] == [5, 5]


def test_check_finds_what_is_damaged(database, tmp_path):
    (tmp_path / "a.wav").touch()
    database.enrol("Ann", [enrolment(tmp_path / "a.wav", 1, 0, 0)])
    assert findings(database) == []
    database.enrol("Zed", [enrolment("/" + 300 * "x", 1, 0, 0)])  # a name that no file system takes
    assert findings(database)[0].endswith("x: no such file; migrate will need it")
    database.remove("Zed")
    with database.writing() as connection:
        connection.execute("UPDATE recordings SET vector = x'0000'")
        connection.execute("INSERT INTO speakers (name) VALUES ('Bob')")
    found = [f"Ann, {tmp_path / 'a.wav'}: 0 values instead of 3", "Bob: a speaker without recordings"]
    assert findings(database) == found
    with pytest.raises(ValueError, match="a vector has another size; db-check says which"):
        SpeakerSearch(database).count()
    with database.writing() as connection:
        connection.execute("UPDATE recordings SET vector = ?", (np.float32([1, np.nan, 0]).tobytes(),))
    assert findings(database)[0].endswith("a.wav: its embedding isn't finite")
    raw = sqlite3.connect(database.path)
    raw.execute("DELETE FROM speakers WHERE name = 'Ann'")  # without foreign keys
    raw.commit()
    raw.close()
    assert findings(database) == ["row 1 of recordings refers to no speaker"]


def test_migration_embeds_all_again_or_changes_nothing(database, tmp_path):
    paths = [tmp_path / f"{number}.wav" for number in range(3)]
    for path, name in zip(paths, ("Ann", "Bob", "Cleo"), strict=True):
        path.touch()
        database.enrol(name, [enrolment(path, 1, 0, 0)])
    database.set_tuning({"threshold": 0.5})
    other = Model("other.model", "0" * 64, 2)
    late = tmp_path / "late.wav"
    late.touch()

    def embed(path):
        if path == str(paths[1]):  # after Ann's
            raise AudioError(f"{path}: no speech")
        if drops and path == str(paths[0]):  # another process enrols meanwhile
            with SpeakerDatabase(database.path, MODEL.fingerprint) as second:
                second.enrol("Dora", [enrolment(late, 0, 1, 0)])
        embedded.append(path)
        return Enrolment(path, np.float32([len(embedded), 1]), 9.0, 8.0)

    embedded, drops = [], False
    paths[2].unlink()
    with pytest.raises(ValueError, match=r"re-embedded: .*2.wav: no such file; --drop_missing removes them"):
        migrate(database, other, embed)
    assert database.model == MODEL and embedded == []
    with pytest.raises(ValueError, match=r"1.wav: no speech; --drop_missing"):
        paths[2].touch()
        migrate(database, other, embed)
    assert database.model == MODEL and len(database.vectors("Ann")[0]) == 3
    paths[2].unlink()
    embedded, drops = [], True
    removed = migrate(database, other, embed, drop_missing=True)
    assert removed == [f"{paths[2]}: no such file", f"{paths[1]}: no speech"]
    assert database.model == other and database.tuning() is None
    assert [speaker[:3] for speaker in database.speakers()] == [("Ann", 1, 9.0), ("Dora", 1, 9.0)]
    assert embedded == [str(paths[0]), str(late)] and database.vectors("Dora").tolist() == [[2.0, 1.0]]
    assert findings(database) == []


def test_what_was_opened_before_a_migration_is_refused_after_it(database, tmp_path):
    """Vectors of two models in one database would be compared without anybody's noticing."""
    (tmp_path / "a.wav").touch()
    database.enrol("Ann", [enrolment(tmp_path / "a.wav", 1, 0, 0)])
    with SpeakerDatabase(database.path, MODEL.fingerprint) as other:
        search = SpeakerSearch(other)
        assert ranked(search, 1, 0, 0) == [("Ann", 1.0)]
        migrate(
            database, MODEL._replace(name="new.model", fingerprint="0"), lambda path: enrolment(path, 0, 1, 0)
        )
        for use in (
            lambda: other.enrol("Bob", [enrolment("/b.wav", 1, 0, 0)]),
            lambda: other.set_tuning({}),
            lambda: search.identify(np.array([1, 0, 0])),
            lambda: search.score("Ann", np.array([1, 0, 0])),
        ):
            with pytest.raises(ValueError, match=r"computed by --initial_model new\.model --vad none"):
                use()
    assert [speaker.name for speaker in database.speakers()] == ["Ann"] and database.tuning() is None


def test_a_link_to_a_database_in_a_read_only_folder_leads_to_its_log():
    folder, links = Path(tempfile.mkdtemp()), Path(tempfile.mkdtemp())  # where another user may look
    is_root = os.geteuid() == 0
    try:
        with SpeakerDatabase.create(links / "s.db", MODEL) as database:
            database.enrol("Ann", [enrolment("/a.wav", 1, 0, 0)])
            for suffix in ("", "-wal"):  # as a process that was killed leaves them
                shutil.copy(f"{database.path}{suffix}", folder)
        (links / "link.db").symlink_to(folder / "s.db")
        for place in (folder, links):
            place.chmod(0o555)
        if is_root:  # whom no permission stops
            os.seteuid(65534)
        with pytest.raises(OSError, match=r"link.db: can't be"):  # instead of a database without Ann
            SpeakerDatabase(links / "link.db").speakers()
    finally:
        if is_root:
            os.seteuid(0)
        for place in (folder, links):
            place.chmod(0o755)
            shutil.rmtree(place)
