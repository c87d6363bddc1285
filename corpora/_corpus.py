"""What dataprep.py knows of a corpus: where it comes from, how it lies on the disk, what it should hold."""

from pathlib import Path
from typing import NamedTuple

OPENSLR = "https://www.openslr.org/resources"


class Part(NamedTuple):
    """One file to download."""

    name: str  # file name; also what the server calls it
    url: str  # complete address without secrets
    md5: str | None = None  # hex, where known
    size: int | None = None  # bytes, where known


class Tree(NamedTuple):
    """Recordings on the disk; the pattern's groups `speaker` and `session` match parts of their paths."""

    root: str  # folder under --save_path, where the paths in lists start
    pattern: str  # of a path under root


class Archive(NamedTuple):
    """An archive: the files that it comes in, and where its members go."""

    name: str  # of the joined file
    parts: tuple[Part, ...]  # itself, or its pieces in order
    target: str  # folder under --save_path
    trees: tuple[Tree, ...]  # its recordings, unpacked or converted: one of them there is as good
    md5: str | None = None  # of the pieces joined
    only: tuple[str, ...] = ()  # beginnings of the members that are wanted; () = all

    def is_extracted(self, save_path: Path) -> bool:
        """Whether _extract.py has left its mark that all of it is out."""
        return (save_path / self.target / f".extracted-{self.name}.json").exists()


class Corpus(NamedTuple):
    """One corpus, as its file in corpora/ describes it."""

    title: str
    licence: str
    access: str  # how a user gets it
    archives: tuple[Archive, ...]
    lists: tuple[Part, ...] = ()  # official trial lists and the like
    encoded: Tree | None = None  # recordings that want --convert, with a folder `aac` in the root's path
    train: Tree | None = None
    test: Tree | None = None
    known: dict[str, int] | None = None  # speakers and utterances of `train`
    key: bool = False  # whether the server wants a key
    genders: str = ""  # table of speakers and genders beside the recordings


def single(
    url: str, tree: Tree, target: str, md5: str, size: int | None = None, only: tuple[str, ...] = ()
) -> Archive:
    """An archive that comes in one file."""
    name = url.rpartition("/")[2]
    return Archive(name, (Part(name, url, md5, size),), target, (tree,), None, only)
