"""The flags of dataprep.py, each declared once, and what must hold between them."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from audio.recording import ALL_CHANNELS
from options.flags import at_least
from options.parser import BOOLEAN, Parser
from preparation.generate import Split
from preparation.keys import VARIABLE
from preparation.parts import WHOLE, ListPart
from preparation.source import is_list
from preparation.speakers import parse_place

REPLACED = {  # flags of voxceleb_trainer that would show a secret to every user of the machine
    "key": f"put the key into the environment variable {VARIABLE}, or into a file for --key_file",
    "user": f"VoxCeleb is given out by a key since 2022, not by user and password; set {VARIABLE}",
    "username": f"VoxCeleb is given out by a key since 2022, not by user and password; set {VARIABLE}",
    "password": f"VoxCeleb is given out by a key since 2022, not by user and password; set {VARIABLE}",
}
STEPS = {  # in the order in which they run
    "demo": "decode the real recordings of examples/demo, and write their lists",
    "synthetic": "write a small corpus of synthetic voices",
    "download": "fetch the archives, resuming and verifying",
    "concatenate": "verify archives that come in pieces; joining them on the disk isn't needed",
    "extract": "unpack the archives",
    "convert": "turn other formats into 16 kHz mono, as --format says",
    "augment": "extract and list MUSAN and RIRS_NOISES",
    "index": "find the recordings in tar files, or in parquet files, and write their train list",
    "generate": "write train lists and trial lists",
    "check": "read every file once and report what is wrong",
    "pack": "store the recordings of a list as one array file",
    "status": "print what is there and what is missing",
}
CORPUS_STEPS = ("download", "concatenate", "extract", "convert", "generate", "check", "pack", "status")


def path(text: str) -> Path:
    """`~/x` -> the path in the home directory, which shells expand only at the start of a word."""
    return Path(text).expanduser()


class Flag(NamedTuple):
    """A command-line flag and the steps that use it; other steps reject it."""

    name: str
    help: str
    steps: tuple[str, ...]
    group: str = ""  # title in the help; "" = among the general flags
    default: Any = None
    type: Callable[[str], Any] = str
    option: str = ""  # attribute that holds the value; "" = the flag's name
    choices: tuple[str, ...] | None = None
    nargs: str | None = None
    metavar: str | None = None
    must_exist: bool = False  # names a file or folder that is read
    only_own_recordings: bool = False  # has no meaning for a corpus

    def value(self, args: argparse.Namespace) -> Any:
        """The parsed value."""
        return getattr(args, self.option or self.name)


LISTS = "--check and --pack of your own recordings"
FLAGS = (
    Flag(
        "corpus",
        "which corpora",
        CORPUS_STEPS,
        default=[],
        nargs="+",
        metavar="NAME",
    ),
    Flag("save_path", "where everything is written", tuple(STEPS), default=Path("data"), type=path),
    Flag(
        "from",
        "archives or recordings that you have",
        (*CORPUS_STEPS, "augment", "index"),
        type=path,
        option="source",
        must_exist=True,
    ),
    Flag("seed", "seed of all random draws", ("synthetic", "generate"), default=10, type=int),
    Flag(
        "workers", "processes; 0 = one per core", ("convert", "index", "check", "pack"), default=0, type=int
    ),
    Flag(
        "base_url",
        "a mirror's folder instead of the corpus's server",
        ("download",),
        "--download",
        default="",
    ),
    Flag(
        "key_file",
        f"file with VoxCeleb's key; or set {VARIABLE}",
        ("download",),
        "--download",
        type=path,
        must_exist=True,
    ),
    Flag("parallel", "files fetched at once", ("download",), "--download", default=4, type=int),
    Flag(
        "format",
        "format of the converted files",
        ("convert",),
        "--convert",
        default="wav",
        choices=("wav", "flac"),
    ),
    Flag(
        "shard",
        "i/n: the i-th of n parts, for job arrays; the last --pack to end joins them",
        ("convert", "pack"),
        "--convert and --pack",
        default="1/1",
    ),
    Flag(
        "channel",
        "channel of recordings that have several, 0: the first; -1: they are mixed down",
        ("convert",),
        "--convert",
        default=ALL_CHANNELS,
        type=at_least(ALL_CHANNELS),
        metavar="N",
    ),
    Flag(
        "speaker_column",
        "column of parquet files that names the speakers; default: speaker_id, client_id or the like",
        ("index",),
        "--index",
        default="",
        metavar="NAME",
    ),
    Flag(
        "split_ratio",
        "share of each speaker's files for trials; -1 = 3 files (2 of 4), 0 = none",
        ("generate",),
        "--generate",
        type=float,
    ),
    Flag(
        "min_utterances",
        "speakers with fewer are left out",
        ("generate",),
        "--generate",
        default=1,
        type=int,
    ),
    Flag("num_trials", "maximum number of trials", ("generate",), "--generate", default=10_000, type=int),
    Flag(
        "exclude_speakers",
        "file of speakers that train lists leave out, one in a line, such as those of other trials",
        ("generate",),
        "--generate",
        type=path,
        must_exist=True,
    ),
    Flag("kaldi", "also write Kaldi directories into this folder", ("generate",), "--generate", type=path),
    Flag(
        "speaker_folder",
        "number of the folder that names the speaker in the paths under --from (0: the first; -1: the file's "
        "own), or a regular expression for whole paths, whose group `speaker`, or first group, is the name; "
        "default: the first folder, unless it looks like a part of a corpus",
        ("generate",),
        "--generate",
        type=parse_place,
        metavar="NUMBER|REGEX",
        only_own_recordings=True,
    ),
    Flag(
        "train_list",
        "a train list, table or Kaldi directory; default: the one under --save_path",
        ("check", "pack"),
        LISTS,
        type=path,
        must_exist=True,
        only_own_recordings=True,
    ),
    Flag(
        "test_list",
        "a trial list of any form that evaluation accepts; default: the one under --save_path",
        ("check", "pack"),
        LISTS,
        type=path,
        must_exist=True,
        only_own_recordings=True,
    ),
    Flag(
        "root",
        "folder that a list's paths are relative to, also for --generate --from LIST",
        ("generate", "check", "pack"),
        LISTS,
        type=path,
        must_exist=True,
        only_own_recordings=True,
    ),
    Flag(
        "exclude",
        "file of paths to leave out; default: the one that --check wrote",
        ("pack",),
        "--pack",
        type=path,
        must_exist=True,
    ),
    Flag(
        "suspects",
        "model file: also list probable label errors",
        ("check",),
        "--check",
        default="",
        must_exist=True,
    ),
)


def add_flags(parser: Parser, corpora: list[str]) -> None:
    """Add all flags and steps to a parser; corpora: the names that --corpus accepts."""
    groups: dict[str, Any] = {"": parser}
    steps = parser.add_argument_group("steps, run in this order")
    for step, text in STEPS.items():
        steps.add_argument(f"--{step}", **BOOLEAN, default=False, help=text)
    for flag in FLAGS:
        if flag.group not in groups:
            groups[flag.group] = parser.add_argument_group(flag.group)
        groups[flag.group].add_argument(
            f"--{flag.name}",
            dest=flag.option or flag.name,
            type=flag.type,
            default=flag.default,
            choices=flag.choices,
            nargs=flag.nargs,
            metavar=flag.metavar,
            help=f"{flag.help}: {', '.join(corpora)}" if flag.name == "corpus" else flag.help,
        )
    for name in REPLACED:
        parser.add_argument(f"--{name}", nargs="?", const="", help=argparse.SUPPRESS)


def split_settings(args: argparse.Namespace, default_ratio: float) -> Split:
    """Flags -> how --generate splits recordings; default_ratio applies without --split_ratio."""
    ratio = default_ratio if args.split_ratio is None else args.split_ratio
    return Split(ratio, args.min_utterances, args.num_trials, args.seed)


def check_flags(args: argparse.Namespace) -> None:
    """Raises ValueError for values out of range, and for flags that exclude each other or have no effect."""
    for name, advice in REPLACED.items():
        if getattr(args, name) is not None:
            raise ValueError(f"--{name}: {advice}")
    steps = [step for step in STEPS if getattr(args, step)]
    if not steps:
        raise ValueError(f"nothing to do; give one or more of --{', --'.join(STEPS)}")
    alone = next((step for step in ("demo", "synthetic") if getattr(args, step)), None)
    if alone and len(steps) > 1:
        raise ValueError(f"--{alone} cannot be combined with other steps")
    if args.seed < 0:
        raise ValueError(f"--seed must not be negative, got {args.seed}")
    if args.parallel < 1 or args.workers < 0:
        raise ValueError("--parallel must be at least 1, --workers not negative")
    for flag in FLAGS:
        if flag.value(args) != flag.default and not set(flag.steps).intersection(steps):
            used_by = ", --".join(step for step in STEPS if step in flag.steps)
            raise ValueError(f"--{flag.name} has no effect with --{steps[-1]}; it is for --{used_by}")
    split_settings(args, 0.0).check()
    if ListPart.read(args.shard) != WHOLE and args.generate:
        raise ValueError("--generate needs all parts; give it without --shard when they are there")


def own_recordings_flags(args: argparse.Namespace) -> list[str]:
    """Names of the given flags that are only for the user's own recordings."""
    return [flag.name for flag in FLAGS if flag.only_own_recordings and flag.value(args) is not None]


def check_files(args: argparse.Namespace) -> None:
    """Raises FileNotFoundError or ValueError for flags that name a missing file or folder."""
    for flag in FLAGS:
        path = flag.value(args)
        if flag.must_exist and path and not Path(path).exists():
            raise FileNotFoundError(f"--{flag.name} {path}: no such file or folder")
    if args.speaker_folder is not None and args.source and is_list(args.source):
        raise ValueError(f"--speaker_folder is for folders of recordings; {args.source} names its speakers")
    if args.root and args.source and not is_list(args.source) and args.root != args.source:
        raise ValueError(f"--root {args.root}: the paths of a folder's recordings start at it, {args.source}")
