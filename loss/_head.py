"""What the losses of classes share: classification, a linear classifier, margins, angular prototypes."""

import math
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import distributed
from loss import _sharded

SampleClasses = Annotated[float, "share of the speakers that a step of training compares with, drawn anew"]
SubCenters = Annotated[int, "vectors of each speaker; the nearest one counts"]
Scale = Annotated[float, "logit = scale * cosine"]
InitialW = Annotated[float, "initial scale w of the cosine; learned"]
InitialB = Annotated[float, "initial offset b; learned"]
SMALLEST_W = 1e-6  # w must stay positive: a negative one would reward dissimilarity


def classify(logits: Tensor, targets: Tensor, num_speakers: int) -> tuple[Tensor, Tensor]:
    """Logits (S*M, K), targets (S*M,) -> mean cross-entropy (), top-1 accuracy (S,) of each speaker."""
    correct = (logits.detach().argmax(dim=1) == targets).float()
    return F.cross_entropy(logits, targets), correct.unflatten(0, (num_speakers, -1)).mean(dim=1)


def per_utterance(embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Embeddings (S, M, D), labels (S,) -> (S*M, D), (S*M,): every utterance on its own."""
    return embeddings.flatten(0, 1), labels.repeat_interleave(embeddings.shape[1])


class LinearClassifier(nn.Module):
    """Embeddings (S, M, D), labels (S,) -> cross-entropy over the training speakers (), accuracy (S,)."""

    def __init__(self, embedding_dim: int, num_speakers: int) -> None:
        super().__init__()
        self.fc = nn.Linear(embedding_dim, num_speakers)

    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        utterances, targets = per_utterance(embeddings, labels)
        return classify(self.fc(utterances), targets, len(labels))


def draw_classes(num_classes: int, share: float, targets: Tensor) -> Tensor:
    """Targets (N,) -> classes (K,) in order: the targets, and others up to ceil(share * num_classes)."""
    count = max(1, math.ceil(share * num_classes - 1e-9))  # 1e-9: what rounding adds isn't a class more
    if count < min(len(targets), num_classes):
        count = max(count, len(targets.unique()))
    order = torch.randperm(num_classes, device=targets.device)
    order[targets] = order[targets] - num_classes  # before all others
    return order.argsort()[:count].sort().values


class ClassHead(nn.Module):
    """Embeddings (S, M, D), labels (S,) -> mean cross-entropy over the classes (), accuracy (S,).

    Where sample_classes is less than 1, each step of training compares with that share of the classes: all
    speakers of the batch, and others drawn at random (Partial FC, An et al. 2022, arXiv:2203.15565). Accuracy
    is among them. What isn't drawn gets a gradient of zero; the paper's implementation leaves it out of the
    step, while here an optimizer with momentum or weight decay still moves it.

    Once split, the batch is that of all processes, and the loss the same in all; the accuracy is that of this
    process's speakers.
    """

    per_class: tuple[str, ...]  # names of the parameters that have a row for each class
    is_split = False

    def __init__(self, num_classes: int, sample_classes: float) -> None:
        super().__init__()
        if not 0.0 < sample_classes <= 1.0:
            raise ValueError(f"--sample_classes must lie in (0, 1], got {sample_classes}")
        self.num_classes, self.sample_classes = num_classes, sample_classes

    def shard(self) -> None:
        """Keep this process's classes only; called once, by all processes, with the weights in place."""
        assert not self.is_split
        if distributed.place()[1] > 1:
            _sharded.split(self, self.per_class, self.num_classes)
            self.is_split = True

    def compare(self, utterances: Tensor, drawn: Tensor | None) -> Tensor:
        """(N, D), own classes (K,) or all of them -> similarities (N, K)."""
        raise NotImplementedError

    def logits(self, similarities: Tensor, columns: Tensor, mine: Tensor | None) -> Tensor:
        """(N, K), the target's column (N,), whether it is among the K (N,) or always -> (N, K)."""
        return similarities

    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        num_speakers, mine = len(labels), None
        if self.is_split:
            embeddings, labels = distributed.gather_rows(embeddings), distributed.gather_rows(labels)
        utterances, columns = per_utterance(embeddings, labels)
        if self.is_split:
            columns, mine = _sharded.own_columns(columns, self.num_classes)
        drawn = None
        if self.training and self.sample_classes < 1.0:
            present = columns if mine is None else columns[mine]
            own = len(_sharded.own_classes(self.num_classes)) if self.is_split else self.num_classes
            drawn = draw_classes(own, self.sample_classes, present)
            columns = torch.searchsorted(drawn, columns)
            columns = columns.clamp(max=len(drawn) - 1)  # beyond it where the target isn't here
        logits = self.logits(self.compare(utterances, drawn), columns, mine)
        if mine is not None:
            return _sharded.classify_split(logits, columns, mine, num_speakers)
        return classify(logits, columns, num_speakers)


class CosineClassifier(ClassHead):
    """One or several vectors for each speaker, compared by cosine; subclasses put a margin on it.

    Of several the nearest counts (Deng et al. 2020, "Sub-center ArcFace", ECCV): a speaker's
    mislabelled or unusual utterances gather around vectors of their own.
    """

    per_class = ("weight",)

    def __init__(
        self,
        embedding_dim: int,
        num_speakers: int,
        margin: float,
        scale: float,
        sample_classes: float,
        sub_centers: int,
    ) -> None:
        super().__init__(num_speakers, sample_classes)
        if not 0.0 <= margin < 1.0:
            raise ValueError(f"--margin must lie in [0, 1), got {margin}")
        if not scale > 0.0:
            raise ValueError(f"--scale must be positive, got {scale}")
        if sub_centers < 1:
            raise ValueError(f"--sub_centers must be at least 1, got {sub_centers}")
        self.margin, self.scale, self.sub_centers = margin, scale, sub_centers
        weight = nn.init.xavier_normal_(torch.empty(num_speakers * sub_centers, embedding_dim))
        self.weight = nn.Parameter(weight if sub_centers == 1 else weight.unflatten(0, (-1, sub_centers)))

    def compare(self, utterances: Tensor, drawn: Tensor | None) -> Tensor:
        """(N, D), own classes (K,) or all of them -> cosines (N, K)."""
        weight = self.weight if drawn is None else self.weight.index_select(0, drawn)
        if self.sub_centers == 1:
            return F.linear(F.normalize(utterances), F.normalize(weight))
        cosines = F.linear(F.normalize(utterances), F.normalize(weight.flatten(0, 1)))
        return cosines.unflatten(1, (-1, self.sub_centers)).max(dim=2).values

    def logits(self, similarities: Tensor, columns: Tensor, mine: Tensor | None) -> Tensor:
        """Cosines (N, K), the target's column (N,), whether it is among the K (N,) or always -> (N, K)."""
        own = similarities.gather(1, columns[:, None])  # (N, 1)
        turned = self.with_margin(own)
        if mine is not None:
            turned = torch.where(mine[:, None], turned, own)
        return self.scale * similarities.scatter(1, columns[:, None], turned)

    def with_margin(self, cosine: Tensor) -> Tensor:
        """The true speaker's cosines (N, 1) -> with the margin (N, 1)."""
        raise NotImplementedError


class ScaledCosine(nn.Module):
    """Cosines -> logits w cos + b, w and b learned, w > 0 (Wan et al. 2018, arXiv:1710.10467, eq. 5)."""

    def __init__(self, init_w: float, init_b: float) -> None:
        super().__init__()
        if not init_w > 0.0:
            raise ValueError(f"--init_w must be positive, got {init_w}")
        self.w = nn.Parameter(torch.tensor(init_w))
        self.b = nn.Parameter(torch.tensor(init_b))

    def logits(self, cosines: Tensor) -> Tensor:
        """Below its bound w still gets its gradient, so that it can come back."""
        w = self.w.clamp(min=SMALLEST_W).detach() + (self.w - self.w.detach())
        return w * cosines + self.b


class AngularPrototypes(ScaledCosine):
    """Embeddings (S, M, D), labels (S,) -> mean loss (), top-1 accuracy (S,).

    The first utterance of each speaker is the query, the mean of the others the prototype; each query
    is classified among the batch's prototypes by w cos + b. Labels only tell the speakers apart.
    """

    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        queries = F.normalize(embeddings[:, 0])  # (S, D)
        prototypes = F.normalize(embeddings[:, 1:].mean(dim=1))  # (S, D)
        own = torch.arange(len(labels), device=labels.device)
        return classify(self.logits(queries @ prototypes.T), own, len(labels))
