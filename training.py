"""A training run: its parts, its epochs and tests, and the state that it goes on from."""

import argparse
from typing import Any, NamedTuple

import checkpoint
import options
import processes
import runtime
from checkpoint import ModelFile
from DatasetLoader import TrainData
from evaluation import TrialTest
from flags import TEST_OPTIONS
from report import Profile, RunFolder
from SpeakerNet import ModelTrainer, SpeakerNet, SpeakerTally

LONG_WAIT = 0.2  # share of an epoch that is spent waiting for data, from which on something should change


class Progress(NamedTuple):
    """How far a run has come; part of its state."""

    epoch: int = 0
    tested: bool = False  # whether the network of that epoch has been
    best_eer: float = float("inf")
    tests_since_best: int = 0


class Run:
    """One training run: its parts, and what happens between the epochs."""

    def __init__(self, args: argparse.Namespace, model_file: ModelFile | None, folder: RunFolder) -> None:
        """Reads and checks lists and options, builds the network, writes nothing."""
        self.args, self.folder = args, folder
        self.device = runtime.choose_device(args.device, args.gpu_id)
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
        optimizer = options.build("optimizer", args, self.network.to(self.device).parameters())
        scheduler = options.build("scheduler", args, optimizer, len(self.sampler), args.max_epoch)
        tally = SpeakerTally(args.nClasses, self.device) if self.sampler.learns else None
        profile = Profile(self.device, folder.say, self.data.advice()) if args.profile else None
        self.trainer = ModelTrainer(
            *(self.network, optimizer, scheduler, self.device),
            *(runtime.Precision(args.precision, self.device), folder.remark, tally, profile),
        )
        self.progress, self.warned = Progress(), False

    def describe(self) -> None:
        """Say what will be trained on what."""
        size = sum(p.numel() for p in self.network.model.parameters())
        self.folder.say(f"{self.args.model}: {size:,} parameters, on {runtime.describe(self.device)}")
        for line in self.data.describe():
            self.folder.say(line)

    def _start_from(self, model_file: ModelFile) -> None:
        """Weights of --initial_model; a loss made for other speakers or of another kind starts anew."""
        args, weights = self.args, model_file.weights
        trunk, stored = checkpoint.split_loss(weights)
        own = checkpoint.split_loss(self.network.state_dict())[1]
        fits = {k: t.shape for k, t in own.items()} == {k: t.shape for k, t in stored.items()}
        same_kind = model_file.options.get("trainfunc") in (None, args.trainfunc)  # older files don't tell
        same_speakers = not model_file.speakers or model_file.speakers == self.speakers
        if not (fits and same_kind and same_speakers):
            self.folder.say("note: the loss starts anew: --initial_model has none, another or other speakers")
            weights = trunk | own
        misfits = checkpoint.load_weights(self.network, weights, args.initial_model, args.allow_partial)
        if misfits:
            self.folder.say(
                f"note: --allow_partial: these stay as they were drawn or are left out: {misfits}"
            )

    def resume(self) -> None:
        """Continue the run that the folder holds, if it holds one; only bookkeeping may differ."""
        state, why = checkpoint.load_last_state(self.folder.state)
        if state is None:
            return
        if why:
            self.folder.say(f"note: {why}")
        if not state.keys() >= {
            "trainer",
            "sampler",
            "progress",
            "utterances",
            "material",
            "fixed",
            "test",
            "max_epoch",
        }:
            raise ValueError(f"{self.folder.state} was written by another version; give another --save_path")
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
        self.trainer.load_state_dict(state["trainer"])
        self.sampler.load_state_dict(state["sampler"])
        self.progress = Progress(**state["progress"])
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
        place = (
            f"in epoch {epoch + 1} after {step} of {len(self.sampler)} batches"
            if step
            else f"after epoch {epoch}"
        )
        self.folder.say(f"resumed {place} from {self.folder.state}")

    def fit(self, stop: processes.StopSignal) -> None:
        """Test and train in turn until --max_epoch is trained and tested, or nothing gets better."""
        while True:
            if self._test_is_due():
                self._test_and_save(stop)
            if self.progress.epoch >= self.args.max_epoch:
                return
            if self.args.early_stopping and self.progress.tests_since_best >= self.args.es_patience:
                self.folder.say(
                    f"early stopping: {self.progress.tests_since_best} tests without a better EER than "
                    f"{100 * self.progress.best_eer:.4f} %; the best model is {self.folder.best}"
                )
                return
            self._train_epoch(stop)

    def _test_is_due(self) -> bool:
        epoch, args = self.progress.epoch, self.args
        if epoch == 0:
            return args.test_at_start and not self.progress.tested
        return not self.progress.tested and (epoch % args.test_interval == 0 or epoch >= args.max_epoch)

    def _train_epoch(self, stop: processes.StopSignal) -> None:
        epoch, trainer = self.progress.epoch + 1, self.trainer
        self.sampler.set_epoch(epoch, trainer.step)
        self.network.set_epoch(epoch)
        every_s = 60.0 * self.args.save_interval
        try:
            figures = trainer.train_epoch(
                *(self.data.loader, f"Epoch {epoch}", (self.args.seed, epoch), stop),
                *(lambda: self._advance(self.progress), every_s),
            )
        except processes.Stopped:
            self._advance(self.progress)
            raise
        if trainer.tally is not None:
            self.sampler.learn(trainer.tally.accuracy()[: len(self.speakers)])
        trainer.begin_epoch()
        self.folder.log(
            f"Epoch {epoch}, TEER/TAcc {100 * figures.accuracy:2.2f}, TLOSS {figures.loss:f}, "
            f"LR {figures.lr:f}, {figures.utterances_per_s:.0f} utterances/s, "
            f"data wait {100 * figures.data_wait:.0f} %"
        )
        self.folder.record(event="train", epoch=epoch, **figures._asdict())
        if figures.data_wait > LONG_WAIT and not self.warned:
            self.warned = True
            self.folder.say(
                f"warning: training waited for data for {100 * figures.data_wait:.0f} % of the time; "
                f"{self.data.advice()}"
            )
        self._advance(self.progress._replace(epoch=epoch, tested=False))

    def _test_and_save(self, stop: processes.StopSignal) -> None:
        epoch, metrics = self.progress.epoch, dict[str, float]()
        if self.test is not None:
            metrics = self.test.run(self.network, self.network.normalize, stop, f"Epoch {epoch}", epoch)
        best = min(self.progress.best_eer, metrics.get("eer", float("inf")))
        if epoch:
            weights = {name: tensor.cpu() for name, tensor in self.network.state_dict().items()}
            weights = checkpoint.keep_classes(weights, self.data.num_classes, self.args.nClasses)
            model_file = ModelFile(weights, vars(self.args), self.speakers, self.network.normalize, metrics)
            checkpoint.save_model(self.folder.model(epoch), model_file)
            better = best < self.progress.best_eer
            if better:
                checkpoint.save_model(self.folder.best, model_file)
            self._advance(Progress(epoch, True, best, 0 if better else self.progress.tests_since_best + 1))
        else:
            self.progress = Progress(0, True)

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
        checkpoint.save_state(self.folder.state, state)
        self.progress = progress
