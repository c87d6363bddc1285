"""Add recordings of a speaker to a database."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audio.errors import AudioError
from inference.verbs._database import FORMAT, add_flags, database_parser, tell
from inference.verbs._model import voice_of
from options.flags import Flag
from options.parser import Parser

if TYPE_CHECKING:
    from inference.speakers.database import Enrolment
    from inference.voices import Voice

DESCRIPTION = """Add recordings of a speaker to a database, which is made if there is none.

python inferSpeakerNet.py enrol id10270 id10270/1.wav id10270/2.wav
python inferSpeakerNet.py enrol id10270 headset.wav --db team.db --prototypes max

The recordings are added to those that the speaker has; a file given again replaces its enrolment.
Remarks say which recording disagrees with the others, and whether there is enough speech. The exit code is 2
if a recording can't be used; the others are enrolled, and without any nothing is written."""
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
    from inference.speakers.database_file import require_folder

    args = make_parser().parse_words(words)
    name = speaker_name(args.name)
    require_folder(Path(args.db))
    voice = voice_of(args)
    from inference.speakers.identification import open_book

    if Path(args.db).exists():  # one of another model is refused before the recordings are embedded
        open_book(voice, args.db, prototypes=args.prototypes).database.close()
    enrolments = heard(voice, args.files)
    if not enrolments:
        return 2
    with open_book(voice, args.db, prototypes=args.prototypes) as book:
        remarks = book.enrol(name, enrolments)
        records = book.database.recordings(name)
    speech_s = sum(record.speech_s for record in records)
    if args.format == "json":
        values: dict[str, Any] = {"speaker": name, "enrolled": [enrolment.path for enrolment in enrolments]}
        values |= {"num_recordings": len(records), "speech_s": round(speech_s, 3), "remarks": remarks}
        print(json.dumps(values))
    else:
        plural = "" if len(records) == 1 else "s"
        print(f"{name}: {len(records)} recording{plural}, {speech_s:.1f} s of speech, in {args.db}")
        for remark in remarks:
            print(f"  remark     {remark}")
    return 0 if len(enrolments) == len(args.files) else 2


def heard(voice: "Voice", paths: Sequence[str]) -> "list[Enrolment]":
    """Recordings -> those that can be enrolled; the others are reported on standard error."""
    from inference.speakers.identification import listen

    enrolments = []
    for recording in paths:
        try:
            enrolments.append(listen(voice, recording))
        except AudioError as error:
            tell(str(error))
    return enrolments
