"""Attention weights over time, in the forms that the models were published with.

A model names the form it wants; SAP, ASP and ECA then do with the weights what they always do.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pooling._statistics import VARIANCE_FLOOR, Bounds, moments_over_time, softmax_over_time


class ScalarAttention(nn.Module):
    """Frames (B, C, L) -> weights (B, 1, L): softmax_t(v . tanh(W x_t + b)).

    Cai et al. 2018 (arXiv:1804.05160, eq. 3-4); ResNetSE34L and VGGVox.
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
    """One published form of BottleneckAttention."""

    hidden: int
    context: bool  # whether mean and deviation of the utterance go in beside each frame
    tanh: bool
    variances: Bounds  # between which they are held


SCALAR = "scalar"
FORMS = {
    "channelwise": Form(128, False, False, (1e-5, None)),  # ResNetSE34V2
    "rawnet3": Form(128, True, False, (1e-4, 1e4)),
    "ecapa": Form(256, True, True, (1e-4, None)),
}


class BottleneckAttention(nn.Module):
    """Frames (B, C, L) -> weights (B, 1 or C, L) out of two 1x1 convolutions.

    Okabe et al. 2018 (arXiv:1803.10963, eq. 3-4); with context Desplanques et al. 2020 (arXiv:2005.07143,
    eq. 1).
    """

    def __init__(self, channels: int, outputs: int, form: Form) -> None:
        super().__init__()
        inputs = 3 * channels if form.context else channels
        layers = [nn.Conv1d(inputs, form.hidden, 1), nn.ReLU(), nn.BatchNorm1d(form.hidden)]
        layers += [nn.Tanh()] if form.tanh else []
        self.layers = nn.Sequential(*layers, nn.Conv1d(form.hidden, outputs, 1))
        self.context, self.variances = form.context, form.variances

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        first, *others = self.layers
        hidden = self._with_context(first, frames, mask) if self.context else first(frames)
        for layer in others:
            hidden = layer(hidden)
        return softmax_over_time(hidden, mask)

    def _with_context(self, first: nn.Conv1d, frames: Tensor, mask: Tensor | None) -> Tensor:
        """The first convolution of each frame, the mean and the unbiased deviation, one over the other.

        Mean and deviation are the same for all frames, so their share is computed once.
        """
        mean, variance = moments_over_time(frames, mask)
        count = frames.shape[2] if mask is None else mask.sum(dim=1)[:, None, None]
        unbiased = variance * (1.0 + 1.0 / torch.as_tensor(count - 1).clamp(min=1))  # n / (n - 1)
        deviation = unbiased.clamp(*self.variances).sqrt()
        own, shared = first.weight.split([frames.shape[1], 2 * frames.shape[1]], dim=1)
        context = F.conv1d(torch.cat([mean, deviation], dim=1), shared, first.bias)
        return F.conv1d(frames, own) + context


def make_attention(channels: int, form: str) -> nn.Module:
    """The attention of SAP and ASP: weights for each frame, in the form that the model asks for."""
    if form == SCALAR:
        return ScalarAttention(channels)
    return BottleneckAttention(channels, 1 if FORMS[form].context else channels, FORMS[form])


def make_context_attention(channels: int, form: str) -> nn.Module:
    """The attention of ECA: weights for each frame and channel that know the whole utterance."""
    chosen = FORMS.get(form, FORMS["ecapa"])
    return BottleneckAttention(channels, channels, chosen if chosen.context else FORMS["ecapa"])
