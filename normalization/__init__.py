"""Score normalisation, chosen with --score_norm. Each file is one choice; _cohort.py is shared.

A file defines `class Normalization`. The simplest example is znorm.py. U: utterances, N: trials, K: cohort
entries, D: size of a vector. A score is the dot product of the vectors of two utterances, so this works with
choices of --scoring whose `is_vector` is True; other ones, such as `distance`, are rejected.

    __init__(self, cohort, speakers, *, options)
        cohort (K, D): vectors; speakers (K,): speaker ids, or None. Parameters after `*` become command-line
        options: annotate each as `Annotated[type, "help"]` and give it a default. Raise ValueError for values
        out of range.
    statistics(self, vectors, speakers) -> Statistics
        vectors (U, D), speakers (U,) or None -> mean and deviation (U,) of each utterance's cohort scores.
        Cohort entries of the utterance's speaker are left out. Ids have the same meaning for utterances and
        cohort; a negative id is an unknown speaker. Computed once for all trials.
    apply(self, scores, statistics, enrol, test) -> (N,)
        scores (N,), float64, and the utterances enrol (N,) and test (N,) of the trials -> normalised scores,
        float64.
    needs_cohort: bool
        Whether a cohort is needed; if False, `cohort` may be None.

Choices derived from `_cohort.CohortStatistics` define only `apply`. _cohort.py also prepares cohorts:
`speaker_means` averages vectors by speaker, `subtract_mean` centres embeddings before they are
length-normalised.
"""
