"""Train lists, trial lists and enrolment lists."""

import hashlib
import os
import os.path
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Paths(Sequence[str]):
    """Many strings in two arrays: half the memory of a list, and worker processes share it.

    Reading a Python object changes its count of references, which copies a forked process's memory page
    by page; arrays have one count for all of their elements.
    """

    def __init__(self, text: NDArray[np.uint8], ends: NDArray[np.int64]) -> None:
        self.text, self.ends = text, ends  # UTF-8 of all strings in a row, where each ends

    @classmethod
    def of(cls, strings: Iterable[str]) -> "Paths":
        """The same strings, compactly."""
        encoded = [string.encode() for string in strings]
        lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
        return cls(np.frombuffer(b"".join(encoded), np.uint8), np.cumsum(lengths))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = range(len(self))[index]  # negative ones, and IndexError
        begin = self.ends[index - 1] if index else 0
        return self.text[begin : self.ends[index]].tobytes().decode()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Paths):
            return np.array_equal(self.ends, other.ends) and np.array_equal(self.text, other.text)
        return NotImplemented if not isinstance(other, list) else list(self) == other

    __hash__ = None  # type: ignore[assignment]


def read_lines(path: str, flag: str) -> Iterator[tuple[int, str]]:
    """Text file that a flag names -> (line number, stripped line) of the lines that aren't blank.

    Raises:
        FileNotFoundError, ValueError: absent, not text, or empty.
    """
    empty = True
    try:
        with Path(path).open(encoding="utf-8-sig") as stream:
            for number, line in enumerate(stream, 1):
                if line := line.strip():
                    empty = False
                    yield number, line
    except FileNotFoundError:
        raise FileNotFoundError(f"{flag} {path}: no such file") from None
    except UnicodeDecodeError:
        raise ValueError(f"{flag} {path}: not a text file in UTF-8") from None
    except OSError as error:
        raise OSError(error.errno, error.strerror, f"{flag} {path}") from None
    if empty:
        raise ValueError(f"{flag} {path}: the list is empty")


def read_utterances(path: str, flag: str) -> Iterator[tuple[int, str, str]]:
    """Train list, or Kaldi directory with wav.scp and utt2spk -> (line number, speaker, path).

    Raises:
        FileNotFoundError, ValueError: as read_lines; a line of one field; a wav.scp entry that is a
            command or has no speaker.
    """
    if not Path(path).is_dir():
        yield from _fields(path, flag, "speaker path")
        return
    speakers = {name: speaker for _, name, speaker in _fields(f"{path}/utt2spk", flag, "utterance speaker")}
    for number, name, file in _fields(f"{path}/wav.scp", flag, "utterance path"):
        if file.endswith("|"):
            raise ValueError(f"{path}/wav.scp:{number}: {name} is a command; only paths can be read")
        if name not in speakers:
            raise ValueError(f"{path}/wav.scp:{number}: no speaker for {name} in utt2spk")
        yield number, speakers[name], file


def _fields(path: str, flag: str, form: str) -> Iterator[tuple[int, str, str]]:
    """Lines of two fields, the first without blanks -> (line number, first, second)."""
    for number, line in read_lines(path, flag):
        first, _, rest = line.replace("\t", " ").partition(" ")
        if not rest:
            raise ValueError(f'{path}:{number}: expected "{form}", got 1 field')
        yield number, first, rest.strip()


class TrainList(NamedTuple):
    """Utterances of a train list: speaker names (sorted), label and path of each, repeated lines left out."""

    speakers: list[str]
    labels: NDArray[np.int64]
    paths: Paths
    num_repeated: int
    num_excluded: int = 0

    def digest(self) -> str:
        """A hash of the speakers and paths in their order: what an epoch's draws depend on."""
        names = Paths.of(self.speakers)
        made = hashlib.sha256()
        for part in (names.text, names.ends, self.labels, self.paths.text, self.paths.ends):
            made.update(part.data)
        return made.hexdigest()


def read_train_list(list_path: str, exclude: str = "", flag: str = "--train_list") -> TrainList:
    """Train list or Kaldi directory -> utterances; a label is the index among the sorted speakers.

    Args:
        list_path: file of `speaker path` lines, or folder with wav.scp and utt2spk.
        flag: what named the list.
        exclude: file with paths to leave out, one in a line, as dataprep.py --check writes it.

    Raises:
        ValueError: a line of another form, a path under two speakers, or no line at all.
    """
    names: dict[str, str] = {}  # path -> speaker
    known: dict[str, str] = {}  # each speaker's name once, however many lines hold it
    num_lines = 0
    for number, speaker, path in read_utterances(list_path, flag):
        num_lines += 1
        speaker = known.setdefault(speaker, speaker)
        if names.setdefault(path, speaker) != speaker:
            raise ValueError(f"{list_path}:{number}: {path} is listed under {names[path]} and {speaker}")
    listed = len(names)
    for path in read_excluded(exclude) if exclude else ():
        names.pop(path, None)
    if not names:
        raise ValueError(f"{list_path}: --exclude {exclude} leaves nothing of it")
    speakers = sorted(set(names.values()))
    index = {speaker: label for label, speaker in enumerate(speakers)}
    labels = np.fromiter((index[speaker] for speaker in names.values()), np.int64, len(names))
    return TrainList(speakers, labels, Paths.of(names), num_lines - listed, listed - len(names))


