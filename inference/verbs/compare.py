"""Decide whether two recordings are of one speaker."""

import argparse
import csv
import json
import sys
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from audio.errors import AudioError
from inference.verbs._model import MICROPHONE, THRESHOLD, add_model_flags, recorded, voice_of
from metrics.fields import shown
from options.flags import Flag, path, within
from options.parser import Parser

if TYPE_CHECKING:
    from inference.voices import Comparison, Embedding, Voice

DESCRIPTION = """Decide whether two recordings are of one speaker.

python inferSpeakerNet.py compare enrolment.wav test.wav
python inferSpeakerNet.py compare --test_list pairs.txt --test_path recordings --format csv > answers.csv

The score is the cosine of the two embeddings, or what the model's scoring makes of them. The exit code is 0
for one speaker, 1 for two, 2 for an error, a recording without speech or a model without a threshold;
for many pairs, the largest of these."""
FIELDS = (
    "first",
    "second",
    "score",
    "threshold",
    "probability",
    "decision",
    "reason",
    "first_duration_s",
    "first_speech_s",
    "second_duration_s",
    "second_speech_s",
    "warnings",
)
MICROPHONE_NAME = "microphone"  # where others have a path
EXIT_CODES = {"accepted": 0, "rejected": 1, "undecided": 2}


class Answer(NamedTuple):
    """A pair of paths and what is known about them; why nothing is, if one can't be read."""

    first: str
    second: str
    comparison: "Comparison | None"
    error: str = ""

    @property
    def decision(self) -> str:
        """accepted, rejected or undecided."""
        accepted = None if self.comparison is None else self.comparison.accepted
        return {True: "accepted", False: "rejected", None: "undecided"}[accepted]

    def values(self) -> dict[str, Any]:
        """The values of FIELDS; None for unknown ones."""
        values: dict[str, Any] = dict.fromkeys(FIELDS)
        values |= {"first": self.first, "second": self.second, "decision": self.decision}
        if self.comparison is None:
            return values | {"reason": self.error, "warnings": []}
        for name in ("score", "threshold", "probability"):
            value = getattr(self.comparison, name)
            values[name] = value if value is None else round(value, 6)
        values["reason"] = self.comparison.reason
        for side in ("first", "second"):
            embedding = getattr(self.comparison, side)
            values[f"{side}_duration_s"] = round(embedding.duration_s, 3)
            values[f"{side}_speech_s"] = round(embedding.speech_s, 3)
        return values | {"warnings": self.warnings()}

    def warnings(self) -> list[str]:
        """Why the answer may be wrong."""
        if self.comparison is None:
            return []
        first, second, *_ = self.comparison
        sides = [first] if first is second else [first, second]
        return [f"{side.name}: {warning}" for side in sides for warning in side.warnings]


def make_parser(add_help: bool = True) -> Parser:
    """The flags of `compare`."""
    parser = Parser(DESCRIPTION, add_help)
    parser.usage = "python inferSpeakerNet.py compare A B [--option value ...]"
    parser.add_argument("files", nargs="*", metavar="FILE", help='two recordings; "-": standard input')
    flags = [
        MICROPHONE,
        Flag("--test_list", "many pairs: lines of `enrol test`, or a trial list of another form", "", path),
        Flag("--test_path", "folder of the recordings of --test_list", "", path),
        THRESHOLD,
        Flag("--prior", "probability of one speaker before listening", 0.5, within(1e-9, 1.0)),
        Flag(
            "--format",
            "text; csv: a table; json: an object a line",
            "text",
            choices=("text", "csv", "json"),
        ),
    ]
    parser.add_flags("comparison", flags)
    add_model_flags(parser)
    return parser


