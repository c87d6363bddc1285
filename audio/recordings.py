"""The recordings of a list: files, slices of a pack or members of tars; whole, or segments of them."""

import os
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from audio.errors import AudioError
from audio.file_status import status_of
from audio.pack import Pack
from audio.recording import (
    ALL_CHANNELS,
    SAMPLE_RATE,
    AudioFile,
    Recording,
    RecordingInMemory,
)
from audio.tar_member import TarMember
from audio.tars import TarIndex, index_in
from audio.utterances import Utterance
from audio.wave_file import WaveFile
from storage.files import require_files


class Recordings:
    """What a list names: files under a folder, members of tars that are indexed there, slices of a pack."""

    def __init__(
        self,
        root: str,
        paths: Sequence[str],
        channel: int = ALL_CHANNELS,
        spans: NDArray[np.float64] | None = None,
        *,
        open_file: Callable[[str, int], Recording] = AudioFile,
    ) -> None:
        """Where the recordings are; files are only looked at when they are opened.

        Args:
            root: a folder, which may have an index of tar files, or a pack.
            paths: of the recordings in it.
            channel: the one that is taken of several, 0 the first; ALL_CHANNELS: they are mixed down.
            spans: segments of the recordings, start and end in seconds, and if a channel is named the channel
                of each (N, 2 or 3), see spans_of; None for whole recordings.
            open_file: path, channel -> recording; for files other than 16-bit mono WAV at 16 kHz.

        Raises:
            ValueError: a pack lacks one of them, or a channel of a pack is asked for.
            ValueError, FileNotFoundError: a tar that holds one of them has changed, or is missing.
        """
        self.root = root
        self.paths = paths
        self.spans = spans
        self.channel = channel
        self.open_file = open_file
        index = index_in(root)
        self.pack = index if isinstance(index, Pack) else None
        self.tars = index if isinstance(index, TarIndex) else None
        names_channels = spans is not None and spans.shape[1] > 2
        if self.pack and (channel > 0 or names_channels):
            given = "channels in the list" if names_channels else f"--channel {channel}"
            advice = "" if names_channels else "leave the flag out, or "
            raise ValueError(
                f"{given}: the recordings of the pack {root} have one channel; {advice}give the folder "
                "of the files that were packed"
            )
        self.rows = np.zeros(0, np.int64) if index is None else index.rows(paths)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> Recording:
        """Place in the list -> the recording; raises AudioError if it can't be used."""
        if self.spans is None:
            return self._open(number, self.channel)
        utterance = Utterance(self.file(number), *self.spans[number].tolist())
        channel = self.channel if utterance.channel == ALL_CHANNELS else int(utterance.channel)
        recording = self._open(number, channel)
        recording.cut(utterance)
        return recording

    def _open(self, number: int, channel: int) -> Recording:
        if self.pack is not None:
            return RecordingInMemory("", self.pack.samples(self.rows[number]))
        path = self.file(number)
        if channel <= 0 and path.endswith(".wav") and (mono := WaveFile.open(path)):
            return mono
        return self.open_file(path, channel)

    def file(self, number: int) -> str:
        """Place in the list -> path of the recording's file, or of a member of a tar."""
        if self.tars is not None and (row := self.rows[number]) >= 0:
            return self.tars.member(row)
        return os.path.join(self.root, self.paths[number])  # noqa: PTH118  (Path is 4 times as slow)

    def description(self, number: int) -> str:
        """Place in the list -> the recording's path, and the times of a segment."""
        if self.spans is None:
            return self.paths[number]
        return str(Utterance(self.paths[number], *self.spans[number].tolist()))

    def require(self, numbers: Iterable[int], flag: str) -> None:
        """Raises FileNotFoundError for the first of the recordings that isn't there."""
        if self.pack is None:
            outside = (number for number in numbers if self.tars is None or self.rows[number] < 0)
            require_files(self.root, (self.paths[number] for number in outside), flag)

    def identities(self) -> list[str]:
        """A text for each recording, which changes if the recording does."""
        if self.pack is not None:
            root, columns = self.pack.folder.absolute(), self.pack.places[self.rows, 2:4].tolist()
            texts = [
                f"{root}/{path} {length} {crc}"
                for path, (length, crc) in zip(self.paths, columns, strict=True)
            ]
        else:
            files = [self.file(number) for number in range(len(self))]
            texts = [f"{_place(file)} {self.channel} {_stamp(file)}" for file in files]
        if self.spans is None:
            return texts
        spans = self.spans.tolist()
        return [" ".join(map(str, (text, *span))) for text, span in zip(texts, spans, strict=True)]

    def sizes(self) -> list[int]:
        """Of each recording a number that grows with its length: samples, or bytes of the file."""
        if (durations := self.durations()) is not None:
            return durations.tolist()
        return [_size(self.file(number)) for number in range(len(self))]

    def durations(self) -> NDArray[np.int64] | None:
        """Length of each in samples; None where that would take opening every file."""
        if self.pack is None:
            return None
        lengths = self.pack.places[self.rows, 2]
        if self.spans is None:
            return lengths
        segments = (Utterance("", *span) for span in self.spans.tolist())
        samples = zip(segments, lengths.tolist(), strict=True)
        parts = [segment.samples(length, SAMPLE_RATE) or (0, 0) for segment, length in samples]
        return np.array([end - begin for begin, end in parts], np.int64)


def _place(file: str) -> str:
    """Absolute path of a file; of a member that of its tar, where it begins there, and its name."""
    if isinstance(file, TarMember):
        return f"{os.path.abspath(file.tar)} {file.begin} {file}"  # noqa: PTH100
    return os.path.abspath(file)  # noqa: PTH100


def _stamp(file: str) -> str:
    """Size and time of a file, "" if there is none."""
    try:
        size, mtime_ns = status_of(file)
    except AudioError:
        return ""
    return f"{size} {mtime_ns}"


def _size(file: str) -> int:
    """Bytes of a file, 0 if there is none."""
    try:
        return status_of(file).size
    except AudioError:
        return 0
