"""Time and memory of generating and reading lists of a million utterances.

    python benchmarks/lists.py

A list like VoxCeleb2's (5,994 speakers, a million utterances in 150,000 videos) is split into a train list
and a trial list by `dataprep.py --generate --from LIST`, then both are read as for training; in one process.
"""

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

import dataprep
from audio.lists import read_train_list
from audio.trials import read_trials


def write_list(path: Path, utterances: int, speakers: int) -> None:
    """Write a list of `utterances` lines, unequally distributed over the speakers as in VoxCeleb2."""
    generator = np.random.default_rng(0)
    labels = np.sort((speakers * generator.beta(1.0, 1.2, utterances)).astype(int))
    videos = np.arange(utterances) // 7
    lines = (
        f"id{s:05d} id{s:05d}/v{v:07d}/{k:07d}.wav\n"
        for k, (s, v) in enumerate(zip(labels, videos, strict=True))
    )
    path.write_text("".join(lines))


def main() -> None:
    """Print time and memory of each step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--utterances", type=int, default=1_000_000)
    parser.add_argument("--speakers", type=int, default=5994)
    parser.add_argument("--trials", type=int, default=580_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_list(folder / "all.txt", args.utterances, args.speakers)
        began = time.perf_counter()
        words = ["--generate", "--from", folder / "all.txt", "--save_path", folder / "out"]
        assert dataprep.main([*map(str, words), "--num_trials", str(args.trials)]) == 0
        generated = time.perf_counter()
        utterances = read_train_list(str(folder / "out" / "train_list.txt"))
        read = time.perf_counter()
        [trials] = read_trials([str(folder / "out" / "test_list.txt")])
        ended = time.perf_counter()
    print(f"--generate: {generated - began:.1f} s")
    print(f"reading {len(utterances.paths)} lines to train on: {read - generated:.1f} s")
    print(f"reading {len(trials.enrol)} trials: {ended - read:.1f} s")
    print(f"all: {ended - began:.1f} s, {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
