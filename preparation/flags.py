"""The flags of dataprep.py: what they are, which steps heed them, and which can't go together."""

import argparse
from pathlib import Path

from options.parser import BOOLEAN, Parser
from preparation.convert import shard
from preparation.generate import Split
from preparation.keys import VARIABLE
from preparation.source import is_list

REPLACED = {  # flags of the ancestors that would show a secret to every user of the machine
    "key": f"put the key into the environment variable {VARIABLE}, or into a file for --key_file",
    "user": f"VoxCeleb is given out by a key since 2022, not by user and password; set {VARIABLE}",
    "username": f"VoxCeleb is given out by a key since 2022, not by user and password; set {VARIABLE}",
    "password": f"VoxCeleb is given out by a key since 2022, not by user and password; set {VARIABLE}",
}
OWN = ("train_list", "test_list", "root")  # flags for the user's own recordings only
STEPS = {  # in their order
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
}
HEEDED = {  # by each step, beside --save_path
    "demo": ("seed",),
    "download": ("corpus", "source", "base_url", "key_file", "parallel"),
    "concatenate": ("corpus", "source"),
    "extract": ("corpus", "source"),
    "convert": ("corpus", "source", "workers", "format", "shard"),
    "augment": ("source",),
    "generate": (
        *("corpus", "source", "seed", "root"),
        *("split_ratio", "min_utterances", "num_trials", "kaldi"),
    ),
    "check": ("corpus", "source", "workers", *OWN, "suspects"),
    "pack": ("corpus", "source", "workers", *OWN, "exclude"),
    "status": ("corpus", "source"),
}


def add_flags(made: Parser, names: list[str]) -> None:
    """Add all flags to a parser; names: of the corpora."""
    made.add_argument("--corpus", nargs="+", default=[], metavar="NAME", help=f"which: {', '.join(names)}")
    made.add_argument("--save_path", type=Path, default=Path("data"), help="where everything is written")
    made.add_argument("--from", dest="source", type=Path, help="archives or recordings that you have")
    made.add_argument("--seed", type=int, default=10, help="decides every draw")
    made.add_argument("--workers", type=int, default=0, help="processes; 0 = as many as cores")
    group = made.add_argument_group("steps, done in this order")
    for name, text in STEPS.items():
        group.add_argument(f"--{name}", **BOOLEAN, default=False, help=text)
    _add_step_flags(made)
    for name in REPLACED:
        made.add_argument(f"--{name}", nargs="?", const="", help=argparse.SUPPRESS)


def _add_step_flags(made: Parser) -> None:
    group = made.add_argument_group("--download")
    group.add_argument("--base_url", default="", help="a mirror's folder instead of the corpus's own server")
    group.add_argument("--key_file", type=Path, help=f"file with VoxCeleb's key; or set {VARIABLE}")
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
    group.add_argument("--kaldi", type=Path, help="also write Kaldi directories into this folder")
    group = made.add_argument_group("--check and --pack of your own recordings")
    group.add_argument("--train_list", type=Path, help="a train list; default: the one under --save_path")
    group.add_argument("--test_list", type=Path, help="a trial list; default: the one under --save_path")
    group.add_argument(
        "--root", type=Path, help="where a list's paths start, also for --generate --from LIST"
    )
    group = made.add_argument_group("--pack")
    group.add_argument("--exclude", type=Path, help="paths to leave out; default: what --check found")
    group = made.add_argument_group("--check")
    group.add_argument("--suspects", default="", help="model file: also list probable label errors")


def split(args: argparse.Namespace, ratio: float) -> Split:
    """How --generate makes lists, with this ratio if none was given."""
    ratio = ratio if args.split_ratio is None else args.split_ratio
    return Split(ratio, args.min_utterances, args.num_trials, args.seed)


def check_flags(args: argparse.Namespace, parser: Parser) -> None:
    """Raises ValueError for flags that can't be, can't go together, or would have no effect."""
    for name, advice in REPLACED.items():
        if getattr(args, name) is not None:
            raise ValueError(f"--{name}: {advice}")
    steps = [step for step in HEEDED if getattr(args, step)]
    if not steps:
        raise ValueError(f"nothing to do; give one or more of --{', --'.join(HEEDED)}")
    if args.demo and len(steps) > 1:
        raise ValueError("--demo makes its audio and its lists itself; give it alone")
    if args.seed < 0:
        raise ValueError(f"--seed must not be negative, got {args.seed}")
    if args.parallel < 1 or args.workers < 0:
        raise ValueError("--parallel must be at least 1, --workers not negative")
    for flag in dict.fromkeys(flag for flags in HEEDED.values() for flag in flags):
        heeding = [step for step, flags in HEEDED.items() if flag in flags]
        if getattr(args, flag) != parser.get_default(flag) and not set(heeding) & set(steps):
            name = {"source": "from"}.get(flag, flag)
            raise ValueError(f"--{name} has no effect with --{steps[-1]}; it is for --{', --'.join(heeding)}")
    split(args, 0.0).check()
    shard([], args.shard)


def check_files(args: argparse.Namespace) -> None:
    """Raises FileNotFoundError or ValueError for flags that name what isn't there."""
    for flag in ("source", "key_file", "train_list", "test_list", "suspects", "exclude", "root"):
        path = getattr(args, flag)
        if path and not Path(path).exists():
            name = {"source": "from"}.get(flag, flag)
            raise FileNotFoundError(f"--{name} {path}: no such file or folder")
    if args.root and args.source and not is_list(args.source) and args.root != args.source:
        raise ValueError(f"--root {args.root}: the paths of a folder's recordings start at it, {args.source}")
