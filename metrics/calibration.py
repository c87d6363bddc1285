"""Scores -> log-likelihood ratios: prior-weighted logistic regression, with quality measures and fusion.

Brümmer et al. 2007, "Fusion of heterogeneous speaker recognition systems in the STBU submission", and the
BOSARIS toolkit (arXiv:1304.2865) for fusion; Thienpondt et al. 2020 (arXiv:2010.11255) for quality measures.
Calibration, fusion and quality measures are one regression with one, several, or further columns.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from metrics.logistic_regression import Flags, fit_logistic_regression
from metrics.rates import Floats

FORMAT = "calibration-1"
STORED = {
    "names": list,
    "weights": list,
    "offset": float,
    "p_target": float,
    "num_targets": int,
    "num_nontargets": int,
    "ridge": float,
}


class Calibration(NamedTuple):
    """LLR = weights . columns + offset, natural logarithm; plain numbers, for a model file."""

    names: tuple[str, ...]  # of the columns (C,)
    weights: tuple[float, ...]  # (C,)
    offset: float
    p_target: float  # the effective prior that it was fitted for
    num_targets: int
    num_nontargets: int
    ridge: float  # 0, or more than 0 where the two classes could be separated

    def apply(self, columns: ArrayLike, names: Sequence[str] = ()) -> Floats:
        """Columns (N, C), or (N,) if there is one -> LLR (N,); `names`, if given, are checked.

        Raises:
            ValueError: another number of columns, other names, values that are not finite.
        """
        table = as_table(columns)
        if table.shape[1] != len(self.weights):
            raise ValueError(
                f"the calibration needs columns {list(self.names)}, got {table.shape[1]} columns"
            )
        if names and tuple(names) != self.names:
            raise ValueError(f"the calibration needs columns {list(self.names)}, got {list(names)}")
        return table @ np.array(self.weights) + self.offset

    def to_dict(self) -> dict[str, object]:
        """Plain lists, strings and numbers, which from_dict reads."""
        content = {**self._asdict(), "names": list(self.names), "weights": list(self.weights)}
        return {"format": FORMAT, **content}

    @classmethod
    def from_dict(cls, content: object) -> "Calibration":
        """The content that to_dict returned, read from a file that may be damaged -> calibration.

        Raises:
            ValueError: says in one line what is wrong.
        """
        mark = content.get("format") if isinstance(content, dict) else None
        if not isinstance(content, dict) or type(mark) is not str or mark != FORMAT:
            raise ValueError(f"not a calibration of this program: it lacks the mark {FORMAT!r}")
        if content.keys() != {"format", *STORED}:
            raise ValueError(f"damaged calibration: expected exactly {', '.join(STORED)}")
        for name, kind in STORED.items():
            if type(content[name]) is not kind:
                raise ValueError(f"damaged calibration: expected a {kind.__name__} as {name}")
        stored = cls(**{name: content[name] for name in STORED})
        if {*map(type, stored.names)} != {str} or len(set(stored.names)) < len(stored.names):
            raise ValueError("damaged calibration: names must be different strings")
        if {*map(type, stored.weights)} != {float} or len(stored.weights) != len(stored.names):
            raise ValueError("damaged calibration: expected one weight for each name")
        if not np.isfinite([*stored.weights, stored.offset, stored.ridge]).all() or stored.ridge < 0.0:
            raise ValueError("damaged calibration: weights, offset and ridge must be finite, ridge from 0 up")
        if min(stored.num_targets, stored.num_nontargets) < 1:
            raise ValueError("damaged calibration: expected counts of trials above 0")
        _check_prior(stored.p_target)
        return stored._replace(names=tuple(stored.names), weights=tuple(stored.weights))


def fit(
    columns: ArrayLike, labels: ArrayLike, p_target: float = 0.5, names: Sequence[str] = ()
) -> Calibration:
    """Scores and quality measures (N, C) or (N,), labels (N,) of 1 = target and 0 -> calibration.

    Minimises p / N_tar sum_tar log(1 + exp(-(llr + logit p))) + (1 - p) / N_non sum_non log(1 + exp(llr +
    logit p)) over llr = w . x + b; p = 0.5 minimises Cllr. The minimum is unique and unregularised, so that
    invertible affine maps of the columns don't change the LLRs. Only where columns separate the classes, and
    the weights would grow without limit, a ridge of 2 min(p, 1 - p) / N on whitened columns keeps them
    finite, and the LLRs near log N where p = 0.5. Constant or dependent columns get the weights of least
    norm.

    Raises:
        ValueError: shapes that differ, values that are not finite, other labels, only one class.
    """
    _check_prior(p_target)
    table = as_table(columns)
    targets = as_targets(labels, len(table))
    names = tuple(names) or tuple(f"column {i + 1}" for i in range(table.shape[1]))
    if len(names) != table.shape[1] or len(set(names)) < len(names):
        raise ValueError(f"expected {table.shape[1]} different names of columns, got {list(names)}")
    solution = fit_logistic_regression(table, targets, p_target)
    return Calibration(
        names=names,
        weights=tuple(solution.weights.tolist()),
        offset=solution.intercept - _log_odds(p_target),
        p_target=float(p_target),
        num_targets=int(np.count_nonzero(targets)),
        num_nontargets=int(np.count_nonzero(~targets)),
        ridge=solution.ridge,
    )


def probability(llr: ArrayLike, p_target: float) -> Floats:
    """LLR (N,), prior of a target -> probability of a target (N,), by Bayes' rule."""
    from scipy.special import expit

    _check_prior(p_target)
    posterior: Floats = expit(np.asarray(llr, dtype=np.float64) + _log_odds(p_target))
    return posterior


