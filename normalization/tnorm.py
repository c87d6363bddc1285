"""T-norm: by the test side's cohort scores (Auckenthaler et al. 2000, Digital Signal Processing 10)."""

from typing import Annotated

from torch import Tensor

from normalization._cohort import CohortStatistics, Floats, Ids, Statistics, standardise


class Normalization(CohortStatistics):
    """Takes out what makes a test utterance score high or low against everyone."""

    def __init__(
        self,
        cohort: Tensor,
        speakers: Ids | None = None,
        *,
        top_n: Annotated[int, "nearest cohort entries that count for an utterance; 0: all"] = 0,
    ) -> None:
        super().__init__(cohort, speakers, top_n)

    def apply(self, scores: Floats, statistics: Statistics, enrol: Ids, test: Ids) -> Floats:
        """Scores (N,), the utterances of both sides (N,) -> (s - mean_t) / deviation_t (N,)."""
        return standardise(scores, statistics, test)
