"""Front ends, chosen with --features; each file is one choice.

A file defines `class Features(nn.Module)` with `__init__(self, *, options)`, an attribute `num_features` F
and a method `num_frames(num_samples) -> L`. The front end maps waveforms (B, T) in [-1, 1] at 16 kHz to
features (B, F, L), in float32 under any autocast.
"""
