"""--convert: recordings of any format -> 16 kHz mono 16-bit WAV or FLAC, on all cores."""

import errno
import functools
import importlib
import io
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from audio.recording import SAMPLE_RATE, AudioFile, Samples, to_int16
from preparation.workers import in_processes
from storage.files import written_whole

FORMATS = {".wav": "WAV", ".flac": "FLAC"}  # of the converted files
ENCODED = (".m4a", ".mp4", ".aac")  # left to ffmpeg; libsndfile may mistake aac for mp3
# Formats that ffmpeg may open. Playlists (hls, concat, dash) are not among them: they name other files.
CONTAINERS = "aac,ac3,aiff,amr,ape,asf,avi,caf,flac,flv,matroska,mov,mp3,mpegts,nistsphere,ogg,tta,wav,wv"
READ = ["-protocol_whitelist", "file", "-format_whitelist", CONTAINERS, "-i"]
AS_SAMPLES = ["-ac", "1", "-ar", str(SAMPLE_RATE), "-f", "s16le"]
TIME_LIMIT_S = 600  # for one call of ffmpeg
SHORT = 1 << 19  # bytes; up to this size, several sources share one call of ffmpeg
COMPONENT = re.compile(
    r"(\[[^]]* @ 0x[0-9a-f]+\] )+"
)  # component of ffmpeg that an error comes from, and its address
MAX_ERROR_LENGTH = 200  # characters
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


def convert_files(jobs: Sequence[Job], *, workers: int = 0, ffmpeg: str = "") -> Report:
    """Jobs, processes (0 = one per core), path of ffmpeg ("" = search for it if needed) -> report.

    Files that can't be converted are reported and the others converted. After an interruption,
    call it again.

    Raises:
        ValueError: invalid targets, or ffmpeg is needed and not installed; nothing is converted then.
        OSError: the disk is full, or a process was killed.
    """
    _check(jobs)
    work = functools.partial(_convert, ffmpeg=_program(jobs, ffmpeg))
    _leftovers.cache_clear()
    results = in_processes(work, jobs, workers, "converting")
    failed = [(str(job.source), r.reason) for job, r in zip(jobs, results, strict=True) if r.reason]
    skipped = sum(result.skipped for result in results)
    return Report(len(jobs) - skipped - len(failed), skipped, failed)


def shard(jobs: Sequence[Job], text: str) -> list[Job]:
    """Jobs, "i/n" -> every n-th of them from the i-th; raises ValueError for another text."""
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, re.ASCII)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise ValueError(f"--shard {_one_line(text)}: expected i/n with 1 <= i <= n, such as 2/8")
    _check(jobs)  # a target that two shards share is only visible here
    return list(jobs[int(match[1]) - 1 :: int(match[2])])


def find_ffmpeg() -> str:
    """Path of ffmpeg, on PATH or in the package imageio-ffmpeg; raises ValueError if neither has it."""
    if path := shutil.which("ffmpeg"):
        return path
    try:
        return str(importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe())
    except (ImportError, RuntimeError):  # RuntimeError: the package without its program
        raise ValueError(
            "ffmpeg is needed to read m4a, mp4, aac and similar formats, and isn't installed: "
            "apt install ffmpeg, brew install ffmpeg or pip install imageio-ffmpeg"
        ) from None


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
    encoded = (job for job in jobs if job.source.suffix.lower() in ENCODED)
    if not ffmpeg and any(not os.path.exists(job.target) for job in encoded):  # noqa: PTH110  (Path may raise)
        return find_ffmpeg()
    return ffmpeg


def _convert(jobs: Sequence[Job], ffmpeg: str) -> Iterator[_Result]:
    """Convert the files that aren't converted yet; raises OSError if the disk is full."""
    decoded = _decode_together(jobs, ffmpeg)  # ffmpeg starts more slowly than it decodes a short file
    for job in jobs:
        yield _convert_one(job, ffmpeg, decoded.get(job.source))


