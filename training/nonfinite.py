"""Detection of infinite or NaN gradients and losses: the data of such steps, and when to give up."""

from collections.abc import Callable

import torch
from torch import Tensor

import distributed
import runtime


class NonFiniteError(ValueError):
    """Weights, or the gradients of several steps in a row, are infinite or NaN."""


class NonFiniteWatch:
    """Records which steps updated the weights.

    The records stay on the device and are checked once in a while, because each check waits for the device.
    """

    CHECK_INTERVAL = 10  # steps

    def __init__(
        self,
        precision: runtime.Precision,
        patience: int,
        report: Callable[[int, list[int], int], None],
    ) -> None:
        """Settings.

        Args:
            precision: says whether gradients may overflow until fp16's loss scale has adapted.
            patience: number of skipped steps in a row that raises NonFiniteError.
            report: called with the number of a skipped step, the utterances of its batches, and how many
                steps in a row have been skipped.
        """
        self.precision = precision
        self.patience = patience
        self.report = report
        self.streak = 0  # skipped steps in a row, without expected overflows
        self.steps = 0  # checked steps of this epoch
        self.reset()

    def reset(self) -> None:
        """Drop the records that haven't been checked."""
        self.updated = list[Tensor]()  # for each step, whether it updated the weights ()
        self.finite_losses = list[Tensor]()  # for each step, whether its losses were finite ()
        self.utterances = list[list[Tensor]]()  # for each step, the utterances of each of its batches

    def begin_step(self, device: torch.device) -> None:
        """Begin the record of a step."""
        self.finite_losses.append(torch.ones((), dtype=torch.bool, device=device))
        self.utterances.append([])

    def add_batch(self, loss: Tensor, utterances: Tensor) -> Tensor:
        """Loss () and utterance numbers (S, M) of a batch of the step -> whether the loss is finite ()."""
        is_finite = loss.detach().isfinite()
        self.finite_losses[-1] = self.finite_losses[-1] & is_finite
        self.utterances[-1].append(utterances)
        return is_finite

    def end_step(self, updated: Tensor) -> None:
        """Record whether the step updated the weights (), and check the records if it is time.

        Raises:
            NonFiniteError: see check.
        """
        self.updated.append(updated)
        if len(self.updated) == self.CHECK_INTERVAL:
            self.check()

    def require_updates(self, num_steps: int) -> None:
        """Raises NonFiniteError if all of the last steps, so many, were skipped."""
        if self.streak >= num_steps:
            raise NonFiniteError(
                f"the last {self.streak} steps had infinite or NaN gradients, so that nothing was learnt in "
                "the last epoch; try a lower --lr"
            )

    def check(self) -> None:
        """Report the skipped steps among those recorded; to be called by all processes.

        Raises:
            NonFiniteError: there were `patience` skipped steps in a row.
        """
        updated = self.updated
        finite_losses = self.finite_losses[: len(updated)]
        utterances = self.utterances[: len(updated)]
        self.reset()
        if not updated:
            return
        was_updated = torch.stack(updated).tolist()
        bad_loss = distributed.all_reduce_max((~torch.stack(finite_losses)).int()).tolist()
        may_overflow = not all(was_updated) and self.precision.expects_overflows()
        for is_updated, is_bad_loss, batches in zip(was_updated, bad_loss, utterances, strict=True):
            self.steps += 1
            if is_updated or (may_overflow and not is_bad_loss):
                self.streak = 0
            else:
                self.streak += 1
                self.report(self.steps, torch.cat(batches).flatten().tolist(), self.streak)
        if self.streak >= self.patience:
            raise NonFiniteError(f"{self.streak} steps in a row had infinite or NaN gradients")
