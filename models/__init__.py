"""Speaker encoders, chosen with --model: one file, one choice.

Contract of a file: `class MainModel(nn.Module)` with
`__init__(self, num_features, embedding_dim, pooling, *, options)`, where `pooling(channels, attention)` makes
a pooling layer (`attention`: the form that the model was published with, see pooling/), and a constant
`DEFAULTS` with the option values the model was published with. Calling it turns features (B, F, L), any L of
at least 0.3 s, into embeddings (B, D).

Optional, for evaluation to embed utterances of unequal lengths in one batch: `unequal_from`, the fewest
frames of an utterance that can be in such a batch. It promises that the layers which mix frames in evaluation
mode are modules of these kinds, working on (B, C, L) or (B, C, H, L): zero-padded Conv1d and Conv2d,
MaxPool1d and MaxPool2d, AdaptiveAvgPool1d and AdaptiveAvgPool2d to one value, the poolings made with
`pooling`, and recurrent layers that run forwards. _padded.py tells them the lengths. To a model without the
attribute each utterance is given alone.
"""
