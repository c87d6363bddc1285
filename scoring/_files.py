"""Score files: their trials, whose they are, and the conditions they were recorded in; NumPy only."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

RESAMPLING = ("speakers", "utterances", "trials")


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not a text file in UTF-8") from None


def _read(path: str) -> tuple[Floats, NDArray[np.int8], list[list[str]]]:
    """Score file -> scores (N,), labels (N,), the fields between them."""
    scores, labels, between = [], [], []
    for number, line in enumerate(_lines(path), 1):
        by_tabs = line.count("\t") == 3
        fields = [field.strip() for field in line.split("\t")] if by_tabs else line.split()
        if not fields:
            continue
        try:
            scores.append(float(fields[0]))
        except ValueError:
            raise ValueError(f"{path}:{number}: expected a score first, got {fields[0]!r}") from None
        if len(fields) < 4 or fields[-1] not in ("0", "1"):
            raise ValueError(f'{path}:{number}: expected "score enrol test label" with label 0 or 1')
        labels.append(fields[-1] == "1")
        between.append(fields[1:-1])
    if not scores:
        raise ValueError(f"{path}: holds no scores")
    if wrong := np.count_nonzero(~np.isfinite(scores)):
        raise ValueError(f"{path}: {wrong} scores are not finite numbers")
    return np.array(scores), np.array(labels, dtype=np.int8), between


def read_scores(path: str) -> tuple[Floats, NDArray[np.int8]]:
    """Score file with lines `score enrol test label` -> scores (N,), labels (N,)."""
    return _read(path)[:2]


class ScoreFile(NamedTuple):
    """Trials of a score file, sorted by their paths, so that their order in the file plays no part."""

    path: str
    scores: Floats  # (N,)
    labels: NDArray[np.int8]  # (N,)
    files: list[str]  # the paths, sorted
    sides: Integers  # (N, 2) numbers of the enrolment's and the test's path


def read_score_file(path: str) -> ScoreFile:
    """Score file with lines `score enrol test label`, separated by tabs if a path holds a blank -> trials."""
    scores, labels, pairs = _read(path)
    if unclear := next((pair for pair in pairs if len(pair) != 2), None):
        raise ValueError(f'{path}: which paths are in "{" ".join(unclear)}"? Separate the fields by tabs')
    files = sorted({name for pair in pairs for name in pair})
    numbers = {name: i for i, name in enumerate(files)}
    sides = np.array([[numbers[enrol], numbers[test]] for enrol, test in pairs], dtype=np.int64)
    order = np.lexsort((scores, sides[:, 1], sides[:, 0]))
    return ScoreFile(path, scores[order], labels[order], files, sides[order])


def require_same_trials(first: ScoreFile, other: ScoreFile) -> None:
    """Raises ValueError unless both hold the same trials with the same labels."""
    if first.files != other.files or not np.array_equal(first.sides, other.sides):
        for a, b in ((first, other), (other, first)):
            pairs = [{(f.files[i], f.files[j]) for i, j in f.sides.tolist()} for f in (a, b)]
            for enrol, test in sorted(pairs[0] - pairs[1])[:1]:
                raise ValueError(f"{b.path}: lacks the trial {enrol} {test} of {a.path}")
        raise ValueError(f"{other.path}: repeats other trials than {first.path}")
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
            "--utt2spk, or --resample trials"
        ) from None


def units_of(trials: ScoreFile, resample: str, speaker_folder: int, utt2spk: str) -> Integers:
    """What is resampled -> its number on both sides of each trial (N, 2)."""
    if resample == "trials":
        return np.repeat(np.arange(len(trials.scores))[:, None], 2, axis=1)
    if resample == "utterances":
        return trials.sides
    speakers = np.unique(speakers_of(trials.files, speaker_folder, utt2spk), return_inverse=True)[1]
    units = speakers[trials.sides]
    for i in np.flatnonzero((units[:, 0] == units[:, 1]) != (trials.labels == 1))[:1]:
        enrol, test = (trials.files[j] for j in trials.sides[i])
        raise ValueError(
            f"{trials.path}: the trial {enrol} {test} has label {trials.labels[i]}, but --speaker_folder or "
            f"--utt2spk says {'one speaker' if units[i, 0] == units[i, 1] else 'two speakers'}"
        )
    return units


def read_conditions(path: str, files: list[str]) -> dict[str, list[str]]:
    """Table with a header and paths in its first column -> each further column's values for these files."""
    header, *rows = [line.split("\t") for line in _lines(path)] or [[]]
    if len(header) < 2:
        raise ValueError(f"{path}:1: expected a header with the path and at least one attribute, by tabs")
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise ValueError(f"{path}:{number}: expected {len(header)} fields by tabs, got {len(row)}")
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
