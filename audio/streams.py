"""Several streams in one file, one after another, of which libsndfile reads the first."""

import re
from typing import BinaryIO

from audio.errors import unsupported
from audio.tar_member import open_bytes

FIRST_PAGE = re.compile(rb"OggS\0[\x02\x06]")  # of a logical stream of Ogg (RFC 3533, section 6)
SEVERAL_OGG = "holds several Ogg streams"
FIRST_BLOCK = re.compile(rb"fLaC[\0\x80]\0\0\x22")  # of FLAC: the marker, and the header of STREAMINFO
FIRST_OF_STREAM = {  # by the first bytes of a file: how each stream in it begins, in bytes, what several are
    b"fLaC": (FIRST_BLOCK, 8, "holds several FLAC streams, one after another"),
    b"OggS": (FIRST_PAGE, 6, SEVERAL_OGG),
}
SEARCHED = 1 << 24  # bytes at a time


def require_one_stream(path: str) -> None:
    """Raises UnsupportedAudioError for several FLAC or Ogg streams, of which libsndfile reads the first.

    It searches the whole file, and so isn't part of open_file.
    """
    with open_bytes(path) as file:
        file.seek(after_tags(file))
        text = file.read(4)
        if text not in FIRST_OF_STREAM:
            return
        first, length, reason = FIRST_OF_STREAM[text]
        num_streams = 0
        while block := file.read(SEARCHED):
            text += block
            num_streams += len(first.findall(text))
            text = text[1 - length :]  # may be the beginning of another
    if num_streams > 1:
        raise unsupported(path, reason)


def after_tags(file: BinaryIO) -> int:
    """File at its start -> the place behind its ID3v2 tags."""
    begin = 0
    while (tag := file.read(10))[:3] == b"ID3" and len(tag) == 10:
        begin += 10 + (tag[6] << 21 | tag[7] << 14 | tag[8] << 7 | tag[9])  # 7 bits each
        file.seek(begin)
    return begin
