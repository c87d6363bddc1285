"""What --check and --pack read: the lists of corpora and of the user, and where their recordings are."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from audio.kaldi import is_kaldi_directory
from corpora._corpus import Corpora, Corpus
from preparation.corpus_lists import list_name
from preparation.generate import read_speakers
from preparation.protocols import Official, official_lists
from preparation.tree import find_tree


class UserLists(NamedTuple):
    """Lists of the user's recordings, given by flags; None = not given."""

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
    missing: tuple[str, ...] = ()  # what is missing, and which step provides it
    models: Mapping[Path, Path] = MappingProxyType({})  # trial lists that name models -> their enrolments
    speaker_lists: tuple[Path, ...] = ()  # of galleries and probes
    # other corpus -> speakers who are there, too
    overlaps: Mapping[str, frozenset[str]] = MappingProxyType({})

    def notes(self) -> list[str]:
        """One line for each part that is missing."""
        return [f"{self.name}: {line}" for line in self.missing]


def find_targets(names: Corpora, save_path: Path, source: Path | None, user: UserLists) -> list[Target]:
    """What --check and --pack read: corpora, or without any the user's lists.

    Raises:
        FileNotFoundError, ValueError: no list, or no folder that its paths are relative to.
    """
    if not names:
        return [_user_target(save_path, source, user)]
    corpora = [target for name in names for target in _corpus_targets(name, names, save_path, source)]
    if not any(target.train_list or target.test_lists for target in corpora):
        raise FileNotFoundError("; ".join(line for target in corpora for line in target.notes()))
    return corpora


def _user_target(save_path: Path, source: Path | None, user: UserLists) -> Target:
    train = user.train_list or if_there(save_path / "train_list.txt")
    test = user.test_list or if_there(save_path / "test_list.txt")
    if train is None and test is None:
        raise ValueError(f"no list in {save_path}; give --train_list or --test_list, or use --generate")
    root = user.root or source
    if root is None and train is not None and is_kaldi_directory(str(train)) and not user.test_list:
        notes = (f"{test} isn't checked without --root, the folder that its paths start at",) if test else ()
        return Target("own", Path(), train, missing=notes)  # Kaldi's paths start at the working folder
    if root is None:
        raise ValueError("give --root DIR, the folder that the paths of the lists are relative to")
    return Target("own", root, train, (test,) if test else ())


def _corpus_targets(name: str, names: Corpora, save_path: Path, source: Path | None) -> list[Target]:
    """A corpus, all corpora -> its train list and trials, and official lists whose paths start elsewhere."""
    corpus = names[name]
    targets = dict[Path, Target]()
    if corpus.train is not None:
        target = _corpus_target(name, corpus, save_path, source)
        targets[target.root] = _with_overlaps(target, corpus, names, save_path)
    for official in official_lists(name, corpus, save_path, source):
        target = targets.get(official.root) or Target(official.name if targets else name, official.root)
        targets[official.root] = _with_official(target, official)
    nothing = Target(name, save_path, missing=("no official lists are there; use --generate",))
    return list(targets.values()) or [nothing]


def _with_official(target: Target, official: Official) -> Target:
    """A target with the lists of a protocol, too."""
    lists = official.lists
    tests = tuple(path for flag, path in lists.items() if flag == "test_list")
    speakers = tuple(path for flag, path in lists.items() if flag in ("gallery", "probe"))
    models = {test: lists["enrol_list"] for test in tests if "enrol_list" in lists}
    return target._replace(
        test_lists=(*target.test_lists, *tests),
        speaker_lists=(*target.speaker_lists, *speakers),
        models={**target.models, **models},
    )


def _corpus_target(name: str, corpus: Corpus, save_path: Path, source: Path | None) -> Target:
    root = find_tree(corpus.train, save_path, source) if corpus.train else None
    if root is None:
        return Target(name, save_path, missing=("no recordings are there; see --status",))
    if corpus.lists and corpus.test:  # --generate links both parts into one folder for them
        root = save_path / Path(corpus.test.root).parts[0] / "all" / "wav"
    if not root.is_dir():
        return Target(name, root, missing=(f"{root} is missing; use --generate",))
    train = save_path / list_name(name, "train_list.txt")
    official = [save_path / part.name for part in corpus.lists]
    absent = [path.name for path in official if not path.exists()]
    missing: list[str] = []
    if not train.exists():
        missing.append(f"{train.name} is missing; use --generate")
    if absent:
        missing.append(f"{', '.join(absent)}: missing; use --download")
    tests = [path for path in (*official, save_path / list_name(name, "test_list.txt")) if path.exists()]
    return Target(name, root, if_there(train), tuple(tests), corpus.known, tuple(missing))


def _with_overlaps(target: Target, corpus: Corpus, names: Corpora, save_path: Path) -> Target:
    """A target with those of its speakers who are known to be in another of the corpora, too."""
    missing = list(target.missing)
    overlaps: dict[str, frozenset[str]] = {}
    for other, file in (corpus.overlaps or {}).items():
        if other in names and (save_path / file).exists():
            overlaps[other] = read_speakers(save_path / file, corpus.genders, target.root)
        elif other in names:
            missing.append(f"{file}, the speakers who are in {other}, too, is missing; use --download")
    return target._replace(overlaps=overlaps, missing=tuple(missing))


def if_there(path: Path) -> Path | None:
    """A path if there is a file; otherwise None."""
    return path if path.exists() else None
