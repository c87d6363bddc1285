"""Adaptive s-norm: s-norm by each side's own nearest cohort entries (Matejka et al. 2017, AS-norm1)."""

from typing import Annotated

from torch import Tensor

from normalization._cohort import CohortStatistics, Floats, Ids, Statistics, standardise


class Normalization(CohortStatistics):
    """S-norm by the top_n cohort entries that each side scores highest against, never its own speaker."""

    def __init__(
        self,
        cohort: Tensor,
        speakers: Ids | None = None,
        *,
        top_n: Annotated[int, "nearest cohort entries that count for an utterance"] = 300,
    ) -> None:
        super().__init__(cohort, speakers, top_n=top_n)
        if top_n < 2:
            raise ValueError(f"--top_n must be at least 2 with --score_norm asnorm, got {top_n}")

    def apply(self, scores: Floats, statistics: Statistics, enrol: Ids, test: Ids) -> Floats:
        """Scores (N,), the utterances of both sides (N,) -> mean of both sides' standardised scores (N,)."""
        return (standardise(scores, statistics, enrol) + standardise(scores, statistics, test)) / 2.0
