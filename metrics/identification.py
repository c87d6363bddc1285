"""Open-set identification: whether the speaker of a probe is one of the gallery, and which.

A probe of a speaker in the gallery is known, any other a stranger's. At a threshold the false alarm rate
(FAR) is the share of strangers whose best score lies above it, and the detection and identification rate
(DIR) the share of known probes whose own speaker's score is the highest and lies above it (Grother, Micheals
and Phillips 2003, "Face recognition vendor test 2002 performance metrics"; for voices VoxBlink2,
arXiv:2407.11510).
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metrics.wilson import Share

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
STRANGER = -1  # in place of a speaker's number
RANKS = (1, 5, 10)
FARS = (0.1, 0.01, 0.001)


class Probes(NamedTuple):
    """What the scores of each probe (P,) come to."""

    speakers: Integers  # of the gallery, or STRANGER
    best: Integers  # speaker with the highest score
    best_score: Floats
    own_score: Floats  # of the true speaker; -inf for strangers
    rank: Integers  # of the true speaker, from 1 on; equal scores of others come first; 0 for strangers


class OperatingPoint(NamedTuple):
    """A threshold, which accepted scores exceed, and what it comes to."""

    threshold: float
    far: Share
    dir: Share  # at rank 1


class Rates(NamedTuple):
    """The figures of an evaluation."""

    num_speakers: int
    ranks: Mapping[int, Share]  # known probes whose speaker is among the n best
    points: Mapping[float, OperatingPoint]  # by the false alarm rate that was asked for


def rank_probes(scores: Floats, speakers: Integers) -> Probes:
    """Scores (P, G) of probes against the speakers of a gallery, true speakers (P,) -> what they come to.

    Raises:
        ValueError: shapes that don't fit, no probe, or scores that aren't numbers.
    """
    if scores.ndim != 2 or not scores.size or speakers.shape != scores.shape[:1]:
        raise ValueError(f"expected scores (P, G) and speakers (P,), got {scores.shape}, {speakers.shape}")
    if np.isnan(scores).any():
        raise ValueError("some scores are NaN")
    is_known = speakers != STRANGER
    rows = np.arange(len(scores))
    best = scores.argmax(axis=1)
    own = np.where(is_known, scores[rows, speakers], -np.inf)
    rank = np.where(is_known, (scores >= own[:, None]).sum(axis=1), 0)
    return Probes(speakers, best, scores[rows, best], own, rank)


def identified(probes: Probes, rank: int) -> Share:
    """Probes -> how many known ones have their speaker among the best `rank`, whatever the score."""
    is_known = probes.speakers != STRANGER
    return Share(int((probes.rank[is_known] <= rank).sum()), int(is_known.sum()))


def at_far(probes: Probes, far: float) -> OperatingPoint:
    """Probes, a false alarm rate -> the lowest threshold whose rate isn't above it.

    With fewer than 1 / far strangers none of them is accepted there: `far` of the result says so.

    Raises:
        ValueError: there are no strangers, or no known probes.
    """
    is_known = probes.speakers != STRANGER
    strangers = np.sort(probes.best_score[~is_known])[::-1]
    if not len(strangers) or not is_known.any():
        raise ValueError(
            f"open-set identification needs probes of speakers in the gallery and of others, got "
            f"{int(is_known.sum())} and {len(strangers)}"
        )
    allowed = int(far * len(strangers) + 1e-9)
    threshold = float(strangers[allowed]) if allowed < len(strangers) else -np.inf
    accepted = is_known & (probes.rank == 1) & (probes.own_score > threshold)
    return OperatingPoint(
        threshold,
        Share(int((strangers > threshold).sum()), len(strangers)),
        Share(int(accepted.sum()), int(is_known.sum())),
    )


def curve(probes: Probes) -> tuple[Floats, Floats]:
    """Probes -> false alarm rates (N,), ascending, and DIR at rank 1 (N,) at every stranger's score."""
    is_known = probes.speakers != STRANGER
    strangers = np.sort(probes.best_score[~is_known])[::-1]
    right = np.sort(probes.own_score[is_known & (probes.rank == 1)])
    above = len(right) - np.searchsorted(right, strangers, side="right")
    return np.arange(len(strangers)) / len(strangers), above / int(is_known.sum())
