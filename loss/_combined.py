"""The weighted sum of several losses, which `--trainfunc aamsoftmax+0.5*angleproto` names."""

import inspect
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

import runtime

UNLIMITED = 10**9  # utterances of a speaker in a batch


class CombinedLoss(nn.Module):
    """Embeddings (S, M, D), labels (S,) -> weighted sum of the parts' losses (), accuracy of the first part.

    `combine` makes subclasses, which have the attributes that loss/__init__.py describes.
    """

    normalize: bool

    def __init__(self, weights: Sequence[float], parts: Sequence[nn.Module]) -> None:
        super().__init__()
        self.weights = weights
        self.parts = nn.ModuleList(parts)

    def set_epoch(self, epoch: int) -> None:
        """Tell the parts that have a schedule which epoch begins, counted from 1."""
        for part in self.parts:
            if hasattr(part, "set_epoch"):
                part.set_epoch(epoch)  # type: ignore[operator]

    @runtime.float32
    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        losses, accuracies = zip(*(part(embeddings, labels) for part in self.parts), strict=True)
        total = sum(weight * loss for weight, loss in zip(self.weights, losses, strict=True))
        return total, accuracies[0]


def combine(weights: Sequence[float], losses: Sequence[Any]) -> type[CombinedLoss]:
    """Weights and classes of losses -> the class of their sum.

    Its options are those of all parts; what several have is one option, with the default of the first.
    """
    declared = [_options(loss) for loss in losses]
    options: dict[str, inspect.Parameter] = {}
    for parameters in declared:
        options = parameters | options

    class LossFunction(CombinedLoss):
        min_utterances = max(loss.min_utterances for loss in losses)
        max_utterances = min(getattr(loss, "max_utterances", UNLIMITED) for loss in losses)
        normalize = losses[0].normalize
        per_speaker = getattr(losses[0], "per_speaker", False)
        __signature__ = inspect.Signature([*_wired(losses[0]), *options.values()])

        def __init__(self, embedding_dim: int, num_speakers: int, **values: Any) -> None:
            values = {name: parameter.default for name, parameter in options.items()} | values
            parts = [
                loss(embedding_dim, num_speakers, **{name: values[name] for name in parameters})
                for loss, parameters in zip(losses, declared, strict=True)
            ]
            super().__init__(weights, parts)

    return LossFunction


def _options(loss: Any) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(loss).parameters
    return {name: p for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}


def _wired(loss: Any) -> list[inspect.Parameter]:
    return [p for p in inspect.signature(loss).parameters.values() if p.kind is not p.KEYWORD_ONLY]
