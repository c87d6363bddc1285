"""Say which enrolled speaker speaks in a recording, if any."""

from inference.verbs._database import DECIDING, FORMAT, add_flags, answer_each, database_parser
from inference.verbs._model import MICROPHONE
from options.flags import Flag, at_least
from options.parser import Parser

DESCRIPTION = """Say which enrolled speaker speaks in a recording, if any.

python inferSpeakerNet.py identify unknown.wav
python inferSpeakerNet.py identify --mic 5 --db team.db --format json

The best speaker is accepted if the score reaches a threshold, which grows with the number of speakers, and
exceeds that of the runner-up by a margin; `tune` measures both. The exit code is 0 for somebody, 1 for
nobody, 2 for an error or a recording without speech; for several recordings, the largest of these."""
TOP = Flag("--top", "how many speakers are shown", 5, at_least(1), metavar="N")


def make_parser(add_help: bool = True) -> Parser:
    """The flags of `identify`."""
    parser = database_parser(DESCRIPTION, "identify FILES", add_help)
    parser.add_argument("files", nargs="*", metavar="FILE", help='recordings; "-": standard input')
    return add_flags(parser, *DECIDING, MICROPHONE, TOP, FORMAT, uses_model=True)


def run(words: list[str]) -> int:
    """Print who speaks -> exit code."""
    args = make_parser().parse_words(words)
    return answer_each(args, lambda book, recording: book.identify(recording, args.top), "nobody")
