"""Tables with a header, whose columns are found by their names: keys of evaluations, Common Voice's lists."""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from audio.utterances import LONGEST_LINE

Roles = Mapping[str, Sequence[str]]  # what a column is for -> the names that it may have, in lower case

SIDE = "side"  # of a call; rows leave the column of this role out


class Table(NamedTuple):
    """What the header of a table says."""

    separator: str | None  # None: blanks
    num_columns: int
    places: dict[str, int]  # of the columns that are read, by their roles
    header: list[str]

    @classmethod
    def of(cls, first: str, roles: Roles, required: Sequence[str], place: str) -> "Table | None":
        """The first line of a file -> the table; None if it doesn't name a column for each required role.

        Args:
            first: the line.
            roles: names of the columns that are read; others are ignored.
            required: roles without which it is no header.
            place: file and line, for errors.

        Raises:
            ValueError: two columns have one role.
        """
        separator = next((each for each in "\t," if each in first), None)
        header = [name.strip().strip('"') for name in first.rstrip("\n").split(separator)]
        columns = {
            role: [number for number, name in enumerate(header) if name.lower() in names]
            for role, names in roles.items()
        }
        if first.startswith("#") or not all(columns[role] for role in required):
            return None
        for role, numbers in columns.items():
            if len(numbers) > 1:
                names = " and ".join(header[number] for number in numbers)
                raise ValueError(f"{place}: {names} are both the {role}; delete one of the columns")
        return cls(
            separator, len(header), {role: numbers[0] for role, numbers in columns.items() if numbers}, header
        )

    def rows(self, texts: Iterable[str], path: str) -> Iterator[tuple[int, list[str]]]:
        """The lines behind the header -> line number, values of the columns in the order of the roles.

        Values between tabs are taken as they are, quotes too: sentences in these tables have single ones.

        Raises:
            ValueError: a line has another number of columns, no value in one that is read, or a side but a.
        """
        places = [place for role, place in self.places.items() if role != SIDE]
        side = self.places.get(SIDE)
        for number, columns in self._split(texts, path):
            if len(columns) != self.num_columns:
                raise ValueError(
                    f"{path}:{number}: expected {self.num_columns} columns as in line 1, got {len(columns)}"
                )
            values = [columns[place].strip() for place in places]
            if (length := sum(map(len, values))) > LONGEST_LINE:
                raise ValueError(f"{path}:{number}: expected names, got {length} characters")
            if "" in values:
                raise ValueError(f"{path}:{number}: no {self.header[places[values.index('')]]}")
            if side is not None and columns[side].strip() != "a":
                raise ValueError(
                    f"{path}:{number}: side {columns[side].strip()}; expected a; name sides by the "
                    "utterances of a wav.scp with sph2pipe -c"
                )
            yield number, values

    def _split(self, texts: Iterable[str], path: str) -> Iterator[tuple[int, list[str]]]:
        """The lines behind the header -> line number and columns; blank lines are left out."""
        if self.separator == ",":
            rows = csv.reader(texts, strict=True)
            try:
                yield from ((rows.line_num + 1, columns) for columns in rows if columns)
            except csv.Error as error:
                raise ValueError(f"{path}:{rows.line_num + 1}: {error}") from None
            return
        for number, text in enumerate(texts, 2):
            if not text.isspace():
                yield number, text.rstrip("\n").split(self.separator)
