"""Error rates over the threshold, at few points: how high strangers score, and how low one speaker."""

import math
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike

from metrics.rates import error_rates

POINTS = 61


class ErrorCurve(NamedTuple):
    """Error rates at evenly spaced thresholds (POINTS), rising."""

    thresholds: tuple[float, ...]
    p_miss: tuple[float, ...]
    p_fa: tuple[float, ...]

    @classmethod
    def of_trials(cls, scores: ArrayLike, labels: ArrayLike) -> Self:
        """Scores (N,), labels (N,) with 1 = target and 0 = nontarget -> curve.

        Raises:
            ValueError: see metrics.rates.sort_trials.
        """
        rates = error_rates(scores, labels)
        thresholds = np.linspace(rates.thresholds[0], rates.thresholds[-1], POINTS)
        points = np.searchsorted(rates.thresholds, thresholds)  # what is at or above is accepted
        columns = (thresholds, rates.p_miss[points], rates.p_fa[points])
        return cls(*(tuple(round(float(value), 5) for value in column) for column in columns))

    @classmethod
    def from_dict(cls, content: Any) -> Self:
        """What _asdict gave -> curve; raises ValueError if it is damaged."""
        names = cls._fields
        values = [content.get(name) if isinstance(content, dict) else None for name in names]
        columns = [column for column in values if isinstance(column, list | tuple) and len(column) == POINTS]
        numbers = [value for column in columns for value in column]
        are_finite = all(isinstance(value, float | int) and math.isfinite(value) for value in numbers)
        if len(columns) < len(names) or not are_finite:
            raise ValueError("its error rates are damaged")
        return cls(*(tuple(map(float, column)) for column in values))  # type: ignore[arg-type]

    def at(self, score: float) -> tuple[float, float]:
        """Score -> share of the targets below it, share of the nontargets from it on."""
        return (
            float(np.interp(score, self.thresholds, self.p_miss)),
            float(np.interp(score, self.thresholds, self.p_fa)),
        )
