"""Say once a second who is speaking."""

import statistics
import time
from functools import partial
from typing import TYPE_CHECKING

from inference.verbs._database import DECIDING, add_flags, book_of, database_parser
from options.flags import Flag
from options.parser import Parser

if TYPE_CHECKING:
    from inference.diarization.monitor import Moment, Monitor

DESCRIPTION = """Say once a second who is speaking: an enrolled speaker, somebody unknown, or nobody.

python inferSpeakerNet.py listen --mic --db team.db
python inferSpeakerNet.py listen - --db team.db < stream.wav

Each answer is about the last 3 seconds. A stream on standard input is 16-bit PCM of one channel, raw at
16 kHz or as WAV of any rate. Where the computer is too slow for a microphone or a stream, seconds are
skipped, and it says how many; those of a file never are. Ctrl-C ends it. At the end the median delay and the
share of a core are printed. One core computes unless --threads says more. The exit code is 0, or 2 for an
error."""
MIC = Flag("--mic", "listen to the microphone", False, bool)


def make_parser(add_help: bool = True) -> Parser:
    """The flags of `listen`."""
    parser = database_parser(DESCRIPTION, "listen FILE|-|--mic", add_help)
    parser.add_argument(
        "file", nargs="?", metavar="FILE", help='a recording; "-": a stream on standard input'
    )
    return add_flags(parser, *DECIDING, MIC, uses_model=True)


def run(words: list[str]) -> int:
    """Print answers until the stream ends, or Ctrl-C is pressed -> exit code."""
    args = make_parser().parse_words(words)
    if args.mic == (args.file is not None):
        raise ValueError('expected one of a recording, "-" for standard input, and --mic')
    # for 3 s a second core gains little, and waiting for it takes it all
    with book_of(args, args.threads or 1) as book:
        from inference.diarization.monitor import Monitor, warm_up, who_speaks
        from inference.diarization.sources import open_source

        book.required_rule()  # reported before the microphone is on
        warm_up(book)
        with open_source(args.file) as source:
            follow(Monitor(source, partial(who_speaks, book)))
            for remark in source.remarks:
                print(f"  warning    {remark}")
    return 0


def follow(monitor: "Monitor") -> None:
    """Print the answers of a monitor, and what they took."""
    delays = list[float]()
    skipped_s = 0.0
    cpu = time.process_time()
    try:
        for moment in monitor.moments():
            print(*lines(moment), sep="\n", flush=True)
            delays.append(moment.delay_s)
            skipped_s += moment.skipped_s
    except KeyboardInterrupt:
        print()
    if not delays:
        print("  nothing was heard")
        return
    share = (time.process_time() - cpu) / monitor.heard_s
    print(f"  heard      {monitor.heard_s:.1f} s, {skipped_s:.1f} s skipped")
    print(f"  delay      {statistics.median(delays):.2f} s (median)")
    print(f"  processor  {100 * share:.0f} % of a core")


def lines(moment: "Moment") -> list[str]:
    """An answer -> what is printed."""
    speaking = moment.speaking
    who = (speaking.name or "unknown") if speaking.is_speech else "silence"
    score = "" if speaking.score is None else f"{speaking.score:8.4f}"
    text = [f"{moment.end_s:8.1f} s {score:8}   {who}"]
    if moment.skipped_s:
        text.insert(0, f"  skipped    {moment.skipped_s:.1f} s: the computer is too slow")
    return text
