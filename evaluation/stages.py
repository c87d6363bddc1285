"""Stages of a run: trainings, each from the best model so far, and evaluations of it, one after the other."""

import gc
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import distributed
import runtime
from audio.held_out import set_aside
from audio.lists import read_train_list
from distributed.signals import StopSignal
from evaluation.kept_model import BEFORE, candidates, choose
from evaluation.run_models import RunModels
from evaluation.run_tests import RunTests
from evaluation.trial_test import TrialTest
from options import Options
from storage import checkpoint
from storage.checkpoint import ModelFile
from storage.run_folder import RunFolder
from storage.run_log import RunLog
from storage.run_state import Progress
from storage.stage_record import DoneStage, StageRecord

SETTING_ASIDE = ("validation_speakers", "seed", "train_list", "exclude")  # what decides who is set aside


class Command(NamedTuple):
    """What a command line asks for: complete options, the file of --initial_model, and warnings.

    Of a stage that takes the best model so far there is no file.
    """

    options: Options
    model_file: ModelFile | None
    warnings: tuple[str, ...]


class Training(Protocol):
    """A finished training."""

    models: RunModels
    tests: RunTests
    progress: Progress


def plan(
    lines: Mapping[str, list[str]], parse: Callable[[list[str], ModelFile | None], Command]
) -> list[Command]:
    """Command line of each stage by name -> the stages, checked as far as options go.

    Args:
        lines: command lines.
        parse: command line, model file that it uses where it names none -> what it asks for.

    Raises:
        ValueError, FileNotFoundError: a mistake in the options of a stage.
    """
    stages = list[Command]()
    before: ModelFile | None = None
    for name, line in lines.items():
        try:
            command = parse(line, before)
        except (ValueError, OSError) as error:
            # what the first stage has too is not about stages; mistakes in the file have their place
            is_placed = not stages or f"stage {name}: " in str(error)
            raise ValueError(str(error) if is_placed else f"stage {name}: {error}") from None
        own = None if command.model_file is before else command.model_file
        stages.append(_without_trials(command._replace(model_file=own)))
        if command.options.test and own is None:
            raise ValueError(f"stage {name}: --test needs a threshold in the model file; --eval needs none")
        if command.options.eval and not (command.options.test_list or command.options.prepare):
            raise ValueError(f"stage {name}: --eval needs --test_list")
        if not command.options.eval:  # there is no such file yet; options are all that is needed here
            before = ModelFile({}, dict(command.options), [], True, {}, path=f"the model of stage {name}")
    trainings = [stage for stage in stages if not stage.options.eval]
    for stage in trainings[1:]:
        _require_same_speakers(trainings[0], stage)
    return stages


def _without_trials(command: Command) -> Command:
    """A training with validation speakers leaves trial lists to the evaluations."""
    if command.options.eval or not command.options.validation_speakers:
        return command
    return command._replace(options=command.options.replaced(test_list=[], enrol_list=""))


def _require_same_speakers(first: Command, stage: Command) -> None:
    """Raises ValueError if two trainings would set other speakers aside."""
    if not first.options.validation_speakers and not stage.options.validation_speakers:
        return
    for name in SETTING_ASIDE:
        if first.options[name] != stage.options[name]:
            raise ValueError(
                f"stage {stage.options.stage}: --{name} {stage.options[name]} is {first.options[name]} in "
                f"stage {first.options.stage}; all trainings must set the same speakers aside"
            )


