"""Say who spoke when in a recording."""

from pathlib import Path
from typing import TYPE_CHECKING

from inference.verbs._database import DECIDING
from inference.verbs._model import add_model_flags, voice_of
from options.flags import Flag, at_least, path, within
from options.parser import Parser

if TYPE_CHECKING:
    from inference.diarization.diarizer import Diarization

DESCRIPTION = """Say who spoke when in a recording of several speakers.

python inferSpeakerNet.py diarize meeting.m4a --out meeting.rttm
python inferSpeakerNet.py diarize meeting.m4a --db team.db --speakers 3

Speakers are told apart by their voices; those of a database are called by their names. It is a simple
method: one speaker at a time is found, and two voices that sound alike become one. The exit code is 0, or 2
for an error or a recording without speech."""


def make_parser(add_help: bool = True) -> Parser:
    """The flags of `diarize`."""
    parser = Parser(DESCRIPTION, add_help)
    parser.usage = "python inferSpeakerNet.py diarize FILE [--option value ...]"
    parser.add_argument("file", metavar="FILE", help='a recording of up to 4 hours; "-": standard input')
    flags = [
        Flag("--out", "file to write as well: .rttm or .json", "", path, metavar="PATH"),
        Flag("--db", "a database of enrolled speakers; default: none", "", path, metavar="FILE"),
        Flag("--speakers", "how many speak; default: it is estimated", None, at_least(1), metavar="N"),
        Flag(
            "--least_cosine",
            "of the windows of two clusters, on average, for these to be one speaker; lower finds fewer "
            "speakers; default: 0.29, chosen for the default model",
            None,
            within(-1.0, 1.0),
        ),
        DECIDING[0],
    ]
    parser.add_flags("diarization", flags)
    add_model_flags(parser)
    return parser


def run(words: list[str]) -> int:
    """Print who spoke when, and write it -> exit code."""
    from inference.diarization.files import require_suffix, write

    args = make_parser().parse_words(words)
    out = Path(args.out) if args.out else None
    if out is not None:
        require_suffix(out)
        if out.exists():
            raise ValueError(f"{out} exists already; give another --out, or delete it")
    if args.db:
        from inference.speakers.database import SpeakerDatabase

        SpeakerDatabase(args.db).close()  # a wrong path is reported before the model is loaded
    voice = voice_of(args, args.threshold)
    from inference.diarization.diarizer import diarize

    diarization = diarize(
        voice,
        args.file,
        num_speakers=args.speakers,
        least_cosine=args.least_cosine,
        database=args.db or None,
        threshold=args.threshold,
    )
    if out is not None:
        write(diarization, out)
    print(*lines(diarization), sep="\n")
    return 0 if diarization.turns else 2


def lines(diarization: "Diarization") -> list[str]:
    """Who spoke when -> a table of turns, and of speakers, for people."""
    if not diarization.turns:
        return [f"{diarization.name}: no speech in {diarization.duration_s:.1f} s"]
    count = len(diarization.speakers)
    text = [
        f"{diarization.name}: {count} speaker{'s' if count > 1 else ''}, "
        f"speech in {diarization.speech_s:.1f} of {diarization.duration_s:.1f} s"
    ]
    text += [f"  {clock(turn.start_s)} {clock(turn.end_s)}   {turn.speaker}" for turn in diarization.turns]
    text += [
        f"  overlap    {clock(each.start_s)} {clock(each.end_s)}   {each.speaker}, or {each.other}, or both"
        for each in diarization.overlaps
    ]
    total_s = sum(speaker.speech_s for speaker in diarization.speakers)
    for speaker in diarization.speakers:
        score = "" if speaker.score is None else f"   score {speaker.score:.4f}"
        share = 100 * speaker.speech_s / total_s
        text.append(f"  speech     {speaker.speech_s:8.1f} s {share:3.0f} %   {speaker.name}{score}")
    return text + [f"  warning    {warning}" for warning in diarization.warnings]


def clock(seconds: float) -> str:
    """Seconds -> h:mm:ss.s."""
    tenths = round(10 * seconds)
    return f"{tenths // 36000}:{tenths // 600 % 60:02}:{tenths // 10 % 60:02}.{tenths % 10}"
