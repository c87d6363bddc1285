"""Plots of the report: thinned curves, unique ids, colours by role, training curves."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
from synthetic_trials import RESULTS

from metrics.rates import error_rates
from report import plots

SVG = "{http://www.w3.org/2000/svg}"


def test_a_thinned_curve_stays_near_the_whole_one():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 50_000)
    rates = error_rates(generator.normal(size=50_000) + 2 * labels, labels)
    thin = plots.thinned(rates)
    assert 250 < len(thin.p_fa) <= plots.MAX_CURVE_POINTS
    assert {*thin.thresholds} <= {*rates.thresholds}
    x, y = plots.probit(rates.p_fa[::-1][1:-1]), plots.probit(rates.p_miss[::-1][1:-1])
    inside = (x > -3.0) & (x < 1.0)
    between = np.interp(x[inside], plots.probit(thin.p_fa[::-1]), plots.probit(thin.p_miss[::-1]))
    assert np.abs(between - y[inside]).max() < 0.05
    few = error_rates([1, 2, 3, 4], [0, 1, 0, 1])
    np.testing.assert_array_equal(plots.thinned(few).p_fa, few.p_fa)


def roles(plot):
    """Plot -> the roles that its ids end in."""
    ids = [group.get("id") for group in ElementTree.fromstring(plot.svg).iter(f"{SVG}g")]
    return {name.split("-", 2)[-1] for name in filter(None, ids)}


def test_artists_are_tagged_with_their_colours():
    rates = error_rates([1, 2, 3, 4], [0, 1, 0, 1])
    band = np.array([[0.1, 0.5], [0.2, 0.1], [0.6, 0.3]])
    curves = [plots.Curve(name, rates, band, {"EER": (0.5, 0.5)}) for name in "ab"]
    assert roles(plots.det_svg(curves)) >= {
        *("line-s0", "line-s1", "fill-s0", "fill-s1", "mark-s0", "mark-s1", "mark-muted"),
        *("line-grid", "line-muted", "axis"),
    }
    histograms = plots.scores_svg("scores0", np.array([1.0, 2.0]), np.array([0.0, 1.0]), {"EER": 1.0})
    assert roles(histograms) >= {"line-violet", "line-grey", "fill-violet", "fill-grey", "line-ink"}


def test_only_tagged_artists_are_coloured():
    rates = error_rates([1, 2, 3, 4], [0, 1, 0, 1])
    band = np.array([[0.1, 0.5], [0.2, 0.1], [0.6, 0.3]])
    det = plots.det_svg([plots.Curve("a", rates, band, {"EER": (0.5, 0.5)})])
    histograms = plots.scores_svg("scores0", np.array([1.0, 2.0]), np.array([0.0, 1.0]), {"EER": 1.0})
    for plot in (det, histograms, *plots.training_svgs(RESULTS)):
        root = ElementTree.fromstring(plot.svg)
        parents = {child: parent for parent in root.iter() for child in parent}
        for element in root.iter():
            if element.tag not in (f"{SVG}path", f"{SVG}use") or "#" not in element.get("style", ""):
                continue
            chain = []
            while element in parents:
                element = parents[element]
                chain.append(element.get("id") or "")
            assert any(re.search(r"-(axis|(line|fill|mark)-\w+)$", name) for name in chain), chain


def test_the_last_result_of_each_epoch_is_plotted():
    repeated = [
        *RESULTS,
        {"event": "train", "epoch": 3, "loss": 1.5},
        {"event": "train", "epoch": 4, "eer": None},
    ]
    assert [plot.title for plot in plots.training_svgs(repeated)] == [
        "Loss, over the epochs",
        "Accuracy, %, over the epochs",
        "Learning rate, over the epochs",
        "EER of tests, %, over the epochs",
    ]
    # the loss of epoch 3 is 1.5, as that of epoch 2: the curve ends horizontally
    loss = ElementTree.fromstring(plots.training_svgs(repeated)[0].svg)
    curve = next(group for group in loss.iter(f"{SVG}g") if (group.get("id") or "").endswith("-line-s0"))
    heights = [float(word) for word in curve.find(f"{SVG}path").get("d").split()[2::3]]  # M x y L x y L x y
    assert len(heights) == 3 and heights[0] < heights[1] == heights[2]
    assert plots.training_svgs(RESULTS[:1]) == []
