"""Front ends, chosen with --features: one file, one choice.

Contract of a file: `class Features(nn.Module)` with `__init__(self, *, options)`, an attribute
`num_features` F and `num_frames(num_samples) -> L`; calling it turns waveforms (B, T) in [-1, 1] at
16 kHz into features (B, F, L), float32 under any autocast.
"""
