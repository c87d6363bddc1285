"""The network (features -> model -> loss), its trainer, and its evaluation on a trial list."""

import argparse
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader
from tqdm import tqdm

import options
import runtime
import tuneThreshold
from audio import AudioError, Recordings, Remark, num_samples
from augment import mask
from DatasetLoader import EvaluationDataset, EvaluationItem, TrainBatch, evaluation_loader
from flags import SCORING_OPTIONS
from report import Profile, RunFolder
from scoring import Trials, read_trials, score_trials, summarise, write_scores

FILES_PER_BATCH = 8  # of a trial list, each with --num_eval crops
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
        remark: Callable[[Iterable[Remark]], None],
        tally: SpeakerTally | None = None,
        profile: Profile | None = None,
    ) -> None:
        self.network, self.optimizer, self.scheduler = network, optimizer, scheduler
        self.device, self.remark, self.tally, self.profile = device, remark, tally, profile
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
            "step": self.step,
            "sums": self.sums,
            "tally": self.tally.sums if self.tally else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what state_dict returned."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
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
        self, loader: DataLoader[Any], name: str, seed: tuple[int, int], stop: runtime.StopSignal
    ) -> EpochFigures:
        """The rest of an epoch, from self.step on; seed: of the run, and the epoch.

        Raises:
            AudioError: a file could not be used.
            runtime.Stopped: a stop was asked for; the state is that after self.step steps.
            ValueError: the loss is not finite any more.
        """
        self.network.train()
        if self.profile is not None:
            self.profile.begin()
        lr, utterances, wait_s, shown = self.optimizer.param_groups[0]["lr"], 0, 0.0, 0.0
        began = asked = time.perf_counter()
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
        loss, accuracy = self.network(batch.crops, batch.labels, batch.masks)
        self._lap("loss")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._lap("backward")
        self.optimizer.step()
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


class Evaluator:
    """Scores one trial list with any number of networks."""

    def __init__(
        self,
        trials: Trials,
        loader: DataLoader[Any],
        method: str,
        device: torch.device,
        remark: Callable[[Iterable[Remark]], None],
        skip_bad: bool = False,
    ) -> None:
        self.trials, self.loader, self.method = trials, loader, method
        self.device, self.remark, self.skip_bad = device, remark, skip_bad

    def scores(
        self, network: SpeakerNet, normalize: bool, stop: runtime.StopSignal
    ) -> tuple[Trials, NDArray[np.float64]]:
        """Network -> the trials whose files could be used, and their scores (N,).

        Raises:
            AudioError: a file can't be used, unless skip_bad; or none can.
            runtime.Stopped: a stop was asked for.
        """
        vectors, missing = self.embed(network, normalize, stop)
        trials = self.trials.without(missing)
        return trials, score_trials(vectors, trials, self.method)

    @torch.inference_mode()
    def embed(
        self, network: SpeakerNet, normalize: bool, stop: runtime.StopSignal
    ) -> tuple[Tensor, set[int]]:
        """Every file -> its summary (U, 1 or K, D), zeros for the missing ones, and their numbers."""
        network.eval()
        vectors, missing = torch.empty(0), set[int]()
        total = len(self.trials.files)
        with tqdm(total=total, desc="embedding", unit="file", disable=None, leave=False) as progress:
            for items in self.loader:
                stop.check()
                missing.update(item.number for item in items if self._unusable(item))
                for group in _by_length(item for item in items if item.error is None):
                    crops = torch.cat([item.crops for item in group]).to(self.device)  # (n*K, T)
                    embeddings = network.embed(crops).float().unflatten(0, (len(group), -1))
                    summaries = summarise(embeddings, self.method, normalize).cpu()
                    if not len(vectors):
                        vectors = torch.zeros(total, *summaries.shape[1:])
                    vectors[[item.number for item in group]] = summaries
                progress.update(len(items))
        if len(missing) == total:
            raise AudioError(f"none of the {total} files of the trial list could be read")
        return vectors, missing

    def _unusable(self, item: EvaluationItem) -> bool:
        if item.error is not None and not self.skip_bad:
            raise item.error
        self.remark(item.remarks)
        return item.error is not None


def _by_length(items: Iterable[EvaluationItem]) -> list[list[EvaluationItem]]:
    """Files -> groups whose crops can go through the network together."""
    groups: dict[int, list[EvaluationItem]] = {}
    for item in items:
        groups.setdefault(item.crops.shape[1], []).append(item)
    return list(groups.values())


class TrialTest:
    """A trial list with its files checked, ready to be scored by any number of networks."""

    def __init__(self, args: argparse.Namespace, folder: RunFolder, device: torch.device) -> None:
        """Reads the list; raises ValueError or FileNotFoundError if it or one of its files is wrong."""
        self.args, self.folder = args, folder
        trials = read_trials(args.test_list, args.test_path)
        recordings = Recordings(args.test_path, trials.files)
        if not args.skip_bad_audio:
            recordings.require(range(len(recordings)), "--test_path")
        length = num_samples(args.eval_frames) if args.eval_frames else 0
        dataset = EvaluationDataset(recordings, length, args.num_eval)
        loader = evaluation_loader(dataset, FILES_PER_BATCH, args.nDataLoaderThread)
        self.has_labels = trials.labels is not None
        self.evaluator = Evaluator(trials, loader, args.scoring, device, folder.remark, args.skip_bad_audio)

    def run(
        self, network: SpeakerNet, normalize: bool, stop: runtime.StopSignal, name: str, **event: Any
    ) -> dict[str, float]:
        """Score, write the score file, log -> EER and minDCF as fractions; empty without labels."""
        args, folder = self.args, self.folder
        trials, scores = self.evaluator.scores(network, normalize, stop)
        left_out = len(self.evaluator.trials.enrol) - len(scores)
        figures = dict[str, float]()
        if trials.labels is not None:
            rates = tuneThreshold.error_rates(scores, trials.labels)
            priors = list(dict.fromkeys((args.dcf_p_target, 0.01)))
            figures = tuneThreshold.figures(rates, priors, args.dcf_c_miss, args.dcf_c_fa)
        path = folder.evaluation / f"{Path(args.test_list).stem}.scores.txt"
        write_scores(path, trials, scores)
        if left_out:
            folder.say(f"note: {left_out} trials left out with the skipped files")
        if figures:
            folder.log_test(name, figures, args.dcf_p_target)
        folder.say(f"{len(scores)} scores in {path}" + ("" if figures else "; no error rates without labels"))
        settings = {key: getattr(args, key) for key in ("test_list", *SCORING_OPTIONS)}
        counts = {"trials": len(scores), "trials_left_out": left_out}
        folder.record(**event, **settings, **counts, **figures)
        return figures
