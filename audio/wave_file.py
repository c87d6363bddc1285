"""WAV files as corpora are kept for training."""

import struct
from io import RawIOBase
from typing import Self

import numpy as np

from audio.chunks import only_chunks_follow
from audio.errors import AudioError
from audio.file_status import status_of
from audio.recording import FULL_SCALE, SAMPLE_RATE, Audio, Recording, Samples
from audio.tar_member import open_raw


class WaveFile(Recording):
    """A WAV file as corpora are kept for training, 16 bits and mono at 16 kHz, open.

    Read without libsndfile, whose opening and reading take three times as long.
    """

    FORMAT = struct.Struct("<4s4x4s4sIHHI6xH")  # RIFF, WAVE, fmt, its size, coding, channels, rate, bits
    EXPECTED = (b"RIFF", b"WAVE", b"fmt ", 16, 1, 1, SAMPLE_RATE, 16)
    CHUNK = struct.Struct("<4sI")  # name, bytes
    HEAD = 4096  # bytes in which the samples begin in nearly every file

    @classmethod
    def open(cls, path: str) -> Self | None:
        """Path -> the file; None for other formats and wrong sizes, which are for AudioFile."""
        try:
            size = status_of(path).size
            stream = open_raw(path)  # __del__ closes it
        except (OSError, AudioError):
            return None
        recording = cls(path, *cls._samples(stream, size), stream)
        return recording if recording.num_frames else None

    @classmethod
    def _samples(cls, stream: RawIOBase, file_size: int) -> tuple[int, int]:
        """The file, its bytes -> how many samples it holds, 0 if that isn't clear, the place of the first."""
        head = stream.read(cls.HEAD) or b""
        place = cls.FORMAT.size
        if len(head) < place or cls.FORMAT.unpack_from(head) != cls.EXPECTED:
            return 0, 0
        while place + cls.CHUNK.size <= len(head):
            name, size = cls.CHUNK.unpack_from(head, place)
            place += cls.CHUNK.size
            if name == b"data":
                end = place + size
                if end > file_size or (end < file_size and not only_chunks_follow(stream, end + size % 2)):
                    return 0, place
                return size // 2, place
            place += size + size % 2
        return 0, 0

    def __init__(self, path: str, num_frames: int, begin: int, stream: RawIOBase) -> None:
        super().__init__(path, num_frames, SAMPLE_RATE)
        self.stream = stream
        self.begin = begin  # bytes before the first sample

    def __del__(self) -> None:
        self.stream.close()

    def _read_into(self, out: Audio | Samples, start: int) -> None:
        samples = np.empty(len(out), "<i2")
        try:
            self.stream.seek(self.begin + 2 * start)
            read = self.stream.readinto(samples.data) or 0
        except OSError as error:
            raise AudioError(f"{self.path}: cannot be read: {error.strerror}") from None
        if read < samples.nbytes:
            raise AudioError(f"{self.path}: truncated: {read // 2} of {len(out)} samples could be read")
        np.multiply(samples, np.float32(1 / FULL_SCALE), out=out)
