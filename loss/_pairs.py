"""What the losses of pairs share: distances, hard negatives, the equal error rate of a batch."""

from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HardProb = Annotated[float, "probability that a negative is a hard one, otherwise any"]
HardRank = Annotated[int, "hard: among the rank + 1 nearest; below 0: semi-hard, within --margin"]


def square_distances(first: Tensor, second: Tensor) -> Tensor:
    """(N, D), (K, D) -> squared Euclidean distances (N, K) by one matrix product.

    Both are moved by the same vector first: nearer to the origin, less is lost to rounding.
    """
    centre = second.detach().mean(dim=0)
    first, second = first - centre, second - centre
    squares = first.square().sum(dim=1)[:, None] + second.square().sum(dim=1)
    return (squares - 2.0 * first @ second.T).clamp(min=0.0)


class MinedPairs(nn.Module):
    """Positive pairs of the batch and a negative pair for each, as triplet and contrastive compare them."""

    def __init__(self, margin: float, hard_prob: float, hard_rank: int) -> None:
        super().__init__()
        check_mining(hard_prob, margin)
        self.margin, self.hard_prob, self.hard_rank = margin, hard_prob, hard_rank

    def square_distances(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings (S, M, D) -> squared distances of positive and negative pairs (S,), (S,).

        Of length-normalised embeddings: a speaker's first and second utterance; its first one and another's
        second.
        """
        first, second = F.normalize(embeddings[:, :2], dim=2).unbind(dim=1)
        squares = square_distances(first, second)  # (S, S)
        chosen = choose_negatives(squares.detach(), self.hard_prob, self.hard_rank, self.margin)
        return squares.diagonal(), squares.gather(1, chosen[:, None])[:, 0]


def check_mining(hard_prob: float, margin: float) -> None:
    """Raises ValueError for a probability or a margin that can't be."""
    if not 0.0 <= hard_prob <= 1.0:
        raise ValueError(f"--hard_prob must lie in [0, 1], got {hard_prob}")
    if not margin > 0.0:
        raise ValueError(f"--margin must be positive, got {margin}")


@torch.no_grad()
def choose_negatives(distances: Tensor, hard_prob: float, hard_rank: int, margin: float) -> Tensor:
    """Distances of anchors to all positives (N, N) -> a negative's column for each anchor (N,).

    Each row's own column is its positive; the margin is in the distances' unit, squared or not. Draws come
    from the device's global generator.
    """
    count, device = len(distances), distances.device
    rows = torch.arange(count, device=device)
    anyone = (rows + torch.randint(1, max(count, 2), (count,), device=device)) % count
    if hard_rank < 0:
        positive = distances.diagonal()[:, None]
        semi_hard = (distances > positive) & (distances < positive + margin)
        chances = semi_hard + 1e-12 * torch.eye(count, device=device)  # multinomial wants some chance
        return torch.where(semi_hard.any(dim=1), torch.multinomial(chances, 1)[:, 0], anyone)
    others = distances.masked_fill(torch.eye(count, dtype=torch.bool, device=device), torch.inf)
    places = torch.randint(min(hard_rank, count - 2) + 1, (count, 1), device=device)
    hard = others.argsort(dim=1).gather(1, places)[:, 0]
    return torch.where(torch.rand(count, device=device) < hard_prob, hard, anyone)


@torch.no_grad()
def equal_error_rate(target: Tensor, nontarget: Tensor) -> Tensor:
    """Scores of target and nontarget pairs (N,), (K,) -> their EER () in [0, 1].

    Interpolated between the two thresholds around P_miss = P_fa, as in tuneThreshold.py, but on the device.
    """
    scores = torch.cat([target, nontarget]).sort().values
    scores = torch.cat([scores, scores[-1:] + 1.0])  # a threshold that rejects all
    p_miss = torch.searchsorted(target.sort().values, scores) / len(target)
    p_fa = 1.0 - torch.searchsorted(nontarget.sort().values, scores) / len(nontarget)
    after = (p_miss >= p_fa).int().argmax()  # never the first: there P_miss = 0 and P_fa = 1
    before = after - 1
    gap_before, gap_after = p_fa[before] - p_miss[before], p_miss[after] - p_fa[after]
    share = gap_before / (gap_before + gap_after)
    return p_miss[before] + share * (p_miss[after] - p_miss[before])
