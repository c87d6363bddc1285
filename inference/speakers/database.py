"""Enrolled speakers in an SQLite file: their recordings, embeddings, and which model computed them."""

import json
import os
import sqlite3
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from inference.speakers.database_errors import plain_errors
from inference.speakers.database_file import DatabaseFile, Model, make_tables, now
from options.parser import nearest

Vectors = NDArray[np.float32]
Ids = NDArray[np.int64]

PROTOTYPES = ("mean", "max")
NOT_KEPT = "not kept: "  # begins the path of a recording that isn't a file; what follows says what it was
# columns of a StoredRecording; paths are bytes, which needn't be UTF-8
RECORDING = "recordings.id, name, CAST(path AS BLOB), duration_s, speech_s, date"
UNUSABLE_IN_NAMES = ("Cc", "Cs", "Zl", "Zp")  # controls, surrogates, separators of lines and paragraphs


class Enrolment(NamedTuple):
    """A recording of a speaker; the dot product of its vector with another one is their score."""

    path: str
    vector: Vectors  # (D,)
    duration_s: float
    speech_s: float


class Speaker(NamedTuple):
    """An enrolled speaker."""

    name: str
    num_recordings: int
    duration_s: float
    speech_s: float
    date: str  # of the latest recording's enrolment, UTC


class StoredRecording(NamedTuple):
    """A recording in the database, without its vector."""

    id: int  # never used again
    speaker: str
    path: str
    duration_s: float
    speech_s: float
    date: str

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> "StoredRecording":
        """A row of RECORDING -> the recording."""
        number, speaker, path, *others = row
        return cls(number, speaker, os.fsdecode(path), *others)


class Version(NamedTuple):
    """A state of the enrolments: the latest change."""

    number: int
    token: str


NOTHING = Version(0, "")


def speaker_name(text: str) -> str:
    """A name as given -> as stored: in Unicode's form NFC, without blanks at its ends.

    Raises:
        ValueError: it is blank, or has control characters.
    """
    name = unicodedata.normalize("NFC", text).strip()
    if not name:
        raise ValueError("expected the name of a speaker, got a blank one")
    if unusable := next((c for c in name if unicodedata.category(c) in UNUSABLE_IN_NAMES), None):
        raise ValueError(f"speaker {name!a}: the character {unusable!a} can't be part of a name")
    return name


