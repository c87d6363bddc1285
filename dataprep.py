"""Prepare audio and lists for trainSpeakerNet.py. Steps combine and repeat; what is done is skipped.

python dataprep.py --demo --save_path data/demo
python dataprep.py --generate --from my_recordings --save_path data/mine
python dataprep.py --corpus mini_librispeech --download --extract --generate --check
python dataprep.py --corpus voxceleb1 voxceleb2 --download --extract --convert --generate
python dataprep.py --corpus voxceleb1 voxceleb2 --status
"""

import argparse
import getpass
import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from corpora import _inspect, _steps, demo, folder
from corpora._corpus import Corpus
from corpora._generate import Split
from options import BOOLEAN, ROOT, Parser

KEY_VARIABLE = "VOXCELEB_KEY"
REPLACED = {  # flags of the ancestors that would show a secret to every user of the machine
    "key": f"put the key into the environment variable {KEY_VARIABLE}, or into a file for --key_file",
    "user": f"VoxCeleb is given out by a key since 2022, not by user and password; set {KEY_VARIABLE}",
    "username": f"VoxCeleb is given out by a key since 2022, not by user and password; set {KEY_VARIABLE}",
    "password": f"VoxCeleb is given out by a key since 2022, not by user and password; set {KEY_VARIABLE}",
}
DEFAULT_CORPORA = ["voxceleb1", "voxceleb2"]  # those of voxceleb_trainer's dataprep.py
AUGMENTATION = ["musan", "rirs_noises"]


def corpora() -> dict[str, Corpus]:
    """Names of corpora with archives -> what their files say of them."""
    names = sorted(path.stem for path in (ROOT / "corpora").glob("[!_]*.py"))
    modules = {name: importlib.import_module(f"corpora.{name}") for name in names}
    return {name: module.CORPUS for name, module in modules.items() if hasattr(module, "CORPUS")}


def parser() -> Parser:
    """The command's options."""
    made = Parser(__doc__)
    known = ", ".join(corpora())
    made.add_argument("--corpus", nargs="+", default=[], metavar="NAME", help=f"which: {known}")
    made.add_argument("--save_path", type=Path, default=Path("data"), help="where everything is written")
    made.add_argument("--from", dest="source", type=Path, help="archives or recordings that you have")
    made.add_argument("--seed", type=int, default=10, help="decides every draw")
    made.add_argument("--workers", type=int, default=0, help="processes; 0 = as many as cores")
    group = made.add_argument_group("steps, done in this order")
    for name, text in {
        "demo": "write a small synthetic corpus",
        "download": "fetch the archives, resuming and verifying",
        "concatenate": "verify archives that come in pieces; joining them on the disk isn't needed",
        "extract": "unpack the archives",
        "convert": "turn other formats into 16 kHz mono, as --format says",
        "augment": "extract and list MUSAN and RIRS_NOISES",
        "generate": "write train lists and trial lists",
        "check": "read every file once and report what is wrong",
        "pack": "the recordings of a list as one array file",
        "status": "print what is there and what is missing",
    }.items():
        group.add_argument(f"--{name}", **BOOLEAN, default=False, help=text)
    _add_step_options(made)
    for name in REPLACED:
        made.add_argument(f"--{name}", nargs="?", const="", help=argparse.SUPPRESS)
    return made