def read_excluded(path: str) -> set[str]:
    """File of paths, one in a line, as dataprep.py --check writes it -> the paths; it may be empty."""
    if os.path.isfile(path) and os.path.getsize(path) == 0:  # noqa: PTH113, PTH202
        return set()
    return {line for _, line in read_lines(path, "--exclude")}


LAST = {"0": 0, "nontarget": 0, "1": 1, "target": 1}  # labels in the last place


class Trials(NamedTuple):
    """Names of files or models, the number of each trial's sides among them (N,), labels (N,) or None."""

    names: list[str]
    enrol: NDArray[np.int64]
    test: NDArray[np.int64]
    labels: NDArray[np.int8] | None
    num_repeated: int = 0  # trials that were there before, in the same or the other order

    def without(self, missing: NDArray[np.int64]) -> "Trials":
        """The trials that need none of these names."""
        keep = ~(np.isin(self.enrol, missing) | np.isin(self.test, missing))
        labels = None if self.labels is None else self.labels[keep]
        return self._replace(enrol=self.enrol[keep], test=self.test[keep], labels=labels)


def read_trials(paths: Sequence[str], root: str) -> list[Trials]:
    """Files of `label enrol test` lines, label 1 for the same speaker, or without labels -> trials of each.

    The label may also stand last, as `0` or `nontarget`, `1` or `target` (Kaldi, CN-Celeb). Fields are
    separated by tabs or blanks. Where paths hold blanks themselves, the split is taken that names two files
    under root. All lists number the names alike.

    Raises:
        ValueError: a line of another form, labels in some lines only, a trial with both labels, or trials of
            one class.
    """
    numbers: dict[str, int] = {}
    lists = [_read_list(path, root, numbers) for path in paths]
    names = list(numbers)
    return [trials._replace(names=names) for trials in lists]


def _read_list(path: str, root: str, numbers: dict[str, int]) -> Trials:
    labels: list[int | None] = []
    sides: list[int] = []
    for line_number, line in read_lines(path, "--test_list"):
        label, *pair = _split_trial(line, root, f"{path}:{line_number}")
        if labels and (label is None) != (labels[0] is None):
            raise ValueError(f"{path}:{line_number}: some trials have labels and some have none")
        labels.append(label)
        sides += [numbers.setdefault(name, len(numbers)) for name in pair]
    pairs = np.array(sides, dtype=np.int64).reshape(-1, 2)
    known = None if labels[0] is None else np.array(labels, dtype=np.int8)
    if known is not None and len(np.unique(known)) == 1:
        missing = "nontarget (0)" if known[0] else "target (1)"
        raise ValueError(f"{path}: all {len(known)} trials are of one class; it has no {missing} trial")
    keys = pairs.min(axis=1) * len(numbers) + pairs.max(axis=1)
    different, first = np.unique(keys, return_index=True)
    if known is not None:
        wrong = np.flatnonzero(known != known[first[np.searchsorted(different, keys)]])
        if len(wrong):
            enrol, test = (list(numbers)[i] for i in pairs[wrong[0]])
            raise ValueError(f"{path}: the trial {enrol} {test} is there with both labels")
    return Trials([], pairs[:, 0], pairs[:, 1], known, len(keys) - len(different))


def read_enrolments(path: str) -> dict[str, list[str]]:
    """File of `model path path ...` lines -> the files of each model, in several lines or one.

    Raises:
        ValueError: a line without a path.
    """
    models: dict[str, list[str]] = {}
    for number, line in read_lines(path, "--enrol_list"):
        model, *files = line.split("\t") if "\t" in line else line.split()
        if not files:
            raise ValueError(f'{path}:{number}: expected "model path path ...", got 1 field')
        models.setdefault(model, []).extend(files)
    return models


def _split_trial(line: str, root: str, where: str) -> tuple[int | None, str, str]:
    """One line -> label or None, enrolment path, test path."""
    fields = line.split("\t") if "\t" in line else line.split()
    if len(fields) == 3 and fields[0] in ("0", "1"):
        return int(fields[0]), fields[1], fields[2]
    if len(fields) == 3 and fields[2] in LAST:
        return LAST[fields[2]], fields[0], fields[1]
    short = fields[0] in ("0", "1") and not os.path.isfile(os.path.join(root, fields[0]))  # noqa: PTH113, PTH118
    if len(fields) == 2 and not short:
        return None, fields[0], fields[1]
    found = []
    for start in (0, 1) if fields[0] in ("0", "1") else (0,):
        for cut in range(start + 1, len(fields)):
            pair = " ".join(fields[start:cut]), " ".join(fields[cut:])
            if all(os.path.isfile(os.path.join(root, name)) for name in pair):  # noqa: PTH113, PTH118
                found.append((int(fields[0]) if start else None, *pair))
    if len(found) != 1:
        raise ValueError(
            f'{where}: expected "label enrol test" with label 0 or 1, "enrol test label", or "enrol test", '
            f"got {len(fields)} fields (separate them by tabs if paths hold blanks)"
        )
    return found[0]
