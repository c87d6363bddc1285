"""Trial lists, scores of many trials at once, score files."""

import os.path
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from files import read_lines, write_text
from scoring._files import score_text

BLOCK_VALUES = 1 << 19  # numbers gathered at a time: 2 MiB for either side, which stays in the cache
LAST = {"0": 0, "nontarget": 0, "1": 1, "target": 1}  # labels in the last place


class Trials(NamedTuple):
    """Names of files or models, the number of each trial's sides among them (N,), labels (N,) or None."""

    names: list[str]
    enrol: NDArray[np.int64]
    test: NDArray[np.int64]
    labels: NDArray[np.int8] | None
    num_repeated: int = 0  # trials that were there before, in the same or the other order

    def without(self, missing: NDArray[np.int64]) -> "Trials":
        """The trials that need none of these names."""
        keep = ~(np.isin(self.enrol, missing) | np.isin(self.test, missing))
        labels = None if self.labels is None else self.labels[keep]
        return self._replace(enrol=self.enrol[keep], test=self.test[keep], labels=labels)


def read_trials(paths: Sequence[str], root: str) -> list[Trials]:
    """Files of `label enrol test` lines, label 1 for the same speaker, or without labels -> trials of each.

    The label may also stand last, as `0` or `nontarget`, `1` or `target` (Kaldi, CN-Celeb). Fields are
    separated by tabs or blanks. Where paths hold blanks themselves, the split is taken that names two files
    under root. All lists number the names alike.

    Raises:
        ValueError: a line of another form, labels in some lines only, a trial with both labels, or trials of
            one class.
    """
    numbers: dict[str, int] = {}
    lists = [_read_list(path, root, numbers) for path in paths]
    names = list(numbers)
    return [trials._replace(names=names) for trials in lists]


def _read_list(path: str, root: str, numbers: dict[str, int]) -> Trials:
    labels: list[int | None] = []
    sides: list[int] = []
    for line_number, line in read_lines(path, "--test_list"):
        label, *pair = _split_trial(line, root, f"{path}:{line_number}")
        if labels and (label is None) != (labels[0] is None):
            raise ValueError(f"{path}:{line_number}: some trials have labels and some have none")
        labels.append(label)
        sides += [numbers.setdefault(name, len(numbers)) for name in pair]
    pairs = np.array(sides, dtype=np.int64).reshape(-1, 2)
    known = None if labels[0] is None else np.array(labels, dtype=np.int8)
    if known is not None and len(np.unique(known)) == 1:
        missing = "nontarget (0)" if known[0] else "target (1)"
        raise ValueError(f"{path}: all {len(known)} trials are of one class; it has no {missing} trial")
    keys = pairs.min(axis=1) * len(numbers) + pairs.max(axis=1)
    different, first = np.unique(keys, return_index=True)
    if known is not None:
        wrong = np.flatnonzero(known != known[first[np.searchsorted(different, keys)]])
        if len(wrong):
            enrol, test = (list(numbers)[i] for i in pairs[wrong[0]])
            raise ValueError(f"{path}: the trial {enrol} {test} is there with both labels")
    return Trials([], pairs[:, 0], pairs[:, 1], known, len(keys) - len(different))


def read_enrolments(path: str) -> dict[str, list[str]]:
    """File of `model path path ...` lines -> the files of each model, in several lines or one.

    Raises:
        ValueError: a line without a path.
    """
    models: dict[str, list[str]] = {}
    for number, line in read_lines(path, "--enrol_list"):
        model, *files = line.split("\t") if "\t" in line else line.split()
        if not files:
            raise ValueError(f'{path}:{number}: expected "model path path ...", got 1 field')
        models.setdefault(model, []).extend(files)
    return models


def _split_trial(line: str, root: str, where: str) -> tuple[int | None, str, str]:
    """One line -> label or None, enrolment path, test path."""
    fields = line.split("\t") if "\t" in line else line.split()
    if len(fields) == 3 and fields[0] in ("0", "1"):
        return int(fields[0]), fields[1], fields[2]
    if len(fields) == 3 and fields[2] in LAST:
        return LAST[fields[2]], fields[0], fields[1]
    short = fields[0] in ("0", "1") and not os.path.isfile(os.path.join(root, fields[0]))  # noqa: PTH113, PTH118
    if len(fields) == 2 and not short:
        return None, fields[0], fields[1]
    found = []
    for start in (0, 1) if fields[0] in ("0", "1") else (0,):
        for cut in range(start + 1, len(fields)):
            pair = " ".join(fields[start:cut]), " ".join(fields[cut:])
            if all(os.path.isfile(os.path.join(root, name)) for name in pair):  # noqa: PTH113, PTH118
                found.append((int(fields[0]) if start else None, *pair))
    if len(found) != 1:
        raise ValueError(
            f'{where}: expected "label enrol test" with label 0 or 1, "enrol test label", or "enrol test", '
            f"got {len(fields)} fields (separate them by tabs if paths hold blanks)"
        )
    return found[0]


def score_trials(vectors: Tensor, trials: Trials, scoring: Any) -> NDArray[np.float64]:
    """Summaries of every file (U, V, D) and N trials -> scores (N,), higher = more alike.

    Works in blocks, so that memory doesn't grow with N; on the device of the vectors.
    """
    size = max(1, BLOCK_VALUES // vectors[0].numel())
    scores = np.empty(len(trials.enrol))
    for start in range(0, len(scores), size):
        block = slice(start, start + size)
        enrol, test = (torch.from_numpy(side[block]).to(vectors.device) for side in trials[1:3])
        # index_select is more than twice as fast as vectors[enrol]
        pair = vectors.index_select(0, enrol), vectors.index_select(0, test)
        scores[block] = scoring.score(*pair).double().cpu().numpy()
    return scores


def write_scores(path: Path, trials: Trials, scores: NDArray[np.float64]) -> None:
    """Score file of `score enrol test [label]` lines; tab-separated where a path holds a blank."""
    sides = np.stack([trials.enrol, trials.test], axis=1)
    write_text(path, score_text(trials.names, sides, scores, trials.labels))
