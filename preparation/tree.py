"""Recordings of a corpus on the disk, recognised by the pattern of their paths."""

import re
from pathlib import Path

from corpora._corpus import Tree
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


def find_tree(tree: Tree, save_path: Path, source: Path | None) -> Path | None:
    """Root of a corpus's recordings under --save_path, or anywhere under --from; None if no path matches."""
    if any(re.fullmatch(tree.pattern, path) for path in walk(save_path / tree.root)):
        return save_path / tree.root
    if source is None or not source.is_dir():
        return None
    anywhere = re.compile(rf"(?:(?P<root>.+)/)?(?:{tree.pattern})")
    matches = (anywhere.fullmatch(path) for path in walk(source))
    match = next((match for match in matches if match), None)
    return None if match is None else source / (match["root"] or "")
