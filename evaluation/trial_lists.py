"""The names in trial lists, and the recordings that they stand for."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, from_numpy
from torch.nn import functional as F

from audio.enrolments import read_enrolments
from audio.kaldi import is_kaldi_directory, trials_in
from audio.named import NamedRecordings
from audio.trials import Trials, read_trials
from audio.utterances import Utterance
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

    def __init__(
        self, lists: dict[str, Trials], models: Mapping[str, Sequence[Utterance]], named: NamedRecordings
    ) -> None:
        """Trials by the name of their list, the named utterances of each model, and what names stand for.

        Raises:
            ValueError: a name is of different recordings on the two sides, or isn't known.
        """
        self.lists = lists
        self.named = named
        self.names = next(iter(self.lists.values())).names
        self.numbers = {name: number for number, name in enumerate(self.names)}
        self.is_model = np.array([name in models for name in self.names])
        utterances = self._utterances_of_names(models)
        self.utterances = sorted({utterance for each in utterances for utterance in each})
        numbers = {utterance: number for number, utterance in enumerate(self.utterances)}
        # of each name, the numbers of its utterances
        self.rows = [[numbers[utterance] for utterance in each] for each in utterances]

    @classmethod
    def read(
        cls,
        paths: Sequence[str],
        root: str,
        enrol_list: str,
        enrol_root: str = "",
    ) -> Self:
        """Trial lists, or Kaldi directories with one, and where their recordings are -> the lists.

        Args:
            paths: the lists.
            root: folder of the recordings, see NamedRecordings.
            enrol_list: list of models; "": none.
            enrol_root: folder of the recordings on the enrolment side; "": root too.

        Raises:
            ValueError, FileNotFoundError: a list is missing or has another form, or two have the same name.
        """
        sources = {path: "--test_list" for path in paths} | {enrol_list: "--enrol_list"}
        directories = {path: flag for path, flag in sources.items() if path and is_kaldi_directory(path)}
        named = NamedRecordings(root, "--test_path", enrol_root=enrol_root, lists=directories)
        models = read_enrolments(enrol_list, named.known) if enrol_list else {}
        files = [trials_in(path, "--test_list") if path in directories else path for path in paths]
        trials = read_trials(files, named.known, models)
        lists = cls(dict(zip(_stems(paths), trials, strict=True)), models, named)
        lists._require_files_on_test_sides(models, enrol_list)
        return lists

    def _utterances_of_names(self, models: Mapping[str, Sequence[Utterance]]) -> list[list[Utterance]]:
        """Models -> the utterances of each name of the trials."""
        is_enrolled, is_tested = np.zeros((2, len(self.names)), bool)
        for trials in self.lists.values():
            is_enrolled[trials.enrol] = True
            is_tested[trials.test] = True
        utterances = list[list[Utterance]]()
        for name, enrolled, tested in zip(self.names, is_enrolled, is_tested, strict=True):
            if name in models:
                utterances.append([self._part(name, part) for part in models[name]])
                continue
            sides = {self.named.enrolment(name)} if enrolled else set()
            sides |= {self.named.test(name)} if tested else set()
            if len(sides) > 1:
                raise ValueError(
                    f"{name} is on both sides of trials, but --enrol_path and {self.named.given} have "
                    "different recordings of this name"
                )
            utterances.append(list(sides))
        return utterances

    def _part(self, model: str, part: Utterance) -> Utterance:
        """A model, a named recording or part of one -> the utterance."""
        utterance = self.named.enrolment(part.path)
        if not part.is_segment:
            return utterance
        if utterance.is_segment:
            raise ValueError(f"--enrol_list: {model} has a part of {part.path}, which is a segment itself")
        return utterance._replace(start_s=part.start_s, end_s=part.end_s)

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
        """Embeddings of the utterances -> what the names stand for; a model has the mean of its vectors."""
        present = [[row for row in rows if embeddings.present[row]] for rows in self.rows]
        pairs = zip(present, self.rows, strict=True)
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
        silent = [
            next((str(self.utterances[row]) for row in rows if not has_speech[row]), "") for rows in present
        ]
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
