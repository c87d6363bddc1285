"""Whether recordings are fit for enrolment: enough speech, one speaker, not enrolled by another name."""

from collections.abc import Sequence

import numpy as np

from inference.speakers.cohort_scores import Cohort, normalised_pairs
from inference.speakers.database import Enrolment
from inference.speakers.prototypes import Floats, unit
from inference.speakers.search import Match

LEAST_FILE_S = 2.0  # speech in a file, below which embeddings are known to be unreliable
LEAST_TOTAL_S = 5.0  # speech in all files


def left_out_scores(enrolments: Sequence[Enrolment], cohort: Cohort | None = None) -> Floats:
    """Recordings of a speaker (n,) -> score of each against the mean of the others (n,); NaN if n is 1.

    They are normalised by a cohort if one is given.
    """
    vectors = np.stack([enrolment.vector for enrolment in enrolments]).astype(np.float64)
    if len(vectors) < 2:
        return np.full(len(vectors), np.nan)
    others = unit(vectors.sum(axis=0) - vectors)
    scores: Floats = np.einsum("nd,nd->n", vectors, others)
    if cohort is None:
        return scores
    sides = (cohort.scores(each.astype(np.float32)) for each in (vectors, others))
    return normalised_pairs(scores, *sides)


def disagreeing(
    enrolments: Sequence[Enrolment], threshold: float, cohort: Cohort | None = None
) -> list[tuple[Enrolment, float]]:
    """Recordings of a speaker, threshold -> those that the others don't resemble, and their scores.

    The worst one is taken out before the next is looked for, as it spoils the scores of the others. Of two
    recordings nobody can say which is wrong: both are returned.
    """
    kept, outliers = list(enrolments), list[tuple[Enrolment, float]]()
    while len(kept) > 1:
        scores = left_out_scores(kept, cohort)
        worst = int(scores.argmin())
        if scores[worst] >= threshold:
            break
        if len(kept) == 2:
            outliers += [(enrolment, float(scores[0])) for enrolment in kept]
            break
        outliers.append((kept.pop(worst), float(scores[worst])))
    return outliers


def remarks(
    name: str,
    enrolments: Sequence[Enrolment],
    threshold: float | None,
    *,
    nearest: Match | None = None,
    cohort: Cohort | None = None,
) -> list[str]:
    """What a user should know about the recordings of a speaker; nothing if all is well.

    Args:
        name: the speaker.
        enrolments: all recordings of the speaker, also those of earlier.
        threshold: from which score on two recordings are of one speaker; None if the model has none.
        nearest: the other enrolled speaker who resembles these recordings most.
        cohort: what scores are normalised by, also that of `nearest` and the threshold.
    """
    lines = _remarks_on_speech(name, enrolments)
    if threshold is None:
        return lines
    wrong = disagreeing(enrolments, threshold, cohort)
    if len(wrong) == len(enrolments) == 2:
        (one, score), (other, _) = wrong
        lines.append(f"{one.path} and {other.path} may be of different speakers: score {score:.3f}")
    else:
        lines += [
            f"{enrolment.path}: doesn't resemble the other recordings of {name}, score {score:.3f} below "
            f"{threshold:.3f}; is it another speaker, or a bad recording?"
            for enrolment, score in wrong
        ]
    if nearest is not None and nearest.score >= threshold:
        lines.append(
            f"{name} resembles {nearest.name}, who is enrolled already: score {nearest.score:.3f}; are they "
            "one person?"
        )
    return lines


def _remarks_on_speech(name: str, enrolments: Sequence[Enrolment]) -> list[str]:
    lines = [
        f"{enrolment.path}: {enrolment.speech_s:.1f} s of speech, {LEAST_FILE_S:g} s or more are advised"
        for enrolment in enrolments
        if enrolment.speech_s < LEAST_FILE_S
    ]
    total_s = sum(enrolment.speech_s for enrolment in enrolments)
    if total_s < LEAST_TOTAL_S:
        lines.append(f"{name}: {total_s:.1f} s of speech in all, {LEAST_TOTAL_S:g} s or more are advised")
    return lines
