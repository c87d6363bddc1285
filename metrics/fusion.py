"""Scored trials -> LLRs: calibration of one system, fusion of several, quality measures.

The regression and its papers are in calibration.py. Its columns are the scores of each system, then the
quality measures of both sides. A model is never applied to trials that it was fitted on.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from metrics.calibration import Calibration, fit, probability, refuse_overlap
from metrics.cross_validation import cross_validate
from metrics.quality import QualityMeasures, symmetric_measures
from metrics.rates import Floats, Integers, error_rates
from metrics.score_files import naming
from metrics.speakers import units_of
from metrics.summary import FigureOptions
from metrics.trials import ScoredTrials, require_same_trials


class Calibrated(NamedTuple):
    """LLRs of the trials that could be scored, the systems' scores of them, and the models."""

    systems: list[ScoredTrials]  # with these trials alone
    llr: Floats  # (N,)
    models: list[Calibration]  # one, or one for each fold
    num_unscored: int


def columns(
    systems: Sequence[ScoredTrials], quality: QualityMeasures | None
) -> tuple[tuple[str, ...], Floats]:
    """Systems' trials, quality measures of the recordings -> names (C,), scores and measures (N, C).

    Raises:
        ValueError: the systems have different trials or labels.
    """
    first = systems[0]
    for other in systems[1:]:
        require_same_trials(first, other)
    names = ("score",) if len(systems) == 1 else tuple(f"score {i + 1}" for i in range(len(systems)))
    table = np.column_stack([system.scores for system in systems])
    if quality is None:
        return names, table
    values = {name: [by_path[path] for path in first.files] for name, by_path in quality.items()}
    measure_names, measures = symmetric_measures(values, *first.sides.T)
    return names + measure_names, np.column_stack([table, measures])


def fitted(
    systems: Sequence[ScoredTrials],
    fitting: Sequence[ScoredTrials],
    quality: QualityMeasures | None = None,
    p_target: float = 0.5,
) -> Calibrated:
    """Trials to calibrate, other trials with labels by the same systems, quality measures, prior -> LLRs.

    Raises:
        ValueError: trials that are in both, systems with different trials.
    """
    names, table = columns(fitting, quality)
    try:
        refuse_overlap(fitting[0].pairs(), systems[0].pairs())
    except ValueError as error:
        raise ValueError(f"{systems[0].name}, --fit {fitting[0].name}: {error} (--cross_validate)") from None
    with naming(fitting[0].name):
        model = fit(table, fitting[0].known_labels(), p_target, names)
    return applied(systems, model, quality)


def applied(
    systems: Sequence[ScoredTrials], model: Calibration, quality: QualityMeasures | None = None
) -> Calibrated:
    """Trials to calibrate, a model, quality measures -> LLRs."""
    names, table = columns(systems, quality)
    with np.errstate(over="ignore", invalid="ignore"):  # refused below
        llr = model.apply(table, names)
    _require_finite(systems[0].name, llr)
    return Calibrated(list(systems), llr, [model], 0)


def cross_validated(
    systems: Sequence[ScoredTrials],
    quality: QualityMeasures | None = None,
    p_target: float = 0.5,
    *,
    speakers: Integers | None = None,
    num_groups: int = 5,
    seed: int = 0,
) -> Calibrated:
    """Trials with labels, quality measures, prior -> LLRs by models fitted on the trials of other speakers.

    Args:
        systems: the same trials, scored by each system.
        quality: a value of each measure for each path.
        p_target: prior that the models are fitted for.
        speakers: numbers of both sides (N, 2); without, the first folder of the paths that fits the labels.
        num_groups: of speakers; fewer if there are fewer speakers.
        seed: of the division into groups.

    Raises:
        ValueError: systems with different trials, no labels, too few speakers.
    """
    first = systems[0]
    names, table = columns(systems, quality)
    if speakers is None:
        speakers = units_of(first, "speakers")
    labels = first.known_labels()
    with naming(first.name), np.errstate(over="ignore"):
        result = cross_validate(
            table,
            labels,
            *speakers.T,
            p_target=p_target,
            num_groups=min(num_groups, len(np.unique(speakers))),
            seed=seed,
            names=names,
        )
    is_scored = ~np.isnan(result.llr)
    if not is_scored.any():
        raise ValueError(f"{first.name}: too few speakers with target trials; no trials are left to fit on")
    llr = result.llr[is_scored]
    _require_finite(first.name, llr)
    kept = [
        system._replace(
            scores=system.scores[is_scored], labels=labels[is_scored], sides=system.sides[is_scored]
        )
        for system in systems
    ]
    return Calibrated(kept, llr, result.models, result.num_unscored)


