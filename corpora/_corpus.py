"""Description of a corpus: its download addresses, its files on the disk, and how large it should be."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from corpora._keys import Lists, Recordings

OPENSLR = "https://www.openslr.org/resources"


class Checksum(NamedTuple):
    """What the bytes of a file must hash to."""

    algorithm: str  # as hashlib calls it
    value: str  # hex, lower case

    def __str__(self) -> str:
        return f"{self.algorithm} {self.value}"


class Part(NamedTuple):
    """One file to download."""

    name: str  # file name; also what the server calls it
    url: str  # complete, without secrets
    md5: str | None = None  # hex, where known
    size: int | None = None  # bytes, where known
    sha256: str | None = None  # hex, where known

    @property
    def checksum(self) -> Checksum | None:
        """The checksum that the file is verified with; None if none is known."""
        if self.sha256:
            return Checksum("sha256", self.sha256.lower())
        return Checksum("md5", self.md5.lower()) if self.md5 else None


class Tree(NamedTuple):
    """Recordings on the disk; the pattern's groups `speaker` and `session` match parts of their paths."""

    root: str  # folder under --save_path, where the paths in lists start
    pattern: str  # of a path under root


class Listing(NamedTuple):
    """Recordings whose speakers files of the corpus name, and not their paths."""

    root: str  # folder under --save_path, where the paths in lists start
    pattern: str  # of the path of a file under root that shows where root is
    files: tuple[str, ...]  # that name the recordings, under root; a `*` is any name of a folder
    read: Callable[..., Recordings]  # lines of each of these files (_keys.Lines) -> the recordings


class Protocol(NamedTuple):
    """An official evaluation, made of key files of the corpus."""

    name: str  # of its lists, after the name of the corpus
    tree: Tree  # of the recordings; the paths in its lists start at their root
    files: tuple[str, ...]  # the key files, under that root; otherwise anywhere, by the ends of their paths
    read: Callable[..., Lists]  # lines of each of these files (_keys.Lines) -> the lists
    may_lack_recordings: bool = False  # lines whose recordings aren't there are left out, as the disk decides


class Archive(NamedTuple):
    """An archive: the files that it comes in, and where its members go."""

    name: str  # of the joined file
    parts: tuple[Part, ...]  # itself, or its pieces in order
    target: str  # folder under --save_path
    trees: tuple[Tree, ...]  # its recordings, extracted or converted; any of these will do
    md5: str | None = None  # of the pieces joined
    only: tuple[str, ...] = ()  # prefixes of the members to extract; () = all

    def is_extracted(self, save_path: Path) -> bool:
        """Whether preparation/extract.py has left the marker of a complete extraction."""
        return (save_path / self.target / f".extracted-{self.name}.json").exists()


class Corpus(NamedTuple):
    """One corpus, as its file in corpora/ describes it."""

    title: str
    licence: str
    access: str  # how a user gets it
    archives: tuple[Archive, ...]
    lists: tuple[Part, ...] = ()  # official trial lists and the like
    encoded: Tree | None = None  # recordings that need --convert, in a folder `aac`
    train: Tree | Listing | None = None
    test: Tree | None = None
    protocols: tuple[Protocol, ...] = ()  # official evaluations, from key files
    known: dict[str, int] | None = None  # speakers and utterances of `train`
    key: bool = False  # whether the server requires a key
    tables: tuple[Part, ...] = ()  # tables and lists of speakers to download
    genders: str = ""  # file name of the table of speakers, their other names and genders
    overlaps: dict[str, str] | None = (
        None  # other corpus -> file with those of its speakers who are here, too
    )


Corpora = dict[str, Corpus]  # by name


def single(
    url: str, tree: Tree, target: str, md5: str | None, *, size: int | None = None, only: tuple[str, ...] = ()
) -> Archive:
    """Archive of one file."""
    name = url.rpartition("/")[2]
    return Archive(name, (Part(name, url, md5, size),), target, (tree,), None, only)
