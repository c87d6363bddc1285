"""Train list and trial list of a corpus: the split between them, their contents and the files."""

import re
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from audio.utterances import read_lines
from metrics.fields import text_of
from preparation.kaldi import write_kaldi
from preparation.lists import Trial, Utterances, draw_trials, train_list, write_lists

TRAIN, TEST = "train_list.txt", "test_list.txt"
FILES_HELD_OUT = 3  # of each speaker with a split ratio of -1


class Split(NamedTuple):
    """How recordings are split into a train list and trials."""

    split_ratio: float = -1.0  # share of each speaker's files held out; -1 = 3 files or fewer; 0 = none
    min_utterances: int = 1
    num_trials: int = 10_000
    seed: int = 10
    left_out: frozenset[str] = frozenset()  # names of speakers that no list has

    def check(self) -> None:
        """Raises ValueError for values out of range."""
        if self.split_ratio != -1.0 and not 0.0 <= self.split_ratio < 1.0:
            raise ValueError(
                f"--split_ratio must be in [0, 1), or -1 for {FILES_HELD_OUT} files, got {self.split_ratio:g}"
            )
        if self.num_trials < 2:
            raise ValueError(f"--num_trials must be at least 2, got {self.num_trials}")
        if self.min_utterances < 1:
            raise ValueError(f"--min_utterances must be at least 1, got {self.min_utterances}")


class NewLists(NamedTuple):
    """Lists that are not yet written, and the utterances in them."""

    lists: dict[str, str]  # file name -> contents
    train: Utterances
    test: Utterances | None
    trials: list[Trial]
    descriptions: dict[str, str]  # file name -> what the list holds
    messages: list[str]  # what else the user should know


class SavedLists(NamedTuple):
    """Lists on the disk, the folders that their paths are relative to, and lines to print."""

    train_list: Path | None
    train_path: Path
    test_list: Path | None
    test_path: Path
    messages: list[str]


def with_enough_utterances(utterances: Utterances, minimum: int) -> tuple[Utterances, int]:
    """Utterances -> those of speakers with `minimum` utterances or more; number of speakers left out."""
    counts = Counter(utterances.speakers)
    keep = [i for i, name in enumerate(utterances.speakers) if counts[name] >= minimum]
    return utterances.take(keep), sum(count < minimum for count in counts.values())


def without_speakers(utterances: Utterances, names: frozenset[str]) -> tuple[Utterances, list[str]]:
    """Utterances, names of speakers -> those of others, and a message."""
    if not names:
        return utterances, []
    keep = [i for i, name in enumerate(utterances.speakers) if name not in names]
    count = len(names.intersection(utterances.speakers))
    message = f"left out: {count} of {len(names)} speakers of --exclude_speakers"
    return utterances.take(keep), [message if count else f"warning: {message}: none of them is here"]


def hold_out(
    utterances: Utterances, split_ratio: float, generator: np.random.Generator
) -> tuple[Utterances, Utterances]:
    """Utterances -> those to train on, those of each speaker held out for trials.

    A speaker keeps at least two files for training. With a ratio, one with too few files holds none out;
    without (-1), one with four files holds two out, and one with fewer none.
    """
    speakers: dict[str, list[int]] = {}
    for index, name in enumerate(utterances.speakers):
        speakers.setdefault(name, []).append(index)
    train: list[int] = []
    held_out: list[int] = []
    for indices in speakers.values():
        most = max(len(indices) - 2, 0)
        if split_ratio == -1.0:
            count = min(FILES_HELD_OUT, most) if most > 1 else 0
        else:
            count = round(split_ratio * len(indices))
            count = count if count <= most else 0
        order = generator.permutation(len(indices))
        held_out += sorted(indices[i] for i in order[:count])
        train += sorted(indices[i] for i in order[count:])
    return utterances.take(train), utterances.take(held_out)


