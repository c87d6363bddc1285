"""Lines of fields, as lists of recordings, score files and tables have them; names may hold any character."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

ESCAPED = r"# In this list \xNN stands for a byte of a name."  # the first line of a list with such names
BYTE = re.compile(rb"\\x([0-9a-fA-F]{2})")


class Line(NamedTuple):
    """A line that isn't blank."""

    number: int
    text: str
    is_escaped: bool  # see ESCAPED

    def name(self) -> str:
        """The whole line as one name."""
        return self._names([self.text.strip()])[0]

    def fields(self) -> list[str]:
        """Its fields: separated by tabs alone if it holds one, else by blanks."""
        text = self.text.strip()
        return self._names([field.strip() for field in text.split("\t")] if "\t" in text else text.split())

    def columns(self) -> list[str]:
        """Its fields, separated by tabs, of which any may be empty."""
        return self._names(self.text.split("\t"))

    def pair(self) -> list[str]:
        """Its first field and the rest, which may hold blanks; "" if there is no rest."""
        text = self.text.strip()
        first, _, rest = text.partition("\t" if "\t" in text else " ")
        return self._names([first.rstrip(), rest.lstrip()])

    def _names(self, fields: list[str]) -> list[str]:
        return [_unescaped(field) for field in fields] if self.is_escaped else fields


def lines_of(texts: Iterable[str]) -> Iterator[Line]:
    """Lines of a text file -> those that aren't blank; the first one may say that names are escaped."""
    is_escaped = False
    for number, text in enumerate(texts, 1):
        if number == 1 and text.strip() == ESCAPED:
            is_escaped = True
        elif not text.isspace() and text:
            yield Line(number, text.rstrip("\n"), is_escaped)


def text_of(rows: Iterable[Sequence[str]], *, by_tabs: bool = False) -> str:
    """Rows of fields -> the text of a file whose lines have these fields.

    Fields, none of them empty, are separated by blanks; by tabs on request or if any field holds a blank. If
    a line can't hold a name as it is (a tab, a line end, a blank at an end, bytes that aren't UTF-8), all
    names of the file are escaped.
    """
    rows = list(rows)
    lines = [" ".join(row) for row in rows]
    if all(map(str.isprintable, lines)) and lines[:1] != [ESCAPED]:
        if not by_tabs and all(
            line.count(" ") == len(row) - 1 for line, row in zip(lines, rows, strict=True)
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
    return "".join(f"\\x{byte:02x}" for byte in character.encode(errors="surrogateescape"))


def _unescaped(field: str) -> str:
    """A field of an escaped list -> the name, with bytes that aren't UTF-8 as in os.listdir's."""
    name = BYTE.sub(lambda match: bytes.fromhex(match[1].decode()), field.encode())
    return name.decode(errors="surrogateescape")
