"""T-norm: by the test side's cohort scores (Auckenthaler et al. 2000, Digital Signal Processing 10)."""

from normalization._cohort import CohortStatistics, Floats, Ids, Statistics, standardise


class Normalization(CohortStatistics):
    """Removes what makes a test utterance score high or low against all speakers."""

    def apply(self, scores: Floats, statistics: Statistics, enrol: Ids, test: Ids) -> Floats:
        """Scores (N,), the utterances of both sides (N,) -> (s - mean_t) / deviation_t (N,)."""
        return standardise(scores, statistics, test)
