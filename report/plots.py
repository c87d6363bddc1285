"""Plots of the evaluation report: DET curves, score histograms, training curves; as inline SVG and PNG.

In an SVG an artist's gid ends in its role, which page.css colours: "line-s0", "fill-grey", "mark-s1", "axis".
"""

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from statistics import NormalDist
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from metrics.rates import ErrorRates, Floats, pick, turns

# The colours of the series remain distinguishable under every common colour-vision deficiency and have a
# contrast of at least 3:1 against "paper".
LIGHT = {
    "ink": "#18202b",
    "muted": "#586373",
    "grid": "#dde2e8",
    "paper": "#ffffff",
    "violet": "#6a4cc2",
    "grey": "#6b7480",
    "s0": "#0068ad",
    "s1": "#cf5a00",
    "s2": "#00805a",
    "s3": "#a83279",
    "s4": "#856900",
    "s5": "#4a5565",
}
DARK = {
    "ink": "#e6eaf0",
    "muted": "#9da8b6",
    "grid": "#303947",
    "paper": "#161b22",
    "violet": "#b7a2ff",
    "grey": "#95a0ae",
    "s0": "#5ab4f0",
    "s1": "#ff9248",
    "s2": "#3ecf9e",
    "s3": "#ee86bd",
    "s4": "#e3c54a",
    "s5": "#b8c2cf",
}
STYLE: Any = {
    "svg.fonttype": "none",  # text stays text
    "text.parse_math": False,  # system names may contain dollar signs
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.5,
    "axes.labelsize": 8.5,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.linewidth": 0.8,
    "grid.linewidth": 0.6,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "text.color": LIGHT["ink"],
    "axes.labelcolor": LIGHT["muted"],
    "axes.edgecolor": LIGHT["muted"],
    "xtick.color": LIGHT["muted"],
    "ytick.color": LIGHT["muted"],
    "grid.color": LIGHT["grid"],
    "figure.facecolor": LIGHT["paper"],
    "axes.facecolor": LIGHT["paper"],
    "savefig.facecolor": LIGHT["paper"],
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}
LINE_STYLES = ("-", "--", "-.", ":")
MARKERS = ("o", "v", "s", "D", "^", "P", "X", "*")
TICKS = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.98, 0.99]
MAX_CURVE_POINTS = 500
NUM_BINS = 60
MAX_LABEL_LENGTH = 34


class Curve(NamedTuple):
    """One system in the DET plot."""

    name: str
    rates: ErrorRates
    band: Floats | None  # (3, G): P_fa, lowest and highest P_miss at that P_fa
    marks: dict[str, tuple[float, float]]  # label -> (P_fa, P_miss)


class Plot(NamedTuple):
    """An <svg> element for a page, and a title for readers who can't see it."""

    title: str
    svg: str


def series(number: int) -> str:
    """Number of a system -> the name of its colour."""
    return f"s{number % 6}"


def probit(probabilities: ArrayLike) -> Floats:
    """Probabilities (K,) -> standard normal quantiles (K,), finite also for 0 and 1."""
    clipped = np.clip(np.asarray(probabilities, dtype=np.float64), 1e-9, 1.0 - 1e-9)
    return np.array([NormalDist().inv_cdf(p) for p in clipped.ravel().tolist()]).reshape(clipped.shape)


def thinned(rates: ErrorRates, max_points: int = MAX_CURVE_POINTS) -> ErrorRates:
    """Operating points -> corners of the ROC curve, at most max_points, evenly spaced along the DET curve."""
    corners = pick(rates, turns(rates))
    if len(corners.p_fa) <= max_points:
        return corners
    lengths = np.zeros(len(corners.p_fa))
    for errors in (corners.p_fa, corners.p_miss):
        half = errors[errors > 0.0].min() / 2.0  # half an error stands for none, whose quantile is infinite
        lengths[1:] += np.cumsum(np.abs(np.diff(probit(np.clip(errors, half, 1.0 - half)))))
    kept = np.searchsorted(lengths, np.linspace(0.0, lengths[-1], max_points))
    return pick(corners, np.unique(kept))


def det_svg(curves: Sequence[Curve]) -> Plot:
    """DET curves with their confidence bands and marks -> plot for a page."""
    title = "DET curves: miss rate against false-alarm rate"
    return svg("det", title, (3.9, 3.9), lambda axes: _draw_det(axes, curves))


def det_png(curves: Sequence[Curve]) -> bytes:
    """DET curves with their confidence bands and marks -> PNG file on white."""
    stream = io.BytesIO()
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure = Figure(figsize=(6.0, 5.6), layout="constrained")
        _draw_det(figure.add_subplot(), curves)
        figure.savefig(stream, format="png", dpi=200, metadata={"Software": None})
    return stream.getvalue()


