"""Prior-weighted logistic regression by scikit-learn, with a ridge where the classes can be separated.

Brümmer and du Preez 2006, "Application-independent evaluation of speaker detection" (the objective).
"""

import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metrics.rates import Floats

Flags = NDArray[np.bool_]

MAX_ITERATIONS = 100  # Newton needs 5 to 30; more only where there is no minimum
GRADIENT_TOLERANCE = 1e-15  # of a loss of weight 1: as small as rounding allows
STEP_TOLERANCE = 1e-8  # convergence is quadratic: after such a step only rounding errors remain
SMALLEST_PIVOT = 1e-13  # of a Hessian of unit diagonal; below it rounding errors decide the minimum


class Solution(NamedTuple):
    """Log odds of a target = weights . columns + intercept."""

    weights: Floats  # (C,)
    intercept: float
    ridge: float  # above 0 only if there is no minimum without it


class Whitening(NamedTuple):
    """A table as uncorrelated columns, and the map of their weights to those of the table's columns."""

    columns: Floats  # (N, R), unit variance
    weight_map: Floats  # (C, R)
    means: Floats  # (C,) of the table's columns


def fit_logistic_regression(table: Floats, targets: Flags, p_target: float) -> Solution:
    """Columns (N, C), targets (N,), effective prior of a target -> weights, intercept, ridge.

    The ridge applies to the whitened columns, so the log odds depend neither on the units of the columns nor
    on which linear combinations of them are given.

    Raises:
        ValueError: values too small or too extreme to fit.
    """
    with np.errstate(over="ignore"):  # values below 1e-308 overflow; refused below
        whitened = _whiten(table)
    if not np.isfinite(whitened.weight_map).all():
        raise ValueError("values of the columns are too small to calibrate")
    ridge = 0.0
    coefficients = _minimise(whitened.columns, targets, p_target, ridge)
    if coefficients is None:
        ridge = 2.0 * min(p_target, 1.0 - p_target) / len(table)
        coefficients = _minimise(whitened.columns, targets, p_target, ridge)
    if coefficients is None:
        raise ValueError("the calibration doesn't converge; do some columns hold extreme values?")
    weights = whitened.weight_map @ coefficients[:-1]  # (C,)
    return Solution(weights, float(coefficients[-1] - whitened.means @ weights), ridge)


def _whiten(table: Floats) -> Whitening:
    """Columns (N, C) -> R <= C uncorrelated ones, without constant columns and combinations of others."""
    peak = np.abs(table).max(axis=0)
    peak[peak == 0.0] = 1.0
    scaled = table / peak  # so that squares can't overflow
    means = scaled.mean(axis=0)
    scaled -= means
    deviation = np.sqrt(np.square(scaled).mean(axis=0))
    deviation[deviation <= 1e-13] = np.inf  # constant up to rounding: becomes a column of zeros
    scaled /= deviation
    variances, axes = np.linalg.eigh(scaled.T @ scaled / len(scaled))
    kept = variances > 1e-12
    axes = axes[:, kept] / np.sqrt(variances[kept])
    return Whitening(scaled @ axes, axes / (deviation * peak)[:, None], means * peak)


def _minimise(columns: Floats, targets: Flags, p_target: float, ridge: float) -> Floats | None:
    """Columns (N, R), targets (N,) -> weights and intercept (R + 1,), or None if there is no minimum."""
    design = np.column_stack([columns, np.ones(len(columns))])
    target_share = np.mean(targets)
    shares = np.where(targets, p_target / target_share, (1.0 - p_target) / (1.0 - target_share))
    trial_weights = shares / len(targets)  # (N,), sum 1
    if columns.shape[1]:
        coefficients = _solve(columns, targets, trial_weights, ridge)
    else:  # scikit-learn refuses a table without columns; the intercept alone is the prior's log odds
        coefficients = np.array([np.log(p_target) - np.log1p(-p_target)])
    # One more Newton step shows whether this is a minimum, and takes off the solver's last error. Where a
    # direction separates classes, wholly or in part, gradients vanish as weights grow, but steps don't.
    step = _newton_step(design, targets, trial_weights, coefficients, ridge)
    if step is None or np.abs(step).max() > STEP_TOLERANCE * (1.0 + np.abs(coefficients).max()):
        return None
    return coefficients - step


def _solve(columns: Floats, targets: Flags, trial_weights: Floats, ridge: float) -> Floats:
    """Columns (N, R), targets (N,), weights of the trials (N,) -> weights and intercept (R + 1,)."""
    from sklearn.linear_model import LogisticRegression  # slow to import

    smaller_class = min(trial_weights[targets].sum(), trial_weights[~targets].sum())
    regression = LogisticRegression(
        C=1.0 / ridge if ridge else np.inf,
        solver="newton-cholesky",
        tol=GRADIENT_TOLERANCE * smaller_class,
        max_iter=MAX_ITERATIONS,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of no convergence: the caller checks that
        regression.fit(columns, targets, sample_weight=trial_weights)
    return np.append(regression.coef_[0], regression.intercept_[0])


def _newton_step(
    design: Floats, targets: Flags, trial_weights: Floats, coefficients: Floats, ridge: float
) -> Floats | None:
    """Columns and a column of ones (N, R + 1), coefficients (R + 1,) -> step; None for a singular Hessian."""
    from scipy.linalg import LinAlgError, cho_factor, cho_solve
    from scipy.special import expit

    sign = np.where(targets, 1.0, -1.0)
    margin = sign * (design @ coefficients)  # (N,)
    residual = trial_weights * expit(-margin)
    penalty = np.append(np.full(design.shape[1] - 1, ridge), 0.0)  # none on the intercept
    gradient = penalty * coefficients - design.T @ (sign * residual)
    hessian = (design * (residual * expit(margin))[:, None]).T @ design + np.diag(penalty)
    scale = np.sqrt(hessian.diagonal())
    if not scale.min() > 0.0:
        return None
    try:
        factor = cho_factor(hessian / np.outer(scale, scale))
    except LinAlgError:
        return None
    if ridge == 0.0 and factor[0].diagonal().min() ** 2 <= SMALLEST_PIVOT:
        return None
    step: Floats = cho_solve(factor, gradient / scale) / scale
    return step
