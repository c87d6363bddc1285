"""Poolings over time, chosen with --encoder_type: one file, one choice.

Contract of a file: `class Pooling(nn.Module)` with `__init__(self, channels, attention, *, options)` and an
attribute `out_channels`. `attention` names the form of attention that the model was published with (scalar,
channelwise, rawnet3, ecapa; see _attention.py); poolings without such attention don't heed it. Calling it
turns frames (B, C, L) into (B, out_channels); a mask (B, L), True where a frame counts, makes a padded batch
pool as each utterance alone would. A constant input gives its mean and zero deviation; L = 1 works.
"""
