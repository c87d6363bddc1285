"""Class heads: losses with weights for each training speaker, which can be sampled and sharded."""

from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import distributed
import runtime
from loss._classification import classify, draw_classes, per_utterance
from loss._sharded import ShardedHead

SampleClasses = Annotated[
    float, "fraction of the speakers that a training step compares with, drawn at random"
]
SubCenters = Annotated[int, "vectors of each speaker; the nearest one counts"]
Scale = Annotated[float, "logit = scale * cosine"]


class ClassHead(nn.Module):
    """Embeddings (S, M, D), labels (S,) -> mean cross-entropy over the classes (), accuracy (S,).

    Where sample_classes is less than 1, each training step compares with that fraction of the classes: all
    speakers of the batch, and others drawn at random (Partial FC, An et al. 2022, arXiv:2203.15565). The
    accuracy is that among the drawn classes. Classes that aren't drawn get a gradient of zero; the paper's
    implementation doesn't update them, while here an optimizer with momentum or weight decay still changes
    them.
    """

    min_utterances = 1
    normalize = True
    per_speaker = True
    per_class: tuple[str, ...]  # names of the parameters that have a row for each class

    def __init__(self, num_classes: int, sample_classes: float) -> None:
        super().__init__()
        if not 0.0 < sample_classes <= 1.0:
            raise ValueError(f"--sample_classes must be in (0, 1], got {sample_classes}")
        self.num_classes = num_classes
        self.sample_classes = sample_classes
        self.sharded: ShardedHead | None = None

    def shard(self) -> None:
        """Keep this process's classes only; called once, by all processes; see _sharded.py."""
        assert self.sharded is None
        if distributed.world_size() > 1:
            self.sharded = ShardedHead(self, self.per_class, self.num_classes)

    def draw(self, num_classes: int, targets: Tensor) -> Tensor | None:
        """Targets (N,) in [0, num_classes) -> classes of this step (K,), sorted; None for all of them."""
        if not self.training or self.sample_classes == 1.0:
            return None
        return draw_classes(num_classes, self.sample_classes, targets)

    def similarities(self, utterances: Tensor, classes: Tensor | None) -> Tensor:
        """Utterances (N, D), classes (K,) or None for all -> similarities (N, K)."""
        raise NotImplementedError

    def logits(self, similarities: Tensor, targets: Tensor, has_target: Tensor | None = None) -> Tensor:
        """Similarities (N, K) -> logits (N, K).

        Args:
            similarities: of N utterances and K classes.
            targets: (N,) columns of the true speakers.
            has_target: (N,) whether the true speaker is among the K classes; None: always.
        """
        return similarities

    @runtime.float32
    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        if self.sharded is not None:
            return self.sharded(self, embeddings, labels)
        utterances, targets = per_utterance(embeddings, labels)
        classes = self.draw(self.num_classes, targets)
        if classes is not None:
            targets = torch.searchsorted(classes, targets)  # all of them are drawn
        logits = self.logits(self.similarities(utterances, classes), targets)
        return classify(logits, targets, len(labels))


class CosineClassifier(ClassHead):
    """Cosines with one or several vectors for each speaker; subclasses apply a margin to the true speaker's.

    Of several vectors the nearest counts (Deng et al. 2020, "Sub-center ArcFace", ECCV): mislabelled or
    unusual utterances of a speaker gather around other vectors than the rest.
    """

    per_class = ("weight",)

    def __init__(
        self,
        embedding_dim: int,
        num_speakers: int,
        *,
        margin: float,
        scale: float,
        sample_classes: float,
        sub_centers: int,
    ) -> None:
        super().__init__(num_speakers, sample_classes)
        if not 0.0 <= margin < 1.0:
            raise ValueError(f"--margin must be in [0, 1), got {margin}")
        if not scale > 0.0:
            raise ValueError(f"--scale must be positive, got {scale}")
        if sub_centers < 1:
            raise ValueError(f"--sub_centers must be at least 1, got {sub_centers}")
        self.margin = margin
        self.scale = scale
        self.sub_centers = sub_centers
        weight = nn.init.xavier_normal_(torch.empty(num_speakers * sub_centers, embedding_dim))
        self.weight = nn.Parameter(weight if sub_centers == 1 else weight.unflatten(0, (-1, sub_centers)))

    def similarities(self, utterances: Tensor, classes: Tensor | None) -> Tensor:
        """Utterances (N, D), classes (K,) or None for all -> cosines (N, K)."""
        weight = self.weight if classes is None else self.weight.index_select(0, classes)
        if self.sub_centers == 1:
            return F.linear(F.normalize(utterances), F.normalize(weight))
        cosines = F.linear(F.normalize(utterances), F.normalize(weight.flatten(0, 1)))
        return cosines.unflatten(1, (-1, self.sub_centers)).max(dim=2).values

    def logits(self, similarities: Tensor, targets: Tensor, has_target: Tensor | None = None) -> Tensor:
        """Cosines (N, K), targets (N,), has_target (N,) -> logits (N, K), with the margin at the targets."""
        cosine = similarities.gather(1, targets[:, None])  # (N, 1)
        with_margin = self.with_margin(cosine)
        if has_target is not None:
            with_margin = torch.where(has_target[:, None], with_margin, cosine)
        return self.scale * similarities.scatter(1, targets[:, None], with_margin)

    def with_margin(self, cosine: Tensor) -> Tensor:
        """The true speakers' cosines (N, 1) -> these with the margin (N, 1)."""
        raise NotImplementedError
