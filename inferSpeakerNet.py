"""Use trained models; each verb has its own --help.

python inferSpeakerNet.py convert OLD NEW     rewrite a model file of another program for this trainer
python inferSpeakerNet.py fetch NAME          download a public model once, for --initial_model NAME
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from options import Parser

CONVERT = """Rewrite a model file of another program as one of this trainer, which needs no further flag.

python inferSpeakerNet.py convert baseline_lite_ap.model exps/lite.model --input_scale 32768
python inferSpeakerNet.py convert old.model new.model --model VGGVox --encoder_type TAP

OLD is a file, a folder of a run or of a toolkit, or the name of a public model. The flags say what OLD
doesn't show. Flags of evaluation, as trainSpeakerNet.py --help lists them, are stored in NEW as defaults."""
FETCH = """Download a public model, verify it and convert it; its name then works as --initial_model.

python inferSpeakerNet.py fetch --list
python inferSpeakerNet.py fetch campplus-zh-en

Models are kept in the folder of the environment variable SPEAKERNET_CACHE, by default in the user's cache."""


def convert_parser(add_help: bool = True) -> "Parser":
    """The flags that `convert --help` shows; it also takes those of evaluation."""
    from options import Parser
    from options.flags import CONFIG, NETWORK, ORIGIN

    parser = Parser(CONVERT, add_help)
    parser.usage = "python inferSpeakerNet.py convert OLD NEW [--option value ...]"
    parser.add_flags("command", [CONFIG, ORIGIN])
    parser.add_flags("network", NETWORK)
    return parser


def convert(words: list[str]) -> int:
    """Read a model file of any known format, check that it fits its network, write ours."""
    if len(words) < 2 or any(word.startswith("-") for word in words[:2]):
        raise ValueError("usage: python inferSpeakerNet.py convert OLD NEW [--option value ...]; or --help")
    from inference.conversion import converted
    from inference.model_source import model_path
    from storage import checkpoint

    old, new, *argv = words
    if Path(new).exists():
        raise ValueError(f"{new} exists already")
    result = converted(model_path(old), argv)
    checkpoint.save_model(Path(new), result.model_file)
    for warning in result.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if result.origin:
        print(f"{old} is {result.origin}")
    values = result.model_file.options
    print(f"{new}: {values['model']} with {values['encoder_type']}, self-contained")
    return 0


def fetch_parser(add_help: bool = True) -> "Parser":
    """The flags of `fetch`."""
    from options import Parser

    parser = Parser(FETCH, add_help)
    parser.usage = "python inferSpeakerNet.py fetch NAME | --list"
    parser.add_argument("name", nargs="?", metavar="NAME", default="", help="of a public model")
    parser.add_argument("--list", action="store_true", default=None, help="print the table of public models")
    return parser


def fetch(words: list[str]) -> int:
    """Fetch a public model, or list them."""
    args, rest = fetch_parser().parse_known_args(words)
    if rest:
        fetch_parser().refuse(rest[0])
    if bool(args.name) == bool(args.list):
        raise ValueError("usage: python inferSpeakerNet.py fetch NAME | --list")
    from inference.fetch import cache_folder, cached, fetched
    from inference.listing import description, table
    from inference.public_models import MODELS

    if args.list:
        present = [name for name in MODELS if cached(name).is_file()]
        print(*table(present), f"in {cache_folder()}: {', '.join(present) or 'none of them'}", sep="\n")
        return 0
    path = fetched(args.name)
    print(*description(MODELS[args.name]), f"file        {path}", sep="\n")
    evaluation = "python trainSpeakerNet.py --eval --initial_model"
    print(f"next: {evaluation} {args.name} --test_list LIST --test_path FOLDER --save_path exps/{args.name}")
    return 0


class Verb(NamedTuple):
    """What the first word chooses."""

    make_parser: Callable[[bool], "Parser"]
    run: Callable[[list[str]], int]


VERBS = {"convert": Verb(convert_parser, convert), "fetch": Verb(fetch_parser, fetch)}


def run(words: list[str]) -> int:
    """Do what the command line says -> exit code."""
    if not words or words[0] in ("-h", "--help"):
        print(__doc__.strip())
        return 0
    if words[0] not in VERBS:
        raise ValueError(f"{words[0]}: expected one of {', '.join(VERBS)}; --help tells more")
    verb = VERBS[words[0]]
    if {"-h", "--help"} & set(words):
        verb.make_parser(True).print_help()
        return 0
    return verb.run(words[1:])


def main(argv: list[str] | None = None) -> int:
    """Run the command -> exit code: 0, 2 for a mistake of the user, 130 after Ctrl-C."""
    try:
        return run(sys.argv[1:] if argv is None else argv)
    except (ValueError, OSError) as error:
        print(f"inferSpeakerNet.py: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command continues", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
