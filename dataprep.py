"""Prepare audio and lists for trainSpeakerNet.py.

python dataprep.py --demo --save_path data/demo
python dataprep.py --generate --from my_recordings --save_path data/mine
"""

import argparse
import sys
from pathlib import Path

from corpora import demo, folder
from options import BOOLEAN, Parser

NOT_YET = ("download", "concatenate", "extract", "convert", "augment", "user", "username", "password", "key")


def parser() -> Parser:
    """The command's options."""
    made = Parser(__doc__)
    step = made.add_argument_group("what to do")
    step.add_argument("--demo", **BOOLEAN, default=False, help="write a small synthetic corpus")
    step.add_argument("--generate", **BOOLEAN, default=False, help="write lists for a tree speaker/.../file")
    made.add_argument("--save_path", type=Path, default=Path("data"), help="where everything is written")
    made.add_argument("--seed", type=int, default=10, help="decides every draw")
    group = made.add_argument_group("--generate")
    group.add_argument("--from", dest="source", type=Path, help="the tree; default: --save_path")
    group.add_argument(
        "--split_ratio",
        type=float,
        default=-1.0,
        help="share of each speaker's files for trials; -1 = 3 files",
    )
    group.add_argument("--num_trials", type=int, default=10_000, help="most trials")
    later = made.add_argument_group("known from voxceleb_trainer, not in this version yet")
    for name in NOT_YET:
        later.add_argument(f"--{name}", nargs="?", const=True, help=argparse.SUPPRESS)
    return made


def run(args: argparse.Namespace) -> list[str]:
    """Do the step that was asked for -> lines to print."""
    for name in NOT_YET:
        if getattr(args, name) is not None:
            raise ValueError(f"--{name}: preparing VoxCeleb is not part of this version yet")
    if args.demo == args.generate:
        raise ValueError("give one of --demo and --generate")
    if args.seed < 0:
        raise ValueError(f"--seed must not be negative, got {args.seed}")
    source = args.save_path if args.demo else (args.source or args.save_path)
    if args.demo:
        lines = demo.prepare(args.save_path, seed=args.seed)
    else:
        lines = folder.prepare(
            args.save_path,
            source=source,
            split_ratio=args.split_ratio,
            num_trials=args.num_trials,
            seed=args.seed,
        )
    lists = f"--train_list {args.save_path}/train_list.txt --test_list {args.save_path}/test_list.txt"
    paths = f"--train_path {source} --test_path {source}"
    command = "python trainSpeakerNet.py --model ResNetSE34L --trainfunc angleproto"
    return [*lines, f"next: {command} {lists} {paths}"]


def main(argv: list[str] | None = None) -> int:
    """The command -> its exit code: 0, or 2 for a mistake of the user."""
    try:
        args, rest = parser().parse_known_args(argv)
        if rest:
            parser().refuse(rest[0])
        print(*run(args), sep="\n")
    except (ValueError, OSError) as error:
        print(f"dataprep.py: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
