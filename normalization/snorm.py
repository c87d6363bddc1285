"""S-norm: the mean of z-norm and t-norm, symmetric in the two sides (Kenny 2010, Odyssey)."""

from normalization._cohort import CohortStatistics, Floats, Ids, Statistics, standardise


class Normalization(CohortStatistics):
    """Removes half of the shift and scale of each side."""

    def apply(self, scores: Floats, statistics: Statistics, enrol: Ids, test: Ids) -> Floats:
        """Scores (N,), the utterances of both sides (N,) -> mean of z-norm and t-norm (N,)."""
        return (standardise(scores, statistics, enrol) + standardise(scores, statistics, test)) / 2.0
