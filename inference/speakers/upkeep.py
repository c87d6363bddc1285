"""Databases of speakers kept in order: written out as text, checked, re-embedded by another model."""

import csv
import io
import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from audio.errors import AudioError
from inference.speakers.database import (
    RECORDING,
    Enrolment,
    SpeakerDatabase,
    StoredRecording,
    Vectors,
    checked_vector,
)
from inference.speakers.database_file import Model
from inference.speakers.prototypes import prototypes_of
from inference.speakers.search import index_path, mapped_index

COLUMNS = ("speaker", "path", "duration_s", "speech_s", "date")
MOST_SHOWN = 5  # paths in an error
INDEX_TOLERANCE = 1e-6  # of a value in the index


def json_lines(database: SpeakerDatabase, with_vectors: bool = False) -> Iterator[str]:
    """A database -> its settings as JSON, then a line of JSON for each recording."""
    with database.reading():
        yield json.dumps({"database": database.meta()})
        for record, vector in _records(database):
            content = {name: getattr(record, name) for name in COLUMNS}
            if with_vectors:
                content["vector"] = vector.tolist()
            yield json.dumps(content)


def csv_lines(database: SpeakerDatabase, with_vectors: bool = False) -> Iterator[str]:
    """A database -> the header of a table, then a row for each recording."""
    size = database.model.embedding_size if with_vectors else 0
    yield _row([*COLUMNS, *(f"vector_{number}" for number in range(size))])
    with database.reading():
        for record, vector in _records(database):
            values = [getattr(record, name) for name in COLUMNS]
            yield _row([*values, *(f"{value:.9g}" for value in vector[:size])])


def _records(database: SpeakerDatabase) -> Iterator[tuple[StoredRecording, Vectors]]:
    sql = f"SELECT {RECORDING}, vector FROM recordings JOIN speakers ON speakers.id = speaker "
    for rows in database.row_blocks(f"{sql}ORDER BY name, recordings.id"):
        for *values, blob in rows:
            yield StoredRecording.from_row(values), np.frombuffer(blob[: len(blob) // 4 * 4], "<f4")


def _row(values: list[Any]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="").writerow(values)
    return text.getvalue()


def findings(database: SpeakerDatabase) -> list[str]:
    """What is wrong with a database, in lines for people; none if all is well.

    Looks at the file, references between its tables, the vectors, whether the recordings are still where they
    were, and whether the index agrees.
    """
    found = database.findings_of_sqlite()
    if found:
        return found  # nothing that is read is to be trusted
    with database.reading():
        size = database.model.embedding_size
        for record, vector in _records(database):
            if vector.shape != (size,):
                found.append(f"{record.speaker}, {record.path}: {len(vector)} values instead of {size}")
            elif not np.isfinite(vector).all():
                found.append(f"{record.speaker}, {record.path}: its embedding isn't finite")
            if not is_file(record):
                found.append(f"{record.speaker}, {record.path}: no such file; migrate will need it")
        lonely = "SELECT name FROM speakers WHERE id NOT IN (SELECT speaker FROM recordings)"
        found += [f"{name}: a speaker without recordings" for (name,) in database.rows(lonely)]
        if not found:
            found += _findings_of_index(database)
    return found


def _findings_of_index(database: SpeakerDatabase) -> list[str]:
    """Whether the index holds what the database says."""
    version, index = mapped_index(database)
    changed = database.changed_since(version) or []
    if not len(index.speakers):
        return []
    expected = prototypes_of(*database.all_vectors(), database.prototypes).without(changed)
    current = index.without(changed)
    agrees = np.array_equal(current.speakers, expected.speakers)
    if agrees and np.allclose(current.vectors, expected.vectors, rtol=0.0, atol=INDEX_TOLERANCE):
        return []
    return [f"{index_path(database.path)}: differs from the database; delete it, it is made again"]


def migrate(
    database: SpeakerDatabase,
    model: Model,
    embed: Callable[[str], Enrolment],
    *,
    drop_missing: bool = False,
) -> list[str]:
    """Re-embed all recordings by another model, in one transaction at the end.

    Enrolments of other processes in the meantime are re-embedded too. What was tuned is forgotten.

    Args:
        database: opened without a fingerprint.
        model: the other model.
        embed: path of a recording -> its embedding by that model; raises AudioError if it can't be used.
        drop_missing: remove the recordings that are missing or can't be used.

    Returns:
        Why recordings were removed, a line for each.

    Raises:
        ValueError: some can't be used and drop_missing isn't given; nothing was changed.
    """
    done, failed = dict[int, Enrolment](), dict[int, str]()
    while True:
        with database.reading():
            version, recordings = database.version(), database.recordings()
        waiting = [record for record in recordings if record.id not in done | failed]
        failed |= {record.id: f"{record.path}: no such file" for record in _missing(waiting)}
        _require_none(failed, drop_missing)
        for record in waiting:
            if record.id not in failed:
                try:
                    done[record.id] = embed(record.path)
                except AudioError as error:
                    failed[record.id] = str(error)
        _require_none(failed, drop_missing)
        with database.writing() as connection:
            if database.version() == version:  # otherwise other processes have enrolled meanwhile
                _replace(connection, model, done, list(failed))
                return list(failed.values())


def _missing(recordings: list[StoredRecording]) -> list[StoredRecording]:
    return [record for record in recordings if not is_file(record)]


def is_file(record: StoredRecording) -> bool:
    """Whether a recording is where it was; not if its folder can't be looked into."""
    return os.path.isfile(record.path)  # noqa: PTH113  (Path.is_file raises errors of permissions)


def _require_none(failed: dict[int, str], drop_missing: bool) -> None:
    """Raises ValueError if recordings can't be used and may not be dropped."""
    if failed and not drop_missing:
        shown = "; ".join(list(failed.values())[:MOST_SHOWN])
        more = f"; and {len(failed) - MOST_SHOWN} more" if len(failed) > MOST_SHOWN else ""
        raise ValueError(f"recordings that can't be re-embedded: {shown}{more}; --drop_missing removes them")


def _replace(
    connection: sqlite3.Connection, model: Model, done: dict[int, Enrolment], removed: list[int]
) -> None:
    """Numbers of recordings and their new embeddings, numbers of those to be removed -> the database."""
    for number, enrolment in done.items():
        vector = checked_vector(enrolment.vector, model.embedding_size, enrolment.path)
        values = vector.tobytes(), float(enrolment.duration_s), float(enrolment.speech_s), number
        sql = "UPDATE recordings SET vector = ?, duration_s = ?, speech_s = ? WHERE id = ?"
        connection.execute(sql, values)
    connection.executemany("DELETE FROM recordings WHERE id = ?", [(number,) for number in removed])
    connection.execute("DELETE FROM speakers WHERE id NOT IN (SELECT speaker FROM recordings)")
    meta = {"model": model.name, "flags": model.flags, "fingerprint": model.fingerprint}
    meta["embedding_size"] = str(model.embedding_size)
    connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", list(meta.items()))
    connection.execute("DELETE FROM meta WHERE key = 'tuning'")
