"""Lines of fields, as lists of recordings, score files and tables have them; names may hold any character."""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

ESCAPED = r"# In this list \xNN stands for a byte of a name."  # the first line of a list with such names
BYTE = re.compile(rb"\\x(?!00)([0-9a-fA-F]{2})")  # no name holds a zero byte
TABS = re.compile(r"\t+")
BLANKS = re.compile(r"[ \r\f\v]+")


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
    for number, line in enumerate(chain(() if is_escaped else (first,), lines), 1 + is_escaped):
        text = line.strip(around)
        if text and not (around and text.isspace()):
            yield Line(number, text, is_escaped)


def text_of(rows: Iterable[Sequence[str]], *, by_tabs: bool = False) -> str:
    """Rows of fields -> the text of a file whose lines have these fields.

    Fields, none of them empty, are separated by blanks; by tabs on request, or if any field holds a blank or
    a quote, or a line would begin as a comment. If a line can't hold a name as it is (a tab, a line end, a
    blank at an end, bytes that aren't UTF-8), all names of the file are escaped.
    """
    rows = list(rows)
    lines = [" ".join(row) for row in rows]
    if all(map(str.isprintable, lines)) and lines[:1] != [ESCAPED]:
        if not by_tabs and all(
            line.count(" ") == len(row) - 1 and line[0] != "#" and '"' not in line
            for line, row in zip(lines, rows, strict=True)
        ):
            return "".join(f"{line}\n" for line in lines)
        if all(field == field.strip() for row in rows for field in row):
            return "".join("\t".join(row) + "\n" for row in rows)
    escaped = ("\t".join(map(_escaped, row)) for row in rows)
    return "".join(f"{line}\n" for line in (ESCAPED, *escaped))


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
