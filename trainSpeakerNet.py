r"""Train a speaker network on a list of utterances, or score a trial list with a trained one.

python trainSpeakerNet.py --model ResNetSE34L --trainfunc angleproto --train_list L --train_path P \
        --test_list L --test_path P --save_path exps/exp1
python trainSpeakerNet.py --eval --initial_model exps/exp1/model/best.model --test_list L --test_path P
"""

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import torch

import distributed
import options
import runtime
from distributed import launch
from distributed.exit import abort, exit_code_of
from distributed.signals import Stopped, StopSignal
from evaluation.backends import chosen_backend, scores_digest, stored_backend
from evaluation.cohort import Cohort, CohortList
from evaluation.decisions import decided_options, require_current
from evaluation.identification import Identification, write_identification
from evaluation.prepare import prepare, target_of
from evaluation.results import Origin, Results
from evaluation.stages import Command, StagedRun, plan
from evaluation.store import EmbeddingStore
from evaluation.trial_lists import TrialLists
from evaluation.trial_test import TrialTest
from inference.cache import cache_folder
from inference.model_source import model_path
from inference.voice_options import with_public_cohort
from options import Options, Parser, Resolved, checks
from options.config import stage_lines
from options.flags import Role, names_of, training_parser
from run import Run, build_run, describe
from SpeakerNet import SpeakerNet
from storage import checkpoint
from storage.checkpoint import ModelFile
from storage.console import print_any_name
from storage.initial_weights import read_head_speakers
from storage.run_folder import RunFolder
from storage.run_log import RunLog
from storage.run_record import write_run
from storage.ssl_weights import ssl_options


def make_parser(add_help: bool = True) -> Parser:
    """The command's flags, without those of plug-ins."""
    return training_parser(str(__doc__), add_help)


def parse(argv: list[str], start: ModelFile | None = None) -> Command:
    """Command line -> what it asks for.

    Args:
        argv: the words after the command's name.
        start: the model file that is used where no --initial_model is given; its options are enough.

    Raises:
        ValueError, FileNotFoundError: a mistake in the options, or --initial_model can't be read.
    """
    values = _with_tests(options.command_options(make_parser, argv))
    if values.prepare and values.test:
        raise ValueError("--prepare and --test cannot be combined; give one of them")
    model_file = start if start and not values.initial_model else _initial_model(values)
    if model_file is None:
        resolved = checks.for_training(_resolve(argv, ssl_options(values.ssl_weights)))  # --eval has a file
        checks.check_values(resolved.options)
        return Command(resolved.options, None, resolved.warnings)
    source = model_file.path
    network = dict(checks.stored_network_options(model_file.options, model_file.origin))
    scoring = {
        name: model_file.options[name] for name in names_of(Role.SCORING) if name in model_file.options
    }
    backend = stored_backend(model_file, source).options if values.eval else {}
    decided = decided_options(model_file.decision, source) if values.eval else {}
    # --prepare fits the backend anew, whatever the threshold is for
    tested = scoring | (decided | backend if values.prepare else backend | decided)
    stored = network | tested
    resolved = _resolve(argv, stored)
    if values.eval:
        resolved = resolved._replace(options=with_public_cohort(resolved.options, values.initial_model))
    if values.eval or model_file is start:  # a resumed training compares what was given
        resolved = resolved._replace(options=resolved.options.replaced(initial_model=source))
    fixed = {name: value for name, value in stored.items() if name not in tested}
    options.refuse_contradictions(resolved, fixed | decided if values.test else fixed, source)
    if values.test and decided and resolved.given & {"cohort", "cohort_list"}:
        raise ValueError(f"--test uses the cohort in {source}; leave out --cohort and --cohort_list")
    if values.eval:
        resolved = checks.for_evaluation(resolved, stored, bool(model_file.origin))
    else:
        resolved = checks.for_training(resolved)
    checks.check_values(resolved.options)
    return Command(resolved.options, model_file, resolved.warnings)


def _initial_model(values: Options) -> ModelFile | None:
    """The file of --initial_model; by default --eval takes the best model of --save_path."""
    if not values.initial_model and not values.eval:
        return None
    folder = RunFolder(values.save_path)
    source = model_path(values.initial_model) if values.initial_model else folder.latest_model()
    if not source:
        raise ValueError(f"--eval needs --initial_model FILE; {folder.models} has no model either")
    return checkpoint.load_model(source, values.origin, read_head_speakers(values.head_speakers))


def _resolve(argv: list[str], stored: dict[str, Any]) -> Resolved:
    resolved = options.resolve(make_parser, argv, stored)
    return resolved._replace(options=_with_tests(resolved.options))


def _with_tests(values: Options) -> Options:
    """Options in which --prepare and --test are kinds of --eval, and an empty list is none."""
    return values.replaced(
        eval=values.eval or values.prepare or values.test,
        test_list=[path for path in values.test_list if path],
    )


