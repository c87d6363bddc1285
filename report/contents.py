"""Contents of the report: figures, tables and lists of trials as texts and numbers for page.html."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from metrics.summary import Condition, Measured, cost, errors_at, meanings, percent, share, typical, worst
from report import plots
from report.players import Player, Players

NUM_WORST = 50  # trials of each kind that can be played
NUM_TYPICAL = 5
UNIT_NAMES = {"speakers": "speakers", "utterances": "recordings", "trials": "trials"}
WORST_TITLES = {1: "Same speaker, lowest scores", 0: "Different speakers, highest scores"}
TYPICAL_TITLES = {1: "Same speaker, typical scores", 0: "Different speakers, typical scores"}


class Number(NamedTuple):
    """A figure of a system, exact and as text."""

    name: str
    value: float
    text: str
    interval: str  # "" if there is none


class ThresholdRow(NamedTuple):
    """A threshold, and the error rates there."""

    rule: str
    threshold: Number
    p_fa: str
    p_miss: str


class PlayableTrial(NamedTuple):
    """A trial's score and its recordings."""

    score: float
    players: list[Player]


class SystemContents(NamedTuple):
    """All parts of the page that show a single system."""

    name: str
    colour: str
    eer: Number
    threshold: str  # of the EER
    error_share: str  # of both kinds at this threshold
    miss_share: str  # of targets rejected at a P_fa of 1 %
    min_dcf_title: str
    conditions: list[list[str]]  # attribute, group, trials, targets, EER, minDCF
    histogram: plots.Plot
    thresholds: list[ThresholdRow]
    playable_trials: dict[str, list[PlayableTrial]]  # by the list's title


class FigureRow(NamedTuple):
    """A figure of each system; None where it wasn't computed."""

    title: str
    explanation: str
    cells: list[Number | None]


def system_contents(number: int, system: Measured, players: Players) -> SystemContents:
    """System's number, system, players of the page -> what the page shows of it."""
    rules = system.options.rules()
    lines = {rule: system.figures[name] for rule, name in rules.items() if "dcf" not in name}
    is_target = system.trials.known_labels() == 1
    scores = system.trials.scores
    return SystemContents(
        name=system.name,
        colour=plots.series(number),
        eer=_number(system, "eer", percent),
        threshold=f"{system.figures['threshold']:.4g}",
        error_share=share(system.figures["eer"]),
        miss_share=share(system.figures["p_miss_at_p_fa_0.01"]),
        min_dcf_title=f"minDCF, p {system.options.p_targets[0]:g}",
        conditions=[_condition_cells(row) for row in system.conditions],
        histogram=plots.scores_svg(f"scores{number}", scores[is_target], scores[~is_target], lines),
        thresholds=[_threshold_row(system, rule, name) for rule, name in rules.items()],
        playable_trials=_playable_trials(system, players),
    )


def _number(system: Measured, name: str, form: Callable[[float], str]) -> Number:
    interval = ""
    if name in system.intervals:
        low, high = map(form, system.intervals[name])
        interval = f"{low.removesuffix(' %')} to {high}"
    return Number(name, system.figures[name], form(system.figures[name]), interval)


def _condition_cells(row: Condition) -> list[str]:
    rates = ["-", "-"]
    if row.eer is not None and row.min_dcf is not None:
        rates = [percent(row.eer), cost(row.min_dcf)]
    return [row.attribute, row.group, f"{row.trials:,}", f"{row.targets:,}", *rates]


def _threshold_row(system: Measured, rule: str, name: str) -> ThresholdRow:
    p_fa, p_miss = errors_at(system, system.figures[name])
    return ThresholdRow(rule, _number(system, name, "{:.6g}".format), percent(p_fa), percent(p_miss))


def _playable_trials(system: Measured, players: Players) -> dict[str, list[PlayableTrial]]:
    """System -> trials of each label by title: those scored most wrongly, and those near the median score."""
    chosen = {title: worst(system, label, NUM_WORST) for label, title in WORST_TITLES.items()}
    chosen |= {title: typical(system, label, NUM_TYPICAL) for label, title in TYPICAL_TITLES.items()}
    return {
        title: [_playable(system, i, players) for i in trials.tolist()] for title, trials in chosen.items()
    }


def _playable(system: Measured, number: int, players: Players) -> PlayableTrial:
    trials = system.trials
    pair = [players.player(trials.files[file]) for file in trials.sides[number].tolist()]
    return PlayableTrial(float(trials.scores[number]), pair)


def count_rows(systems: Sequence[Measured]) -> dict[str, list[str]]:
    """Systems -> sizes of each system's trial list, by title."""
    counts: dict[str, list[int | None]] = {
        "Trials": [len(system.trials.scores) for system in systems],
        "Target trials": [int(np.count_nonzero(system.trials.known_labels())) for system in systems],
        "Recordings": [len(system.trials.files) for system in systems],
        "Speakers": [system.num_speakers for system in systems],
    }
    return {
        title: ["" if count is None else f"{count:,}" for count in row]
        for title, row in counts.items()
        if any(row)
    }


def figure_rows(systems: Sequence[Measured]) -> list[FigureRow]:
    """Systems -> a row of each figure that at least one of them has."""
    named = {name: row for system in systems for name, row in meanings(system).items()}
    rows = []
    for name, (title, explanation, form) in named.items():
        cells = [_number(system, name, form) if name in system.figures else None for system in systems]
        rows.append(FigureRow(_unbroken(title), _unbroken(explanation), cells))
    return rows


def _unbroken(text: str) -> str:
    """Text -> the same with each percent sign kept on the line of its number."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%")


def interval_note(systems: Sequence[Measured]) -> str:
    """Systems -> how their intervals were computed; "" if there are none."""
    bootstraps = dict.fromkeys(system.bootstrap.counts() for system in systems if system.bootstrap)
    if not bootstraps:
        return ""
    draws = " and ".join(
        f"{num_units:,} {UNIT_NAMES[kind]} were drawn {replicates:,} times"
        for num_units, kind, replicates in bootstraps
    )
    note = f"Below each figure is its 95 % confidence interval by bootstrap: {draws}, with replacement."
    if any(kind != "speakers" for _, kind, _ in bootstraps):
        note += " If a speaker has several of these, the intervals are too narrow."
    return note
