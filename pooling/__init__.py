"""Poolings over time, chosen with --encoder_type; each file is one choice.

A file defines `class Pooling(nn.Module)` with `__init__(self, channels, attention, *, options)` and an
attribute `out_channels`. `attention` names the form of attention that the model was published with (scalar,
channelwise, rawnet3, ecapa; see _attention.py); poolings without such attention ignore it. The pooling maps
frames (B, C, L), L at least 1, to (B, out_channels). With a mask (B, L), True on the frames of an utterance,
each utterance of a padded batch is pooled as it would be alone. Constant frames give their value as mean and
zero as deviation.
"""