def evaluate(
    values: Options, model_file: ModelFile, folder: RunFolder, log: RunLog, stop: StopSignal
) -> None:
    """--eval, --prepare and --test: the model file alone decides the network."""
    device = runtime.choose_device(values.device, values.gpu_id)
    distributed.join(device, values.rank_timeout)
    store = EmbeddingStore(folder.embeddings, values, device) if values.reuse_embeddings else None
    if values.prepare:
        target = target_of(model_file, folder, cache_folder())
        cohort_list = CohortList(values, device, store)
    else:
        gallery = Identification.read(values) if values.gallery else None
        test = _trial_test(values, model_file, device, store, gallery.lists if gallery else None)
    network = SpeakerNet.from_model_file(model_file, values)
    folder.require_writable()
    _say_notes(values, model_file, device, log)
    log.say(f"{values.model} from {values.initial_model} on {runtime.describe(device)}, {values.precision}")
    network = network.to(device)
    with distributed.wait_for_stragglers(), stop.guard(), _stop_message(log, store):
        if values.prepare:
            prepare(cohort_list, network, model_file, target, folder=folder, log=log, stop=stop)
            return
        if gallery is not None:
            write_identification(
                gallery,
                test.compare(network, stop),
                values=values,
                folder=folder,
                log=log,
                device=runtime.describe(device),
            )
            return
        outcome = test.score(network, stop)
        log.remarks.gather()
        if outcome is None:
            return
        results = Results(test, folder, log)
        if values.test:
            assert model_file.decision is not None  # _trial_test has looked
            results.write_decisions(outcome, model_file.decision)
        else:
            origin = Origin(values.initial_model, scores_digest(model_file, values.backend))
            results.write_evaluation(outcome, origin, runtime.describe(device))


def _trial_test(
    values: Options,
    model_file: ModelFile,
    device: Any,
    store: EmbeddingStore | None,
    lists: TrialLists | None,
) -> TrialTest:
    """The trial lists, and the cohort of --cohort or of the model file unless a list is given for one."""
    if lists is None and not values.test_list:
        raise ValueError("--eval and --test need --test_list")
    if values.test and not model_file.decision:
        raise ValueError(f"{values.initial_model} has no threshold; tuneThreshold.py --store saves one in it")
    if values.test and model_file.decision:
        require_current(model_file.decision["options"], values.initial_model)
    cohort = None
    if checks.needs_cohort(values):
        if values.cohort:
            cohort = Cohort.from_dict(checkpoint.load_cohort(values.cohort), values.cohort)
        elif model_file.cohort and not values.cohort_list:
            cohort = Cohort.from_dict(model_file.cohort, values.initial_model)
    backend = chosen_backend(model_file, values, values.initial_model)
    return TrialTest(
        values,
        device,
        lists=lists,
        store=store,
        cohort=cohort,
        cohort_in_model=not values.cohort,
        backend=backend,
    )


@contextmanager
def _stop_message(log: RunLog, store: EmbeddingStore | None) -> Iterator[None]:
    """Context that says that an evaluation was stopped."""
    try:
        yield
    except Stopped as stopped:  # in every process
        log.remarks.gather()
        kept = f"; embeddings computed so far are kept in {store.folder}" if store else ""
        log.say(f"stopped by {stopped}{kept}")
        raise


def _say_notes(values: Options, model_file: ModelFile | None, device: torch.device, log: RunLog) -> None:
    """Log whose file --initial_model is, and that a precision has no effect on this device."""
    if model_file is not None and model_file.origin:
        log.say(f"note: {values.initial_model} is {model_file.origin}")
    if values.precision == "tf32" and device == runtime.CPU:
        log.say("note: --precision tf32 is for GPUs; here it is fp32")


def train(
    values: Options, model_file: ModelFile | None, folder: RunFolder, log: RunLog, stop: StopSignal
) -> Run:
    """Train from the start, or from the state in the run folder -> the finished run."""
    run = build_run(values, model_file, folder, log)
    device = run.trainer.device
    _say_notes(run.options, model_file, device, log)
    folder.acquire()
    run.resume()
    folder.require_writable()
    write_run(folder, run.options, runtime.describe(device))
    run.tests.begin()
    if values.tensorboard:
        log.open_board()
    describe(run)
    try:
        with stop.guard(), closing(run.data.loader):
            run.fit(stop)
        if run.trainer.profile is not None:
            run.trainer.profile.close()
    except Stopped as stopped:
        is_saved = folder.state.exists()
        log.say(
            f"stopped by {stopped}; "
            f"{'the same command resumes the run' if is_saved else 'nothing is saved yet'}"
        )
        raise
    except (RuntimeError, ConnectionError, EOFError) as error:
        if reason := run.data.workers.death_reason(error):
            raise OSError(reason) from None
        raise
    return run


def run_command(argv: list[str], stop: StopSignal) -> int:
    """Do what the command line says -> exit code."""
    distributed.rendezvous(abort)
    stages = plan(stage_lines(make_parser(False), argv), parse)
    commands = stages or [parse(argv)]
    values = commands[0].options
    count = launch.num_processes(values.distributed, values.nproc, values.device)
    if count > 1:
        return launch.launch([str(Path(__file__)), *argv], count, values.port, stop)
    warnings = dict.fromkeys(warning for command in commands for warning in command.warnings)
    for warning in warnings if distributed.is_first() else ():
        print(f"warning: {warning}", file=sys.stderr)
    if values.distributed and not values.nproc and distributed.world_size() == 1:
        print("note: --distributed: fewer than two GPUs, so one process; --nproc starts more on the CPU")
    runtime.use_threads(values.threads)
    folder = RunFolder(values.save_path)
    try:
        if stages:
            StagedRun(stages, folder, build_run, train, evaluate).run(stop)
        else:
            _train_or_evaluate(commands[0], folder, stop)
    finally:
        folder.release()
    return 0


def _train_or_evaluate(command: Command, folder: RunFolder, stop: StopSignal) -> None:
    with RunLog(folder) as log:
        if command.options.eval:
            assert command.model_file is not None  # parse has one
            evaluate(command.options, command.model_file, folder, log, stop)
        else:
            train(command.options, command.model_file, folder, log, stop)


def main(argv: list[str] | None = None) -> int:
    """Run the command -> 0, 2 for a user's mistake, 75 for a lost process, 128 + a signal, or 1."""
    print_any_name()
    words = sys.argv[1:] if argv is None else argv
    return exit_code_of(lambda stop: run_command(words, stop))


if __name__ == "__main__":
    sys.exit(main())
