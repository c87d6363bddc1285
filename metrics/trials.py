"""Scored trials of a system as arrays, and their groups by an attribute of the recordings."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from metrics.rates import Floats, Integers

Labels = NDArray[np.int8]


class ScoredTrials(NamedTuple):
    """Trials of a list, sorted by their paths, so that their order in the list has no effect."""

    name: str  # of the score file or the list, for messages
    scores: Floats  # (N,)
    labels: Labels | None  # (N,) of 1 = target and 0 = nontarget
    files: list[str]  # paths or other names of the recordings, sorted
    sides: NDArray[np.int32]  # (N, 2) numbers of the enrolment and the test recording in `files`

    @classmethod
    def from_arrays(
        cls, name: str, scores: ArrayLike, labels: ArrayLike | None, files: Sequence[str], sides: Integers
    ) -> "ScoredTrials":
        """Name, scores (N,), labels (N,) or None, paths in any order, their numbers (N, 2) -> sorted trials.

        Paths that no trial uses are left out. Trials that repeat the same pair are sorted by their scores.
        """
        scores = np.asarray(scores, dtype=np.float64)
        is_used = np.zeros(len(files), bool)
        for side in sides.T:
            is_used[side] = True
        used = np.flatnonzero(is_used)
        names, numbers = np.unique([files[i] for i in used.tolist()], return_inverse=True)
        places = np.zeros(len(files), np.int32)
        places[used] = numbers
        sides = places[sides]
        order = np.lexsort((scores, sides[:, 1], sides[:, 0]))
        if labels is not None:
            labels = np.asarray(labels, dtype=np.int8)[order]
        return cls(name, scores[order], labels, names.tolist(), sides[order])

    def known_labels(self) -> Labels:
        """Labels (N,), or ValueError without labels."""
        if self.labels is None:
            raise ValueError(f"{self.name}: its trials have no labels")
        return self.labels

    def pairs(self) -> list[tuple[str, str]]:
        """The paths of both sides of each trial."""
        return [(self.files[enrol], self.files[test]) for enrol, test in self.sides.tolist()]


def require_same_trials(first: ScoredTrials, other: ScoredTrials) -> None:
    """Raises ValueError unless both have the same trials with the same labels, or none."""
    if first.files != other.files or not np.array_equal(first.sides, other.sides):
        for a, b in ((first, other), (other, first)):
            missing = min(set(a.pairs()) - set(b.pairs()), default=None)
            if missing is not None:
                raise ValueError(f"{b.name}: lacks the trial {' '.join(missing)} of {a.name}")
        raise ValueError(f"{other.name}: repeats other trials than {first.name}")
    if first.labels is None or other.labels is None:
        if first.labels is not other.labels:
            bare, full = (first, other) if first.labels is None else (other, first)
            raise ValueError(f"{bare.name}: has no labels, but {full.name} has")
        return
    different = np.flatnonzero(first.labels != other.labels)
    if len(different):
        enrol, test = (first.files[i] for i in first.sides[different[0]])
        raise ValueError(f"{other.name}: the trial {enrol} {test} has another label than in {first.name}")


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
        attribute = np.unique(values, return_inverse=True)[1][sides]
        same = attribute[:, 0] == attribute[:, 1]
        return {"same": same, "other": ~same}
    edges = np.unique(np.quantile(smaller, [0.0, 0.25, 0.5, 0.75, 1.0]))
    if len(edges) == 1:
        return {"all": np.ones(len(sides), dtype=np.bool_)}
    bins = np.searchsorted(edges[1:-1], smaller, side="right")
    names = [f"{low:g} to {high:g}" for low, high in itertools.pairwise(edges)]
    return {name: bins == i for i, name in enumerate(names)}
