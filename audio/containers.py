"""Opening of audio files; the length is measured by decoding where the container only guesses it."""

import functools
import io
import math
import os
import re
from contextlib import nullcontext
from typing import Any, NamedTuple

import soundfile
from numpy.typing import NDArray

from audio.chunks import LAYOUTS, end_of_samples, only_chunks_follow
from audio.decoder_messages import hidden
from audio.errors import AudioError, too_long, unsupported
from audio.file_status import first_bytes, status_of
from audio.streams import SEVERAL_OGG, after_tags
from audio.tar_member import TarMember, open_bytes, open_raw

UNKNOWN_LENGTH = 1 << 40  # samples; libsndfile's stand-in is larger, a recording of a year smaller
TRUNCATED = "truncated: its header promises more samples than it holds"
MOST_SAMPLES_OF_A_BYTE = 8192  # a silent FLAC frame has at most 65,535 in eight bytes and more
LARGEST_HEADER = 4096  # bytes before the samples in nearly every file
BLOCK = 1 << 16  # samples decoded at a time
LARGEST_MPEG = 1 << 31  # bytes of a file that is decoded from memory: 14 hours at the highest bit rate
CACHED = 1 << 16  # files that a process remembers, a few tens of MiB

# sizes that libsndfile found to be wrong, by format: bytes that the header names, bytes that are there
WRONG_SIZE = re.compile(
    r"^ *(?:data|SSND|BODY|Data Size|riff|Riff size) *: (\d+) \(should be (\d+)", re.MULTILINE
)
WITH_SIZES = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "SVX")
# number of samples of each channel in the header, by format; libsndfile doesn't compare it with the file
NUM_FRAMES = {
    "AVR": re.compile(r"^ *Frames *: (\d+)", re.MULTILINE),
    "MPC2K": re.compile(r"^ *Frames *: (\d+)", re.MULTILINE),
    "NIST": re.compile(r"^sample_count -i (\d+)", re.MULTILINE),
}
NIST_HEADER = 1024  # bytes
# what libsndfile says of truncated files of these formats; of GSM in WAV it also says so of whole ones
FOUND_TRUNCATED = ("VOC", "MAT4")
SEEMS_TRUNCATED = re.compile(r"seems to be (?:a )?truncated", re.IGNORECASE)
# Written in place of a size by programs that can't return to the header, less the header's length: half of
# the sizes that 32 bits hold and all of them, in sox 0x7ffff000 and for AIFF 0x7f000000.
PLACEHOLDERS = (0x7F000008, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
LONGEST_PLACEHOLDER_HEADER = 256  # bytes

OGG_SERIAL = slice(14, 18)  # of a page: the number of its logical stream
OGG_END = 4  # flag of a page
# In the first frame of an MP3 file: which fields follow, number of frames, number of bytes
XING = re.compile(rb"(?:Xing|Info)(.{4})(.{4})(.{4})", re.DOTALL)
HAS_FRAMES_AND_BYTES = 3
SIZE_TOLERANCE = 0.01  # of the bytes named in a Xing header; libmpg123's too
REASONS = {  # what libsndfile says of libmpg123's errors, and what they are
    "File does not exist or is not a regular file (possibly a pipe?)": "no MPEG audio frames found",
    "Unspecified internal error": "no further MPEG audio frame found",
}
LAST_PAGES = 1 << 16  # bytes; a page of Ogg is at most 65,307 long
TIMES_AS_LONG = 100  # frames of an MP3 file may be so many times as small as its first


class Decoder(soundfile.SoundFile):
    """An open file, read on from where it stands.

    SoundFile seeks after each read if the file can be sought. This changes the next samples of an MP3
    file, and fails at the end of a FLAC file that doesn't say how long it is.
    """

    def __init__(self, file: int | io.BytesIO | io.BufferedReader) -> None:
        """A file descriptor or a file; it is closed with the decoder."""
        self.source = file
        super().__init__(file)
        self.is_mpeg = self.subtype.startswith("MPEG")

    def read(self, frames: int = -1, dtype: str = "float64", always_2d: bool = False) -> NDArray[Any]:
        """The next samples (T,) or (T, channels), as SoundFile reads them."""
        with hidden() if self.is_mpeg else nullcontext():
            return super().read(frames, dtype=dtype, always_2d=always_2d)

    def close(self) -> None:
        """Close the decoder and what it reads."""
        super().close()
        if not isinstance(self.source, int):
            self.source.close()

    def seekable(self) -> bool:
        """False: read continues where the last read ended; seek still works."""
        return False

    def is_exact(self) -> bool:
        """Whether seek goes to the very sample.

        libmpg123 guesses, libvorbis is up to 0.02 s late in the last page, and GSM can't be sought.
        """
        return super().seekable() and self.subtype != "VORBIS" and not self.is_mpeg


class OpenFile(NamedTuple):
    """A decoder at the file's start, and what it doesn't know."""

    decoder: Decoder
    num_frames: int  # samples of each channel
    is_sequential: bool  # whether every piece is read on from the start, as seeking isn't exact
    has_end: bool  # whether it is marked as whole; always True for formats without such a mark


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


class _MemberOfTar(io.BufferedReader):
    """A member of a tar, for libsndfile."""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place, or stay if there can be none, as damaged headers name: errors would be printed."""
        try:
            return super().seek(offset, whence)
        except OSError:
            return self.tell()


class _Stream(NamedTuple):
    """How libsndfile is given a file."""

    is_mpeg: bool = False
    has_length: bool = True  # whether it knows how many samples it holds
    end: int | None = None  # bytes after which there are none; None: the file's end

    def open(self, path: str) -> Decoder:
        """A decoder of it.

        It gets no name, because libsndfile takes any file called .mp3 for one, and finds frames even in AAC.
        """
        with hidden() if self.is_mpeg else nullcontext():
            if self.has_length and self.end is None:
                is_member = isinstance(path, TarMember)
                return Decoder(_MemberOfTar(open_raw(path)) if is_member else os.open(path, os.O_RDONLY))
            with open_bytes(path) as file:
                content = file.read(self.end)
            return Decoder(io.BytesIO(content) if self.has_length else _LongerFile(content))


def open_file(path: str, longest_s: float = math.inf) -> OpenFile:
    """Path, the longest duration that is accepted -> the open file.

    Raises:
        AudioError: missing, unreadable, truncated, or too long, which is found before all of it is decoded.
        UnsupportedAudioError: in a format that libsndfile doesn't read, or reads in part.
    """
    status = status_of(path)
    head = first_bytes(path)
    stream = _Stream()
    has_end = True
    if head == b"OggS":
        has_end = _ogg_has_end(path, *status)
    elif _begins_as_mpeg(head):
        stream = _mpeg_stream(path, *status)
    elif head in LAYOUTS:
        _require_nothing_behind_samples(path, head, status.size)
    decoder = _open(path, stream, status.size)
    _require_promised(path, decoder)
    if decoder.frames == 0 and status.size > LARGEST_HEADER:
        raise unsupported(path, f"its header says that its {status.size} bytes hold no samples")
    if decoder.is_mpeg and decoder.format != "MP3":
        raise unsupported(path, f"{decoder.format} with {decoder.subtype} doesn't say how long it is")
    num_frames = decoder.frames
    most = longest_s * decoder.samplerate
    if num_frames >= UNKNOWN_LENGTH or not stream.has_length:
        num_frames = _measured(path, stream, most, *status)
    if num_frames > MOST_SAMPLES_OF_A_BYTE * status.size:  # no memory would hold them
        raise AudioError(
            f"{path}: damaged: its header says {num_frames:,} samples, too many for {status.size:,} bytes"
        )
    if num_frames > most:
        raise AudioError(f"{path}: {too_long(longest_s)}")
    return OpenFile(decoder, num_frames, not decoder.is_exact(), has_end)


def reason_of(error: soundfile.LibsndfileError) -> str:
    """Error of libsndfile -> what is wrong with the file."""
    reason = error.error_string.rstrip(".")
    return REASONS.get(reason, reason)


def _open(path: str, stream: _Stream, size: int) -> Decoder:
    """File, what libsndfile is given of it -> its decoder; raises for what libsndfile doesn't open."""
    if size > LARGEST_MPEG and not (stream.has_length and stream.end is None):
        raise unsupported(path, f"MPEG audio of {size} bytes, more than is decoded from memory")
    try:
        return stream.open(path)
    except soundfile.LibsndfileError as error:
        reason = f"cannot be read: {reason_of(error)}"
        if error.error_string.startswith("Format not recognised"):
            reason = "cannot be read: not wav, flac, ogg, opus or mp3"
        elif _is_shortened(path):
            reason = "cannot be read: SPHERE that shorten compressed, which sph2pipe -f wav decompresses"
        raise unsupported(path, reason) from None


def _is_shortened(path: str) -> bool:
    """Whether a file that can't be opened is of NIST SPHERE, compressed, as many of LDC's corpora are."""
    with open_bytes(path) as file:
        header = file.read(NIST_HEADER)
    return header.startswith(b"NIST_1A") and b"embedded-shorten" in header


def _require_promised(path: str, decoder: Decoder) -> None:
    """Raises AudioError for a file that is shorter than its header says, unless its size is a placeholder."""
    is_truncated = False
    if decoder.format in WITH_SIZES and (said := WRONG_SIZE.search(decoder.extra_info)):
        promised, there = int(said[1]), int(said[2])
        is_placeholder = any(0 <= size - promised <= LONGEST_PLACEHOLDER_HEADER for size in PLACEHOLDERS)
        is_truncated = promised > there and not is_placeholder
    elif decoder.format in FOUND_TRUNCATED:
        is_truncated = SEEMS_TRUNCATED.search(decoder.extra_info) is not None
    elif pattern := NUM_FRAMES.get(decoder.format):
        header = decoder.extra_info
        if decoder.format == "NIST":
            with open_bytes(path) as file:
                header = file.read(NIST_HEADER).decode("latin1")
        counted = pattern.search(header)
        is_truncated = counted is not None and int(counted[1]) > decoder.frames
    if is_truncated:
        raise AudioError(f"{path}: {TRUNCATED}")


def _require_nothing_behind_samples(path: str, head: bytes, size: int) -> None:
    """Raises AudioError where the header names fewer bytes of samples than there are, or CAF's names more."""
    layout = LAYOUTS[head]
    with open_raw(path) as stream:
        end = end_of_samples(stream, layout)
        # ffmpeg, which reads CAF where libsndfile does not, doesn't compare its size with the file
        if head == b"caff" and end > size:
            raise AudioError(f"{path}: {TRUNCATED}")
        if end and not only_chunks_follow(stream, end, layout):
            raise AudioError(
                f"{path}: goes on for {size - end} bytes after the samples that its header names; "
                "write the header anew, for WAV by ffmpeg -ignore_length 1 -i FILE -c copy -rf64 auto NEW.wav"
            )


@functools.lru_cache(maxsize=CACHED)
def _measured(path: str, stream: _Stream, most: float, size: int, mtime_ns: int) -> int:
    """File, identified by its size and time -> number of samples that it decodes to, or some over `most`."""
    num_frames = 0
    with stream.open(path) as decoder:
        try:
            while num_frames <= most and (count := len(decoder.read(BLOCK, dtype="float32"))):
                num_frames += count
        except soundfile.LibsndfileError as error:
            raise unsupported(path, f"damaged or truncated: {reason_of(error)}") from None
    return num_frames


@functools.lru_cache(maxsize=CACHED)
def _ogg_has_end(path: str, size: int, mtime_ns: int) -> bool:
    """Ogg file -> whether its last page has the flag that the stream ends.

    Without it, as where recording was stopped, libsndfile reads all pages.

    Raises:
        AudioError: the last page is cut off.
        UnsupportedAudioError: first and last page are of different streams, of which libsndfile reads one;
            require_one_stream also finds those that have the same number.
    """
    with open_bytes(path) as file:
        first = file.read(27)
        file.seek(max(0, size - LAST_PAGES))
        end = file.read()
    page = end[max(0, end.rfind(b"OggS")) :]  # number of segments in byte 26, then their sizes
    if len(page) < 27 or len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]]):
        raise AudioError(f"{path}: truncated: its last Ogg page is cut off")
    if page[OGG_SERIAL] != first[OGG_SERIAL]:
        raise unsupported(path, SEVERAL_OGG)
    return page[5] & OGG_END != 0


