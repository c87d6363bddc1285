"""The evaluation report: one page that holds all it shows, from error rates to trials to listen to."""

import base64
import io
import json
import os
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote

import numpy as np
import soundfile

from audio.recording import SAMPLE_RATE, Audio
from metrics.summary import Measured, cost, errors_at, marks, meanings, percent, share, worst
from report import plots
from storage.files import write_text, written_whole

WORST = 50  # trials of either kind that can be listened to
HEARD_S = 10  # of each recording
SECRET = re.compile(r"(?:^|[-_.])(?:api)?(?:key|token|secret|passw\w*|credentials?)$", re.IGNORECASE)
LOGIN = re.compile(r"(?<=://)[^/@\s]+@")
HIDDEN = "(not shown)"
DRAWN = {"speakers": "speakers", "utterances": "recordings", "trials": "trials"}


def write(
    folder: Path,
    measured: Sequence[Measured],
    audio: Callable[[str], Audio | None],
    link: Callable[[str], str],
    run: Mapping[str, Any] | None,
    results: Sequence[Mapping[str, Any]],
    limit_mb: float = 10.0,
) -> Path:
    """Folder, systems on lists -> the path of report.html in the folder; writes det.png beside it.

    `audio` reads a path of the trials: samples (T,) at 16 kHz, or None; `link` makes a URL of it, see linker.
    `run` is what run.json holds, `results` are the objects of results.jsonl. The page holds recordings of up
    to `limit_mb`; further players read them from the disk.
    """
    if not measured:
        raise ValueError("a report needs at least one score file")
    curves = [plots.Curve(system.name, system.rates, system.band, marks(system)) for system in measured]
    themes = {"light": plots.LIGHT, "dark": plots.DARK}
    parts = {
        "title": escape(", ".join(system.name for system in measured)),
        **{
            key: "; ".join(f"--{name}: {colour}" for name, colour in of.items()) for key, of in themes.items()
        },
        "cards": _cards(measured),
        "sure": _how_sure(measured),
        "figures": _figures(measured),
        "conditions": _conditions(measured),
        "det": plots.det_svg(curves),
        "histograms": _histograms(measured),
        "heard": HEARD_S,
        "worst": _worst(measured, Players(audio, link, limit_mb)),
        "made": _made(run, results),
    }
    template = Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    text, picture = template.substitute(parts), plots.det_png(curves)
    with written_whole(folder / "det.png") as stream:
        stream.write(picture)
    write_text(folder / "report.html", text)
    return folder / "report.html"


def linker(folder: Path, root: str) -> Callable[[str], str]:
    """The report's folder, where the trials' paths start -> path -> its URL, relative if that is possible."""

    def link(path: str) -> str:
        place = Path(root, path).absolute()
        try:
            return quote(Path(os.path.relpath(place, folder.absolute())).as_posix())
        except ValueError:  # on another drive
            return place.as_uri()

    return link


class Players:
    """Recordings of the trials as <audio>: each once within the page while it has room, else by a link."""

    def __init__(
        self, audio: Callable[[str], Audio | None], link: Callable[[str], str], limit_mb: float
    ) -> None:
        self.audio, self.link, self.room = audio, link, limit_mb * 1e6  # bytes
        self.sources = dict[str, str]()  # of each path, for its further players

    def html(self, path: str) -> str:
        """Path -> its name, and its player if there is a recording."""
        url = escape(self.link(path))
        source = self.sources.get(path)
        if source is None:
            sound = self._sound(path) if self.room > 0.0 else None
            source = self.sources[path] = "" if sound == "" else f'src="{url}"'
            if sound:
                name = f"a{len(self.sources)}"
                self.sources[path] += f' data-same="{name}"'
                source = f'id="{name}" src="data:audio/mpeg;base64,{sound}"'
        player = f'<audio controls preload="none" aria-label="{escape(path)}" {source}></audio>'
        return f'<div><a class="path" href="{url}">{escape(path)}</a>{player if source else ""}</div>'

    def _sound(self, path: str) -> str | None:
        """Path -> MP3 of its beginning in base64; "" if there is none, None if no room is left."""
        if (samples := self.audio(path)) is None:
            return ""
        stream = io.BytesIO()
        soundfile.write(stream, samples[: HEARD_S * SAMPLE_RATE], SAMPLE_RATE, format="MP3")
        sound = base64.b64encode(stream.getvalue()).decode()
        self.room -= len(sound)  # the first that doesn't fit ends it, else only short ones would follow
        return sound if self.room >= 0.0 else None


