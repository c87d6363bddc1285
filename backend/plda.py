"""PLDA with two full covariances (Bruemmer & de Villiers 2010, Odyssey; EM as Sizov et al. 2014, S+SSPR).

A vector is mean + speaker + noise, with speaker ~ N(0, B) and noise ~ N(0, W). The score is the exact
log-likelihood ratio of two vectors of one speaker to two of different speakers. In the basis where W = I and
B = diag(b) it is, with a and c for the two vectors,

    sum over dimensions of  b/(2b+1) a c - b^2/(2 (b+1)(2b+1)) (a^2 + c^2) + log(b+1) - log(2b+1)/2
"""

import math
from collections.abc import Mapping
from typing import Annotated, NamedTuple

import torch
from torch import Tensor

from backend import _lda


class Model(NamedTuple):
    """Covariances between and within speakers (E, E), float64; the mean is zero."""

    between: Tensor
    within: Tensor


class Speakers(NamedTuple):
    """Centred vectors (U, E) as EM needs them: sums of S speakers, numbers of utterances, second moment."""

    sums: Tensor  # (S, E)
    counts: Tensor  # (S,)
    moment: Tensor  # (E, E), sum of the outer products of all vectors

    @classmethod
    def of(cls, vectors: Tensor, speakers: Tensor) -> "Speakers":
        """Centred vectors (U, E), speakers (U,) with ids from 0 on -> their statistics."""
        counts = torch.bincount(speakers)
        sums = vectors.new_zeros(len(counts), vectors.shape[1]).index_add_(0, speakers, vectors)
        is_present = counts > 0
        return cls(sums[is_present], counts[is_present].double(), vectors.T @ vectors)


def em_step(model: Model, speakers: Speakers) -> Model:
    """One step of EM: the likelihood of the speakers doesn't fall."""
    variances, basis = _lda.generalised_eigenvectors(model.between, model.within)
    sums, counts = speakers.sums @ basis, speakers.counts[:, None]  # in the basis W = I, B = diag(variances)
    posterior = variances / (1.0 + counts * variances)  # (S, E), variances of the speakers' posteriors
    means = posterior * sums  # (S, E)
    between = (means.T @ means + posterior.sum(dim=0).diag()) / len(sums)
    cross = sums.T @ means
    of_noise = (means * counts).T @ means + (posterior * counts).sum(dim=0).diag()
    within = (basis.T @ speakers.moment @ basis - cross - cross.T + of_noise) / counts.sum()
    back = torch.linalg.inv(basis)
    return Model(back.T @ between @ back, back.T @ within @ back)


def log_likelihood(model: Model, speakers: Speakers) -> float:
    """The log-likelihood of the speakers' centred vectors, speakers independent of each other."""
    variances, basis = _lda.generalised_eigenvectors(model.between, model.within)
    sums, counts = speakers.sums @ basis, speakers.counts[:, None]
    num_vectors, size = float(counts.sum()), sums.shape[1]
    scale = 1.0 + counts * variances
    squares = float(
        torch.trace(basis.T @ speakers.moment @ basis) - (variances / scale * sums.square()).sum()
    )
    log_det = num_vectors * float(torch.logdet(model.within)) + float(scale.log().sum())
    return -0.5 * (num_vectors * size * math.log(2.0 * math.pi) + log_det + squares)


class Backend:
    """LDA and length normalisation, then the log-likelihood ratio of the two-covariance model."""

    def __init__(
        self,
        *,
        lda_dim: _lda.LdaDim = 0,
        shrinkage: _lda.Shrinkage = 0.1,
        plda_steps: Annotated[int, "steps of EM"] = 20,
    ) -> None:
        _lda.check(lda_dim, shrinkage)
        if plda_steps < 1:
            raise ValueError(f"--plda_steps must be at least 1, got {plda_steps}")
        self.lda_dim = lda_dim
        self.shrinkage = shrinkage
        self.plda_steps = plda_steps

    def fit(self, vectors: Tensor, speakers: Tensor) -> dict[str, Tensor]:
        """Vectors (U, D), speakers (U,) -> those of LDA, and centre (E,), basis (E, E), variances (E,)."""
        discriminant = _lda.discriminant(vectors, speakers, self.lda_dim, self.shrinkage)
        projected = _lda.project(discriminant, vectors)
        statistics = _lda.scatter(projected, speakers)
        model = Model(statistics.between, _lda.shrunk(statistics.within, self.shrinkage))
        of_speakers = Speakers.of(projected.double() - statistics.mean, speakers)
        for _ in range(self.plda_steps):
            model = em_step(model, of_speakers)
            model = model._replace(within=_lda.shrunk(model.within, self.shrinkage))
        variances, basis = _lda.generalised_eigenvectors(*model)
        of_plda = {"centre": statistics.mean, "basis": basis, "variances": variances.clamp(min=0.0)}
        return discriminant | {name: tensor.float() for name, tensor in of_plda.items()}

    @staticmethod
    def project(parameters: Mapping[str, Tensor], vectors: Tensor) -> Tensor:
        """Vectors (..., D) -> (..., E + 2): a part for products, the vector's own part, and 1."""
        centre, basis, b = (
            parameters[name].to(vectors.device).double() for name in ("centre", "basis", "variances")
        )
        values = (_lda.project(parameters, vectors).double() - centre) @ basis
        products = values * (b / (2.0 * b + 1.0)).sqrt()
        constant = ((b + 1.0).log() - 0.5 * (2.0 * b + 1.0).log()).sum()
        weights = b.square() / (2.0 * (b + 1.0) * (2.0 * b + 1.0))
        own = 0.5 * constant - (values.square() * weights).sum(dim=-1, keepdim=True)
        return torch.cat([products, own, torch.ones_like(own)], dim=-1).float()

    @staticmethod
    def mirror(projected: Tensor) -> Tensor:
        """Projected (..., E + 2) -> with the last two exchanged, so that both own parts are added."""
        return torch.cat([projected[..., :-2], projected[..., -1:], projected[..., -2:-1]], dim=-1)
