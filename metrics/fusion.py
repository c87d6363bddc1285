"""Score files of the same trials -> LLRs: calibration of one system, fusion of several, quality measures.

The regression and its papers are in calibration.py. Its columns are the scores of each system, then the quality
measures of both sides. What is fitted never sees the trials that it is applied to.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from metrics.calibration import (
    Calibration,
    cross_validate,
    fit,
    probability,
    refuse_overlap,
    symmetric_measures,
)
from metrics.rates import error_rates
from metrics.score_files import (
    Floats,
    ScoreFile,
    naming,
    read_conditions,
    read_score_file,
    require_same_trials,
    units_of,
)
from metrics.summary import Wanted


class Quality(NamedTuple):
    """Numbers about each utterance, from a table that may hold other attributes too."""

    numbers: dict[str, int]  # path -> row
    values: dict[str, Floats]  # name -> value of each row (U,)
    attributes: list[str]  # columns without numbers, which are left out


class Calibrated(NamedTuple):
    """LLRs of the trials that could be scored, what they were made from, and by what."""

    systems: list[ScoreFile]  # with these trials alone
    llr: Floats  # (N,)
    models: list[Calibration]  # one, or one for each fold
    num_unscored: int
    attributes: list[str]  # of the quality table, left out


def read_systems(paths: Sequence[str], labels_needed: bool) -> list[ScoreFile]:
    """Score files, one for each system -> their trials, which must be the same."""
    systems = [read_score_file(path, labels_needed) for path in paths]
    for other in systems[1:]:
        require_same_trials(systems[0], other)
    return systems


def read_quality(path: str, files: Sequence[str]) -> Quality:
    """Table as for --conditions -> its columns of numbers for these paths; durations as logarithms.

    Raises:
        ValueError: a path is missing, no column holds numbers, one holds some and other things too, or a
            duration isn't above 0.
    """
    files = sorted(set(files))
    values, attributes = {}, []
    for name, column in read_conditions(path, files).items():
        numbers = np.array([_number(text) for text in column])
        wrong = np.flatnonzero(~np.isfinite(numbers))
        if len(wrong) == len(files):
            attributes.append(name)
            continue
        if len(wrong):
            i = int(wrong[0])
            raise ValueError(f"{path}: {name} of {files[i]}: expected a number, got {column[i]!r}")
        if name.startswith("duration"):
            if not numbers.min() > 0.0:
                i = int(numbers.argmin())
                raise ValueError(f"{path}: {name} of {files[i]}: expected more than 0, got {column[i]}")
            name, numbers = f"log {name}", np.log(numbers)
        values[name] = numbers
    if not values:
        raise ValueError(f"{path}: no column of numbers, only {', '.join(attributes)}")
    return Quality({name: i for i, name in enumerate(files)}, values, attributes)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def columns(systems: Sequence[ScoreFile], quality: Quality | None) -> tuple[tuple[str, ...], Floats]:
    """Systems' trials, numbers about the utterances -> names (C,), scores and measures (N, C)."""
    names = ("score",) if len(systems) == 1 else tuple(f"score {i + 1}" for i in range(len(systems)))
    table = np.column_stack([system.scores for system in systems])
    if quality is None:
        return names, table
    first = systems[0]
    enrol, test = np.array([quality.numbers[name] for name in first.files])[first.sides].T
    more, measures = symmetric_measures(quality.values, enrol, test)
    return names + more, np.column_stack([table, measures])


def fitted(tested: Sequence[str], fitting: Sequence[str], quality: str = "", p: float = 0.5) -> Calibrated:
    """Score files to calibrate, of other trials with labels, a table of measures, the prior -> LLRs.

    Raises:
        ValueError: another number of files, trials that are in both, files that don't fit together.
    """
    if len(fitting) != len(tested):
        raise ValueError(
            f"--fit: expected {len(tested)} score files, as many as are calibrated and in the same order, "
            f"got {len(fitting)} ({', '.join(fitting)})"
        )
    systems, known = read_systems(tested, labels_needed=False), read_systems(fitting, labels_needed=True)
    try:
        refuse_overlap(known[0].pairs(), systems[0].pairs())
    except ValueError as error:
        raise ValueError(f"{tested[0]}, --fit {fitting[0]}: {error} (--cross_validate)") from None
    measured = read_quality(quality, [*systems[0].files, *known[0].files]) if quality else None
    names, table = columns(known, measured)
    with naming(fitting[0]):
        model = fit(table, known[0].known_labels(), p, names)
    return _applied(model, systems, measured)


def loaded(tested: Sequence[str], path: str, quality: str = "") -> Calibrated:
    """Score files to calibrate, a file that saved_text made, a table of measures -> LLRs."""
    systems = read_systems(tested, labels_needed=False)
    measured = read_quality(quality, systems[0].files) if quality else None
    model = read_calibration(path)
    with naming(path):
        return _applied(model, systems, measured)


def _applied(model: Calibration, systems: list[ScoreFile], quality: Quality | None) -> Calibrated:
    names, table = columns(systems, quality)
    with np.errstate(over="ignore", invalid="ignore"):  # _done refuses what comes of it
        llr = model.apply(table, names)
    return _done(systems, llr, [model], quality)


def _done(
    systems: list[ScoreFile], llr: Floats, models: list[Calibration], quality: Quality | None
) -> Calibrated:
    if not np.isfinite(llr).all():
        raise ValueError(f"{systems[0].path}: the LLRs of some trials are too large for numbers")
    return Calibrated(systems, llr, models, 0, quality.attributes if quality else [])


