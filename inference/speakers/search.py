"""Who of the enrolled speakers a vector resembles most: search among any number of them.

The database is the truth. A large one has a file beside it, DATABASE.index, with all prototypes as they were
at some state; it is mapped into memory, and what has changed since is read from the database.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from inference.speakers.array_file import map_arrays, write_arrays
from inference.speakers.cohort_scores import Cohort, CohortScores, normalised
from inference.speakers.database import NOTHING, Ids, SpeakerDatabase, Vectors, Version, checked_vector
from inference.speakers.prototypes import Floats, Prototypes, first_rows, prototypes_of

MOST_CHANGED = 2000  # speakers that are read from the database instead of the index; then it is rebuilt


class Match(NamedTuple):
    """An enrolled speaker and its score."""

    name: str
    score: float


class SpeakerSearch:
    """Ranks the speakers of an open database; sees what any process has committed before each search."""

    def __init__(self, database: SpeakerDatabase, cohort: Cohort | None = None) -> None:
        """A database, the cohort that scores are normalised by.

        Raises:
            ValueError: the cohort has vectors of another size.
        """
        self.database = database
        self.cohort = cohort
        size = database.model.embedding_size
        if cohort is not None and cohort.vectors.shape[1] != size:
            raise ValueError(
                f"the cohort has vectors of {cohort.vectors.shape[1]} values, {database.path} of {size}; "
                "both must be computed by the same model"
            )
        self._version: Version | None = None  # that the parts have
        self._parts = list[_Part]()

    @property
    def index_path(self) -> Path:
        """The file with the prototypes; there is none for a small database."""
        return index_path(self.database.path)

    def identify(self, vector: Vectors, top: int = 5) -> list[Match]:
        """Vector of a recording (D,) -> the speakers that it resembles most, best first.

        Raises:
            ValueError: the vector has another size or isn't finite, or the database is damaged, or was
                migrated to another model.
        """
        with self.database.reading():
            parts = self._refreshed()
            test = checked_vector(vector, self.database.model.embedding_size, "the recording")[None]
            of_test = None if self.cohort is None else self.cohort.scores(test)
            best = [part.best(test, of_test, top) for part in parts]
            scores = np.concatenate([scores for scores, _ in best])
            speakers = np.concatenate([speakers for _, speakers in best])
            order = np.lexsort((speakers, -scores))[:top]
            names = self.database.names(speakers[order])
        return [Match(names[int(speakers[row])], float(scores[row])) for row in order]

    def score(self, name: str, vector: Vectors) -> float:
        """Name of a speaker, vector of a recording (D,) -> its score, as `identify` gives it.

        Raises:
            ValueError: there is no such speaker, or see `identify`.
        """
        with self.database.reading():
            self.database.require_model()
            vectors, kind = self.database.vectors(name), self.database.prototypes
        part = _Part(prototypes_of(vectors, np.zeros(len(vectors), np.int64), kind), self.cohort)
        test = checked_vector(vector, self.database.model.embedding_size, "the recording")[None]
        return float(part.best(test, None if self.cohort is None else self.cohort.scores(test), 1)[0][0])

    def count(self) -> int:
        """How many speakers are enrolled."""
        with self.database.reading():
            return sum(part.count for part in self._refreshed())

    def _refreshed(self) -> list["_Part"]:
        """The parts as of now: those of the index, and those that have changed since."""
        version = self.database.version()
        if version != self._version:
            self.database.require_model()  # another process may have migrated it
            self._parts = self._loaded(version)
            self._version = version
        return self._parts

    def _loaded(self, version: Version) -> list["_Part"]:
        known, base = mapped_index(self.database)
        changed = self.database.changed_since(known)
        if changed is None or len(changed) > MOST_CHANGED:
            known, changed = version, []
            base = _all_prototypes(self.database)
            header = _header(known, self.database.prototypes)
            with suppress(OSError):  # a folder that can't be written, a full disk: it works without the file
                write_arrays(self.index_path, header, [base.speakers, base.vectors])
        parts = [_Part(base, self.cohort, hidden=changed, kept=self._kept_cohort_scores(base, known))]
        if changed:
            recent = prototypes_of(*self.database.all_vectors(changed), self.database.prototypes)
            parts.append(_Part(recent, self.cohort))
        return parts

    def _kept_cohort_scores(self, base: Prototypes, version: Version) -> CohortScores | None:
        """Cohort scores of the index's prototypes, from a file beside it, or computed and kept there."""
        if self.cohort is None or not len(base.speakers):
            return None
        digest = self.cohort.digest
        path = self.database.path.with_name(f"{self.database.path.name}.cohort-{digest[:12]}.index")
        header = {**_header(version, self.database.prototypes), "cohort": digest}
        content = map_arrays(path, 2)
        is_current = content is not None and content[0] == header
        if content is not None and is_current and {a.shape for a in content[1]} == {base.speakers.shape}:
            return CohortScores(*content[1])
        scores = self.cohort.scores(base.vectors)
        with suppress(OSError):
            write_arrays(path, header, scores)
        return scores


