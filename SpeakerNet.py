"""The network (features -> model -> loss) and its trainer."""

import argparse
import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader
from tqdm import tqdm

import options
import processes
import runtime
from audio import Remark
from augment import mask
from DatasetLoader import TrainBatch
from models._padded import embed_unequal, fewest_frames
from report import Profile

DISPLAY_INTERVAL_S = 1.0  # showing figures makes the device wait, so it is done this rarely


class SpeakerNet(nn.Module):
    """Waveforms at 16 kHz in [-1, 1] -> speaker embeddings, and in training -> loss and accuracy."""

    def __init__(
        self,
        features: nn.Module,
        model: nn.Module,
        loss: nn.Module | None = None,
        input_scale: float = 1.0,
        widest: tuple[int, int] = (0, 0),  # masks of bands and of frames, in training
    ) -> None:
        super().__init__()
        self.features, self.model, self.loss = features, model, loss
        self.input_scale, self.widest = input_scale, widest

    @classmethod
    def build(cls, args: argparse.Namespace, num_speakers: int | None = None) -> "SpeakerNet":
        """Resolved options -> network; without num_speakers it has no loss and can only embed."""

        def pooling(channels: int, attention: str = "scalar") -> nn.Module:
            return options.build("pooling", args, channels, attention)

        features = options.build("features", args)
        model = options.build("models", args, features.num_features, args.nOut, pooling)
        loss = options.build("loss", args, args.nOut, num_speakers) if num_speakers else None
        widest = (args.mask_bands, args.mask_frames) if loss else (0, 0)
        network: Any = cls(features, model, loss, args.input_scale, widest)
        return network.to(memory_format=torch.channels_last)  # a CPU's convolutions gain 5 to 10 %

    @property
    def normalize(self) -> bool:
        """Whether scoring by distance length-normalises the embeddings: the loss decides."""
        return bool(self.loss.normalize)  # type: ignore[union-attr]

    def set_epoch(self, epoch: int) -> None:
        """Tell the loss which epoch begins, counted from 1, if it has a schedule."""
        if hasattr(self.loss, "set_epoch"):
            self.loss.set_epoch(epoch)  # type: ignore[union-attr, operator]

    def embed(self, waveforms: Tensor, masks: Tensor | None = None) -> Tensor:
        """(B, T), numbers in [0, 1) that masks are drawn by (B, 2, 2) -> (B, D)."""
        features = self.features(waveforms * self.input_scale)  # (B, F, L)
        if masks is not None:
            for i, widest in enumerate(self.widest):
                features = mask(features, widest, 1 + i, masks[:, i]) if widest else features
        return self.model(features)

    @property
    def embeds_unequal(self) -> bool:
        """Whether utterances of unequal lengths share a batch in embed_unequal: the model decides."""
        return fewest_frames(self.model) < math.inf

    def embed_unequal(self, waveforms: Sequence[Tensor]) -> Tensor:
        """Waveforms (T_i,) of any lengths -> (B, D), each as embed gives it alone; for evaluation mode."""
        assert not self.training
        # front ends treat a recording's end specially, and take little of the time
        features = [self.features(waveform[None] * self.input_scale) for waveform in waveforms]  # (1, F, L_i)
        return embed_unequal(self.model, features)

    def forward(self, crops: Tensor, labels: Tensor, masks: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Crops (S, M, T), labels (S,), masks (S*M, 2, 2) -> mean loss (), accuracy (S,) or () in [0, 1]."""
        if self.loss is None:
            raise ValueError("a network without a loss can embed but not be trained")
        embeddings = self.embed(crops.flatten(0, 1), masks)  # (S*M, D)
        return self.loss(embeddings.unflatten(0, crops.shape[:2]), labels)


class EpochFigures(NamedTuple):
    """What one epoch of training came to."""

    loss: float
    accuracy: float  # in [0, 1]
    lr: float  # at the epoch's start
    utterances_per_s: float
    data_wait: float  # share of the time spent waiting for the loader


class SpeakerTally:
    """How well each training speaker is classified in an epoch; never read in the loop.

    Labels may run over the speakers several times, once for each speed.
    """

    def __init__(self, num_speakers: int, device: torch.device) -> None:
        self.sums = torch.zeros(2, num_speakers, device=device)  # of accuracies, of draws

    def add(self, labels: Tensor, accuracy: Tensor) -> None:
        """Labels (S,), accuracy (S,)."""
        self.sums.index_add_(
            1, labels % self.sums.shape[1], torch.stack([accuracy, torch.ones_like(accuracy)])
        )

    def accuracy(self) -> NDArray[np.float64]:
        """Mean accuracy of each speaker (num_speakers,), NaN for those that weren't drawn."""
        sums, draws = self.sums.double().cpu()
        return np.asarray(sums / draws)


class ModelTrainer:
    """Runs epochs over a network with its optimizer and schedule, and holds what a resume needs."""

    def __init__(
        self,
        network: SpeakerNet,
        optimizer: torch.optim.Optimizer,
        scheduler: LRScheduler,
        device: torch.device,
        precision: runtime.Precision,
        remark: Callable[[Iterable[Remark]], None],
        tally: SpeakerTally | None = None,
        profile: Profile | None = None,
    ) -> None:
        self.network, self.optimizer, self.scheduler = network, optimizer, scheduler
        self.device, self.precision = device, precision
        self.remark, self.tally, self.profile = remark, tally, profile
        if profile is not None:
            network.features.register_forward_hook(lambda *_: self._lap("front end"))
            network.model.register_forward_hook(lambda *_: self._lap("trunk"))
        self.step = 0  # done in this epoch
        self.sums = torch.zeros(
            2, device=device
        )  # of loss and accuracy in this epoch, never read in the loop

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimizer, schedule and what the epoch came to so far; generators are seeded each step."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.precision.scaler.state_dict(),
            "step": self.step,
            "sums": self.sums,
            "tally": self.tally.sums if self.tally else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what state_dict returned."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.precision.scaler.load_state_dict(state["scaler"])
        self.step, self.sums = state["step"], state["sums"].to(self.device)
        if self.tally is not None:
            self.tally.sums = state["tally"].to(self.device)

    def begin_epoch(self) -> None:
        """Forget what the last epoch came to."""
        self.step = 0
        self.sums.zero_()
        if self.tally is not None:
            self.tally.sums.zero_()

    def train_epoch(
        self,
        loader: DataLoader[Any],
        name: str,
        seed: tuple[int, int],
        stop: processes.StopSignal,
        save: Callable[[], None],
        save_interval_s: float,
    ) -> EpochFigures:
        """The rest of an epoch, from self.step on; seed: of the run, and the epoch.

        `save` is called between two steps whenever so much time has passed, but never if that is 0.

        Raises:
            AudioError: a file could not be used.
            processes.Stopped: a stop was asked for; the state is that after self.step steps.
            ValueError: the loss is not finite any more.
        """
        self.network.train()
        if self.profile is not None:
            self.profile.begin()
        lr, utterances, wait_s, shown = self.optimizer.param_groups[0]["lr"], 0, 0.0, 0.0
        began = asked = saved = time.perf_counter()
        progress = tqdm(loader, name, len(loader), initial=self.step, unit="batch", disable=None, leave=False)
        for batch in progress:
            wait_s += time.perf_counter() - asked
            stop.check()
            self._lap("data wait")
            batch = self._receive(batch)
            runtime.seed_everything(*seed, self.step)
            self._step(batch)
            utterances += len(batch.masks)
            if self.profile is not None:
                self.profile.end_step(len(batch.masks))
            if 0.0 < save_interval_s < time.perf_counter() - saved:
                save()
                saved = time.perf_counter()
            asked = time.perf_counter()
            if not progress.disable and asked - shown > DISPLAY_INTERVAL_S:
                shown = asked
                self._show(
                    progress, self.sums / self.step, utterances / (asked - began), wait_s / (asked - began)
                )
        mean_loss, accuracy = (self.sums / len(loader)).tolist()
        if not mean_loss < float("inf"):  # also false for NaN
            raise ValueError(f"{name}: the loss is {mean_loss}; try a lower --lr")
        if not all(parameter.isfinite().all() for parameter in self.network.parameters()):
            raise ValueError(f"{name}: weights have become infinite or NaN; try a lower --lr")
        elapsed = time.perf_counter() - began
        return EpochFigures(mean_loss, accuracy, lr, utterances / elapsed, wait_s / elapsed)

    def _receive(self, batch: TrainBatch | ValueError | OSError) -> TrainBatch:
        if isinstance(batch, ValueError | OSError):
            raise batch
        self.remark(batch.remarks)
        batch = batch.moved(self.device)
        self._lap("transfer")
        batch = batch.finished()
        self._lap("augmentation")
        return batch

    def _lap(self, part: str) -> None:
        if self.profile is not None and self.network.training:
            self.profile.lap(part)

    def _step(self, batch: TrainBatch) -> None:
        """One optimizer step."""
        with self.precision.context():
            loss, accuracy = self.network(batch.crops, batch.labels, batch.masks)
        self._lap("loss")
        self.optimizer.zero_grad(set_to_none=True)
        self.precision.backward(loss)
        self._lap("backward")
        self.precision.step(self.optimizer)
        self.scheduler.step()
        self._lap("optimizer")
        self.step += 1
        self.sums += torch.stack([loss.detach(), accuracy.mean()])
        if self.tally is not None:
            self.tally.add(batch.labels, accuracy)

    @staticmethod
    def _show(progress: Any, means: Tensor, rate: float, data_wait: float) -> None:
        loss, accuracy = means.tolist()
        progress.set_postfix_str(
            f"loss {loss:.4f}, accuracy {100 * accuracy:.1f} %, {rate:.0f} utterances/s, "
            f"data wait {100 * data_wait:.0f} %"
        )
