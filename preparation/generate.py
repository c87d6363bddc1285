"""Train lists and trials of a corpus, split from each other, counted and told."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from preparation.kaldi import write_kaldi
from preparation.lists import Utterances, train_list, trial_list, write_lists

TRAIN, TEST = "train_list.txt", "test_list.txt"
FILES_HELD_OUT = 3  # of each speaker with a split ratio of -1


class Split(NamedTuple):
    """How lists are made from recordings."""

    split_ratio: float = -1.0  # share of each speaker's files held out; -1 = 3 files; 0 = none
    min_utterances: int = 1
    num_trials: int = 10_000
    seed: int = 10

    def check(self) -> None:
        """Raises ValueError for values that can't be."""
        if self.split_ratio != -1.0 and not 0.0 <= self.split_ratio < 1.0:
            raise ValueError(
                f"--split_ratio lies in [0, 1), or is -1 for {FILES_HELD_OUT} files, got {self.split_ratio:g}"
            )
        if self.num_trials < 2:
            raise ValueError(f"--num_trials must be at least 2, got {self.num_trials}")
        if self.min_utterances < 1:
            raise ValueError(f"--min_utterances must be at least 1, got {self.min_utterances}")


class Made(NamedTuple):
    """Lists by name, the utterances in them, and what to tell: of each list, and besides."""

    lists: dict[str, str]
    train: Utterances
    test: Utterances | None
    about: dict[str, str]
    told: list[str]


class Lists(NamedTuple):
    """Lists on the disk, where their paths start, and what to tell of them."""

    train_list: Path
    train_path: Path
    test_list: Path | None
    test_path: Path
    told: list[str]


def enough(utterances: Utterances, least: int) -> tuple[Utterances, int]:
    """Utterances -> those of speakers with at least so many, and how many speakers were left out."""
    counts = {name: len(paths) for name, paths in utterances.by_speaker().items()}
    keep = [i for i, name in enumerate(utterances.speakers) if counts[name] >= least]
    return utterances.take(keep), sum(count < least for count in counts.values())


def hold_out(
    utterances: Utterances, split_ratio: float, generator: np.random.Generator
) -> tuple[Utterances, Utterances]:
    """Utterances -> those to train on, those held out of each speaker for trials.

    A speaker keeps at least two files for training; one with too few files holds none out.
    """
    speakers: dict[str, list[int]] = {}
    for index, name in enumerate(utterances.speakers):
        speakers.setdefault(name, []).append(index)
    train, held = list[int](), list[int]()
    for own in speakers.values():
        count = FILES_HELD_OUT if split_ratio == -1.0 else round(split_ratio * len(own))
        count = count if len(own) >= count + 2 else 0
        order = generator.permutation(len(own))
        held += sorted(own[i] for i in order[:count])
        train += sorted(own[i] for i in order[count:])
    return utterances.take(train), utterances.take(held)


def make_lists(
    train: Utterances, test: Utterances | None, split: Split, genders: dict[str, str] | None = None
) -> Made:
    """Utterances to train on, those of other speakers to test on -> lists.

    Without others, utterances of the same speakers are held out, unless split.split_ratio is 0.

    Raises:
        ValueError: values that can't be, or too little for trials.
    """
    split.check()
    generator = np.random.default_rng(split.seed)
    train, left_out = enough(train, split.min_utterances)
    if not train.paths:
        raise ValueError(f"no speaker has {split.min_utterances} utterances (--min_utterances)")
    files, who = "files", "other speakers"
    if test is None and split.split_ratio != 0.0:
        train, test = hold_out(train, split.split_ratio, generator)
        files, who = "held-out files", "of these speakers"
    made = {TRAIN: train_list(train)}
    about = {TRAIN: f"{len(train.paths)} utterances of {len(set(train.speakers))} speakers"}
    told = [f"left out: {left_out} speakers with fewer than {split.min_utterances} utterances"]
    if test is not None:
        try:
            made[TEST] = trial_list(test, split.num_trials, generator, genders)
        except ValueError:
            raise ValueError(
                "too few files to hold any out for trials: two speakers are needed who keep two files for "
                f"training and hold two out (--split_ratio {split.split_ratio:g})"
            ) from None
        over = f"{len(test.paths)} {files} of {len(set(test.speakers))} {who}"
        about[TEST] = f"{made[TEST].count(chr(10))} trials over {over}"
    return Made(made, train, test, about, told if left_out else [])


def write_made(made: Made, save_path: Path, prefix: str, root: Path, kaldi: Path | None) -> Lists:
    """Lists -> files under save_path, a prefix before their names; Kaldi directories if kaldi is given."""
    write_lists(save_path, {f"{prefix}{name}": text for name, text in made.lists.items()})
    told = [f"{save_path}/{prefix}{name}: {about}" for name, about in made.about.items()] + made.told
    if kaldi is not None:
        told.append(write_kaldi(made.train, root, kaldi / "train"))
        told += [write_kaldi(made.test, root, kaldi / "test")] if made.test else []
    test = save_path / f"{prefix}{TEST}" if TEST in made.lists else None
    return Lists(save_path / f"{prefix}{TRAIN}", root, test, root, told)


def training_command(made: Sequence[Lists]) -> str:
    """Lists -> what to type to train: the list that the trainer looks for, or the first; first trials."""
    train = next((each for each in made if each.train_list.name == TRAIN), made[0])
    test = next((each for each in made if each.test_list), None)
    words = ["python", "trainSpeakerNet.py", "--model", "ResNetSE34L", "--trainfunc", "angleproto"]
    words += ["--train_list", str(train.train_list), "--train_path", str(train.train_path)]
    words += ["--test_list", str(test.test_list) if test else ""]
    return shlex.join([*words, *(["--test_path", str(test.test_path)] if test else [])])


def read_genders(name: str, root: Path) -> dict[str, str] | None:
    """Name of a corpus's table, its recordings' folder -> gender of each speaker; None where it isn't there.

    The table lies in the folder or in one of the three above it. Lines are `speaker | gender | ...`; commas
    and tabs part fields too, and others may stand between.
    """
    places = (folder / name for folder in (root, *root.parents[:3]))
    path = next((path for path in places if path.is_file()), None)
    if path is None:
        return None
    found = dict[str, str]()
    for line in path.read_text(encoding="utf-8").splitlines():
        speaker, *others = (field.strip() for field in re.split(r"[|,\t]", line))
        gender = next((field.lower() for field in others if field.lower() in ("m", "f")), "")
        found |= {speaker: gender} if gender else {}
    return found
