"""The utterances of a long list in arrays."""

from array import array
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from audio.utterances import ALL_CHANNELS, Paths, Utterance

WHOLE = Utterance("")[1:]  # start, end and channel


class Columns:
    """Utterances with their speakers: the bytes of their paths, and 20 bytes each; segments take 24 more."""

    def __init__(self) -> None:
        self.names = dict[str, int]()  # of the speakers, numbered in order of their occurrence
        self.speakers = array("i")
        self.spans = array("d")  # start, end and channel of each; empty if all are whole recordings
        self._text = bytearray()
        self._ends = array("q")
        self._hashes = array("q")

    def extend(self, utterances: Iterable[tuple[str, int, str, str, Utterance | None]]) -> None:
        """Add utterances as lists.read_utterances yields them."""
        names, text = self.names, self._text  # local names, since lists have millions of lines
        for _, _, speaker, path, segment in utterances:
            if segment is not None or self.spans:
                self._add_span(segment)
            self.speakers.append(names.setdefault(speaker, len(names)))
            self._hashes.append(hash(path if segment is None else segment))
            text.extend(path.encode("utf-8", "surrogateescape"))
            self._ends.append(len(text))

    def _add_span(self, segment: Utterance | None) -> None:
        if not self.spans:
            self.spans = array("d", WHOLE) * len(self.speakers)
        self.spans.extend(WHOLE if segment is None else segment[1:])

    def paths(self) -> Paths:
        """The paths of all; nothing can be added any more."""
        return Paths(np.frombuffer(self._text, np.uint8), np.frombuffer(self._ends, np.int64))

    def repeats(self) -> dict[int, int]:
        """Numbers of the utterances that were there before -> number of the first one."""
        hashes = np.frombuffer(self._hashes, np.int64)
        order = np.argsort(hashes, kind="stable")
        is_same = hashes[order[1:]] == hashes[order[:-1]]
        paths = self.paths()
        first, repeats = dict[Utterance, int](), dict[int, int]()
        for number in np.union1d(order[1:][is_same], order[:-1][is_same]).tolist():
            span = self.spans[3 * number : 3 * number + 3] or WHOLE
            known = first.setdefault(Utterance(paths[number], *span), number)
            if known != number:
                repeats[number] = known
        return repeats

    def spans_where(self, is_kept: NDArray[np.bool_]) -> NDArray[np.float64] | None:
        """The spans of those for which a flag (N,) is set, as utterances.spans_of makes them."""
        if not self.spans:
            return None
        spans = np.frombuffer(self.spans).reshape(-1, 3)[is_kept]
        if (spans[:, 2] != ALL_CHANNELS).any():
            return spans
        return np.ascontiguousarray(spans[:, :2]) if (spans != WHOLE).any() else None
