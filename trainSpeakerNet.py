r"""Train a speaker network on a list of utterances, or score a trial list with a trained one.

python trainSpeakerNet.py --model ResNetSE34L --trainfunc angleproto --train_list L --train_path P \
        --test_list L --test_path P --save_path exps/exp1
python trainSpeakerNet.py --eval --initial_model exps/exp1/model/best.model --test_list L --test_path P
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import distributed
import options
import runtime
from distributed import launch, signals
from distributed.exit import cause, give_up, refuse
from evaluation.cohort import Cohort, CohortList, save_cohort
from evaluation.decisions import decided_options
from evaluation.trial_test import TrialTest
from options import checks, flags
from options.flags import SCORING_OPTIONS
from run import Run
from SpeakerNet import SpeakerNet
from storage import checkpoint
from storage.checkpoint import ModelFile
from storage.run_folder import RunFolder


def core(add_help: bool = True) -> options.Parser:
    """The command's own options."""
    return flags.training_flags(str(__doc__), add_help)


def parse(argv: list[str]) -> tuple[argparse.Namespace, ModelFile | None, list[str]]:
    """Command line -> resolved options, the file of --initial_model, and warnings.

    Raises:
        ValueError, FileNotFoundError: anything about the options that can't be.
    """
    resolved = options.resolve(core, argv)
    resolved.args.eval |= resolved.args.prepare or resolved.args.test
    if resolved.args.prepare and resolved.args.test:
        raise ValueError("--prepare and --test are different things to do; give one of them")
    model_file, stored = None, dict[str, Any]()
    source = resolved.args.initial_model
    if resolved.args.eval and not source:
        source = RunFolder(resolved.args.save_path).latest_model()
    if source:
        model_file = checkpoint.load_model(source)
        scoring = {name: value for name, value in model_file.options.items() if name in SCORING_OPTIONS}
        decided = decided_options(model_file.decision, source) if resolved.args.eval else {}
        scoring |= decided
        stored = checks.stored_network_options(model_file.options, model_file.origin) | scoring
        resolved = options.resolve(core, argv, stored)
        resolved.args.initial_model = source
        resolved.args.eval |= resolved.args.prepare or resolved.args.test
        network = {name: value for name, value in stored.items() if name not in scoring}
        options.refuse_contradictions(resolved, network | decided if resolved.args.test else network, source)
    args, given = resolved.args, resolved.given
    args.test_list = [path for path in args.test_list if path]
    if args.eval:
        assert model_file is not None  # latest_model sees to it
        checks.complete_evaluation_options(resolved, stored, bool(model_file.origin))
        if args.test and given & {"cohort", "cohort_list"} and decided:
            raise ValueError(f"--test goes by the cohort in {source}; leave out --cohort and --cohort_list")
    else:
        checks.complete_training_options(args, given)
        resolved.warnings.extend(checks.idle_augmentation(args, given))
    checks.check_ranges(args)
    return args, model_file, resolved.warnings


def evaluate(
    args: argparse.Namespace, model_file: ModelFile, folder: RunFolder, stop: signals.StopSignal
) -> None:
    """--eval, --prepare and --test: the model file alone decides the network."""
    device = runtime.choose_device(args.device, args.gpu_id)
    distributed.join(device, args.rank_timeout)
    store = folder.embeddings if args.reuse_embeddings else None
    if args.prepare:
        cohort_list = CohortList(args, device, folder.remark, store)
    else:
        if not args.test_list:
            raise ValueError("--eval and --test need --test_list")
        decision = model_file.decision or {}
        if args.test and not decision:
            raise ValueError(
                f"{args.initial_model} holds no threshold; tuneThreshold.py --store puts one into it"
            )
        trial_test = TrialTest(args, folder, device, store, stored_cohort(args, model_file))
    network = SpeakerNet.build(args)
    checkpoint.load_weights(network, checkpoint.split_loss(model_file.weights)[0], args.initial_model)
    normalize = model_file.normalize
    if model_file.origin and args.trainfunc:
        normalize = options.plugin("loss", args.trainfunc).normalize
    folder.require_writable()
    folder.say(f"{args.model} from {args.initial_model} on {runtime.describe(device)}")
    network = network.to(device)
    with distributed.patience(), stop.guard(), told_stop(folder, store):
        if args.prepare:
            mean = cohort_list.mean(network, stop)
            save_cohort(folder, cohort_list.prepare(network, normalize, stop, mean))
        elif args.test:
            trial_test.decide(network, normalize, stop, decision)
        else:
            weights = checkpoint.digest(model_file.weights)
            trial_test.evaluate(network, normalize, stop, args.initial_model, weights)


