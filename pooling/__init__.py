"""Poolings over time, chosen with --encoder_type: one file, one choice.

Contract of a file: `class Pooling(nn.Module)` with `__init__(self, channels, *, options)` and an
attribute `out_channels`; calling it turns frames (B, C, L) into (B, out_channels). A constant input
gives its mean and zero deviation; L = 1 works.
"""
