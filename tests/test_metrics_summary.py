"""Figures, intervals, thresholds and conditions of a system on a trial list."""

import numpy as np
import pytest
from synthetic_trials import SyntheticTrials

import tuneThreshold
from metrics import summary
from metrics.bootstrap import interval, resampled
from metrics.figures import eer, p_miss_at
from metrics.rates import error_rates
from metrics.score_files import read_score_file
from metrics.speakers import units_of


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    return SyntheticTrials(tmp_path_factory.mktemp("synthetic"))


def test_a_list_worked_by_hand(tmp_path):
    # targets .2 .4 .6, nontargets .1 .3 .5 (test_tuneThreshold.py): EER 1/3 at .4. P_fa <= 0.5 first at
    # threshold .4 (P_fa 1/3, P_miss 1/3), and above .3. p 0.5: (1/3 + 1/3) / 2 / 0.5 = 2/3
    lines = [f"{i / 10} a{i} b{i} {i % 2 == 0:d}\n" for i in range(1, 7)]
    (tmp_path / "s.txt").write_text("".join(lines))
    trials = read_score_file(str(tmp_path / "s.txt"))
    system = summary.measure("x", trials, summary.FigureOptions((0.5,), p_fa=(0.5,)))
    assert system.figures["eer"] == pytest.approx(1 / 3)
    assert system.figures["min_dcf_0.5"] == pytest.approx(2 / 3)
    assert system.figures[system.options.rules()["P_fa ≤ 50 %"]] == pytest.approx(0.35)
    assert summary.errors_at(system, 0.4) == pytest.approx((1 / 3, 1 / 3))
    assert summary.errors_at(system, 9.0) == (0.0, 1.0)
    assert system.intervals == {} and system.band is None
    worst_scores = [trials.scores[summary.worst(system, label, 2)].tolist() for label in (1, 0)]
    assert worst_scores == [[0.2, 0.4], [0.5, 0.3]]


def test_tunethreshold_prints_these_figures_and_intervals(synthetic, capsys):
    words = [synthetic.score_file, "--llr", "--intervals", "--replicates", "60", "--p_miss", "0.05"]
    assert tuneThreshold.main([*map(str, words)]) == 0
    printed = capsys.readouterr().out
    system = synthetic.measure(llr=True, p_miss=(0.05,))
    low, high = system.intervals["eer"]
    assert f"EER {100 * system.figures['eer']:.4f} % ({100 * low:.4f} to {100 * high:.4f})" in printed
    for name in ("min_dcf_0.05", "act_dcf_0.05", "cllr", "min_cllr"):
        low, high = system.intervals[name]
        assert f"{system.figures[name]:.5f} ({low:.5f} to {high:.5f})" in printed
    low, high = system.intervals["threshold_p_miss_0.05"]
    assert f"({low:.6g} to {high:.6g})" in printed


def test_the_band_is_the_interval_of_p_miss_at_each_p_fa(synthetic):
    # oracle: p_miss_at, one P_fa at a time, over the product's own bootstrap replicates
    system = synthetic.measure()
    trials = system.trials
    grid, low, high = system.band
    units = units_of(trials, "speakers", 0, "")
    for k in (0, 40, 99):
        p_fa = float(grid[k])
        replicates = resampled(trials.scores, trials.labels, units, 60)
        misses = np.array([p_miss_at(rates, p_fa) for rates in replicates])
        expected = interval(misses, p_miss_at(system.rates, p_fa), 0.0, 1.0)
        assert (low[k], high[k]) == pytest.approx(expected)


def test_conditions_are_evaluated_on_their_own_trials(synthetic):
    rooms = ["x"] * 6 + ["y"] * 6  # speakers 0, 1 and 2, 3
    system = synthetic.measure(conditions={"room": rooms, "path": synthetic.paths})
    same_room, other_room, other_path = system.conditions  # no trial has the same path twice
    assert [row[:4] for row in system.conditions] == [
        ("room", "same", 30, 12),
        ("room", "other", 36, 0),
        ("path", "other", 66, 12),
    ]
    assert other_room.eer is None and other_room.min_dcf is None
    assert other_path.eer == system.figures["eer"]
    assert other_path.min_dcf == system.figures["min_dcf_0.05"]
    trials = system.trials
    is_same_room = (trials.sides[:, 0] < 6) == (trials.sides[:, 1] < 6)
    assert same_room.eer == eer(error_rates(trials.scores[is_same_room], trials.labels[is_same_room])).value


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.1595, "about 16 of 100"),
        (0.0097, "about 10 of 1,000"),
        (0.00004, "about 4 of 100,000"),
        (0.0, "none of the"),
        (1.0, "about 100 of 100"),
    ],
)
def test_shares_in_words(value, words):
    assert summary.share(value) == words
