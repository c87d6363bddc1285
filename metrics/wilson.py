"""Confidence interval of a share (Wilson 1927, "Probable inference, the law of succession")."""

import math
from typing import NamedTuple

Z = 1.959964  # 97.5 % of the normal distribution lie below it, so that 95 % are in the interval


class Share(NamedTuple):
    """How many of a number of cases."""

    num: int
    total: int

    @property
    def value(self) -> float:
        """The share, NaN of no cases."""
        return self.num / self.total if self.total else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval, for independent cases; (0, 1) of no cases."""
        if not self.total:
            return 0.0, 1.0
        centre = self.value + Z**2 / (2 * self.total)
        half = Z * math.sqrt(self.value * (1 - self.value) / self.total + (Z / (2 * self.total)) ** 2)
        whole = 1 + Z**2 / self.total
        return max(0.0, (centre - half) / whole), min(1.0, (centre + half) / whole)

    def __str__(self) -> str:
        """Percent, interval and counts."""
        low, high = (100 * limit for limit in self.interval)
        return f"{100 * self.value:.1f} % ({low:.1f} to {high:.1f}; {self.num} of {self.total})"
