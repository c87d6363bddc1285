"""Say whether an enrolled speaker speaks in a recording."""

from inference.verbs._database import DECIDING, FORMAT, add_flags, answer_each, database_parser
from inference.verbs._model import MICROPHONE
from options.parser import Parser

DESCRIPTION = """Say whether an enrolled speaker speaks in a recording.

python inferSpeakerNet.py verify id10270 call.wav
python inferSpeakerNet.py verify id10270 call.wav --db team.db --threshold 0.6

The exit code is 0 if so, 1 if not, 2 for an error or a recording without speech; of many recordings the
largest one."""


def make_parser(add_help: bool = True) -> Parser:
    """The flags of `verify`."""
    parser = database_parser(DESCRIPTION, "verify NAME FILES", add_help)
    parser.add_argument("name", metavar="NAME", help="of the speaker")
    parser.add_argument("files", nargs="*", metavar="FILE", help='recordings; "-": standard input')
    return add_flags(parser, DECIDING[0], MICROPHONE, FORMAT, uses_model=True)


def run(words: list[str]) -> int:
    """Print the decision -> exit code."""
    from inference.speakers.database import SpeakerDatabase

    args = make_parser().parse_words(words)
    with SpeakerDatabase(args.db) as database:
        database.vectors(args.name)  # an unknown name is told before seconds have passed
    return answer_each(args, lambda book, recording: book.verify(args.name, recording), f"not {args.name}")
