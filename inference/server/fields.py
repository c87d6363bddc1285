"""The fields of a JSON request, checked one by one."""

import math
from typing import Any

from inference.server.limits import RefusedError

BAD = 400
LONGEST_TEXT = 200


class Fields:
    """A JSON object with known names; every other value, name or type is refused."""

    def __init__(self, content: Any, names: tuple[str, ...]) -> None:
        """What the body holds, the names it may have."""
        if not isinstance(content, dict):
            raise RefusedError(BAD, "expected a JSON object")
        if unknown := content.keys() - set(names):
            raise RefusedError(BAD, f"{len(unknown)} unknown fields; expected {', '.join(names)}")
        self.content = content

    def text(self, name: str) -> str:
        """A string of 1 to LONGEST_TEXT characters."""
        value = self.content.get(name)
        if not isinstance(value, str) or not 1 <= len(value) <= LONGEST_TEXT:
            raise RefusedError(BAD, f"{name}: expected 1 to {LONGEST_TEXT} characters")
        return value

    def texts(self, name: str, most: int) -> list[str]:
        """A list of 1 to `most` such strings."""
        values = self.content.get(name)
        if not isinstance(values, list) or not 1 <= len(values) <= most:
            raise RefusedError(BAD, f"{name}: expected a list of 1 to {most} texts")
        return [Fields({name: value}, (name,)).text(name) for value in values]

    def number(self, name: str, low: float, high: float, default: float) -> float:
        """A number between two others, exclusive."""
        value = self.content.get(name, default)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value) or not low < value < high:
            raise RefusedError(BAD, f"{name}: expected a number between {low:g} and {high:g}")
        return float(value)

    def count(self, name: str, most: int, default: int) -> int:
        """A whole number from 1 to `most`."""
        value = self.content.get(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            raise RefusedError(BAD, f"{name}: expected a whole number from 1 to {most}")
        return value
