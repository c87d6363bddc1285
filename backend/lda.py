"""LDA and length normalisation (Fisher 1936; length-normalised as Garcia-Romero & Espy-Wilson 2011)."""

from collections.abc import Mapping

from torch import Tensor

from backend import _lda


class Backend:
    """Keeps the directions that tell the speakers of the list apart; a score is the cosine there."""

    def __init__(self, *, lda_dim: _lda.LdaDim = 0, shrinkage: _lda.Shrinkage = 0.1) -> None:
        _lda.check(lda_dim, shrinkage)
        self.lda_dim = lda_dim
        self.shrinkage = shrinkage

    def fit(self, vectors: Tensor, speakers: Tensor) -> dict[str, Tensor]:
        """Vectors (U, D), speakers (U,) -> mean (D,) and projection (D, E)."""
        return _lda.discriminant(vectors, speakers, self.lda_dim, self.shrinkage)

    @staticmethod
    def project(parameters: Mapping[str, Tensor], vectors: Tensor) -> Tensor:
        """Vectors (..., D) -> of length 1 (..., E)."""
        return _lda.project(parameters, vectors)

    @staticmethod
    def mirror(projected: Tensor) -> Tensor:
        """Vectors (..., E) -> the same."""
        return projected
