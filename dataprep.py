"""Prepare audio and lists for trainSpeakerNet.py. Steps combine and repeat; what is done is skipped.

python dataprep.py --demo --save_path data/demo
python dataprep.py --generate --from my_recordings --save_path data/mine
python dataprep.py --corpus mini_librispeech --download --extract --generate --check
python dataprep.py --corpus voxceleb1 voxceleb2 --download --extract --convert --generate
python dataprep.py --corpus voxceleb1 voxceleb2 --status
"""

import argparse
import importlib
import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from corpora._corpus import Corpus
from options.parser import Parser
from options.plugins import ROOT
from preparation import demo, flags, folder, inspect, steps
from preparation.generate import training_command
from preparation.keys import find_key
from preparation.shelf import located
from preparation.source import CONVERTED, is_list, to_convert
from preparation.status import status

DEFAULT_CORPORA = ("voxceleb1", "voxceleb2")  # those of voxceleb_trainer's dataprep.py
AUGMENTATION = ("musan", "rirs_noises")
Names = dict[str, Corpus]
Done = tuple[list[str], str]  # what a step tells, and the command that follows it, "" if none does


def corpora() -> dict[str, Corpus]:
    """Names of corpora with archives -> what their files say of them."""
    names = sorted(path.stem for path in (ROOT / "corpora").glob("[!_]*.py"))
    modules = {name: importlib.import_module(f"corpora.{name}") for name in names}
    return {name: module.CORPUS for name, module in modules.items() if hasattr(module, "CORPUS")}


def parser() -> Parser:
    """The command's options."""
    made = Parser(__doc__)
    flags.add_flags(made, list(corpora()))
    return made


def check_arguments(args: argparse.Namespace) -> None:
    """Raises ValueError for flags that can't be, can't go together, or would have no effect."""
    flags.check_flags(args, parser())
    unknown = [name for name in args.corpus if name not in corpora()]
    if unknown:
        raise ValueError(f"--corpus {unknown[0]}: unknown; there are {', '.join(corpora())}")


def chosen(args: argparse.Namespace) -> Names:
    """The corpora that the steps are for, beside those of --augment; none for the user's own recordings."""
    names = args.corpus
    if not names and (args.download or args.concatenate or args.extract):
        names = DEFAULT_CORPORA
    own = [flag for flag in flags.OWN if getattr(args, flag) is not None]
    if names and own:
        others = "--corpus, --download, --concatenate or --extract"
        raise ValueError(f"--{own[0]} is for your own recordings, without {others}")
    if not (names or own or args.source) and (args.convert or args.generate or args.check or args.pack):
        names = [name for name in DEFAULT_CORPORA if located(corpora()[name], args.save_path, None)]
        if not names:
            lists = "" if args.convert or args.generate else ", or --train_list or --test_list"
            raise ValueError(f"no VoxCeleb in {args.save_path}; give --corpus NAME or --from DIR{lists}")
    return {name: corpora()[name] for name in names}


def with_augmentation(args: argparse.Namespace, names: Names) -> Names:
    """The corpora, and those of --augment if it was given."""
    return names | {name: corpora()[name] for name in AUGMENTATION if args.augment}


def recordings(args: argparse.Namespace) -> Path:
    """Where the user's own recordings are: --from, or where --convert put them."""
    if args.source is None:
        raise ValueError("which recordings? give --corpus NAME or --from DIR")
    return args.save_path / CONVERTED if args.convert else args.source


def command(args: argparse.Namespace, step: str, source: Path | None) -> str:
    """A step of this program -> what to type for it."""
    words = ["--corpus", *args.corpus] if args.corpus else []
    words += ["--from", str(source)] if source else []
    return shlex.join(["python", "dataprep.py", step, *words, "--save_path", str(args.save_path)])


def download(args: argparse.Namespace, names: Names) -> Done:
    """--download."""
    names = with_augmentation(args, names)
    for name, corpus in names.items():
        print(f"{name}: {corpus.title}, {corpus.licence}; {corpus.access}", flush=True)
    key = partial(find_key, args.key_file, args.base_url)
    told = steps.download(names, args.save_path, args.source, args.base_url, key, args.parallel)
    return told, command(args, "--extract", args.source)


def concatenate(args: argparse.Namespace, names: Names) -> Done:
    """--concatenate."""
    return steps.concatenate(with_augmentation(args, names), args.save_path, args.source), ""


def extract(args: argparse.Namespace, names: Names) -> Done:
    """--extract."""
    told = steps.extract(with_augmentation(args, names), args.save_path, args.source)
    encoded = any(corpus.encoded for corpus in names.values())
    speech = not names.keys() <= set(AUGMENTATION)
    return told, command(args, "--convert" if encoded else "--generate", args.source) if speech else ""


