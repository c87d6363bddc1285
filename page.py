"""The evaluation report: one page that holds all it shows, from error rates to the worst trials to listen to."""

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

import plots
from audio import SAMPLE_RATE, Audio
from files import write_text, written_whole
from measured import Measured
from scoring._rates import pick
from tuneThreshold import LOW_P_FA

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
    """Systems on lists, what trained them -> the path of report.html in the folder, beside it det.png.

    Args:
        audio: path in a trial -> its samples (T,) at 16 kHz, None where there are none to be had.
        link: path in a trial -> URL by which the page finds it, see `linker`.
        run: what run.json holds.
        results: objects of results.jsonl.
        limit_mb: how much sound the page holds; the players of further recordings read the disk.
    """
    if not measured:
        raise ValueError("a report needs at least one score file")
    players = Players(audio, link, limit_mb)
    curves = [_curve(system) for system in measured]
    names = ", ".join(system.name for system in measured)
    sections = [
        f'<h1>Speaker verification</h1><p class="note">{escape(names)}</p>',
        _cards(measured),
        _figures(measured),
        _det(measured, curves),
        _histograms(measured),
        _conditions(measured),
        _training(results),
        _worst(measured, players),
        _environment(run),
    ]
    colours = {
        key: "; ".join(f"--{name}: {colour}" for name, colour in palette.items())
        for key, palette in (("light", plots.LIGHT), ("dark", plots.DARK))
    }
    template = Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    text = template.substitute(colours, title=escape(names), body="\n".join(filter(None, sections)))
    with written_whole(folder / "det.png") as stream:
        stream.write(plots.det_png(curves))
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
        self.numbers = dict[str, int | None]()  # of the players that hold a sound

    def html(self, path: str) -> str:
        """Path -> its name and its player."""
        url, known = escape(self.link(path)), path in self.numbers
        sound = None if known else self._sound(path)
        number = self.numbers.setdefault(path, None if sound is None else len(self.numbers))
        label = f'preload="none" controls aria-label="{escape(path)}"'
        if sound is not None:
            player = f'<audio {label} id="a{number}" src="data:audio/mpeg;base64,{sound}"></audio>'
        else:
            same = "" if number is None else f' data-same="a{number}"'
            player = f'<audio {label} src="{url}"{same}></audio>'
        return f'<div><a class="path" href="{url}">{escape(path)}</a>{player}</div>'

    def _sound(self, path: str) -> str | None:
        """Path -> MP3 of its beginning in base64; None if there is none or no room is left."""
        if self.room <= 0.0 or (samples := self.audio(path)) is None:
            return None
        stream = io.BytesIO()
        soundfile.write(stream, samples[: HEARD_S * SAMPLE_RATE], SAMPLE_RATE, format="MP3")
        sound = base64.b64encode(stream.getvalue()).decode()
        if len(sound) > self.room:
            self.room = 0.0  # else only short recordings would follow
            return None
        self.room -= len(sound)
        return sound


def _percent(value: float) -> str:
    return f"{100 * value:.2f} %"


def _cost(value: float) -> str:
    return f"{value:.3f}"


def _rows(system: Measured) -> dict[str, tuple[str, str, Callable[[float], str]]]:
    """Figures by name -> what they are called, what they mean, how they are written."""
    rows = {"eer": ("EER", "both kinds of error are equally frequent", _percent)}
    for p in system.costs.p_targets:
        meaning = f"least cost where {100 * p:g} % of trials are targets; 1 is as good as no system"
        rows[f"min_dcf_{p:g}"] = (f"minDCF, p {p:g}", meaning, _cost)
        if system.llr:
            meaning = "the same cost, by the threshold that the scores themselves ask for"
            rows[f"act_dcf_{p:g}"] = (f"actDCF, p {p:g}", meaning, _cost)
    for p in LOW_P_FA:
        meaning = f"targets rejected where {100 * p:g} % of nontargets are accepted"
        rows[f"p_miss_at_p_fa_{p:g}"] = (f"P_miss at P_fa {100 * p:g} %", meaning, _percent)
    rows["auc"] = ("AUC", "how often a target scores higher than a nontarget", _percent)
    rows["min_cllr"] = ("minCllr, bit", "what the scores fail to tell, of 1 bit, calibrated at best", _cost)
    if system.llr:
        rows["cllr"] = ("Cllr, bit", "the same with the scores as they are", _cost)
    return rows


def _of(value: float) -> str:
    """Share -> "16 of 100", with as many in all that the number is at least one."""
    total = next((n for n in (100, 1_000, 10_000, 100_000) if n * value >= 1.5), 100_000)
    return f"{round(total * value):,} of {total:,}"
