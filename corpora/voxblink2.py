"""VoxBlink2: 110,000 speakers of YouTube, as its scripts leave them (Lin et al. 2024, arXiv:2407.11510)."""

import re

from corpora._corpus import Corpus, Protocol, Tree
from corpora._keys import Lines, Lists, identification

TREE = Tree("voxblink2", r"(?P<speaker>id\d{6})/(?P<session>[^/]+)/\d{5}\.wav")
# The name of a video may hold hyphens itself.
NAME = re.compile(r"(?P<speaker>id\d{6})[/-](?P<video>[\w-]{11})[/-](?P<number>\d{5})(\.wav)?")


def _path(name: str) -> str:
    match = NAME.fullmatch(name)
    if match is None:
        raise LookupError(name)
    return f"{match['speaker']}/{match['video']}/{match['number']}.wav"


def open_set(gallery: Lines, probe: Lines) -> Lists:
    """The label of strangers is none of the gallery's."""
    return identification(gallery, probe, _path)


CORPUS = Corpus(
    title="VoxBlink2",
    licence="CC BY-NC-SA 4.0 for the annotations; the recordings remain their owners'",
    access="run its scripts, which fetch videos: https://github.com/VoxBlink2/ScriptsForVoxBlink2",
    archives=(),
    train=TREE,
    protocols=tuple(
        Protocol(
            f"{size}_{number}",
            TREE,
            tuple(f"ossi/{size}/{number}/{kind}" for kind in ("gallery", "probe")),
            open_set,
            may_lack_recordings=True,  # videos that were deleted
        )
        for size in ("small", "medium", "large")
        for number in ("perspk1", "perspk3", "perspk5")
    ),
)
