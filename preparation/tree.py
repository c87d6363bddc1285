"""Recordings on the disk: trees read, a corpus recognised by the paths in it."""

import re
from pathlib import Path

from corpora._corpus import Tree
from preparation.lists import Utterances
from storage.files import walk

OTHER = re.compile(  # what --convert takes besides
    r".+\.(m4a|mp4|aac|aiff?|au|caf|sph|w64|amr|wma|webm|mkv|mov)", re.IGNORECASE | re.DOTALL
)


def unreadable(folders: list[str]) -> str:
    """Folders that walk could not read -> a remark on them, "" if there are none."""
    more = f" and {len(folders) - 1} more folders" if len(folders) > 1 else ""
    return f"{folders[0]}{more} can't be read" if folders else ""


def read_tree(root: Path, pattern: str) -> Utterances:
    """Folder, pattern of paths under it -> utterances, by path."""
    wanted = re.compile(pattern)
    found = sorted(
        (path, match["speaker"], match["session"] or "")
        for path in walk(root)
        if (match := wanted.fullmatch(path))
    )
    return Utterances(*([row[i] for row in found] for i in range(3)))


def find_tree(tree: Tree, save_path: Path, source: Path | None) -> Path | None:
    """Where a corpus lies: under --save_path, or anywhere under --from, by the first path that fits."""
    wanted = re.compile(tree.pattern)
    if any(wanted.fullmatch(path) for path in walk(save_path / tree.root)):
        return save_path / tree.root
    if source is None or not source.is_dir():
        return None
    anywhere = re.compile(rf"(?:(?P<root>.+)/)?(?:{tree.pattern})")
    found = next((match for path in walk(source) if (match := anywhere.fullmatch(path))), None)
    return None if found is None else source / (found["root"] or "")
