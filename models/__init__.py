"""Speaker encoders, chosen with --model; each file is one choice.

A file defines `class MainModel(nn.Module)` with `__init__(self, num_features, embedding_dim, pooling, *,
options)` and a constant `DEFAULTS` with the option values that the model was published with.
`pooling(channels, attention)` creates a pooling layer; `attention` names the form of attention that the model
was published with (see pooling/). The model maps features (B, F, L), L from 0.3 s up, to embeddings (B, D).

Optional constant `ADDED`: names of options that were added after model files had been written, such as
`ADDED = ("width",)`. With its default such an option changes nothing: files without it are read as if they
had the default, and cohorts and thresholds made before stay valid. All other plug-ins may have it, too.

Optional attribute `unequal_from`: the fewest frames of an utterance that may be embedded in one padded batch
with utterances of other lengths. A model with this attribute promises that in evaluation mode only these
layers mix frames, and that they see maps (B, C, L) or (B, C, H, L): zero-padded Conv1d and Conv2d,
ReflectionPad1d, MaxPool1d and MaxPool2d, AdaptiveAvgPool1d and AdaptiveAvgPool2d to one value, poolings
created with `pooling`, unidirectional recurrent layers, and layers of the model's own with
`forward(self, frames, mask=None)`, which are given the mask (B, L), True on the frames of an utterance.
_padded.py masks the padding in these layers. A model whose own forward takes a mask promises nothing about
layers: only it is given the mask.
Without the attribute, each utterance is embedded alone.
"""
