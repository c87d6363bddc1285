"""Make examples/demo, the recordings of `dataprep.py --demo`, from folders of freely licensed corpora.

python benchmarks/demo_corpus.py --data D --out examples/demo

D has `utterances.tsv` and `utterances_more.tsv` (path, split, corpus, speaker, session, ...; 16 kHz, mono)
and trial lists. Of each training speaker a few recordings are taken, in turn from all sessions, and of each
speaker of the trials those of the first target trials. Up to 250 of a corpus and part become one Ogg Opus
file, in which clips.tsv says where each is. The trials are those whose two recordings were taken.
Only corpora under CC BY and CC0 are named here. It takes ten minutes of one core. libsndfile numbers Ogg
streams at random, so that files made again decode to the same samples but have other checksums.
"""

import argparse
import csv
import hashlib
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor
from itertools import chain, zip_longest
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import soundfile

SAMPLE_RATE = 16_000
COMPRESSION = 0.96  # of libsndfile: 16 kbit/s
FRAME = 320  # samples of an Opus frame; each recording starts with one, behind two silent ones
FILE_RECORDINGS = 250  # at most in a file, so that several processes have work
TABLES = ("utterances.tsv", "utterances_more.tsv")
TRIALS = (
    "test_list.librispeech-test-other.txt",
    "test_list.speech-commands.txt",
    "test_list.speechocean.txt",
    "test_list_more.common-voice.txt",
)


class Choice(NamedTuple):
    """What is taken of a corpus for training."""

    least: int  # recordings of a speaker; others are left out
    most: int


CORPORA = {
    "librispeech-train-clean-100": Choice(2, 4),
    "speech-commands": Choice(2, 3),
    "speechocean762": Choice(2, 3),
    "common-voice": Choice(4, 3),
}
LONGEST_S = {"train": 3.0, "test": 5.0}  # the middle of longer recordings is taken
TEST_MOST = {"librispeech-test-other": 4, "speech-commands": 3, "speechocean762": 4, "common-voice": 3}


class Utterance(NamedTuple):
    """A row of the tables."""

    path: str
    split: str
    corpus: str
    speaker: str
    session: str


def read_tables(root: Path) -> list[Utterance]:
    """Folder -> all utterances of the tables."""
    utterances = []
    for name in TABLES:
        with (root / name).open(encoding="utf-8", newline="") as stream:
            rows = csv.DictReader(stream, delimiter="\t")
            utterances += [Utterance(*(row[field] for field in Utterance._fields)) for row in rows]
    return utterances


def first_of_all_sessions(utterances: list[Utterance], most: int) -> list[Utterance]:
    """Utterances of a speaker -> at most `most`, in turn from each session."""
    sessions = defaultdict(list)
    for utterance in utterances:
        sessions[utterance.session].append(utterance)
    turns = chain.from_iterable(zip_longest(*sessions.values()))
    return [utterance for utterance in turns if utterance][:most]


def choose_train(utterances: list[Utterance]) -> list[Utterance]:
    """All utterances -> those to train on."""
    speakers = defaultdict(list)
    for utterance in utterances:
        if utterance.split == "train" and utterance.corpus in CORPORA:
            speakers[utterance.corpus, utterance.speaker].append(utterance)
    chosen = []
    for (corpus, _), of_speaker in sorted(speakers.items()):
        if len(of_speaker) >= CORPORA[corpus].least:
            chosen += first_of_all_sessions(of_speaker, CORPORA[corpus].most)
    return chosen


def choose_test(utterances: list[Utterance], trials: list[list[str]]) -> list[Utterance]:
    """All utterances, trials -> those of the first target trials of each speaker."""
    by_path = {utterance.path: utterance for utterance in utterances}
    chosen = dict[str, Utterance]()
    counts = Counter[str]()
    for label, *pair in trials:
        new = [path for path in pair if path not in chosen]
        first = by_path[pair[0]]
        if label == "1" and counts[first.speaker] + len(new) <= TEST_MOST[first.corpus]:
            chosen |= {path: by_path[path] for path in new}
            counts[first.speaker] += len(new)
    return sorted(chosen.values())


def in_files(chosen: list[Utterance]) -> dict[str, list[Utterance]]:
    """Utterances -> name of an Opus file -> those in it."""
    groups = defaultdict(list)
    for utterance in chosen:
        groups[f"{utterance.corpus}.{utterance.split}"].append(utterance)
    return {
        f"{name}.{start // FILE_RECORDINGS + 1}.opus": utterances[start : start + FILE_RECORDINGS]
        for name, utterances in groups.items()
        for start in range(0, len(utterances), FILE_RECORDINGS)
    }


def place(utterance: Utterance) -> str:
    """Utterance -> its path in the demo."""
    return str(PurePosixPath(utterance.path).with_suffix(".wav"))


def encode(root: Path, out: Path, name: str, utterances: list[Utterance]) -> list[tuple[str, str, int, int]]:
    """Write one Opus file -> rows of clips.tsv: path, file, first sample, number of samples."""
    rows = []
    pieces = []
    position = 0
    for utterance in utterances:
        samples, rate = soundfile.read(root / utterance.path, dtype="float32")
        assert rate == SAMPLE_RATE and samples.ndim == 1, utterance.path
        spare = max(0, len(samples) - round(LONGEST_S[utterance.split] * SAMPLE_RATE))
        samples = samples[spare // 2 : len(samples) - (spare - spare // 2)]
        rows.append((place(utterance), name, position, len(samples)))
        piece = np.pad(samples, (0, -len(samples) % FRAME + 2 * FRAME))
        pieces.append(piece)
        position += len(piece)
    soundfile.write(
        out / name,
        np.concatenate(pieces),
        SAMPLE_RATE,
        format="OGG",
        subtype="OPUS",
        compression_level=COMPRESSION,
    )
    return rows


def sha256(path: Path) -> str:
    """File -> hex digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> None:
    """Read tables and trials, choose, encode, write the lists."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=4)
    args = parser.parse_args()
    trials = [line.split() for name in TRIALS for line in (args.data / name).read_text().splitlines()]
    utterances = read_tables(args.data)
    chosen = choose_train(utterances) + choose_test(utterances, trials)
    places = {utterance.path: place(utterance) for utterance in chosen if utterance.split == "test"}
    kept = [(label, places[a], places[b]) for label, a, b in trials if a in places and b in places]
    files = in_files(chosen)
    args.out.mkdir(parents=True, exist_ok=True)
    for name, utterances in files.items():
        print(name, len(utterances), "recordings of", len({item.speaker for item in utterances}), "speakers")
    print(len(kept), "trials", Counter(label for label, _, _ in kept))
    with ProcessPoolExecutor(args.workers) as pool:
        jobs = [pool.submit(encode, args.data, args.out, *item) for item in files.items()]
        rows = [row for job in jobs for row in job.result()]
    clips = ["path\tfile\tstart\tsamples", *("\t".join(map(str, row)) for row in rows)]
    (args.out / "clips.tsv").write_text("\n".join(clips) + "\n")
    (args.out / "test_list.txt").write_text("".join(f"{' '.join(trial)}\n" for trial in kept))
    sums = [(sha256(args.out / name), name) for name in (*files, "clips.tsv", "test_list.txt")]
    (args.out / "sha256sums.txt").write_text("".join(f"{value}  {name}\n" for value, name in sums))


if __name__ == "__main__":
    main()
