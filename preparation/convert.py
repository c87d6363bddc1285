"""--convert: recordings of any format -> 16 kHz mono 16-bit WAV or FLAC, on all cores."""

import errno
import functools
import io
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import soundfile

from audio.any_format import is_encoded, open_any
from audio.errors import AudioError
from audio.ffmpeg import decode, find_ffmpeg
from audio.recording import ALL_CHANNELS, SAMPLE_RATE, AudioFile, Samples
from preparation.parts import ListPart
from preparation.workers import in_processes
from storage.files import written_whole

FORMATS = {".wav": "WAV", ".flac": "FLAC"}  # of the converted files
LONGEST_WAV = (1 << 31) - 64  # samples of 16 bits; the sizes in its header have 32 bits
SHORT = 1 << 19  # bytes; up to this size, several sources share one call of ffmpeg
FATAL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # would fail for every other file too
UNREADABLE = (ValueError, TypeError, RuntimeError, MemoryError)  # raised by the decoders for malformed files
TEMPORARY = re.compile(r"\.(.+)\.\d+\.tmp", re.DOTALL)  # as storage.files.written_whole names them


class Job(NamedTuple):
    """A recording and the file that it becomes; the target's suffix, .wav or .flac, decides the format."""

    source: Path
    target: Path


class Report(NamedTuple):
    """Outcome of all jobs."""

    converted: int
    skipped: int  # targets that were already complete
    failed: list[tuple[str, str]]  # source path, reason in one line


class _Result(NamedTuple):
    """Outcome of one job."""

    skipped: bool = False
    reason: str = ""  # why it failed


def convert_files(
    jobs: Sequence[Job], *, workers: int = 0, ffmpeg: str = "", channel: int = ALL_CHANNELS
) -> Report:
    """Jobs, processes (0 = one per core), path of ffmpeg ("" = search for it if needed) -> report.

    channel: the one that is taken of several, 0 the first; ALL_CHANNELS: they are mixed down.

    Files that can't be converted are reported and the others converted. After an interruption,
    call it again.

    Raises:
        ValueError: invalid targets, or ffmpeg is needed and not installed; nothing is converted then.
        OSError: the disk is full, or a process was killed.
    """
    _check(jobs)
    work = functools.partial(_convert, ffmpeg=_program(jobs, ffmpeg), channel=channel)
    _leftovers.cache_clear()
    results = in_processes(work, jobs, workers, "converting")
    failed = [(str(job.source), r.reason) for job, r in zip(jobs, results, strict=True) if r.reason]
    skipped = sum(result.skipped for result in results)
    return Report(len(jobs) - skipped - len(failed), skipped, failed)


def channel_warnings(report: Report, channel: int) -> list[str]:
    """Report, --channel -> a warning if earlier files, of which channel isn't known, are among its own."""
    if channel == ALL_CHANNELS or not report.skipped:
        return []
    return [
        f"warning: {report.skipped} files were converted earlier, perhaps not with --channel {channel}; "
        "delete them, or give another --save_path"
    ]


def shard(jobs: Sequence[Job], part: ListPart) -> list[Job]:
    """Jobs -> every n-th of them from the i-th."""
    _check(jobs)  # a target that two shards share is only visible here
    return list(jobs[part.number :: part.count])


def _check(jobs: Sequence[Job]) -> None:
    """Raises ValueError for targets of another format or shared by two sources, and overwritten sources."""
    sources: dict[str, Path] = {}
    for source, target in jobs:
        if target.suffix.lower() not in FORMATS:
            raise ValueError(_one_line(f"{target}: expected a name that ends in .wav or .flac"))
        place = os.path.abspath(target)  # noqa: PTH100  (Path.absolute keeps `..`)
        if place in sources:
            both = f"{sources[place]} and {source}"
            raise ValueError(_one_line(f"{both} would both become {target}; rename one of them"))
        sources[place] = source
    for source, _ in jobs:
        if os.path.abspath(source) in sources:  # noqa: PTH100
            raise ValueError(_one_line(f"{source} would be overwritten; write to another folder"))