def _swatch(number: int) -> str:
    return f'<span class="swatch" style="background: var(--{plots.series(number)})"></span>'


def _cards(measured: Sequence[Measured]) -> str:
    """What the figures mean, for everybody."""
    cards = []
    for i, system in enumerate(measured):
        found, often = system.figures, share(system.figures["eer"])
        limits = _between(system, "eer", percent)
        cards.append(
            f'<article class="card"><h3>{_swatch(i)}{escape(system.name)}</h3>'
            f'<data class="big" value="{found["eer"]!r}">{percent(found["eer"])}</data>'
            f'<p class="key">equal error rate (EER){limits and "<br>95 % interval " + limits}</p>'
            f"<p>With the threshold at {found['threshold']:.4g}, {often} pairs of recordings of the same "
            f"speaker are rejected, and {often} pairs of different speakers accepted.</p><p>If only 1 of 100 "
            f"pairs of different speakers may be accepted, {share(found['p_miss_at_p_fa_0.01'])} of the same "
            "speaker are rejected.</p></article>"
        )
    return "".join(cards)


def _between(system: Measured, name: str, form: Callable[[float], str]) -> str:
    """A figure's interval, or nothing."""
    if name not in system.intervals:
        return ""
    low, high = map(form, system.intervals[name])
    return f"{low.removesuffix(' %')} to {high}"


def _number(system: Measured, name: str, form: Callable[[float], str]) -> str:
    """A cell with a figure and its interval."""
    if name not in system.figures:
        return "<td></td>"
    value, limits = system.figures[name], _between(system, name, form)
    small = f"<small>{limits}</small>" if limits else ""
    key = f'data-name="{escape(name)}" value="{value!r}"'
    return f'<td class="number"><data {key}>{form(value)}</data>{small}</td>'


def _table(head: Iterable[str], rows: Iterable[str], first: int = 1) -> str:
    """Heads, of which the first are of text, and the rows' cells -> a table that scrolls within its frame."""
    cells = (f"<th{' class=number' * (i >= first)}>{escape(text)}</th>" for i, text in enumerate(head))
    body = "".join(row if row.startswith("<tr") else f"<tr>{row}</tr>" for row in rows)
    table = f"<table><thead><tr>{''.join(cells)}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="wide">{table}</div>'


def _figures(measured: Sequence[Measured]) -> str:
    """Every figure of every system."""
    counts: dict[str, list[int | None]] = {
        "Trials": [len(system.trials.scores) for system in measured],
        "Target trials": [int(np.count_nonzero(system.trials.known_labels())) for system in measured],
        "Recordings": [len(system.trials.files) for system in measured],
        "Speakers": [s.num_speakers for s in measured],
    }
    rows = []
    for label, numbers in counts.items():
        if any(numbers):
            cells = (f'<td class="number">{"" if n is None else f"{n:,}"}</td>' for n in numbers)
            rows.append(f'<tr class="count"><th>{label}</th>{"".join(cells)}</tr>')
    named = {key: row for system in measured for key, row in meanings(system).items()}
    for key, (label, meaning, form) in named.items():
        words = f"{label}<small>{meaning}</small>".replace(" %", "&nbsp;%")
        cells = (_number(system, key, form) for system in measured)
        rows.append(f"<th>{words}</th>{''.join(cells)}")
    return _table(["", *(system.name for system in measured)], rows)


def _how_sure(measured: Sequence[Measured]) -> str:
    """What the intervals are, in words."""
    drawn = {(*b.told(),): None for b in (s.bootstrap for s in measured) if b}
    if not drawn:
        return ""
    told = " and ".join(f"{units:,} {DRAWN[kind]} were drawn {times:,} times" for units, kind, times in drawn)
    narrow = " Where a speaker has several of these, the intervals are too narrow."
    return f"Below each figure its 95 % interval by bootstrap: {told}, with replacement." + narrow * any(
        kind != "speakers" for _, kind, _ in drawn
    )


