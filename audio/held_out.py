"""Speakers of a train list that are set aside for validation: --validation_speakers."""

from typing import NamedTuple

import numpy as np

from audio.lists import TrainList

FEWEST_FILES = 4  # of a speaker that can be set aside
FEWEST_SPEAKERS = 2  # of either part: fewer can't be told apart
DRAW = 0x76616C  # keeps these draws apart from others of the same seed


class Parts(NamedTuple):
    """The utterances to train on, and those of the speakers that are set aside; None without any."""

    training: TrainList
    validation: TrainList | None


def set_aside(utterances: TrainList, wanted: float, seed: int, flag: str = "--train_list") -> Parts:
    """Train list -> its two parts, which have no speaker in common; they depend on nothing but the arguments.

    Args:
        utterances: of the list.
        wanted: share below 1 of the speakers with at least FEWEST_FILES files, or their number; 0: none.
        seed: of the draw.
        flag: the flag that the list came from, for errors.

    Raises:
        ValueError: too few speakers for either part, or the list is one of segments.
    """
    if not wanted:
        return Parts(utterances, None)
    given = f"--validation_speakers {wanted:g}"
    if utterances.spans is not None:
        raise ValueError(
            f"{given}: {flag} has segments of recordings, which can't be in a list of trials; give a "
            "--test_list of other speakers instead"
        )
    eligible = np.flatnonzero(np.bincount(utterances.labels) >= FEWEST_FILES)
    count = int(wanted) if wanted >= 1 else max(FEWEST_SPEAKERS, round(wanted * len(eligible)))
    if len(eligible) < max(count, FEWEST_SPEAKERS):
        raise ValueError(
            f"{given}: {len(eligible)} speakers of {flag} have {FEWEST_FILES} files or more; "
            f"{max(count, FEWEST_SPEAKERS)} are needed"
        )
    num_left = len(utterances.speakers) - count
    if num_left < FEWEST_SPEAKERS:
        raise ValueError(
            f"{given} leaves {num_left} of the {len(utterances.speakers)} speakers of {flag} to train on; "
            f"{FEWEST_SPEAKERS} are needed"
        )
    chosen = np.random.default_rng([seed, DRAW]).permutation(eligible)[:count]
    others = np.setdiff1d(np.arange(len(utterances.speakers)), chosen)
    return Parts(utterances.of_speakers(others), utterances.of_speakers(np.sort(chosen)))
