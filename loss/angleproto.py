"""Angular prototypical loss (Chung et al. 2020, arXiv:2003.11982, section 2.2, eq. 6 and 8)."""

from loss._prototypes import AngularPrototypes, InitialB, InitialW


class LossFunction(AngularPrototypes):
    """Embeddings (S, M, D), labels (S,) -> mean loss (), top-1 accuracy (S,) of the queries."""

    def __init__(
        self, embedding_dim: int, num_speakers: int, *, init_w: InitialW = 10.0, init_b: InitialB = -5.0
    ) -> None:
        super().__init__(init_w, init_b)