def _draw_det(axes: Axes, curves: Sequence[Curve]) -> None:
    (left, right), (bottom, top) = _det_limits(curves)
    handles = list[Artist]()
    names = [curve.name for curve in curves]
    mark_labels = dict.fromkeys(label for curve in curves for label in curve.marks)
    markers = dict(zip(mark_labels, cycle(MARKERS)))
    for i, curve in enumerate(curves):
        role = series(i)
        colour = LIGHT[role]
        if curve.band is not None:
            axes.fill_between(*probit(curve.band), color=colour, alpha=0.16, linewidth=0, gid=f"fill-{role}")
        points = thinned(curve.rates)
        x, y = probit(points.p_fa), probit(points.p_miss)
        style = LINE_STYLES[i % len(LINE_STYLES)]
        handles += axes.plot(x, y, color=colour, linestyle=style, gid=f"line-{role}")
        for label, (p_fa, p_miss) in curve.marks.items():
            # a mark beyond the limits is drawn on the frame
            x, y = probit(np.clip([p_fa, p_miss], [left, bottom], [right, top]))
            mark = _mark(axes, x, y, role, 34, marker=markers[label], zorder=3, clip_on=False)
            mark.set(edgecolors=LIGHT["paper"], linewidths=0.7)
    handles += [_mark(axes, [], [], "muted", 26, marker=marker) for marker in markers.values()]
    equal_rates = axes.axline((0.0, 0.0), slope=1.0, color=LIGHT["grid"], linewidth=0.8, zorder=0)
    equal_rates.set_gid("line-grid")
    ticks = probit(TICKS)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(ticks.tolist(), [f"{100 * tick:g}" for tick in TICKS])
    axes.set(xlim=probit([left, right]), ylim=probit([bottom, top]))
    axes.set(xlabel="P_fa: nontargets accepted, %", ylabel="P_miss: targets rejected, %")
    axes.grid(True)
    _add_legend(axes, handles, [*names, *markers], "upper right")


def _mark(axes: Axes, x: ArrayLike, y: ArrayLike, colour: str, size: float, **style: Any) -> Artist:
    return axes.scatter(x, y, size, LIGHT[colour], gid=f"mark-{colour}", **style)


