"""The open-set decision tuned on the enrolled speakers themselves: each recording against the others.

Target scores leave one recording out: it is compared with the other recordings of its speaker. As that of a
stranger it is compared with all other speakers, its own left out. The highest tenth of the strangers' best
scores has an exponential tail (peaks over threshold), which gives the threshold for a rate of false alarms.
Few speakers say little about strangers, so the model's own threshold takes part with the weight of 20
speakers, and the scale of its tail with that of 10 scores; docs/inference.md has what these were chosen by.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inference.speakers.cohort_scores import Cohort, normalised, normalised_pairs
from inference.speakers.database import Ids, SpeakerDatabase, Vectors, now
from inference.speakers.open_set import OpenSetRule
from inference.speakers.prototypes import Floats, first_rows, prototypes_of, unit
from metrics.wilson import Share

FEWEST_SPEAKERS = 5  # with two recordings
FEWEST_WITHOUT_MODEL = 20  # where the model has no threshold
MODEL_SPEAKERS = 20  # weight of the model's threshold
MODEL_SCORES = 10  # weight of the scale of the model's tail
HIGHEST = 0.1  # share of the strangers' best scores that are the tail
MARGIN_COST = 0.01  # share of the accepted right answers that the margin may cost
WIDEST_MARGIN = 3.0  # in scales of the tail
MOST_TESTED = 5000  # recordings that are compared, drawn at random of more
BLOCK_VALUES = 1 << 23  # scores computed at once


class LeaveOneOut(NamedTuple):
    """Scores of U recordings against speakers that don't have them."""

    own: Floats  # (U,) its speaker, without the recording; -inf if there is no other one
    best: Floats  # (U,) best of the other speakers
    second: Floats  # (U,) second best of these; -inf if there is one only


class Tuning(NamedTuple):
    """A rule and how it does on the recordings that it was tuned on, each left out."""

    rule: OpenSetRule
    num_speakers: int
    num_recordings: int  # compared
    right: Share  # of recordings of speakers with others: identified
    right_without_margin: Share
    strangers: Share  # of all recordings, their speakers left out: accepted

    def lines(self) -> list[str]:
        """For people."""
        rule = self.rule
        return [
            f"{self.num_recordings} recordings of {self.num_speakers} speakers, each against the others",
            f"threshold   {rule.threshold_for(self.num_speakers):.3f} for {self.num_speakers} speakers, "
            f"{rule.tail * math.log(10):.3f} more for ten times as many",
            f"margin      {rule.margin:.3f} over the runner-up",
            f"identified  {self.right}; without the margin {100 * self.right_without_margin.value:.1f} %",
            f"strangers   {self.strangers} accepted; the aim is {100 * rule.p_fa:g} %",
        ]


def tune(
    database: SpeakerDatabase,
    p_fa: float = 0.01,
    *,
    model_rule: OpenSetRule | None = None,
    cohort: Cohort | None = None,
) -> Tuning:
    """Tune the decision on a database's speakers and store it there.

    Args:
        database: has several recordings of its speakers.
        p_fa: share of strangers who may be accepted.
        model_rule: what is known of the model's scores without these speakers.
        cohort: what scores are normalised by, where identification does so too.

    Raises:
        ValueError: too few speakers or recordings, or p_fa out of range.
    """
    if not 0.0 < p_fa <= HIGHEST:
        raise ValueError(f"p_fa must be above 0 and at most {HIGHEST:g}, got {p_fa:g}")
    with database.reading():
        vectors, speakers = database.all_vectors()
        kind = database.prototypes
    require_enough(speakers, model_rule is not None, str(database.path))
    tuning = tuned(leave_one_out(vectors, speakers, kind, cohort), len(np.unique(speakers)), p_fa, model_rule)
    content = {"date": now(), "num_speakers": tuning.num_speakers, "num_recordings": tuning.num_recordings}
    content |= {"score_norm": "none" if cohort is None else cohort.digest, **tuning.rule.to_dict()}
    content |= {"right": list(tuning.right), "strangers": list(tuning.strangers)}
    database.set_tuning(content)
    return tuning


def require_enough(speakers: Ids, has_model_rule: bool, source: str) -> None:
    """Raises ValueError unless the speakers of the recordings (V,) are enough to tune on."""
    counts = np.unique(speakers, return_counts=True)[1]
    several = int((counts > 1).sum())
    if several < FEWEST_SPEAKERS:
        raise ValueError(
            f"{source}: tuning needs {FEWEST_SPEAKERS} speakers with two recordings or more, got {several} "
            f"(and {len(counts) - several} with one); enrol more"
        )
    if not has_model_rule and len(counts) < FEWEST_WITHOUT_MODEL:
        raise ValueError(
            f"{source}: tuning needs {FEWEST_WITHOUT_MODEL} speakers where the model has no threshold, got "
            f"{len(counts)}; enrol more, or store a threshold in the model (tuneThreshold.py --store)"
        )


