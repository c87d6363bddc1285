"""A training run: its parts, its epochs and tests, and the state that it goes on from."""

import argparse
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch

import distributed
import options
import runtime
from DatasetLoader import TrainData
from distributed import signals
from evaluation.trial_test import TrialTest
from options.flags import TEST_OPTIONS
from SpeakerNet import ModelTrainer, SpeakerNet
from storage import checkpoint
from storage.checkpoint import ModelFile
from storage.run_folder import Remark, RunFolder
from training.averaging import average, estimate_figures
from training.nonfinite import NonFinite
from training.profile import Profile
from training.speaker_accuracy import SpeakerTally
from training.sync_batchnorm import synchronize

LONG_WAIT = 0.2  # share of an epoch that is spent waiting for data, from which on something should change
RATE_AFTER_ROLL_BACK, MOST_ROLL_BACKS = 0.5, 3


class Progress(NamedTuple):
    """How far a run has come; part of its state."""

    epoch: int = 0
    tested: bool = False  # whether the network of that epoch has been
    best_eer: float = float("inf")
    tests_since_best: int = 0
    roll_backs: int = 0  # because of gradients that weren't finite


class Run:
    """One training run: its parts, and what happens between the epochs."""

    def __init__(
        self,
        args: argparse.Namespace,
        device: torch.device,
        model_file: ModelFile | None,
        folder: RunFolder,
    ) -> None:
        """Reads and checks lists and options, builds the network, writes nothing."""
        self.args, self.device, self.folder = args, device, folder
        self.data = TrainData(args, self.device)
        self.speakers, self.sampler = self.data.utterances.speakers, self.data.sampler
        self.digest = self.data.utterances.digest()  # takes a second for a million lines, so once
        self.test = TrialTest(args, folder, self.device) if args.test_list else None
        if args.early_stopping and not (self.test and self.test.has_labels):
            raise ValueError("--early_stopping needs a --test_list with labels")
        runtime.seed_everything(args.seed)
        self.network = SpeakerNet.build(args, self.data.num_classes)
        if self.sampler.learns and not getattr(self.network.loss, "per_speaker", False):
            raise ValueError(f"--sampler {args.sampler}: {args.trainfunc} tells no accuracy of each speaker")
        if model_file is not None:
            self._start_from(model_file)
        self._prepare_network()
        tally = SpeakerTally(args.nClasses, self.device) if self.sampler.learns else None
        profile = Profile(self.device, folder.say, self.data.advice()) if args.profile else None
        self.trainer = ModelTrainer(
            *(self.network, args, self.device, len(self.sampler), self.data.num_classes),
            *(self._remark, self._report_nonfinite, tally, profile),
        )
        if args.compile:
            self.network.compile_for_training()
        self.progress, self.warned = Progress(), False
        self.agree, self.saved = distributed.Agreement(), time.monotonic()
        self.saving_s, self.resumed = 0.0, False  # the first in this epoch
        self.remarks = list[Remark]()  # of a process that doesn't speak, until the epoch's end

    def _prepare_network(self) -> None:
        """What the options ask for beyond the network itself, once its weights are there."""
        args, network = self.args, self.network
        if args.sync_bn:
            synchronize(network, self.device)
        if args.shard_head:
            head: Any = network.loss
            if not hasattr(head, "shard"):
                raise ValueError(f"--shard_head: {args.trainfunc} has no classes to split")
            head.shard()
        network.to(self.device)

    def describe(self) -> None:
        """Say what will be trained on what."""
        size, args = sum(p.numel() for p in self.network.model.parameters()), self.args
        self.folder.say(
            f"{args.model}: {size:,} parameters, on {runtime.describe(self.device)}, {args.precision}"
        )
        for line in self.data.describe():
            self.folder.say(line)
        num_ranks, steps = distributed.place()[1], self.trainer.steps_per_epoch
        if num_ranks * args.accumulate > 1:
            batch = self.sampler.batch_size
            each = f"{num_ranks} processes x {batch // num_ranks}" if num_ranks > 1 else f"{batch}"
            batches = min(args.accumulate, len(self.sampler))
            self.folder.say(
                f"optimizer steps an epoch: {steps}, of {batches} x {each} x {args.nPerSpeaker} = "
                f"{batches * batch * args.nPerSpeaker} utterances; --lr and decay are those of a step"
            )

    def _start_from(self, model_file: ModelFile) -> None:
        """Weights of --initial_model; a loss made for other speakers or of another kind starts anew."""
        args, weights = self.args, model_file.weights
        trunk, stored = checkpoint.split_loss(weights)
        own = checkpoint.split_loss(self.network.state_dict())[1]
        fits = {k: t.shape for k, t in own.items()} == {k: t.shape for k, t in stored.items()}
        same_kind = model_file.options.get("trainfunc") in (None, args.trainfunc)  # older files don't tell
        same_speakers = not model_file.speakers or model_file.speakers == self.speakers
        if not (fits and same_kind and same_speakers):
            self.folder.say(
                "note: the loss starts anew: --initial_model has none, one of another kind or size, or of "
                "other speakers"
            )
            weights = trunk | own
        misfits = checkpoint.load_weights(self.network, weights, args.initial_model, args.allow_partial)
        if misfits:
            self.folder.say(
                f"note: --allow_partial: these stay as they were drawn or are left out: {misfits}"
            )

    def resume(self) -> None:
        """Continue the run that the folder holds, if it holds one; only bookkeeping may differ."""
        state, why = checkpoint.load_last_state(self.folder.state)
        if state and state["progress"] == Progress()._asdict() and not state["trainer"]["step"]:
            state = None  # what was saved before the first step binds nobody
        place = (*state["progress"].values(), state["trainer"]["step"]) if state else None
        if len({*distributed.gather_everywhere(place)}) > 1:
            raise ValueError(f"processes found different states: {self.folder.state} must be one for all")
        if state is None:
            return
        self.resumed = True
        if why:
            self.folder.say(f"note: {why}")
        self._check(state)
        self._take_up(state)
        if state["test"] != self._test_settings():
            self.folder.say(
                "note: the test is another one than before; the search for the best model starts anew"
            )
            self.progress = self.progress._replace(best_eer=float("inf"), tests_since_best=0)
        if state["max_epoch"] != self.args.max_epoch and self.args.scheduler != "steplr":
            self.folder.say(
                f"note: --max_epoch was {state['max_epoch']}; the rest of the schedule is that of a run of "
                f"{self.args.max_epoch} epochs"
            )
        step, epoch = self.trainer.step, self.progress.epoch
        batches = f"in epoch {epoch + 1} after {step} of {len(self.sampler)} batches"
        self.folder.say(f"resumed {batches if step else f'after epoch {epoch}'} from {self.folder.state}")
        if epoch >= self.args.max_epoch and self.progress.tested:
            self.folder.say(f"it has had its {self.args.max_epoch} epochs; a larger --max_epoch goes on")

    def _take_up(self, state: dict[str, Any]) -> None:
        self.trainer.load_state_dict(state["trainer"])
        self.sampler.load_state_dict(state["sampler"])
        self.progress = Progress(**state["progress"])

    def _check(self, state: dict[str, Any]) -> None:
        """Raises ValueError unless a state belongs to this run; only bookkeeping may differ."""
        if state["utterances"] != self.digest:
            raise ValueError(f"{self.folder.state} belongs to another train list; give another --save_path")
        for name, value in state["fixed"].items():
            if getattr(self.args, name, None) != value:
                raise ValueError(
                    f"{self.folder.state} belongs to a run with --{name} {value}, not "
                    f"{getattr(self.args, name, None)}; give another --save_path, or the old value to go on"
                )
        augmenter = self.data.augmenter
        if augmenter is not None and augmenter.material.digest() != state["material"]:
            raise ValueError(
                f"{self.folder.state} belongs to a run with other noises or rooms than those of --musan_path "
                "and --rir_path now; give another --save_path, or the old ones to go on"
            )

    def fit(self, stop: signals.StopSignal) -> None:
        """Test and train in turn until --max_epoch is trained and tested, or nothing gets better."""
        if not self.resumed:
            self._advance(self.progress)  # something to go back to
        while True:
            if self._test_is_due():
                self._test_and_save(stop)
            if self.progress.epoch >= self.args.max_epoch:
                break
            if self.args.early_stopping and self.progress.tests_since_best >= self.args.es_patience:
                self.folder.say(
                    f"early stopping: {self.progress.tests_since_best} tests without a better EER than "
                    f"{100 * self.progress.best_eer:.4f} %; the best model is {self.folder.best}"
                )
                break
            try:
                self._train_epoch(stop)
            except NonFinite as error:
                self._roll_back(error)
        if self.args.average_last and not distributed.broadcast(self.folder.average.exists()):
            self._average_models(stop)

    def _roll_back(self, why: NonFinite) -> None:
        """Take up the last state again at a lower rate.

        Raises:
            ValueError: that was done too often.
        """
        number = self.progress.roll_backs + 1
        if number > MOST_ROLL_BACKS:
            raise ValueError(f"{why}, after {number - 1} returns to earlier states too; try a lower --lr")
        state, _ = checkpoint.load_last_state(self.folder.state)
        assert state is not None  # fit has saved one
        self._take_up(state)
        self.trainer.lower_rate(RATE_AFTER_ROLL_BACK)
        self.trainer.watch.streak = 0
        self._advance(self.progress._replace(roll_backs=number))
        lr = self.trainer.optimizer.param_groups[0]["lr"]
        self.folder.log(
            f"{why}: back to epoch {self.progress.epoch + 1}, batch {self.trainer.step}, LR {lr:f}"
        )

    def _remark(self, remarks: Iterable[Remark]) -> None:
        if distributed.is_first():
            self.folder.remark(remarks)
        else:
            self.remarks.extend(remarks)

    def _report_nonfinite(self, step: int, utterances: list[int]) -> None:
        """Name the utterances of a step that was left out."""
        paths = [
            self.data.utterances.paths[number] for own in distributed.gather(utterances) for number in own
        ]
        epoch = self.progress.epoch + 1
        self.folder.record(event="nonfinite", epoch=epoch, step=step, utterances=paths)
        if distributed.is_first() and not self.trainer.watch.streak > 1:  # of several in a row the first
            more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
            self.folder.log(
                f"warning: epoch {epoch}, step {step} left out: infinite or NaN gradients with "
                f"{', '.join(paths[:3])}{more} (all are in results.jsonl)"
            )

    def _test_is_due(self) -> bool:
        epoch, args = self.progress.epoch, self.args
        if epoch == 0:
            return args.test_at_start and not self.progress.tested
        return not self.progress.tested and (epoch % args.test_interval == 0 or epoch >= args.max_epoch)

    def _train_epoch(self, stop: signals.StopSignal) -> None:
        epoch, trainer = self.progress.epoch + 1, self.trainer
        self.sampler.set_epoch(epoch, trainer.step)
        self.network.set_epoch(epoch)
        figures = trainer.train_epoch(
            self.data.loader, f"Epoch {epoch}", (self.args.seed, epoch), lambda: self._pause(stop)
        )
        for remarks in distributed.gather(self.remarks)[1:]:
            self.folder.remark(remarks)
        self.remarks = []
        if trainer.tally is not None:
            self.sampler.learn(trainer.tally.accuracy()[: len(self.speakers)])
        trainer.begin_epoch()
        self.folder.log(
            f"Epoch {epoch}, TEER/TAcc {100 * figures.accuracy:2.2f}, TLOSS {figures.loss:f}, "
            f"LR {figures.lr:f}, {figures.utterances_per_s:.0f} utterances/s, "
            f"data wait {100 * figures.data_wait:.0f} %, saving {self.saving_s:.1f} s"
        )
        self.folder.record(event="train", epoch=epoch, **figures._asdict(), saving_s=round(self.saving_s, 3))
        self.saving_s = 0.0
        if figures.data_wait > LONG_WAIT and not self.warned:
            self.warned = True
            self.folder.say(
                f"warning: training waited for data for {100 * figures.data_wait:.0f} % of the time; "
                f"{self.data.advice()}"
            )
        self._advance(self.progress._replace(epoch=epoch, tested=False))

    def _pause(self, stop: signals.StopSignal) -> None:
        """Between two steps: stop or save, if one of the processes has to; all do it after the same step."""
        interval_s = 60.0 * self.args.save_interval
        is_due = 0.0 < interval_s < time.monotonic() - self.saved
        told = self.agree(2 * stop.asked() or int(is_due))
        if told:
            self._advance(self.progress)
        if told > 1:
            raise signals.Stopped(told // 2)

    def _test_and_save(self, stop: signals.StopSignal) -> None:
        epoch, metrics = self.progress.epoch, dict[str, float]()
        network = self.trainer.tested()
        if self.test is not None:
            with distributed.patience():
                found = self.test.run(network, network.normalize, stop, f"Epoch {epoch}", epoch)
                metrics = distributed.broadcast(found)
        best = min(self.progress.best_eer, metrics.get("eer", float("inf")))
        if epoch:
            model_file = self._model_file(network, metrics)
            self._save_model(self.folder.model(epoch), model_file)
            self.folder.forget_average()
            better = best < self.progress.best_eer
            if better:
                self._save_model(self.folder.best, model_file)
            waited = 0 if better else self.progress.tests_since_best + 1
            self._advance(self.progress._replace(tested=True, best_eer=best, tests_since_best=waited))
        else:
            self.progress = self.progress._replace(tested=True)

    def _model_file(self, network: SpeakerNet, metrics: dict[str, float]) -> ModelFile:
        """A network as it is kept; to be called by all processes."""
        weights = self.trainer.weights(network)
        weights = checkpoint.keep_classes(weights, self.data.num_classes, self.args.nClasses)
        return ModelFile(weights, vars(self.args), self.speakers, network.normalize, metrics)

    def _save_model(self, path: Path, model_file: ModelFile) -> None:
        if distributed.is_first():
            checkpoint.save_model(path, model_file)

    def _average_models(self, stop: signals.StopSignal) -> None:
        """average.model of the last models, its batch norm's figures those of the training data; tested."""
        paths = distributed.broadcast([str(path) for path in self.folder.last_models(self.args.average_last)])
        network, error = SpeakerNet.build(self.args), None
        self.sampler.set_epoch(self.args.max_epoch)
        try:
            weights = average(
                [checkpoint.split_loss(checkpoint.load_model(path).weights)[0] for path in paths]
            )
            checkpoint.load_weights(network, weights, "the average")
            network.to(self.device)
            estimate_figures(network, self.data.loader, self.device, stop.check)
        except (ValueError, OSError, signals.Stopped) as caught:
            error = caught
        distributed.raise_anyones(error)
        distributed.share_buffers(network)
        metrics = dict[str, float]()
        if self.test is not None:
            with distributed.patience():
                found = self.test.run(network, self.network.normalize, stop, f"Average of {len(paths)}", -1)
                metrics = distributed.broadcast(found)
        model_file = ModelFile(
            self.trainer.weights(network), vars(self.args), self.speakers, self.network.normalize, metrics
        )
        self._save_model(self.folder.average, model_file)
        fewer = f", all there are of {self.args.average_last}" if len(paths) < self.args.average_last else ""
        self.folder.say(f"{self.folder.average} is the average of {', '.join(paths)}{fewer}")

    def _test_settings(self) -> dict[str, Any]:
        """What EERs must have in common to be compared."""
        return {name: getattr(self.args, name) for name in ("test_path", *TEST_OPTIONS)}

    def _advance(self, progress: Progress) -> None:
        state = {
            "trainer": self.trainer.state_dict(),
            "sampler": self.sampler.state_dict(),
            "progress": progress._asdict(),
            "utterances": self.digest,
            "material": self.data.augmenter.material.digest() if self.data.augmenter else "",
            "test": self._test_settings(),
            "max_epoch": self.args.max_epoch,
            "fixed": options.fixed_options(self.args),
        }
        error, began = None, time.monotonic()
        if distributed.is_first():
            try:
                self.folder.require_held()
                checkpoint.save_state(self.folder.state, state)
            except OSError as caught:
                error = caught
        with distributed.patience():
            distributed.raise_anyones(error)  # and nobody ends before it is written
        self.agree.forget()
        self.progress, self.saved = progress, time.monotonic()
        self.saving_s += self.saved - began
