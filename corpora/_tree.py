"""Recordings on the disk -> utterances: trees with speakers in their paths, lists, Kaldi directories."""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from corpora._corpus import Tree
from corpora._lists import Utterances
from files import read_utterances

AUDIO = re.compile(r".+\.(wav|flac|ogg|opus|mp3|m4a)", re.IGNORECASE)
ANY_TREE = r"(?P<speaker>[^/]+)/(?:(?P<session>[^/]+)/)?(?:.+/)?[^/]+\.(?i:wav|flac)"
FOLDERS_TRIED = 4  # of each speaker or part, when a corpus is to be recognised
DEEPEST = 6  # folders below --from that are searched for a corpus


def read_tree(root: Path, pattern: str) -> Utterances:
    """Folder, pattern of paths under it -> utterances, by path; follows links, leaves hidden files out."""
    wanted = re.compile(pattern)
    found = sorted(
        (path, match["speaker"], match["session"] or "")
        for path in walk(root)
        if (match := wanted.fullmatch(path))
    )
    return Utterances(*([row[i] for row in found] for i in range(3)))


def walk(root: Path) -> Iterator[str]:
    """Folder -> paths of the files under it, relative, with slashes; os.walk is faster than Path.rglob."""
    start = len(str(root)) + 1
    for folder, folders, names in os.walk(root, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        prefix = folder[start:].replace(os.sep, "/")
        for name in names:
            if not name.startswith("."):
                yield f"{prefix}/{name}" if prefix else name


def find_tree(tree: Tree, save_path: Path, source: Path | None) -> Path | None:
    """Where a corpus lies: under --save_path, or anywhere under --from, recognised by its paths."""
    if (save_path / tree.root).is_dir() and _fits(save_path / tree.root, tree.pattern):
        return save_path / tree.root
    if source is None or not source.is_dir():
        return None
    folders = [source]
    for _ in range(DEEPEST):
        for folder in folders:
            if _fits(folder, tree.pattern):
                return folder
        folders = [Path(entry.path) for folder in folders for entry in _subfolders(folder)]
    return None


def _subfolders(folder: Path) -> list["os.DirEntry[str]"]:
    with os.scandir(folder) as entries:
        return sorted((e for e in entries if e.is_dir() and not e.name.startswith(".")), key=lambda e: e.name)


def _fits(root: Path, pattern: str) -> bool:
    """Whether the first recording of some folder in root, or below one, lies as the pattern says."""
    wanted, start = re.compile(pattern), len(str(root)) + 1
    for entry in _subfolders(root):
        for folder in (entry, *_subfolders(Path(entry.path))[:FOLDERS_TRIED]):
            first = next((path for path in walk(Path(folder.path)) if AUDIO.fullmatch(path)), None)
            if first is not None and wanted.fullmatch(f"{folder.path[start:]}/{first}".replace(os.sep, "/")):
                return True
    return False


def read_source(source: Path) -> tuple[Path, Utterances]:
    """--from: a tree `speaker/.../file`, a Kaldi directory or a train list -> where paths start, utterances.

    Raises:
        FileNotFoundError, ValueError: nothing there, or nothing in it.
    """
    if source.is_file() or (source / "wav.scp").exists():
        listed = read_utterances(str(source), "--from")
        return Path(), _with_sessions((path, speaker) for _, speaker, path in listed)
    if not source.is_dir():
        raise FileNotFoundError(f"{source}: no such folder")
    found = read_tree(source, ANY_TREE)
    if not found.paths:
        raise ValueError(f"{source}: no wav or flac files in folders of speakers (speaker/.../file)")
    blank = next((name for name in found.speakers if " " in name), None)
    if blank is not None:
        raise ValueError(f"{source}/{blank}: a speaker's name can't hold a blank in a train list")
    return source, found


def _with_sessions(pairs: Iterable[tuple[str, str]]) -> Utterances:
    """(path, speaker) -> utterances; the folder of a file below its speaker's is its session."""
    rows = sorted((path, speaker, _session(path, speaker)) for path, speaker in pairs)
    return Utterances(*([row[i] for row in rows] for i in range(3)))


def _session(path: str, speaker: str) -> str:
    *folders, _ = path.split("/")
    return folders[-1] if folders and folders[-1] != speaker else ""


def kaldi_files(utterances: Utterances, root: Path) -> dict[str, str]:
    """Utterances -> contents of wav.scp, utt2spk and spk2utt, sorted as Kaldi wants them."""
    rows = []
    for path, speaker in zip(utterances.paths, utterances.speakers, strict=True):
        stem = re.sub(r"[^\w.-]+", "-", path.rpartition(".")[0].removeprefix(f"{speaker}/"))
        rows.append((f"{speaker}-{stem}", speaker, str((root / path).absolute())))
    rows.sort()
    by_speaker: dict[str, list[str]] = {}
    for name, speaker, _ in rows:
        by_speaker.setdefault(speaker, []).append(name)
    return {
        "wav.scp": "".join(f"{name} {path}\n" for name, _, path in rows),
        "utt2spk": "".join(f"{name} {speaker}\n" for name, speaker, _ in rows),
        "spk2utt": "".join(f"{speaker} {' '.join(names)}\n" for speaker, names in sorted(by_speaker.items())),
    }
