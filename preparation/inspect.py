"""--check and --pack: which lists and recordings are there, and what is wrong with them."""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from audio.lists import read_excluded, read_lines, read_utterances
from audio.pack import Pack
from corpora._corpus import Corpus
from preparation.check import Finding, Listed, check_recordings, write_report
from preparation.pack import damaged, write_pack
from preparation.steps import Corpora, list_name
from preparation.suspects import label_errors, same_speakers
from preparation.tree import find_tree
from storage.files import write_text

NAMED = 5  # speakers, of those that two lists share


class Own(NamedTuple):
    """The user's own lists, in the place of a corpus's."""

    root: Path | None
    train_list: Path | None
    test_list: Path | None


class Target(NamedTuple):
    """A folder of recordings and the lists that name them."""

    name: str
    root: Path
    train_list: Path | None = None
    test_lists: tuple[Path, ...] = ()
    known: dict[str, int] | None = None
    lacking: tuple[str, ...] = ()  # what isn't there, and which step makes it

    def notes(self) -> list[str]:
        """Lines that say what is lacking."""
        return [f"{self.name}: {line}" for line in self.lacking]


class Lists(NamedTuple):
    """What the lists of a target say; paths are relative to its folder."""

    train: dict[str, str]  # path -> speaker
    trials: dict[str, list[str]]  # name of a trial list -> distinct paths

    def paths(self) -> list[str]:
        """All distinct ones, those to train on first."""
        return list(dict.fromkeys(chain(self.train, *self.trials.values())))

    def listed(self) -> Listed:
        """The same for the checker of recordings."""
        trials = list(dict.fromkeys(chain.from_iterable(self.trials.values())))
        place = _place_of_speakers(self.train)
        return Listed(self.train, trials, dict(_speakers(trials, place)))


def targets(names: Corpora, save_path: Path, source: Path | None, own: Own) -> list[Target]:
    """What --check and --pack look at: corpora, or with none the user's own lists.

    Raises:
        FileNotFoundError, ValueError: no list, or nowhere to look for its recordings.
    """
    if not names:
        return [_own_target(save_path, source, own)]
    found = [_target(name, corpus, save_path, source) for name, corpus in names.items()]
    if not any(target.train_list or target.test_lists for target in found):
        raise FileNotFoundError("; ".join(line for target in found for line in target.notes()))
    return found


def _own_target(save_path: Path, source: Path | None, own: Own) -> Target:
    train = own.train_list or _if_there(save_path / "train_list.txt")
    test = own.test_list or _if_there(save_path / "test_list.txt")
    if train is None and test is None:
        raise ValueError(f"no list in {save_path}; give --train_list or --test_list, or use --generate")
    root = own.root or source
    if root is None:
        raise ValueError("where do the lists' paths start? give --root DIR")
    return Target("own", root, train, (test,) if test else ())


def _target(name: str, corpus: Corpus, save_path: Path, source: Path | None) -> Target:
    root = find_tree(corpus.train, save_path, source) if corpus.train else None
    if root is None:
        return Target(name, save_path, lacking=("no recordings are there; see --status",))
    if corpus.lists and corpus.test:  # some of them name both parts, which --generate has put together
        root = save_path / Path(corpus.test.root).parts[0] / "all" / "wav"
    if not root.is_dir():
        return Target(name, root, lacking=(f"{root} is missing; use --generate",))
    train = save_path / list_name(name, "train_list.txt")
    official = [save_path / part.name for part in corpus.lists]
    absent = [path.name for path in official if not path.exists()]
    lacking = [] if train.exists() else [f"{train.name} is missing; use --generate"]
    lacking += [f"{', '.join(absent)}: missing; use --download"] if absent else []
    tests = [path for path in (*official, save_path / list_name(name, "test_list.txt")) if path.exists()]
    return Target(name, root, _if_there(train), tuple(tests), corpus.known, tuple(lacking))


def _if_there(path: Path) -> Path | None:
    return path if path.exists() else None


def read_lists(target: Target) -> Lists:
    """The lists of a target -> what they name."""
    train: dict[str, str] = {}
    if target.train_list is not None:
        train = {p: speaker for _, speaker, p in read_utterances(str(target.train_list), "--train_list")}
    return Lists(train, {path.name: _read_trials(path) for path in target.test_lists})


def _read_trials(path: Path) -> list[str]:
    """Trial list -> the distinct paths in it."""
    found: dict[str, None] = {}
    for number, line in read_lines(str(path), "--test_list"):
        fields = line.split("\t") if "\t" in line else line.split()
        if len(fields) not in (2, 3):
            raise ValueError(f'{path}:{number}: expected "label enrol test", got {len(fields)} fields')
        found |= dict.fromkeys(fields[-2:])
    return list(found)


