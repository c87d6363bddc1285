"""Opening of audio files; the length is measured by decoding where the container only guesses it."""

import functools
import io
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import soundfile

from audio.errors import AudioError, UnsupportedAudioError

UNKNOWN_LENGTH = 1 << 40  # samples; libsndfile's stand-in is larger, a recording of a year smaller
LARGEST_HEADER = 4096  # bytes before the samples in nearly every file
BLOCK = 1 << 16  # samples decoded at a time
CACHED = 1 << 16  # files that a process remembers, a few tens of MiB

# sizes that libsndfile found to be wrong, by format: bytes that the header names, bytes that are there
WRONG_SIZE = re.compile(r"^ *(?:data|SSND|Data Size|riff|Riff size) *: (\d+) \(should be (\d+)", re.MULTILINE)
WITH_SIZES = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU")
# Written in place of a size by programs that can't return to the header, less the header's length: half of
# the sizes that 32 bits hold and all of them, in sox 0x7ffff000 and for AIFF 0x7f000000.
PLACEHOLDERS = (0x7F000008, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
LONGEST_PLACEHOLDER_HEADER = 256  # bytes

FIRST_PAGE = re.compile(rb"OggS\0[\x02\x06]")  # of a logical stream of Ogg (RFC 3533, section 6)
FIRST_BLOCK = re.compile(rb"fLaC[\0\x80]\0\0\x22")  # of FLAC: the marker, and the header of STREAMINFO
# In the first frame of an MP3 file: which fields follow, number of frames, number of bytes
XING = re.compile(rb"(?:Xing|Info)(.{4})(.{4})(.{4})", re.DOTALL)
HAS_FRAMES_AND_BYTES = 3
SIZE_TOLERANCE = 0.01  # of the bytes named in a Xing header; libmpg123's too
TIMES_AS_LONG = 100  # frames of an MP3 file may be so many times as small as its first


class Decoder(soundfile.SoundFile):
    """An open file, read on from where it stands.

    SoundFile seeks after each read if the file can be sought. This changes the next samples of an MP3
    file, and fails at the end of a FLAC file that doesn't say how long it is.
    """

    def seekable(self) -> bool:
        """False: read continues where the last read ended; seek still works."""
        return False


class OpenFile(NamedTuple):
    """A decoder at the file's start, and what it doesn't know."""

    decoder: Decoder
    num_frames: int  # samples of each channel
    is_sequential: bool  # whether seeking is inexact, so that every piece is read on from the start


class _LongerFile(io.BytesIO):
    """Bytes that claim to be more.

    Without a header that says how many frames there are, libsndfile computes from the size of an MP3 file and
    the bit rate of its first frame how many samples it reads.
    """

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place; the end is further away than it is."""
        if whence == os.SEEK_END:
            return super().seek(TIMES_AS_LONG * len(self.getbuffer()) + offset)
        return super().seek(offset, whence)

    def readinto(self, buffer: Any) -> int:
        """Read on; beyond the bytes there are zeros, where libmpg123 looks for a tag before it begins."""
        if self.tell() <= len(self.getbuffer()):
            return super().readinto(buffer)
        buffer[:] = bytes(len(buffer))
        return len(buffer)


class _Stream(NamedTuple):
    """How libsndfile is given a file."""

    has_length: bool = True  # whether it knows how many samples it holds
    end: int | None = None  # bytes after which there are none; None: the file's end

    def open(self, path: str) -> Decoder:
        """A decoder of it.

        It gets no name, because libsndfile takes any file called .mp3 for one, and finds frames even in AAC.
        """
        if self == _Stream():
            return Decoder(os.open(path, os.O_RDONLY))
        with Path(path).open("rb") as file:
            content = file.read(self.end)
        return Decoder(io.BytesIO(content) if self.has_length else _LongerFile(content))


def open_file(path: str) -> OpenFile:
    """Path -> the open file.

    Raises:
        AudioError: missing, unreadable, or truncated.
        UnsupportedAudioError: in a format that libsndfile doesn't read, or reads in part.
    """
    try:
        head, *stamp = _head(path)
    except FileNotFoundError:
        raise AudioError(f"{path}: cannot be read: no such file") from None
    except OSError as error:
        raise AudioError(f"{path}: cannot be read: {error.strerror}") from None
    stream = _Stream()
    if head == b"OggS":
        _require_one_whole_ogg(path, *stamp)
    elif _begins_as_mpeg(head):
        stream = _mpeg_stream(path, *stamp)
    decoder = _open(path, stream)
    _require_promised(path, decoder)
    if decoder.frames == 0 and stamp[0] > LARGEST_HEADER:
        raise _unsupported(path, f"its header says that its {stamp[0]} bytes hold no samples")
    is_mpeg = decoder.subtype.startswith("MPEG")
    if is_mpeg and decoder.format != "MP3":
        raise _unsupported(path, f"{decoder.format} with {decoder.subtype} doesn't say how long it is")
    num_frames = decoder.frames
    if num_frames >= UNKNOWN_LENGTH or not stream.has_length:
        num_frames = _measured(path, stream, *stamp)
    # libmpg123 finds a place by guessing, libvorbis is up to 0.02 s late in the last page
    return OpenFile(decoder, num_frames, is_sequential=is_mpeg or decoder.subtype == "VORBIS")


def require_one_flac(path: str) -> None:
    """Raises UnsupportedAudioError if a file holds several FLAC files, of which libsndfile reads the first.

    It searches the whole file, and so isn't part of open_file.
    """
    with Path(path).open("rb") as file:
        head = file.read(4)
        if head == b"fLaC" and len(FIRST_BLOCK.findall(head + file.read())) > 1:
            raise _unsupported(path, "holds several FLAC streams, one after another")


def _unsupported(path: str, reason: str) -> UnsupportedAudioError:
    """The error that a file isn't read whole here, with the command that converts it."""
    advice = "convert it: python dataprep.py --convert --from FOLDER --save_path NEW"
    return UnsupportedAudioError(f"{path}: {reason}; {advice}")


def _head(path: str) -> tuple[bytes, int, int]:
    """File -> its first 4 bytes, its size in bytes, the time of its last change in ns."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        status = os.fstat(descriptor)
        return os.read(descriptor, 4), status.st_size, status.st_mtime_ns
    finally:
        os.close(descriptor)


def _open(path: str, stream: _Stream) -> Decoder:
    """File, what libsndfile is given of it -> its decoder; raises for what libsndfile doesn't open."""
    try:
        return stream.open(path)
    except soundfile.LibsndfileError as error:
        reason = f"cannot be read: {error.error_string.rstrip('.')}"
        if error.error_string.startswith("Format not recognised"):
            reason = "cannot be read: not wav, flac, ogg, opus or mp3"
        if os.path.getsize(path) == 0:  # noqa: PTH202
            raise AudioError(f"{path}: cannot be read: empty, 0 bytes") from None
        raise _unsupported(path, reason) from None


def _require_promised(path: str, decoder: Decoder) -> None:
    """Raises AudioError for a file that is shorter than its header says, unless its size is a placeholder."""
    said = WRONG_SIZE.search(decoder.extra_info) if decoder.format in WITH_SIZES else None
    if said is None:
        return
    promised, there = int(said[1]), int(said[2])
    is_placeholder = any(0 <= size - promised <= LONGEST_PLACEHOLDER_HEADER for size in PLACEHOLDERS)
    if promised > there and not is_placeholder:
        raise AudioError(f"{path}: truncated: its header promises more samples than it holds")


@functools.lru_cache(maxsize=CACHED)
def _measured(path: str, stream: _Stream, size: int, mtime_ns: int) -> int:
    """File, identified by its size and time -> number of samples that it decodes to."""
    num_frames = 0
    with stream.open(path) as decoder:
        try:
            while count := len(decoder.read(BLOCK, dtype="float32")):
                num_frames += count
        except soundfile.LibsndfileError as error:
            reason = f"damaged or truncated: {error.error_string.rstrip('.')}"
            raise _unsupported(path, reason) from None
    return num_frames


@functools.lru_cache(maxsize=CACHED)
def _require_one_whole_ogg(path: str, size: int, mtime_ns: int) -> None:
    """Raises for Ogg of which libsndfile reads a part: without its end, or several streams in succession."""
    content = Path(path).read_bytes()
    if len(FIRST_PAGE.findall(content)) > 1:
        raise _unsupported(path, "holds several Ogg streams")
    page = content[content.rfind(b"OggS") :]  # flags in byte 5, number of segments in byte 26, their sizes
    if len(page) < 27 or len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]]) or not page[5] & 4:
        raise AudioError(f"{path}: truncated: its last Ogg page is cut off, or lacks the end-of-stream flag")


