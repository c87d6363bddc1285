"""SphereFace2: a binary classifier for each speaker (Wen et al. 2022, arXiv:2108.01513, section 3).

For speakers Han et al. 2023 (arXiv:2211.13437), whose values are the defaults.
"""

from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import distributed
from loss._angles import larger_angle, smaller_angle
from loss._head import CosineClassifier, Scale
from loss._sharded import accuracy_of_sharded


class LossFunction(CosineClassifier):
    """Embeddings (S, M, D), labels (S,) -> mean loss (), top-1 accuracy (S,).

    With g(z) = 2 ((z + 1) / 2)^t - 1, the loss of an utterance is w log(1 + exp(-z)) for its own speaker plus
    (1 - w) log(1 + exp(z)) for each other one, z = scale * (g(cos) - margin) + b for the own speaker and
    scale * (g(cos) + margin) + b for the others, b learned. Type A puts the margin into the angle instead.
    """

    def __init__(
        self,
        embedding_dim: int,
        num_speakers: int,
        *,
        margin: Annotated[
            float, "what makes the own speaker less similar and others more; 0.2 for type C, 0.15 for A"
        ] = 0.2,
        scale: Scale = 32.0,
        margin_type: Annotated[
            Literal["C", "A"], "C: the margin is a difference of g, as in CosFace; A: an angle, as in ArcFace"
        ] = "C",
        own_weight: Annotated[float, "weight w of the own speaker; 1 - w is that of each other one"] = 0.7,
        exponent: Annotated[float, "exponent t of g, which spreads the cosines"] = 3.0,
    ) -> None:
        super().__init__(
            embedding_dim, num_speakers, margin=margin, scale=scale, sample_classes=1.0, sub_centers=1
        )
        if not 0.0 < own_weight < 1.0:
            raise ValueError(f"--own_weight must lie between 0 and 1, got {own_weight}")
        if not exponent >= 1.0:
            raise ValueError(f"--exponent must be at least 1, got {exponent}")
        self.margin_type = margin_type
        self.own_weight = own_weight
        self.exponent = exponent
        self.bias = nn.Parameter(torch.zeros(()))

    def classify(
        self, logits: Tensor, targets: Tensor, num_speakers: int, has_target: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Cosines (N, K) -> mean over the utterances of the sum over all classes (), accuracy (S,).

        The accuracy is that of the cosines, without the margin.
        """
        columns = targets[:, None]
        cosine = logits.gather(1, columns)
        own = self.own_weight * F.softplus(-self._own_logits(cosine))
        others = (1.0 - self.own_weight) * F.softplus(self._other_logits(logits))
        largest = logits.detach().amax(dim=1)
        if has_target is None:
            loss = others.scatter(1, columns, own).sum(dim=1).mean()
            correct = (cosine.detach()[:, 0] >= largest).float()
            return loss, correct.unflatten(0, (num_speakers, -1)).mean(dim=1)
        own = torch.where(has_target[:, None], own, others.gather(1, columns))
        loss = distributed.all_reduce_sum(others.scatter(1, columns, own).sum(dim=1)).mean()
        target = distributed.all_reduce_sum(torch.where(has_target, cosine.detach()[:, 0], 0.0))
        return loss, accuracy_of_sharded(target, distributed.all_reduce_max(largest), num_speakers)

    def _own_logits(self, cosine: Tensor) -> Tensor:
        """The own speakers' cosines -> logits less the margin, of the same shape."""
        if self.margin_type == "A":
            return self.scale * self._spread(larger_angle(cosine, self.margin)) + self.bias
        return self.scale * (self._spread(cosine) - self.margin) + self.bias

    def _other_logits(self, cosine: Tensor) -> Tensor:
        """Other speakers' cosines -> logits and the margin, of the same shape."""
        if self.margin_type == "A":
            return self.scale * self._spread(smaller_angle(cosine, self.margin)) + self.bias
        return self.scale * (self._spread(cosine) + self.margin) + self.bias

    def _spread(self, cosine: Tensor) -> Tensor:
        """The paper's function g, of the same shape."""
        return 2.0 * (0.5 * (cosine + 1.0)).clamp(min=0.0).pow(self.exponent) - 1.0
