"""The page of an open-set identification: rates, thresholds and the curve of DIR against FAR."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from metrics.identification import Probes, Rates, curve
from metrics.wilson import Share
from report import plots
from report.page import template
from report.redaction import redacted_command, redacted_record
from storage.files import write_text

FILE = "identification.html"
MAX_CURVE_POINTS = 500


def write(folder: Path, rates: Rates, probes: Probes, *, title: str, run: Mapping[str, Any]) -> Path:
    """Folder, rates, what the probes' scores come to -> path of the identification.html written there."""
    text = template("identification.html").render(
        light=plots.LIGHT,
        dark=plots.DARK,
        title=title,
        rates=rates,
        share=_share,
        interval=_interval,
        curve=_curve_svg(probes),
        command=redacted_command(run),
        record=redacted_record(run),
    )
    write_text(folder / FILE, text)
    return folder / FILE


def _share(share: Share) -> str:
    return f"{100 * share.value:.1f}\N{NO-BREAK SPACE}%"


def _interval(share: Share) -> str:
    low, high = share.interval
    return f"{100 * low:.1f} to {100 * high:.1f} %"


def _curve_svg(probes: Probes) -> plots.Plot:
    fars, dirs = curve(probes)
    steps = np.unique(np.geomspace(1, len(fars), MAX_CURVE_POINTS).round().astype(np.int64)) - 1

    def draw(axes: Axes) -> None:
        colour = plots.series(0)
        # no stranger is accepted at the first point, which a logarithm has no place for
        x = np.maximum(100 * fars[steps], 50 / len(fars))
        axes.step(x, 100 * dirs[steps], where="post", color=plots.LIGHT[colour], gid=f"line-{colour}")
        axes.set(xscale="log", ylim=(0.0, 100.0))
        lowest = math.floor(math.log10(x[0]))
        ticks = [10.0**power for power in range(lowest, 3)]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.set(xlabel="FAR: strangers accepted, %", ylabel="DIR: right speaker accepted, %")
        axes.grid(True)

    return plots.svg("dir", "Right identifications against accepted strangers", (4.6, 3.4), draw)
