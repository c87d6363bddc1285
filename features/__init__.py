"""Front ends, chosen with --features; each file is one choice.

A file defines `class Features(FrontEnd)` (see _spectrum.py) with `__init__(self, *, options)`, an attribute
`num_features` F and a method `num_frames(num_samples) -> L`. The front end maps waveforms (B, T) in [-1, 1]
at 16 kHz to features (B, F, L), in float32 under any autocast.

`as_convolution()` returns a copy that computes the same features without FFT, by convolutions and matrix
products, for runtimes and exporters. FrontEnd does it for all parts that are a FramePower; a file that takes
an FFT in another way overrides the method. The copy has other buffers, so weights are loaded before.

`ADDED` names options that were added after model files had been written, see models/__init__.py.
"""
