"""Kaldi directories: recordings (wav.scp), their segments, and the speakers of both (utt2spk)."""

import math
from collections.abc import Iterator
from pathlib import Path

from audio.utterances import Utterance, read_lines

TO_THE_END = -1.0  # Kaldi's end of a segment that lasts until its recording ends


def is_kaldi_directory(folder: str) -> bool:
    """Whether a path is a folder with any of Kaldi's lists."""
    return any(Path(folder, name).is_file() for name in ("wav.scp", "utt2spk"))


def read_directory(folder: str, flag: str) -> Iterator[tuple[str, int, str, Utterance]]:
    """Kaldi directory that a flag names -> (file, line number, name, utterance); segments, if it has any.

    Raises:
        FileNotFoundError, ValueError: a file is missing or has another form, an entry is a command, or a
            segment has no recording.
    """
    scp = f"{folder}/wav.scp"
    recordings = read_scp(scp, flag)
    if Path(folder, "segments").is_file():
        yield from _segments(folder, flag, {name: file for name, (_, file) in recordings.items()})
        return
    for name, (number, file) in recordings.items():
        yield scp, number, name, Utterance(file)


def read_scp(path: str, flag: str) -> dict[str, tuple[int, str]]:
    """wav.scp that a flag names -> by recording, the line number and the path; raises as read_directory."""
    recordings = _table(path, flag, "utterance path")
    for name, (number, file) in recordings.items():
        if file.endswith("|"):
            raise ValueError(f"{path}:{number}: {name} is a command; only paths can be read")
    return recordings


def _table(path: str, flag: str, form: str) -> dict[str, tuple[int, str]]:
    """File of lines with a name and something else -> by name, the line number and the rest of the line."""
    entries: dict[str, tuple[int, str]] = {}
    for line in read_lines(path, flag):
        name, *rest = line.text.split(None, 1)  # Kaldi's names have no blanks, and tabs are like blanks
        if not rest:
            raise ValueError(f'{path}:{line.number}: expected "{form}", got 1 field')
        entry = line.number, rest[0].rstrip()
        if entries.setdefault(name, entry)[1] != entry[1]:
            raise ValueError(f"{path}:{line.number}: {name} is also in line {entries[name][0]}, otherwise")
    return entries


def _segments(
    folder: str, flag: str, recordings: dict[str, str]
) -> Iterator[tuple[str, int, str, Utterance]]:
    path = f"{folder}/segments"
    for line in read_lines(path, flag):
        place = f"{path}:{line.number}"
        fields = line.text.split()
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
        yield path, line.number, name, Utterance(recordings[recording], start_s, end_s)


def read_with_speakers(folder: str, flag: str) -> Iterator[tuple[str, int, str, Utterance]]:
    """The same -> (file, line number, speaker, utterance).

    Raises:
        ValueError: also where an utterance has no speaker, or a speaker's utterance no recording or segment.
    """
    speakers = _table(f"{folder}/utt2spk", flag, "utterance speaker")
    missing = set(speakers)
    for file, number, name, utterance in read_directory(folder, flag):
        if name not in speakers:
            raise ValueError(f"{file}:{number}: no speaker for {name} in utt2spk")
        missing.discard(name)
        yield file, number, speakers[name][1], utterance
    if missing:
        first = min(missing, key=lambda name: speakers[name][0])
        raise ValueError(
            f"{folder}/utt2spk:{speakers[first][0]}: no recording or segment for {first}, one of "
            f"{len(missing)} such utterances; Kaldi's utils/fix_data_dir.sh leaves them out"
        )
