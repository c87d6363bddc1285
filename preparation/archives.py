"""The archives of corpora on the disk: which are there, whole or in parts, extracted, or missing."""

import os
from collections.abc import Iterable
from pathlib import Path

from corpora._corpus import Archive, Corpus, Part
from preparation.tree import find_tree, unreadable
from storage.files import walk


class ArchiveIndex:
    """The archive files under --save_path and anywhere under --from."""

    def __init__(self, save_path: Path, source: Path | None) -> None:
        self.save_path = save_path
        self.source = source
        self.folder = save_path / "archives"  # where downloads go
        self.paths: dict[str, Path] = {}  # by file name; a later folder takes precedence
        if source is not None and source.is_dir():
            self._add(source, walk(source))
        self._add(save_path, _file_names(save_path))
        self._add(self.folder, _file_names(self.folder))

    def _add(self, folder: Path, paths: Iterable[str]) -> None:
        for path in paths:
            self.paths[path.rpartition("/")[2]] = folder / path

    def files(self, archive: Archive) -> list[Path]:
        """The archive's file, or its parts in order; empty unless all are there."""
        if archive.name in self.paths:
            return [self.paths[archive.name]]
        parts = self.available_parts(archive)
        return list(parts.values()) if len(parts) == len(archive.parts) else []

    def available_parts(self, archive: Archive) -> dict[Part, Path]:
        """Those of the archive's parts that are there, in order."""
        return {part: self.paths[part.name] for part in archive.parts if part.name in self.paths}

    def extracted_root(self, archive: Archive) -> Path | None:
        """Folder of the archive's recordings, None if it isn't extracted."""
        if archive.is_extracted(self.save_path):
            return self.save_path / archive.target
        roots = (find_tree(tree, self.save_path, self.source) for tree in archive.trees)
        return next((root for root in roots if root is not None), None)

    def missing_parts(self, archive: Archive) -> list[Part]:
        """Parts that aren't there; none if the joined archive or its recordings are."""
        if archive.name in self.paths or self.extracted_root(archive):
            return []
        return [part for part in archive.parts if part.name not in self.paths]

    def parts_to_download(self, archive: Archive) -> list[Part]:
        """Parts that are missing, and those in the download folder, which the download verifies."""
        if self.extracted_root(archive) or (len(archive.parts) > 1 and archive.name in self.paths):
            return []
        places = {part: self.paths.get(part.name, self.folder / part.name) for part in archive.parts}
        return [part for part, place in places.items() if place.parent == self.folder]


def _file_names(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries if entry.is_file()]


def has_recordings(corpus: Corpus, save_path: Path, source: Path | None) -> bool:
    """Whether recordings of a corpus are on the disk, encoded or not."""
    trees = (corpus.train, corpus.encoded, *(protocol.tree for protocol in corpus.protocols))
    return any(tree and find_tree(tree, save_path, source) for tree in trees)


def missing_files(
    name: str, corpus: Corpus, what: str, *, folder: Path, source: Path | None, steps: str
) -> FileNotFoundError:
    """The error that a corpus isn't there: where it was looked for, and what to do."""
    unreadable_folders: list[str] = []
    places = str(folder)
    if source is not None:
        places += f" or {source}"
        for _ in walk(source, unreadable_folders):
            pass
    remark = f" ({unreadable(unreadable_folders)})" if unreadable_folders else ""
    advice = "--from DIR if you have them elsewhere"
    advice = f"use {steps}, or {advice}" if steps else f"give {advice}"
    return FileNotFoundError(f"{name}: no {what} in {places}{remark}; {advice}. {corpus.access}")


def missing_recordings(name: str, corpus: Corpus, save_path: Path, source: Path | None) -> FileNotFoundError:
    """The error that a corpus's recordings aren't there."""
    tree = corpus.train or corpus.encoded or corpus.protocols[0].tree
    steps = ""
    if corpus.archives:
        steps = "--download, --extract" + (", --convert" if corpus.encoded else "")
    return missing_files(name, corpus, "recordings", folder=save_path / tree.root, source=source, steps=steps)
