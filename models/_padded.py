"""Embeds utterances of unequal lengths in one padded batch, each exactly as it would be embedded alone.

Only layers that mix frames can see the padding. While a padded batch is computed, hooks on these layers hide
it: a convolution gets zeros there, as its zero padding gives it at the end of a single utterance; a
reflection starts from the last frame of each utterance; max-pooling gets values that are never the maximum;
a mean over all frames is taken over the utterance's frames; a layer that takes a mask gets one. All other
layers may compute anything finite from the padding. The hooks are removed after the batch, so training never
runs them. A model whose own forward takes a mask hides the padding itself.
"""

import inspect
import math
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MAX_POOLINGS = (nn.MaxPool1d, nn.MaxPool2d)
WINDOWS = (nn.Conv1d, nn.Conv2d, *MAX_POOLINGS)  # layers that slide a window over the frames
MEANS = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d)


def fewest_frames(model: nn.Module) -> float:
    """Fewest frames of an utterance in a padded batch; infinite if the model or a pooling supports none."""
    for layer in model.modules():
        if _is_pooling(layer) and not _takes_mask(type(layer)):
            return math.inf
    return getattr(model, "unequal_from", math.inf)


def embed_unequal(model: nn.Module, features: Sequence[Tensor]) -> Tensor:
    """Features (1, F, L_i) -> embeddings (B, D): one padded batch, too short utterances one by one."""
    lengths = [each.shape[2] for each in features]
    long_enough = [length >= fewest_frames(model) for length in lengths]
    singles = [i for i, batched in enumerate(long_enough) if not batched]
    batch = [i for i, batched in enumerate(long_enough) if batched]
    embeddings = [model(features[i]) for i in singles]
    if batch:
        longest = max(lengths)
        padded = torch.cat([F.pad(features[i], (0, longest - lengths[i])) for i in batch])  # (B, F, L)
        batch_lengths = torch.tensor([lengths[i] for i in batch], device=padded.device)
        embeddings.append(embed_padded(model, padded, batch_lengths))
    joined = torch.cat(embeddings)
    return joined[torch.tensor(singles + batch, device=joined.device).argsort()]


def embed_padded(model: nn.Module, features: Tensor, lengths: Tensor) -> Tensor:
    """Features (B, F, L), padded with anything finite, and lengths (B,) in frames -> embeddings (B, D)."""
    multiple = getattr(model, "frame_multiple", 1)
    features = features[:, :, : features.shape[2] - features.shape[2] % multiple]
    padding = Padding(lengths - lengths % multiple, features.shape[2])
    if _takes_mask(type(model)):
        return model(*padding.pass_mask(model, (features,)))
    with ExitStack() as hooks:
        for layer in model.modules():
            if isinstance(layer, WINDOWS):
                hooks.enter_context(layer.register_forward_pre_hook(padding.hide_from_window))
                hooks.enter_context(layer.register_forward_hook(padding.derive_lengths))
            elif isinstance(layer, nn.ReflectionPad1d):
                hooks.enter_context(layer.register_forward_hook(padding.reflect))
            elif isinstance(layer, MEANS):
                hooks.enter_context(layer.register_forward_pre_hook(padding.hide_from_mean))
                hooks.enter_context(layer.register_forward_hook(padding.rescale_mean))
            elif _takes_mask(type(layer)):
                hooks.enter_context(layer.register_forward_pre_hook(padding.pass_mask))
        return model(features)


class Padding:
    """The hooks for one batch. Maps are (B, C, L) or (B, C, H, L), L with the padding.

    Strides shorten the utterances as they shorten L, so L identifies the lengths: layers that output the same
    L also output the same lengths.
    """

    def __init__(self, lengths: Tensor, num_frames: int) -> None:
        self.masks = {num_frames: _mask(lengths, num_frames)}  # L -> (B, L), True for an utterance's frames

    def hide_from_window(self, layer: nn.Module, inputs: tuple[Tensor]) -> Tensor:
        """Pre-hook: replaces the padding that a window at the end of an utterance reaches into."""
        maps = inputs[0]
        if _along_time(layer.padding) == 0:
            return maps  # windows stay inside the utterance
        mask = self._broadcast_mask(maps)
        if isinstance(layer, MAX_POOLINGS):
            # the minimum, not -inf: some windows see only padding, and -inf * 0 would later be NaN
            return torch.where(mask, maps, maps.amin())
        return maps * mask

    def derive_lengths(self, layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        """Hook: computes the lengths after a layer with a stride, as the layer computes its L."""
        num_frames = output.shape[-1]
        mask = self.masks.get(inputs[0].shape[-1])
        if mask is None or num_frames in self.masks:
            return
        reach = _along_time(layer.dilation) * (_along_time(layer.kernel_size) - 1) + 1
        covered = mask.sum(dim=1) + 2 * _along_time(layer.padding) - reach
        self.masks[num_frames] = _mask(covered // _along_time(layer.stride) + 1, num_frames)

    def reflect(self, layer: nn.ReflectionPad1d, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        """Hook: reflects the frames before the end of each utterance, not those before the end of L."""
        frames = inputs[0]
        before, after = layer.padding
        lengths = self.masks[frames.shape[2]].sum(dim=1)
        self.masks[output.shape[2]] = _mask(lengths + before + after, output.shape[2])
        distances = torch.arange(1, after + 1, device=frames.device)  # from the last frame
        last = (lengths - 1)[:, None, None].expand(-1, frames.shape[1], 1)  # (B, C, 1)
        return output.scatter(2, before + last + distances, frames.gather(2, last - distances))

    def hide_from_mean(self, _: nn.Module, inputs: tuple[Tensor]) -> Tensor:
        """Pre-hook: sets the padding to zero, so that it adds nothing to the sum."""
        return inputs[0] * self._broadcast_mask(inputs[0])

    def rescale_mean(self, _: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        """Hook: divides the sum by the utterance's length instead of L."""
        mask = self._broadcast_mask(inputs[0])
        return output * (mask.shape[-1] / mask.sum(dim=-1, keepdim=True))

    def pass_mask(self, _: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor, Tensor]:
        """Pre-hook: gives a layer its second argument, the mask of as many frames as its input has."""
        return inputs[0], self.masks[inputs[0].shape[-1]]

    def _broadcast_mask(self, maps: Tensor) -> Tensor:
        """Maps (B, C, L) or (B, C, H, L) -> their mask (B, 1, L) or (B, 1, 1, L)."""
        mask = self.masks[maps.shape[-1]][:, None]
        return mask if maps.ndim == 3 else mask[:, None]


def _mask(lengths: Tensor, num_frames: int) -> Tensor:
    return torch.arange(num_frames, device=lengths.device) < lengths[:, None]  # (B, L)


def _is_pooling(layer: nn.Module) -> bool:
    return type(layer).__name__ == "Pooling"


@cache
def _takes_mask(layer_class: type[nn.Module]) -> bool:
    """Whether `forward` is written as forward(self, frames, mask)."""
    return list(inspect.signature(layer_class.forward).parameters)[2:3] == ["mask"]


def _along_time(size: int | tuple[int, ...]) -> int:
    return size if isinstance(size, int) else size[-1]
