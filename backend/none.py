"""No backend: vectors are compared as they are."""

from collections.abc import Mapping

from torch import Tensor


class Backend:
    """Leaves vectors unchanged; a score is their dot product."""

    def fit(self, vectors: Tensor, speakers: Tensor) -> dict[str, Tensor]:
        """Vectors (U, D), speakers (U,) -> no parameters."""
        return {}

    @staticmethod
    def project(parameters: Mapping[str, Tensor], vectors: Tensor) -> Tensor:
        """Vectors (..., D) -> the same."""
        return vectors

    @staticmethod
    def mirror(projected: Tensor) -> Tensor:
        """Vectors (..., D) -> the same."""
        return projected
