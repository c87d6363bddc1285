"""Check a database of speakers, its index and whether its recordings are still there."""

from inference.verbs._database import add_flags, database_parser
from options.parser import Parser

DESCRIPTION = """Check a database of speakers, its index and whether its recordings are still there.

python inferSpeakerNet.py db-check
python inferSpeakerNet.py db-check --db team.db

The exit code is 0 if all is well, 1 if something was found, 2 if it can't be read at all."""


def make_parser(add_help: bool = True) -> Parser:
    """The flags of `db-check`."""
    return add_flags(database_parser(DESCRIPTION, "db-check", add_help))


def run(words: list[str]) -> int:
    """Print what is wrong -> exit code."""
    from inference.speakers.database import SpeakerDatabase
    from inference.speakers.upkeep import findings

    args = make_parser().parse_words(words)
    with SpeakerDatabase(args.db) as database:
        problems = findings(database)
        print(*problems, sep="\n", end="\n" if problems else "")
        if not problems:
            print(f"{args.db}: {len(database.speakers())} speakers, nothing wrong")
    return 1 if problems else 0
