"""Attention weights over time for SAP, ASP and ECA, in the forms that the models were published with."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pooling._statistics import VARIANCE_FLOOR, Bounds, moments_over_time, softmax_over_time, unbiased


class ScalarAttention(nn.Module):
    """Frames (B, C, L) -> weights (B, 1, L): softmax_t(v . tanh(W x_t + b)).

    Cai et al. 2018 (arXiv:1804.05160, eq. 3-4); used by ResNetSE34L and VGGVox.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.variances = (VARIANCE_FLOOR, None)
        self.linear = nn.Linear(channels, channels)
        self.vector = nn.Parameter(nn.init.xavier_normal_(torch.empty(channels, 1)))

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        hidden = torch.tanh(self.linear(frames.transpose(1, 2)))  # (B, L, C)
        return softmax_over_time((hidden @ self.vector).transpose(1, 2), mask)


class Form(NamedTuple):
    """Settings of BottleneckAttention."""

    variances: Bounds  # of the context and of the pooled statistics
    hidden: int = 128  # units between the two convolutions
    relu_norm: bool = True  # whether ReLU and batch norm follow the first convolution
    tanh: bool = False  # whether a tanh precedes the second convolution
    context: bool = False  # whether each frame is joined with the utterance's mean and deviation
    unbiased: bool = True  # whether the context's variance is divided by L - 1 instead of L
    offset: float = 0.0  # added to the context's variance


SCALAR = "scalar"
FORMS = {
    "channelwise": Form((1e-5, None)),  # ResNetSE34V2
    "rawnet3": Form((1e-4, 1e4), context=True),
    "ecapa": Form((1e-4, None), hidden=256, tanh=True, context=True),  # TaoRuijie's
    "wespeaker": Form((1e-7, None), relu_norm=False, tanh=True, context=True, offset=1e-7),
    "speechbrain": Form((1e-12, None), tanh=True, context=True, unbiased=False),
    "nemo": Form((1e-10, None), tanh=True, context=True, unbiased=False),
}


class BottleneckAttention(nn.Module):
    """Frames (B, C, L) -> weights (B, 1 or C, L) by two 1x1 convolutions.

    Okabe et al. 2018 (arXiv:1803.10963, eq. 3-4); with context Desplanques et al. 2020 (arXiv:2005.07143,
    eq. 1).
    """

    def __init__(self, channels: int, outputs: int, form: Form) -> None:
        super().__init__()
        inputs = 3 * channels if form.context else channels
        layers: list[nn.Module] = [nn.Conv1d(inputs, form.hidden, 1)]
        if form.relu_norm:
            layers += [nn.ReLU(), nn.BatchNorm1d(form.hidden)]
        if form.tanh:
            layers.append(nn.Tanh())
        self.layers = nn.Sequential(*layers, nn.Conv1d(form.hidden, outputs, 1))
        self.form = form
        self.variances = form.variances

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        first, *others = self.layers
        hidden = self._with_context(first, frames, mask) if self.form.context else first(frames)
        for layer in others:
            hidden = layer(hidden)
        return softmax_over_time(hidden, mask)

    def _with_context(self, first: nn.Conv1d, frames: Tensor, mask: Tensor | None) -> Tensor:
        """The first convolution on each frame joined with the utterance's mean and deviation.

        Mean and deviation are the same for all frames, so their part of the convolution is computed once.
        """
        mean, variance = moments_over_time(frames, mask)
        if self.form.unbiased:
            variance = unbiased(variance, frames, mask)
        deviation = (variance + self.form.offset).clamp(*self.variances).sqrt()
        channels = frames.shape[1]
        frame_weight, context_weight = first.weight.split([channels, 2 * channels], dim=1)
        context = F.conv1d(torch.cat([mean, deviation], dim=1), context_weight, first.bias)  # (B, hidden, 1)
        return F.conv1d(frames, frame_weight) + context


def make_attention(channels: int, form: str) -> nn.Module:
    """Attention of SAP and ASP: one weight per frame, or per frame and channel in the form "channelwise"."""
    if form == SCALAR:
        return ScalarAttention(channels)
    return BottleneckAttention(channels, 1 if FORMS[form].context else channels, FORMS[form])


def make_context_attention(channels: int, form: str) -> nn.Module:
    """Attention of ECA: weights per frame and channel, computed with context; form "ecapa" by default."""
    with_context = form if form in FORMS and FORMS[form].context else "ecapa"
    return BottleneckAttention(channels, channels, FORMS[with_context])
