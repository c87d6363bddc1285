"""Speech of a recording as equal windows, and their embeddings."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from audio.recording import SAMPLE_RATE, Audio
from audio.vad import DETECTORS, HOP, LEAST_SPEECH_S, energy

if TYPE_CHECKING:
    from inference.voices import Vector, Voice

Hops = NDArray[np.int64]  # numbers of 10 ms, the resolution of the voice activity detectors
HOPS_PER_S = SAMPLE_RATE // HOP
WINDOW = round(1.5 * HOPS_PER_S)
STEP = round(0.75 * HOPS_PER_S)
BRIDGED = round(0.3 * HOPS_PER_S)  # pauses up to this belong to the speech around them
WINDOWS_PER_BATCH = 16


class Windows(NamedTuple):
    """Where speech is, and the windows that lie in it, in order; in hops of 10 ms."""

    regions: Hops  # (R, 2), beginning and end of speech without longer pauses
    starts: Hops  # (W,)
    ends: Hops  # (W,), WINDOW after the beginning, or the end of a shorter region
    region: Hops  # (W,), number of the region that the window lies in


def find_windows(audio: Audio, vad: str) -> Windows:
    """Samples (T,) at 16 kHz, value of --vad -> the windows of its speech; none without speech."""
    speech = DETECTORS.get(vad, energy)(audio)
    if speech.duration_s < LEAST_SPEECH_S:
        return windows_in(np.empty((0, 2), np.int64))
    # a detector's last hop may reach beyond the end
    return windows_in(bridged(runs(speech.hops[: max(1, len(audio) // HOP)]), BRIDGED))


def runs(flags: NDArray[np.bool_]) -> Hops:
    """Flags (H,) -> beginning and end (R, 2) of each run of set ones."""
    edges = np.flatnonzero(np.diff(flags, prepend=False, append=False))
    return edges.reshape(-1, 2)


def bridged(intervals: Hops, longest: int) -> Hops:
    """Sorted intervals (R, 2) -> the same, joined where the gap between them is at most so long."""
    if not len(intervals):
        return intervals
    is_far = intervals[1:, 0] - intervals[:-1, 1] > longest
    starts = intervals[np.concatenate(([True], is_far)), 0]
    ends = intervals[np.concatenate((is_far, [True])), 1]
    return np.stack([starts, ends], axis=1)


def windows_in(regions: Hops) -> Windows:
    """Regions of speech (R, 2) -> windows at every STEP, the last one of a region at its end."""
    starts = list[int]()
    ends = list[int]()
    numbers = list[int]()
    for number, (start, end) in enumerate(regions.tolist()):
        last = max(start, end - WINDOW)
        places = [*range(start, last, STEP), last]
        starts += places
        ends += [min(place + WINDOW, end) for place in places]
        numbers += [number] * len(places)
    return Windows(regions, *(np.array(values, np.int64) for values in (starts, ends, numbers)))


def embed_windows(voice: "Voice", audio: Audio, windows: Windows) -> "Vector":
    """Samples (T,), W windows -> their embeddings (W, D) of unit length."""
    return voice.embed_windows(_batches(audio, windows))


def _batches(audio: Audio, windows: Windows) -> Iterator[Audio]:
    """Samples (T,), windows -> batches of windows (B, WINDOW in samples); short ones are repeated."""
    places = list(zip((windows.starts * HOP).tolist(), (windows.ends * HOP).tolist(), strict=True))
    for first in range(0, len(places), WINDOWS_PER_BATCH):
        cut = [audio[start:end] for start, end in places[first : first + WINDOWS_PER_BATCH]]
        yield np.stack([np.resize(samples, WINDOW * HOP) for samples in cut])
