"""Score files: their trials, whose they are, and the conditions they were recorded in; NumPy only."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Labels = NDArray[np.int8]

RESAMPLING = ("speakers", "utterances", "trials")


@contextmanager
def naming(path: str) -> Iterator[None]:
    """A ValueError from within names this file, unless it does so already."""
    try:
        yield
    except ValueError as error:
        if path in str(error):
            raise
        raise ValueError(f"{path}: {error}") from None


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not a text file in UTF-8") from None


def _read(path: str, labels_needed: bool) -> tuple[Floats, Labels | None, list[list[str]]]:
    """Score file -> scores (N,), labels (N,) or None, the fields between them."""
    form = '"score enrol test label" with label 0 or 1'
    if not labels_needed:
        form += ', or "score enrol test"; by tabs if a path holds a blank'
    scores, labels, between = list[float](), list[bool](), list[list[str]]()
    for number, line in enumerate(_lines(path), 1):
        by_tabs = line.count("\t") in ((3,) if labels_needed else (2, 3))
        fields = [field.strip() for field in line.split("\t")] if by_tabs else line.split()
        if not fields:
            continue
        try:
            scores.append(float(fields[0]))
        except ValueError:
            raise ValueError(f"{path}:{number}: expected a score first, got {fields[0]!r}") from None
        bare = not labels_needed and len(fields) == 3
        if not bare and (len(fields) < 4 or fields[-1] not in ("0", "1")):
            raise ValueError(f"{path}:{number}: expected {form}")
        if between and bare == bool(labels):
            raise ValueError(f"{path}:{number}: some trials have labels and some have none")
        if not bare:
            labels.append(fields.pop() == "1")
        between.append(fields[1:])
    if not scores:
        raise ValueError(f"{path}: holds no scores")
    if wrong := np.count_nonzero(~np.isfinite(scores)):
        raise ValueError(f"{path}: {wrong} scores are not finite numbers")
    return np.array(scores), np.array(labels, dtype=np.int8) if labels else None, between


def read_scores(path: str) -> tuple[Floats, Labels]:
    """Score file with lines `score enrol test label` -> scores (N,), labels (N,)."""
    scores, labels, _ = _read(path, labels_needed=True)
    assert labels is not None
    return scores, labels


class ScoreFile(NamedTuple):
    """Trials of a score file, sorted by their paths, so that their order in the file plays no part."""

    path: str
    scores: Floats  # (N,)
    labels: Labels | None  # (N,)
    files: list[str]  # the paths, sorted
    sides: Integers  # (N, 2) numbers of the enrolment's and the test's path

    def known_labels(self) -> Labels:
        """Labels (N,), or ValueError if the file has none."""
        if self.labels is None:
            raise ValueError(f"{self.path}: its trials have no labels")
        return self.labels

    def pairs(self) -> list[tuple[str, str]]:
        """The paths of both sides of each trial."""
        return [(self.files[enrol], self.files[test]) for enrol, test in self.sides.tolist()]


def read_score_file(path: str, labels_needed: bool = True) -> ScoreFile:
    """Score file with lines `score enrol test label`, separated by tabs if a path holds a blank -> trials.

    Where labels aren't needed, lines `score enrol test` will do.
    """
    scores, labels, pairs = _read(path, labels_needed)
    if unclear := next((pair for pair in pairs if len(pair) != 2), None):
        raise ValueError(f'{path}: which paths are in "{" ".join(unclear)}"? Separate the fields by tabs')
    files = sorted({name for pair in pairs for name in pair})
    numbers = {name: i for i, name in enumerate(files)}
    sides = np.array([[numbers[enrol], numbers[test]] for enrol, test in pairs], dtype=np.int64)
    order = np.lexsort((scores, sides[:, 1], sides[:, 0]))
    return ScoreFile(path, scores[order], None if labels is None else labels[order], files, sides[order])


def score_text(files: Sequence[str], sides: Integers, scores: Floats, labels: Labels | None) -> str:
    """Paths, their numbers on both sides (N, 2), scores (N,), labels (N,) -> the text of a score file.

    Lines `score enrol test [label]`, separated by tabs where a path holds a blank.
    """
    gap = "\t" if any(name.split() != [name] for name in files) else " "
    columns = [[f"{score:.9g}" for score in scores], *([files[i] for i in side] for side in sides.T)]
    if labels is not None:
        columns.append([str(label) for label in labels])
    return "".join(gap.join(row) + "\n" for row in zip(*columns, strict=True))


def require_same_trials(first: ScoreFile, other: ScoreFile) -> None:
    """Raises ValueError unless both hold the same trials with the same labels, or none."""
    if first.files != other.files or not np.array_equal(first.sides, other.sides):
        for a, b in ((first, other), (other, first)):
            for enrol, test in sorted(set(a.pairs()) - set(b.pairs()))[:1]:
                raise ValueError(f"{b.path}: lacks the trial {enrol} {test} of {a.path}")
        raise ValueError(f"{other.path}: repeats other trials than {first.path}")
    if first.labels is None or other.labels is None:
        if first.labels is not other.labels:
            bare, full = (first, other) if first.labels is None else (other, first)
            raise ValueError(f"{bare.path}: has no labels, but {full.path} has")
        return
    for i in np.flatnonzero(first.labels != other.labels)[:1]:
        enrol, test = (first.files[j] for j in first.sides[i])
        raise ValueError(f"{other.path}: the trial {enrol} {test} has another label than in {first.path}")


def speakers_of(files: list[str], speaker_folder: int = 0, utt2spk: str = "") -> list[str]:
    """Paths -> their speakers: a folder of the path (0 = the first), or as a file of `path speaker` says."""
    if utt2spk:
        pairs = [line.rsplit(maxsplit=1) for line in _lines(utt2spk) if line.strip()]
        if any(len(pair) != 2 for pair in pairs):
            raise ValueError(f'{utt2spk}: expected lines "path speaker"')
        known = {path: speaker for path, speaker in pairs}
        if twice := next((path for path, speaker in pairs if known[path] != speaker), None):
            raise ValueError(f"{utt2spk}: names two speakers for {twice}")
        if missing := next((name for name in files if name not in known), None):
            raise ValueError(f"{utt2spk}: has no speaker for {missing}")
        return [known[name] for name in files]
    try:
        return [name.split("/")[:-1][speaker_folder] for name in files]
    except IndexError:
        short = min(files, key=lambda name: name.count("/"))
        raise ValueError(
            f"{short} has no folder {speaker_folder} that names its speaker: give --speaker_folder or "
            "--utt2spk (intervals can do without: --resample trials)"
        ) from None


def units_of(trials: ScoreFile, resample: str, speaker_folder: int | None, utt2spk: str) -> Integers:
    """What is resampled -> its number on both sides of each trial (N, 2); no folder: the one that fits."""
    if resample == "trials":
        return np.repeat(np.arange(len(trials.scores))[:, None], 2, axis=1)
    if resample == "utterances":
        return trials.sides
    if speaker_folder is None and not utt2spk:
        speaker_folder = find_speaker_folder(trials)
        if speaker_folder is None:
            raise ValueError(
                f"{trials.path}: no folder of the paths is shared by target trials alone, as a speaker's is: "
                "give --utt2spk (intervals can do without: --resample trials)"
            )
    names = speakers_of(trials.files, speaker_folder or 0, utt2spk)
    speakers = np.unique(names, return_inverse=True)[1]
    units = speakers[trials.sides]
    labels = trials.known_labels()
    for i in np.flatnonzero((units[:, 0] == units[:, 1]) != (labels == 1))[:1]:
        enrol, test = (trials.files[j] for j in trials.sides[i])
        raise ValueError(
            f"{trials.path}: the trial {enrol} {test} has label {labels[i]}, but --speaker_folder or "
            f"--utt2spk says {'one speaker' if units[i, 0] == units[i, 1] else 'two speakers'}"
        )
    return units


def find_speaker_folder(trials: ScoreFile) -> int | None:
    """Which folder of the paths names the speaker: the first that target trials share, and no others do."""
    for folder in range(min(name.count("/") for name in trials.files)):
        with suppress(ValueError):
            units_of(trials, "speakers", folder, "")
            return folder
    return None


def read_conditions(path: str, files: list[str]) -> dict[str, list[str]]:
    """Table with a header and paths in its first column -> each further column's values for these files."""
    header, *rows = [line.split("\t") for line in _lines(path)] or [[]]
    if len(header) < 2:
        raise ValueError(f"{path}:1: expected a header with the path and at least one attribute, by tabs")
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise ValueError(f"{path}:{number}: expected {len(header)} fields by tabs, got {len(row)}")
    if len(set(header)) < len(header):
        raise ValueError(f"{path}:1: the header repeats a name")
    known = {row[0]: row for row in rows}
    if len(known) != len(rows):
        raise ValueError(f"{path}: {len(rows) - len(known)} lines repeat a path")
    if missing := next((name for name in files if name not in known), None):
        raise ValueError(f"{path}: has no line for {missing}")
    return {name: [known[file][i] for file in files] for i, name in enumerate(header) if i}


def condition_groups(values: list[str], sides: Integers) -> dict[str, NDArray[np.bool_]]:
    """An attribute of each file (F,), sides (N, 2) -> trials (N,) of each group, by name.

    Numbers, some with a decimal point: quartiles of the smaller side. Else: same or other value.
    """
    try:
        smaller = np.array(values, dtype=np.float64)[sides].min(axis=1)
        is_number = any("." in value for value in values) and np.isfinite(smaller).all()
    except ValueError:
        is_number = False
    if not is_number:
        same = np.unique(values, return_inverse=True)[1][sides]
        alike = same[:, 0] == same[:, 1]
        return {"same": alike, "other": ~alike}
    edges = np.unique(np.quantile(smaller, [0.0, 0.25, 0.5, 0.75, 1.0]))
    bins = np.searchsorted(edges[1:-1], smaller, side="right")
    pairs = np.arange(len(edges) - 1)[:, None] + [0, 1]
    ends = [f"{low:g} to {high:g}" for low, high in edges[pairs]] or ["all"]
    return {name: bins == i for i, name in enumerate(ends)}