def convert(args: argparse.Namespace, names: Names) -> Done:
    """--convert."""
    if names:
        jobs = steps.to_convert(names, args.save_path, args.source, args.format)
        told = ["nothing to convert: the recordings are in no format that needs it"]
    else:
        jobs = to_convert(args.save_path, args.source, args.format)
    told = steps.convert(jobs, args.save_path, args.shard, args.workers) if jobs else told
    follow = command(args, "--generate", args.source if names else recordings(args))
    return told, follow if args.shard == "1/1" else "the other shards, then --generate"


def generate(args: argparse.Namespace, names: Names) -> Done:
    """--generate."""
    if names:
        made = steps.generate(names, args.save_path, args.source, flags.split(args, 0.0), args.kaldi)
    else:
        source = recordings(args)
        made = [folder.prepare(args.save_path, source, flags.split(args, -1.0), args.root, args.kaldi)]
    return [line for each in made for line in each.told], training_command(made)


def targets(args: argparse.Namespace, names: Names) -> list[inspect.Target]:
    """What --check and --pack look at."""
    root = args.root
    if root is None and args.source is not None and not names:
        root = Path() if is_list(args.source) else recordings(args)
    own = inspect.Own(root, args.train_list, args.test_list)
    return inspect.targets(names, args.save_path, args.source, own)


def check(args: argparse.Namespace, names: Names) -> Done:
    """--check, and with --suspects the probable label errors."""
    found = targets(args, names)
    told = inspect.check(found, args.save_path, args.workers)
    for target in found:
        listed = inspect.read_lists(target)
        if args.suspects and listed.train:
            paths = list(listed.train)
            embeddings, kept = embed(args.suspects, target.root, paths)
            paths = [paths[i] for i in kept]
            told += inspect.suspects(
                embeddings, paths, [listed.train[p] for p in paths], args.save_path / "check" / target.name
            )
    return told, ""


def embed(model: str, root: Path, paths: list[str]) -> tuple[NDArray[np.float32], list[int]]:
    """Model file, recordings -> length-normalised embeddings (N, D) of the readable ones, their numbers."""
    import runtime
    from audio.recordings import Recordings
    from distributed.signals import StopSignal
    from evaluation.embedder import Embedder
    from SpeakerNet import SpeakerNet
    from storage import checkpoint

    model_file = checkpoint.load_model(model)
    if model_file.origin:
        raise ValueError(
            f"--suspects {model}: turn it into this trainer's by inferSpeakerNet.py convert first"
        )
    network = SpeakerNet.build(argparse.Namespace(**model_file.options))
    checkpoint.load_weights(network, checkpoint.split_loss(model_file.weights)[0], model)
    device = runtime.choose_device("auto")
    how = argparse.Namespace(
        scoring="cosine", eval_frames=0, num_eval=1, nDataLoaderThread=0, skip_bad_audio=True
    )
    embedder = Embedder(Recordings(str(root), paths), how, device, lambda remarks: None)
    embedded = embedder.embed(network.to(device), True, StopSignal())
    kept = embedded.there.nonzero()[0].tolist()
    return embedded.vectors[kept, 0].numpy(), kept


def augment(args: argparse.Namespace, names: Names) -> Done:
    """--augment."""
    noises = {name: corpora()[name] for name in AUGMENTATION}
    return steps.augment(noises, args.save_path, args.source), ""


def pack(args: argparse.Namespace, names: Names) -> Done:
    """--pack."""
    return inspect.pack(targets(args, names), args.save_path, args.workers, args.exclude), ""


STEPS: dict[str, Callable[[argparse.Namespace, Names], Done]] = {
    step.__name__: step for step in (download, concatenate, extract, convert, augment, generate, check, pack)
}


def run(args: argparse.Namespace) -> None:
    """Do the steps that were asked for, in their order, and print what each did and what to type next."""
    check_arguments(args)
    flags.check_files(args)
    if args.demo:
        made = demo.prepare(args.save_path, seed=args.seed)
        print(*made.told, f"next: {training_command([made])}", sep="\n")
        return
    names, follow = chosen(args), ""
    for step, work in STEPS.items():
        if getattr(args, step):
            told, after = work(args, names)
            print(*told, sep="\n", flush=True)
            follow = after or follow
    if args.status:
        known = with_augmentation(args, names or {name: corpora()[name] for name in DEFAULT_CORPORA})
        print(*status(known, args.save_path, args.source), sep="\n")
    if follow:
        print(f"next: {follow}")


def main(argv: list[str] | None = None) -> int:
    """The command -> its exit code: 0, 2 for a mistake of the user or damaged data, 130 after Ctrl-C."""
    try:
        args, rest = parser().parse_known_args(argv)
        if rest:
            parser().refuse(rest[0])
        run(args)
    except (ValueError, OSError) as error:
        print(f"dataprep.py: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
