"""The network (features -> model -> loss) and its trainer."""

import argparse
import math
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

import distributed
import options
import runtime
from audio.recording import SAMPLE_RATE
from DatasetLoader import TrainBatch
from features._steps import mask
from loss._sharded import joined, own_part, split_parameters
from models._padded import embed_unequal, fewest_frames
from runtime import BatchTooLargeError
from storage.run_folder import Remark
from training.ema import MovingAverage
from training.memory import largest_batch
from training.nonfinite import NonFinite, StepWatch
from training.profile import Profile
from training.speaker_accuracy import SpeakerTally
from training.update import Update

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
        gathers: bool = False,  # whether the loss sees the utterances of all processes
    ) -> None:
        super().__init__()
        self.features, self.model, self.loss = features, model, loss
        self.input_scale, self.widest, self.gathers = input_scale, widest, gathers
        self._compiled: tuple[Callable[[Tensor], Tensor], ...] = ()  # in a tuple it is no submodule

    @classmethod
    def build(cls, args: argparse.Namespace, num_speakers: int | None = None) -> "SpeakerNet":
        """Resolved options -> network; without num_speakers it has no loss and can only embed."""

        def pooling(channels: int, attention: str = "scalar") -> nn.Module:
            return options.build("pooling", args, channels, attention)

        features = options.build("features", args)
        model = options.build("models", args, features.num_features, args.nOut, pooling)
        loss = options.build("loss", args, args.nOut, num_speakers) if num_speakers else None
        widest = (args.mask_bands, args.mask_frames) if loss else (0, 0)
        gathers = loss is not None and args.gather_negatives and loss.min_utterances > 1
        network: Any = cls(features, model, loss, args.input_scale, widest, bool(gathers))
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
        model = self._compiled[0] if self._compiled and self.training else self.model
        return model(features)

    def compile_for_training(self) -> None:
        """Have the encoder compiled at the first batch; all have one length. Tests go without."""
        self._compiled = (torch.compile(self.model, dynamic=False),)

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
        embeddings = embeddings.unflatten(0, crops.shape[:2])
        if not self.gathers:
            return self.loss(embeddings, labels)
        loss, accuracy = self.loss(
            distributed.gather_rows(embeddings.float()), distributed.gather_rows(labels)
        )
        rank, num_ranks = distributed.place()
        return loss, accuracy.unflatten(0, (num_ranks, -1))[rank] if accuracy.ndim else accuracy


class EpochFigures(NamedTuple):
    """What one epoch of training came to."""

    loss: float
    accuracy: float  # in [0, 1]
    lr: float  # at the epoch's start
    utterances_per_s: float  # of all processes
    data_wait: float  # share of the time spent waiting for the loader


