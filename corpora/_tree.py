"""Recordings on the disk: folders walked, trees read, a corpus recognised by the paths in it."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from corpora._corpus import Tree
from corpora._lists import Utterances

AUDIO = re.compile(r".+\.(wav|flac|ogg|opus|mp3)", re.IGNORECASE | re.DOTALL)  # what training reads
OTHER = re.compile(  # what --convert takes besides
    r".+\.(m4a|mp4|aac|aiff?|au|caf|sph|w64|amr|wma|webm|mkv|mov)", re.IGNORECASE | re.DOTALL
)


def walk(root: Path, unreadable: list[str] | None = None) -> Iterator[str]:
    """Folder -> paths of the files under it, relative, with slashes, by name; leaves hidden ones out.

    Links are followed, but none to a folder that it lies in. Folders that can't be read are left out and
    added to `unreadable`. os.scandir is faster than Path.rglob.
    """
    # folder, its path under root, the real folders of the links that led to it
    waiting: list[tuple[str, str, tuple[str, ...]]] = [(str(root), "", ())]
    while waiting:
        folder, prefix, passed = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                found = sorted((e for e in entries if e.name[0] != "."), key=lambda entry: entry.name)
        except (FileNotFoundError, PermissionError):
            if unreadable is not None:
                unreadable.append(folder)
            continue
        folders = list["os.DirEntry[str]"]()
        for entry in found:
            if _is_folder(entry):
                folders.append(entry)
            else:
                yield prefix + entry.name
        for entry in reversed(folders):
            places = passed
            if entry.is_symlink():
                places = (*passed, os.path.realpath(folder))
                target = os.path.join(os.path.realpath(entry.path), "")  # noqa: PTH118  (ends in a slash)
                if any(f"{place}/".startswith(target) for place in places):
                    continue
            waiting.append((entry.path, f"{prefix}{entry.name}/", places))


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


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
