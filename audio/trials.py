"""Trial lists and enrolment lists."""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from audio.lists import is_file
from audio.utterances import read_lines

Trial = tuple[int | None, str, str]  # label (None where the list has none), enrolment path, test path


class Trials(NamedTuple):
    """Names of files or models, the number of each trial's sides among them (N,), labels (N,) or None."""

    names: list[str]
    enrol: NDArray[np.int64]
    test: NDArray[np.int64]
    labels: NDArray[np.int8] | None
    num_repeated: int = 0  # lines that repeat a trial, in the same or the other order

    def without(self, missing: NDArray[np.int64]) -> "Trials":
        """The trials without those that need one of these names (given by number)."""
        keep = ~(np.isin(self.enrol, missing) | np.isin(self.test, missing))
        labels = None if self.labels is None else self.labels[keep]
        return self._replace(enrol=self.enrol[keep], test=self.test[keep], labels=labels)


def read_trials(paths: Sequence[str], root: str, models: Collection[str] = ()) -> list[Trials]:
    """Trial lists (see read_trial_lines) -> the trials of each; all lists number the names alike.

    Raises:
        ValueError: a line of another form, labels in some lines only, a trial with both labels, or trials of
            one class.
    """
    numbers: dict[str, int] = {}
    lists = [_read_list(path, root, models, numbers) for path in paths]
    names = list(numbers)
    return [trials._replace(names=names) for trials in lists]


def _read_list(path: str, root: str, models: Collection[str], numbers: dict[str, int]) -> Trials:
    """One list -> its trials without the names, which are added to `numbers`."""
    labels: list[int | None] = []
    sides: list[int] = []
    for line_number, (label, enrol, test) in read_trial_lines(path, root, models):
        if labels and (label is None) != (labels[0] is None):
            raise ValueError(f"{path}:{line_number}: some trials have labels and some have none")
        labels.append(label)
        sides.append(numbers.setdefault(enrol, len(numbers)))
        sides.append(numbers.setdefault(test, len(numbers)))
    pairs = np.array(sides, dtype=np.int64).reshape(-1, 2)
    keys = pairs.min(axis=1) * len(numbers) + pairs.max(axis=1)  # the order within a pair doesn't matter
    distinct, first = np.unique(keys, return_index=True)
    known = None
    if labels[0] is not None:
        known = np.array(labels, dtype=np.int8)
        if len(np.unique(known)) == 1:
            missing = "nontarget (0)" if known[0] else "target (1)"
            raise ValueError(f"{path}: all {len(known)} trials are of one class; it has no {missing} trial")
        contradictory = np.flatnonzero(known != known[first[np.searchsorted(distinct, keys)]])
        if len(contradictory):
            names = list(numbers)
            enrol, test = (names[i] for i in pairs[contradictory[0]])
            raise ValueError(f"{path}: the trial {enrol} {test} is listed with both labels")
    return Trials([], pairs[:, 0], pairs[:, 1], known, len(keys) - len(distinct))


def read_trial_lines(path: str, root: str, models: Collection[str] = ()) -> Iterator[tuple[int, Trial]]:
    """Trial list -> (line number, trial) of each line.

    TRIAL_FORMS are the accepted forms; a label is 1 for the same speaker, and in the last field also `target`
    or `nontarget` (Kaldi, CN-Celeb). Fields are separated by tabs or blanks. Where paths contain blanks
    themselves, the line is split so that both paths are files under root. With the names of enrolment models
    the reading is taken whose enrolment side is a model or a file, and whose test side is a file: a model may
    be called 0 or 1.

    Raises:
        ValueError: a line of another form, or with two such readings.
    """
    for line in read_lines(path, "--test_list"):
        fields = line.fields()
        readings = [trial for parse in TRIAL_FORMS.values() if (trial := parse(fields, root, models))]
        possible = _possible(readings, root, models) if models else []
        if len(possible) > 1:
            (_, *first), (_, *second) = possible[:2]
            readings_text = f"{' against '.join(first)} or {' against '.join(second)}"
            raise ValueError(
                f"{path}:{line.number}: is this {readings_text}? Call the models of --enrol_list neither 0 "
                "nor 1"
            )
        trial = next(iter(possible or readings), None)
        if trial is None and not line.is_by_tabs:
            trial = _split_at_files(fields, root)
        if trial is None:
            raise ValueError(
                f"{path}:{line.number}: expected {'; or '.join(TRIAL_FORMS)}, got {len(fields)} fields "
                "(separate them by tabs if paths contain blanks)"
            )
        yield line.number, trial


def _possible(readings: Sequence[Trial], root: str, models: Collection[str]) -> list[Trial]:
    """Readings of a line -> those of a model or a file against a file; in a pack, of a model."""
    with_files = [
        trial
        for trial in readings
        if (trial[1] in models or is_file(root, trial[1])) and is_file(root, trial[2])
    ]
    return with_files or [trial for trial in readings if trial[1] in models and trial[2] not in models]


def _label_first(fields: list[str], root: str, models: Collection[str]) -> Trial | None:
    if len(fields) == 3 and fields[0] in FIRST_LABELS:
        return FIRST_LABELS[fields[0]], fields[1], fields[2]
    return None


def _label_last(fields: list[str], root: str, models: Collection[str]) -> Trial | None:
    if len(fields) == 3 and fields[2] in LAST_LABELS:
        return LAST_LABELS[fields[2]], fields[0], fields[1]
    return None


def _without_label(fields: list[str], root: str, models: Collection[str]) -> Trial | None:
    # `1 path` is a labelled trial that lacks a path, unless a file or a model has the name 1
    is_label = fields[0] in FIRST_LABELS and fields[0] not in models and not is_file(root, fields[0])
    if len(fields) == 2 and not is_label:
        return None, fields[0], fields[1]
    return None


FIRST_LABELS = {"0": 0, "1": 1}
LAST_LABELS = {"0": 0, "nontarget": 0, "1": 1, "target": 1}
# Form, as shown in errors -> its parser, which returns None for a line of another form. The first match wins.
TRIAL_FORMS: dict[str, Callable[[list[str], str, Collection[str]], Trial | None]] = {
    '"label enrol test" with label 0 or 1': _label_first,
    '"enrol test label"': _label_last,
    '"enrol test"': _without_label,
}


def _split_at_files(fields: list[str], root: str) -> Trial | None:
    """Fields of a line whose paths contain blanks -> the only trial of two files under root, or None."""
    readings: list[tuple[int | None, list[str]]] = [(None, fields)]
    if fields[0] in FIRST_LABELS:
        readings.append((FIRST_LABELS[fields[0]], fields[1:]))
    if fields[-1] in LAST_LABELS:
        readings.append((LAST_LABELS[fields[-1]], fields[:-1]))
    trials: list[Trial] = []
    for label, words in readings:
        for cut in range(1, len(words)):
            enrol = " ".join(words[:cut])
            test = " ".join(words[cut:])
            if is_file(root, enrol) and is_file(root, test):
                trials.append((label, enrol, test))
    return trials[0] if len(trials) == 1 else None


def read_enrolments(path: str) -> dict[str, list[str]]:
    """File of `model path path ...` lines -> the files of each model, in several lines or one.

    Raises:
        ValueError: a line without a path.
    """
    models: dict[str, list[str]] = {}
    for line in read_lines(path, "--enrol_list"):
        model, *files = line.fields()
        if not files:
            raise ValueError(f'{path}:{line.number}: expected "model path path ...", got 1 field')
        models.setdefault(model, []).extend(files)
    return models
