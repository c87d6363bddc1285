"""Text files of scores and of the recordings' conditions, read and written."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from metrics.fields import BLOCK_LINES, lines_of, style_of, texts_of
from metrics.rates import Floats, Integers
from metrics.trials import Labels, ScoredTrials


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Put the path before the message of a ValueError raised inside, unless the message has it already."""
    try:
        yield
    except ValueError as error:
        if path in str(error):
            raise
        raise ValueError(f"{path}: {error}") from None


def read_lines(path: str) -> Iterator[str]:
    """Text file -> its lines; ValueError unless it is UTF-8."""
    try:
        with Path(path).open(encoding="utf-8-sig") as stream:
            yield from stream
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not a text file in UTF-8") from None


class _Reader:
    """Reads a score file line by line into arrays: 9 bytes a trial, and 8 where its names are needed."""

    def __init__(self, path: str, *, labels_needed: bool, names_needed: bool) -> None:
        self.path = path
        # a pipe can be read only once
        self.kept = None if Path(path).is_file() else list(read_lines(path))
        self.labels_needed = labels_needed
        self.names_needed = names_needed
        self.scores = array("d")
        self.labels = array("b")
        self.numbers = dict[str, int]()  # of the names, in order of their occurrence
        self.sides = array("i"), array("i")

    def read(self) -> tuple[Floats, Labels | None]:
        """All lines -> scores (N,), labels (N,) or None."""
        scores_are_third = _scores_are_third(self.path, self._lines())
        for line in lines_of(self._lines()):
            fields = line.fields()
            if scores_are_third:
                fields = [fields[2], *fields[:2], *fields[3:]]
            self._add(line.number, fields)
        if not self.scores:
            raise ValueError(f"{self.path}: holds no scores")
        scores = np.frombuffer(self.scores)
        if num_wrong := np.count_nonzero(~np.isfinite(scores)):
            raise ValueError(f"{self.path}: {num_wrong} scores are not finite numbers")
        return scores, np.frombuffer(self.labels, np.int8) if self.labels else None

    def _lines(self) -> Iterable[str]:
        """The file's lines, from the first one on."""
        return read_lines(self.path) if self.kept is None else self.kept

    def _add(self, number: int, fields: list[str]) -> None:
        """Number of a line, its fields with the score first."""
        try:
            score = float(fields[0])
        except ValueError:
            raise ValueError(f"{self.path}:{number}: expected a score first, got {fields[0]!r}") from None
        has_label = self.labels_needed or len(fields) != 3
        if has_label and (len(fields) < 4 or fields[-1] not in ("0", "1")):
            form = '"score enrol test label" or "enrol test score label" with label 0 or 1'
            if not self.labels_needed:
                form += ", or the same without labels; by tabs if a path holds a blank"
            raise ValueError(f"{self.path}:{number}: expected {form}")
        if self.scores and has_label != bool(self.labels):
            raise ValueError(f"{self.path}:{number}: some trials have labels and some have none")
        self.scores.append(score)
        if has_label:
            self.labels.append(fields.pop() == "1")
        if not self.names_needed:
            return
        if len(fields) != 3:
            paths = " ".join(fields[1:])
            raise ValueError(
                f'{self.path}:{number}: which paths are in "{paths}"? Separate the fields by tabs'
            )
        for side, name in zip(self.sides, fields[1:], strict=True):
            side.append(self.numbers.setdefault(name, len(self.numbers)))


def _scores_are_third(path: str, lines: Iterable[str]) -> bool:
    """Score file, its lines -> whether they are `enrol test score ...` instead of `score enrol test ...`.

    Raises:
        ValueError: both can be.
    """
    are_numbers = [True, True]  # the first and the second field of every line
    first = list[str]()
    for line in lines_of(lines):
        fields = line.fields()
        first = first or fields
        if len(fields) < 3 or not _is_number(fields[2]):
            return False  # in a million lines mostly the first one
        are_numbers = [
            is_one and _is_number(field) for is_one, field in zip(are_numbers, fields, strict=False)
        ]
    if not first or all(are_numbers):  # all names are numbers
        return False
    if not are_numbers[0]:
        return True
    raise ValueError(
        f'{path}: is "{" ".join(first)}" a trial of {first[1]} and {first[2]} or of {first[0]} and '
        f"{first[1]}? Put the score first, and name models by more than a number"
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def read_scores(path: str) -> tuple[Floats, Labels]:
    """Score file with lines `score enrol test label` or `enrol test score label` -> scores, labels (N,)."""
    scores, labels = _Reader(path, labels_needed=True, names_needed=False).read()
    assert labels is not None
    return scores, labels


def read_score_file(path: str, labels_needed: bool = True) -> ScoredTrials:
    """Score file with lines `score enrol test label` or `enrol test score label` -> trials.

    Fields are separated by tabs if a path holds a blank. Labels may be absent unless they are needed.
    """
    reader = _Reader(path, labels_needed=labels_needed, names_needed=True)
    scores, labels = reader.read()
    sides = np.stack([np.frombuffer(side, np.int32) for side in reader.sides], axis=1)
    return ScoredTrials.from_arrays(path, scores, labels, list(reader.numbers), sides)


def score_texts(
    files: Sequence[str], sides: tuple[Integers, Integers], scores: Floats, labels: Labels | None
) -> Iterator[str]:
    """Paths, their numbers on either side (N,), scores (N,), labels (N,) -> the text of a score file.

    Lines `score enrol test [label]`, many at a time; see fields.style_of.
    """
    is_used = np.zeros(len(files), bool)
    for side in sides:
        is_used[side] = True
    style = style_of(("0", files[number]) for number in np.flatnonzero(is_used).tolist())
    return texts_of(_score_rows(files, sides, scores, labels), style)


def _score_rows(
    files: Sequence[str], sides: tuple[Integers, Integers], scores: Floats, labels: Labels | None
) -> Iterator[Sequence[str]]:
    for start in range(0, len(scores), BLOCK_LINES):
        block = slice(start, start + BLOCK_LINES)
        columns = [[f"{score:.9g}" for score in scores[block].tolist()]]
        columns += [[files[number] for number in side[block].tolist()] for side in sides]
        if labels is not None:
            columns.append([str(label) for label in labels[block].tolist()])
        yield from zip(*columns, strict=True)


def read_conditions(path: str, files: list[str]) -> dict[str, list[str]]:
    """Table with a header and paths in its first column -> each further column's values for these files."""
    lines = list(lines_of(read_lines(path), "\n"))
    header = lines[0].columns() if lines else []
    if len(header) < 2:
        raise ValueError(f"{path}:1: expected a header with the path and at least one attribute, by tabs")
    rows = [line.columns() for line in lines[1:]]
    for line, row in zip(lines[1:], rows, strict=True):
        if len(row) != len(header):
            raise ValueError(f"{path}:{line.number}: expected {len(header)} fields by tabs, got {len(row)}")
    if len(set(header)) < len(header):
        raise ValueError(f"{path}:1: the header repeats a name")
    row_of = {row[0]: row for row in rows}
    if len(row_of) != len(rows):
        raise ValueError(f"{path}: {len(rows) - len(row_of)} lines repeat a path")
    if missing := next((name for name in files if name not in row_of), None):
        raise ValueError(f"{path}: has no line for {missing}")
    return {name: [row_of[file][i] for file in files] for i, name in enumerate(header) if i}
