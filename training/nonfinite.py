"""Steps whose gradients or losses aren't finite: who was in them, and when there are too many."""

from collections.abc import Callable

import torch
from torch import Tensor

import distributed
import runtime


class NonFinite(ValueError):  # noqa: N818  (what happened; the run may go on from an earlier state)
    """Steps in a row had infinite or NaN gradients, or weights are so."""


class StepWatch:
    """Notes of the last steps, kept on the device; each look at them waits for it."""

    LOOK = 10  # steps between looks

    def __init__(
        self,
        precision: runtime.Precision,
        patience: int,
        report: Callable[[int, list[int]], None],
    ) -> None:
        """Report is told the number of a step that was left out and the utterances of its batches."""
        self.precision, self.patience, self.report = precision, patience, report
        self.streak = self.seen = 0  # steps in a row that were left out; steps of this epoch looked at
        self.forget()

    def forget(self) -> None:
        """Nothing is noted."""
        self.made, self.finite = list[Tensor](), list[Tensor]()
        self.utterances = list[list[Tensor]]()

    def begin(self, device: torch.device) -> None:
        """A step begins."""
        self.finite.append(torch.ones((), dtype=torch.bool, device=device))
        self.utterances.append([])

    def note(self, loss: Tensor, utterances: Tensor) -> Tensor:
        """Loss () and numbers (S, M) of one of the step's batches -> whether the loss is finite ()."""
        is_finite = loss.detach().isfinite()
        self.finite[-1] = self.finite[-1] & is_finite
        self.utterances[-1].append(utterances)
        return is_finite

    def end(self, made: Tensor) -> None:
        """Whether the step was made ().

        Raises:
            NonFinite: too many weren't, in a row.
        """
        self.made.append(made)
        if len(self.made) == self.LOOK:
            self.look()

    def look(self) -> None:
        """Report the steps that were left out; fp16 leaves out a few until it has found its scale."""
        made, finite, utterances = self.made, self.finite, self.utterances
        self.forget()
        if not made:
            return
        steps = torch.stack(made).tolist()
        bad_losses = distributed.all_max((~torch.stack(finite[: len(made)])).int()).tolist()
        may_overflow = not all(steps) and self.precision.expects_overflows()
        for was_made, bad_loss, numbers in zip(steps, bad_losses, utterances, strict=False):
            self.seen += 1
            self.streak = 0 if was_made or (may_overflow and not bad_loss) else self.streak + 1
            if self.streak:
                self.report(self.seen, torch.cat(numbers).flatten().tolist())
        if self.streak >= self.patience:
            raise NonFinite(f"{self.streak} steps in a row had infinite or NaN gradients")
