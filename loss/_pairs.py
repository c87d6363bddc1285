"""Losses that compare pairs of utterances: distances, hard negatives, the equal error rate of a batch."""

from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HardProb = Annotated[float, "probability that a negative is a hard one instead of any other"]
HardRank = Annotated[
    int,
    "hard negatives are the rank + 1 nearest; below 0: those beyond the positive by less than --margin",
]


def square_distances(first: Tensor, second: Tensor) -> Tensor:
    """(N, D), (K, D) -> squared Euclidean distances (N, K) by one matrix product.

    Both are shifted by the same vector: nearer to the origin, less is lost to rounding.
    """
    centre = second.detach().mean(dim=0)
    first = first - centre
    second = second - centre
    squares = first.square().sum(dim=1)[:, None] + second.square().sum(dim=1)
    return (squares - 2.0 * first @ second.T).clamp(min=0.0)


class MinedPairs(nn.Module):
    """The positive pairs of a batch, and a mined negative pair for each; base of triplet and contrastive."""

    min_utterances = 2
    max_utterances = 2
    normalize = True
    per_speaker = False

    def __init__(self, margin: float, hard_prob: float, hard_rank: int) -> None:
        super().__init__()
        check_mining_options(hard_prob, margin)
        self.margin = margin
        self.hard_prob = hard_prob
        self.hard_rank = hard_rank

    def square_distances(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings (S, M, D) -> squared distances of positive and negative pairs (S,), (S,).

        Embeddings are length-normalised. A positive pair is the first and second utterance of a speaker, a
        negative pair the first one and the second of another speaker.
        """
        first, second = F.normalize(embeddings[:, :2], dim=2).unbind(dim=1)
        squares = square_distances(first, second)  # (S, S)
        negatives = choose_negatives(squares.detach(), self.hard_prob, self.hard_rank, self.margin)
        return squares.diagonal(), squares.gather(1, negatives[:, None])[:, 0]


def check_mining_options(hard_prob: float, margin: float) -> None:
    """Raises ValueError for a value out of range."""
    if not 0.0 <= hard_prob <= 1.0:
        raise ValueError(f"--hard_prob must be in [0, 1], got {hard_prob}")
    if not margin > 0.0:
        raise ValueError(f"--margin must be positive, got {margin}")


@torch.no_grad()
def choose_negatives(distances: Tensor, hard_prob: float, hard_rank: int, margin: float) -> Tensor:
    """Distances of N anchors to all positives (N, N) -> column of a negative for each anchor (N,).

    The diagonal holds the distances to the anchors' positives. The margin has the unit of the distances,
    squared or not. Uses the global random generator of the device.
    """
    count = len(distances)
    device = distances.device
    rows = torch.arange(count, device=device)
    any_other = (rows + torch.randint(1, max(count, 2), (count,), device=device)) % count
    if hard_rank < 0:
        positive = distances.diagonal()[:, None]
        semi_hard = (distances > positive) & (distances < positive + margin)
        # what torch.multinomial draws, which would have the host wait while it checks the weights
        drawn = (semi_hard / torch.empty_like(distances).exponential_()).argmax(dim=1)
        return torch.where(semi_hard.any(dim=1), drawn, any_other)
    others = distances.masked_fill(torch.eye(count, dtype=torch.bool, device=device), torch.inf)
    ranks = torch.randint(min(hard_rank, count - 2) + 1, (count, 1), device=device)
    hard = others.argsort(dim=1).gather(1, ranks)[:, 0]
    return torch.where(torch.rand(count, device=device) < hard_prob, hard, any_other)


@torch.no_grad()
def equal_error_rate(target: Tensor, nontarget: Tensor) -> Tensor:
    """Scores of target and nontarget pairs (N,), (K,) -> their EER () in [0, 1].

    Interpolated between the two thresholds around P_miss = P_fa as in metrics/, but computed on the device.
    """
    scores = torch.cat([target, nontarget]).sort().values
    scores = torch.cat([scores, scores[-1:] + 1.0])  # a threshold that rejects all
    p_miss = torch.searchsorted(target.sort().values, scores) / len(target)
    p_fa = 1.0 - torch.searchsorted(nontarget.sort().values, scores) / len(nontarget)
    after = (p_miss >= p_fa).int().argmax()  # never the first: there P_miss = 0 and P_fa = 1
    around = torch.stack([after - 1, after])  # to index by one number of a GPU, the host would wait for it
    miss_before, miss_after = p_miss.index_select(0, around).unbind()
    fa_before, fa_after = p_fa.index_select(0, around).unbind()
    gap_before = fa_before - miss_before
    weight = gap_before / (gap_before + (miss_after - fa_after))
    return miss_before + weight * (miss_after - miss_before)