def make_lists(
    train: Utterances, test: Utterances | None, split: Split, genders: dict[str, str] | None = None
) -> NewLists:
    """Utterances to train on, those of other speakers to test on -> contents of the lists.

    Without test utterances, some of the training speakers' are held out, unless split.split_ratio is 0.

    Raises:
        ValueError: values out of range, or too few utterances for trials.
    """
    split.check()
    generator = np.random.default_rng(split.seed)
    if test is None and split.split_ratio != 0.0 and len(set(train.speakers)) == 1:
        raise ValueError(
            f"all {len(train.paths)} files are of one speaker, {train.speakers[0]}; training needs "
            "recordings of several people, each in a folder of its own"
        )
    train, messages = without_speakers(train, split.left_out)
    train, left_out = with_enough_utterances(train, split.min_utterances)
    if not train.paths:
        raise ValueError(f"no speaker has {split.min_utterances} utterances (--min_utterances)")
    source = "files of {} other speakers"
    if test is None and split.split_ratio != 0.0:
        train, test = hold_out(train, split.split_ratio, generator)
        source = "held-out files of {} of these speakers"
    lists = {TRAIN: train_list(train)}
    descriptions = {TRAIN: f"{len(train.paths)} utterances of {len(set(train.speakers))} speakers"}
    trials = list[Trial]()
    if left_out:
        messages.append(f"left out: {left_out} speakers with fewer than {split.min_utterances} utterances")
    if test is not None:
        try:
            trials = draw_trials(test, split.num_trials, generator, genders)
        except ValueError:
            raise ValueError(
                "too few files to hold any out for trials: at least two speakers need two files for training "
                "and two for trials; --split_ratio 0 writes a train list without trials"
            ) from None
        lists[TEST] = text_of(trials)
        files = source.format(len(set(test.speakers)))
        descriptions[TEST] = f"{len(trials)} trials over {len(test.paths)} {files}"
    return NewLists(lists, train, test, trials, descriptions, messages)


def save_lists(new: NewLists, save_path: Path, prefix: str, root: Path, kaldi: Path | None) -> SavedLists:
    """Write lists under save_path, their names after a prefix, and Kaldi directories if kaldi is given."""
    write_lists(save_path, {f"{prefix}{name}": text for name, text in new.lists.items()})
    messages = [f"{save_path}/{prefix}{name}: {text}" for name, text in new.descriptions.items()]
    messages += new.messages
    if kaldi is not None:
        messages.append(write_kaldi(new.train, root, kaldi / "train"))
        if new.test:
            messages.append(write_kaldi(new.test, root, kaldi / "test", new.trials))
    test = save_path / f"{prefix}{TEST}" if TEST in new.lists else None
    return SavedLists(save_path / f"{prefix}{TRAIN}", root, test, root, messages)


def training_command(saved: Sequence[SavedLists], config: str = "") -> str:
    """Lists, path of the recipe for them or "" -> the command that trains on them.

    Of several train lists it names the trainer's default, or the first; of several trial lists the first.
    Without a train list there is no command, "".
    """
    trainable = [(lists.train_list, lists.train_path) for lists in saved if lists.train_list is not None]
    if not trainable:
        return ""
    train_list, train_path = next((pair for pair in trainable if pair[0].name == TRAIN), trainable[0])
    test = next((lists for lists in saved if lists.test_list), None)
    recipe = ["--config", config] if config else ["--model", "ResNetSE34L", "--trainfunc", "angleproto"]
    words = ["python", "trainSpeakerNet.py", *recipe]
    words += ["--train_list", str(train_list), "--train_path", str(train_path)]
    words += ["--test_list", str(test.test_list) if test else ""]
    if test:
        words += ["--test_path", str(test.test_path)]
    return shlex.join(words)


def read_genders(name: str, root: Path) -> dict[str, str] | None:
    """Name of a corpus's speaker table, folder of recordings -> gender of each speaker; None without a table.

    The table is in the folder or in one of the three above it. Lines are `speaker | gender | ...`; other
    fields may come before the gender.
    """
    rows = _speaker_table(name, _at_and_above(root))
    if rows is None:
        return None
    genders: dict[str, str] = {}
    for speaker, *others in rows:
        gender = next((field.lower() for field in others if field.lower() in ("m", "f")), "")
        if gender:
            genders[speaker] = gender
    return genders


def read_speakers(path: Path, table: str, root: Path) -> frozenset[str]:
    """File of names of speakers, one in a line -> the names as lists have them.

    They may also be those in the second column of the corpus's speaker table: VoxCeleb1's overlap with SITW
    has names of people. The table is beside the file, or where read_genders looks for it.
    """
    rows = _speaker_table(table, [path.parent, *_at_and_above(root)]) if table else None
    names = {row[1]: row[0] for row in rows or () if len(row) > 1}
    listed = (line.name() for line in read_lines(str(path), "--exclude_speakers"))
    return frozenset(names.get(name, name) for name in listed)


def _at_and_above(root: Path) -> list[Path]:
    return [root, *root.parents[:3]]


def _speaker_table(name: str, folders: Sequence[Path]) -> list[list[str]] | None:
    """Table in one of the folders -> fields of its lines, separated by bars, commas or tabs; None without."""
    path = next((folder / name for folder in folders if (folder / name).is_file()), None)
    if path is None:
        return None
    lines = path.read_text(encoding="utf-8").splitlines()
    return [[field.strip() for field in re.split(r"[|,\t]", line)] for line in lines]
