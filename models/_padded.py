"""Utterances of unequal lengths embedded in one padded batch, each as it is alone.

Only layers that mix frames can see what lies beyond an utterance's end. They alone are told where that is, by
hooks that exist while such a batch does, so training never meets them. Between these layers, frames beyond
the end may hold anything finite.
"""

import inspect
import math
from collections.abc import Sequence
from contextlib import ExitStack

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def fewest_frames(model: nn.Module) -> float:
    """Frames from which utterances can share a padded batch; infinite if model or pooling knows no masks."""
    poolings = [layer for layer in model.modules() if _is_pooling(layer)]
    masked = all("mask" in inspect.signature(pooling.forward).parameters for pooling in poolings)
    return getattr(model, "unequal_from", math.inf) if masked else math.inf


def embed_unequal(model: nn.Module, features: Sequence[Tensor]) -> Tensor:
    """Features (1, F, L_i) -> embeddings (B, D), in one batch but for utterances too short for it."""
    lengths, fewest = [one.shape[2] for one in features], fewest_frames(model)
    alone = [i for i, length in enumerate(lengths) if length < fewest]
    together = [i for i, length in enumerate(lengths) if length >= fewest]
    embeddings = [model(features[i]) for i in alone]
    if together:
        longest = max(lengths)
        padded = torch.cat([F.pad(features[i], (0, longest - lengths[i])) for i in together])  # (B, F, L)
        own = torch.tensor([lengths[i] for i in together], device=padded.device)
        embeddings.append(embed_padded(model, padded, own))
    return torch.cat(embeddings)[torch.tensor(alone + together).argsort()]


def embed_padded(model: nn.Module, features: Tensor, lengths: Tensor) -> Tensor:
    """Features (B, F, L) of utterances of lengths (B,), padded with anything finite -> embeddings (B, D)."""
    masks = Masks(lengths, features.shape[2])
    with ExitStack() as hooks:
        for layer in model.modules():
            if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.MaxPool1d | nn.MaxPool2d):
                hooks.enter_context(layer.register_forward_pre_hook(masks.before_window))
                hooks.enter_context(layer.register_forward_hook(masks.after_window))
            elif isinstance(layer, nn.AdaptiveAvgPool1d | nn.AdaptiveAvgPool2d):
                hooks.enter_context(layer.register_forward_pre_hook(masks.before_mean))
                hooks.enter_context(layer.register_forward_hook(masks.after_mean))
            elif _is_pooling(layer):
                hooks.enter_context(layer.register_forward_pre_hook(masks.before_pooling))
        return model(features)


class Masks:
    """Which frames belong to the utterances, at each resolution; maps are (B, C, L) or (B, C, H, L).

    A resolution is known by its number of frames L, padding included: layers that make the same L out of
    the features' make the same lengths out of the utterances'.
    """

    def __init__(self, lengths: Tensor, num_frames: int) -> None:
        self.of = {num_frames: _mask(lengths, num_frames)}  # L -> (B, L)

    def before_window(self, layer: nn.Module, inputs: tuple[Tensor]) -> Tensor:
        """A convolution or max-pooling that reaches over the end finds there what it finds alone."""
        maps = inputs[0]
        if _along_time(layer.padding) == 0:
            return maps
        mask = self._beside(maps)
        if isinstance(layer, nn.MaxPool1d | nn.MaxPool2d):
            return torch.where(mask, maps, maps.amin())  # never the greatest, yet finite
        return maps * mask

    def after_window(self, layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        """Lengths follow the same arithmetic as L."""
        before, after = inputs[0].shape[-1], output.shape[-1]
        if before in self.of and after not in self.of:
            kernel, stride, padding, dilation = (
                _along_time(size) for size in (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
            )
            reach = dilation * (kernel - 1) + 1
            lengths = (self.of[before].sum(dim=1) + 2 * padding - reach) // stride + 1
            self.of[after] = _mask(lengths, after)

    def before_mean(self, _: nn.Module, inputs: tuple[Tensor]) -> Tensor:
        """A sum over all frames shall be one over the utterance's."""
        return inputs[0] * self._beside(inputs[0])

    def after_mean(self, _: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        """... and be divided by their number."""
        mask = self._beside(inputs[0])
        return output * (mask.shape[-1] / mask.sum(dim=-1, keepdim=True))

    def before_pooling(self, _: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor, Tensor]:
        """Poolings take a mask."""
        return inputs[0], self.of[inputs[0].shape[-1]]

    def _beside(self, maps: Tensor) -> Tensor:
        """The mask of the maps' frames (B, 1, L) or (B, 1, 1, L)."""
        mask = self.of[maps.shape[-1]]
        return mask.view(len(mask), *[1] * (maps.ndim - 2), -1)


def _mask(lengths: Tensor, num_frames: int) -> Tensor:
    return torch.arange(num_frames, device=lengths.device) < lengths[:, None]  # (B, L)


def _is_pooling(layer: nn.Module) -> bool:
    return type(layer).__name__ == "Pooling"


def _along_time(size: int | tuple[int, ...]) -> int:
    return size if isinstance(size, int) else size[-1]
