"""Class heads: losses with weights for each training speaker, which can be sampled and sharded."""

from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import distributed
import runtime
from loss._classification import classify, draw_classes, per_utterance
from loss._sharded import ShardedHead, classify_sharded, local_rows

SampleClasses = Annotated[
    float, "fraction of the speakers that a training step compares with, drawn at random"
]
SubCenters = Annotated[int, "vectors of each speaker; the nearest one counts"]
Scale = Annotated[float, "logit = scale * cosine"]
IMPRINTED_NOISE = 0.1  # length of what is added to a direction of length 1
InterTopk = Annotated[int, "number of nearest other speakers with a penalty, 5 in the paper; 0: none"]
InterTopkPenalty = Annotated[float, "what brings these speakers nearer: an angle or a cosine, as the margin"]


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

    def draw(self, num_classes: int, targets: Tensor, is_present: Tensor | None = None) -> Tensor | None:
        """Targets (S,) in [0, num_classes) -> classes of this step (K,), sorted; None for all of them.

        See draw_classes.
        """
        if not self.training or self.sample_classes == 1.0:
            return None
        return draw_classes(num_classes, self.sample_classes, targets, is_present)

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

    def classify(
        self, logits: Tensor, targets: Tensor, num_speakers: int, has_target: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Logits (N, K) -> mean loss (), accuracy (S,) of the S speakers of this process.

        Args:
            logits: of N utterances and K classes, where has_target is given those of this process.
            targets: (N,) columns of the true speakers.
            num_speakers: S.
            has_target: (N,) whether the true speaker is among the K classes; None: always.
        """
        if has_target is None:
            return classify(logits, targets, num_speakers)
        return classify_sharded(logits, targets, has_target, num_speakers)

    @runtime.float32
    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        if self.sharded is not None:
            return self.sharded(self, embeddings, labels)
        utterances, targets = per_utterance(embeddings, labels)
        classes = self.draw(self.num_classes, labels)
        if classes is not None:
            targets = torch.searchsorted(classes, targets)  # all of them are drawn
        logits = self.logits(self.similarities(utterances, classes), targets)
        return self.classify(logits, targets, len(labels))


class CosineClassifier(ClassHead):
    """Cosines with one or several vectors for each speaker, and the options of a margin.

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

    @torch.no_grad()
    def imprint(self, directions: Tensor, num_speakers: int, seed: int) -> None:
        """Let the vectors of classes start in given directions; they keep their lengths.

        Of several vectors of a class the first one has the direction, the others have noise, so that they
        differ.

        Args:
            directions: (S, D), of length 1, of speakers 0 to S - 1; zeros where it isn't known.
            num_speakers: classes of one speed; class c is that of speaker c modulo this number.
            seed: of the noise.
        """
        classes = torch.arange(self.num_classes, device=directions.device) % num_speakers
        is_known = directions.new_zeros(num_speakers, dtype=torch.bool)
        is_known[: len(directions)] = directions.any(dim=1).to(is_known.device)
        noise = torch.randn(
            self.num_classes,
            self.sub_centers,
            directions.shape[1],
            generator=torch.Generator().manual_seed(seed),
        )
        noise[:, 0] = 0.0
        noise = (IMPRINTED_NOISE * F.normalize(noise, dim=2)).to(directions.device)
        rows = F.pad(directions, (0, 0, 0, num_speakers - len(directions)))[classes]  # (C, D)
        targets = F.normalize(rows[:, None] + noise, dim=2).view(self.num_classes, *self.weight.shape[1:])
        known = is_known[classes].view(-1, *[1] * (self.weight.ndim - 1))
        if self.sharded is not None:
            targets, known = local_rows(targets), local_rows(known)
        lengths = self.weight.norm(dim=-1, keepdim=True)
        self.weight.copy_(torch.where(known, lengths * targets, self.weight))


class MarginClassifier(CosineClassifier):
    """Softmax over cosines: a margin for the true speaker, a penalty for the nearest others.

    The penalty (inter-top-k, Zhao et al. 2021, arXiv:2110.05042, section 2.3) raises the logits of the
    inter_topk other speakers that are nearest to an utterance, so that training separates these further.
    Subclasses define how a margin and a penalty change a cosine.
    """

    def __init__(
        self,
        embedding_dim: int,
        num_speakers: int,
        *,
        margin: float,
        scale: float,
        sample_classes: float,
        sub_centers: int,
        inter_topk: int,
        inter_topk_penalty: float,
    ) -> None:
        super().__init__(
            embedding_dim,
            num_speakers,
            margin=margin,
            scale=scale,
            sample_classes=sample_classes,
            sub_centers=sub_centers,
        )
        if inter_topk < 0:
            raise ValueError(f"--inter_topk must not be negative, got {inter_topk}")
        if not 0.0 <= inter_topk_penalty < 1.0:
            raise ValueError(f"--inter_topk_penalty must be in [0, 1), got {inter_topk_penalty}")
        self.inter_topk = inter_topk
        self.inter_topk_penalty = inter_topk_penalty

    def logits(self, similarities: Tensor, targets: Tensor, has_target: Tensor | None = None) -> Tensor:
        """Cosines (N, K), targets (N,), has_target (N,) -> logits (N, K), with the margin at the targets."""
        columns = targets[:, None]
        with_margin = self.with_margin(similarities.gather(1, columns))  # (N, 1)
        cosines = self._with_penalties(similarities, columns, has_target) if self.inter_topk else similarities
        if has_target is not None:
            with_margin = torch.where(has_target[:, None], with_margin, cosines.gather(1, columns))
        return self.scale * cosines.scatter(1, columns, with_margin)

    def _with_penalties(self, similarities: Tensor, columns: Tensor, has_target: Tensor | None) -> Tensor:
        """Cosines (N, K), columns of the targets (N, 1) -> cosines (N, K), the nearest others' penalised."""
        nearest, is_penalised = self._nearest_others(similarities.detach(), columns, has_target)
        cosines = similarities.gather(1, nearest)
        return similarities.scatter(
            1, nearest, torch.where(is_penalised, self.with_penalty(cosines), cosines)
        )

    def _nearest_others(
        self, similarities: Tensor, columns: Tensor, has_target: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """See _with_penalties -> columns of the nearest others (N, k), whether they are so among all.

        Of a sharded head the k nearest classes of each process are compared with those of the others.
        """
        excluded = torch.full_like(similarities[:, :1], -torch.inf)
        if has_target is not None:
            excluded = torch.where(has_target[:, None], excluded, similarities.gather(1, columns))
        others = similarities.scatter(1, columns, excluded)
        cosines, nearest = others.topk(min(self.inter_topk, others.shape[1]), dim=1)
        is_other = cosines > -torch.inf
        if self.sharded is None:
            return nearest, is_other
        padded = F.pad(cosines, (0, self.inter_topk - cosines.shape[1]), value=-torch.inf)
        of_all = distributed.all_gather_rows(padded).unflatten(0, (distributed.world_size(), -1))
        smallest = of_all.transpose(0, 1).flatten(1).topk(self.inter_topk, dim=1).values[:, -1:]
        return nearest, is_other & (cosines >= smallest)

    def with_margin(self, cosine: Tensor) -> Tensor:
        """The true speakers' cosines (N, 1) -> these with the margin (N, 1)."""
        raise NotImplementedError

    def with_penalty(self, cosine: Tensor) -> Tensor:
        """Other speakers' cosines (N, k) -> these with the penalty (N, k)."""
        raise NotImplementedError
