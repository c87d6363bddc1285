"""Chunks of WAV, AIFF, SVX and CAF files, and the header of AU: where the samples end, and what follows them.

A program that is killed, or that writes more than 32 bits can count, leaves a size that is too small.
"""

import os
from io import RawIOBase
from struct import Struct
from typing import NamedTuple


class Layout(NamedTuple):
    """How the chunks of a container are written."""

    begin: int  # bytes before the first
    header: Struct  # name, number of bytes that follow
    alignment: int  # of chunks, in bytes


LITTLE_ENDIAN = Layout(12, Struct("<4sI"), 2)
BIG_ENDIAN = Layout(12, Struct(">4sI"), 2)
LAYOUTS = {  # by the first bytes of a file
    b"RIFF": LITTLE_ENDIAN,
    b"RIFX": BIG_ENDIAN,
    b"FORM": BIG_ENDIAN,
    b"caff": Layout(8, Struct(">4sq"), 1),
    b".snd": BIG_ENDIAN,  # AU has no chunks
}
SAMPLES = (b"data", b"SSND", b"BODY")  # chunks that hold them
AU = Struct(">4xII")  # bytes before the samples, bytes of the samples
SHORTEST = 9  # bytes of the samples; fewer stand for an unknown size, and AIFF has 8 bytes before the first
UNKNOWN = 0xFFFFFFFF
LONGEST_REST = 512  # bytes at a file's end that may be something else: padding to a sector, or an ID3v1 tag


def end_of_samples(stream: RawIOBase, layout: Layout) -> int:
    """Open file -> the byte after the samples by its header; 0 if it doesn't say."""
    if stream.read(4) == b".snd":
        header = stream.read(AU.size - 4)
        begin, count = AU.unpack(bytes(4) + header) if len(header) == AU.size - 4 else (0, 0)
        return begin + count if count not in (0, UNKNOWN) else 0
    name = b""
    begin = end = layout.begin
    while name not in SAMPLES:
        begin = end
        name, end = _chunk(stream, begin, layout)
        if end <= begin:
            return 0
    return end if end - begin >= layout.header.size + SHORTEST else 0


def only_chunks_follow(stream: RawIOBase, place: int, layout: Layout = LITTLE_ENDIAN) -> bool:
    """Open file, place in it -> whether the rest consists of chunks, but for a few bytes."""
    size = stream.seek(0, os.SEEK_END)
    while place + LONGEST_REST < size:
        begin = place
        name, place = _chunk(stream, begin, layout)
        is_name = all(ord(" ") <= character <= ord("~") for character in name)
        if not is_name or not begin < place <= size + 1:
            return False
    return True


def _chunk(stream: RawIOBase, place: int, layout: Layout) -> tuple[bytes, int]:
    """Open file, place of a chunk -> its name, the place of the next; 0 if there is none."""
    try:
        stream.seek(place)
    except OSError:  # further away than a file can be long, by a damaged size
        return b"", 0
    header = stream.read(layout.header.size)
    if len(header) < layout.header.size:
        return b"", 0
    name, count = layout.header.unpack(header)
    end = place + layout.header.size + count
    return name, end + end % layout.alignment
