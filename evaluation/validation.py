"""Trials between the speakers of the train list that --validation_speakers sets aside."""

import numpy as np
import torch

from audio.lists import TrainList
from audio.named import NamedRecordings
from audio.trials import Trials
from evaluation.trial_lists import TrialLists
from evaluation.trial_test import TrialTest
from metrics.fields import text_of
from options import Options
from preparation.lists import Utterances, draw_trials, session_of, speaker_part
from storage.files import write_text
from storage.run_folder import RunFolder

NAME = "validation"  # of the list in the log and in the names of files
MOST_TRIALS = 4000
DRAW = 0x747269  # keeps these draws apart from others of the same seed


def validation_test(speakers: TrainList, values: Options, device: torch.device) -> TrialTest:
    """Speakers that are set aside, resolved options, device -> the test of their trials.

    Raises:
        ValueError, FileNotFoundError: a recording can't be used.
    """
    trials = draw_validation_trials(speakers, values.seed)
    changes = {"test_list": [NAME], "test_path": values.train_path, "enrol_list": "", "enrol_path": ""}
    lists = TrialLists({NAME: trials}, {}, NamedRecordings(values.train_path, "--train_path"))
    return TrialTest(values.replaced(**changes), device, lists=lists)


def draw_validation_trials(speakers: TrainList, seed: int) -> Trials:
    """Speakers, seed -> at most MOST_TRIALS trials of their recordings; see draw_trials."""
    paths = list(speakers.paths)
    names = [speakers.speakers[label] for label in speakers.labels]
    places = zip(paths, names, strict=True)
    sessions = [session_of(path, speaker_part(path, name)) for path, name in places]
    generator = np.random.default_rng([seed, DRAW])
    rows = draw_trials(Utterances(paths, names, sessions), MOST_TRIALS, generator)
    numbers = dict[str, int]()
    sides = [[numbers.setdefault(path, len(numbers)) for path in pair] for _, *pair in rows]
    enrol, test = np.array(sides, np.int64).T
    return Trials(list(numbers), enrol, test, np.array([int(label) for label, *_ in rows], np.int8))


def write_validation_list(folder: RunFolder, test: TrialTest) -> None:
    """Write the trials as a trial list, for --test_list with --test_path as --train_path."""
    trials = test.lists.lists[NAME]
    assert trials.labels is not None  # draw_validation_trials gives them
    columns = trials.labels.tolist(), trials.enrol.tolist(), trials.test.tolist()
    rows = ((str(label), trials.names[a], trials.names[b]) for label, a, b in zip(*columns, strict=True))
    write_text(folder.validation_list, text_of(rows))
