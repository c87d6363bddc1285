"""Recordings of a corpus on the disk, recognised by the pattern of their paths."""

import re
from collections.abc import Iterator
from itertools import chain, pairwise
from pathlib import Path

from audio.utterances import read_lines
from corpora._corpus import Listing, Tree
from corpora._keys import KeyLine, Lines
from preparation.lists import Utterances
from storage.files import walk


def unreadable(folders: list[str]) -> str:
    """Folders that `walk` could not read -> a remark on them, "" if there are none."""
    more = f" and {len(folders) - 1} more folders" if len(folders) > 1 else ""
    return f"{folders[0]}{more} can't be read" if folders else ""


def read_tree(root: Path, pattern: str) -> Utterances:
    """Folder, pattern of paths under it -> utterances, sorted by path."""
    matches = (re.fullmatch(pattern, path) for path in walk(root))
    rows = sorted((match[0], match["speaker"], match["session"] or "") for match in matches if match)
    return Utterances(
        paths=[path for path, _, _ in rows],
        speakers=[speaker for _, speaker, _ in rows],
        sessions=[session for _, _, session in rows],
    )


def key_lines(path: Path) -> Lines:
    """Key file of a corpus -> its lines that aren't blank."""
    file, is_table = str(path), path.suffix == ".tsv"
    for line in read_lines(file, "--corpus"):
        yield KeyLine(file, line.number, line.columns() if is_table else line.fields())


def read_recordings(root: Path, source: Tree | Listing) -> Utterances:
    """Folder, what names the speakers of the recordings in it -> utterances, sorted by path.

    Raises:
        FileNotFoundError, ValueError: a file that names them is missing or has another form, or it names a
            recording twice.
    """
    if isinstance(source, Tree):
        return read_tree(root, source.pattern)
    rows = sorted(source.read(*(_lines_of_all(root, file) for file in source.files)))
    for (path, *_), (other, *_) in pairwise(rows):
        if path == other:
            raise ValueError(f"{root}: {', '.join(source.files)} name {path} twice")
    paths, speakers, sessions = map(list, zip(*rows, strict=True)) if rows else ([], [], [])
    return Utterances(paths, speakers, sessions)


def _lines_of_all(root: Path, file: str) -> Lines:
    """Files of one name, in any folder where the name has a `*` -> their lines."""
    paths = sorted(root.glob(file))
    if not paths:
        raise FileNotFoundError(f"{root / file}: no such file; --corpus needs it")
    return chain.from_iterable(map(key_lines, paths))


def find_tree(tree: Tree | Listing, save_path: Path, source: Path | None) -> Path | None:
    """Root of a corpus's recordings under --save_path, or anywhere under --from; None if no path matches."""
    if any(re.fullmatch(tree.pattern, path) for path in walk(save_path / tree.root)):
        return save_path / tree.root
    return next(_roots(tree, source), None) if source else None


def require_one_root(listing: Listing, source: Path) -> None:
    """Raises ValueError if there are several folders of such recordings under --from."""
    first, *others = dict.fromkeys(_roots(listing, source))
    if others:
        raise ValueError(f"{first} and {others[0]} have such recordings; give one of them to --from")


def _roots(tree: Tree | Listing, source: Path) -> Iterator[Path]:
    """Root of each path under a folder that matches."""
    if source.is_dir():
        anywhere = re.compile(rf"(?:(?P<root>.+)/)?(?:{tree.pattern})")
        for path in walk(source):
            if match := anywhere.fullmatch(path):
                yield source / (match["root"] or "")