class ModelTrainer:
    """Runs epochs over a network with its optimizer and schedule, and holds what a resume needs."""

    def __init__(
        self,
        network: SpeakerNet,
        args: argparse.Namespace,
        device: torch.device,
        num_batches: int,
        num_classes: int,
        remark: Callable[[Iterable[Remark]], None],
        report_nonfinite: Callable[[int, list[int]], None],
        tally: SpeakerTally | None = None,
        profile: Profile | None = None,
    ) -> None:
        """num_batches: of an epoch; report_nonfinite takes the step and the utterances of its batches."""
        self.network, self.device, self.num_batches = network, device, num_batches
        self.accumulate, self.syncs = args.accumulate, args.sync_bn
        self.precision = runtime.Precision(args.precision, device)
        self.steps_per_epoch = -(-num_batches // args.accumulate)
        self.optimizer = options.build("optimizer", args, network.parameters())
        self.scheduler = options.build(
            "scheduler", args, self.optimizer, self.steps_per_epoch, args.max_epoch
        )
        warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler")  # a step was left out
        named = dict(network.named_parameters())
        assert network.loss is not None
        self.split = [f"loss.{name}" for name in split_parameters(network.loss)]
        split = [named[name] for name in self.split]
        self.num_classes = num_classes
        self.update = Update(network, self.optimizer, self.precision, args.clip_norm, split)
        self.average = MovingAverage(network, args.ema_decay) if args.ema_decay else None
        self.parallel = distributed.parallel(network, device, self.split)
        self.watch = StepWatch(self.precision, args.nonfinite_patience, report_nonfinite)
        self.remark = remark
        self.tally, self.profile = tally, profile
        if profile is not None:
            network.features.register_forward_hook(lambda *_: self._lap("front end"))
            network.model.register_forward_hook(lambda *_: self._lap("trunk"))
        self.step = 0  # batches done in this epoch
        self.sums = torch.zeros(3, device=device)  # of loss and accuracy, and batches; never read in the loop

    def tested(self) -> SpeakerNet:
        """The network to test and keep: the average if there is one; the same in every process."""
        network: Any = self.network if self.average is None else self.average.module
        distributed.share_buffers(network)
        return network

    def weights(self, network: nn.Module) -> dict[str, Tensor]:
        """Weights on the CPU by name, split ones joined in the first process; to be called by all."""
        found = network.state_dict()
        return {
            name: (self._join(tensor) if name in self.split else tensor).cpu()
            for name, tensor in found.items()
        }

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimizer, schedule and what the epoch came to so far; generators are seeded each step.

        The same for any number of processes; to be called by all.

        Raises:
            NonFinite: that state is none to go on from.
        """
        self.watch.look()
        self.require_finite()
        average = None
        if self.average is not None:
            average = {"network": self.weights(self.average.module), "steps": self.average.steps}
        return {
            "network": self.weights(self.network),
            "average": average,
            "optimizer": self._by_parameter(self.optimizer.state_dict(), self._join),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.precision.scaler.state_dict(),
            "step": self.step,
            "sums": distributed.all_sum(self.sums) / distributed.place()[1],
            "tally": distributed.all_sum(self.tally.sums) if self.tally else None,
            "streak": self.watch.streak,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what state_dict returned."""
        self.network.load_state_dict(self._own(state["network"]))
        if self.average is not None:
            self.average.module.load_state_dict(self._own(state["average"]["network"]))
            self.average.steps = state["average"]["steps"]
        self.optimizer.load_state_dict(
            self._by_parameter(state["optimizer"], lambda whole: own_part(whole).clone())
        )
        self.scheduler.load_state_dict(state["scheduler"])
        self.precision.scaler.load_state_dict(state["scaler"])
        self.step, self.sums = state["step"], state["sums"].to(self.device)
        self.watch.forget()
        self.watch.streak, self.watch.seen = state["streak"], -(-self.step // self.accumulate)
        self.optimizer.zero_grad(set_to_none=True)
        if self.tally is not None:
            self.tally.sums = state["tally"].to(self.device) * distributed.is_first()

    def lower_rate(self, factor: float) -> None:
        """Multiply the learning rate, now and in the rest of the schedule."""
        self.scheduler.base_lrs = [factor * rate for rate in self.scheduler.base_lrs]
        for group in self.optimizer.param_groups:
            group["lr"] *= factor

    def require_finite(self) -> None:
        """Raises NonFinite, in all processes, if a weight is infinite or NaN."""
        finite = torch.stack([parameter.isfinite().all() for parameter in self.network.parameters()])
        if distributed.all_max((~finite.all()).int()):
            raise NonFinite("weights have become infinite or NaN")

    def _join(self, tensor: Tensor) -> Tensor:
        """A split tensor -> the whole on the first process's CPU."""
        return joined(tensor.cpu(), self.num_classes, first_only=True)

    def _own(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Whole weights -> the part of this process."""
        return {name: own_part(tensor) if name in self.split else tensor for name, tensor in weights.items()}

    def _by_parameter(self, state: dict[str, Any], convert: Callable[[Tensor], Tensor]) -> dict[str, Any]:
        """An optimizer's state with what belongs to split parameters converted."""
        split = {id(parameter) for parameter in self.update.split}
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        states = dict(state["state"])
        for number, parameter in enumerate(parameters):
            if id(parameter) in split and number in states:
                states[number] = {k: convert(t) if t.ndim else t for k, t in states[number].items()}
        return state | {"state": states}

    def begin_epoch(self) -> None:
        """Forget what the last epoch came to."""
        self.step = self.watch.seen = 0
        self.sums.zero_()
        if self.tally is not None:
            self.tally.sums.zero_()

    def train_epoch(
        self, loader: DataLoader[Any], name: str, seed: tuple[int, int], pause: Callable[[], None]
    ) -> EpochFigures:
        """The rest of an epoch, from self.step on; seed: of the run, and the epoch.

        `pause` is called before every optimizer step, where it is safe to save or to stop.

        Raises:
            AudioError: a file could not be used.
            BatchTooLargeError: memory doesn't hold the batch.
            NonFinite: too many steps in a row were left out, or weights aren't finite any more.
        """
        self.network.train()
        if self.profile is not None:
            self.profile.begin()
        lr, utterances, wait_s, shown = self.optimizer.param_groups[0]["lr"], 0, 0.0, 0.0
        began = asked = time.perf_counter()
        progress = self._progress(loader, name)
        for batch in progress:
            wait_s += time.perf_counter() - asked
            if self.step % self.accumulate == 0:
                pause()
                self._begin_step()
            self._lap("data wait")
            batch = self._receive(batch)
            runtime.seed_everything(*seed, self.step)
            if not self._learned(batch):  # what it held is only free now
                raise BatchTooLargeError(self._advice(batch.crops))
            utterances += len(batch.masks)
            if self.profile is not None:
                self.profile.end_step(len(batch.masks))
            asked = time.perf_counter()
            if not progress.disable and asked - shown > DISPLAY_INTERVAL_S:
                shown, elapsed = asked, asked - began
                self._show(progress, utterances * distributed.place()[1] / elapsed, wait_s / elapsed)
        self.watch.look()
        self.require_finite()
        elapsed, (loss, accuracy, batches) = (
            time.perf_counter() - began,
            distributed.all_sum(self.sums).tolist(),
        )
        rate = utterances * distributed.place()[1] / elapsed
        batches = batches or math.nan
        return EpochFigures(loss / batches, accuracy / batches, lr, rate, wait_s / elapsed)

    def _progress(self, loader: DataLoader[Any], name: str) -> Any:
        hidden = None if distributed.is_first() else True  # None: where stderr is no terminal
        return tqdm(loader, name, len(loader), initial=self.step, unit="batch", disable=hidden, leave=False)

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

    def _begin_step(self) -> None:
        self.update.begin()
        self.watch.begin(self.device)

    def _learned(self, batch: TrainBatch) -> bool:
        """Learn from a batch -> whether memory held it."""
        try:
            self._learn(batch)
        except (RuntimeError, MemoryError) as error:
            if runtime.is_out_of_memory(error):
                return False
            raise
        return True

    def _learn(self, batch: TrainBatch) -> None:
        """Gradients of a batch; after the last batch of an optimizer step, the step."""
        first = self.step - self.step % self.accumulate
        size = min(self.accumulate, self.num_batches - first)
        is_last = self.step + 1 == first + size
        with nullcontext() if is_last else distributed.unshared(self.parallel):
            with self.precision.context():
                loss, accuracy = self.parallel(batch.crops, batch.labels, batch.masks)
            self._lap("loss")
            self.precision.backward(loss / size)
        is_finite = self.watch.note(loss, batch.utterances)
        self._lap("backward")
        self.step += 1
        if is_last:
            self._make_step()
        self._lap("optimizer")
        figures = torch.stack([loss.detach(), accuracy.mean(), torch.ones_like(loss)])
        self.sums += torch.where(is_finite, figures, 0.0)
        if self.tally is not None:
            self.tally.add(batch.labels, accuracy)

    def _make_step(self) -> None:
        made = self.update()
        self.scheduler.step()
        if self.average is not None:
            self.average.update()
        self.watch.end(made)

    def _advice(self, crops: Tensor) -> str:
        """What to do where a batch (S, M, T) is too large."""
        (speakers, utterances, samples), num_ranks = crops.shape, distributed.place()[1]
        told = "lower --batch_size"
        if not (self.syncs and num_ranks > 1):  # other processes don't take part in trying
            fits = largest_batch(self.network, self.precision, crops) * num_ranks
            told = (
                f"--batch_size {fits} should fit" if fits else "not even one speaker fits: lower --max_frames"
            )
        return (
            f"out of memory on {self.device} with {speakers} x {utterances} utterances of "
            f"{samples / SAMPLE_RATE:.1f} s; {told} (--accumulate adds up the gradients of several batches)"
        )

    def _show(self, progress: Any, rate: float, data_wait: float) -> None:
        loss, accuracy, batches = self.sums.tolist()
        progress.set_postfix_str(
            f"loss {loss / max(batches, 1):.4f}, accuracy {100 * accuracy / max(batches, 1):.1f} %, "
            f"{rate:.0f} utterances/s, data wait {100 * data_wait:.0f} %"
        )