def _program(jobs: Sequence[Job], ffmpeg: str) -> str:
    """Path of ffmpeg if it was given or a job certainly needs it, else ""."""
    if ffmpeg and shutil.which(ffmpeg) is None:
        raise ValueError(f"{_one_line(ffmpeg)}: no such program; expected the path of ffmpeg")
    encoded = (job for job in jobs if is_encoded(str(job.source)))
    if not ffmpeg and any(not os.path.exists(job.target) for job in encoded):  # noqa: PTH110  (Path may raise)
        return find_ffmpeg()
    return ffmpeg


def _convert(jobs: Sequence[Job], ffmpeg: str, channel: int) -> Iterator[_Result]:
    """Convert the files that aren't converted yet; raises OSError if the disk is full."""
    # ffmpeg starts more slowly than it decodes a short file
    decoded = _decode_together(jobs, ffmpeg, channel)
    for job in jobs:
        yield _convert_one(job, ffmpeg, channel, decoded.get(job.source))


def _convert_one(job: Job, ffmpeg: str, channel: int, samples: Samples | None) -> _Result:
    try:
        if _is_complete(job.target):
            return _Result(skipped=True)
        if samples is None:
            samples = open_any(str(job.source), channel, ffmpeg=ffmpeg).whole_int16()
        # through a link, or a name that differs in case only
        if job.target.exists() and job.target.samefile(job.source):
            raise ValueError(f"{job.target} is the same file")
        _write(job.target, samples)
    except OSError as error:
        if error.errno in FATAL:
            raise
        return _Result(reason=_one_line(str(error)))
    except AudioError as error:
        return _Result(reason=_one_line(error.reason(str(job.source))))
    except UNREADABLE as error:
        return _Result(reason=_one_line(str(error) or type(error).__name__))
    return _Result()


def _is_complete(target: Path) -> bool:
    """Whether the file exists and is 16 kHz mono; files are written whole, so the header is enough."""
    try:
        audio = AudioFile(str(target))
    except ValueError:
        return False
    return audio.rate == SAMPLE_RATE and audio.file.channels == 1


def _decode_together(jobs: Sequence[Job], ffmpeg: str, channel: int) -> dict[Path, Samples]:
    """Jobs -> samples (T,) of the short sources that only ffmpeg reads; {} if it reports any error."""
    wanted = [job.source for job in jobs if is_encoded(str(job.source)) and not _is_complete(job.target)]
    try:
        short = [source for source in wanted if source.stat().st_size <= SHORT]
        absolute = [source.absolute() for source in short]
        decoded = decode(absolute, ffmpeg, channel) if len(short) > 1 else []
    except (OSError, *UNREADABLE):  # decoding each alone shows which one is damaged
        return {}
    return dict(zip(short, decoded, strict=False))


def _write(target: Path, samples: Samples) -> None:
    """Write a 16 kHz mono file whole or not at all."""
    if len(samples) == 0:
        raise ValueError("holds no samples")
    if target.suffix.lower() == ".wav" and len(samples) > LONGEST_WAV:
        raise ValueError(f"{len(samples)} samples are more than a WAV file holds; use --format flac")
    for leftover in _leftovers(target.parent).get(target.name, ()):
        leftover.unlink(missing_ok=True)
    encoded = io.BytesIO()  # encoded in memory, so that the write below reports a full disk
    soundfile.write(encoded, samples, SAMPLE_RATE, "PCM_16", format=FORMATS[target.suffix.lower()])
    with written_whole(target) as stream:
        stream.write(encoded.getbuffer())


@functools.lru_cache(maxsize=64)  # files of one folder come in succession; listing it for each is slow
def _leftovers(folder: Path) -> dict[str, list[Path]]:
    """Folder -> temporary files that interrupted runs left there, by the name of their target."""
    leftovers: dict[str, list[Path]] = {}
    for path in folder.iterdir() if folder.is_dir() else ():
        if match := TEMPORARY.fullmatch(path.name):
            leftovers.setdefault(match[1], []).append(path)
    return leftovers


def _one_line(text: str) -> str:
    """Text -> the same in one line, without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
