"""What the lines of a corpus's key files become: recordings to train on, trial lists, enrolment lists."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

LABELS = {"1": "1", "target": "1", "tgt": "1", "0": "0", "nontarget": "0", "imp": "0"}


class KeyLine(NamedTuple):
    """A line of a key file."""

    file: str
    number: int
    fields: list[str]  # separated by blanks or tabs; of a .tsv by tabs, and any may be empty

    def wrong(self, expected: str) -> ValueError:
        """The error that the line has another form."""
        return ValueError(
            f"{self.file}:{self.number}: expected {expected}, got {' '.join(self.fields)!r:.80}"
        )


Lines = Iterator[KeyLine]
Recordings = Iterator[tuple[str, str, str]]  # path, speaker, session ("" = unknown)
Lists = dict[str, Iterable[tuple[str, ...]]]  # the flag that a list is for, without its hyphens -> its lines
PathOf = Callable[[str], str]  # name of a recording in a key file -> its path; raises LookupError for others
# model -> its recordings, each a path, or a path, start and end in seconds
Models = Mapping[str, Sequence[tuple[str, ...]]]


def unchanged(name: str) -> str:
    """A name that is a path."""
    return name


def models(lines: Lines, path: PathOf) -> Models:
    """Lines `model name name ...` -> the recordings of each model."""
    found: dict[str, list[tuple[str, ...]]] = {}
    for line in lines:
        model, *names = line.fields
        if not names:
            raise line.wrong('"model name name ..."')
        found.setdefault(model, []).extend((_path(line, name, path),) for name in names)
    return found


def models_of_segments(lines: Lines, path: PathOf) -> Models:
    """Lines `model name start end`, in seconds -> the segments of each model."""
    found: dict[str, list[tuple[str, ...]]] = {}
    for line in lines:
        if len(line.fields) != 4:
            raise line.wrong('"model name start end"')
        model, name, start, end = line.fields
        found.setdefault(model, []).append((_path(line, name, path), start, end))
    return found


def verification(keys: Lines, enrolled: Models, test: PathOf) -> Lists:
    """Lines `model name label`, recordings of the models -> trial list, and enrolment list if it needs one.

    Where each model has one whole recording, trials name it instead of the model.
    """
    is_single = all(len(recordings) == len(recordings[0]) == 1 for recordings in enrolled.values())

    def trials() -> Iterator[tuple[str, ...]]:
        for line in keys:
            if len(line.fields) != 3 or line.fields[2] not in LABELS:
                raise line.wrong('"model name label"')
            model, name, label = line.fields
            if model not in enrolled:
                raise line.wrong("a model or recording that the other key files name")
            yield LABELS[label], enrolled[model][0][0] if is_single else model, _path(line, name, test)

    lists: Lists = {"test_list": trials()}
    if not is_single:
        lists["enrol_list"] = (
            (model, *recording) for model, recordings in enrolled.items() for recording in recordings
        )
    return lists


def identification(gallery: Lines, probe: Lines, path: PathOf) -> Lists:
    """Lines `name speaker` of a gallery and of probes -> lists for --gallery and --probe."""

    def of_speakers(lines: Lines) -> Iterator[tuple[str, ...]]:
        for line in lines:
            if len(line.fields) != 2:
                raise line.wrong('"name speaker"')
            name, speaker = line.fields
            yield speaker, _path(line, name, path)

    return {"gallery": of_speakers(gallery), "probe": of_speakers(probe)}


def _path(line: KeyLine, name: str, path: PathOf) -> str:
    try:
        return path(name)
    except LookupError:
        raise line.wrong("a recording that the other key files name") from None
