"""Figures of the evaluation report: DET curves, scores, training; SVG in the page's colours, and PNG."""

import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from metrics.rates import ErrorRates, Floats, pick, turns

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes  # takes half a second to import: only where something is drawn

# In SVG each colour becomes the CSS variable of its name. The series are told apart by all kinds of colour
# vision and have a contrast of at least 3 to 1 on their paper.
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
    "svg.hashsalt": "report",  # the same figures give the same bytes
    "text.parse_math": False,  # names may hold dollars
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
LINES = ("-", "--", "-.", ":")
MARKS = ("o", "v", "s", "D", "^", "P", "X", "*")
TICKS = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.98, 0.99]
POINTS = 500  # of a drawn curve
BINS = 60


class Curve(NamedTuple):
    """What the DET plot shows of one system."""

    name: str
    rates: ErrorRates
    band: Floats | None  # (3, G): P_fa, the lowest and the highest P_miss there
    marks: dict[str, tuple[float, float]]  # label -> (P_fa, P_miss)


def series(number: int) -> str:
    """Number of a system -> the name of its colour."""
    return f"s{number % 6}"


def probit(probabilities: ArrayLike) -> Floats:
    """Probabilities (K,) -> standard normal quantiles (K,), finite also for 0 and 1."""
    clipped = np.clip(np.asarray(probabilities, dtype=np.float64), 1e-9, 1.0 - 1e-9)
    return np.array([NormalDist().inv_cdf(p) for p in clipped.ravel().tolist()]).reshape(clipped.shape)


def thinned(rates: ErrorRates, points: int = POINTS) -> ErrorRates:
    """Operating points -> those where the ROC turns; of many turns about so many, evenly along the curve."""
    corners = pick(rates, turns(rates))
    if len(corners.p_fa) <= points:
        return corners
    lengths = np.zeros(len(corners.p_fa))
    for errors in (corners.p_fa, corners.p_miss):
        half = errors[errors > 0.0].min() / 2.0  # of an error: 0 lies infinitely far away
        lengths[1:] += np.cumsum(np.abs(np.diff(probit(np.clip(errors, half, 1.0 - half)))))
    kept = np.searchsorted(lengths, np.linspace(0.0, lengths[-1], points))
    return pick(corners, np.unique(kept))


def det_svg(curves: Sequence[Curve]) -> str:
    """DET curves with their bands and marks -> SVG for a page."""
    return _svg((3.9, 3.9), lambda axes: _det(axes, curves), "DET curves: misses over false alarms")


def det_png(curves: Sequence[Curve]) -> bytes:
    """The same -> PNG on white."""
    return _rendered("png", (6.0, 5.6), lambda axes: _det(axes, curves))


def _det(axes: "Axes", curves: Sequence[Curve]) -> None:
    (left, right), (bottom, top) = _det_limits(curves)
    handles, labels = list["Artist"](), list[str]()
    marks = dict(zip(dict.fromkeys(label for curve in curves for label in curve.marks), cycle(MARKS)))
    edge: dict[str, Any] = {"edgecolors": LIGHT["paper"], "linewidths": 0.7}
    for i, curve in enumerate(curves):
        colour, line = LIGHT[series(i)], LINES[i % len(LINES)]
        if curve.band is not None:
            axes.fill_between(*probit(curve.band), color=colour, alpha=0.16, linewidth=0)
        points = thinned(curve.rates)
        handles += axes.plot(probit(points.p_fa), probit(points.p_miss), color=colour, linestyle=line)
        labels.append(curve.name)
        for label, (p_fa, p_miss) in curve.marks.items():
            x, y = probit(np.clip([p_fa, p_miss], [left, bottom], [right, top]))  # beyond: at the edge
            axes.scatter(x, y, 34, colour, marker=marks[label], zorder=3, clip_on=False, **edge)
    for label, mark in marks.items():
        handles.append(axes.scatter([], [], 26, LIGHT["muted"], marker=mark))
        labels.append(label)
    axes.axline((0.0, 0.0), slope=1.0, color=LIGHT["grid"], linewidth=0.8, zorder=0)  # P_miss = P_fa
    ticks = probit(TICKS)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(ticks.tolist(), [f"{100 * tick:g}" for tick in TICKS])
    axes.set(xlim=probit([left, right]), ylim=probit([bottom, top]))
    axes.set(xlabel="P_fa: nontargets accepted, %", ylabel="P_miss: targets rejected, %")
    axes.grid(True)
    _legend(axes, handles, labels, "upper right")


