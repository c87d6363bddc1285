"""How embeddings become scores, chosen with --scoring: one file, one choice.

Contract of a file: `class Scoring`, built as `Scoring(length, num_crops)` from --eval_frames in samples (0:
the whole) and --num_eval; it raises ValueError if it can't do with these. Its methods:

    crops(audio) -> [(k, T), ...]       audio (T,) -> what goes through the network, each group of one length
    summarise(groups, normalize)        embeddings of n utterances' groups [(n, k, D), ...] -> (n, V, D')
    score(enrol, test) -> (N,)          summaries (N, V, D') of both sides -> scores, higher = more alike

`is_vector` says whether a summary is one vector, (n, 1, D'), and a score the dot product of two: only these
can be normalised by a cohort. `normalize` is what the loss says of its embeddings; a choice that always
normalises doesn't heed it.
"""
