"""The state that a resumed training needs: weights, optimizer, schedule, sums of the epoch."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

import distributed
import runtime
from training.ema import MovingAverage
from training.nonfinite import NonFiniteError, NonFiniteWatch
from training.speaker_accuracy import SpeakerAccuracy


class Sharding(NamedTuple):
    """Which parameters are sharded over the processes, and how they are joined and split."""

    names: Sequence[str]
    join: Callable[[Tensor], Tensor]  # this process's rows -> all rows, in rank 0
    take_part: Callable[[Tensor], Tensor]  # all rows -> this process's


class TrainingState:
    """The parts of training that change. A saved state doesn't depend on the number of processes."""

    def __init__(
        self,
        network: nn.Module,
        optimizer: Optimizer,
        scheduler: Any,
        *,
        precision: runtime.Precision,
        watch: NonFiniteWatch,
        sharding: Sharding,
        device: torch.device,
        average: MovingAverage | None = None,
        speaker_accuracy: SpeakerAccuracy | None = None,
    ) -> None:
        """The network and what trains it; see ModelTrainer."""
        self.network = network
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.precision = precision
        self.watch = watch
        self.sharding = sharding
        self.device = device
        self.average = average
        self.speaker_accuracy = speaker_accuracy
        self.step = 0  # batches of this epoch that are done
        self.sums = torch.zeros(3, device=device)  # of losses, accuracies, batches; not read within the loop

    def add(self, loss: Tensor, accuracy: Tensor, labels: Tensor, is_finite: Tensor) -> None:
        """Add a batch's loss () and accuracy () or (S,) to the sums of the epoch if they are finite."""
        figures = torch.stack([loss.detach(), accuracy.mean(), torch.ones_like(loss)])
        self.sums += torch.where(is_finite, figures, 0.0)
        if self.speaker_accuracy is not None:
            self.speaker_accuracy.add(labels, accuracy)

    def begin_epoch(self) -> None:
        """Reset the counts and sums of the last epoch."""
        self.step = 0
        self.watch.steps = 0
        self.sums.zero_()
        if self.speaker_accuracy is not None:
            self.speaker_accuracy.sums.zero_()

    def state_dict(self) -> dict[str, Any]:
        """-> the state, on the CPU; to be called by all processes.

        Random generators aren't part of it: they are seeded at each step.

        Raises:
            NonFiniteError: training can't continue from this state.
        """
        self.watch.check()
        self.require_finite()
        average = None
        if self.average is not None:
            average = {"network": self.whole_weights(self.average.module), "steps": self.average.steps}
        accuracies = self.speaker_accuracy
        return {
            "network": self.whole_weights(self.network),
            "average": average,
            "optimizer": self._by_parameter(self.optimizer.state_dict(), self.sharding.join),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.precision.scaler.state_dict(),
            "step": self.step,
            "sums": distributed.all_reduce_sum(self.sums) / distributed.world_size(),
            "tally": distributed.all_reduce_sum(accuracies.sums) if accuracies else None,
            "streak": self.watch.streak,
        }

    def load_state_dict(self, state: dict[str, Any], steps_done: int) -> None:
        """Restore what state_dict returned; steps_done: optimizer steps of the epoch."""
        self.network.load_state_dict(self._local_weights(state["network"]))
        if self.average is not None:
            self.average.module.load_state_dict(self._local_weights(state["average"]["network"]))
            self.average.steps = state["average"]["steps"]
        take_part = self.sharding.take_part
        self.optimizer.load_state_dict(
            self._by_parameter(state["optimizer"], lambda whole: take_part(whole).clone())
        )
        self.optimizer.zero_grad(set_to_none=True)
        self.scheduler.load_state_dict(state["scheduler"])
        self.precision.scaler.load_state_dict(state["scaler"])
        self.step = state["step"]
        self.sums = state["sums"].to(self.device)
        self.watch.reset()
        self.watch.streak = state["streak"]
        self.watch.steps = steps_done
        if self.speaker_accuracy is not None:
            self.speaker_accuracy.sums = state["tally"].to(self.device) * distributed.is_first()

    def after_test(self, tests_since_best: int) -> None:
        """Tell the schedule, if it depends on tests, how many there were since the lowest EER."""
        if hasattr(self.scheduler, "after_test"):
            self.scheduler.after_test(tests_since_best)

    def lower_rate(self, factor: float) -> None:
        """Multiply the learning rate, now and in the rest of the schedule."""
        self.scheduler.base_lrs = [factor * rate for rate in self.scheduler.base_lrs]
        for group in self.optimizer.param_groups:
            group["lr"] *= factor

    def require_finite(self) -> None:
        """Raises NonFiniteError, in all processes, if a weight is infinite or NaN."""
        finite = torch.stack([parameter.isfinite().all() for parameter in self.network.parameters()])
        if distributed.all_reduce_max((~finite.all()).int()):
            raise NonFiniteError("weights have become infinite or NaN")

    def whole_weights(self, network: nn.Module) -> dict[str, Tensor]:
        """The network or its average -> all weights by name, on the CPU; to be called by all processes."""
        sharding = self.sharding
        return {
            name: (sharding.join(tensor) if name in sharding.names else tensor).cpu()
            for name, tensor in network.state_dict().items()
        }

    def _local_weights(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """All weights -> those of this process."""
        sharding = self.sharding
        return {
            name: sharding.take_part(tensor) if name in sharding.names else tensor
            for name, tensor in weights.items()
        }

    def _by_parameter(self, state: dict[str, Any], convert: Callable[[Tensor], Tensor]) -> dict[str, Any]:
        """An optimizer's state -> the same with the tensors of sharded parameters converted."""
        named = dict(self.network.named_parameters())
        sharded = {id(named[name]) for name in self.sharding.names}
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        states = dict(state["state"])
        for number, parameter in enumerate(parameters):
            if id(parameter) in sharded and number in states:
                states[number] = {k: convert(t) if t.ndim else t for k, t in states[number].items()}
        return state | {"state": states}
