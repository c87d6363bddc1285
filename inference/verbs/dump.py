"""Print everything in a database of speakers as text."""

from inference.verbs._database import add_flags, database_parser
from options.flags import Flag
from options.parser import Parser

DESCRIPTION = """Print everything in a database of speakers as text.

python inferSpeakerNet.py dump > speakers.jsonl
python inferSpeakerNet.py dump --db team.db --format csv --vectors > speakers.csv"""
FLAGS = [
    Flag(
        "--format",
        "json: settings, then an object a recording; csv: a table",
        "json",
        choices=("json", "csv"),
    ),
    Flag("--vectors", "also the embeddings", False, bool),
]


def make_parser(add_help: bool = True) -> Parser:
    """The flags of `dump`."""
    return add_flags(database_parser(DESCRIPTION, "dump", add_help), *FLAGS)


def run(words: list[str]) -> int:
    """Print the lines -> exit code."""
    from inference.speakers.database import SpeakerDatabase
    from inference.speakers.upkeep import csv_lines, json_lines

    args = make_parser().parse_words(words)
    lines_of = json_lines if args.format == "json" else csv_lines
    with SpeakerDatabase(args.db) as database:
        for line in lines_of(database, args.vectors):
            print(line)
    return 0