class SpeakerDatabase(DatabaseFile):
    """The enrolled speakers of one model, with the recordings that they were enrolled with."""

    @classmethod
    def create(cls, path: str | os.PathLike[str], model: Model, prototypes: str = "") -> "SpeakerDatabase":
        """Open a database, or make it if there is none.

        Args:
            path: of the file.
            model: the model that computes the embeddings.
            prototypes: what a speaker's recordings are compared by: the length-normalised "mean" of their
                vectors, or each of them, of which the best counts ("max"); "" = as stored, in a new
                database "mean".

        Raises:
            ValueError, OSError: see __init__; or the database has other prototypes.
        """
        if prototypes not in ("", *PROTOTYPES):
            raise ValueError(f"prototypes: expected {' or '.join(PROTOTYPES)}, got {prototypes}")
        place = Path(path).absolute()
        with plain_errors(place):
            make_tables(place, model, prototypes or PROTOTYPES[0])
        database = cls(place, model.fingerprint)
        kind = database.prototypes
        if prototypes not in ("", kind):
            database.close()
            raise ValueError(f"{path}: made with --prototypes {kind}, got {prototypes}; leave the flag out")
        return database

    def enrol(self, name: str, enrolments: Sequence[Enrolment]) -> None:
        """Add recordings to a speaker, who is new or has some; one with a path that he has replaces it.

        Raises:
            ValueError: the name or a vector can't be used, or there is no recording.
        """
        name = speaker_name(name)
        if not enrolments:
            raise ValueError(f"speaker {name}: no recording to enrol")
        size = self.model.embedding_size
        vectors = [checked_vector(enrolment.vector, size, enrolment.path) for enrolment in enrolments]
        with self.writing() as connection:
            self.require_model()  # another process may have migrated it
            connection.execute("INSERT INTO speakers (name) VALUES (?) ON CONFLICT DO NOTHING", (name,))
            speaker = self._id(name)
            for enrolment, vector in zip(enrolments, vectors, strict=True):
                self._add(connection, speaker, enrolment, vector)

    def _add(
        self, connection: sqlite3.Connection, speaker: int, enrolment: Enrolment, vector: Vectors
    ) -> None:
        place = speaker, stored_path(enrolment.path)
        connection.execute("DELETE FROM recordings WHERE speaker = ? AND path = CAST(? AS TEXT)", place)
        connection.execute(
            "INSERT INTO recordings (speaker, path, vector, duration_s, speech_s, date) "
            "VALUES (?, CAST(? AS TEXT), ?, ?, ?, ?)",
            (*place, vector.tobytes(), float(enrolment.duration_s), float(enrolment.speech_s), now()),
        )

    def remove(self, name: str, path: str | None = None) -> None:
        """Remove a speaker, or one recording of it; a speaker without recordings is removed too.

        Raises:
            ValueError: there is no such speaker, or no such recording.
        """
        with self.writing() as connection:
            speaker = self._id(name)
            if path is not None:
                place = speaker, stored_path(path)
                delete = "DELETE FROM recordings WHERE speaker = ? AND path = CAST(? AS TEXT)"
                if not connection.execute(delete, place).rowcount:
                    missing = os.fsdecode(place[1])
                    raise ValueError(
                        f"{missing}: not a recording of {name} in {self.path}; list {name} shows them"
                    )
            remaining = "SELECT count(*) FROM recordings WHERE speaker = ?"
            if path is None or not connection.execute(remaining, (speaker,)).fetchone()[0]:
                connection.execute("DELETE FROM speakers WHERE id = ?", (speaker,))

    def speakers(self) -> list[Speaker]:
        """All speakers, by name."""
        sql = "SELECT name, count(*), sum(duration_s), sum(speech_s), max(date) FROM recordings "
        sql += "JOIN speakers ON speakers.id = speaker GROUP BY speaker ORDER BY name"
        return [Speaker(*row) for row in self.rows(sql)]

    def recordings(self, name: str = "") -> list[StoredRecording]:
        """The recordings of a speaker, or of all; in order of enrolment.

        Raises:
            ValueError: there is no such speaker.
        """
        sql = f"SELECT {RECORDING} FROM recordings JOIN speakers ON speakers.id = speaker "
        if name:
            rows = self.rows(f"{sql}WHERE speaker = ? ORDER BY recordings.id", (self._id(name),))
        else:
            rows = self.rows(f"{sql}ORDER BY recordings.id")
        return [StoredRecording.from_row(row) for row in rows]

    def vectors(self, name: str) -> Vectors:
        """The vectors of a speaker's recordings (V, D), in order of enrolment."""
        return self.all_vectors([self._id(name)])[0]

    def all_vectors(self, speakers: Sequence[int] | None = None) -> tuple[Vectors, Ids]:
        """Numbers of speakers, or all -> vectors of their recordings (V, D), numbers of their speakers (V,).

        Sorted by speaker, and by enrolment within one.

        Raises:
            ValueError: a vector is damaged.
        """
        sql, numbers = "SELECT speaker, id, vector FROM recordings", list[str]()
        if speakers is not None:
            sql += " WHERE speaker IN (SELECT value FROM json_each(?))"
            numbers = [json.dumps(speakers)]
        size = self.model.embedding_size
        parts, ids = [np.empty((0, size), np.float32)], list[tuple[int, int]]()
        for rows in self.row_blocks(sql, numbers):
            blob = b"".join(row[2] for row in rows)
            if len(blob) != len(rows) * size * 4 or any(len(row[2]) != size * 4 for row in rows):
                raise ValueError(f"{self.path}: a vector has another size; db-check says which")
            parts.append(np.frombuffer(blob, "<f4").reshape(-1, size))
            ids += [row[:2] for row in rows]
        table = np.array(ids, np.int64).reshape(-1, 2)
        order = np.lexsort((table[:, 1], table[:, 0]))
        return np.concatenate(parts)[order], table[order, 0]

    def names(self, speakers: Iterable[int]) -> dict[int, str]:
        """Numbers of speakers -> their names; without those that are gone."""
        numbers = json.dumps([int(speaker) for speaker in speakers])
        sql = "SELECT id, name FROM speakers WHERE id IN (SELECT value FROM json_each(?))"
        return dict(self.rows(sql, (numbers,)))

    def version(self) -> Version:
        """The state of the enrolments."""
        rows = self.rows("SELECT number, token FROM changes ORDER BY number DESC LIMIT 1")
        return Version(*rows[0]) if rows else NOTHING

    def changed_since(self, version: Version) -> list[int] | None:
        """A state -> numbers of the speakers whose recordings have changed since; None if it never was."""
        past = "SELECT count(*) FROM changes WHERE (number, token) = (?, ?)"
        if version != NOTHING and not self.rows(past, version)[0][0]:
            return None
        changed = "SELECT DISTINCT speaker FROM changes WHERE number > ?"
        return [row[0] for row in self.rows(changed, (version.number,))]

    def _id(self, name: str) -> int:
        """Name -> number of the speaker; ValueError with the nearest names if there is none."""
        name = speaker_name(name)
        rows = self.rows("SELECT id FROM speakers WHERE name = ?", (name,))
        if not rows:
            names = [row[0] for row in self.rows("SELECT name FROM speakers LIMIT 10000")]
            raise ValueError(f"speaker {name}: {nearest(name, names)}; not in {self.path}")
        return int(rows[0][0])


def stored_path(path: str) -> bytes:
    """Path of a recording -> absolute, in the file system's encoding; links stay, and what says NOT_KEPT."""
    if path.startswith(NOT_KEPT):
        return path.encode()
    return os.fsencode(os.path.abspath(path))  # noqa: PTH100  (resolve would follow links)


def checked_vector(vector: Vectors, size: int, path: str) -> Vectors:
    """A vector (D,) -> in float32; raises ValueError if it has another size or isn't finite."""
    values = np.asarray(vector, np.float32)
    if values.shape != (size,):
        raise ValueError(f"{path}: expected an embedding of {size} values, got {values.shape}")
    if not np.isfinite(values).all() or not values.any():
        raise ValueError(f"{path}: its embedding isn't finite, or zero; is the model damaged?")
    return values.astype("<f4")
