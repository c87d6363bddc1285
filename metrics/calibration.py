"""Scores -> log-likelihood ratios: prior-weighted logistic regression, with quality measures and fusion.

Brümmer and du Preez 2006, "Application-independent evaluation of speaker detection" (the objective);
Brümmer et al. 2007, "Fusion of heterogeneous speaker recognition systems in the STBU submission", and the
BOSARIS toolkit (arXiv:1304.2865) for fusion; Thienpondt et al. 2020 (arXiv:2010.11255) for quality measures.
Calibration, fusion and quality measures are one regression with one, several, or further columns.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.special import expit, logit

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]

FORMAT = "calibration-1"
STORED = {"names": list, "weights": list, "offset": float, "p_target": float}
STORED |= {"num_targets": int, "num_nontargets": int, "ridge": float}
MAX_ITERATIONS = 100  # Newton needs 5 to 30; more only where there is no minimum
STEP_TOLERANCE = 1e-8  # convergence is quadratic: what is left after such a step is rounding
SMALLEST_PIVOT = 1e-13  # of a Hessian of unit diagonal; below it rounding decides where the minimum is
SYMMETRIC = {"min": np.minimum, "max": np.maximum, "sum": np.add}


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
        table = _table(columns)
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
        """What to_dict made, perhaps changed by others since -> calibration.

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
        _prior(stored.p_target)
        return stored._replace(names=tuple(stored.names), weights=tuple(stored.weights))


class CrossValidation(NamedTuple):
    """LLR (N,), NaN where no model could be fitted; how many are; the models, one for each fold."""

    llr: Floats
    num_unscored: int
    models: list[Calibration]


def fit(
    columns: ArrayLike, labels: ArrayLike, p_target: float = 0.5, names: Sequence[str] = ()
) -> Calibration:
    """Scores and quality measures (N, C) or (N,), labels (N,) of 1 = target and 0 -> calibration.

    Minimises p / N_tar sum_tar log(1 + exp(-(llr + logit p))) + (1 - p) / N_non sum_non log(1 + exp(llr +
    logit p)) over llr = w . x + b; p = 0.5 minimises Cllr. The minimum is unique and unregularised, so that
    invertible affine maps of the columns don't change the LLRs. Only where columns separate the classes, and
    the weights would have no bound, a ridge of 2 min(p, 1 - p) / N on whitened columns keeps them finite, and
    the LLRs near log N where p = 0.5. Constant or dependent columns get the weights of least norm.

    Raises:
        ValueError: shapes that differ, values that are not finite, other labels, only one class.
    """
    p_target = _prior(p_target)
    table = _table(columns)
    targets = _targets(labels, len(table))
    names = tuple(names) or tuple(f"column {i + 1}" for i in range(table.shape[1]))
    if len(names) != table.shape[1] or len(set(names)) < len(names):
        raise ValueError(f"expected {table.shape[1]} different names of columns, got {list(names)}")
    with np.errstate(over="ignore"):  # values below 1e-308: refused at once
        white, back, centre = _whiten(table)
    if not np.isfinite(back).all():
        raise ValueError("values of the columns are too small to calibrate")
    design = np.column_stack([white, np.ones(len(white))])
    ridge, solution = 0.0, _minimise(design, targets, p_target, 0.0)
    if solution is None:
        ridge = 2.0 * min(p_target, 1.0 - p_target) / len(table)
        solution = _minimise(design, targets, p_target, ridge)
    if solution is None:
        raise ValueError("the calibration doesn't converge; are there columns of extreme values?")
    weights = back @ solution[:-1]  # (C,)
    offset = float(solution[-1] - centre @ weights)
    counts = int(np.count_nonzero(targets)), int(np.count_nonzero(~targets))
    return Calibration(names, tuple(weights.tolist()), offset, p_target, *counts, ridge)


def probability(llr: ArrayLike, p_target: float) -> Floats:
    """LLR (N,), prior of a target -> probability of a target (N,), by Bayes' rule."""
    posterior: Floats = expit(np.asarray(llr, dtype=np.float64) + logit(_prior(p_target)))
    return posterior


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
    measures = []
    for name, column in values.items():
        each = _table(column, f"{name}: ")
        if each.shape[1] != 1 or any((side < 0).any() or (side >= len(each)).any() for side in sides):
            raise ValueError(f"{name}: expected a value for each utterance number, got {each.shape}")
        first, second = (each[side, 0] for side in sides)
        measures += [SYMMETRIC[kind](first, second) for kind in kinds]
    return tuple(f"{kind} {name}" for name in values for kind in kinds), np.column_stack(measures)


