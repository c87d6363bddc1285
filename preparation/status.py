"""--status: a table of what is done for each corpus, and what is missing."""

from pathlib import Path

from audio.pack import Pack
from corpora._corpus import Corpus
from preparation.shelf import Shelf
from preparation.steps import Corpora, in_wav, list_name
from preparation.tree import find_tree, read_tree
from storage.files import walk

COLUMNS = (
    *("corpus", "archives", "extracted", "converted", "recordings"),
    *("train list", "trial lists", "checked", "packed"),
)


def status(names: Corpora, save_path: Path, source: Path | None) -> list[str]:
    """Corpora -> the lines of the table, then a line for each corpus that lacks an archive."""
    shelf = Shelf(save_path, source)
    rows = [COLUMNS, *(_row(name, corpus, shelf, save_path, source) for name, corpus in names.items())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    for name, corpus in names.items():
        lacking = [part.name for archive in corpus.archives for part in shelf.lacking(archive)]
        if lacking:
            more = ", ..." if len(lacking) > 4 else ""
            lines.append(f"{name}: missing {', '.join(lacking[:4])}{more}; {corpus.access}")
    return lines


def _row(name: str, corpus: Corpus, shelf: Shelf, save_path: Path, source: Path | None) -> tuple[str, ...]:
    total = len(corpus.archives)
    there = sum(bool(shelf.pieces(archive)) for archive in corpus.archives)
    out = sum(archive.is_extracted(save_path) for archive in corpus.archives)
    root = find_tree(corpus.train, save_path, source) if corpus.train else None
    official = sum((save_path / part.name).exists() for part in corpus.lists)
    trials = _yes(save_path / list_name(name, "test_list.txt"))
    return (
        name,
        f"{there} of {total}",
        f"{out} of {total}",
        _converted(corpus, save_path, source),
        str(root or "no"),
        _yes(save_path / list_name(name, "train_list.txt")),
        f"{official} of {len(corpus.lists)}" if corpus.lists else trials,
        _yes(save_path / "check" / name / "check.json"),
        _yes(save_path / "pack" / name / Pack.INDEX),
    )


def _converted(corpus: Corpus, save_path: Path, source: Path | None) -> str:
    """How many of the encoded recordings are converted; "-" where there are none."""
    root = find_tree(corpus.encoded, save_path, source) if corpus.encoded else None
    if corpus.encoded is None or root is None:
        return "-"
    there = {path.rpartition(".")[0] for path in walk(save_path / corpus.encoded.root)}
    paths = read_tree(root, corpus.encoded.pattern).paths
    return f"{sum(in_wav(path).rpartition('.')[0] in there for path in paths)} of {len(paths)}"


def _yes(path: Path) -> str:
    return "yes" if path.exists() else "no"
