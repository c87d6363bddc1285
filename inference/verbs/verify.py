"""Say whether an enrolled speaker speaks in a recording."""

from inference.verbs._database import (
    DECIDING,
    JSON,
    add_flags,
    book_of,
    database_parser,
    exit_code,
    show,
)
from inference.verbs._model import MICROPHONE, recordings_of
from options.parser import Parser

DESCRIPTION = """Say whether an enrolled speaker speaks in a recording.

python inferSpeakerNet.py verify "Ann Lee" call.wav
python inferSpeakerNet.py verify "Ann Lee" call.wav --db team.db --threshold 0.6

The exit code is 0 if so, 1 if not, 2 for an error or a recording without speech."""


def make_parser(add_help: bool = True) -> Parser:
    """The flags of `verify`."""
    parser = database_parser(DESCRIPTION, "verify NAME FILE", add_help)
    parser.add_argument("name", metavar="NAME", help="of the speaker")
    parser.add_argument("file", nargs="?", metavar="FILE", help='a recording; "-": standard input')
    return add_flags(parser, MICROPHONE, DECIDING[0], JSON, uses_model=True)


def run(words: list[str]) -> int:
    """Print the decision -> exit code."""
    args = make_parser().parse_words(words)
    if (args.file is None) == (args.mic is None):
        raise ValueError("expected a recording or --mic SECONDS")
    book = book_of(args)
    [recording] = recordings_of([args.file] if args.file else [], args.mic)
    found = book.verify(args.name, recording)
    show(found, args.json, book.required_rule().origin, f"not {args.name}")
    return exit_code(found)
