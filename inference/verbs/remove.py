"""Remove a speaker from a database, or one recording of a speaker."""

from inference.verbs._database import add_flags, database_parser
from options.flags import Flag, path
from options.parser import Parser

DESCRIPTION = """Remove a speaker from a database, or one recording of a speaker.

python inferSpeakerNet.py remove id10270
python inferSpeakerNet.py remove id10270 --recording bad.wav --db team.db

Files with recordings stay. A speaker without recordings is removed."""
RECORDING = Flag("--recording", "the recording that is removed; default: all", None, path, metavar="FILE")


def make_parser(add_help: bool = True) -> Parser:
    """The flags of `remove`."""
    parser = database_parser(DESCRIPTION, "remove NAME", add_help)
    parser.add_argument("name", metavar="NAME", help="of the speaker")
    return add_flags(parser, RECORDING)


def run(words: list[str]) -> int:
    """Remove -> exit code."""
    from inference.speakers.database import SpeakerDatabase

    args = make_parser().parse_words(words)
    with SpeakerDatabase(args.db) as database:
        database.remove(args.name, args.recording)
    print(f"{args.recording or args.name}: removed from {args.db}")
    return 0
