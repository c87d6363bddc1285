"""Adaptive s-norm: s-norm by the cohort entries nearest to each side (Matejka et al. 2017, AS-norm1)."""

from typing import Annotated

from torch import Tensor

from normalization._cohort import CohortStatistics, Floats, Ids, Statistics, standardise


class Normalization(CohortStatistics):
    """S-norm by the top_n cohort entries with which each side scores highest, of other speakers."""

    def __init__(
        self,
        cohort: Tensor,
        speakers: Ids | None = None,
        *,
        top_n: Annotated[int, "number of nearest cohort entries that an utterance is normalised by"] = 300,
    ) -> None:
        super().__init__(cohort, speakers, top_n=top_n)
        if top_n < 2:
            raise ValueError(f"--top_n must be at least 2 with --score_norm asnorm, got {top_n}")

    def apply(self, scores: Floats, statistics: Statistics, enrol: Ids, test: Ids) -> Floats:
        """Scores (N,), utterances of both sides (N,) -> mean of the scores standardised by each (N,)."""
        return (standardise(scores, statistics, enrol) + standardise(scores, statistics, test)) / 2.0
