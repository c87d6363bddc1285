"""Poolings over time, chosen with --encoder_type. Each file is one choice; files with `_` are shared parts.

A file defines `class Pooling(nn.Module)`, under this name. The simplest examples: TAP.py, the mean, and
STATS.py; SAP.py has attention, MQMHA.py has options. B: utterances, C: channels, L: frames, at least 1.

    __init__(self, channels, attention="scalar", *, options)
        `attention` is no option: each model names the form of attention that it was published with (scalar,
        channelwise, rawnet3, ecapa, wespeaker, speechbrain, nemo; see _attention.py). Poolings without such
        attention ignore it. Parameters after `*` become command-line options: annotate each as
        `Annotated[type, "help"]` and give it a default.
    out_channels: int
        Size of the output.
    forward(self, frames, mask=None) -> (B, out_channels)
        frames (B, C, L). With a mask (B, L), True on the frames of an utterance, each utterance of a padded
        batch is pooled as it would be alone; a pooling without this parameter is never given padded batches.
        Constant frames give their value as mean and zero as deviation.
"""
