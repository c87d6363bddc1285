"""A training run from its first epoch to its last: epochs, tests, saved models and states."""

import time
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

import distributed
import runtime
from DatasetLoader import TrainData
from distributed.signals import Stopped, StopSignal
from evaluation.imprinting import imprint, imprinted_heads, load_teacher
from evaluation.run_models import RunModels
from evaluation.run_tests import RunTests
from inference.model_source import model_path
from loss._sharded import shard_head
from options import Options, fixed_defaults, fixed_options
from SpeakerNet import ModelTrainer, SpeakerNet
from storage.checkpoint import ModelFile
from storage.initial_weights import load_initial_weights
from storage.run_folder import RunFolder
from storage.run_log import RunLog
from storage.run_record import earlier_option
from storage.run_state import Progress, RunIdentity, States
from storage.ssl_weights import load_ssl_weights
from training.nonfinite import NonFiniteError
from training.profile import Profile
from training.speaker_accuracy import SpeakerAccuracy
from training.sync_batchnorm import convert_sync_batchnorm

LONG_WAIT = 0.2  # fraction of an epoch spent waiting for data, from which on advice is given
RATE_AFTER_ROLL_BACK = 0.5
MAX_ROLL_BACKS = 3


@dataclass
class Run:
    """A training run: what happens between the epochs."""

    options: Options  # with the number of speakers in nClasses, as they are saved
    folder: RunFolder
    log: RunLog
    data: TrainData
    tests: RunTests
    models: RunModels
    trainer: ModelTrainer
    states: States
    progress: Progress = field(default_factory=Progress)
    has_advised: bool = False  # on waiting for data
    request: Any = field(default_factory=distributed.DelayedMaximum)  # agreed on between steps

    def resume(self) -> None:
        """Continue from the last state if there is one; see States.resume."""
        self.progress = self.states.resume() or self.progress
        if self.progress.epoch >= self.options.max_epoch and self.progress.tested:
            self.log.say(f"all {self.progress.epoch} epochs are done; a larger --max_epoch continues the run")

    def fit(self, stop: StopSignal) -> None:
        """Test and train in turn until --max_epoch is trained and tested, or the EER doesn't improve."""
        if self.progress == Progress() and not self.trainer.state.step:
            network, device = self.trainer.network, self.trainer.device
            teacher = self.options.teacher
            source = load_teacher(model_path(teacher), self.options, device) if teacher else network
            imprint(network.loss, source, self.options, device, stop)
            self._save(self.progress)  # something to go back to
        while True:
            if self._test_is_due():
                self._test_and_save(stop)
            if self.progress.epoch >= self.options.max_epoch or self._stops_early():
                break
            try:
                self._train_epoch(stop)
            except NonFiniteError as error:
                self._roll_back(error)
        self.trainer.state.watch.require_updates(self.trainer.steps_per_epoch)
        if self.tests.final is not None and not self.progress.final_tested:
            self._test_at_end(stop)
        if self.options.average_last and not distributed.broadcast(self.folder.average.exists()):
            self.models.save_average(self.tests, stop)

    def _stops_early(self) -> bool:
        waited = self.progress.tests_since_best
        if not self.options.early_stopping or waited < self.options.es_patience:
            return False
        self.log.say(
            f"early stopping: {waited} tests without a better EER than {100 * self.progress.best_eer:.4f} %; "
            f"the best model is {self.folder.best}"
        )
        return True

    def _roll_back(self, reason: NonFiniteError) -> None:
        """Return to the last state with a lower learning rate.

        Raises:
            ValueError: that was done too often.
        """
        number = self.progress.roll_backs + 1
        if number > MAX_ROLL_BACKS:
            raise ValueError(f"{reason}, after {number - 1} returns to earlier states too; try a lower --lr")
        progress = self.states.restore_last()
        self.trainer.state.lower_rate(RATE_AFTER_ROLL_BACK)
        self.trainer.state.watch.streak = 0
        self._save(progress._replace(roll_backs=number))
        self.log.log(
            f"{reason}: back to epoch {self.progress.epoch + 1}, batch {self.trainer.state.step}, "
            f"LR {self.trainer.optimizer.param_groups[0]['lr']:f}"
        )

    def _test_is_due(self) -> bool:
        epoch = self.progress.epoch
        if self.progress.tested:
            return False
        if epoch == 0:
            return bool(self.options.test_at_start)
        return epoch >= self.options.max_epoch or epoch % self.options.test_interval == 0

    def _train_epoch(self, stop: StopSignal) -> None:
        epoch = self.progress.epoch + 1
        self.data.sampler.set_epoch(epoch, self.trainer.state.step)
        self.trainer.network.set_epoch(epoch)
        figures = self.trainer.train_epoch(
            self.data.loader, f"Epoch {epoch}", (self.options.seed, epoch), lambda: self._pause(stop)
        )
        self.log.remarks.gather()
        accuracies = self.trainer.state.speaker_accuracy
        if accuracies is not None:
            self.data.sampler.set_accuracy(accuracies.means()[: len(self.data.utterances.speakers)])
        self.trainer.state.begin_epoch()
        saving_s = self.states.take_saving_s()
        self.log.log(
            f"Epoch {epoch}, TEER/TAcc {100 * figures.accuracy:2.2f}, TLOSS {figures.loss:f}, "
            f"LR {figures.lr:f}, {figures.shown_margin}{figures.utterances_per_s:.0f} utterances/s, "
            f"data wait {100 * figures.data_wait:.0f} %, saving {saving_s:.1f} s"
        )
        self.log.record(event="train", epoch=epoch, **figures.known(), saving_s=round(saving_s, 3))
        if figures.data_wait > LONG_WAIT and not self.has_advised:
            self.has_advised = True
            self.log.say(
                f"warning: training waited for data for {100 * figures.data_wait:.0f} % of the time; "
                f"{self.data.workers.waiting_advice()}"
            )
        self._save(self.progress._replace(epoch=epoch, tested=False, final_tested=False))

    def _pause(self, stop: StopSignal) -> None:
        """Between two steps: stop or save if one of the processes has to; all do it after the same step."""
        interval_s = 60.0 * self.options.save_interval
        save_is_due = 0.0 < interval_s < time.monotonic() - self.states.last_s
        # the largest request counts: 0 none, 1 to save, twice the number of a signal to stop by it
        request = self.request(2 * stop.requested() or int(save_is_due))
        if request:
            self._save(self.progress)
        if request > 1:
            raise Stopped(request // 2)

    def _test_and_save(self, stop: StopSignal) -> None:
        epoch = self.progress.epoch
        network = self.trainer.tested()
        metrics = self.tests.score(network, stop, name=f"Epoch {epoch}", epoch=epoch)
        eer = metrics.get("eer", float("inf"))
        if epoch == 0:
            self.progress = self.progress._replace(tested=True, start_eer=eer)
            return
        is_best = eer < self.progress.best_eer
        self.models.save(network, metrics, epoch, is_best=is_best)
        progress = self.progress._replace(tested=True, tests_since_best=self.progress.tests_since_best + 1)
        if is_best:
            progress = progress._replace(best_eer=eer, best_epoch=epoch, tests_since_best=0)
        self.trainer.state.after_test(progress.tests_since_best)
        self._save(progress)

    def _test_at_end(self, stop: StopSignal) -> None:
        """Score the trial lists that are looked at once."""
        epoch = self.progress.best_epoch or self.progress.epoch
        network = self.tests.score_at_end(self.trainer.device, stop, epoch)
        if self.progress.best_epoch:
            self.models.write_card(self.folder.best, network, epoch)
        self._save(self.progress._replace(final_tested=True))

    def _save(self, progress: Progress) -> None:
        """Save the state; requests to save or stop made before are dropped."""
        self.states.save(progress)
        self.request.discard()
        self.progress = progress


def build_run(options: Options, initial: ModelFile | None, folder: RunFolder, log: RunLog) -> Run:
    """Resolved options -> a run; reads and checks lists and options, builds the network, writes nothing.

    Args:
        options: resolved options.
        initial: the model file to start from.
        folder: where models and states are written.
        log: what the run reports to.

    Raises:
        ValueError, FileNotFoundError: an option, a list or a recording can't be used.
    """
    device = runtime.choose_device(options.device, options.gpu_id)
    distributed.join(device, options.rank_timeout)
    if options.precision == "auto":  # a resumed run keeps its precision, whatever machine it is on
        precision = earlier_option(folder, "precision") or runtime.best_precision(device)
        options = options.replaced(precision=distributed.broadcast(precision))
    data = TrainData.read(options, device)
    tests = RunTests.build(options, data.validation, device, folder=folder, log=log)
    batches, earlier = options.max_epoch * len(data.sampler), earlier_option(folder, "compile")
    compiled = distributed.broadcast(runtime.compiles(options.compile, batches, earlier))
    if options.compile == "auto":
        log.say(f"--compile auto: {compiled}, for {batches:,} batches")
    options = options.replaced(nClasses=data.num_speakers, compile=compiled)
    if options.teacher and earlier_option(folder, "teacher") not in (None, options.teacher):
        log.say("note: --teacher has no effect on a resumed run, which has its targets")
    network = _build_network(options, data, initial, device, log)
    trainer = ModelTrainer(
        network,
        options,
        device,
        num_batches=len(data.sampler),
        num_classes=data.num_classes,
        report_nonfinite=partial(report_nonfinite, log, data),
        speaker_accuracy=SpeakerAccuracy(data.num_speakers, device) if data.sampler.needs_accuracy else None,
        profile=Profile(device, log.say, data.workers.waiting_advice()) if options.profile else None,
    )
    if hasattr(trainer.scheduler, "after_test"):
        tests.require_labels(f"--scheduler {options.scheduler}")
    if options.compile:
        network.compile_for_training()
    identity = RunIdentity(
        utterances=data.utterances.digest(),  # takes a second for a million lines, so once
        material=data.material_digest(),
        fixed=fixed_options(options),
        added=fixed_defaults(options),
        test=tests.comparable,
        max_epoch=options.max_epoch,
    )
    models = RunModels(options, folder, log, data, trainer)
    states = States(folder, identity, log=log, trainer=trainer, sampler=data.sampler)
    return Run(options, folder, log, data, tests, models, trainer, states)


def report_nonfinite(log: RunLog, data: TrainData, step: int, utterances: list[int], streak: int) -> None:
    """Name the utterances of a skipped step, the `streak`th in a row; to be called by all processes."""
    numbers = [number for part in distributed.gather(utterances) for number in part]
    paths = [data.utterances.paths[number] for number in numbers]
    log.log_nonfinite(data.sampler.epoch, step, paths, is_first=streak <= 1)


def _build_network(
    options: Options, data: TrainData, initial: ModelFile | None, device: torch.device, log: RunLog
) -> SpeakerNet:
    """The network with the weights that training starts from."""
    runtime.seed_everything(options.seed)
    network = SpeakerNet.build(options, data.num_classes)
    assert network.loss is not None
    if data.sampler.needs_accuracy and not getattr(network.loss, "per_speaker", False):
        raise ValueError(
            f"--sampler {options.sampler}: {options.trainfunc} gives no accuracy of each speaker"
        )
    imprinted_heads(network.loss, options)  # raises an error if the loss has none
    if options.ssl_weights:
        load_ssl_weights(network.features, options.ssl_weights)
    if initial is not None:
        for note in load_initial_weights(
            network,
            initial,
            trainfunc=options.trainfunc,
            speakers=data.utterances.speakers,
            allow_partial=options.allow_partial,
        ):
            log.say(note)
    if options.sync_bn:
        convert_sync_batchnorm(network, device)
    if options.shard_head:
        shard_head(network.loss, options.trainfunc, network.gather_utterances)
    return network.to(device)


def describe(run: Run) -> None:
    """Log what will be trained on what."""
    options = run.options
    size = sum(p.numel() for p in run.trainer.network.model.parameters())
    device = runtime.describe(run.trainer.device)
    run.log.say(f"{options.model}: {size:,} parameters, on {device}, {options.precision}")
    for line in (*run.data.describe(), *run.tests.describe()):
        run.log.say(line)
