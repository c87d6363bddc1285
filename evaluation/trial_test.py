"""Trial lists to scores, normalised by a cohort or not."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

import distributed
import options
from audio.errors import AudioError
from audio.recording import Audio
from audio.trials import Trials
from distributed.signals import StopSignal
from evaluation.backends import PLAIN, BackendScoring, FittedBackend
from evaluation.cohort import Cohort, CohortList, check_cohort
from evaluation.embedder import build_embedder
from evaluation.store import EmbeddingStore
from evaluation.trial_lists import Sides, TrialLists
from evaluation.trials import score_trials
from options import Options
from options.checks import needs_cohort
from SpeakerNet import SpeakerNet

Scores = NDArray[np.float64]
Normalise = Callable[[Scores, Trials], Scores]


class ScoredList(NamedTuple):
    """The trials of a list whose recordings could be used, their scores (N,), and how many were left out."""

    name: str
    trials: Trials
    scores: Scores
    num_left_out: int


class Comparison(NamedTuple):
    """What a network's scores of any trials of the names come from."""

    sides: Sides
    cohort: Cohort | None
    num_stored: int  # recordings whose embeddings are from earlier runs
    scoring: BackendScoring
    normalise: Normalise

    def scores(self, trials: Trials) -> Scores:
        """Trials of names that aren't missing (N,) -> their scores (N,)."""
        return self.normalise(score_trials(self.sides.vectors, trials, self.scoring), trials)


class Outcome(NamedTuple):
    """The scores of every list, and what they come from."""

    lists: list[ScoredList]
    sides: Sides
    cohort: Cohort | None
    num_stored: int  # recordings whose embeddings are from earlier runs


class TrialTest:
    """Trial lists whose files were checked, ready to be scored with any number of networks."""

    def __init__(
        self,
        values: Options,
        device: torch.device,
        *,
        lists: TrialLists | None = None,
        store: EmbeddingStore | None = None,
        cohort: Cohort | None = None,
        cohort_in_model: bool = False,
        backend: FittedBackend = PLAIN,
    ) -> None:
        """Reads the lists; a cohort is made for each network if the options ask for one and none is given.

        Args:
            values: resolved options.
            device: where networks are.
            lists: by default those of --test_list.
            store: where embeddings are kept for later runs.
            cohort: what scores are normalised by.
            cohort_in_model: whether it comes from the network's model file.
            backend: what changes vectors before they are compared.

        Raises:
            ValueError, FileNotFoundError: a list or a recording can't be used.
        """
        self.values = values
        self.lists = lists or TrialLists.read(
            values.test_list, values.test_path, values.enrol_list, enrol_root=values.enrol_path
        )
        recordings = self.lists.named.recordings(self.lists.utterances, values.channel)
        self.embedder = build_embedder(recordings, values, device, self.lists.named.flag, store)
        self.cohort = cohort
        self.cohort_in_model = cohort_in_model
        self.backend = backend
        self.cohort_list = None
        if cohort is None and needs_cohort(values):
            self.cohort_list = CohortList(values, device, store)
        if not self.embedder.scoring.is_vector and self.lists.is_model.any():
            raise ValueError(
                f"--scoring {values.scoring} can't average files, as --enrol_list and --gallery do"
            )

    def score(self, network: SpeakerNet, stop: StopSignal) -> Outcome | None:
        """Network -> the scores of every list and what they come from; None but in the first process."""
        comparison = self.compare(network, stop)
        if comparison is None:
            return None
        scored = list[ScoredList]()
        for name, listed in self.lists.lists.items():
            trials = listed.without(comparison.sides.missing)
            scores = comparison.scores(trials)
            scored.append(ScoredList(name, trials, scores, len(listed.enrol) - len(scores)))
        return Outcome(scored, comparison.sides, comparison.cohort, comparison.num_stored)

    def compare(self, network: SpeakerNet, stop: StopSignal) -> Comparison | None:
        """Network -> what trials are scored with; None but in the first process."""
        cohort = self.cohort
        mean = cohort.mean if cohort is not None else None
        if self.cohort_list is not None:
            mean = self.cohort_list.mean(network, stop)
            cohort = self.cohort_list.prepare(network, stop, mean)
        elif cohort is not None:
            check_cohort(cohort, network, self.values, self.cohort_in_model)
        self.backend.check(network, self.values, mean)
        embeddings = self.embedder.embed(network, stop, mean=mean)
        if not distributed.is_first():
            return None
        sides = self.lists.sides(embeddings)
        # trials and cohort are compared on the device
        vectors = self.backend.project(sides.vectors.to(self.embedder.device))
        sides = sides._replace(vectors=vectors)
        normalise = self._normalisation(cohort, sides)
        scoring = BackendScoring(self.embedder.scoring, self.backend)
        return Comparison(sides, cohort, int(embeddings.stored.sum()), scoring, normalise)

    def file(self, name: str) -> str:
        """A name of the trials -> the path of its recording, of several the first."""
        return self.embedder.recordings.file(self._first(name))

    def _first(self, name: str) -> int:
        return self.lists.rows[self.lists.numbers[name]][0]

    def audio(self, name: str) -> Audio | None:
        """A name of the trials -> its recording (T,), of several the first; None if it can't be read."""
        try:
            return self.embedder.recordings[self._first(name)].whole()
        except AudioError:
            return None

    def _normalisation(self, cohort: Cohort | None, sides: Sides) -> Normalise:
        """Cohort, sides -> function of scores and trials; the mean cohort score becomes a measure."""
        if cohort is None or self.values.score_norm == "none":
            return lambda scores, trials: scores
        entries = self.backend.cohort(cohort.entries)
        normalization = options.build("normalization", self.values, entries, cohort.labels.numpy())
        recordings = self.embedder.recordings
        first = [recordings.description(self._first(name)) for name in self.lists.names]
        speakers = cohort.speakers_of(first)
        statistics = normalization.statistics(sides.vectors[:, 0], speakers)
        sides.measures["cohort_mean"] = statistics.mean
        return lambda scores, trials: normalization.apply(scores, statistics, trials.enrol, trials.test)
