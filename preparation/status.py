"""--status: a table of the finished steps of each corpus, and what is missing."""

from pathlib import Path

from audio.pack import Pack
from corpora._corpus import Corpora, Corpus
from preparation.archives import ArchiveIndex
from preparation.corpus_lists import list_name
from preparation.protocols import official_lists
from preparation.steps import converted_path
from preparation.tree import find_tree, read_tree
from storage.files import walk

COLUMNS = (
    "corpus",
    "archives",
    "extracted",
    "converted",
    "recordings",
    "train list",
    "trial lists",
    "checked",
    "packed",
)
MAX_NAMED = 4  # missing files


def status(corpora: Corpora, save_path: Path, source: Path | None) -> list[str]:
    """Corpora -> the lines of the table, then a line for each corpus with a missing archive."""
    index = ArchiveIndex(save_path, source)
    rows = [COLUMNS, *(_row(name, corpus, index) for name, corpus in corpora.items())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    for name, corpus in corpora.items():
        missing = [part.name for archive in corpus.archives for part in index.missing_parts(archive)]
        if missing:
            more = ", ..." if len(missing) > MAX_NAMED else ""
            lines.append(f"{name}: missing {', '.join(missing[:MAX_NAMED])}{more}; {corpus.access}")
    return lines


def _row(name: str, corpus: Corpus, index: ArchiveIndex) -> tuple[str, ...]:
    save_path = index.save_path
    source = index.source
    total = len(corpus.archives)
    num_present = sum(bool(index.files(archive)) for archive in corpus.archives)
    num_extracted = sum(archive.is_extracted(save_path) for archive in corpus.archives)
    root = find_tree(corpus.train, save_path, source) if corpus.train else None
    if root is None:
        roots = (find_tree(protocol.tree, save_path, source) for protocol in corpus.protocols)
        root = next((root for root in roots if root is not None), None)
    num_official = sum((save_path / part.name).exists() for part in corpus.lists)
    num_official += len(official_lists(name, corpus, save_path, source))
    has_official = corpus.lists or num_official or not corpus.train
    trials = _yes(save_path / list_name(name, "test_list.txt"))
    return (
        name,
        f"{num_present} of {total}",
        f"{num_extracted} of {total}",
        _converted(corpus, save_path, source),
        str(root or "no"),
        _yes(save_path / list_name(name, "train_list.txt")),
        f"{num_official} of {len(corpus.lists) + len(corpus.protocols)}" if has_official else trials,
        _yes(save_path / "check" / name / "check.json"),
        _yes(save_path / "pack" / name / Pack.INDEX),
    )


def _converted(corpus: Corpus, save_path: Path, source: Path | None) -> str:
    """How many of the encoded recordings are converted; "-" where there are none."""
    root = find_tree(corpus.encoded, save_path, source) if corpus.encoded else None
    if corpus.encoded is None or root is None:
        return "-"
    converted = {path.rpartition(".")[0] for path in walk(save_path / corpus.encoded.root)}
    paths = read_tree(root, corpus.encoded.pattern).paths
    return f"{sum(converted_path(path).rpartition('.')[0] in converted for path in paths)} of {len(paths)}"


def _yes(path: Path) -> str:
    return "yes" if path.exists() else "no"
