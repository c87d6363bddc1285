"""--generate: the official evaluations of a corpus, from its key files to the lists that --eval reads."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from audio.lists import is_file
from corpora._corpus import Corpus, Protocol
from corpora._keys import Lists
from preparation.lists import Row, write_rows
from preparation.tree import find_tree, key_lines
from storage.files import walk


class Official(NamedTuple):
    """Lists of a protocol, by the flags that they are for, and the folder that their paths start at."""

    name: str
    root: Path
    lists: dict[str, Path]


def official_lists(name: str, corpus: Corpus, save_path: Path, source: Path | None) -> list[Official]:
    """Name of a corpus, its description -> the lists of its protocols that are under save_path."""
    there = []
    for protocol in corpus.protocols:
        lists = {flag: _list_path(save_path, name, protocol, flag) for flag in FLAGS}
        lists = {flag: path for flag, path in lists.items() if path.exists()}
        root = find_tree(protocol.tree, save_path, source) if lists else None
        if root is not None:
            there.append(Official(f"{name}_{protocol.name}", root, lists))
    return there


def write_official(name: str, corpus: Corpus, save_path: Path, source: Path | None) -> list[str]:
    """Write the lists of the protocols whose key files and recordings are on the disk -> messages.

    Raises:
        ValueError: a key file of another form, or found twice; none of its recordings is there; or a list
            exists and differs.
    """
    messages: list[str] = []
    absent: list[str] = []
    keys = KeyFiles(corpus, save_path, source)
    roots = {tree: find_tree(tree, save_path, source) for tree in {p.tree for p in corpus.protocols}}
    for protocol in corpus.protocols:
        root = roots[protocol.tree]
        files = [] if root is None else [keys.find(root, file) for file in protocol.files]
        there = [file for file in files if file is not None]
        if root is None or len(there) < len(files):
            lacking = protocol.files[files.index(None)] if files else "recordings"
            absent.append(f"{protocol.name} ({lacking})")
            continue
        lists = protocol.read(*map(key_lines, there))
        messages += _write(name, protocol, root, lists, save_path)
    if absent:
        messages.append(f"{name}: official lists left out, and what is missing: {', '.join(absent)}")
    return messages


class KeyFiles:
    """Finds the key files of a corpus."""

    def __init__(self, corpus: Corpus, save_path: Path, source: Path | None) -> None:
        """Description of the corpus, folders that it may be in."""
        self.ends = {file for protocol in corpus.protocols for file in protocol.files}
        tops = {Path(protocol.tree.root).parts[:1] for protocol in corpus.protocols}
        self.folders = [save_path.joinpath(*top) for top in sorted(tops)] + ([source] if source else [])
        self.others: dict[str, list[Path]] | None = None  # not under the root of the recordings

    def find(self, root: Path, file: str) -> Path | None:
        """A key file under the root of the recordings; otherwise the only one whose path ends like it.

        Raises:
            ValueError: there are several of these.
        """
        if (root / file).is_file():
            return root / file
        if self.others is None:
            self.others = self._search()
        paths = self.others[file]
        if len(paths) > 1:
            raise ValueError(f"{paths[0]} and {paths[1]} have the same name; move one of them away")
        return paths[0] if paths else None

    def _search(self) -> dict[str, list[Path]]:
        found: dict[str, dict[Path, Path]] = {end: {} for end in self.ends}  # by the real path
        names = {end.rpartition("/")[2] for end in self.ends}
        for folder in self.folders:
            for path in walk(folder):
                if path.rpartition("/")[2] in names:
                    for end in self.ends:
                        if f"/{path}".endswith(f"/{end}"):
                            found[end].setdefault((folder / path).resolve(), folder / path)
        return {end: list(paths.values()) for end, paths in found.items()}


class Presence:
    """Which recordings are there; each is looked for once."""

    def __init__(self, root: Path) -> None:
        """Folder that the paths start at."""
        self.root = str(root)
        self.known: dict[str, bool] = {}

    def has_all(self, paths: Sequence[str]) -> bool:
        """Whether all of these recordings are there."""
        for path in paths:
            if path not in self.known:
                self.known[path] = is_file(self.root, path)
        return all(self.known[path] for path in paths)

    def missing(self) -> list[str]:
        """Those that were looked for and aren't there."""
        return [path for path, is_there in self.known.items() if not is_there]


def _write(name: str, protocol: Protocol, root: Path, lists: Lists, save_path: Path) -> list[str]:
    """Lists of a protocol -> the same on the disk, and messages."""
    presence = Presence(root)
    flags = []
    counts: dict[str, int] = {}
    for flag, rows in lists.items():
        recordings = FLAGS[flag] if flag != "test_list" or "enrol_list" not in lists else _tests
        path = _list_path(save_path, name, protocol, flag)
        kept = _present(rows, recordings, presence, leave_out=protocol.may_lack_recordings)
        counts[flag] = write_rows(path, kept, f"{name}: {protocol.name}: no recording of it is in {root}")
        flags.append(f"--{flag} {path}")
    trials = f"{counts['test_list']:,} trials" if "test_list" in counts else f"{counts['probe']:,} probes"
    messages = [f"{name}: {protocol.name}: {trials}: {' '.join(flags)} --test_path {root}"]
    if missing := presence.missing():
        count = f"{len(missing):,} of {len(presence.known):,} recordings, such as {missing[0]}, aren't there"
        effect = "; left out" if protocol.may_lack_recordings else ""
        messages.append(f"warning: {name}: {protocol.name}: {count}{effect}")
    return messages


def _list_path(save_path: Path, name: str, protocol: Protocol, flag: str) -> Path:
    return save_path / f"{name}_{protocol.name}_{flag}.txt"


def _first(row: Row) -> Row:
    """The recording in a line after its speaker or model; times may follow."""
    return row[1:2]


def _tests(row: Row) -> Row:
    """The recording in a trial of a model."""
    return row[2:]


def _both(row: Row) -> Row:
    """The recordings in a trial."""
    return row[1:]


# Lists by their flags -> the recordings in a line
FLAGS: dict[str, Callable[[Row], Row]] = {
    "test_list": _both,
    "enrol_list": _first,
    "gallery": _first,
    "probe": _first,
}


def _present(
    rows: Iterable[Row], recordings: Callable[[Row], Row], presence: Presence, *, leave_out: bool
) -> Iterator[Row]:
    """Lines -> all of them, or those whose recordings are there."""
    for row in rows:
        if presence.has_all(recordings(row)) or not leave_out:
            yield row