def tuned(scores: LeaveOneOut, num_speakers: int, p_fa: float, model_rule: OpenSetRule | None) -> Tuning:
    """Scores (U,), number of speakers -> rule and its rates."""
    tail = _tail(scores.best, model_rule)
    # best is of one speaker less than are enrolled
    level = _level(scores.best, tail, p_fa) + tail * math.log(num_speakers / (num_speakers - 1))
    if model_rule is not None:
        growth = math.log(num_speakers * model_rule.p_fa / p_fa)
        model_level = model_rule.threshold + (model_rule.tail or tail) * growth
        level = (num_speakers * level + MODEL_SPEAKERS * model_level) / (num_speakers + MODEL_SPEAKERS)
    gaps = scores.own - scores.best
    is_right = (scores.own >= level) & (gaps > 0.0)
    margin = _margin(gaps[is_right], WIDEST_MARGIN * tail)
    date = now()[:10]
    origin = f"tuned on {len(scores.own)} recordings of {num_speakers} speakers on {date}"
    rule = OpenSetRule(level - tail * math.log(num_speakers), tail, margin, p_fa, origin)
    is_stranger = scores.best >= rule.threshold_for(num_speakers - 1)
    is_stranger &= scores.best - scores.second >= margin
    num_targets = int(np.isfinite(scores.own).sum())
    return Tuning(
        rule=rule,
        num_speakers=num_speakers,
        num_recordings=len(scores.own),
        right=Share(int((is_right & (gaps >= margin)).sum()), num_targets),
        right_without_margin=Share(int(is_right.sum()), num_targets),
        strangers=Share(int(is_stranger.sum()), len(scores.best)),
    )


def _num_highest(count: int) -> int:
    return max(1, round(HIGHEST * count))


def _tail(best: Floats, model_rule: OpenSetRule | None) -> float:
    """Strangers' best scores (U,) -> scale of their tail: mean excess of the highest tenth over the next."""
    count = _num_highest(len(best))
    ordered = np.sort(best)[::-1]
    excess = float((ordered[:count] - ordered[count]).sum())
    if model_rule is None or not model_rule.tail:
        return excess / count
    return (excess + MODEL_SCORES * model_rule.tail) / (count + MODEL_SCORES)


def _level(best: Floats, tail: float, p_fa: float) -> float:
    """Strangers' best scores (U,), scale of their tail -> the score that a share p_fa of them exceeds."""
    count = _num_highest(len(best))
    return float(np.sort(best)[::-1][count]) + tail * math.log(count / len(best) / p_fa)


def _margin(gaps: Floats, widest: float) -> float:
    """Leads of the accepted right answers -> the widest margin that costs at most MARGIN_COST of these."""
    if not len(gaps):
        return 0.0
    return min(widest, float(np.sort(gaps)[math.floor(MARGIN_COST * len(gaps))]))


def leave_one_out(vectors: Vectors, speakers: Ids, kind: str, cohort: Cohort | None = None) -> LeaveOneOut:
    """Vectors of recordings (V, D), sorted speakers (V,), kind of prototypes -> scores of U of them."""
    prototypes = prototypes_of(vectors, speakers, kind)
    first = first_rows(prototypes.speakers)
    columns = np.searchsorted(prototypes.speakers[first], speakers)  # (V,) numbers of the speakers
    of_prototypes = None if cohort is None else cohort.scores(prototypes.vectors)
    tested = _drawn(len(vectors))
    parts = []
    step = max(1, BLOCK_VALUES // len(prototypes.vectors))
    for start in range(0, len(tested), step):
        rows = tested[start : start + step]
        scores = (vectors[rows] @ prototypes.vectors.T).astype(np.float64)
        if cohort is not None and of_prototypes is not None:
            scores = normalised(scores, cohort.scores(vectors[rows]), of_prototypes)
        if kind == "max":
            scores[np.arange(len(rows)), rows] = -np.inf  # itself
            scores = np.maximum.reduceat(scores, first, axis=1)
        else:
            own = _own_means(vectors, speakers, rows, cohort)
            scores[np.arange(len(rows)), columns[rows]] = own
        parts.append(_ranked(scores, columns[rows]))
    return LeaveOneOut(*np.concatenate(parts, axis=1))


def _drawn(count: int) -> Ids:
    """Number of recordings -> rows that are compared, the same ones each time."""
    if count <= MOST_TESTED:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, MOST_TESTED, replace=False))


def _own_means(vectors: Vectors, speakers: Ids, rows: Ids, cohort: Cohort | None) -> Floats:
    """Rows (B,) -> scores against the means of the other recordings of their speakers (B,); -inf if none."""
    begin = np.searchsorted(speakers, speakers[rows], side="left")
    end = np.searchsorted(speakers, speakers[rows], side="right")
    others = np.array([vectors[b:e].sum(axis=0, dtype=np.float64) for b, e in zip(begin, end, strict=True)])
    others = unit(others - vectors[rows]).astype(np.float32)
    scores: Floats = np.einsum("bd,bd->b", vectors[rows], others, dtype=np.float64)
    if cohort is not None:
        scores = normalised_pairs(scores, cohort.scores(vectors[rows]), cohort.scores(others))
    scores[end - begin < 2] = -np.inf
    return scores


def _ranked(scores: Floats, own: Ids) -> NDArray[np.float64]:
    """Scores (B, N), columns of the own speakers (B,) -> own, best and second of the others (3, B)."""
    rows = np.arange(len(scores))
    own_scores = scores[rows, own].copy()
    scores[rows, own] = -np.inf
    best = np.partition(scores, scores.shape[1] - 2, axis=1)[:, -2:]
    return np.stack([own_scores, best[:, 1], best[:, 0]])
