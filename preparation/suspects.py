"""Probable label errors and speakers under two names, from embeddings: what to listen to, no verdict."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

BLOCK_VALUES = 1 << 22  # scores held at a time, 32 MiB
FAR = 2.0  # robust standard deviations below the median

Vectors = NDArray[np.float64]
Indices = NDArray[np.int64]


class Suspect(NamedTuple):
    """An utterance that sounds like another speaker, and its cosines with its own and the other's centre."""

    path: str
    speaker: str
    other: str
    own_score: float
    other_score: float


def label_errors(
    embeddings: NDArray[Any], speakers: Sequence[str], paths: Sequence[str], *, most: int = 100
) -> list[Suspect]:
    """Embeddings (N, D), speaker and path of each -> suspects, the largest other_score - own_score first.

    A suspect is unusually far from the centre of its own speaker: two robust standard deviations (1.4826 MAD)
    below the median. And it is nearer to another's, by more than one of them, so that speakers who sound
    alike seldom raise an alarm. A centre is the mean of length-normalised embeddings; the utterance itself
    is left out of its own speaker's. Speakers with one utterance can be the other one only.

    Raises:
        ValueError: embeddings of another number, without a direction, or of too few speakers or utterances.
    """
    if len(paths) != len(embeddings):
        raise ValueError(f"expected a path for each of {len(embeddings)} embeddings, got {len(paths)}")
    names, labels = _labels(embeddings, speakers)
    sums, own = _centres(embeddings, labels, len(names))
    centres = _unit(sums)
    spread = 1.4826 * np.nanmedian(np.abs(own - np.nanmedian(own)))
    judged = np.flatnonzero(own < np.nanmedian(own) - FAR * spread)  # NaN, of lonely speakers, is never less
    other = np.empty(len(judged), dtype=np.int64)
    score = np.empty(len(judged))
    for block in _blocks(len(judged), len(names)):
        rows = judged[block]
        cosines = _unit(embeddings[rows]) @ centres.T  # (block, S)
        cosines[np.arange(len(rows)), labels[rows]] = -np.inf
        other[block], score[block] = cosines.argmax(axis=1), cosines.max(axis=1)
    gaps = score - own[judged]
    order = np.argsort(-gaps, kind="stable")[:most]
    found = ((judged[i], other[i], float(score[i])) for i in order if gaps[i] > spread)
    return [Suspect(paths[i], names[labels[i]], names[k], float(own[i]), best) for i, k, best in found]


def same_speakers(
    embeddings: NDArray[Any], speakers: Sequence[str], *, most: int = 50
) -> list[tuple[str, str, float]]:
    """Embeddings (N, D), speaker of each -> pairs of speakers who may be one, their cosine, highest first.

    The criterion: the cosine of the two centres is higher than that of the median utterance with its own
    speaker's centre, itself left out. Half of all utterances are less like their own speaker than that; and
    as centres are means, with little left of what changes from utterance to utterance, those of one speaker
    are far more alike.

    Raises:
        ValueError: as label_errors.
    """
    names, labels = _labels(embeddings, speakers)
    sums, own = _centres(embeddings, labels, len(names))
    centres, least = _unit(sums), float(np.nanmedian(own))
    found = list[tuple[float, int, int]]()
    for block in _blocks(len(names), len(names)):
        cosines = centres[block] @ centres.T  # (block, S)
        seen = np.tri(len(cosines), len(names), block.start, dtype=bool)  # a speaker itself, and pairs twice
        cosines[seen] = -np.inf
        pairs = np.argwhere(cosines > least)
        scores = cosines[*pairs.T]
        order = np.argsort(-scores, kind="stable")[:most]
        found += [(-scores[i], block.start + pairs[i, 0], pairs[i, 1]) for i in order]
        found = sorted(found)[:most]
    return [(names[first], names[second], float(-score)) for score, first, second in found]


def _labels(embeddings: NDArray[Any], speakers: Sequence[str]) -> tuple[list[str], Indices]:
    """Speaker of each embedding -> names (S,) sorted, labels (N,); checks that they can be judged."""
    if len(speakers) != len(embeddings):
        raise ValueError(f"expected a speaker for each of {len(embeddings)} embeddings, got {len(speakers)}")
    names = sorted(set(speakers))
    if not 2 <= len(names) < len(speakers):
        found = f"{len(names)} with {len(speakers)}"
        raise ValueError(f"suspects need two speakers, one of them with two utterances, got {found}")
    number = {name: label for label, name in enumerate(names)}
    return names, np.array([number[name] for name in speakers], dtype=np.int64)


def _centres(embeddings: NDArray[Any], labels: Indices, num_speakers: int) -> tuple[Vectors, Vectors]:
    """Embeddings (N, D), labels (N,) -> sums of each speaker (S, D), cosine with the own centre (N,).

    The cosine is NaN where a speaker has no other utterance.
    """
    order, width = np.argsort(labels, kind="stable"), embeddings.shape[1]
    sums, own = np.zeros((num_speakers, width)), np.empty(len(labels))
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
        own[block] = np.einsum("nd,nd->n", _unit(others), vectors)
    own[counts[labels] < 2] = np.nan
    return sums, own


def _unit(vectors: NDArray[Any]) -> Vectors:
    """Vectors (N, D) -> the same of length 1; zero stays zero, infinity and NaN what they are."""
    vectors = vectors.astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(np.isfinite(lengths) & (lengths > 0.0), lengths, 1.0)


def _blocks(count: int, width: int) -> Iterator[slice]:
    """Rows of so many values each -> slices of them that hold BLOCK_VALUES values."""
    size = max(1, BLOCK_VALUES // width)
    return (slice(start, min(start + size, count)) for start in range(0, count, size))
