"""Quality measures of recordings, such as durations, as further columns of a calibration."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from metrics.calibration import as_table
from metrics.rates import Floats
from metrics.score_files import read_conditions

QualityMeasures = Mapping[str, Mapping[str, float]]  # name of the measure -> path -> value
SYMMETRIC = {"min": np.minimum, "max": np.maximum, "sum": np.add}


def symmetric_measures(
    values: Mapping[str, ArrayLike], enrol: ArrayLike, test: ArrayLike, kinds: Sequence[str] = ("min", "max")
) -> tuple[tuple[str, ...], Floats]:
    """Values (U,) of each utterance, utterance numbers (N,) of both sides -> names (Q,), measures (N, Q).

    For instance log durations, embedding norms, means over the cohort. Swapping the sides of a trial changes
    nothing. `sum` follows from `min` and `max`: take either that or both of these.

    Raises:
        ValueError: no values or kinds, unknown kinds, shapes or numbers that don't fit, values not finite.
    """
    if not values or not kinds or not set(kinds) <= SYMMETRIC.keys():
        raise ValueError(f"expected values, and kinds out of {', '.join(SYMMETRIC)}; got {list(kinds)}")
    sides = [np.asarray(side) for side in (enrol, test)]
    if sides[0].ndim != 1 or sides[0].shape != sides[1].shape or any(s.dtype.kind not in "iu" for s in sides):
        raise ValueError(f"expected utterance numbers (N,) of both sides, got {[s.shape for s in sides]}")
    names, measures = [], []
    for name, column in values.items():
        try:
            table = as_table(column)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        if table.shape[1] != 1 or any((side < 0).any() or (side >= len(table)).any() for side in sides):
            raise ValueError(f"{name}: expected a value for each utterance number, got {table.shape}")
        first, second = (table[side, 0] for side in sides)
        for kind in kinds:
            names.append(f"{kind} {name}")
            measures.append(SYMMETRIC[kind](first, second))
    return tuple(names), np.column_stack(measures)


def read_quality(path: str, files: Sequence[str]) -> tuple[QualityMeasures, list[str]]:
    """Table as for --conditions -> its numeric columns for these paths, names of the columns without numbers.

    Columns whose names start with `duration` become logarithms.

    Raises:
        ValueError: a path is missing, no column holds numbers, a column holds both numbers and other values,
            or a duration isn't above 0.
    """
    files = sorted(set(files))
    measures, skipped = dict[str, dict[str, float]](), list[str]()
    for name, texts in read_conditions(path, files).items():
        numbers = np.array([_number(text) for text in texts])
        wrong = np.flatnonzero(~np.isfinite(numbers))
        if len(wrong) == len(files):
            skipped.append(name)
            continue
        if len(wrong):
            i = int(wrong[0])
            raise ValueError(f"{path}: {name} of {files[i]}: expected a number, got {texts[i]!r}")
        if name.startswith("duration"):
            if not numbers.min() > 0.0:
                i = int(numbers.argmin())
                raise ValueError(f"{path}: {name} of {files[i]}: expected more than 0, got {texts[i]}")
            name = f"log {name}"
            numbers = np.log(numbers)
        measures[name] = dict(zip(files, numbers.tolist(), strict=True))
    if not measures:
        raise ValueError(f"{path}: no column of numbers, only {', '.join(skipped)}")
    return measures, skipped


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
