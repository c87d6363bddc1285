"""Lists of enrolment models: which recordings, or parts of them, each model stands for."""

import math
from collections.abc import Iterable, Iterator
from itertools import chain, islice

from audio.kaldi import is_kaldi_directory, read_names, segment_of
from audio.tables import SIDE, Table
from audio.trial_forms import COLUMNS, SAMPLE, Known
from audio.utterances import LONGEST_LINE, Utterance, read_texts, wrong_line
from metrics.fields import Line, lines_of

FLAG = "--enrol_list"
KEY = {
    "model": COLUMNS["enrolment"],
    "recording": COLUMNS["test"],
    "start": ("start", "start_s"),
    "end": ("end", "end_s"),
    SIDE: COLUMNS[SIDE],
}
Entry = tuple[str, list[Utterance]]  # a model and its recordings; their paths are names, as in trial lists
FILES = '"model path path ..."'
SEGMENT = '"model path start end"'


def read_enrolments(path: str, known: Known) -> dict[str, list[Utterance]]:
    """Enrolment list -> the utterances of each model, whose paths are names, as in trial lists.

    Lists are tables with a header that names two of KEY, Kaldi directories, whose speakers are the models, or
    have lines `model path path ...` or `model path start end`; a model may have several lines.

    Args:
        path: the list.
        known: whether a name is a recording.

    Raises:
        FileNotFoundError, ValueError: absent, empty, a line of another form, or a list that has two readings.
    """
    models: dict[str, list[Utterance]] = {}
    for model, utterances in _entries(path, known):
        models.setdefault(model, []).extend(utterances)
    if not models:
        raise ValueError(f"{FLAG} {path}: the list is empty")
    return models


def _entries(path: str, known: Known) -> Iterable[Entry]:
    if is_kaldi_directory(path):
        return ((name, list(map(Utterance, names))) for name, names in read_names(path, FLAG).items())
    texts = read_texts(path, FLAG)
    first = next(texts, "")
    table = Table.of(first, KEY, ("model", "recording"), f"{path}:1")
    if table is not None:
        return _of_table(table, texts, path)
    return _of_lines(chain((first,), texts), path, known)


def _of_table(table: Table, texts: Iterable[str], path: str) -> Iterator[Entry]:
    if ("start" in table.places) != ("end" in table.places):
        raise ValueError(f"{path}:1: expected both of the columns start and end, in seconds, or neither")
    for number, (model, recording, *times) in table.rows(texts, path):
        utterance = Utterance(recording)
        yield model, [segment_of(utterance, times, f"{path}:{number}", model) if times else utterance]


def _of_lines(texts: Iterable[str], path: str, known: Known) -> Iterator[Entry]:
    lines = lines_of(texts)
    sample = list(islice(lines, SAMPLE))
    has_segments = sample != [] and _has_segments(sample, path, known)
    for line in chain(sample, lines):
        if not has_segments and _is_segment(fields := line.fields()) and not all(map(known, fields[2:])):
            raise wrong_line(line, path, f"{FILES} as in other lines")
        yield _segment(line, path) if has_segments else _files(line, path)


def _has_segments(sample: list[Line], path: str, known: Known) -> bool:
    """Whether the first lines are SEGMENT, and not FILES."""
    if not all(_is_segment(line.fields()) for line in sample):
        return False
    line = sample[0]
    _, name, start, end = line.fields()
    if known(start) and known(end):
        raise ValueError(
            f"{path}:{line.number}: is this {name} from {start} to {end} s, or three recordings? All lines "
            f"fit {FILES} and {SEGMENT}; rename the recordings that are called like numbers"
        )
    return True


def _is_segment(fields: list[str]) -> bool:
    try:
        return len(fields) == 4 and all(math.isfinite(float(text)) for text in fields[2:])
    except ValueError:
        return False


def _files(line: Line, path: str) -> Entry:
    model, *names = line.fields()
    if not names or line.is_comment or max(map(len, names)) > LONGEST_LINE:
        raise wrong_line(line, path, FILES)
    return model, [Utterance(name) for name in names]


def _segment(line: Line, path: str) -> Entry:
    place = f"{path}:{line.number}"
    fields = line.fields()
    if len(fields) != 4:
        raise wrong_line(line, path, f"{SEGMENT} as in the lines before")
    model, name, *times = fields
    return model, [segment_of(Utterance(name), times, place, model)]