def _add_step_options(made: Parser) -> None:
    group = made.add_argument_group("--download")
    group.add_argument("--base_url", default="", help="a mirror's folder instead of the corpus's own server")
    group.add_argument("--key_file", type=Path, help=f"file with VoxCeleb's key; or set {KEY_VARIABLE}")
    group.add_argument("--parallel", type=int, default=4, help="files at once")
    group = made.add_argument_group("--convert")
    group.add_argument("--format", default="wav", choices=("wav", "flac"), help="of the converted files")
    group.add_argument(
        "--shard", default="1/1", help="i/n: only every n-th file from the i-th, for job arrays"
    )
    group = made.add_argument_group("--generate")
    group.add_argument(
        "--split_ratio", type=float, help="share of each speaker's files for trials; -1 = 3 files, 0 = none"
    )
    group.add_argument("--min_utterances", type=int, default=1, help="speakers with fewer are left out")
    group.add_argument("--num_trials", type=int, default=10_000, help="most trials")
    group.add_argument("--kaldi", type=Path, help="also write wav.scp, utt2spk and spk2utt into this folder")
    group = made.add_argument_group("--check and --pack, beside --corpus")
    group.add_argument("--train_list", type=Path, help="a train list; default: the corpus's")
    group.add_argument("--test_list", type=Path, help="a trial list; default: the corpus's")
    group.add_argument(
        "--exclude", type=Path, help="paths that --pack leaves out; default: what --check found"
    )
    group.add_argument("--suspects", default="", help="model file: --check also lists probable label errors")
    group.add_argument("--root", type=Path, help="where the lists' paths start; default: the corpus's")


def secret_key(args: argparse.Namespace, wanted: bool) -> str:
    """VoxCeleb's key from the environment, a file or a prompt; "" where none is wanted."""
    if not wanted or args.base_url:
        return os.environ.get(KEY_VARIABLE, "") if wanted else ""
    if args.key_file is not None:
        try:
            return str(args.key_file.read_text(encoding="utf-8").strip())
        except OSError as error:
            raise OSError(error.errno, error.strerror, f"--key_file {args.key_file}") from None
    if KEY_VARIABLE in os.environ:
        return os.environ[KEY_VARIABLE].strip()
    if sys.stdin.isatty():
        return getpass.getpass("VoxCeleb key (not shown): ").strip()
    raise ValueError(f"VoxCeleb's server wants a key: set {KEY_VARIABLE}, or give --key_file FILE")


def check_arguments(args: argparse.Namespace) -> None:
    """Raises ValueError for flags that can't be, or can't go together."""
    for name, advice in REPLACED.items():
        if getattr(args, name) is not None:
            raise ValueError(f"--{name}: {advice}")
    steps = ("demo", *STEPS, "status")
    if not any(getattr(args, step) for step in steps):
        raise ValueError(f"nothing to do; give one or more of --{', --'.join(steps)}")
    if args.demo and any(getattr(args, step) for step in STEPS):
        raise ValueError("--demo makes its audio and its lists itself; give it alone")
    if args.seed < 0:
        raise ValueError(f"--seed must not be negative, got {args.seed}")
    if args.parallel < 1 or args.workers < 0:
        raise ValueError("--parallel must be at least 1, --workers not negative")
    unknown = [name for name in args.corpus if name not in corpora()]
    if unknown:
        raise ValueError(f"--corpus {unknown[0]}: unknown; there are {', '.join(corpora())}")


def chosen(args: argparse.Namespace) -> dict[str, Corpus]:
    """The corpora that the steps are for; none for the user's own recordings."""
    names = list(args.corpus)
    if args.augment:
        names += [name for name in AUGMENTATION if name not in names]
    needs_corpus = args.download or args.concatenate or args.extract or args.status
    if not names and (needs_corpus or (args.convert and args.source is None)):
        names = DEFAULT_CORPORA
    return {name: corpora()[name] for name in names}


def download(args: argparse.Namespace, names: dict[str, Corpus]) -> list[str]:
    """--download."""
    key = secret_key(args, any(corpus.key for corpus in names.values()))
    for name, corpus in names.items():
        print(f"{name}: {corpus.title}, {corpus.licence}; {corpus.access}", flush=True)
    return _steps.download(names, args.save_path, args.source, args.base_url, key, args.parallel)


def generate(args: argparse.Namespace, names: dict[str, Corpus]) -> list[str]:
    """--generate."""
    ratio = (0.0 if names else -1.0) if args.split_ratio is None else args.split_ratio
    split = Split(ratio, args.min_utterances, args.num_trials, args.seed)
    if names:
        return _steps.generate(names, args.save_path, args.source, split, args.kaldi)
    source = args.source or args.save_path
    start, lines = folder.prepare(args.save_path, source, split)
    if args.kaldi is not None:
        lines += _steps.write_kaldi(args.save_path / "train_list.txt", start, args.kaldi)
    return [*lines, next_command(args.save_path, start)]


