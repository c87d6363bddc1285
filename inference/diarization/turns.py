"""Windows and their embeddings -> turns: who speaks from when to when, and where two may speak at once."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inference.diarization.clustering import LEAST_COSINE, centroids
from inference.diarization.windows import HOPS_PER_S, Hops, Windows

Scores = NDArray[np.floating]  # cosines of hops or windows with each speaker, (..., K)
CHANGE_COST = 15.0  # of a change of speaker, in cosines summed over hops: as 0.5 in 0.3 s
JOINED_S = 0.8  # longest pause within a turn
NEAR = 0.1  # cosine by which the second speaker of an overlap may be behind
LEAST_OVERLAP_S = 0.5


class Turn(NamedTuple):
    """A speaker speaks."""

    start_s: float
    end_s: float
    speaker: str


class Overlap(NamedTuple):
    """A voice near those of two speakers: that of either, or both at once."""

    start_s: float
    end_s: float
    speaker: str  # who has the turn
    other: str


class Timeline(NamedTuple):
    """Who speaks when, in order."""

    turns: list[Turn]
    overlaps: list[Overlap]


def assign(
    windows: Windows,
    vectors: Scores,
    num_speakers: int | None = None,
    least_cosine: float = LEAST_COSINE,
) -> Timeline:
    """Windows (W,), their embeddings (W, D), what `centroids` takes -> turns and overlaps.

    Speakers are called 1, 2, ... in the order in which they begin.
    """
    if not len(vectors):
        return Timeline([], [])
    scores = hop_scores(windows, vectors @ centroids(vectors, num_speakers, least_cosine).T)
    speakers = smooth(scores, CHANGE_COST)
    numbers = list(dict.fromkeys(speakers.tolist()))
    names = {number: str(place + 1) for place, number in enumerate(numbers)}
    turns = [
        Turn(start, end, names[speaker])
        for start, end, (speaker,) in _stretches(windows.regions, speakers[:, None])
    ]
    pairs = np.stack([speakers, _near(scores, speakers)], axis=1)
    overlaps = [
        Overlap(start, end, names[speaker], names[other])
        for start, end, (speaker, other) in _stretches(windows.regions, pairs)
        if other in names and end - start >= LEAST_OVERLAP_S
    ]
    return Timeline(joined(turns), overlaps)


def hop_scores(windows: Windows, scores: Scores) -> Scores:
    """Scores of windows (W, K) -> of each hop of speech (H, K), linear between the middles of windows."""
    middles = (windows.starts + windows.ends) / 2
    rows = list[Scores]()
    for number, (start, end) in enumerate(windows.regions.tolist()):
        first, last = np.searchsorted(windows.region, [number, number + 1])
        hops = np.arange(start, end) + 0.5
        columns = [np.interp(hops, middles[first:last], column) for column in scores[first:last].T]
        rows.append(np.stack(columns, axis=1))
    return np.concatenate(rows)


def smooth(scores: Scores, change_cost: float) -> Hops:
    """Scores (H, K) -> the speakers (H,) of the highest sum of scores less the costs of changes (Viterbi)."""
    num_hops, num_speakers = scores.shape
    came_from = np.tile(np.arange(num_speakers), (num_hops, 1))
    best = scores[0].astype(np.float64)
    for hop in range(1, num_hops):
        leader = int(best.argmax())
        changed = best[leader] - change_cost
        came_from[hop, best < changed] = leader
        best = np.maximum(best, changed) + scores[hop]
    path = np.empty(num_hops, np.int64)
    speaker = int(best.argmax())
    for hop in range(num_hops - 1, -1, -1):
        path[hop] = speaker
        speaker = came_from[hop, speaker]
    return path


def joined(turns: list[Turn]) -> list[Turn]:
    """Turns in order -> the same, those of one speaker in succession joined over pauses up to JOINED_S."""
    result = list[Turn]()
    for turn in turns:
        last = result[-1] if result else None
        if last is None or last.speaker != turn.speaker or turn.start_s - last.end_s > JOINED_S:
            result.append(turn)
        else:
            result[-1] = last._replace(end_s=turn.end_s)
    return result


def _near(scores: Scores, speakers: Hops) -> Hops:
    """Scores (H, K), the speakers (H,) -> the best other one of each hop (H,), -1: nobody is near."""
    hops = np.arange(len(scores))
    others = scores.copy()
    others[hops, speakers] = -np.inf
    second = others.argmax(axis=1)
    is_near = others[hops, second] >= scores[hops, speakers] - NEAR
    return np.where(is_near, second, -1)


def _stretches(regions: Hops, values: Hops) -> list[tuple[float, float, list[int]]]:
    """Regions of speech (R, 2), values of each hop in them (H, V) -> begin and end in s of each."""
    of_hop = np.full((int(regions[-1, 1]), values.shape[1]), -2)  # no speech
    first = 0
    for start, end in regions.tolist():
        of_hop[start:end] = values[first : first + end - start]
        first += end - start
    is_change = (of_hop[1:] != of_hop[:-1]).any(axis=1)
    changes = [0, *(np.flatnonzero(is_change) + 1).tolist(), len(of_hop)]
    return [
        (start / HOPS_PER_S, end / HOPS_PER_S, of_hop[start].tolist())
        for start, end in pairwise(changes)
        if of_hop[start, 0] >= 0
    ]
