"""Calibration without other data: each trial by a model that was fitted on the trials of other speakers."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from metrics.calibration import Calibration, as_table, as_targets, fit
from metrics.logistic_regression import Flags
from metrics.rates import Floats, Integers


class CrossValidation(NamedTuple):
    """LLR (N,), NaN where no model could be fitted; how many are NaN; the models, one for each fold."""

    llr: Floats
    num_unscored: int
    models: list[Calibration]


def cross_validate(
    columns: ArrayLike,
    labels: ArrayLike,
    enrol_speakers: ArrayLike,
    test_speakers: ArrayLike,
    *,
    p_target: float = 0.5,
    num_groups: int = 5,
    seed: int = 0,
    names: Sequence[str] = (),
) -> CrossValidation:
    """Columns (N, C), labels (N,), speakers (N,) of both sides -> LLR (N,) by models fitted without them.

    The speakers are split into G groups. A fold is a pair of groups (g, h), g = h included: the trials
    between a speaker of g and one of h. Its model is fitted on the trials without any speaker of g or h.
    Every trial is in one of the G (G + 1) / 2 folds, and no model is fitted on a speaker that it scores. The
    groups depend on the seed and the speakers, not on the order of the trials.

    Raises:
        ValueError: as of fit; too few groups or speakers; labels that contradict the speakers.
    """
    table = as_table(columns)
    targets = as_targets(labels, len(table))
    speakers = _speaker_numbers(enrol_speakers, test_speakers, targets)
    num_speakers = int(speakers.max()) + 1
    if not 3 <= num_groups <= num_speakers:
        raise ValueError(f"expected 3 to {num_speakers} groups (one for each speaker), got {num_groups}")
    low, high = np.sort(speaker_groups(speakers, targets, num_groups, seed)[speakers], axis=0)  # (N,) each
    llr = np.full(len(table), np.nan)
    models = []
    for g, h in sorted(set(zip(low.tolist(), high.tolist(), strict=True))):
        held_out = (low == g) & (high == h)
        fitting = ~(np.isin(low, (g, h)) | np.isin(high, (g, h)))
        if not 0 < np.count_nonzero(targets[fitting]) < np.count_nonzero(fitting):
            continue  # one class is missing; these trials are counted below
        model = fit(table[fitting], targets[fitting], p_target, names)
        models.append(model)
        llr[held_out] = model.apply(table[held_out])
    return CrossValidation(llr, int(np.count_nonzero(np.isnan(llr))), models)


def speaker_groups(speakers: Integers, targets: Flags, num_groups: int, seed: int) -> Integers:
    """Speaker numbers of both sides (2, N), targets (N,) -> group of each speaker (S,).

    Speakers are assigned to the groups in turn, in random order, those with most target trials first, so that
    each group has some.
    """
    counts = np.bincount(speakers[0, targets], minlength=int(speakers.max()) + 1)  # (S,)
    order = np.random.default_rng(seed).permutation(len(counts))
    order = order[np.argsort(-counts[order], kind="stable")]
    groups = np.empty(len(counts), dtype=np.int64)
    groups[order] = np.arange(len(counts)) % num_groups
    return groups


def _speaker_numbers(enrol: ArrayLike, test: ArrayLike, targets: Flags) -> Integers:
    """Names or numbers of the speakers of both sides (N,) -> numbers (2, N), in the order of names."""
    arrays = [np.asarray(side) for side in (enrol, test)]
    if any(side.shape != targets.shape or side.dtype.kind not in "iuU" for side in arrays):
        raise ValueError(f"expected names of the speakers of both sides of {len(targets)} trials")
    sides = np.stack(arrays)
    speakers: Integers = np.unique(sides, return_inverse=True)[1].reshape(sides.shape)
    wrong = np.flatnonzero((speakers[0] == speakers[1]) != targets)
    if len(wrong):
        i = int(wrong[0])
        raise ValueError(
            f"{len(wrong)} labels contradict the speakers, trial {i + 1} the first: "
            f"label {int(targets[i])}, speakers {sides[0, i]} and {sides[1, i]}"
        )
    return speakers
