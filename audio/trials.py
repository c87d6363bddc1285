"""Trial lists, their names numbered."""

import os.path
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from audio.trial_forms import Known, read_trial_lines


class Trials(NamedTuple):
    """Names of files or models, the number of each trial's sides among them (N,), labels (N,) or None."""

    names: list[str]
    enrol: NDArray[np.int64]
    test: NDArray[np.int64]
    labels: NDArray[np.int8] | None
    num_repeated: int = 0  # lines that repeat a trial, in the same or the other order

    def without(self, missing: NDArray[np.int64]) -> "Trials":
        """The trials without those that need one of these names (given by number)."""
        keep = ~(np.isin(self.enrol, missing) | np.isin(self.test, missing))
        labels = None if self.labels is None else self.labels[keep]
        return self._replace(enrol=self.enrol[keep], test=self.test[keep], labels=labels)


def read_trials(
    paths: Sequence[str], known: Known = os.path.isfile, models: Collection[str] = ()
) -> list[Trials]:
    """Trial lists (see read_trial_lines) -> the trials of each; all lists number the names alike.

    Args:
        paths: the lists.
        known: whether a name is a recording; by default, whether it is a file from the working folder.
        models: names of enrolment models.

    Raises:
        FileNotFoundError, ValueError: as read_trial_lines; a trial with both labels, or trials of one class.
    """
    numbers: dict[str, int] = {}
    lists = [_read_list(path, known, models, numbers) for path in paths]
    names = list(numbers)
    return [trials._replace(names=names) for trials in lists]


def _read_list(path: str, known: Known, models: Collection[str], numbers: dict[str, int]) -> Trials:
    """One list -> its trials without the names, which are added to `numbers`."""
    labels: list[int | None] = []
    sides: list[int] = []
    for _, (label, enrol, test) in read_trial_lines(path, known, models):
        labels.append(label)
        sides.append(numbers.setdefault(enrol, len(numbers)))
        sides.append(numbers.setdefault(test, len(numbers)))
    pairs = np.array(sides, dtype=np.int64).reshape(-1, 2)
    keys = pairs.min(axis=1) * len(numbers) + pairs.max(axis=1)  # the order within a pair doesn't matter
    distinct, first = np.unique(keys, return_index=True)
    classes = None
    if labels[0] is not None:
        classes = np.array(labels, dtype=np.int8)
        if len(np.unique(classes)) == 1:
            missing = "nontarget (0)" if classes[0] else "target (1)"
            raise ValueError(f"{path}: all {len(labels)} trials are of one class; it has no {missing} trial")
        contradictory = np.flatnonzero(classes != classes[first[np.searchsorted(distinct, keys)]])
        if len(contradictory):
            names = list(numbers)
            enrol, test = (names[i] for i in pairs[contradictory[0]])
            raise ValueError(f"{path}: the trial {enrol} {test} is listed with both labels")
    return Trials([], pairs[:, 0], pairs[:, 1], classes, len(keys) - len(distinct))
