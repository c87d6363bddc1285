"""Train lists and trials of a corpus, split from each other, counted and told."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from corpora._lists import Utterances, train_list, trial_list

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


def lists(
    train: Utterances,
    test: Utterances | None,
    split: Split,
    genders: dict[str, str] | None = None,
) -> tuple[dict[str, str], list[str]]:
    """Utterances to train on, those of other speakers to test on -> lists by name, lines that tell of them.

    Without others, utterances of the same speakers are held out, unless split.split_ratio is 0.

    Raises:
        ValueError: values that can't be, or too little for trials.
    """
    split.check()
    generator = np.random.default_rng(split.seed)
    train, left_out = enough(train, split.min_utterances)
    if not train.paths:
        raise ValueError(f"no speaker has {split.min_utterances} utterances (--min_utterances)")
    who = "other speakers"
    if test is None and split.split_ratio != 0.0:
        train, test = hold_out(train, split.split_ratio, generator)
        who = "of these speakers"
    made = {"train_list.txt": train_list(train)}
    told = [f"train_list.txt: {len(train.paths)} utterances of {len(set(train.speakers))} speakers"]
    if left_out:
        told.append(f"left out: {left_out} speakers with fewer than {split.min_utterances} utterances")
    if test is not None:
        try:
            trials = trial_list(test, split.num_trials, generator, genders)
        except ValueError:
            raise ValueError(
                "too few files to hold any out for trials: two speakers are needed who keep two files for "
                f"training and hold two out (--split_ratio {split.split_ratio:g})"
            ) from None
        made["test_list.txt"] = trials
        files = (
            f"{len(test.paths)} held-out files" if who == "of these speakers" else f"{len(test.paths)} files"
        )
        told.append(
            f"test_list.txt: {trials.count(chr(10))} trials over {files} of {len(set(test.speakers))} {who}"
        )
    return made, told


def read_genders(path: Path) -> dict[str, str]:
    """LibriSpeech's table of `speaker | gender | ...` lines -> gender of each speaker."""
    rows = (line.split("|") for line in path.read_text(encoding="utf-8").splitlines())
    return {
        row[0].strip(): row[1].strip().lower() for row in rows if len(row) > 2 and row[0].strip().isdigit()
    }