def refuse_overlap(fitted: Iterable[tuple[str, str]], tested: Iterable[tuple[str, str]]) -> None:
    """File pairs (enrol, test) of the fitting and of the test trials, in which none may be the same.

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


def speaker_groups(speakers: Ints, targets: Flags, num_groups: int, seed: int) -> Ints:
    """Speaker numbers of both sides (2, N), targets (N,) -> group of each speaker (S,).

    Speakers are dealt in random order, those with most target trials first, so that each group has some.
    """
    counts = np.bincount(speakers[0, targets], minlength=int(speakers.max()) + 1)  # (S,)
    order = np.random.default_rng(seed).permutation(len(counts))
    order = order[np.argsort(-counts[order], kind="stable")]
    groups = np.empty(len(counts), dtype=np.int64)
    groups[order] = np.arange(len(counts)) % num_groups
    return groups


def cross_validate(
    columns: ArrayLike,
    labels: ArrayLike,
    enrol_speakers: ArrayLike,
    test_speakers: ArrayLike,
    *,
    p_target: float = 0.5,
    num_groups: int = 5,
    seed: int = 0,
    names: Sequence[str] = (),
) -> CrossValidation:
    """Columns (N, C), labels (N,), speakers (N,) of both sides -> LLR (N,) by models that know neither.

    The speakers are split in G groups. A fold is a pair of groups (g, h), g = h included: the trials between
    a speaker of g and one of h. Its model is fitted on the trials without any speaker of g or h. Every trial
    is in one of the G (G + 1) / 2 folds, and no model has seen either of its speakers. The groups depend
    on the seed and the speakers, not on the order of the trials.

    Raises:
        ValueError: as of fit; too few groups or speakers; labels that contradict the speakers.
    """
    table = _table(columns)
    targets = _targets(labels, len(table))
    speakers = _speaker_numbers(enrol_speakers, test_speakers, targets)
    num_speakers = int(speakers.max()) + 1
    if not 3 <= num_groups <= num_speakers:
        raise ValueError(f"expected 3 to {num_speakers} groups (one for each speaker), got {num_groups}")
    low, high = np.sort(speaker_groups(speakers, targets, num_groups, seed)[speakers], axis=0)  # (N,) each
    llr = np.full(len(table), np.nan)
    models = []
    for g, h in sorted(set(zip(low.tolist(), high.tolist(), strict=True))):
        held_out = (low == g) & (high == h)
        fitting = ~(np.isin(low, (g, h)) | np.isin(high, (g, h)))
        if not 0 < np.count_nonzero(targets[fitting]) < np.count_nonzero(fitting):
            continue  # nothing to learn from; counted below
        models.append(fit(table[fitting], targets[fitting], p_target, names))
        llr[held_out] = models[-1].apply(table[held_out])
    return CrossValidation(llr, int(np.count_nonzero(np.isnan(llr))), models)


def _speaker_numbers(enrol: ArrayLike, test: ArrayLike, targets: Flags) -> Ints:
    """Names or numbers of the speakers of both sides (N,) -> numbers (2, N), in the order of names."""
    arrays = [np.asarray(side) for side in (enrol, test)]
    if any(side.shape != targets.shape or side.dtype.kind not in "iuU" for side in arrays):
        raise ValueError(f"expected names of the speakers of both sides of {len(targets)} trials")
    sides = np.stack(arrays).tolist()
    numbers = {name: i for i, name in enumerate(sorted({*sides[0], *sides[1]}))}
    speakers = np.array([[numbers[name] for name in side] for side in sides], dtype=np.int64)
    wrong = np.flatnonzero((speakers[0] == speakers[1]) != targets)
    if len(wrong):
        i = int(wrong[0])
        raise ValueError(
            f"{len(wrong)} labels contradict the speakers, trial {i + 1} the first: "
            f"label {int(targets[i])}, speakers {sides[0][i]} and {sides[1][i]}"
        )
    return speakers


def _whiten(table: Floats) -> tuple[Floats, Floats, Floats]:
    """Columns (N, C) -> uncorrelated ones of unit variance (N, R), map of weights (C, R), means (C,).

    R < C if columns are constant or follow from others. What is fitted here depends neither on the units nor
    on the mixture of the columns, a ridge included.
    """
    peak = np.abs(table).max(axis=0)
    peak[peak == 0.0] = 1.0
    scaled = table / peak  # squares of what is left can't overflow
    centre = scaled.mean(axis=0)
    scaled -= centre
    deviation = np.sqrt(np.square(scaled).mean(axis=0))
    deviation[deviation <= 1e-13] = np.inf  # constant but for rounding: becomes a column of zeros
    scaled /= deviation
    variances, axes = np.linalg.eigh(scaled.T @ scaled / len(scaled))
    kept = variances > 1e-12
    axes = axes[:, kept] / np.sqrt(variances[kept])
    return scaled @ axes, axes / (deviation * peak)[:, None], centre * peak


def _minimise(design: Floats, targets: Flags, p_target: float, ridge: float) -> Floats | None:
    """Columns with ones as the last (N, R + 1) -> solution (R + 1,), or None if there is no minimum.

    Newton's method, damped where a step doesn't help (Marquardt 1963). Where classes are separable, wholly
    or in a part, gradients vanish as weights grow but steps don't shrink: the steps decide on convergence.
    """
    sign = np.where(targets, 1.0, -1.0)
    weight = np.where(targets, p_target / np.mean(targets), (1.0 - p_target) / np.mean(~targets)) / len(
        targets
    )
    prior = logit(p_target)
    penalty = np.append(np.full(design.shape[1] - 1, ridge), 0.0)  # none on the offset

    def loss(at: Floats) -> tuple[float, Floats]:
        margin = sign * (design @ at + prior)  # (N,)
        return float(weight @ np.logaddexp(0.0, -margin) + 0.5 * penalty @ at**2), margin

    at = np.zeros(design.shape[1])
    value, margin = loss(at)
    damping = 0.0
    for _ in range(MAX_ITERATIONS):
        if ridge == 0.0 and value < np.log(2.0) * weight.min():
            return None  # every trial is on its side: more weight is always better
        missing = weight * expit(-margin)
        gradient = penalty * at - design.T @ (sign * missing)
        hessian = (design * (missing * expit(margin))[:, None]).T @ design + np.diag(penalty)
        scale = np.sqrt(hessian.diagonal())
        if not scale.min() > 0.0:
            return None
        new, step = np.inf, at
        with suppress(LinAlgError):
            factor = cho_factor(hessian / np.outer(scale, scale) + damping * np.eye(len(at)))
            step = cho_solve(factor, gradient / scale) / scale
            if damping == 0.0 and np.abs(step).max() <= STEP_TOLERANCE * (1.0 + np.abs(at).max()):
                unique = ridge > 0.0 or factor[0].diagonal().min() ** 2 > SMALLEST_PIVOT
                return at - step if unique else None
            new, new_margin = loss(at - step)
        if new <= value * (1.0 + 1e-13) - 1e-4 * float(gradient @ step):
            at, value, margin = at - step, new, new_margin
            damping = damping / 10.0 if damping > 1e-6 else 0.0
        else:
            damping = max(10.0 * damping, 1e-5)
    return None


def _table(columns: ArrayLike, where: str = "") -> Floats:
    """Columns (N, C) or one column (N,) -> (N, C) of finite numbers."""
    try:
        table = np.asarray(columns, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{where}expected columns of numbers, all of the same length") from None
    if table.ndim == 1:
        table = table[:, None]  # (N,) -> (N, 1)
    if table.ndim != 2 or table.size == 0:
        raise ValueError(f"{where}expected trials in rows and columns of numbers, got {table.shape}")
    if not np.isfinite(table).all():
        raise ValueError(f"{where}{np.count_nonzero(~np.isfinite(table))} values are not finite numbers")
    return table


def _targets(labels: ArrayLike, num_trials: int) -> Flags:
    """Labels (N,) of 1 = target and 0 = nontarget, both there -> whether target (N,)."""
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


def _prior(p_target: float) -> float:
    if not 0.0 < p_target < 1.0:
        raise ValueError(f"p_target must lie between 0 and 1, got {p_target}")
    return float(p_target)
