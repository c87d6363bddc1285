"""--synthetic: synthetic voices of any seed, enough to see a network learn to distinguish them."""

import io
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated

import numpy as np
import soundfile
from tqdm import tqdm

from metrics.fields import text_of
from preparation.generate import SavedLists
from preparation.lists import Speakers, Utterances, draw_trials, require_no_others, train_list, write_lists
from preparation.synthesiser import SAMPLE_RATE, draw_speaker, synthesise
from storage.files import written_whole

TRAIN_SPEAKERS = 100
TRAIN_UTTERANCES = 8  # of each speaker
TEST_SPEAKERS = 24
TEST_UTTERANCES = 10
NUM_TRIALS = 2000
DURATIONS_S = {"train": (2.0, 3.0), "test": (4.0, 5.5)}


def prepare(root: Path, *, seed: Annotated[int, "decides every voice and utterance"] = 10) -> SavedLists:
    """Write audio, train_list.txt and test_list.txt under root; no test voice is in the train list."""
    train = _files("train", TRAIN_SPEAKERS, TRAIN_UTTERANCES)
    test = _files("test", TEST_SPEAKERS, TEST_UTTERANCES)
    trials = draw_trials(_utterances(test), NUM_TRIALS, np.random.default_rng([seed, len(train) + len(test)]))
    lists = {"train_list.txt": train_list(_utterances(train)), "test_list.txt": text_of(trials)}
    require_no_others(root, lists)
    voices = [(root, seed, number, paths) for number, paths in enumerate([*train.values(), *test.values()])]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        written = pool.map(_write_voice, voices)
        for _ in tqdm(written, "synthesising", len(voices), unit="voice", disable=None, leave=False):
            pass
    write_lists(root, lists)
    messages = [
        f"{root}/train_list.txt: {TRAIN_SPEAKERS * TRAIN_UTTERANCES} utterances of {TRAIN_SPEAKERS} voices",
        f"{root}/test_list.txt: {len(trials)} trials of {TEST_SPEAKERS} other voices",
    ]
    return SavedLists(root / "train_list.txt", root, root / "test_list.txt", root, messages)


def _utterances(speakers: Speakers) -> Utterances:
    """Files of each voice -> utterances without sessions."""
    rows = [(path, name) for name, paths in speakers.items() for path in paths]
    return Utterances([path for path, _ in rows], [name for _, name in rows], [""] * len(rows))


def _files(part: str, num_speakers: int, num_utterances: int) -> Speakers:
    """Names of voices -> paths of their utterances."""
    return {
        f"{part}{i:03d}": [f"{part}/{part}{i:03d}/{k:02d}.flac" for k in range(num_utterances)]
        for i in range(num_speakers)
    }


def _write_voice(arguments: tuple[Path, int, int, list[str]]) -> None:
    """Synthesise the files of one voice; the voice and each file have separate generators."""
    root, seed, number, paths = arguments
    speaker = draw_speaker(np.random.default_rng([seed, number]))
    for take, path in enumerate(paths, start=1):
        generator = np.random.default_rng([seed, number, take])
        audio = synthesise(speaker, generator.uniform(*DURATIONS_S[Path(path).parts[0]]), generator)
        encoded = io.BytesIO()  # encoded in memory, so that the write below reports a full disk
        soundfile.write(encoded, audio, SAMPLE_RATE, format="FLAC")
        with written_whole(root / path) as stream:
            stream.write(encoded.getvalue())