def _det_limits(curves: Sequence[Curve]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Ranges of P_fa and P_miss in which the curves have errors of both kinds; P_fa up to at least 50 %."""
    left = min(float(curve.rates.p_fa[curve.rates.p_fa > 0.0].min()) for curve in curves)
    left = min(max(left, 1e-6), 0.02)
    crossings = [float(np.minimum(curve.rates.p_miss, curve.rates.p_fa).max()) for curve in curves]
    right = min(max(0.5, 2.0 * max(crossings)), 0.95)
    lows, highs = [], []
    for curve in curves:
        visible = curve.rates.p_miss[(curve.rates.p_fa >= left) & (curve.rates.p_fa <= right)]
        visible = visible[(visible > 0.0) & (visible < 1.0)]
        lows.append(float(visible.min(initial=0.1)))
        highs.append(float(visible.max(initial=0.5)))
    return (left, right), (max(min(lows), 1e-6), min(max(highs), 0.99))


def scores_svg(name: str, targets: Floats, nontargets: Floats, thresholds: Mapping[str, float]) -> Plot:
    """Name, scores of both classes, thresholds by label -> histograms of equal area, lines at thresholds."""

    def draw(axes: Axes) -> None:
        scores = {"nontargets": nontargets, "targets": targets}
        low = float(min(targets.min(), nontargets.min()))
        high = float(max(targets.max(), nontargets.max()))
        outlines, peak = _draw_histograms(axes, scores, low, high)
        # The labels are on the side that has more room.
        on_left = not thresholds or 2.0 * float(np.mean([*thresholds.values()])) > low + high
        _draw_thresholds(axes, thresholds, peak, on_left)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("score")
        _add_legend(axes, outlines, [*scores], "upper left" if on_left else "upper right")

    return svg(name, "Histograms of target and nontarget scores", (3.9, 2.2), draw)


def _draw_histograms(
    axes: Axes, scores: Mapping[str, Floats], low: float, high: float
) -> tuple[list[Artist], float]:
    """Scores of each class, their range -> outlines of the histograms, height of the highest bin."""
    outlines = list[Artist]()
    padding = 0.5 if low == high else 0.0
    edges = np.linspace(low - padding, high + padding, NUM_BINS + 1)
    peak = 0.0
    for values, colour in zip(scores.values(), ("grey", "violet"), strict=True):
        shares = np.histogram(values, edges)[0] / len(values)
        peak = max(peak, float(shares.max()))
        colours: dict[str, Any] = {"color": LIGHT[colour]}
        axes.stairs(shares, edges, fill=True, alpha=0.25, linewidth=0, gid=f"fill-{colour}", **colours)
        outlines.append(axes.stairs(shares, edges, linewidth=1.4, gid=f"line-{colour}", **colours))
    return outlines, peak


def _draw_thresholds(axes: Axes, thresholds: Mapping[str, float], peak: float, on_left: bool) -> None:
    """Draw a line per threshold, and its label in a separate row above the histograms.

    Thresholds can be close together; the order of the rows keeps labels off the lines of other thresholds.
    """
    row_height = 0.13 * peak
    offset, side = ((-3, 0), "right") if on_left else ((3, 0), "left")
    ordered = sorted(thresholds.items(), key=lambda item: item[1], reverse=not on_left)
    for i, (label, value) in enumerate(ordered):
        height = 1.08 * peak + i * row_height
        top = height + 0.7 * row_height
        axes.vlines(value, 0.0, top, color=LIGHT["ink"], linewidth=0.8, gid="line-ink")
        axes.annotate(label, (value, height), offset, textcoords="offset points", ha=side)
    axes.set_ylim(0.0, peak * 1.15 + row_height * len(thresholds))


def training_svgs(results: Sequence[Mapping[str, Any]]) -> list[Plot]:
    """Objects of results.jsonl -> a plot of each quantity that at least two epochs have.

    If an epoch was repeated, its last value counts. Test results have one line per trial list.
    """
    titles = {"loss": "Loss", "accuracy": "Accuracy, %", "lr": "Learning rate", "eer": "EER of tests, %"}
    plots = []
    for key, title in titles.items():
        values: dict[str, dict[int, float]] = {}  # trial list ("" in training) -> epoch -> value
        for row in results:
            if isinstance(row.get("epoch"), int) and isinstance(row.get(key), int | float):
                values.setdefault(str(row.get("list", "")), {})[row["epoch"]] = row[key]
        lines = {name: dict(sorted(points.items())) for name, points in values.items() if len(points) > 1}
        if lines:
            plots.append(_epochs_svg(key, title, lines, 100.0 if "%" in title else 1.0))
    return plots


def _epochs_svg(key: str, title: str, lines: Mapping[str, dict[int, float]], scale: float) -> Plot:
    """Values (epoch -> value) of each named line -> plot of the scaled values."""

    def draw(axes: Axes) -> None:
        handles = list[Artist]()
        for i, points in enumerate(lines.values()):
            values = [scale * value for value in points.values()]
            handles += axes.plot(
                [*points],
                values,
                color=LIGHT[series(i)],
                linestyle=LINE_STYLES[i % len(LINE_STYLES)],
                marker="o" if len(points) <= 20 else "",
                markersize=3.0,
                gid=f"line-{series(i)}",
            )
        axes.set(xlabel="epoch", title=title)
        axes.title.set(fontsize=9, fontweight="bold")
        axes.locator_params(axis="x", integer=True)
        axes.grid(True, axis="y")
        if len(lines) > 1:
            _add_legend(axes, handles, [*lines], "best")

    return svg(f"training-{key}", f"{title}, over the epochs", (3.4, 2.2), draw)


def _add_legend(axes: Axes, handles: Sequence[Artist], labels: Sequence[str], place: Any) -> None:
    legend = axes.legend(handles, ["-"] * len(handles), loc=place, borderaxespad=0.2)
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_text(_shortened(label))  # legend() itself would skip labels that begin with "_"
    for symbol, handle in zip(legend.legend_handles, handles, strict=True):
        if symbol is not None:
            symbol.set_gid(handle.get_gid())


def _shortened(name: str) -> str:
    half = MAX_LABEL_LENGTH // 2
    return name if len(name) <= MAX_LABEL_LENGTH else f"{name[:half]}…{name[1 - half :]}"


def svg(name: str, title: str, size: tuple[float, float], draw: Callable[[Axes], None]) -> Plot:
    """Plot's name, unique in the page, title, size (inches), function that draws -> plot with unique ids."""
    stream = io.StringIO()
    # The salt makes the ids that Matplotlib derives by hashing reproducible, and different in each plot.
    style = STYLE | {"svg.hashsalt": name}
    with matplotlib.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the browser has other fonts
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
        draw(axes)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_gid("axis")
        for spine in axes.spines.values():
            spine.set_gid("line-muted")
        figure.draw_without_rendering()  # creates the ticks
        figure.set_layout_engine("none")  # keeps them
        for i, artist in enumerate(dict.fromkeys(figure.findobj())):
            artist.set_gid(f"{name}-{i}-{artist.get_gid() or ''}")
        no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(stream, format="svg", metadata=no_metadata, transparent=True)
    text = stream.getvalue()
    return Plot(title, text[text.index("<svg") :])  # without the XML declaration
