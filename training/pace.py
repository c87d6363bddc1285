"""How fast training goes, how long it waits for data, and the bar that shows it."""

import time
from collections.abc import Iterable
from typing import Any, NamedTuple

from torch import Tensor
from tqdm import tqdm

import distributed

DISPLAY_INTERVAL_S = 1.0  # the device waits while figures are shown, so they are shown rarely


class EpochFigures(NamedTuple):
    """The figures of one epoch of training."""

    loss: float
    accuracy: float  # in [0, 1]
    lr: float  # at the start of the epoch
    utterances_per_s: float  # of all processes
    data_wait: float  # fraction of the time that was spent waiting for the loader
    margin: float | None = None  # of the loss at the start of the epoch, where it has a schedule

    @property
    def shown_margin(self) -> str:
        """The margin for a line of the log; "" without a schedule."""
        return "" if self.margin is None else f"margin {self.margin:.4f}, "

    def known(self) -> dict[str, float]:
        """The figures by name, without a margin that has no schedule."""
        return {name: value for name, value in self._asdict().items() if value is not None}


class Pace:
    """Counts utterances and the time that the loader is waited for, from its creation on."""

    def __init__(self) -> None:
        self.start_s = time.perf_counter()
        self.waiting_since_s = self.start_s
        self.waited_s = 0.0
        self.num_utterances = 0
        self.shown_s = 0.0  # when figures were last shown

    def stop_waiting(self) -> None:
        """Record that a batch has arrived."""
        self.waited_s += time.perf_counter() - self.waiting_since_s

    def start_waiting(self, num_utterances: int) -> None:
        """Record that a batch of so many utterances was processed; waiting for the next one begins."""
        self.num_utterances += num_utterances
        self.waiting_since_s = time.perf_counter()

    def figures(self) -> tuple[float, float]:
        """Utterances of all processes per second, and the fraction of the time that was spent waiting."""
        elapsed_s = time.perf_counter() - self.start_s
        return self.num_utterances * distributed.world_size() / elapsed_s, self.waited_s / elapsed_s

    def show(self, progress: Any, sums: Tensor) -> None:
        """Show the figures on a bar if it is time to; sums of losses, accuracies and batches (3,)."""
        if progress.disable or self.waiting_since_s - self.shown_s <= DISPLAY_INTERVAL_S:
            return
        self.shown_s = self.waiting_since_s
        loss, accuracy, batches = sums.tolist()
        rate, data_wait = self.figures()
        progress.set_postfix_str(
            f"loss {loss / max(batches, 1):.4f}, accuracy {100 * accuracy / max(batches, 1):.1f} %, "
            f"{rate:.0f} utterances/s, data wait {100 * data_wait:.0f} %"
        )


def progress_bar(loader: Iterable[Any], name: str, num_batches: int, num_done: int) -> Any:
    """Batches -> the same, shown as a bar by the first process where stderr is a terminal."""
    disable = None if distributed.is_first() else True  # None: only where stderr is a terminal
    return tqdm(
        loader,
        name,
        num_batches,
        initial=num_done,
        unit="batch",
        disable=disable,
        leave=False,
    )