def next_command(save_path: Path, source: Path) -> str:
    """What to type after the lists are there."""
    lists = f"--train_list {save_path}/train_list.txt --test_list {save_path}/test_list.txt"
    paths = f"--train_path {source} --test_path {source}"
    return f"next: python trainSpeakerNet.py --model ResNetSE34L --trainfunc angleproto {lists} {paths}"


def check(args: argparse.Namespace, names: dict[str, Corpus]) -> list[str]:
    """--check, and with --suspects the probable label errors."""
    found = targets(args, names)
    told = _inspect.check(found, args.save_path, args.workers)
    for target in found:
        listed = _inspect.read_lists(target)
        if args.suspects and listed.train:
            paths = list(listed.train)
            embeddings, kept = embed(args.suspects, target.root, paths)
            paths = [paths[i] for i in kept]
            told += _inspect.suspects(
                embeddings, paths, [listed.train[p] for p in paths], args.save_path / "check" / target.name
            )
    return told


def embed(model: str, root: Path, paths: list[str]) -> tuple[NDArray[np.float32], list[int]]:
    """Model file, recordings -> length-normalised embeddings (N, D) of the readable ones, their numbers."""
    import checkpoint  # with torch behind them these take longer to import than most steps take
    import runtime
    from audio import Recordings
    from DatasetLoader import EvaluationDataset, evaluation_loader
    from scoring import Trials
    from SpeakerNet import Evaluator, SpeakerNet

    model_file = checkpoint.load_model(model)
    if model_file.origin:
        raise ValueError(
            f"--suspects {model}: turn it into this trainer's by inferSpeakerNet.py convert first"
        )
    network = SpeakerNet.build(argparse.Namespace(**model_file.options))
    checkpoint.load_weights(network, checkpoint.split_loss(model_file.weights)[0], model)
    none = np.zeros(0, dtype=np.int64)
    loader = evaluation_loader(EvaluationDataset(Recordings(str(root), paths), 0, 1), 8, 0)
    device = runtime.choose_device("auto")
    evaluator = Evaluator(
        Trials(paths, none, none, None), loader, "cosine", device, lambda remarks: None, skip_bad=True
    )
    vectors, missing = evaluator.embed(network.to(device), True, runtime.StopSignal())
    kept = [i for i in range(len(paths)) if i not in missing]
    return vectors[kept, 0].numpy(), kept


def targets(args: argparse.Namespace, names: dict[str, Corpus]) -> list[_inspect.Target]:
    """What --check and --pack look at."""
    own = _inspect.Own(args.root, args.train_list, args.test_list)
    return _inspect.targets(names, args.save_path, args.source, own)


STEPS: dict[str, Callable[[argparse.Namespace, dict[str, Corpus]], list[str]]] = {
    "download": download,
    "concatenate": lambda args, names: _steps.concatenate(names, args.save_path, args.source),
    "extract": lambda args, names: _steps.extract(names, args.save_path, args.source),
    "convert": lambda args, names: _steps.convert(
        names, args.save_path, args.source, args.format, args.shard, args.workers
    ),
    "augment": lambda args, names: _steps.augment(
        {name: names[name] for name in AUGMENTATION}, args.save_path, args.source
    ),
    "generate": generate,
    "check": check,
    "pack": lambda args, names: _inspect.pack(
        targets(args, names), args.save_path, args.workers, args.exclude
    ),
}


def run(args: argparse.Namespace) -> None:
    """Do the steps that were asked for, in their order, and print what each did."""
    check_arguments(args)
    if args.source is not None and not args.source.exists():
        raise FileNotFoundError(f"--from {args.source}: no such file or folder")
    if args.demo:
        print(*demo.prepare(args.save_path, seed=args.seed), sep="\n")
        print(next_command(args.save_path, args.save_path))
        return
    names = chosen(args)
    for step, work in STEPS.items():
        if getattr(args, step):
            print(*work(args, names), sep="\n", flush=True)
    if args.status:
        print(*_inspect.status(names, args.save_path, args.source), sep="\n")


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
