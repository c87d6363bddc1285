"""Linear discriminant analysis (Fisher 1936), its covariance shrunk as Friedman 1989: shared by backends."""

from collections.abc import Mapping
from typing import Annotated, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

FEWEST_SPEAKERS = 2
LdaDim = Annotated[int, "directions that LDA keeps; 0: all, the smaller of --nOut and the speakers less one"]
Shrinkage = Annotated[
    float, "share of the sphere in the covariance within speakers, 0 to 1; more for few utterances"
]


class Scatter(NamedTuple):
    """The statistics of labelled vectors, float64."""

    mean: Tensor  # (D,)
    within: Tensor  # (D, D), covariance around the speakers' means
    between: Tensor  # (D, D), covariance of the speakers' means, weighted by their utterances
    num_speakers: int


def scatter(vectors: Tensor, speakers: Tensor) -> Scatter:
    """Vectors (U, D), speakers (U,) with ids from 0 on -> their statistics.

    Raises:
        ValueError: fewer than two speakers, or no speaker with two utterances.
    """
    values = vectors.double()
    counts = torch.bincount(speakers)
    num_speakers = int((counts > 0).sum())
    if num_speakers < FEWEST_SPEAKERS or int(counts.max()) < 2:
        raise ValueError(
            f"a backend needs at least {FEWEST_SPEAKERS} speakers, and two utterances of one of them, got "
            f"{len(values)} utterances of {num_speakers} speakers"
        )
    sums = values.new_zeros(len(counts), values.shape[1]).index_add_(0, speakers, values)
    means = sums / counts.clamp(min=1)[:, None]
    mean = values.mean(dim=0)
    around_speakers, around_all = values - means[speakers], (means - mean) * counts.sqrt()[:, None]
    within = around_speakers.T @ around_speakers / len(values)
    between = around_all.T @ around_all / len(values)
    return Scatter(mean, within, between, num_speakers)


def shrunk(covariance: Tensor, shrinkage: float) -> Tensor:
    """Covariance (D, D) -> mixed with the sphere of the same mean variance."""
    size = len(covariance)
    sphere = torch.eye(size, dtype=covariance.dtype) * (covariance.trace() / size)
    return (1.0 - shrinkage) * covariance + shrinkage * sphere


def generalised_eigenvectors(between: Tensor, within: Tensor) -> tuple[Tensor, Tensor]:
    """Covariances (D, D) -> variances between (D,), largest first, basis (D, D) in which `within` is I.

    Raises:
        ValueError: `within` isn't positive definite.
    """
    try:
        root = torch.linalg.cholesky(within)
    except torch.linalg.LinAlgError:
        raise ValueError(
            "the utterances are too few for the size of the embedding; raise --shrinkage, or lower --lda_dim"
        ) from None
    whitened = torch.linalg.solve_triangular(root, between, upper=False)
    whitened = torch.linalg.solve_triangular(root, whitened.T, upper=False)
    variances, vectors = torch.linalg.eigh((whitened + whitened.T) / 2.0)
    basis = torch.linalg.solve_triangular(root.T, vectors.flip(1), upper=True)
    return variances.flip(0), basis


def discriminant(vectors: Tensor, speakers: Tensor, lda_dim: int, shrinkage: float) -> dict[str, Tensor]:
    """Vectors (U, D), speakers (U,) -> their mean (D,) and the projection (D, E), float32.

    Raises:
        ValueError: too few speakers or utterances.
    """
    statistics = scatter(vectors, speakers)
    largest = min(vectors.shape[1], statistics.num_speakers - 1)
    if lda_dim > largest:
        raise ValueError(
            f"--lda_dim {lda_dim}: expected at most {largest}, the smaller of the embedding's size and the "
            f"number of speakers less one ({statistics.num_speakers} - 1)"
        )
    _, basis = generalised_eigenvectors(statistics.between, shrunk(statistics.within, shrinkage))
    return {"mean": statistics.mean.float(), "projection": basis[:, : lda_dim or largest].float()}


def project(parameters: Mapping[str, Tensor], vectors: Tensor) -> Tensor:
    """Vectors (..., D) -> centred, projected and length-normalised (..., E)."""
    mean, projection = (parameters[name].to(vectors.device) for name in ("mean", "projection"))
    return F.normalize((vectors.float() - mean) @ projection, dim=-1)


def check(lda_dim: int, shrinkage: float) -> None:
    """Raises ValueError for values out of range."""
    if lda_dim < 0:
        raise ValueError(f"--lda_dim must be at least 0, got {lda_dim}")
    if not 0.0 <= shrinkage <= 1.0:
        raise ValueError(f"--shrinkage must lie between 0 and 1, got {shrinkage}")
