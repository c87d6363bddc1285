"""Utterances, their paths in compact form, and the lines of the files that list them."""

import math
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from metrics.fields import Line, lines_of, shown

ALL_CHANNELS = -1  # in the place of a channel's number: they are mixed down
MAX_OVERSHOOT_S = 0.5  # of a segment's end over the recording's
LONGEST_LINE = 1 << 15  # characters of a line with two paths, even if all of their bytes are escaped
SHOWN = 60  # characters of a wrong line
BLOCK = 1 << 20  # characters of a list that are read at a time


class Paths(Sequence[str]):
    """Many strings in two arrays: half the memory of a list, and worker processes share it.

    Reading a Python object changes its count of references, which copies a forked process's memory page
    by page; an array has one count for all of its elements.
    """

    def __init__(self, text: NDArray[np.uint8], ends: NDArray[np.int64]) -> None:
        self.text = text  # UTF-8 of all strings, concatenated; names of files may have other bytes
        self.ends = ends  # end of each string in `text`

    @classmethod
    def of(cls, strings: Iterable[str]) -> "Paths":
        """Strings -> the same, stored compactly."""
        text, ends = bytearray(), array("q")
        for string in strings:
            text.extend(string.encode("utf-8", "surrogateescape"))
            ends.append(len(text))
        return cls(np.frombuffer(text, np.uint8), np.frombuffer(ends, np.int64))

    def where(self, is_kept: NDArray[np.bool_]) -> "Paths":
        """The strings for which a flag (N,) is set."""
        lengths = np.diff(self.ends, prepend=0)
        return Paths(self.text[np.repeat(is_kept, lengths)], np.cumsum(lengths[is_kept]))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = range(len(self))[index]  # resolves negative indices and raises IndexError
        begin = self.ends[index - 1] if index else 0
        return self.text[begin : self.ends[index]].tobytes().decode(errors="surrogateescape")

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Paths):
            return np.array_equal(self.ends, other.ends) and np.array_equal(self.text, other.text)
        return NotImplemented if not isinstance(other, list) else list(self) == other

    __hash__ = None  # type: ignore[assignment]


class Utterance(NamedTuple):
    """A recording, or a segment of one, in seconds from its start; of all channels, or of one."""

    path: str
    start_s: float = 0.0
    end_s: float = math.inf
    channel: int = ALL_CHANNELS  # that its list names; otherwise --channel decides

    def __str__(self) -> str:
        """The path, the channel if one is named, and the times of a segment."""
        name = self.path if self.channel == ALL_CHANNELS else f"{self.path} channel {int(self.channel)}"
        return f"{name} from {self.start_s:g} to {self.end_s:g} s" if self.is_segment else name

    @property
    def is_segment(self) -> bool:
        """Whether it isn't all of its recording's duration."""
        return self.start_s != 0.0 or self.end_s != math.inf

    @property
    def is_whole(self) -> bool:
        """Whether it is all of its recording."""
        return self.channel == ALL_CHANNELS and not self.is_segment

    def samples(self, num_frames: int, rate: int) -> tuple[int, int] | None:
        """Samples of the recording and their rate -> the first sample and the end; None if it isn't within.

        As in Kaldi it may end up to 0.5 s later than the recording.
        """
        begin, duration_s = round(self.start_s * rate), num_frames / rate
        if begin >= num_frames or duration_s + MAX_OVERSHOOT_S < self.end_s < math.inf:
            return None
        end = num_frames if self.end_s >= duration_s else round(self.end_s * rate)
        return begin, max(end, begin + 1)


def spans_of(utterances: Collection[Utterance]) -> NDArray[np.float64] | None:
    """Utterances -> start and end of each in seconds, (N, 2); None if all are whole recordings.

    If a channel of any of them is named, the channel of each is a third column.
    """
    if all(utterance.is_whole for utterance in utterances):
        return None
    has_channels = any(utterance.channel != ALL_CHANNELS for utterance in utterances)
    return np.array([utterance[1 : 3 + has_channels] for utterance in utterances], np.float64)


def read_lines(path: str, flag: str) -> Iterator[Line]:
    """Text file that a flag names -> its lines that aren't blank.

    Raises:
        FileNotFoundError, ValueError: as read_texts, or empty.
    """
    empty = True
    for line in lines_of(read_texts(path, flag)):
        empty = False
        yield line
    if empty:
        raise ValueError(f"{flag} {path}: the list is empty")


def wrong_line(line: Line, path: str, expected: str) -> ValueError:
    """A line of a list and the form that was expected -> the error."""
    fields = line.fields()
    got = f"{len(fields)} field{'s' * (len(fields) > 1)}: {shown(line.text[:SHOWN])}"
    advice = ""
    if line.is_comment:
        advice = "; lists have no comments, delete the line"
    elif not line.is_by_tabs and any(is_quoted(field) for field in fields):
        advice = (
            "; quotes would be parts of names, leave them out, and separate by tabs if names contain blanks"
        )
    elif len(line.text) > LONGEST_LINE:
        got = f"{len(line.text)} characters"
    elif not line.is_by_tabs:
        advice = " (separate them by tabs if paths contain blanks)"
    return ValueError(f"{path}:{line.number}: expected {expected}, got {got}{advice}")


def is_quoted(field: str) -> bool:
    """Whether a field looks as if quotes were around a name."""
    return len(field) > 2 and field[0] == field[-1] == '"'


def read_texts(path: str, flag: str) -> Iterator[str]:
    """Text file that a flag names -> its lines as they are.

    Raises:
        FileNotFoundError, ValueError: absent, not text, or a line holds a zero byte, as no text does.
    """
    return chain.from_iterable(_blocks(path, flag))


def _blocks(path: str, flag: str) -> Iterator[list[str]]:
    """Text file -> its lines, some thousands at a time."""
    number = 1
    try:
        with Path(path).open(encoding="utf-8-sig") as stream:
            while block := stream.readlines(BLOCK):
                if "\0" in "".join(block):  # faster than to look at each line
                    number += next(i for i, text in enumerate(block) if "\0" in text)
                    raise ValueError(f"{path}:{number}: holds a zero byte; expected a text file in UTF-8")
                yield block
                number += len(block)
    except FileNotFoundError:
        raise FileNotFoundError(f"{flag} {path}: no such file") from None
    except IsADirectoryError:
        raise ValueError(f"{flag} {path}: a folder without Kaldi's lists; expected a list") from None
    except UnicodeDecodeError:
        raise ValueError(f"{flag} {path}: not a text file in UTF-8") from None
    except OSError as error:
        raise OSError(error.errno, error.strerror, f"{flag} {path}") from None