class _Part:
    """Prototypes that are searched in one go."""

    def __init__(
        self,
        prototypes: Prototypes,
        cohort: Cohort | None,
        hidden: Sequence[int] = (),
        kept: CohortScores | None = None,
    ) -> None:
        """Prototypes; the numbers of speakers that aren't to be found; their cohort scores if known."""
        self.prototypes = prototypes
        self.first = first_rows(prototypes.speakers)
        self.speakers = prototypes.speakers[self.first]
        self.hidden = np.flatnonzero(np.isin(self.speakers, hidden))
        self.cohort_scores = None
        if cohort is not None:
            self.cohort_scores = kept or cohort.scores(prototypes.vectors)

    @property
    def count(self) -> int:
        """Number of speakers that can be found."""
        return len(self.speakers) - len(self.hidden)

    def best(self, test: Vectors, of_test: CohortScores | None, top: int) -> tuple[Floats, Ids]:
        """A vector (1, D), its cohort scores -> scores and numbers of the best speakers, in any order."""
        count = min(top, self.count)
        if not count:
            return np.empty(0), np.empty(0, np.int64)
        scores = self._scores(test, of_test)
        scores[self.hidden] = -np.inf
        best = np.argpartition(scores, len(scores) - count)[len(scores) - count :]
        return scores[best].astype(np.float64), self.speakers[best]

    def _scores(self, test: Vectors, of_test: CohortScores | None) -> Any:
        """A vector (1, D), its cohort scores -> the score of each speaker."""
        rows = test @ self.prototypes.vectors.T  # (1, R)
        if of_test is not None and self.cohort_scores is not None:
            rows = normalised(rows, of_test, self.cohort_scores)
        is_one_each = len(self.first) == rows.shape[1]
        return rows[0] if is_one_each else np.maximum.reduceat(rows[0], self.first)


def index_path(database: Path) -> Path:
    """Path of a database -> of the file with its prototypes."""
    return database.with_name(f"{database.name}.index")


def mapped_index(database: SpeakerDatabase) -> tuple[Version, Prototypes]:
    """The index of a database and the state that it shows; an empty one if there is none of this database."""
    size = database.model.embedding_size
    nothing = Prototypes(np.empty((0, size), np.float32), np.empty(0, np.int64))
    content = map_arrays(index_path(database.path), 2)
    if content is None:
        return NOTHING, nothing
    header, (speakers, vectors) = content
    version = Version(header.get("number", -1), header.get("token", ""))
    is_whole = vectors.shape == (*speakers.shape, size) and vectors.dtype == "<f4" and speakers.dtype == "<i8"
    if header != _header(version, database.prototypes) or not is_whole:
        return NOTHING, nothing
    if database.changed_since(version) is None:
        return NOTHING, nothing
    return version, Prototypes(vectors, np.array(speakers))


def _header(version: Version, kind: str) -> dict[str, Any]:
    return {"kind": "speakers-1", "number": version.number, "token": version.token, "prototypes": kind}


def _all_prototypes(database: SpeakerDatabase) -> Prototypes:
    return prototypes_of(*database.all_vectors(), database.prototypes)
