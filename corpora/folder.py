"""Your own recordings: any tree `speaker/.../file` of wav or flac."""

import os
from pathlib import Path
from typing import Annotated

import numpy as np

from corpora._lists import Speakers, train_list, trial_list, write_lists

SOURCES: tuple[str, ...] = ()  # the files are there already
SUFFIXES = {".wav", ".flac"}
FILES_HELD_OUT = 3  # of each speaker with --split_ratio -1


def prepare(
    root: Path,
    *,
    source: Annotated[Path, "the tree; paths in the lists start here"],
    split_ratio: Annotated[float, "share of each speaker's files held out; -1 = 3 files"] = -1.0,
    num_trials: Annotated[int, "most trials in test_list.txt"] = 10_000,
    seed: Annotated[int, "decides the held-out files and the trials"] = 10,
) -> list[str]:
    """Write train_list.txt and test_list.txt under root; held-out files are in no train line.

    A speaker keeps at least two files for training; one with too few files holds none out.

    Raises:
        FileNotFoundError, ValueError: no tree, no audio in it, or too little for trials.
    """
    if split_ratio != -1.0 and not 0.0 < split_ratio < 1.0:
        raise ValueError(f"--split_ratio lies between 0 and 1, or is -1 for 3 files, got {split_ratio:g}")
    if num_trials < 2:
        raise ValueError(f"--num_trials must be at least 2, got {num_trials}")
    generator = np.random.default_rng(seed)
    train, held_out = Speakers(), Speakers()
    for name, paths in _find(source).items():
        count = FILES_HELD_OUT if split_ratio == -1.0 else round(split_ratio * len(paths))
        count = count if len(paths) >= count + 2 else 0
        order = generator.permutation(len(paths))
        train[name] = sorted(paths[i] for i in order[count:])
        if count:
            held_out[name] = sorted(paths[i] for i in order[:count])
    try:
        trials = trial_list(held_out, num_trials, generator)
    except ValueError:
        raise ValueError(
            f"{source}: too few files to hold any out for trials: two speakers are needed who keep two "
            f"files for training and hold two out (--split_ratio {split_ratio:g})"
        ) from None
    write_lists(root, {"train_list.txt": train_list(train), "test_list.txt": trials})
    return [
        f"{root}/train_list.txt: {sum(map(len, train.values()))} utterances of {len(train)} speakers",
        f"{root}/test_list.txt: {trials.count(chr(10))} trials over {sum(map(len, held_out.values()))} "
        f"held-out files of {len(held_out)} of these speakers",
    ]


def _find(source: Path) -> Speakers:
    """Tree -> speaker (first folder) -> relative paths, sorted; follows links, leaves hidden files out."""
    if not source.is_dir():
        raise FileNotFoundError(f"{source}: no such folder")
    found = Speakers()
    for folder, _, names in os.walk(source, followlinks=True):
        for name in names:
            relative = (Path(folder) / name).relative_to(source)
            hidden = any(part.startswith(".") for part in relative.parts)
            if relative.suffix.lower() in SUFFIXES and len(relative.parts) > 1 and not hidden:
                found.setdefault(relative.parts[0], []).append(relative.as_posix())
    found = {speaker: sorted(found[speaker]) for speaker in sorted(found)}
    if not found:
        raise ValueError(f"{source}: no wav or flac files in folders of speakers (speaker/.../file)")
    blank = next((name for name in found if " " in name), None)
    if blank is not None:
        raise ValueError(f"{source}/{blank}: a speaker's name can't hold a blank in a train list")
    return found
