"""Scores of many trials at once, and score files."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audio.trials import Trials
from metrics.score_files import score_texts
from storage.files import write_texts

BLOCK_VALUES = 1 << 19  # numbers gathered at a time: 2 MiB for either side, which stays in the cache


def score_trials(vectors: Tensor, trials: Trials, scoring: Any) -> NDArray[np.float64]:
    """Summaries of every file (U, V, D) and N trials -> scores (N,), higher = more alike.

    Works in blocks, so that memory doesn't grow with N; on the device of the vectors.
    """
    size = max(1, BLOCK_VALUES // vectors[0].numel())
    scores = np.empty(len(trials.enrol))
    for start in range(0, len(scores), size):
        block = slice(start, start + size)
        enrol, test = (
            torch.from_numpy(side[block]).to(vectors.device) for side in (trials.enrol, trials.test)
        )
        # index_select is more than twice as fast as vectors[enrol]
        pair = vectors.index_select(0, enrol), vectors.index_select(0, test)
        scores[block] = scoring.score(*pair).double().cpu().numpy()
    return scores


def write_scores(path: Path, trials: Trials, scores: NDArray[np.float64]) -> None:
    """Score file of `score enrol test [label]` lines; tab-separated where a path holds a blank."""
    write_texts(path, score_texts(trials.names, (trials.enrol, trials.test), scores, trials.labels))
