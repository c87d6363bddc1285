"""Score normalisation, chosen with --score_norm: one file, one choice.

Contract of a file: `class Normalization`, built as `Normalization(cohort, speakers)` from cohort vectors
(K, D) and the speaker id of each (K,) or None; options are named after `*`. The attribute `needs_cohort` says
whether it can do without one. Its methods:

    statistics(vectors, speakers) -> Statistics     once per utterance: vectors (U, D), ids (U,) or None
    apply(scores, statistics, enrol, test) -> (N,)  scores (N,) of the utterances enrol (N,) and test (N,)

Vectors are such that a score is the dot product of two of them: means of the length-normalised embeddings of
an utterance's crops. So this is for choices of --scoring whose `is_vector` is true; `distance` has an
embedding for each crop, (U, crops, D), and is refused. Ids count alike in utterances and cohort, negative =
unknown; entries of an utterance's own speaker are left out of its cohort. _cohort.py holds the mathematics,
and what cohorts are made with: `speaker_means`, and for embeddings that aren't vectors yet `subtract_mean`.
"""