def _require_finite(name: str, llr: Floats) -> None:
    if not np.isfinite(llr).all():
        raise ValueError(f"{name}: the LLRs of some trials are too large for numbers")


def saved_text(models: Sequence[Calibration]) -> str:
    """Calibrations -> JSON: one object, or a list with an object for each fold."""
    content = [model.to_dict() for model in models]
    return json.dumps(content[0] if len(content) == 1 else content, indent=1, allow_nan=False) + "\n"


def read_calibration(path: str) -> Calibration:
    """File with the text of saved_text -> calibration; ValueError says in one line what is wrong."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not the JSON of a calibration: {error}") from None
    if isinstance(content, list) and len(content) > 1:
        raise ValueError(
            f"{path}: holds {len(content)} calibrations, one for each fold of --cross_validate; other trials "
            "need one that was fitted with --fit"
        )
    if isinstance(content, list) and content:
        content = content[0]
    with naming(path):
        return Calibration.from_dict(content)


def csv_text(result: Calibrated, prior: float) -> str:
    """LLRs, prior of a target -> table with a header: enrol, test, llr, probability and, if known, label."""
    first = result.systems[0]
    header = ["enrol", "test", "llr", "probability"]
    values = [
        [f"{llr:.9g}" for llr in result.llr],
        [f"{p:.9g}" for p in probability(result.llr, prior)],
    ]
    if first.labels is not None:
        header.append("label")
        values.append([str(label) for label in first.labels])
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([*pair, *row] for pair, *row in zip(first.pairs(), *values, strict=True))
    return stream.getvalue()


def describe(result: Calibrated) -> list[str]:
    """Calibrated trials -> lines about the models; of several folds the mean, minimum and maximum."""
    models = result.models
    counts = [model.num_targets + model.num_nontargets for model in models]
    trials = f"fitted on {counts[0]} trials, {models[0].num_targets} of them target"
    if len(models) > 1:
        trials = (
            f"{len(models)} models, each fitted on {min(counts)} to {max(counts)} trials of other speakers"
        )
    lines = [f"{trials}, for p_target {models[0].p_target:g}"]
    labels = [f"weight of {name}" for name in models[0].names]
    for i, system in enumerate(result.systems):
        labels[i] += f" of {system.name}"
    values = np.array([[*model.weights, model.offset] for model in models])  # (models, C + 1)
    for label, value in zip([*labels, "offset"], values.T, strict=True):
        spread = f" ({value.min():.6g} to {value.max():.6g})" if len(models) > 1 else ""
        lines.append(f"{label}: {value.mean():.6g}{spread}")
    if ridges := [model.ridge for model in models if model.ridge]:
        lines.append(
            f"note: in {len(ridges)} of {len(models)} fits the columns separate the classes without errors, "
            f"so the weights would grow without limit; a ridge of {max(ridges):.3g} keeps them finite"
        )
    if result.num_unscored:
        lines.append(
            f"note: {result.num_unscored} trials left out: without their speakers one class is missing"
        )
    return lines


def gain(result: Calibrated, output: str, options: FigureOptions) -> list[str]:
    """Calibrated trials, name of the LLRs -> lines with the figures of the scores and the LLRs, if any."""
    labels = result.systems[0].labels
    if labels is None or len(np.unique(labels)) < 2:
        return ["no figures without labels of both classes"]
    lines = []
    for system in result.systems:
        with naming(system.name):
            figures = options._replace(llr=False).figures(error_rates(system.scores, labels))
        lines.append(_figure_line(system.name, figures, options.p_targets))
    figures = options._replace(llr=True).figures(error_rates(result.llr, labels))
    lines.append(_figure_line(output, figures, options.p_targets))
    loss = figures["cllr"] - figures["min_cllr"]
    parts = f"minCllr {figures['min_cllr']:.5f} + calibration loss {loss:.5f}"
    return [*lines, f"{output}: Cllr {figures['cllr']:.5f} bit = {parts}"]


def _figure_line(name: str, figures: Mapping[str, float], p_targets: Sequence[float]) -> str:
    parts = [f"{name}: EER {100 * figures['eer']:.4f} %"]
    for p in p_targets:
        parts.append(f"minDCF({p:g}) {figures[f'min_dcf_{p:g}']:.5f}")
        if f"act_dcf_{p:g}" in figures:
            parts.append(f"actDCF({p:g}) {figures[f'act_dcf_{p:g}']:.5f}")
    parts.append(f"minCllr {figures['min_cllr']:.5f} bit")
    return ", ".join(parts)