@dataclass
class StagedRun:
    """Does the stages that are not done yet."""

    stages: Sequence[Command]
    folder: RunFolder
    build: Callable[[Options, ModelFile | None, RunFolder, RunLog], object]  # a training, not begun
    train: Callable[[Options, ModelFile | None, RunFolder, RunLog, StopSignal], Training]
    evaluate: Callable[[Options, ModelFile, RunFolder, RunLog, StopSignal], None]

    def run(self, stop: StopSignal) -> None:
        """Do them in order; a stage that was stopped is resumed.

        Raises:
            ValueError, OSError: a stage that is done has other options now, or a stage fails.
        """
        options = self.stages[0].options
        distributed.join(runtime.choose_device(options.device, options.gpu_id), options.rank_timeout)
        self.folder.acquire()
        record = StageRecord.open(self.folder)
        for done, stage in zip(record.done, self.stages, strict=False):
            done.require_same(stage.options.stage, stage.options, record.path)
        if len(record.done) > len(self.stages):
            raise ValueError(
                f"{record.path}: stage {record.done[len(self.stages)].stage} is done; restore it"
            )
        log = RunLog(self.folder)
        for stage in self.stages[len(record.done) :]:
            self._check(stage, log)
        for number, stage in enumerate(self.stages, 1):
            title = f"stage {stage.options.stage} ({number} of {len(self.stages)})"
            if number <= len(record.done):
                log.say(f"{title} is done")
            elif stage.options.eval:
                log.say(title)
                self._evaluate(stage, record, stop)
            else:
                log.say(title)
                self._train(stage, record, log, stop)

    def _check(self, stage: Command, log: RunLog) -> None:
        """Read the lists of a stage and build its network, before the first stage begins.

        Raises:
            ValueError: an option, a list or a recording can't be used.
        """
        options = stage.options
        try:
            if not options.eval:
                self.build(options, None, self._folder_of(stage), log)
                gc.collect()  # optimizer and schedule refer to each other; frees the memory of the network
            elif not options.prepare:
                # a cohort file may be one that a stage before writes
                without = {"score_norm": "none", "subtract_mean": False} if options.cohort else {}
                TrialTest(options.replaced(**without), runtime.CPU)
        except (ValueError, OSError) as error:
            raise ValueError(f"stage {options.stage}: {error}") from None

    def _folder_of(self, stage: Command) -> RunFolder:
        """Where a stage writes: the last evaluation into the folder of the run, all others into their own."""
        if stage.options.eval and stage is [each for each in self.stages if each.options.eval][-1]:
            return self.folder
        return RunFolder(str(self.folder.root / "stages" / stage.options.stage))

    def _evaluate(self, stage: Command, record: StageRecord, stop: StopSignal) -> None:
        model_file = stage.model_file or checkpoint.load_model(str(self.folder.best))
        folder = self._folder_of(stage)
        values = stage.options.replaced(initial_model=model_file.path, save_path=str(folder.root))
        with RunLog(folder) as log:
            self.evaluate(values, model_file, folder, log, stop)
        record.add(stage.options.stage, stage.options)

    def _train(self, stage: Command, record: StageRecord, log: RunLog, stop: StopSignal) -> None:
        folder, before = self._folder_of(stage), record.kept
        start = stage.model_file
        values = stage.options.replaced(save_path=str(folder.root))
        if before is not None and before.validation:
            _require_same_list(stage, before)
        if start is None and before is not None:
            start = checkpoint.load_model(str(self.folder.root / before.kept))
            # relative to the folder of the run, which may be moved before a resume
            values = values.replaced(initial_model=before.kept)
        if start is not None:  # its EER is compared
            values = values.replaced(test_at_start=True)
        try:
            with RunLog(folder) as stage_log:
                training = self.train(values, start, folder, stage_log, stop)
        finally:
            folder.release()
        found = candidates(folder, training.progress, start.path if start else "")
        kept, reason = distributed.broadcast(choose(found))  # the first process may write one now
        path = kept.path
        if kept.epoch != BEFORE:
            training.models.keep(path, self.folder, kept.epoch)
        elif stage.model_file is not None:
            path = training.models.keep_start(stage.model_file, self.folder)
        name, kept_path = stage.options.stage, os.path.relpath(path, self.folder.root)
        log.log(f"stage {name}: {reason}")
        eer = kept.eer if kept.eer < math.inf else None
        log.record(event="stage", stage=name, kept=kept_path, eer=eer)
        validation = training.tests.comparable.get("validation", "")
        record.add(name, stage.options, kept=kept_path, validation=validation)


def _require_same_list(stage: Command, before: DoneStage) -> None:
    """Raises ValueError if a training would set other speakers aside than one that is done."""
    options = stage.options
    listed = read_train_list(options.train_list, options.exclude, root=options.train_path)
    validation = set_aside(listed, options.validation_speakers, options.seed).validation
    if validation is None or validation.digest() != before.validation:
        raise ValueError(
            f"{options.train_list} has changed since stage {before.stage}, which set other speakers aside; "
            "restore it, or give another --save_path"
        )
