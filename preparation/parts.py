"""--shard: the part of a list that one of several commands works on."""

import re
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class ListPart:
    """Which of several commands this is, from 0 on."""

    number: int
    count: int

    @classmethod
    def read(cls, text: str) -> Self:
        """Text "i/n", i from 1 on -> the part; raises ValueError for another text."""
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, re.ASCII)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            shown = " ".join(text.split())
            raise ValueError(f"--shard {shown}: expected i/n with 1 <= i <= n, such as 2/8")
        return cls(int(match[1]) - 1, int(match[2]))


WHOLE = ListPart(0, 1)
