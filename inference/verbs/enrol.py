"""Add recordings of a speaker to a database."""

import json
from typing import Any

from inference.verbs._database import FORMAT, add_flags, book_of, database_parser, heard
from options.flags import Flag
from options.parser import Parser

DESCRIPTION = """Add recordings of a speaker to a database, which is made if there is none.

python inferSpeakerNet.py enrol id10270 id10270/1.wav id10270/2.wav
python inferSpeakerNet.py enrol id10270 headset.wav --db team.db --prototypes max

The recordings are added to those that the speaker has; the same file again replaces what was made of it.
Remarks say which recording disagrees with the others, and whether there is enough speech. The exit code is 2
if a recording can't be used; the others are enrolled."""
PROTOTYPES = Flag(
    "--prototypes",
    "of a new database: compare with the mean of a speaker's recordings, or with each of them, of which the "
    "best counts (max: for different microphones and rooms); default: mean",
    "",
    choices=("mean", "max"),
)


def make_parser(add_help: bool = True) -> Parser:
    """The flags of `enrol`."""
    parser = database_parser(DESCRIPTION, "enrol NAME FILES", add_help)
    parser.add_argument("name", metavar="NAME", help="of the speaker")
    parser.add_argument("files", nargs="+", metavar="FILE", help="recordings of this speaker alone")
    return add_flags(parser, PROTOTYPES, FORMAT, uses_model=True)


def run(words: list[str]) -> int:
    """Enrol a speaker -> exit code."""
    from inference.speakers.database import speaker_name

    args = make_parser().parse_words(words)
    name = speaker_name(args.name)
    book = book_of(args, args.prototypes)
    enrolments = heard(book, args.files)
    if not enrolments:
        return 2
    remarks = book.enrol(name, enrolments)
    records = book.database.recordings(name)
    speech_s = sum(record.speech_s for record in records)
    if args.format == "json":
        values: dict[str, Any] = {"speaker": name, "enrolled": [enrolment.path for enrolment in enrolments]}
        values |= {"num_recordings": len(records), "speech_s": round(speech_s, 3), "remarks": remarks}
        print(json.dumps(values))
    else:
        print(f"{name}: {len(records)} recordings, {speech_s:.1f} s of speech, in {args.db}")
        for remark in remarks:
            print(f"  remark     {remark}")
    return 0 if len(enrolments) == len(args.files) else 2
