"""Speaker encoders, chosen with --model: one file, one choice.

Contract of a file: `class MainModel(nn.Module)` with
`__init__(self, num_features, embedding_dim, pooling, *, options)`, where `pooling(channels, attention)` makes
a pooling layer (`attention`: the form that the model was published with, see pooling/), and a constant
`DEFAULTS` with the option values the model was published with. Calling it turns features (B, F, L), any L of
at least 0.3 s, into embeddings (B, D).
"""
