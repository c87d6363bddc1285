"""Kaldi directories: recordings (wav.scp), their segments, and the speakers of both (utt2spk)."""

import math
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from audio.utterances import Utterance, read_lines

TO_THE_END = -1.0  # Kaldi's end of a segment that lasts until its recording ends
# options of the commands in wav.scp that only decode a file; sph2pipe counts channels from 1
SPH2PIPE = re.compile(r"(?=.*-f wav)(?: ?(?:-f wav|-p|-c ?([12])))+")
FLAC = re.compile(r"(?=.*d)(?=.*c)(?: ?-[dcs]+)+")


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
        yield from _segments(folder, flag, {name: whole for name, (_, whole) in recordings.items()})
        return
    for name, (number, recording) in recordings.items():
        yield scp, number, name, recording


def read_scp(path: str, flag: str) -> dict[str, tuple[int, Utterance]]:
    """wav.scp that a flag names -> by name, line number and recording; raises as read_directory.

    No command is run: of those that only decode a file, this file and the channel are taken.
    """
    recordings: dict[str, tuple[int, Utterance]] = {}
    for name, (number, text) in _table(path, flag, "utterance path").items():
        recording = _of_command(text) if text.endswith("|") else Utterance(text)
        if recording is None:
            raise ValueError(
                f"{path}:{number}: {name} is a command; expected a path, "
                "`sph2pipe -f wav [-p] [-c N] FILE |` or `flac -dcs FILE |`"
            )
        recordings[name] = number, recording
    return recordings


def _of_command(text: str) -> Utterance | None:
    """A command -> the recording that it decodes; None if it does anything else."""
    try:
        program, *options, file = shlex.split(text.removesuffix("|"))
    except ValueError:  # quotes that don't end, or a single word
        return None
    name, given = program.rpartition("/")[2], " ".join(options)
    if name == "sph2pipe" and (match := SPH2PIPE.fullmatch(given)):
        return Utterance(file, channel=int(match[1] or 0) - 1)  # without -c, all of them
    return Utterance(file) if name == "flac" and FLAC.fullmatch(given) else None


def read_names(folder: str, flag: str) -> dict[str, list[str]]:
    """Kaldi directory -> the names of each speaker's utterances, of spk2utt or otherwise of utt2spk."""
    speakers: dict[str, list[str]] = {}
    if Path(folder, "spk2utt").is_file():
        table = _table(f"{folder}/spk2utt", flag, "speaker utterance utterance ...")
        return {speaker: text.split() for speaker, (_, text) in table.items()}
    for name, (_, speaker) in _table(f"{folder}/utt2spk", flag, "utterance speaker").items():
        speakers.setdefault(speaker, []).append(name)
    return speakers


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
    folder: str, flag: str, recordings: dict[str, Utterance]
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
        yield path, line.number, name, segment_of(recordings[recording], times, place, name)


def segment_of(recording: Utterance, times: Sequence[str], place: str, name: str) -> Utterance:
    """A whole recording, start and end in seconds as a list has them -> the segment; place, name: for errors.

    Raises:
        ValueError: other texts, or it doesn't start before it ends.
    """
    try:
        start_s, end_s = map(float, times)
    except ValueError:
        raise ValueError(f"{place}: expected a start and an end in seconds, got {' '.join(times)}") from None
    if end_s == TO_THE_END:
        end_s = math.inf
    if not 0.0 <= start_s < end_s:
        raise ValueError(f"{place}: {name} must start before it ends, got {' '.join(times)}")
    return recording._replace(start_s=start_s, end_s=end_s)


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


def trials_in(folder: str, flag: str) -> str:
    """Kaldi directory that a flag names -> the trial list in it; raises FileNotFoundError if it has none."""
    path = Path(folder, "trials")
    if not path.is_file():
        raise FileNotFoundError(
            f"{flag} {folder}: no file `trials` in this Kaldi directory; give the list itself, and the "
            "directory to --test_path"
        )
    return str(path)
