"""Say who of the enrolled speakers speaks in a recording, or that nobody of them does."""

from audio.errors import AudioError
from inference.verbs._database import (
    DECIDING,
    JSON,
    add_flags,
    book_of,
    database_parser,
    exit_code,
    show,
    tell,
)
from inference.verbs._model import MICROPHONE, recordings_of
from options.flags import Flag, at_least
from options.parser import Parser

DESCRIPTION = """Say who of the enrolled speakers speaks in a recording, or that nobody of them does.

python inferSpeakerNet.py identify unknown.wav
python inferSpeakerNet.py identify a.wav b.wav --db team.db --json

The best speaker is accepted if the score reaches a threshold, which grows with the number of speakers, and
exceeds that of the runner-up by a margin; `tune` measures both. The exit code is 0 for somebody, 1 for
nobody, 2 for an error or a recording without speech; of many recordings the largest one."""
TOP = Flag("--top", "how many speakers are shown", 5, at_least(1), metavar="N")


def make_parser(add_help: bool = True) -> Parser:
    """The flags of `identify`."""
    parser = database_parser(DESCRIPTION, "identify FILES", add_help)
    parser.add_argument("files", nargs="*", metavar="FILE", help='recordings; "-": standard input')
    return add_flags(parser, MICROPHONE, *DECIDING, TOP, JSON, uses_model=True)


def run(words: list[str]) -> int:
    """Print who speaks -> exit code."""
    args = make_parser().parse_words(words)
    if not args.files and args.mic is None:
        raise ValueError("expected recordings or --mic SECONDS")
    book = book_of(args)
    worst = 0
    for recording in recordings_of(args.files, args.mic):
        try:
            found = book.identify(recording, args.top)
        except AudioError as error:
            tell(str(error))
            worst = 2
            continue
        show(found, args.json, book.required_rule().origin, "nobody")
        worst = max(worst, exit_code(found))
    return worst
