"""Backends, chosen with --backend: what happens to the vectors of recordings before they are compared.

A file defines `class Backend`. The simplest example is lda.py. U: utterances, D: size of a vector, E: size of
what it becomes. trainSpeakerNet.py --prepare fits a backend on the vectors of a train list and stores it in
the model file. It works with choices of --scoring whose `is_vector` is True; other ones are rejected.

    __init__(self, *, options)
        Parameters after `*` become command-line options: annotate each as `Annotated[type, "help"]` and give
        it a default. Raise ValueError for values out of range.
    fit(self, vectors, speakers) -> dict[str, Tensor]
        vectors (U, D), speakers (U,), ids from 0 on -> the parameters, of any names; {} if there are none.
        Raise ValueError where there are too few speakers or utterances.
    project(parameters, vectors) -> (..., E)
        Static: vectors (..., D) -> what is kept of each for comparisons, float32, on the vectors' device.
    mirror(projected) -> (..., E)
        Static: the dot product of `projected` of one side and `mirror(projected)` of the other side is the
        score; it must be the same for both orders. It is the identity where scores are plain dot products.

Score normalisation takes projected vectors; mirror is applied to its cohort. `_lda.py` is shared.
"""