def cross_validated(
    tested: Sequence[str],
    quality: str = "",
    p: float = 0.5,
    *,
    speaker_folder: int | None = None,
    utt2spk: str = "",
    num_groups: int = 5,
    seed: int = 0,
) -> Calibrated:
    """Score files with labels, a table of measures, the prior, whose speakers -> LLRs by models of others."""
    systems = read_systems(tested, labels_needed=True)
    first = systems[0]
    measured = read_quality(quality, first.files) if quality else None
    speakers = units_of(first, "speakers", speaker_folder, utt2spk)
    names, table = columns(systems, measured)
    labels, num_groups = first.known_labels(), min(num_groups, len(np.unique(speakers)))
    with naming(first.path), np.errstate(over="ignore"):
        llr, num_unscored, models = cross_validate(
            table, labels, *speakers.T, p_target=p, num_groups=num_groups, seed=seed, names=names
        )
    scored = ~np.isnan(llr)
    if not scored.any():
        raise ValueError(f"{first.path}: too few speakers with target trials; nothing is left to fit on")
    systems = [
        s._replace(scores=s.scores[scored], labels=labels[scored], sides=s.sides[scored]) for s in systems
    ]
    return _done(systems, llr[scored], models, measured)._replace(num_unscored=num_unscored)


def saved_text(models: Sequence[Calibration]) -> str:
    """Calibrations -> JSON, one object, or a list of those of the folds."""
    content = [model.to_dict() for model in models]
    return json.dumps(content[0] if len(content) == 1 else content, indent=1, allow_nan=False) + "\n"


def read_calibration(path: str) -> Calibration:
    """File that saved_text made -> calibration; ValueError says in one line what is wrong."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not the JSON of a calibration: {error}") from None
    if isinstance(content, list) and len(content) > 1:
        raise ValueError(
            f"{path}: holds {len(content)} calibrations, one for each fold of --cross_validate; other trials "
            "need one that was fitted with --fit"
        )
    with naming(path):
        return Calibration.from_dict(content[0] if isinstance(content, list) and content else content)


def csv_text(done: Calibrated, prior: float) -> str:
    """LLRs, prior of a target -> table with a header: enrol, test, llr, probability and, if known, label."""
    first = done.systems[0]
    known = first.labels is not None
    rows = zip(
        first.pairs(),
        done.llr.tolist(),
        probability(done.llr, prior).tolist(),
        [[label] for label in first.known_labels().tolist()] if known else [[]] * len(done.llr),
        strict=True,
    )
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["enrol", "test", "llr", "probability", *(["label"] if known else [])])
    writer.writerows([*pair, f"{llr:.9g}", f"{p:.9g}", *label] for pair, llr, p, label in rows)
    return stream.getvalue()


def refuse_overwriting(written: Mapping[str, str], read: Sequence[str]) -> None:
    """Flags and the files that they write, files that are read; ValueError if one is there twice."""
    taken = {Path(path).resolve(): path for path in read if path}
    for flag, path in written.items():
        if path and taken.setdefault(Path(path).resolve(), flag) != flag:
            raise ValueError(f"{flag} {path}: another name, please; this file is read or written already")


def told(done: Calibrated) -> list[str]:
    """What was fitted -> its lines; of several folds the mean, the least and the greatest."""
    models = done.models
    counts = [model.num_targets + model.num_nontargets for model in models]
    fitted = f"fitted on {counts[0]} trials, {models[0].num_targets} of them target"
    if len(models) > 1:
        fitted = (
            f"{len(models)} models, each fitted on {min(counts)} to {max(counts)} trials of other speakers"
        )
    named = dict(zip(models[0].names, (f" of {system.path}" for system in done.systems), strict=False))
    lines = [f"{fitted}, for p_target {models[0].p_target:g}"]
    values = np.array([[*model.weights, model.offset] for model in models])  # (models, C + 1)
    labels = [f"weight of {name}{named.get(name, '')}" for name in models[0].names]
    for label, value in zip([*labels, "offset"], values.T, strict=True):
        spread = f" ({value.min():.6g} to {value.max():.6g})" if len(models) > 1 else ""
        lines.append(f"{label}: {value.mean():.6g}{spread}")
    if ridges := [model.ridge for model in models if model.ridge]:
        lines.append(
            f"note: in {len(ridges)} of {len(models)} fits the columns tell trials apart without a mistake, "
            f"which sets the weights no bound; a ridge of {max(ridges):.3g} keeps them finite"
        )
    if done.attributes:
        lines.append(f"note: no numbers in the table's {', '.join(done.attributes)}: left out")
    if done.num_unscored:
        lines.append(
            f"note: {done.num_unscored} trials left out: without their speakers one class is missing"
        )
    return lines


def gain(done: Calibrated, output: str, wanted: Wanted) -> list[str]:
    """LLRs and what they were made from -> the figures of both, or why there are none."""
    labels = done.systems[0].labels
    if labels is None or len(np.unique(labels)) < 2:
        return ["no figures without labels of both classes"]
    lines = []
    for path, scores in [*((system.path, system.scores) for system in done.systems), (output, done.llr)]:
        is_llr = scores is done.llr
        with naming(path):
            found = wanted._replace(llr=is_llr).find(error_rates(scores, labels))
        line = [f"{path}: EER {100 * found['eer']:.4f} %"]
        for p in wanted.p_targets:
            line.append(f"minDCF({p:g}) {found[f'min_dcf_{p:g}']:.5f}")
            line += [f"actDCF({p:g}) {found[f'act_dcf_{p:g}']:.5f}"] if is_llr else []
        lines.append(", ".join([*line, f"minCllr {found['min_cllr']:.5f} bit"]))
    loss = found["cllr"] - found["min_cllr"]
    words = f"Cllr {found['cllr']:.5f} bit = minCllr {found['min_cllr']:.5f} + calibration loss {loss:.5f}"
    return [*lines, f"{output}: {words}"]
