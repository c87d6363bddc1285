"""Trial lists, their names numbered."""

import os.path
from array import array
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from audio.trial_forms import Known, read_trial_lines


class Trials(NamedTuple):
    """Names of files or models, the number of each trial's sides among them (N,), labels (N,) or None."""

    names: list[str]
    enrol: NDArray[np.integer]
    test: NDArray[np.integer]
    labels: NDArray[np.int8] | None
    num_repeated: int = 0  # lines that repeat a trial, in the same or the other order

    def without(self, missing: NDArray[np.int64]) -> "Trials":
        """The trials without those that need one of these names (given by number)."""
        if not len(missing):
            return self
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
    """One list -> its trials without the names, which are added to `numbers`.

    Memory: 9 bytes a trial, which remain, and 17 while they are checked.
    """
    enrolled = array("i")
    tested = array("i")
    labels = array("b")
    for _, (label, enrol_name, test_name) in read_trial_lines(path, known, models):
        enrolled.append(numbers.setdefault(enrol_name, len(numbers)))
        tested.append(numbers.setdefault(test_name, len(numbers)))
        if label is not None:
            labels.append(label)
    enrol, test = (np.frombuffer(side, np.int32) for side in (enrolled, tested))
    classes = np.frombuffer(labels, np.int8) if labels else None
    if classes is not None and (classes == classes[0]).all():
        missing = "nontarget (0)" if classes[0] else "target (1)"
        raise ValueError(f"{path}: all {len(labels)} trials are of one class; it has no {missing} trial")
    trials = Trials([], enrol, test, classes)
    keys = _keys(trials, len(numbers))
    keys.sort()
    changes = keys[1:] ^ keys[:-1]  # bits; the last one is the label
    if (changes == 1).any():
        place = _first_contradictory(trials, keys[1:][changes == 1] >> 1, len(numbers))
        names = list(numbers)
        pair = f"{names[enrol[place]]} {names[test[place]]}"
        raise ValueError(f"{path}: the trial {pair} is listed with both labels")
    return trials._replace(num_repeated=int((changes == 0).sum()))


def _keys(trials: Trials, num_names: int) -> NDArray[np.int64]:
    """Trials -> a number for each that tells its two names, in any order, and its label (N,)."""
    keys = np.minimum(trials.enrol, trials.test, dtype=np.int64)
    keys *= num_names
    keys += np.maximum(trials.enrol, trials.test)
    keys *= 2
    if trials.labels is not None:
        keys += trials.labels
    return keys


def _first_contradictory(trials: Trials, pairs: NDArray[np.int64], num_names: int) -> int:
    """Trials, the keys without labels of pairs with both -> the first whose label isn't that of before."""
    keys = _keys(trials, num_names) >> 1
    labels = dict[int, int]()
    assert trials.labels is not None
    for place in np.flatnonzero(np.isin(keys, pairs)).tolist():
        label = int(trials.labels[place])
        if labels.setdefault(int(keys[place]), label) != label:
            return place
    raise AssertionError("no pair has both labels")
