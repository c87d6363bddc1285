"""Scores of trials from embeddings, chosen with --scoring. Each file is one choice; _crops.py is shared.

A file defines `class Scoring`. The simplest example is cosine.py. n: utterances, N: trials, k: crops of a
group, T: samples at 16 kHz, D: embedding size.

    __init__(self, length, num_crops)
        length: samples of a crop (--eval_frames), 0 for whole recordings; num_crops: --num_eval, which counts
        only where length isn't 0. Raise ValueError, naming the flag, for values that this choice can't use.
    crops(self, audio) -> [(k, T), ...]
        audio (T,), float32 in [-1, 1] -> what the network embeds, one array for each length of crop. k is the
        same for all recordings, but more than 1 for whole ones that are too long for the memory. Crops that
        coincide are embedded once.
    windows: Windows or None
        None: what `crops` returns is embedded. Otherwise `crops` returns the whole recording [(1, T)], not
        shorter than a window, and these windows of its features are embedded.
    summarise(self, groups, normalize) -> (n, V, D')
        groups [(n, k, D), ...]: embeddings of the crops or windows of n utterances -> what is kept of each
        utterance, V vectors. normalize: whether the loss asks for length-normalised embeddings; choices that
        always normalise ignore it.
    score(self, enrol, test) -> (N,)
        Summaries (N, V, D') of the two sides of N trials -> scores; a higher score means more alike.
    is_vector: bool
        Whether V is 1 and a score is the dot product of two summaries. Score normalisation, cohorts and
        enrolment from several files need that.
    version: int
        From 1 on, raised by every change of the scores: stored embeddings, cohorts and thresholds of another
        version aren't used.

The base classes in _crops.py provide all but `summarise` and `score` (CropScoring), and also `score`
(VectorScoring).
"""
