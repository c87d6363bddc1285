"""Prepare audio and lists for trainSpeakerNet.py. Steps can be combined and repeated.

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
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audio.utterances import Utterance, spans_of
from corpora._corpus import Corpus
from metrics.fields import shown
from options.parser import Parser
from options.plugins import ROOT
from preparation import corpus_lists, flags, folder, inspect, parquet, steps
from preparation.archives import has_recordings
from preparation.convert import shard
from preparation.generate import SavedLists, training_command
from preparation.index import index_tars
from preparation.keys import find_key
from preparation.parts import ListPart
from preparation.source import CONVERTED, is_list, to_convert
from preparation.status import status
from preparation.targets import Target, UserLists, find_targets
from storage.console import print_any_name

DEFAULT_CORPORA = ("voxceleb1", "voxceleb2")  # those of voxceleb_trainer's dataprep.py
AUGMENTATION = ("musan", "rirs_noises")
Names = dict[str, Corpus]
Outcome = tuple[list[str], str]  # messages of a step, and the next command, "" if there is none


def corpora() -> dict[str, Corpus]:
    """Name -> description of each corpus in corpora/."""
    names = sorted(path.stem for path in (ROOT / "corpora").glob("[!_]*.py"))
    modules = {name: importlib.import_module(f"corpora.{name}") for name in names}
    return {name: module.CORPUS for name, module in modules.items() if hasattr(module, "CORPUS")}


def parser() -> Parser:
    """Parser of the command line."""
    command_parser = Parser(__doc__)
    flags.add_flags(command_parser, list(corpora()))
    return command_parser


def check_arguments(args: argparse.Namespace) -> None:
    """Raises ValueError for values out of range, and for flags that exclude each other or have no effect."""
    flags.check_flags(args)
    unknown = [name for name in args.corpus if name not in corpora()]
    if unknown:
        raise ValueError(f"--corpus {unknown[0]}: unknown; there are {', '.join(corpora())}")


def chosen(args: argparse.Namespace) -> Names:
    """The corpora that the steps apply to, without those of --augment; none for the user's own recordings."""
    names = args.corpus
    if not names and (args.download or args.concatenate or args.extract):
        names = DEFAULT_CORPORA
    own_flags = flags.own_recordings_flags(args)
    if names and own_flags:
        others = "--corpus, --download, --concatenate or --extract"
        raise ValueError(f"--{own_flags[0]} is for your own recordings, without {others}")
    if not (names or own_flags or args.source) and (args.convert or args.generate or args.check or args.pack):
        names = [name for name in DEFAULT_CORPORA if has_recordings(corpora()[name], args.save_path, None)]
        if not names:
            lists = "" if args.convert or args.generate else ", or --train_list or --test_list"
            raise ValueError(f"no VoxCeleb in {args.save_path}; give --corpus NAME or --from DIR{lists}")
    return {name: corpora()[name] for name in names}


def with_augmentation(args: argparse.Namespace, names: Names) -> Names:
    """The corpora, and those of --augment if it was given."""
    return names | {name: corpora()[name] for name in AUGMENTATION if args.augment}


def recordings(args: argparse.Namespace) -> Path:
    """Folder of the user's recordings: --from, or what --convert writes, or --index from parquet files."""
    if args.source is None:
        raise ValueError("which recordings? give --corpus NAME or --from DIR")
    if args.index and parquet.has_parquet(args.source):
        return args.save_path / parquet.TARS
    return args.save_path / CONVERTED if args.convert else args.source


def command(args: argparse.Namespace, step: str, source: Path | None) -> str:
    """Step -> the command line that runs it."""
    words = ["--corpus", *args.corpus] if args.corpus else []
    words += ["--from", str(source)] if source else []
    return shlex.join(["python", "dataprep.py", step, *words, "--save_path", str(args.save_path)])


def download(args: argparse.Namespace, names: Names) -> Outcome:
    """--download."""
    names = with_augmentation(args, names)
    for name, corpus in names.items():
        print(f"{name}: {corpus.title}, {corpus.licence}; {corpus.access}", flush=True)
    key = partial(find_key, args.key_file, args.base_url)
    messages = steps.download(
        names,
        args.save_path,
        args.source,
        base_url=args.base_url,
        find_key=key,
        jobs=args.parallel,
    )
    return messages, command(args, "--extract", args.source)


def concatenate(args: argparse.Namespace, names: Names) -> Outcome:
    """--concatenate."""
    return steps.concatenate(with_augmentation(args, names), args.save_path, args.source), ""


def extract(args: argparse.Namespace, names: Names) -> Outcome:
    """--extract."""
    messages = steps.extract(with_augmentation(args, names), args.save_path, args.source)
    encoded = any(corpus.encoded for corpus in names.values())
    speech = not names.keys() <= set(AUGMENTATION)
    following = command(args, "--convert" if encoded else "--generate", args.source) if speech else ""
    return messages, following


def convert(args: argparse.Namespace, names: Names) -> Outcome:
    """--convert."""
    if names:
        jobs = steps.to_convert(names, args.save_path, args.source, args.format)
    else:
        jobs = to_convert(args.save_path, args.source, args.format)
    if jobs:
        jobs = shard(jobs, ListPart.read(args.shard))
        messages = steps.convert(jobs, args.save_path, args.shard, args.workers, args.channel)
    else:
        messages = ["nothing to convert: no recording has a format that needs conversion"]
    following = command(args, "--generate", args.source if names else recordings(args))
    return messages, following if args.shard == "1/1" else "the other shards, then --generate"


