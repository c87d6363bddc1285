"""Whose recordings the trials compare: the units that a bootstrap resamples."""

from contextlib import suppress

import numpy as np

from metrics.fields import Line, lines_of
from metrics.rates import Integers
from metrics.score_files import read_lines
from metrics.trials import ScoredTrials

RESAMPLING = ("speakers", "utterances", "trials")


def speakers_of(files: list[str], speaker_folder: int = 0, utt2spk: str = "") -> list[str]:
    """Paths -> their speakers: a folder of the path (0 = the first), or from a file of `path speaker`."""
    if utt2spk:
        return _speakers_in(utt2spk, files)
    try:
        return [name.split("/")[:-1][speaker_folder] for name in files]
    except IndexError:
        shortest = min(files, key=lambda name: name.count("/"))
        raise ValueError(
            f"{shortest} has no folder {speaker_folder} that names its speaker: give --speaker_folder or "
            "--utt2spk (intervals don't need speakers with --resample trials)"
        ) from None


def _speakers_in(utt2spk: str, files: list[str]) -> list[str]:
    """File with lines `path speaker`, paths -> their speakers."""
    pairs = [_path_and_speaker(line) for line in lines_of(read_lines(utt2spk))]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError(f'{utt2spk}: expected lines "path speaker"')
    speakers = {path: speaker for path, speaker in pairs}
    if twice := next((path for path, speaker in pairs if speakers[path] != speaker), None):
        raise ValueError(f"{utt2spk}: names two speakers for {twice}")
    if missing := next((name for name in files if name not in speakers), None):
        raise ValueError(f"{utt2spk}: has no speaker for {missing}")
    return [speakers[name] for name in files]


def _path_and_speaker(line: Line) -> list[str]:
    """A line -> its fields; without tabs the speaker is the last word, as paths may hold blanks."""
    return line.fields() if line.is_by_tabs else line.name().rsplit(maxsplit=1)


def units_of(
    trials: ScoredTrials, resample: str, speaker_folder: int | None = None, utt2spk: str = ""
) -> Integers:
    """Trials, one of RESAMPLING -> number of the unit on both sides of each trial (N, 2).

    Without a folder or a file of speakers, the first folder that fits the labels is used.
    """
    if resample == "trials":
        return np.repeat(np.arange(len(trials.scores), dtype=np.int32)[:, None], 2, axis=1)
    if resample == "utterances":
        return trials.sides
    if speaker_folder is None and not utt2spk:
        speaker_folder = find_speaker_folder(trials)
        if speaker_folder is None:
            raise ValueError(
                f"{trials.name}: no folder of the paths is shared by target trials alone, as a speaker's is: "
                "give --utt2spk (intervals don't need speakers with --resample trials)"
            )
    names = speakers_of(trials.files, speaker_folder or 0, utt2spk)
    speakers = np.unique(names, return_inverse=True)[1].astype(np.int32)
    units = speakers[trials.sides]
    labels = trials.known_labels()
    is_same = units[:, 0] == units[:, 1]
    wrong = np.flatnonzero(is_same != (labels == 1))
    if len(wrong):
        i = wrong[0]
        enrol, test = (trials.files[j] for j in trials.sides[i])
        raise ValueError(
            f"{trials.name}: the trial {enrol} {test} has label {labels[i]}, but --speaker_folder or "
            f"--utt2spk says {'one speaker' if is_same[i] else 'two speakers'}"
        )
    return units


def find_speaker_folder(trials: ScoredTrials) -> int | None:
    """Number of the first folder in the paths that both sides share in all target trials and in no others."""
    for folder in range(min(name.count("/") for name in trials.files)):
        with suppress(ValueError):
            units_of(trials, "speakers", folder)
            return folder
    return None