def refuse_overlap(fitted: Iterable[tuple[str, str]], tested: Iterable[tuple[str, str]]) -> None:
    """Check that no pair of paths (enrol, test) is among both the fitting trials and the test trials.

    Raises:
        ValueError: a pair is in both, its sides in the same order or swapped.
    """
    known = {(min(pair), max(pair)) for pair in fitted}
    shared = [pair for pair in tested if (min(pair), max(pair)) in known]
    if shared:
        raise ValueError(
            f"{len(shared)} test trials, {' '.join(shared[0])!r} the first, are among the trials to fit on; "
            "use other trials or cross-validation"
        )


def as_table(columns: ArrayLike) -> Floats:
    """Columns (N, C) or one column (N,) -> (N, C) of finite numbers, or ValueError."""
    try:
        table = np.asarray(columns, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError("expected columns of numbers, all of the same length") from None
    if table.ndim == 1:
        table = table[:, None]  # (N,) -> (N, 1)
    if table.ndim != 2 or table.size == 0:
        raise ValueError(f"expected trials in rows and columns of numbers, got {table.shape}")
    if not np.isfinite(table).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(table))} values are not finite numbers")
    return table


def as_targets(labels: ArrayLike, num_trials: int) -> Flags:
    """Labels (N,) of 1 = target and 0 = nontarget -> is a target (N,); ValueError unless both occur."""
    labels = np.asarray(labels)
    if labels.shape != (num_trials,):
        raise ValueError(f"expected a label for each of {num_trials} trials, got {labels.shape}")
    if not ((labels == 0) | (labels == 1)).all():
        raise ValueError("expected labels 1 (target) and 0 (nontarget) only")
    targets: Flags = labels == 1
    if targets.all() or not targets.any():
        missing = "nontarget" if targets.all() else "target"
        raise ValueError(f"no calibration from {num_trials} trials without a {missing} trial")
    return targets


def _check_prior(p_target: float) -> None:
    if not 0.0 < p_target < 1.0:
        raise ValueError(f"p_target must be between 0 and 1, got {p_target}")


def _log_odds(p_target: float) -> float:
    from scipy.special import logit

    return float(logit(p_target))