def _convert_one(job: Job, ffmpeg: str, samples: Samples | None) -> _Result:
    try:
        if _is_complete(job.target):
            return _Result(skipped=True)
        if samples is None:
            samples = _decode(job.source.absolute(), ffmpeg)  # absolute, so that no path begins with `-`
        if job.target.exists() and job.target.samefile(
            job.source
        ):  # through a link, or a name that differs in case only
            raise ValueError(f"{job.target} is the same file")
        _write(job.target, samples)
    except OSError as error:
        if error.errno in FATAL:
            raise
        return _Result(reason=_one_line(str(error)))
    except UNREADABLE as error:
        reason = str(error).removeprefix(f"{job.source.absolute()}: ") or type(error).__name__
        return _Result(reason=_one_line(reason))
    return _Result()


def _is_complete(target: Path) -> bool:
    """Whether the file exists and is 16 kHz mono; files are written whole, so the header is enough."""
    try:
        audio = AudioFile(str(target))
    except ValueError:
        return False
    return audio.rate == SAMPLE_RATE and audio.file.channels == 1


def _decode(source: Path, ffmpeg: str) -> Samples:
    """File of any format -> its samples (T,) at 16 kHz."""
    if not source.is_file():
        raise ValueError("not a file" if source.exists() else "no such file")
    if source.stat().st_size == 0:
        raise ValueError("empty, 0 bytes")
    if source.suffix.lower() not in ENCODED and _opens(source):
        return to_int16(AudioFile(str(source)).whole())
    return _through_ffmpeg([source], ffmpeg)[0]


def _opens(source: Path) -> bool:
    """Whether libsndfile knows the format; it then decides about damage, which ffmpeg may not report."""
    try:
        soundfile.SoundFile(str(source)).close()
    except (soundfile.LibsndfileError, TypeError):  # TypeError: a name in .raw
        return False
    return True


def _decode_together(jobs: Sequence[Job], ffmpeg: str) -> dict[Path, Samples]:
    """Jobs -> samples (T,) of the short sources that only ffmpeg reads; {} if it reports any error."""
    wanted = [
        job.source for job in jobs if job.source.suffix.lower() in ENCODED and not _is_complete(job.target)
    ]
    try:
        short = [source for source in wanted if source.stat().st_size <= SHORT]
        decoded = _through_ffmpeg([source.absolute() for source in short], ffmpeg) if len(short) > 1 else []
    except (OSError, *UNREADABLE):  # decoding each alone shows which one is damaged
        return {}
    return dict(zip(short, decoded, strict=False))


def _through_ffmpeg(sources: Sequence[Path], ffmpeg: str) -> list[Samples]:
    """Files -> samples (T,) of each; raises ValueError if ffmpeg prints any error."""
    with ExitStack() as stack:
        outputs = [stack.enter_context(tempfile.TemporaryFile()) for _ in sources]
        places = [output.fileno() for output in outputs]
        command = [ffmpeg or find_ffmpeg(), "-nostdin", "-v", "error"]
        for source in sources:
            command += [*READ, f"file:{source}"]
        for i, place in enumerate(places):
            command += ["-map", f"{i}:a:0", *AS_SAMPLES, f"pipe:{place}"]
        try:
            done = subprocess.run(command, capture_output=True, timeout=TIME_LIMIT_S, pass_fds=places)
        except subprocess.TimeoutExpired:
            raise ValueError(f"ffmpeg was stopped after {TIME_LIMIT_S} s") from None
        # For a damaged file it decodes a part, and may still exit with 0.
        errors = done.stderr.decode(errors="replace").strip()
        if errors or done.returncode:
            last = COMPONENT.sub("", errors.rpartition("\n")[2])[:MAX_ERROR_LENGTH]
            raise ValueError(f"ffmpeg: {last or f'exit status {done.returncode}'}")
        for output in outputs:
            output.seek(0)
        return [np.frombuffer(output.read(), "<i2") for output in outputs]


def _write(target: Path, samples: Samples) -> None:
    """Write a 16 kHz mono file whole or not at all."""
    if len(samples) == 0:
        raise ValueError("holds no samples")
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
