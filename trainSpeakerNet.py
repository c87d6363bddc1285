r"""Train a speaker network on a list of utterances, or score a trial list with a trained one.

python trainSpeakerNet.py --model ResNetSE34L --trainfunc angleproto --train_list L --train_path P \
        --test_list L --test_path P --save_path exps/exp1
python trainSpeakerNet.py --eval --initial_model exps/exp1/model/best.model --test_list L --test_path P
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import checkpoint
import flags
import options
import processes
import ranks
import runtime
import settings
from checkpoint import ModelFile
from embedding import Cohort, CohortList
from evaluation import TrialTest, save_cohort
from flags import SCORING_OPTIONS
from report import RunFolder
from scoring._decisions import decided_options
from SpeakerNet import SpeakerNet
from training import Run


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
        stored = model_file.network_options() | scoring
        resolved = options.resolve(core, argv, stored)
        resolved.args.initial_model = source
        resolved.args.eval |= resolved.args.prepare or resolved.args.test
        network = {name: value for name, value in stored.items() if name not in scoring}
        options.refuse_contradictions(resolved, network | decided if resolved.args.test else network, source)
    args, given = resolved.args, resolved.given
    args.test_list = [path for path in args.test_list if path]
    if args.eval:
        assert model_file is not None  # latest_model sees to it
        settings.complete_evaluation_options(resolved, stored, bool(model_file.origin))
        if args.test and given & {"cohort", "cohort_list"} and decided:
            raise ValueError(f"--test goes by the cohort in {source}; leave out --cohort and --cohort_list")
    else:
        settings.complete_training_options(args, given)
        resolved.warnings.extend(settings.idle_augmentation(args, given))
    settings.check_ranges(args)
    return args, model_file, resolved.warnings


def evaluate(
    args: argparse.Namespace, model_file: ModelFile, folder: RunFolder, stop: processes.StopSignal
) -> None:
    """--eval, --prepare and --test: the model file alone decides the network."""
    device = runtime.choose_device(args.device, args.gpu_id)
    ranks.join(device, args.rank_timeout)
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
    with stop.guard(), told_stop(folder, store):
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
    except processes.Stopped as stopped:
        folder.say(
            f"stopped by {stopped}" + (f"; embeddings made so far are kept in {store}" if store else "")
        )
        raise


def stored_cohort(args: argparse.Namespace, model_file: ModelFile) -> Cohort | None:
    """The cohort of --cohort, or of the model file unless a list is given for one."""
    if not settings.needs_cohort(args):
        return None
    if args.cohort:
        return Cohort.of(checkpoint.load_cohort(args.cohort), args.cohort)
    if model_file.cohort and not args.cohort_list:
        return Cohort.of(model_file.cohort, args.initial_model)
    return None


def train(
    args: argparse.Namespace, model_file: ModelFile | None, folder: RunFolder, stop: processes.StopSignal
) -> None:
    """Train from the start or from where the run folder's state is."""
    run = Run(args, model_file, folder)
    folder.hold()
    run.resume()
    folder.require_writable()
    folder.write_run(vars(args), runtime.describe(run.device))
    if args.tensorboard:
        folder.open_board()
    run.describe()
    try:
        with stop.guard():
            run.fit(stop)
        if run.trainer.profile is not None:
            run.trainer.profile.close()
    except processes.Stopped as stopped:
        saved = folder.state.exists()
        folder.say(f"stopped by {stopped}; {'the same command goes on' if saved else 'nothing is saved yet'}")
        raise
    except RuntimeError as error:
        if reason := run.data.death(error):
            raise OSError(reason) from None
        raise


def refuse(reason: str) -> int:
    """Say why the command ends, once, however many processes it has -> its exit code."""
    if ranks.is_first():
        print(f"trainSpeakerNet.py: error: {reason}", file=sys.stderr)
    return 2


def main(argv: list[str] | None = None) -> int:
    """The command -> its exit code: 0, 2 for a mistake of the user, 128 + the signal that stopped it."""
    stop, folder = processes.StopSignal(), None
    stop.install()
    try:
        args, model_file, warnings = parse(sys.argv[1:] if argv is None else argv)
        for warning in warnings if ranks.is_first() else ():
            print(f"warning: {warning}", file=sys.stderr)
        folder = RunFolder(args.save_path)
        if model_file is not None and model_file.origin:
            folder.say(f"note: {args.initial_model} is {model_file.origin}")
        if args.eval:
            assert model_file is not None  # parse sees to it
            evaluate(args, model_file, folder, stop)
        else:
            train(args, model_file, folder, stop)
    except (ValueError, OSError) as error:
        return refuse(str(error))
    except (MemoryError, RuntimeError) as error:
        if "DataLoader worker" in str(error):
            return refuse(f"a data worker died: {str(error).splitlines()[0]}")
        if not runtime.is_out_of_memory(error):
            raise
        return refuse(
            "out of memory; lower --batch_size or --max_frames (with --eval: --num_eval, --eval_frames)"
        )
    except processes.Stopped as stopped:
        return stopped.exit_code
    finally:
        if folder is not None:
            folder.close()
        ranks.leave()
    return 0


if __name__ == "__main__":
    sys.exit(main())
