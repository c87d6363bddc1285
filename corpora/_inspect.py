"""--check and --pack: which lists and recordings are there, and what is wrong with them."""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from audio import Pack
from corpora import _check, _suspects, _tree
from corpora._pack import damaged, write_pack
from corpora._steps import Corpora, list_name
from files import read_lines, read_utterances, write_text


class Own(NamedTuple):
    """The user's own lists, in the place of a corpus's."""

    root: Path | None
    train_list: Path | None
    test_list: Path | None


class Target(NamedTuple):
    """A folder of recordings and the lists that name them."""

    name: str
    root: Path
    train_list: Path | None
    test_list: Path | None
    known: dict[str, int] | None = None


def targets(names: Corpora, save_path: Path, source: Path | None, own: Own) -> list[Target]:
    """What --check and --pack look at.

    Raises:
        FileNotFoundError, ValueError: no list, or nowhere to look for its recordings.
    """
    if not names:
        train = own.train_list or _if_there(save_path / "train_list.txt")
        test = own.test_list or _if_there(save_path / "test_list.txt")
        if train is None and test is None:
            raise ValueError(f"no list in {save_path}; give --train_list or --test_list, or use --generate")
        root = own.root or source
        if root is None:
            raise ValueError("where do the lists' paths start? give --root DIR")
        return [Target("own", root, train, test)]
    found = []
    for name, corpus in names.items():
        root = _tree.find_tree(corpus.train, save_path, source) if corpus.train else None
        if root is None:
            raise FileNotFoundError(f"{name}: no recordings are there; see --status")
        train = _if_there(save_path / list_name(name, "train_list.txt"))
        found.append(
            Target(name, root, train, _if_there(save_path / list_name(name, "test_list.txt")), corpus.known)
        )
        if corpus.lists and corpus.test and (rest := _tree.find_tree(corpus.test, save_path, source)):
            found.append(Target(f"{name}_test", rest, None, _if_there(save_path / corpus.lists[0].name)))
    return found


def _if_there(path: Path) -> Path | None:
    return path if path.exists() else None


def read_lists(target: Target) -> _check.Listed:
    """The lists of a target -> what they name."""
    train: dict[str, str] = {}
    if target.train_list is not None:
        train = {p: speaker for _, speaker, p in read_utterances(str(target.train_list), "--train_list")}
    trials: dict[str, None] = {}
    if target.test_list is not None:
        for number, line in read_lines(str(target.test_list), "--test_list"):
            fields = line.split("\t") if "\t" in line else line.split()
            if len(fields) not in (2, 3):
                raise ValueError(
                    f'{target.test_list}:{number}: expected "label enrol test", got {len(fields)} fields'
                )
            trials |= dict.fromkeys(fields[-2:])
    place = _place_of_speakers(train)
    folders = {path: path.split("/")[:-1] for path in trials}
    speakers = {path: each[place] for path, each in folders.items() if len(each) > place}
    return _check.Listed(train, list(trials), speakers)


def _place_of_speakers(train: dict[str, str]) -> int:
    """Paths and their speakers -> which folder of most paths is the speaker's; 0 if none is."""
    places = Counter(
        folders.index(speaker)
        for path, speaker in train.items()
        if speaker in (folders := path.split("/")[:-1])
    )
    return places.most_common(1)[0][0] if places else 0


def check(found: list[Target], save_path: Path, workers: int) -> list[str]:
    """--check: reports in save_path/check, one folder for each target."""
    told = []
    for target in found:
        listed = read_lists(target)
        findings = _check.check(target.root, listed, known=target.known, workers=workers)
        folder = save_path / "check" / target.name
        number = len(listed.train.keys() | dict.fromkeys(listed.trials).keys())
        told += [f"{target.name}: {line}" for line in _check.write_report(findings, folder, number)]
    return told


def suspects(
    embeddings: NDArray[np.float32], paths: list[str], speakers: list[str], folder: Path
) -> list[str]:
    """Embeddings (N, D) of a train list -> suspects.txt: probable label errors, speakers that are alike."""
    errors = _suspects.label_errors(embeddings, speakers, paths)
    alike = _suspects.same_speakers(embeddings, speakers)
    lines = [
        f"label\t{s.path}\t{s.speaker}\t{s.other}\t{s.own_score:.3f}\t{s.other_score:.3f}" for s in errors
    ]
    lines += [f"same\t{first}\t{second}\t{score:.3f}" for first, second, score in alike]
    write_text(folder / "suspects.txt", "".join(f"{line}\n" for line in lines))
    counts = f"{len(errors)} utterances that sound like another speaker, {len(alike)} pairs of speakers alike"
    return [f"{folder}/suspects.txt: {counts}"]


def pack(found: list[Target], save_path: Path, workers: int) -> list[str]:
    """--pack: the recordings of each target's lists in save_path/pack, verified."""
    told = []
    for target in found:
        listed, folder = read_lists(target), save_path / "pack" / target.name
        added = write_pack(target.root, [*listed.train, *listed.trials], folder, workers)
        made = Pack(folder)
        wrong = damaged(made)
        if wrong:
            raise ValueError(
                f"{folder}: {wrong[0]} and {len(wrong) - 1} more are damaged; delete it and pack again"
            )
        told.append(f"{folder}: {added} recordings added, {len(made.paths)} in all, verified")
    return told
