"""A small synthetic corpus, made on the spot: enough to see a network learn to tell voices apart."""

import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated

import numpy as np
import soundfile
from tqdm import tqdm

from corpora._lists import Speakers, train_list, trial_list, write_list
from corpora._synthesiser import SAMPLE_RATE, draw_speaker, synthesise
from files import written_whole

SOURCES: tuple[str, ...] = ()  # nothing is downloaded
TRAIN_SPEAKERS, TRAIN_UTTERANCES = 100, 10
TEST_SPEAKERS, TEST_UTTERANCES = 24, 10
NUM_TRIALS = 2000
DURATION_S = (2.5, 4.0)


def prepare(root: Path, *, seed: Annotated[int, "decides every voice and utterance"] = 10) -> list[str]:
    """Write audio, train_list.txt and test_list.txt under root; the test voices aren't in the train list."""
    voices = [("train", i, TRAIN_UTTERANCES) for i in range(TRAIN_SPEAKERS)]
    voices += [("test", i, TEST_UTTERANCES) for i in range(TEST_SPEAKERS)]
    arguments = [(root, *voice, seed) for voice in voices]
    parts: dict[str, Speakers] = {"train": {}, "test": {}}
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        written = tqdm(pool.map(_write_voice, arguments), "synthesising", len(voices), disable=None)
        for (part, *_), (name, paths) in zip(voices, written, strict=True):
            parts[part][name] = paths
    trials = trial_list(parts["test"], NUM_TRIALS, np.random.default_rng([seed, 2]))
    write_list(root / "train_list.txt", train_list(parts["train"]))
    write_list(root / "test_list.txt", trials)
    return [
        f"{root}/train_list.txt: {TRAIN_SPEAKERS * TRAIN_UTTERANCES} utterances of {TRAIN_SPEAKERS} voices",
        f"{root}/test_list.txt: {trials.count(chr(10))} trials of {TEST_SPEAKERS} other voices",
    ]


def _write_voice(arguments: tuple[Path, str, int, int, int]) -> tuple[str, list[str]]:
    """One voice -> its name and the paths of its files; each draws from its own generator."""
    root, part, index, num_utterances, seed = arguments
    draws = [seed, ("train", "test").index(part), index]
    speaker, name = draw_speaker(np.random.default_rng(draws)), f"{part}{index:03d}"
    paths = []
    for number in range(num_utterances):
        generator = np.random.default_rng([*draws, number + 1])
        audio = synthesise(speaker, generator.uniform(*DURATION_S), generator)
        paths.append(f"{part}/{name}/{number:02d}.flac")
        with written_whole(root / paths[-1]) as stream:
            soundfile.write(stream, audio, SAMPLE_RATE, format="FLAC")
    return name, paths
