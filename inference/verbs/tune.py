"""Tune threshold and margin of identification on the enrolled speakers."""

from inference.verbs._database import add_flags, book_of, database_parser
from options.flags import Flag
from options.parser import Parser

DESCRIPTION = """Tune threshold and margin of `identify` and `verify` on the enrolled speakers.

python inferSpeakerNet.py tune
python inferSpeakerNet.py tune --db team.db --p_fa 0.001

Compares each recording with the others of its speaker, and with the other speakers as that of a stranger.
Needs five speakers with two recordings or more; the more there are, the less the model's own threshold
counts."""
P_FA = Flag("--p_fa", "share of strangers who may be taken for somebody", 0.01, float, metavar="P")


def make_parser(add_help: bool = True) -> Parser:
    """The flags of `tune`."""
    return add_flags(database_parser(DESCRIPTION, "tune", add_help), P_FA, uses_model=True)


def run(words: list[str]) -> int:
    """Tune, store and print the decision -> exit code."""
    args = make_parser().parse_words(words)
    with book_of(args) as book:
        print(*book.tune(args.p_fa).lines(), sep="\n")
    return 0
