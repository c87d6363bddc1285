"""--suspects: probable label errors and speakers under two names, from embeddings, to be checked by ear."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

BLOCK_VALUES = 1 << 22  # scores in memory at a time, 32 MiB
FAR = 2.0  # robust standard deviations below the median

Vectors = NDArray[np.float64]
Indices = NDArray[np.int64]


class Suspect(NamedTuple):
    """An utterance that sounds like another speaker, and its cosines with both speakers' centres."""

    path: str
    speaker: str
    other: str
    own_score: float
    other_score: float


def label_errors(
    embeddings: NDArray[Any], speakers: Sequence[str], paths: Sequence[str], *, most: int = 100
) -> list[Suspect]:
    """Embeddings (N, D), speaker and path of each -> suspects, the largest other_score - own_score first.

    A suspect is unusually far from the centre of its labelled speaker: two robust standard deviations
    (1.4826 MAD) below the median. And it is nearer to another centre, by more than one of them, so that
    speakers who sound alike are seldom reported. A centre is the mean of length-normalised embeddings; the
    utterance itself is left out of its speaker's. Speakers with one utterance can only be the other speaker.

    Raises:
        ValueError: embeddings, speakers and paths differ in number, an embedding is zero or not finite, or
            there are too few speakers or utterances.
    """
    if len(paths) != len(embeddings):
        raise ValueError(f"expected a path for each of {len(embeddings)} embeddings, got {len(paths)}")
    names, labels = _labels(embeddings, speakers)
    sums, own_scores = _centres(embeddings, labels, len(names))
    centres = _unit(sums)
    spread = 1.4826 * np.nanmedian(np.abs(own_scores - np.nanmedian(own_scores)))
    candidates = np.flatnonzero(own_scores < np.nanmedian(own_scores) - FAR * spread)  # never where NaN
    other = np.empty(len(candidates), dtype=np.int64)
    score = np.empty(len(candidates))
    for block in _blocks(len(candidates), len(names)):
        rows = candidates[block]
        cosines = _unit(embeddings[rows]) @ centres.T  # (block, S)
        cosines[np.arange(len(rows)), labels[rows]] = -np.inf
        other[block], score[block] = cosines.argmax(axis=1), cosines.max(axis=1)
    gaps = score - own_scores[candidates]
    order = np.argsort(-gaps, kind="stable")[:most]
    suspects: list[Suspect] = []
    for i in order:
        if gaps[i] > spread:
            row = candidates[i]
            own_score = float(own_scores[row])
            speaker = names[labels[row]]
            suspects.append(Suspect(paths[row], speaker, names[other[i]], own_score, float(score[i])))
    return suspects


def same_speakers(
    embeddings: NDArray[Any], speakers: Sequence[str], *, most: int = 50
) -> list[tuple[str, str, float]]:
    """Embeddings (N, D), speaker of each -> pairs of speakers who may be the same, cosine; highest first.

    The criterion: the cosine of the two centres is higher than that of the median utterance with its own
    speaker's centre, itself left out. Half of all utterances are less similar to their own speaker than that;
    and centres, as means, contain little of what varies between utterances, so that two centres of one
    speaker are far more similar.

    Raises:
        ValueError: as label_errors.
    """
    names, labels = _labels(embeddings, speakers)
    sums, own_scores = _centres(embeddings, labels, len(names))
    centres = _unit(sums)
    threshold = float(np.nanmedian(own_scores))
    best: list[tuple[float, int, int]] = []  # minus the cosine, two speakers
    for block in _blocks(len(names), len(names)):
        cosines = centres[block] @ centres.T  # (block, S)
        seen = np.tri(len(cosines), len(names), block.start, dtype=bool)  # a speaker itself, and pairs twice
        cosines[seen] = -np.inf
        pairs = np.argwhere(cosines > threshold)
        scores = cosines[*pairs.T]
        order = np.argsort(-scores, kind="stable")[:most]
        best += [(-scores[i], block.start + pairs[i, 0], pairs[i, 1]) for i in order]
        best = sorted(best)[:most]
    return [(names[first], names[second], float(-score)) for score, first, second in best]


def _labels(embeddings: NDArray[Any], speakers: Sequence[str]) -> tuple[list[str], Indices]:
    """Speaker of each embedding -> names (S,) sorted, labels (N,); checks that there are enough."""
    if len(speakers) != len(embeddings):
        raise ValueError(f"expected a speaker for each of {len(embeddings)} embeddings, got {len(speakers)}")
    names = sorted(set(speakers))
    if not 2 <= len(names) < len(speakers):
        raise ValueError(
            "suspects need two speakers, one of them with two utterances, "
            f"got {len(names)} with {len(speakers)}"
        )
    number = {name: label for label, name in enumerate(names)}
    return names, np.array([number[name] for name in speakers], dtype=np.int64)


def _centres(embeddings: NDArray[Any], labels: Indices, num_speakers: int) -> tuple[Vectors, Vectors]:
    """Embeddings (N, D), labels (N,) -> sum of each speaker (S, D), cosine with the speaker's centre (N,).

    The cosine is NaN where a speaker has no other utterance.
    """
    order = np.argsort(labels, kind="stable")
    width = embeddings.shape[1]
    sums = np.zeros((num_speakers, width))
    own_scores = np.empty(len(labels))
    for block in _blocks(len(order), width):
        rows = order[block]
        present, starts = np.unique(labels[rows], return_index=True)
        vectors = _unit(embeddings[rows])
        if not vectors.any(axis=1).all() or not np.isfinite(vectors).all():
            bad = rows[np.argmin(vectors.any(axis=1) & np.isfinite(vectors).all(axis=1))]
            raise ValueError(f"embedding {bad} (from 0) is zero or not finite: leave its utterance out")
        sums[present] += np.add.reduceat(vectors, starts, axis=0)
    counts = np.bincount(labels, minlength=num_speakers)
    for block in _blocks(len(order), width):
        vectors = _unit(embeddings[block])
        others = sums[labels[block]] - vectors
        own_scores[block] = np.einsum("nd,nd->n", _unit(others), vectors)
    own_scores[counts[labels] < 2] = np.nan
    return sums, own_scores


def _unit(vectors: NDArray[Any]) -> Vectors:
    """Vectors (N, D) -> the same of length 1; zero, infinite and NaN vectors are unchanged."""
    vectors = vectors.astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(np.isfinite(lengths) & (lengths > 0.0), lengths, 1.0)


def _blocks(count: int, width: int) -> Iterator[slice]:
    """Number of rows, values per row -> slices of rows with at most BLOCK_VALUES values."""
    size = max(1, BLOCK_VALUES // width)
    return (slice(start, min(start + size, count)) for start in range(0, count, size))
