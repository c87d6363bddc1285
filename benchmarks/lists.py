"""Time and memory of generating and reading lists of a million utterances.

    python benchmarks/lists.py

A list like VoxCeleb2's (5,994 speakers, a million utterances in 150,000 videos) is split into a train list
and a trial list by `dataprep.py --generate --from LIST`, then both are read as for training; in one process.
At the end both are read again as tables with a header, the train list by commas, the trials by tabs, and
compared with their plain forms.
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


def read_tables(folder: Path) -> list[float]:
    """Folder of a train list and a trial list -> seconds that reading them takes as tables."""
    rows = (line.partition(" ") for line in (folder / "train_list.txt").open())
    with (folder / "train.csv").open("w") as stream:
        stream.write("client_id,path\n")
        stream.writelines(f"{speaker},{path}" for speaker, _, path in rows)
    words = {"0": "nontarget", "1": "target"}
    with (folder / "key.tsv").open("w") as stream:
        stream.write("modelid\tsegmentid\ttargettype\n")
        trials = (line.split() for line in (folder / "test_list.txt").open())
        stream.writelines(f"{enrol}\t{test}\t{words[label]}\n" for label, enrol, test in trials)
    began = time.perf_counter()
    read_train_list(str(folder / "train.csv"))
    read = time.perf_counter()
    read_trials([str(folder / "key.tsv")])
    return [read - began, time.perf_counter() - read]


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
        peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        as_tables = read_tables(folder / "out")
    print(f"--generate: {generated - began:.1f} s")
    print(f"reading {len(utterances.paths)} lines to train on: {read - generated:.1f} s")
    print(f"reading {len(trials.enrol)} trials: {ended - read:.1f} s")
    for name, duration_s, plain_s in zip(
        ("train list", "trials"), as_tables, (read - generated, ended - read), strict=True
    ):
        print(f"{name} as a table: {duration_s:.1f} s, {duration_s / plain_s:.2f} times the plain form")
    print(f"all but the tables: {ended - began:.1f} s, {peak_gb:.2f} GB")


if __name__ == "__main__":
    main()