def _det_limits(curves: Sequence[Curve]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where the curves have at least one error of either kind, up to 50 % of false alarms or more."""
    left = min(float(curve.rates.p_fa[curve.rates.p_fa > 0.0].min()) for curve in curves)
    left = min(max(left, 1e-6), 0.02)
    crossings = [float(np.minimum(curve.rates.p_miss, curve.rates.p_fa).max()) for curve in curves]
    right = min(max(0.5, 2.0 * max(crossings)), 0.95)
    lows, highs = [], []
    for curve in curves:
        within = curve.rates.p_miss[(curve.rates.p_fa >= left) & (curve.rates.p_fa <= right)]
        within = within[(within > 0.0) & (within < 1.0)]
        lows.append(float(within.min(initial=0.1)))
        highs.append(float(within.max(initial=0.5)))
    return (left, right), (max(min(lows), 1e-6), min(max(highs), 0.99))


def scores_svg(targets: Floats, nontargets: Floats, thresholds: dict[str, float]) -> str:
    """Scores of either class, thresholds by label -> SVG: histograms of equal area, a line per threshold."""

    def paint(axes: "Axes") -> None:
        low, high = float(min(targets.min(), nontargets.min())), float(max(targets.max(), nontargets.max()))
        pad = 0.5 if low == high else 0.0
        edges = np.linspace(low - pad, high + pad, BINS + 1)
        peak = 0.0
        for scores, name, colour in ((nontargets, "nontargets", "grey"), (targets, "targets", "violet")):
            shares = np.histogram(scores, edges)[0] / len(scores)
            peak = max(peak, float(shares.max()))
            axes.stairs(shares, edges, fill=True, color=LIGHT[colour], alpha=0.25, linewidth=0)
            axes.stairs(shares, edges, color=LIGHT[colour], linewidth=1.4, label=name)
        # Labels stand in rows above the histograms, as thresholds lie close together; all on the side where
        # there is room, and in such an order that none crosses another threshold's line.
        row = 0.13 * peak
        to_left = not thresholds or 2.0 * float(np.mean([*thresholds.values()])) > low + high
        place, side = ((-3, 0), "right") if to_left else ((3, 0), "left")
        ordered = sorted(thresholds.items(), key=lambda item: item[1], reverse=not to_left)
        for i, (label, value) in enumerate(ordered):
            height = 1.08 * peak + i * row
            axes.vlines(value, 0.0, height + 0.7 * row, color=LIGHT["ink"], linewidth=0.8)
            axes.annotate(label, (value, height), place, textcoords="offset points", ha=side)
        axes.set_ylim(0.0, peak * 1.15 + row * len(thresholds))
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("score")
        axes.legend(loc="upper left" if to_left else "upper right")

    return _svg((3.9, 2.2), paint, "Histograms of target and nontarget scores")


def training_svgs(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Objects of results.jsonl -> an SVG of each figure that at least two epochs have.

    Of an epoch that was done again the last figure counts; tests have a line for each list.
    """
    titles = {"loss": "Loss", "accuracy": "Accuracy, %", "lr": "Learning rate", "eer": "EER of tests, %"}
    found: dict[str, dict[str, dict[int, float]]] = {key: {} for key in titles}
    for row in results:
        for key in titles:
            if isinstance(row.get("epoch"), int) and isinstance(row.get(key), int | float):
                line = str(row.get("list", ""))
                found[key].setdefault(line, {})[row["epoch"]] = row[key]
    drawn = []
    for key, title in titles.items():
        lines = {name: dict(sorted(points.items())) for name, points in found[key].items() if len(points) > 1}
        if lines:
            drawn.append(_epochs(title, lines, 100.0 if "%" in title else 1.0))
    return drawn


def _epochs(title: str, lines: dict[str, dict[int, float]], scale: float) -> str:
    """Title, name -> epoch -> value -> SVG of values times scale; a name of each line if several."""

    def paint(axes: "Axes") -> None:
        handles = list["Artist"]()
        for i, points in enumerate(lines.values()):
            look: dict[str, Any] = {"color": LIGHT[series(i)], "linestyle": LINES[i % len(LINES)]}
            values = [scale * value for value in points.values()]
            handles += axes.plot(
                [*points], values, marker="o" if len(points) <= 20 else "", markersize=3.0, **look
            )
        axes.set(xlabel="epoch", title=title)
        axes.title.set(fontsize=9, fontweight="bold")
        axes.locator_params(axis="x", integer=True)
        axes.grid(True, axis="y")
        if len(lines) > 1:
            _legend(axes, handles, [*lines], "best")

    return _svg((3.4, 2.2), paint, f"{title}, over the epochs")


def _legend(axes: "Axes", handles: Sequence["Artist"], labels: Sequence[str], place: Any) -> None:
    legend = axes.legend(handles, ["-"] * len(handles), loc=place, borderaxespad=0.2)
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_text(_short(label))  # here, as legend() leaves out labels that begin with "_"


def _short(name: str, length: int = 34) -> str:
    return name if len(name) <= length else f"{name[: length // 2]}…{name[-length // 2 + 1 :]}"


def _rendered(form: str, size: tuple[float, float], paint: Callable[["Axes"], None]) -> bytes:
    import matplotlib
    from matplotlib.figure import Figure

    stream = io.BytesIO()
    metadata = {"Date": None, "Creator": None} if form == "svg" else {"Software": None}
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the browser has other fonts
        figure = Figure(figsize=size, layout="constrained")
        paint(figure.add_subplot())
        figure.savefig(stream, format=form, dpi=200, metadata=metadata)
    return stream.getvalue()


def _svg(size: tuple[float, float], paint: Callable[["Axes"], None], title: str) -> str:
    """Drawing, what it is -> an <svg> within HTML: in the page's colours and font, without unused ids."""
    text = _rendered("svg", size, paint).decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<(metadata|style).*?</\1>|<!--.*?-->", "", text, flags=re.DOTALL)
    head = re.search(r'viewBox="[^"]*"', text)
    assert head is not None
    text = f'<svg role="img" aria-label="{title}" {head[0]}>' + text[text.index(">") + 1 :]
    text = text.replace("xlink:href", "href").replace(f"fill: {LIGHT['paper']}; opacity: 0", "fill: none")
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', text))
    text = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", text)
    text = re.sub(r" font-family: [^;\"]*;", "", text)
    for name, colour in LIGHT.items():
        text = text.replace(colour, f"var(--{name})")
    return re.sub(r"\n\s*", "\n", text)