def run(words: list[str]) -> int:
    """Print the answers about one or many pairs -> exit code."""
    args = make_parser().parse_words(words)
    pairs = pairs_of(args)
    voice = voice_of(args, args.threshold)
    show = PRINTERS[args.format](voice, args.prior)

    @cache  # each recording is listened to once
    def listen(path: str | None) -> "Embedding":
        return voice.listen(recorded(args.mic) if path is None else path)

    worst = 0
    for first, second in with_progress(pairs):
        names = first, MICROPHONE_NAME if second is None else second
        try:
            answer = Answer(*names, voice.compare(listen(first), listen(second), args.prior))
        except AudioError as error:
            answer = Answer(*names, None, str(error))
        show(answer)
        worst = max(worst, EXIT_CODES[answer.decision])
    return worst


def with_progress(pairs: list[tuple[str, str | None]]) -> Iterable[tuple[str, str | None]]:
    """Pairs -> the same; of many, how far it is is shown on a terminal."""
    if len(pairs) < 2:
        return pairs
    from tqdm import tqdm

    return tqdm(pairs, "comparing", disable=None)


def pairs_of(args: argparse.Namespace) -> list[tuple[str, str | None]]:
    """Values of the flags -> pairs of paths, or of a path and None for the microphone.

    Raises:
        ValueError: neither two recordings nor a list, or a line of another form.
    """
    files = [*args.files, *([None] if args.mic is not None else [])]
    if args.test_list and files:
        raise ValueError("--test_list names all recordings; leave out the others")
    if not args.test_list:
        if args.test_path:
            raise ValueError(f"--test_path {args.test_path} is for --test_list, which isn't given")
        if len(files) != 2:
            raise ValueError(f"expected two recordings or --test_list, got {len(files)} recordings")
        return [(files[0], files[1])]
    from audio.named import NamedRecordings
    from audio.trial_forms import read_trial_lines

    named = NamedRecordings(args.test_path, "--test_path")

    def file(name: str) -> str:
        utterance = named.test(name)
        if not utterance.is_whole:
            raise ValueError(f"--test_list {args.test_list}: {utterance}: only whole recordings are compared")
        return str(Path(named.root, utterance.path))

    lines = read_trial_lines(args.test_list, named.known)
    return [(file(enrol), file(test)) for _, (_, enrol, test) in lines]


def text_printer(voice: "Voice", prior: float) -> Callable[[Answer], None]:
    """Voice, prior -> function that prints an answer for people."""
    rule = voice.rule

    def show(answer: Answer) -> None:
        if answer.comparison is None:
            print(f"inferSpeakerNet.py: error: {answer.error}", file=sys.stderr)
            return
        first, second, score, accepted, _, probability, reason = answer.comparison
        verdict = {True: "one speaker", False: "two speakers", None: "undecided"}[accepted]
        lines = [f"{verdict}: {answer.first} and {answer.second}"]
        if reason:
            lines.append(f"  reason       {reason}")
        if score is not None:
            lines.append(f"  score        {score:.4f}")
        if score is not None and rule.threshold is not None:
            lines.append(f"  threshold    {rule.threshold:.4f} ({rule.origin})")
        if probability is not None:
            lines.append(f"  probability  {probability:.4f} of one speaker, before listening {prior:g}")
        for side in [first] if first is second else [first, second]:
            lines.append(f"  speech       {side.speech_s:.1f} of {side.duration_s:.1f} s in {side.name}")
        lines += [f"  warning      {warning}" for warning in answer.warnings()]
        print(*map(shown, lines), sep="\n")

    return show


def csv_printer(voice: "Voice", prior: float) -> Callable[[Answer], None]:
    """Print the header of a table -> function that prints a row."""
    writer = csv.DictWriter(sys.stdout, FIELDS, lineterminator="\n")
    writer.writeheader()

    def show(answer: Answer) -> None:
        values = answer.values()
        writer.writerow(values | {"warnings": "; ".join(values["warnings"])})

    return show


def json_printer(voice: "Voice", prior: float) -> Callable[[Answer], None]:
    """-> function that prints an object in a line."""
    return lambda answer: print(json.dumps(answer.values()))


PRINTERS = {"text": text_printer, "csv": csv_printer, "json": json_printer}
