"""Kaldi directories: recordings (wav.scp), their segments, and the speakers of both (utt2spk)."""

import math
from collections.abc import Iterator
from pathlib import Path

from audio.lists import Utterance, read_lines

TO_THE_END = -1.0  # Kaldi's end of a segment that lasts until its recording ends


def is_kaldi_directory(folder: str) -> bool:
    """Whether a path is a folder with any of Kaldi's lists."""
    return any(Path(folder, name).is_file() for name in ("wav.scp", "utt2spk"))


def read_directory(folder: str, flag: str) -> Iterator[tuple[str, str, Utterance]]:
    """Kaldi directory that a flag names -> (file:line, name, utterance); segments, if it has any.

    Raises:
        FileNotFoundError, ValueError: a file is missing or has another form, an entry is a command, or a
            segment has no recording.
    """
    recordings = dict[str, str]()
    for line in read_lines(f"{folder}/wav.scp", flag):
        name, file = line.pair()
        place = f"{folder}/wav.scp:{line.number}"
        if not file:
            raise ValueError(f'{place}: expected "utterance path", got 1 field')
        if file.endswith("|"):
            raise ValueError(f"{place}: {name} is a command; only paths can be read")
        recordings[name] = file
        if not Path(folder, "segments").exists():
            yield place, name, Utterance(file)
    if Path(folder, "segments").exists():
        yield from _segments(folder, flag, recordings)


def _segments(folder: str, flag: str, recordings: dict[str, str]) -> Iterator[tuple[str, str, Utterance]]:
    for line in read_lines(f"{folder}/segments", flag):
        place = f"{folder}/segments:{line.number}"
        fields = line.fields()
        if len(fields) != 4:
            raise ValueError(f'{place}: expected "utterance recording start end", got {len(fields)} fields')
        name, recording, *times = fields
        if recording not in recordings:
            raise ValueError(f"{place}: no recording {recording} in wav.scp")
        try:
            start_s, end_s = map(float, times)
        except ValueError:
            raise ValueError(
                f"{place}: expected a start and an end in seconds, got {' '.join(times)}"
            ) from None
        if end_s == TO_THE_END:
            end_s = math.inf
        if not 0.0 <= start_s < end_s:
            raise ValueError(f"{place}: {name} must start before it ends, got {' '.join(times)}")
        yield place, name, Utterance(recordings[recording], start_s, end_s)


def read_with_speakers(folder: str, flag: str) -> Iterator[tuple[str, str, Utterance]]:
    """The same -> (file:line, speaker, utterance); also raises ValueError for one without a speaker."""
    speakers = dict[str, str]()
    for line in read_lines(f"{folder}/utt2spk", flag):
        name, speaker = line.pair()
        if not speaker:
            raise ValueError(f'{folder}/utt2spk:{line.number}: expected "utterance speaker", got 1 field')
        speakers[name] = speaker
    for place, name, utterance in read_directory(folder, flag):
        if name not in speakers:
            raise ValueError(f"{place}: no speaker for {name} in utt2spk")
        yield place, speakers[name], utterance
