"""Forms of trial lists, recognised by what the first lines hold."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import chain, islice, repeat
from typing import NamedTuple

from audio.tables import SIDE, Table
from audio.utterances import LONGEST_LINE, is_quoted, read_texts, wrong_line
from metrics.fields import Line, blocks_of, lines_of, numbered, plain_fields, shown

FLAG = "--test_list"
Trial = tuple[int | None, str, str]  # label (None where the list has none), enrolment, test
Known = Callable[[str], bool]  # whether a name is a recording

WORDS = {1: ("1", "target", "tgt", "true"), 0: ("0", "nontarget", "imp", "false")}
LABELS = {
    spelling: label
    for label, words in WORDS.items()
    for word in words
    for spelling in (word, word.capitalize(), word.upper())
}
# Columns of tables with a header: keys of NIST SRE and VOiCES. Further columns are ignored.
COLUMNS = {
    "enrolment": ("modelid", "enrolment", "enrollment", "enrol", "enroll"),
    "test": ("segmentid", "segment", "test"),
    "label": ("targettype", "label"),
    SIDE: ("side",),
}
SAMPLE = 1000  # lines that decide the form
SHOWN = 40  # characters of a wrong label


class Form(NamedTuple):
    """Which field of a line is what."""

    num_fields: int
    label: int | None
    enrol: int
    test: int

    def trial(self, fields: Sequence[str]) -> Trial | None:
        """Fields of a line -> the trial; None if it has another form."""
        if len(fields) != self.num_fields:
            return None
        if self.label is None:
            return None, fields[self.enrol], fields[self.test]
        label = LABELS.get(fields[self.label])
        return None if label is None else (label, fields[self.enrol], fields[self.test])

    def is_doubtful(self, line: Line) -> bool:
        """Whether a line whose fields have this form may have another one all the same."""
        is_unclear = self.label is None and (line.fields()[0] in LABELS or line.is_comment)
        return is_unclear or len(line.text) > LONGEST_LINE

    def plain_trials(self, texts: Sequence[str]) -> Iterator[Trial] | None:
        """Many lines -> their trials; None unless all are plain, see plain_fields, and none is doubtful."""
        fields = plain_fields(texts, self.num_fields)
        if fields is None or max(map(len, texts)) > LONGEST_LINE:
            return None
        enrol, test = (fields[place :: self.num_fields] for place in (self.enrol, self.test))
        if self.label is None:
            is_clear = LABELS.keys().isdisjoint(enrol) and not any(name[0] == "#" for name in enrol)
            return zip(repeat(None), enrol, test, strict=False) if is_clear else None
        labels = [LABELS.get(field) for field in fields[self.label :: self.num_fields]]
        return None if None in labels else zip(labels, enrol, test, strict=True)

    def reading(self, line: Line, known: Known) -> Trial | None:
        """The same for a line that may have another form, or paths with blanks in them.

        `1 path` lacks a path, unless 1 is a name. Quotes are parts of names, which are then between tabs.

        Args:
            line: the line.
            known: whether a text is the name of a recording or a model.
        """
        if line.is_comment or len(line.text) > LONGEST_LINE:
            return None
        fields = line.fields()
        if len(fields) > self.num_fields:
            return None if line.is_by_tabs else self._split_at_files(fields, known)
        if self.label is None and fields[0] in LABELS and not known(fields[0]):
            return None
        if not line.is_by_tabs and any(is_quoted(field) and not known(field) for field in fields):
            return None
        return self.trial(fields)

    def _split_at_files(self, fields: Sequence[str], known: Known) -> Trial | None:
        """Fields of a line whose paths contain blanks -> the only trial of two recordings, or None."""
        first = 0 if self.label != 0 else 1
        end = len(fields) if self.label is None or first else len(fields) - 1
        cuts = ((" ".join(fields[first:cut]), " ".join(fields[cut:end])) for cut in range(first + 1, end))
        pairs = [(enrol, test) for enrol, test in cuts if known(enrol) and known(test)]
        return self.trial([*fields[:first], *pairs[0], *fields[end:]]) if len(pairs) == 1 else None


# Form of a line, as shown in errors; COLUMNS has those of tables.
FORMS = {
    '"label enrol test"': Form(3, label=0, enrol=1, test=2),
    '"enrol test label"': Form(3, label=2, enrol=0, test=1),
    '"enrol test"': Form(2, label=None, enrol=0, test=1),
}


def read_trial_lines(path: str, known: Known, models: Collection[str] = ()) -> Iterator[tuple[int, Trial]]:
    """Trial list -> (line number, trial) of each line; all lines have the form of the first ones.

    A list is a table with a header that names two of COLUMNS, or has lines of one of FORMS, whose fields are
    separated by tabs or blanks. Where paths contain blanks themselves, the line is split so that both are
    known.

    Args:
        path: the list.
        known: whether a name is a recording.
        models: names of enrolment models.

    Raises:
        FileNotFoundError, ValueError: absent, empty, a line of another form, or a list that has two readings.
    """
    texts = read_texts(path, FLAG)
    first = next(texts, "")
    table = Table.of(first, COLUMNS, ("enrolment", "test"), f"{path}:1")
    if table is not None:
        return _of_table(table, texts, path)
    return _of_lines(chain((first,), texts), path, known, models)


def _of_table(table: Table, texts: Iterable[str], path: str) -> Iterator[tuple[int, Trial]]:
    number = 0
    for number, (enrol, test, *labels) in table.rows(texts, path):
        label = LABELS.get(labels[0]) if labels else None
        if labels and label is None:
            raise ValueError(f"{path}:{number}: expected target or nontarget, got {shown(labels[0])[:SHOWN]}")
        yield number, (label, enrol, test)
    if not number:
        raise ValueError(f"{FLAG} {path}: the list is empty")


def _of_lines(
    texts: Iterable[str], path: str, known: Known, models: Collection[str]
) -> Iterator[tuple[int, Trial]]:
    def is_name(text: str) -> bool:
        return text in models or known(text)

    texts = iter(texts)
    sample = list(islice(lines_of(texts), SAMPLE))
    if not sample:
        raise ValueError(f"{FLAG} {path}: the list is empty")
    name = _recognised(sample, path, is_name, known)
    form = FORMS[name]

    def read(lines: Iterable[Line]) -> Iterator[tuple[int, Trial]]:
        for line in lines:
            trial = form.trial(line.fields())
            if trial is None or form.is_doubtful(line):
                trial = form.reading(line, is_name)
                if trial is None:
                    raise wrong_line(line, path, f"{name} as in the lines before")
            yield line.number, trial

    yield from read(sample)
    is_escaped = sample[0].is_escaped
    for number, block in blocks_of(texts, sample[-1].number + 1):
        trials = None if is_escaped else form.plain_trials(block)
        if trials is None:
            yield from read(numbered(block, number, is_escaped=is_escaped))
        else:
            yield from enumerate(trials, number)


def _recognised(sample: Sequence[Line], path: str, is_name: Known, known: Known) -> str:
    """The first lines of a list -> the name of their form.

    If two forms fit, it is that whose trials are of a model or a recording against a recording.

    Args:
        sample: the lines.
        path: the list, for errors.
        is_name: whether a text is the name of a recording or a model.
        known: whether it is that of a recording.
    """
    names = list(FORMS)
    for line in sample:
        fitting = [name for name in names if FORMS[name].reading(line, is_name)]
        if not fitting:
            before = f" as in line {sample[0].number}" if line is not sample[0] else ""
            raise wrong_line(line, path, f"{'; or '.join(names)}{before}")
        names = fitting
    if len(names) == 1:
        return names[0]
    readings = {name: [FORMS[name].reading(line, is_name) for line in sample] for name in names}
    possible = [
        name
        for name, trials in readings.items()
        if any(is_name(enrol) and known(test) for _, enrol, test in filter(None, trials))
    ]
    if len(possible) == 1:
        return possible[0]
    firsts = (trials[0] for trials in readings.values())
    texts = (f"{enrol} against {test}" for _, enrol, test in filter(None, firsts))
    raise ValueError(
        f"{path}:{sample[0].number}: is this {shown(' or '.join(texts))}? All lines fit "
        f"{' and '.join(names)}; rename the models or recordings that are called like a label"
    )
