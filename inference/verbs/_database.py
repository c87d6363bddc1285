"""What the verbs about a database of speakers share: flags, and answers in words."""

import argparse
import json
import math
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from audio.errors import AudioError
from inference.verbs._model import add_model_flags, recorded, voice_of
from options.flags import Flag, path, within
from options.parser import Parser

if TYPE_CHECKING:
    from inference.speakers.identification import Identification, SpeakerBook
    from inference.voices import Recording

DB = Flag("--db", "the database of speakers", "speakers.db", path, metavar="FILE")
FORMAT = Flag("--format", "text, or json: an object a line", "text", choices=("text", "json"))
DECIDING = [
    Flag(
        "--threshold",
        "accept scores of at least this, for any number of speakers; default: the tuned threshold, else the "
        "model's, which grow with that number",
        None,
        within(-math.inf, math.inf),
    ),
    Flag(
        "--margin",
        "by which the best score exceeds the second; default: the tuned one, else the model's; none with "
        "--threshold",
        None,
        within(0.0, math.inf),
    ),
]


def database_parser(description: str, usage: str, add_help: bool) -> Parser:
    """The description of a verb, its words after `inferSpeakerNet.py` -> parser."""
    parser = Parser(description, add_help)
    parser.usage = f"python inferSpeakerNet.py {usage} [--option value ...]"
    return parser


def add_flags(parser: Parser, *flags: Flag, uses_model: bool = False) -> Parser:
    """Add flags and --db, and those of the model if the verb uses one."""
    parser.add_flags("database", [DB, *flags])
    if uses_model:
        add_model_flags(parser)
    return parser


def book_of(args: argparse.Namespace, threads: int | None = None) -> "SpeakerBook":
    """Values of the flags, threads instead of those of --threads -> voice and database.

    Raises:
        ValueError, OSError: the model or the database can't be used.
    """
    from inference.speakers.database import SpeakerDatabase

    SpeakerDatabase(args.db).close()  # a wrong path is reported before the model is loaded
    threshold, margin = getattr(args, "threshold", None), getattr(args, "margin", None)
    voice = voice_of(args, threshold, threads)
    from inference.speakers.identification import open_book

    return open_book(voice, args.db, threshold=threshold, margin=margin)


def tell(message: str) -> None:
    """Print a line about a mistake that doesn't stop the command."""
    print(f"inferSpeakerNet.py: error: {message}", file=sys.stderr)


def answer_each(
    args: argparse.Namespace, ask: "Callable[[SpeakerBook, Recording], Identification]", nobody: str
) -> int:
    """Print the answers about the recordings that the flags name -> exit code, the largest one.

    Args:
        args: values of the flags.
        ask: database, recording -> answer.
        nobody: what is printed instead of a name.

    Raises:
        ValueError, OSError: no recording is named, or the model or the database can't be used.
    """
    if not args.files and args.mic is None:
        raise ValueError("expected a recording, or --mic SECONDS")
    worst = 0
    with book_of(args) as book:
        origin = book.required_rule().origin
        for name in [*args.files, *([None] if args.mic is not None else [])]:
            try:
                identification = ask(book, recorded(args.mic) if name is None else name)
            except AudioError as error:
                tell(str(error))
                worst = 2
                continue
            show(identification, args.format == "json", origin, nobody)
            worst = max(worst, exit_code(identification))
    return worst


def exit_code(identification: "Identification") -> int:
    """0 for an accepted speaker, 1 for none, 2 without speech."""
    if identification.recording.summary is None:
        return 2
    return 0 if identification.answer.name is not None else 1


def values_of(identification: "Identification") -> dict[str, Any]:
    """An answer -> plain values for JSON."""
    return {
        "file": identification.recording.name,
        "speaker": identification.answer.name,
        "reason": identification.answer.reason,
        "threshold": identification.answer.threshold,
        "ranked": [match._asdict() for match in identification.ranked],
        "duration_s": round(identification.recording.duration_s, 3),
        "speech_s": round(identification.recording.speech_s, 3),
        "warnings": list(identification.recording.warnings),
    }


def show(identification: "Identification", as_json: bool, origin: str, nobody: str) -> None:
    """Print an answer.

    Args:
        identification: the answer.
        as_json: an object in a line.
        origin: where the threshold comes from.
        nobody: what is printed instead of a name.
    """
    if as_json:
        print(json.dumps(values_of(identification)))
        return
    answer, recording = identification.answer, identification.recording
    print(f"{recording.name}: {answer.name or f'{nobody}: {answer.reason}'}")
    for match in identification.ranked:
        print(f"  {match.score:8.4f}   {match.name}")
    print(f"  threshold  {answer.threshold:.4f} ({origin})")
    print(f"  speech     {recording.speech_s:.1f} of {recording.duration_s:.1f} s")
    for warning in recording.warnings:
        print(f"  warning    {warning}")