def _place_of_speakers(train: dict[str, str]) -> int:
    """Paths and their speakers -> which folder of most paths is the speaker's; 0 if none is."""
    places = Counter(
        folders.index(speaker)
        for path, speaker in train.items()
        if speaker in (folders := path.split("/")[:-1])
    )
    return places.most_common(1)[0][0] if places else 0


def _speakers(paths: Iterable[str], place: int) -> Iterator[tuple[str, str]]:
    """Paths, the speaker's place among the folders -> (path, speaker) of those that have so many folders."""
    folders = ((path, path.split("/")[:-1]) for path in paths)
    return ((path, each[place]) for path, each in folders if len(each) > place)


def overlaps(trials: dict[str, list[str]], trained: dict[str, dict[str, str]]) -> Iterator[Finding]:
    """Trial and train lists by name -> a finding for each file, and one for all speakers, that two share."""
    for train_list, train in trained.items() if trials else ():
        place, known, where = _place_of_speakers(train), set(train.values()), dict[str, list[str]]()
        for test_list, paths in trials.items():
            for path in filter(train.__contains__, paths):
                where.setdefault(path, []).append(test_list)
            speakers = {speaker for _, speaker in _speakers(paths, place)}
            if shared := sorted(speakers & known):
                names = ", ".join([*shared[:NAMED], *["..."] * (len(shared) > NAMED)])
                detail = f"{len(shared):,} of {len(speakers):,} in {test_list} are in {train_list}: {names}"
                yield Finding("shared speakers", "", detail)
        for path, tests in where.items():
            yield Finding("leak", path, f"this file is in {train_list} and in {', '.join(tests)}")


def check(found: list[Target], save_path: Path, workers: int) -> list[str]:
    """--check: reports in save_path/check, one folder for each target."""
    read = [(target, read_lists(target)) for target in found]
    trained = {target.train_list.name: lists.train for target, lists in read if target.train_list}
    told = []
    for target, lists in read:
        told += target.notes()
        if not lists.paths():
            continue
        listed = lists.listed()
        findings = check_recordings(target.root, listed, known=target.known, workers=workers)
        findings += overlaps(lists.trials, trained)
        report = write_report(findings, save_path / "check" / target.name, listed)
        told += [f"{target.name}: {line}" for line in report]
    return told


def suspects(
    embeddings: NDArray[np.float32], paths: list[str], speakers: list[str], folder: Path
) -> list[str]:
    """Embeddings (N, D) of a train list -> suspects.txt: probable label errors, speakers that are alike."""
    errors = label_errors(embeddings, speakers, paths)
    alike = same_speakers(embeddings, speakers)
    lines = [
        f"label\t{s.path}\t{s.speaker}\t{s.other}\t{s.own_score:.3f}\t{s.other_score:.3f}" for s in errors
    ]
    lines += [f"same\t{first}\t{second}\t{score:.3f}" for first, second, score in alike]
    write_text(folder / "suspects.txt", "".join(f"{line}\n" for line in lines))
    counts = f"{len(errors)} utterances that sound like another speaker, {len(alike)} pairs of speakers alike"
    return [f"{folder}/suspects.txt: {counts}"]


def pack(found: list[Target], save_path: Path, workers: int, exclude: Path | None) -> list[str]:
    """--pack: the recordings of each target's lists in save_path/pack, verified.

    exclude: file of paths to leave out; None = what --check wrote for the target.
    """
    told = []
    for target in found:
        told += target.notes()
        listed, folder = read_lists(target).paths(), save_path / "pack" / target.name
        if not listed:
            continue
        excluded = exclude or _if_there(save_path / "check" / target.name / "excluded.txt")
        left_out = read_excluded(str(excluded)) if excluded else set[str]()
        paths = [path for path in listed if path not in left_out]
        if not paths:
            raise ValueError(f"{target.name}: {excluded} leaves nothing to pack")
        if len(paths) < len(listed):
            told.append(
                f"{target.name}: {len(listed) - len(paths)} recordings left out by {excluded}; "
                f"train with --exclude {excluded}"
            )
        told += _packed(target.root, paths, folder, workers)
    return told


def _packed(root: Path, paths: list[str], folder: Path, workers: int) -> list[str]:
    """Pack the recordings and verify the pack -> what there is to tell."""
    added = write_pack(root, paths, folder, workers)
    made = Pack(folder)
    if wrong := damaged(made):
        raise ValueError(
            f"{folder}: {wrong[0]} and {len(wrong) - 1} more are damaged; delete it and pack again"
        )
    told = [f"{folder}: {added} recordings added, {len(made.paths)} in all, verified"]
    if len(made.paths) > len(paths):
        told.append(f"{folder}: {len(made.paths) - len(paths)} of them are no longer listed")
    return told
