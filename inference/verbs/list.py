"""List the enrolled speakers, or the recordings of one."""

import json

from inference.verbs._database import FORMAT, add_flags, database_parser
from options.parser import Parser

DESCRIPTION = """List the enrolled speakers, or the recordings of one.

python inferSpeakerNet.py list
python inferSpeakerNet.py list id10270 --db team.db --format json"""


def make_parser(add_help: bool = True) -> Parser:
    """The flags of `list`."""
    parser = database_parser(DESCRIPTION, "list [NAME]", add_help)
    parser.add_argument("name", nargs="?", default="", metavar="NAME", help="of a speaker")
    return add_flags(parser, FORMAT)


def run(words: list[str]) -> int:
    """Print the table -> exit code."""
    from inference.speakers.database import Speaker, SpeakerDatabase, StoredRecording

    args = make_parser().parse_words(words)
    rows: list[Speaker] | list[StoredRecording]
    with SpeakerDatabase(args.db) as database:
        rows = database.recordings(args.name) if args.name else database.speakers()
    for row in rows:
        if args.format == "json":
            print(json.dumps(row._asdict()))
            continue
        columns = f"{row.speech_s:8.1f} s of speech  {row.date}"
        if isinstance(row, Speaker):
            print(f"{columns}  {row.num_recordings:4} recordings  {row.name}")
        else:
            print(f"{columns}  {row.path}")
    return 0
