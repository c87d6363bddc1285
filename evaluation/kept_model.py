"""Which model a training stage keeps: the best of its own and of the one that it started from."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from storage import checkpoint
from storage.run_folder import RunFolder
from storage.run_state import Progress

BEFORE, AVERAGE = 0, -1  # in place of an epoch


class Candidate(NamedTuple):
    """A model that may be kept: its path, its epoch or what it is instead, its EER (infinite: not known)."""

    path: str
    epoch: int
    eer: float

    def __str__(self) -> str:
        names = {BEFORE: "the model before", AVERAGE: "the average"}
        return names.get(self.epoch, f"epoch {self.epoch}")


def candidates(folder: RunFolder, progress: Progress, start: str) -> list[Candidate]:
    """Folder of a finished training, how it went, path of what it started from or "" -> what may be kept."""
    epoch = progress.best_epoch or progress.epoch
    found = [Candidate(folder.latest_model(), epoch, progress.best_eer)]
    if folder.average.exists():
        eer = checkpoint.load_model(str(folder.average)).metrics.get("eer", math.inf)
        found.append(Candidate(str(folder.average), AVERAGE, eer))
    if start:
        found.append(Candidate(start, BEFORE, progress.start_eer))
    return found


def choose(found: Sequence[Candidate]) -> tuple[Candidate, str]:
    """Candidates -> the one with the lowest EER, of equal ones the first, and the reason for the log.

    Without EERs it is the average if there is one, else the last model.
    """
    kept = min(found, key=lambda candidate: candidate.eer)
    if kept.eer == math.inf:
        kept = next((candidate for candidate in found if candidate.epoch == AVERAGE), found[0])
        return kept, f"{kept} is kept; there are no trials with labels to compare by"
    others = [f"{other} {100 * other.eer:.4f} %" for other in found if other != kept and other.eer < math.inf]
    compared = f" ({', '.join(others)})" if others else ""
    return kept, f"{kept} is kept, EER {100 * kept.eer:.4f} %{compared}"
