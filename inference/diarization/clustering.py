"""Windows of unknown speakers -> speakers: agglomerative clustering with average linkage on the cosine."""

import numpy as np
from numpy.typing import NDArray

from inference.speakers.prototypes import unit

MOST_CLUSTERED = 6000  # windows, 75 minutes of speech; memory grows with the square
# Between the windows of two clusters, on average, for these to be one speaker: chosen for campplus-zh-en
# on mixtures of speakers whom the figures in docs/benchmarks.md don't have; 0.26 to 0.30 were as good.
LEAST_COSINE = 0.29
LEAST_SHARE = 0.015  # of the windows, that a speaker has: fewer are a laugh, two speakers at once, ...
LEAST_WINDOWS = (2, 8)  # whatever the share is
MOST_CUTS = 50  # that are tried for a given number of speakers


def centroids(
    vectors: NDArray[np.floating], num_speakers: int | None = None, least_cosine: float = LEAST_COSINE
) -> NDArray[np.floating]:
    """Embeddings (W, D) of unit length -> the mean of each speaker's (K, D), of unit length.

    Of more than MOST_CLUSTERED windows as many are clustered, evenly spread.

    Args:
        vectors: of at least one window.
        num_speakers: K, if it is known; fewer are found if there are fewer windows.
        least_cosine: clusters are joined down to this.
    """
    if len(vectors) > MOST_CLUSTERED:
        vectors = vectors[np.linspace(0, len(vectors) - 1, MOST_CLUSTERED).round().astype(int)]
    least = int(np.clip(round(LEAST_SHARE * len(vectors)), *LEAST_WINDOWS))
    labels = _labels(vectors, num_speakers, least_cosine, least)
    counts = np.bincount(labels)
    kept = np.flatnonzero(counts >= min(least, counts.max()))
    if num_speakers is not None:
        kept = np.sort(np.argsort(-counts, kind="stable")[:num_speakers])
    return unit(np.stack([vectors[labels == label].mean(axis=0) for label in kept]))


def _labels(
    vectors: NDArray[np.floating], num_speakers: int | None, least_cosine: float, least: int
) -> NDArray[np.int64]:
    """Embeddings (W, D), how many windows a speaker has at least -> the cluster of each window (W,)."""
    from scipy.cluster.hierarchy import fcluster, linkage

    if len(vectors) == 1:
        return np.zeros(1, np.int64)
    tree = linkage(vectors, "average", metric="cosine")
    labels = fcluster(tree, 1.0 - least_cosine, "distance")
    # The last joins are often of a few windows unlike all others, so a cut into the given number would join
    # real speakers instead. Where too few are found, more cuts are made until enough of them are large.
    count = num_speakers or 0
    last = min(count + MOST_CUTS, len(vectors))
    while count <= last and (np.bincount(labels - 1) >= least).sum() < (num_speakers or 0):
        labels = fcluster(tree, count, "maxclust")
        count += 1
    return labels.astype(np.int64) - 1
