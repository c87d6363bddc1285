"""Lines of fields, as lists of recordings, score files and tables have them; names may hold any character."""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import NamedTuple

ESCAPED = r"# In this list \xNN stands for a byte of a name."  # the first line of a list with such names
BYTE = re.compile(rb"\\x(?!00)([0-9a-fA-F]{2})")  # no name holds a zero byte
TABS = re.compile(r"\t+")
BLANKS = re.compile(r"[ \r\f\v]+")
BLOCK_LINES = 4096  # lines of a long list that are read or written at a time


class Line(NamedTuple):
    """A line that isn't blank."""

    number: int
    text: str
    is_escaped: bool  # see ESCAPED

    @property
    def is_by_tabs(self) -> bool:
        """Whether it is split at tabs alone."""
        return "\t" in self.text

    @property
    def is_comment(self) -> bool:
        """Whether it begins as comments do; names that begin so are in lines that are split at tabs."""
        return self.text[0] == "#" and "\t" not in self.text

    def name(self) -> str:
        """The whole line as one name."""
        return self._names([self.text])[0]

    def fields(self) -> list[str]:
        """Its fields, separated by tabs or by blanks."""
        if self.is_by_tabs:
            return self._names([field.strip() for field in TABS.split(self.text)])
        # other blanks, such as no-break spaces, are a part of names
        return self._names(self.text.split() if self.text.isascii() else BLANKS.split(self.text))

    def columns(self) -> list[str]:
        """The columns of a table, separated by tabs; any may be empty."""
        return self._names(self.text.split("\t"))

    def pair(self) -> tuple[str, str]:
        """Its first field and the rest, which may hold blanks; "" if there is no rest."""
        first, _, rest = self.text.partition("\t" if "\t" in self.text else " ")
        if self.is_escaped:
            return _unescaped(first.rstrip()), _unescaped(rest.lstrip())
        return first.rstrip(), rest.lstrip()

    def _names(self, fields: list[str]) -> list[str]:
        return [_unescaped(field) for field in fields] if self.is_escaped else fields


def lines_of(texts: Iterable[str], around: str | None = None) -> Iterator[Line]:
    """Lines of a text file -> those that aren't blank; the first one may say that names are escaped.

    around: characters at the ends of a line that are no part of it; None = all blanks.
    """
    lines = iter(texts)
    first = next(lines, "")
    is_escaped = first.strip() == ESCAPED
    yield from numbered(
        chain(() if is_escaped else (first,), lines), 1 + is_escaped, is_escaped=is_escaped, around=around
    )


def numbered(
    texts: Iterable[str], start: int, *, is_escaped: bool = False, around: str | None = None
) -> Iterator[Line]:
    """Successive lines of a text file from number `start` on -> those that aren't blank; see lines_of."""
    for number, line in enumerate(texts, start):
        text = line.strip(around)
        if text and not (around and text.isspace()):
            yield Line(number, text, is_escaped)


def blocks_of(texts: Iterator[str], start: int) -> Iterator[tuple[int, list[str]]]:
    """Successive lines of a text file from number `start` on -> its first number and lines, by blocks."""
    while block := list(islice(texts, BLOCK_LINES)):
        yield start, block
        start += len(block)


def plain_fields(texts: Sequence[str], num_fields: int) -> list[str] | None:
    """Lines of a text file whose names aren't escaped -> the fields of all of them in a row.

    None unless each line is `num_fields` words of printable ASCII between single blanks, as nearly all lines
    of long lists are: one search over many lines takes a tenth of the time of looking at each.
    """
    word = "[!-~]++"  # gives back no character, which would take twice as long
    text = "".join(texts)
    return text.split() if re.fullmatch(f"(?:{' '.join([word] * num_fields)}\n)*+", text) else None


class Style(NamedTuple):
    """How a file writes its fields: what separates them, and whether names are escaped (see ESCAPED)."""

    separator: str
    is_escaped: bool


def style_of(rows: Iterable[Sequence[str]], *, by_tabs: bool = False) -> Style:
    """Rows of fields -> the style of a file with these.

    Fields, none of them empty, are separated by blanks; by tabs on request, or if any field holds a blank or
    a quote, or a line would begin as a comment. If a line can't hold a name as it is (a tab, a line end, a
    blank at an end, bytes that aren't UTF-8), all names of the file are escaped.
    """
    holds_ends = False  # whether a field begins or ends with a blank
    for number, row in enumerate(rows):
        line = " ".join(row)
        if not line.isprintable() or (number == 0 and line == ESCAPED):
            return Style("\t", is_escaped=True)
        if line.count(" ") != len(row) - 1:
            by_tabs = True
            holds_ends = holds_ends or any(field != field.strip() for field in row)
        by_tabs = by_tabs or line[0] == "#" or '"' in line
    return Style("\t", holds_ends) if by_tabs else Style(" ", is_escaped=False)


def texts_of(rows: Iterable[Sequence[str]], style: Style) -> Iterator[str]:
    """Rows of fields, the style of their file -> its text, many lines at a time."""
    if style.is_escaped:
        yield f"{ESCAPED}\n"
        rows = (tuple(map(_escaped, row)) for row in rows)
    lines = map(style.separator.join, rows)
    while block := list(islice(lines, BLOCK_LINES)):
        yield "\n".join([*block, ""])


def text_of(rows: Iterable[Sequence[str]], *, by_tabs: bool = False) -> str:
    """Rows of fields -> the text of a file whose lines have these fields; see style_of."""
    rows = list(rows)
    return "".join(texts_of(rows, style_of(rows, by_tabs=by_tabs)))


def shown(text: str) -> str:
    """Text with names in it -> one line for people, what can't be printed as bytes."""
    return "".join(c if c.isprintable() else _bytes_of(c) for c in text)


def _escaped(name: str) -> str:
    return "".join(c if c.isprintable() and c not in " \\" else _bytes_of(c) for c in name)


def _bytes_of(character: str) -> str:
    is_byte = "\udc80" <= character <= "\udcff"  # of a file's name, as os.listdir gives it
    encoded = character.encode(errors="surrogateescape" if is_byte else "surrogatepass")
    return "".join(f"\\x{byte:02x}" for byte in encoded)


def _unescaped(field: str) -> str:
    """A field of an escaped list -> the name, with bytes that aren't UTF-8 as in os.listdir's."""
    name = BYTE.sub(lambda match: bytes.fromhex(match[1].decode()), field.encode())
    return name.decode(errors="surrogateescape")