def _begins_as_mpeg(content: bytes) -> bool:
    """Whether bytes begin with a tag as MP3 files do, or with a frame of MPEG audio."""
    return content[:3] == b"ID3" or (content[:1] == b"\xff" and content[1:2] >= b"\xe0")


@functools.lru_cache(maxsize=CACHED)
def _mpeg_stream(path: str, size: int, mtime_ns: int) -> _Stream:
    """MP3 file -> the stream in it; raises AudioError if its Xing header contradicts the size of the file.

    libsndfile reads as many samples as a Xing header says, and where there is none as many as the file would
    hold if all frames were like the first. libmpg123 prints a warning if the header names another size.
    """
    with Path(path).open("rb") as file:
        begin = 0
        while (tag := file.read(10))[:3] == b"ID3" and len(tag) == 10:
            begin += 10 + (tag[6] << 21 | tag[7] << 14 | tag[8] << 7 | tag[9])  # 7 bits each
            file.seek(begin)
        file.seek(begin)
        frame = file.read(64)
        if frame[:4] == b"fLaC":
            return _Stream()
        said = XING.search(frame)
        if said is None or said[1][3] & HAS_FRAMES_AND_BYTES != HAS_FRAMES_AND_BYTES:
            return _Stream(has_length=False)
        end = begin + int.from_bytes(said[3])
        file.seek(end)
        following = file.read(3)
    tolerance = SIZE_TOLERANCE * (end - begin)
    if size < end - tolerance:
        raise AudioError(f"{path}: truncated: {size} of {end} bytes are there")
    if size <= end + tolerance:
        return _Stream()
    if _begins_as_mpeg(following):
        raise _unsupported(path, f"goes on after the {end} bytes that its header names")
    return _Stream(end=end)
