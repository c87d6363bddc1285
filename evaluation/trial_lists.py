"""The names in trial lists, and the recordings that they stand for."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, from_numpy
from torch.nn import functional as F

from audio.trials import Trials, read_enrolments, read_trials
from audio.vad import LEAST_SPEECH_S
from evaluation.store import MEASURES, Embeddings


class Sides(NamedTuple):
    """What is compared: vectors (U, V, D) and measures (U,) of each name; names without recordings."""

    vectors: Tensor
    measures: dict[str, NDArray[np.float64]]
    missing: NDArray[np.int64]
    silent: list[str]  # of each name a recording without speech, "" if there is none


class TrialLists:
    """One or several trial lists whose names are numbered alike."""

    def __init__(self, lists: dict[str, Trials], models: Mapping[str, Sequence[str]]) -> None:
        """Trials by the name of their list; names of models stand for several recordings, others for one."""
        self.lists = lists
        self.names = next(iter(self.lists.values())).names
        self.numbers = {name: number for number, name in enumerate(self.names)}
        self.files = sorted({file for name in self.names for file in models.get(name, [name])})
        numbers = {file: number for number, file in enumerate(self.files)}
        # of each name, the numbers of its recordings, and whether it is a model of enrol_list
        self.recordings = [[numbers[file] for file in models.get(name, [name])] for name in self.names]
        self.is_model = np.array([name in models for name in self.names])

    @classmethod
    def read(cls, paths: Sequence[str], root: str, enrol_list: str) -> Self:
        """Paths of trial lists, folder of their recordings, list of models or "" -> the lists.

        Raises:
            ValueError, FileNotFoundError: a list is missing or has another form, or two have the same name.
        """
        models = read_enrolments(enrol_list) if enrol_list else {}
        lists = cls(dict(zip(_stems(paths), read_trials(paths, root, models), strict=True)), models)
        lists._require_files_on_test_sides(models, enrol_list)
        return lists

    def _require_files_on_test_sides(self, models: Collection[str], enrol_list: str) -> None:
        """Raises ValueError for a model on the test side of a trial."""
        for trials in self.lists.values():
            tested = (self.names[number] for number in np.unique(trials.test))
            if clash := next((name for name in tested if name in models), None):
                raise ValueError(
                    f"--enrol_list {enrol_list}: {clash} is also on the test side of a trial, which is "
                    "always a recording; give the model another name"
                )

    @property
    def has_labels(self) -> bool:
        """Whether the first list, which decides, has labels."""
        return next(iter(self.lists.values())).labels is not None

    def sides(self, embeddings: Embeddings) -> Sides:
        """Embeddings of the files -> what the names stand for; a model has the mean of its vectors."""
        present = [[row for row in rows if embeddings.present[row]] for rows in self.recordings]
        pairs = zip(present, self.recordings, strict=True)
        first = np.array([rows[0] if rows else all_rows[0] for rows, all_rows in pairs])
        vectors = embeddings.vectors[from_numpy(first)]
        measures = embeddings.measures[first]
        for number, rows in enumerate(present):
            if self.is_model[number] and rows:  # a model of one file too, so that one threshold suits all
                vectors[number] = F.normalize(embeddings.vectors[rows].mean(dim=0), dim=-1)
                durations, norms, speech = embeddings.measures[rows].T
                measures[number] = durations.sum(), norms.mean(), speech.sum()
        missing = np.flatnonzero([not rows for rows in present])
        has_speech = embeddings.measures[:, MEASURES.index("speech_s")] >= LEAST_SPEECH_S
        silent = [next((self.files[row] for row in rows if not has_speech[row]), "") for rows in present]
        return Sides(vectors, dict(zip(MEASURES, measures.T, strict=True)), missing, silent)


def _stems(paths: Sequence[str]) -> list[str]:
    """Paths of trial lists -> names for the files that are written for them."""
    stems = [Path(path).stem for path in paths]
    repeated = next((stem for stem in stems if stems.count(stem) > 1), None)
    if repeated:
        raise ValueError(
            f"--test_list: two lists have the name {repeated}; their score files would be the same"
        )
    return stems
