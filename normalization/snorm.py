"""S-norm: the mean of z-norm and t-norm, the same whichever side is enrolled (Kenny 2010, Odyssey)."""

from typing import Annotated

from torch import Tensor

from normalization._cohort import CohortStatistics, Floats, Ids, Statistics, standardise


class Normalization(CohortStatistics):
    """Takes out half of what is peculiar to either side."""

    def __init__(
        self,
        cohort: Tensor,
        speakers: Ids | None = None,
        *,
        top_n: Annotated[int, "nearest cohort entries that count for an utterance; 0: all"] = 0,
    ) -> None:
        super().__init__(cohort, speakers, top_n)

    def apply(self, scores: Floats, statistics: Statistics, enrol: Ids, test: Ids) -> Floats:
        """Scores (N,), the utterances of both sides (N,) -> mean of z-norm and t-norm (N,)."""
        return (standardise(scores, statistics, enrol) + standardise(scores, statistics, test)) / 2.0
