"""Text files of scores and of the recordings' conditions, read and written."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from metrics.fields import lines_of, text_of
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


def read_lines(path: str) -> list[str]:
    """Text file -> its lines; ValueError unless it is UTF-8."""
    try:
        return Path(path).read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not a text file in UTF-8") from None


def _read(path: str, labels_needed: bool) -> tuple[Floats, Labels | None, list[list[str]]]:
    """Score file -> scores (N,), labels (N,) or None, the fields between them."""
    form = '"score enrol test label" or "enrol test score label" with label 0 or 1'
    if not labels_needed:
        form += ", or the same without labels; by tabs if a path holds a blank"
    scores = list[float]()
    labels = list[bool]()
    between = list[list[str]]()
    lines = read_lines(path)
    scores_are_third = _scores_are_third(path, (line.fields() for line in lines_of(lines)))
    for line in lines_of(lines):
        fields = line.fields()
        if scores_are_third:
            fields = [fields[2], *fields[:2], *fields[3:]]
        try:
            scores.append(float(fields[0]))
        except ValueError:
            raise ValueError(f"{path}:{line.number}: expected a score first, got {fields[0]!r}") from None
        has_label = labels_needed or len(fields) != 3
        if has_label and (len(fields) < 4 or fields[-1] not in ("0", "1")):
            raise ValueError(f"{path}:{line.number}: expected {form}")
        if between and has_label != bool(labels):
            raise ValueError(f"{path}:{line.number}: some trials have labels and some have none")
        if has_label:
            labels.append(fields.pop() == "1")
        between.append(fields[1:])
    if not scores:
        raise ValueError(f"{path}: holds no scores")
    if num_wrong := np.count_nonzero(~np.isfinite(scores)):
        raise ValueError(f"{path}: {num_wrong} scores are not finite numbers")
    return np.array(scores), np.array(labels, dtype=np.int8) if labels else None, between


def _scores_are_third(path: str, lines: Iterator[list[str]]) -> bool:
    """Fields of all lines -> whether they are `enrol test score ...` instead of `score enrol test ...`.

    Raises:
        ValueError: both can be.
    """
    first = next(lines, [])
    if len(first) < 3 or not _is_number(first[2]):
        return False  # a million lines aren't looked at where the first one decides
    rows = [first, *lines]
    if not all(len(fields) > 2 and _is_number(fields[2]) for fields in rows):
        return False
    if not all(_is_number(fields[0]) for fields in rows):
        return True
    if all(_is_number(fields[1]) for fields in rows):  # all names are numbers
        return False
    raise ValueError(
        f'{path}: is "{" ".join(rows[0])}" a trial of {rows[0][1]} and {rows[0][2]} or of {rows[0][0]} and '
        f"{rows[0][1]}? Put the score first, and name models by more than a number"
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def read_scores(path: str) -> tuple[Floats, Labels]:
    """Score file with lines `score enrol test label` or `enrol test score label` -> scores, labels (N,)."""
    scores, labels, _ = _read(path, labels_needed=True)
    assert labels is not None
    return scores, labels


def read_score_file(path: str, labels_needed: bool = True) -> ScoredTrials:
    """Score file with lines `score enrol test label` or `enrol test score label` -> trials.

    Fields are separated by tabs if a path holds a blank. Labels may be absent unless they are needed.
    """
    scores, labels, pairs = _read(path, labels_needed)
    if unclear := next((pair for pair in pairs if len(pair) != 2), None):
        raise ValueError(f'{path}: which paths are in "{" ".join(unclear)}"? Separate the fields by tabs')
    files = sorted({name for pair in pairs for name in pair})
    numbers = {name: i for i, name in enumerate(files)}
    sides = np.array([[numbers[enrol], numbers[test]] for enrol, test in pairs], dtype=np.int64)
    return ScoredTrials.from_arrays(path, scores, labels, files, sides)


def score_text(files: Sequence[str], sides: Integers, scores: Floats, labels: Labels | None) -> str:
    """Paths, their numbers on both sides (N, 2), scores (N,), labels (N,) -> the text of a score file.

    Lines `score enrol test [label]`; see fields.text_of.
    """
    columns = [[f"{score:.9g}" for score in scores]]
    for side in sides.T:
        columns.append([files[i] for i in side])
    if labels is not None:
        columns.append([str(label) for label in labels])
    return text_of(zip(*columns, strict=True))


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
