"""Training objectives, chosen with --trainfunc: one file, one choice.

Contract of a file: `class LossFunction(nn.Module)` with
`__init__(self, embedding_dim, num_speakers, *, options)` and the attributes `min_utterances` (1 or 2
per speaker and batch) and `normalize` (whether scoring length-normalises embeddings). Calling it turns
embeddings (S, M, D) and labels (S,) into the mean loss () and an accuracy () in [0, 1].
"""