@contextmanager
def told_stop(folder: RunFolder, store: Path | None) -> Iterator[None]:
    """Say that an evaluation was stopped."""
    try:
        yield
    except signals.Stopped as stopped:
        folder.say(
            f"stopped by {stopped}" + (f"; embeddings made so far are kept in {store}" if store else "")
        )
        raise


def stored_cohort(args: argparse.Namespace, model_file: ModelFile) -> Cohort | None:
    """The cohort of --cohort, or of the model file unless a list is given for one."""
    if not checks.needs_cohort(args):
        return None
    if args.cohort:
        return Cohort.of(checkpoint.load_cohort(args.cohort), args.cohort)
    if model_file.cohort and not args.cohort_list:
        return Cohort.of(model_file.cohort, args.initial_model)
    return None


def train(
    args: argparse.Namespace, model_file: ModelFile | None, folder: RunFolder, stop: signals.StopSignal
) -> None:
    """Train from the start or from where the run folder's state is."""
    device = runtime.choose_device(args.device, args.gpu_id)
    distributed.join(device, args.rank_timeout)
    if args.precision == "auto":  # the run's, wherever it goes on
        args.precision = distributed.broadcast(folder.earlier("precision") or runtime.best_precision(device))
    if args.precision == "tf32" and device == runtime.CPU:
        folder.say("note: --precision tf32 is for GPUs; here it is fp32")
    run = Run(args, device, model_file, folder)
    folder.hold()
    run.resume()
    folder.require_writable()
    folder.write_run(vars(args), runtime.describe(device))
    if args.tensorboard:
        folder.open_board()
    run.describe()
    try:
        with stop.guard():
            run.fit(stop)
        if run.trainer.profile is not None:
            run.trainer.profile.close()
    except signals.Stopped as stopped:
        saved = folder.state.exists()
        folder.say(f"stopped by {stopped}; {'the same command goes on' if saved else 'nothing is saved yet'}")
        raise
    except (RuntimeError, ConnectionError, EOFError) as error:
        if reason := run.data.death(error):
            raise OSError(reason) from None
        raise


def num_processes(args: argparse.Namespace) -> int:
    """Processes that --distributed asks for; 1 where this one was started together with others already."""
    if (not args.distributed and not args.nproc) or distributed.place()[1] > 1:
        return 1
    num_gpus = runtime.num_gpus(args.device)
    if 0 < num_gpus < args.nproc:
        raise ValueError(f"--nproc {args.nproc}: this machine has {num_gpus} GPUs; --device cpu goes without")
    return args.nproc or num_gpus or 1


def run_command(argv: list[str], stop: signals.StopSignal) -> int:
    """Do what the command line says -> exit code."""
    distributed.meet(give_up)
    args, model_file, warnings = parse(argv)
    if (count := num_processes(args)) > 1:
        return launch.launch([str(Path(__file__)), *argv], count, args.port, stop)
    for warning in warnings if distributed.is_first() else ():
        print(f"warning: {warning}", file=sys.stderr)
    if args.distributed and not args.nproc and distributed.place()[1] == 1:
        print("note: --distributed finds no two GPUs here: one process; --nproc starts more on the CPU")
    runtime.use_threads(args.threads)
    with closing(RunFolder(args.save_path)) as folder:
        if model_file is not None and model_file.origin:
            folder.say(f"note: {args.initial_model} is {model_file.origin}")
        if args.eval:
            assert model_file is not None  # parse sees to it
            evaluate(args, model_file, folder, stop)
        else:
            train(args, model_file, folder, stop)
    return 0


def main(argv: list[str] | None = None) -> int:
    """The command -> exit code: 0, 2 for what users can mend, 75 for a lost process, 128 + a signal, or 1."""
    stop = signals.StopSignal()
    stop.install()
    launch.end_with_launcher()
    try:
        code = run_command(sys.argv[1:] if argv is None else argv, stop)
    except signals.Stopped as stopped:
        code = stopped.exit_code
        distributed.excuse()
    except Exception as error:
        if distributed.place()[1] == 1 and not cause(error):
            raise
        code = refuse(error)
    else:
        distributed.leave()
    if distributed.place()[1] > 1:
        launch.end_at_once(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
