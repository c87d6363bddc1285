"""The network (features -> model -> loss) and its trainer."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import distributed
import options
import runtime
from audio.recording import SAMPLE_RATE
from DatasetLoader import TrainBatch
from features._steps import spec_augment
from loss._sharded import join_rows, local_rows, sharded_parameters
from models._padded import embed_unequal, fewest_frames
from options import Options
from storage import checkpoint
from storage.checkpoint import ModelFile
from training.ema import MovingAverage
from training.margin import MarginSchedule
from training.memory import memory_advice
from training.nonfinite import NonFiniteWatch
from training.pace import EpochFigures, Pace, progress_bar
from training.profile import Profile
from training.speaker_accuracy import SpeakerAccuracy
from training.state import Sharding, TrainingState
from training.trunk import Trunk
from training.update import Update


class SpeakerNet(nn.Module):
    """Waveforms at 16 kHz in [-1, 1] -> speaker embeddings, and in training -> loss and accuracy."""

    def __init__(
        self,
        features: nn.Module,
        model: nn.Module,
        loss: nn.Module | None = None,
        *,
        normalize: bool = True,
        input_scale: float = 1.0,
        widest_masks: tuple[int, int] = (0, 0),
        gather_utterances: bool = False,
    ) -> None:
        """Front end, encoder and loss; without a loss it can only embed.

        Args:
            features: waveforms (B, T) -> features (B, F, L).
            model: features (B, F, L) -> embeddings (B, D).
            loss: embeddings (S, M, D), labels (S,) -> loss, accuracy.
            normalize: whether scoring by distance length-normalises the embeddings.
            input_scale: factor on the waveforms.
            widest_masks: SpecAugment's widest mask of bands and of frames, in training.
            gather_utterances: whether the loss sees the utterances of all processes.
        """
        super().__init__()
        self.features = features
        self.model = model
        self.loss = loss
        self.normalize = normalize
        self.input_scale = input_scale
        self.widest_masks = widest_masks
        self.gather_utterances = gather_utterances
        self._compiled: tuple[Callable[[Tensor], Tensor], ...] = ()  # in a tuple it is not a submodule

    @classmethod
    def build(cls, values: Mapping[str, Any], num_speakers: int | None = None) -> "SpeakerNet":
        """Resolved options -> network; without num_speakers it has no loss and can only embed."""

        def pooling(channels: int, attention: str = "scalar") -> nn.Module:
            return options.build("pooling", values, channels, attention)

        features = options.build("features", values)
        model = options.build("models", values, features.num_features, values["nOut"], pooling)
        network = cls(features, model, input_scale=values["input_scale"])
        if num_speakers:
            loss = options.build("loss", values, values["nOut"], num_speakers)
            network.loss = loss
            network.normalize = bool(loss.normalize)
            network.widest_masks = (values["mask_bands"], values["mask_frames"])
            network.gather_utterances = bool(values["gather_negatives"] and loss.min_utterances > 1)
        # convolutions on a CPU gain 5 to 10 %
        return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @classmethod
    def from_model_file(
        cls, source: str | Path | ModelFile, values: Mapping[str, Any] | None = None
    ) -> "SpeakerNet":
        """Model file -> network without a loss, on the CPU.

        Args:
            source: path of the file, or its contents as load_model returns them.
            values: options for the network; by default those in the file, which files of other programs lack.

        Raises:
            FileNotFoundError, ValueError: the file is missing or damaged, or doesn't fit the options.
        """
        model_file = source if isinstance(source, ModelFile) else checkpoint.load_model(str(source))
        values = model_file.options if values is None else values
        if "model" not in values:
            raise ValueError(
                f"{model_file.path}: convert it first: python inferSpeakerNet.py convert "
                f"{model_file.path} NEW"
            )
        network = cls.build(values)
        checkpoint.load_weights(network, checkpoint.split_loss(model_file.weights)[0], model_file.path)
        network.normalize = model_file.normalize
        if model_file.origin and values.get("trainfunc"):
            network.normalize = bool(options.plugin("loss", values["trainfunc"]).normalize)
        return network

    def set_epoch(self, epoch: int) -> None:
        """Tell the loss which epoch begins, counted from 1, if it has a schedule."""
        loss: Any = self.loss
        if hasattr(loss, "set_epoch"):
            loss.set_epoch(epoch)

    def embed(self, waveforms: Tensor, masks: Tensor | None = None) -> Tensor:
        """(B, T), numbers in [0, 1) that masks are drawn with (B, 2, 2) -> (B, D)."""
        features = self.features(waveforms * self.input_scale)  # (B, F, L)
        if masks is not None and any(self.widest_masks):
            features = spec_augment(features, self.widest_masks, masks)
        model = self._compiled[0] if self._compiled and self.training else self.model
        return model(features)

    def compile_for_training(self) -> None:
        """Have the encoder compiled at the first batch, as all have one length; tests don't use it."""
        self._compiled = (torch.compile(self.model, dynamic=False),)

    @property
    def embeds_unequal(self) -> bool:
        """Whether embed_unequal puts utterances of unequal lengths into one batch: the model decides."""
        return fewest_frames(self.model) < math.inf

    def embed_unequal(self, waveforms: Sequence[Tensor]) -> Tensor:
        """Waveforms (T_i,) of any lengths -> (B, D), each as embed gives it alone; for evaluation mode."""
        assert not self.training
        # front ends treat the end of a recording differently, and take little of the time
        features = [self.features(waveform[None] * self.input_scale) for waveform in waveforms]  # (1, F, L_i)
        return embed_unequal(self.model, features)

    def forward(self, crops: Tensor, labels: Tensor, masks: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Crops (S, M, T), labels (S,), masks (S*M, 2, 2) -> mean loss (), accuracy (S,) or () in [0, 1]."""
        if self.loss is None:
            raise ValueError("a network without a loss can embed but not be trained")
        embeddings = self.embed(crops.flatten(0, 1), masks)  # (S*M, D)
        embeddings = embeddings.unflatten(0, crops.shape[:2])
        if not self.gather_utterances:
            return self.loss(embeddings, labels)
        all_embeddings = distributed.all_gather_rows(embeddings.float())
        loss, accuracy = self.loss(all_embeddings, distributed.all_gather_rows(labels))
        if accuracy.ndim:  # of the speakers of all processes
            accuracy = accuracy.unflatten(0, (distributed.world_size(), -1))[distributed.rank()]
        return loss, accuracy


class ModelTrainer:
    """Runs epochs over a network with its optimizer and schedule, and holds what a resume needs."""

    def __init__(
        self,
        network: SpeakerNet,
        values: Options,
        device: torch.device,
        *,
        num_batches: int,
        num_classes: int,
        report_nonfinite: Callable[[int, list[int], int], None],
        speaker_accuracy: SpeakerAccuracy | None = None,
        profile: Profile | None = None,
    ) -> None:
        """A network with a loss, resolved options, where it is trained.

        Args:
            network: its weights are those that training starts from.
            values: resolved options.
            device: where the network is.
            num_batches: of an epoch.
            num_classes: of the loss, over all processes.
            report_nonfinite: see NonFiniteWatch.
            speaker_accuracy: collects the accuracy of each speaker, for samplers that need it.
            profile: measures where the time goes.
        """
        assert network.loss is not None
        self.network = network
        self.device = device
        self.num_batches = num_batches
        self.accumulate = values.accumulate
        self.syncs_batchnorm = values.sync_bn and distributed.world_size() > 1
        self.precision = runtime.Precision(values.precision, device)
        self.steps_per_epoch = -(-num_batches // values.accumulate)
        self.margin = MarginSchedule(network.loss, values, num_batches)
        self.trunk = Trunk(network, values)
        self.optimizer = options.build("optimizer", values, self.trunk.parameter_groups(values.lr))
        self.scheduler = options.build(
            "scheduler", values, self.optimizer, self.steps_per_epoch, values.max_epoch
        )
        warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler")  # a step was left out
        watch = NonFiniteWatch(self.precision, values.nonfinite_patience, report_nonfinite)
        split = [f"loss.{name}" for name in sharded_parameters(network.loss)]
        self.state = TrainingState(
            network,
            self.optimizer,
            self.scheduler,
            precision=self.precision,
            watch=watch,
            sharding=Sharding(
                split, lambda part: join_rows(part.cpu(), num_classes, first_only=True), local_rows
            ),
            device=device,
            average=MovingAverage(network, values.ema_decay) if values.ema_decay else None,
            speaker_accuracy=speaker_accuracy,
        )
        split_tensors = [network.get_parameter(name) for name in split]
        self.update = Update(network, self.optimizer, self.precision, values.clip_norm, split_tensors)
        self.parallel = distributed.data_parallel(network, device, split)
        self.profile = profile
        if profile is not None:
            profile.watch(network)

    def tested(self) -> SpeakerNet:
        """The network to test and save, or its average if there is one; the same in every process."""
        average = self.state.average
        network: Any = self.network if average is None else average.module
        distributed.broadcast_buffers(network)
        return network

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what self.state.state_dict() returned."""
        self.state.load_state_dict(state, -(-state["step"] // self.accumulate))

    def train_epoch(
        self, loader: Any, name: str, seed: tuple[int, int], pause: Callable[[], None]
    ) -> EpochFigures:
        """The rest of an epoch, from self.state.step on; seed: of the run, and the epoch.

        `pause` is called before every optimizer step, where it is safe to save or to stop.

        Raises:
            AudioError: a recording can't be used.
            BatchTooLargeError: the batch doesn't fit into memory.
            NonFiniteError: too many steps in a row were left out, or weights aren't finite any more.
        """
        self.trunk.begin_training()
        self._begin_lap()
        lr = self.optimizer.param_groups[0]["lr"]  # of the loss head
        margin = self.margin.set(seed[1], self.state.step)
        pace = Pace()
        progress = progress_bar(loader, name, self.num_batches, self.state.step)
        for batch in progress:
            pace.stop_waiting()
            self._lap("data wait")
            if self.state.step % self.accumulate == 0:
                pause()
                self._begin_lap()
                self.margin.set(seed[1], self.state.step)
                self.update.begin()
                self.state.watch.begin_step(self.device)
            batch = self._receive(batch)
            runtime.seed_everything(*seed, self.state.step)
            if not self._fits_memory(batch):  # the memory of the failed attempt is only free now
                advice = memory_advice(
                    self.network,
                    self.precision,
                    batch.crops,
                    duration_s=batch.crops.shape[2] / SAMPLE_RATE,
                    tries_sizes=not self.syncs_batchnorm,  # else other processes would have to try too
                )
                raise runtime.BatchTooLargeError(advice)
            if self.profile is not None:
                self.profile.end_step(len(batch.masks))
            pace.start_waiting(len(batch.masks))
            pace.show(progress, self.state.sums)
        self.state.watch.check()
        self.state.require_finite()
        rate, data_wait = pace.figures()
        loss, accuracy, batches = distributed.all_reduce_sum(self.state.sums).tolist()
        batches = batches or math.nan
        return EpochFigures(loss / batches, accuracy / batches, lr, rate, data_wait, margin)

    def _receive(self, batch: TrainBatch | ValueError | OSError) -> TrainBatch:
        if isinstance(batch, ValueError | OSError):
            raise batch
        batch = batch.moved(self.device)
        self._lap("transfer")
        batch = batch.finished()
        self._lap("augmentation")
        return batch

    def _begin_lap(self) -> None:
        if self.profile is not None:
            self.profile.begin()

    def _lap(self, part: str) -> None:
        if self.profile is not None:
            self.profile.lap(part)

    def _fits_memory(self, batch: TrainBatch) -> bool:
        """Train on a batch -> False if it doesn't fit into memory."""
        try:
            self._train_on(batch)
        except (RuntimeError, MemoryError) as error:
            if runtime.is_out_of_memory(error):
                return False
            raise
        return True

    def _train_on(self, batch: TrainBatch) -> None:
        """Compute the gradients of a batch; after the last batch of an optimizer step, make the step."""
        first = self.state.step - self.state.step % self.accumulate
        num_accumulated = min(self.accumulate, self.num_batches - first)
        is_last = self.state.step + 1 == first + num_accumulated
        with nullcontext() if is_last else distributed.no_sync(self.parallel):
            with self.precision.context():
                loss, accuracy = self.parallel(batch.crops, batch.labels, batch.masks)
            self._lap("loss")
            self.precision.backward(loss / num_accumulated)
        is_finite = self.state.watch.add_batch(loss, batch.utterances)
        self._lap("backward")
        self.state.step += 1
        if is_last:
            is_made = self.update()
            self.scheduler.step()
            if self.state.average is not None:
                self.state.average.update()
            self.state.watch.end_step(is_made)
        self._lap("optimizer")
        self.state.add(loss, accuracy, batch.labels, is_finite)
