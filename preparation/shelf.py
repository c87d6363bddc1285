"""Archives of corpora on the disk: which are there, whole or in pieces, unpacked already, or lacking."""

import os
from pathlib import Path

from corpora._corpus import Archive, Corpus, Part
from preparation.tree import find_tree
from storage.files import walk


class Shelf:
    """Where archives may lie: under --save_path, or anywhere under --from."""

    def __init__(self, save_path: Path, source: Path | None) -> None:
        self.save_path, self.source, self.folder = save_path, source, save_path / "archives"
        self.known: dict[str, Path] = {}
        roots = [source] if source is not None and source.is_dir() else []
        for root in (*roots, save_path, self.folder):  # the later wins
            paths = walk(root) if root is source else _files_of(root)
            self.known |= {path.rpartition("/")[2]: root / path for path in paths}

    def pieces(self, archive: Archive) -> list[Path]:
        """The archive's file, or its pieces in order; [] unless all are there."""
        if archive.name in self.known:
            return [self.known[archive.name]]
        found = self.some(archive)
        return list(found.values()) if len(found) == len(archive.parts) else []

    def some(self, archive: Archive) -> dict[Part, Path]:
        """Those of the archive's pieces that are there, in order."""
        return {part: self.known[part.name] for part in archive.parts if part.name in self.known}

    def unpacked(self, archive: Archive) -> Path | None:
        """Where the archive's recordings lie."""
        if archive.is_extracted(self.save_path):
            return self.save_path / archive.target
        found = (find_tree(tree, self.save_path, self.source) for tree in archive.trees)
        return next((root for root in found if root is not None), None)

    def lacking(self, archive: Archive) -> list[Part]:
        """Pieces that aren't there, though neither the archive is in one piece nor are its recordings."""
        if archive.name in self.known or self.unpacked(archive):
            return []
        return [part for part in archive.parts if part.name not in self.known]

    def to_download(self, archive: Archive) -> list[Part]:
        """Pieces that are lacking, and those that lie where a download puts them: it verifies them."""
        if self.unpacked(archive) or (len(archive.parts) > 1 and archive.name in self.known):
            return []
        places = {part: self.known.get(part.name, self.folder / part.name) for part in archive.parts}
        return [part for part, place in places.items() if place.parent == self.folder]


def _files_of(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries if entry.is_file()]


def located(corpus: Corpus, save_path: Path, source: Path | None) -> bool:
    """Whether there are recordings of a corpus, encoded or not."""
    return any(tree and find_tree(tree, save_path, source) for tree in (corpus.train, corpus.encoded))