def _begins_as_mpeg(content: bytes) -> bool:
    """Whether bytes begin with a tag as MP3 files do, or with a frame of MPEG audio."""
    return content[:3] == b"ID3" or (content[:1] == b"\xff" and content[1:2] >= b"\xe0")


@functools.lru_cache(maxsize=CACHED)
def _mpeg_stream(path: str, size: int, mtime_ns: int) -> _Stream:
    """MP3 file -> the stream in it; raises AudioError if its Xing header contradicts the size of the file.

    libsndfile reads as many samples as a Xing header says, and where there is none as many as the file would
    hold if all frames were like the first. libmpg123 prints a warning if the header names another size.
    """
    with open_bytes(path) as file:
        begin = after_tags(file)
        file.seek(begin)
        frame = file.read(64)
        if frame[:4] == b"fLaC":
            return _Stream()
        said = XING.search(frame)
        if said is None or said[1][3] & HAS_FRAMES_AND_BYTES != HAS_FRAMES_AND_BYTES:
            return _Stream(is_mpeg=True, has_length=False)
        end = begin + int.from_bytes(said[3])
        file.seek(end)
        following = file.read(3)
    tolerance = SIZE_TOLERANCE * (end - begin)
    if size < end - tolerance:
        raise AudioError(f"{path}: truncated: {size} of {end} bytes are there")
    if size <= end + tolerance:
        return _Stream(is_mpeg=True)
    if _begins_as_mpeg(following):
        raise unsupported(path, f"goes on after the {end} bytes that its header names")
    return _Stream(is_mpeg=True, end=end)