def index(args: argparse.Namespace, names: Names) -> Outcome:
    """--index."""
    if names or args.source is None:
        raise ValueError("--index is for your own tar or parquet files, not for corpora; give --from DIR")
    unpacked: list[str] = []
    if parquet.has_parquet(args.source):
        unpacked = parquet.unpack(args.source, args.save_path, args.speaker_column, args.workers)
    elif args.speaker_column:
        raise ValueError(f"--speaker_column is for parquet files; {args.source} has none")
    saved = index_tars(recordings(args), args.save_path, args.workers)
    return [*unpacked, *saved.messages], training_command([saved])


def generate(args: argparse.Namespace, names: Names) -> Outcome:
    """--generate."""
    if names:
        split = flags.split_settings(args, default_ratio=0.0)
        saved = corpus_lists.generate(
            names,
            args.save_path,
            args.source,
            split,
            kaldi=args.kaldi,
            exclude_speakers=args.exclude_speakers,
        )
    else:
        source = recordings(args)
        split = flags.split_settings(args, default_ratio=-1.0)
        own_lists = folder.prepare(
            args.save_path,
            source,
            split,
            start=args.root,
            kaldi=args.kaldi,
            speaker_folder=args.speaker_folder,
            exclude_speakers=args.exclude_speakers,
        )
        saved = [own_lists]
    return [line for lists in saved for line in lists.messages], training_command(saved)


def targets(args: argparse.Namespace, names: Names) -> list[Target]:
    """What --check and --pack read."""
    root = args.root
    if root is None and args.source is not None and not names:
        root = Path() if is_list(args.source) else recordings(args)
    user_lists = UserLists(root, args.train_list, args.test_list)
    return find_targets(names, args.save_path, args.source, user_lists)


def check(args: argparse.Namespace, names: Names) -> Outcome:
    """--check, and with --suspects the probable label errors."""
    checked = targets(args, names)
    messages = inspect.check(checked, args.save_path, args.workers)
    for target in checked:
        listed = inspect.read_lists(target)
        if args.suspects and listed.utterances:
            embeddings, utterances = embed(args.suspects, target.root, list(listed.utterances))
            messages += inspect.suspects(
                embeddings,
                [str(utterance) for utterance in utterances],
                [listed.utterances[utterance] for utterance in utterances],
                args.save_path / "check" / target.name,
            )
    return messages, ""


def embed(
    model: str, root: Path, utterances: Sequence[Utterance]
) -> tuple[NDArray[np.float32], list[Utterance]]:
    """Model file, utterances under root -> length-normalised embeddings (N, D), and of which utterances."""
    import runtime
    from audio.recordings import Recordings
    from distributed.signals import StopSignal
    from evaluation.embedder import Embedder
    from scoring.mean import Scoring
    from SpeakerNet import SpeakerNet

    device = runtime.choose_device("auto")
    network = SpeakerNet.from_model_file(model).to(device)
    embedder = Embedder(
        Recordings(str(root), [utterance.path for utterance in utterances], spans=spans_of(utterances)),
        scoring=Scoring(length=0, num_crops=1),
        device=device,
        num_workers=0,
        skip_bad=True,
    )
    embeddings = embedder.embed(network, StopSignal())
    kept = embeddings.present.nonzero()[0].tolist()
    return embeddings.vectors[kept, 0].numpy(), [utterances[i] for i in kept]


def augment(args: argparse.Namespace, names: Names) -> Outcome:
    """--augment."""
    noises = {name: corpora()[name] for name in AUGMENTATION}
    return steps.augment(noises, args.save_path, args.source), ""


def pack(args: argparse.Namespace, names: Names) -> Outcome:
    """--pack."""
    return inspect.pack(
        targets(args, names),
        args.save_path,
        args.workers,
        exclude=args.exclude,
        part=ListPart.read(args.shard),
    ), ""


STEPS: dict[str, Callable[[argparse.Namespace, Names], Outcome]] = {
    step.__name__: step
    for step in (download, concatenate, extract, convert, augment, index, generate, check, pack)
}


def write_voices(args: argparse.Namespace) -> SavedLists:
    """--demo or --synthetic."""
    if args.demo:
        from preparation import demo

        return demo.prepare(args.save_path)
    from preparation import synthetic  # SciPy, which it needs, takes seconds to import

    return synthetic.prepare(args.save_path, seed=args.seed)


def run(args: argparse.Namespace) -> None:
    """Run the requested steps in their order; print what each did and the next command."""
    check_arguments(args)
    flags.check_files(args)
    if args.demo or args.synthetic:
        saved = write_voices(args)
        recipe = "configs/demo.yaml" if args.demo else ""
        print(*saved.messages, f"next: {training_command([saved], recipe)}", sep="\n")
        return
    names = chosen(args)
    next_command = ""
    for step, work in STEPS.items():
        if getattr(args, step):
            messages, following = work(args, names)
            print(*map(shown, messages), sep="\n", flush=True)
            next_command = following or next_command
    if args.status:
        known = with_augmentation(args, names or {name: corpora()[name] for name in DEFAULT_CORPORA})
        print(*status(known, args.save_path, args.source), sep="\n")
    if next_command:
        print(f"next: {next_command}")


def main(argv: list[str] | None = None) -> int:
    """The command -> its exit code: 0, 2 for a mistake of the user or damaged data, 130 after Ctrl-C."""
    print_any_name()
    try:
        args, rest = parser().parse_known_args(argv)
        if rest:
            parser().refuse(rest[0])
        run(args)
    except (ValueError, OSError) as error:
        print(f"dataprep.py: error: {shown(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command continues", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