def _histograms(measured: Sequence[Measured]) -> str:
    drawn = []
    for i, system in enumerate(measured):
        scores, is_target = system.trials.scores, system.trials.known_labels() == 1
        lines = {k: system.figures[v] for k, v in system.wanted.rules().items() if "dcf" not in v}
        picture = plots.scores_svg(scores[is_target], scores[~is_target], lines)
        rows = []
        for label, name in system.wanted.rules().items():
            p_fa, p_miss = map(percent, errors_at(system, system.figures[name]))
            cell = _number(system, name, lambda value: f"{value:.6g}")
            errors = f"<td class=number>{p_fa}</td><td class=number>{p_miss}</td>"
            rows.append(f"<th>{escape(label)}</th>{cell}{errors}")
        table, shown = _table(["", "threshold", "P_fa", "P_miss"], rows), " open" * (len(measured) == 1)
        drawn.append(
            f"<figure><h3>{_swatch(i)}Scores of {escape(system.name)}</h3>{picture}"
            f"<details{shown}><summary>Thresholds</summary>{table}</details></figure>"
        )
    return "".join(drawn)


def _conditions(measured: Sequence[Measured]) -> str:
    tables = []
    for system in measured:
        if not system.conditions:
            continue
        rows = []
        for row in system.conditions:
            rates = "<td class=number>-</td>" * 2
            if row.eer is not None and row.min_dcf is not None:
                rates = f"<td class=number>{percent(row.eer)}</td><td class=number>{cost(row.min_dcf)}</td>"
            counts = f"<td class=number>{row.trials:,}</td><td class=number>{row.targets:,}</td>"
            rows.append(f"<th>{escape(row.attribute)}</th><td>{escape(row.group)}</td>{counts}{rates}")
        costs = f"minDCF, p {system.wanted.p_targets[0]:g}"
        table = _table(["attribute", "group", "trials", "targets", "EER", costs], rows, 2)
        tables.append(f"<h3>{escape(system.name)}</h3>{table}" if len(measured) > 1 else table)
    inside = f"<details><summary>By condition</summary>{''.join(tables)}</details>"
    return inside if tables else ""


def _worst(measured: Sequence[Measured], players: Players) -> str:
    """The trials that the systems got most wrong, to listen to."""
    parts = []
    for system in measured:
        trials, named = system.trials, f": {escape(system.name)}" if len(measured) > 1 else ""
        for label, title in ((1, "Same speaker, lowest scores"), (0, "Different speakers, highest scores")):
            items = []
            for i in worst(system, label, WORST).tolist():
                pair = "".join(players.html(trials.files[j]) for j in trials.sides[i].tolist())
                score = float(trials.scores[i])
                items.append(f'<li><data value="{score!r}">{score:.4f}</data>{pair}</li>')
            parts.append(
                f'<details><summary>{title}{named} <span class="note">{len(items)} trials</span></summary>'
                f"<ol>{''.join(items)}</ol></details>"
            )
    return "".join(parts)


def _made(run: Mapping[str, Any] | None, results: Sequence[Mapping[str, Any]]) -> str:
    """Training curves, command and environment, as far as they are known."""
    folds = []
    if drawn := "".join(f"<figure>{picture}</figure>" for picture in plots.training_svgs(results)):
        folds.append(f'<details><summary>Training</summary><div class="grid">{drawn}</div></details>')
    if run:
        rest, command = dict(run), run.get("command", "")
        rest.pop("command", None)
        words = command.split() if isinstance(command, str) else [*map(str, command)]
        shown = LOGIN.sub(f"{HIDDEN}@", shlex.join(_without_secrets(words)))
        line = f"<pre><code>{escape(shown)}</code></pre>"
        folds.append(f"<details><summary>Command and versions</summary>{line}{_described(rest)}</details>")
    return f"<h2>How it was made</h2>{''.join(folds)}" if folds else ""


def _without_secrets(words: Sequence[str]) -> list[str]:
    """Command line -> the same with the values of options left out whose names say that they are secret."""
    shown, hide = list[str](), False
    for word in words:
        name, equals, _ = word.partition("=")
        secret = SECRET.search(name) is not None
        shown.append(HIDDEN if hide else f"{name}={HIDDEN}" if secret and equals else word)
        hide = secret and not equals and name.startswith("-")
    return shown


def _described(values: Mapping[str, Any]) -> str:
    """What run.json holds -> a list of names and values, nested as it is."""
    lines = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            text = _described(value)
        elif SECRET.search(str(key)) and value:
            text = HIDDEN
        else:
            told = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
            text = escape(LOGIN.sub(f"{HIDDEN}@", told)) or "-"
        lines.append(f"<dt>{escape(str(key))}</dt><dd>{text}</dd>")
    return f"<dl>{''.join(lines)}</dl>"
