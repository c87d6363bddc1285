"""Diarization error rate: miss, false alarm and confusion of who spoke when (NIST Rich Transcription 2009).

DER = (miss + false alarm + confusion) / speech, in seconds; time in which several speak counts for each
of them. Speakers of the hypothesis are mapped one to one to those of the reference so that both agree for the
longest time.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

Turns = Sequence[tuple[float, float, str]]  # beginning and end in seconds, speaker


class DiarizationError(NamedTuple):
    """Seconds of each kind of error, and of speech in the reference, which they are divided by."""

    miss_s: float
    false_alarm_s: float
    confusion_s: float
    speech_s: float

    @property
    def rate(self) -> float:
        """The diarization error rate; it may exceed 1."""
        return (self.miss_s + self.false_alarm_s + self.confusion_s) / self.speech_s


def diarization_error(reference: Turns, hypothesis: Turns, collar_s: float = 0.0) -> DiarizationError:
    """Two lists of turns -> seconds of errors.

    Args:
        reference: who spoke when; turns of different speakers may overlap.
        hypothesis: what is measured.
        collar_s: so much before and after each beginning and end in the reference isn't counted.

    Raises:
        ValueError: nothing of the reference is left to be counted.
    """
    from scipy.optimize import linear_sum_assignment

    edges = [edge for start, end, _ in reference for edge in (start, end)]
    cuts = {
        *edges,
        *(edge + side for edge in edges for side in (-collar_s, collar_s)),
        *(edge for start, end, _ in hypothesis for edge in (start, end)),
    }
    pieces = np.array([*pairwise(sorted(cuts))]).reshape(-1, 2)
    middles = pieces.mean(axis=1)
    apart = np.abs(middles[:, None] - np.array(edges)).min(axis=1, initial=np.inf)
    lengths = np.where(apart >= collar_s, pieces[:, 1] - pieces[:, 0], 0.0)
    spoken, said = (_activity(turns, middles) for turns in (reference, hypothesis))
    num_spoken, num_said = spoken.sum(axis=0), said.sum(axis=0)
    speech_s = float(num_spoken @ lengths)
    if speech_s == 0.0:
        raise ValueError(f"the reference has no speech outside of collars of {collar_s:g} s")
    together = (spoken * lengths) @ said.T  # seconds that each pair of speakers has in common
    rows, columns = linear_sum_assignment(together, maximize=True)
    return DiarizationError(
        float(np.maximum(num_spoken - num_said, 0) @ lengths),
        float(np.maximum(num_said - num_spoken, 0) @ lengths),
        float(np.minimum(num_spoken, num_said) @ lengths - together[rows, columns].sum()),
        speech_s,
    )


def _activity(turns: Turns, times: np.ndarray) -> np.ndarray:
    """Turns, times (P,) -> whether each speaker speaks then (S, P), as numbers."""
    names = sorted({name for _, _, name in turns})
    active = np.zeros((len(names), len(times)))
    for start, end, name in turns:
        active[names.index(name), (times > start) & (times < end)] = 1.0
    return active
