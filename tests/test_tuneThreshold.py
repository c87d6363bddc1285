"""EER, minDCF and thresholds: hand-worked lists, brute force, an independent reference, bounds."""

import re
import time
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from conftest import assert_refused, run_script
from sklearn.metrics import roc_curve

import tuneThreshold as tune


def brute_force(scores, labels, p_target=0.05):
    """EER and minDCF from every threshold, one by one."""
    scores, labels = np.asarray(scores, float), np.asarray(labels)
    points = []
    for threshold in [*sorted(set(scores.tolist())), np.inf]:
        accepted = scores >= threshold
        points.append((np.mean(~accepted[labels == 1]), np.mean(accepted[labels == 0])))
    cost = min(p_target * miss + (1 - p_target) * fa for miss, fa in points)
    for (miss, fa), (next_miss, next_fa) in pairwise(points):
        if miss < fa and next_miss >= next_fa:
            share = (fa - miss) / ((fa - miss) + (next_miss - next_fa))
            return miss + share * (next_miss - miss), cost / min(p_target, 1 - p_target)
    raise AssertionError("the curves never cross")


def test_a_list_worked_by_hand():
    # score   .1  .2  .3  .4  .5  .6      thresholds in between:
    # label    0   1   0   1   0   1      at .3: P_miss 1/3, P_fa 2/3; at .4: P_miss 1/3, P_fa 1/3
    rates = tune.error_rates([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0, 1, 0, 1, 0, 1])
    np.testing.assert_allclose(rates.p_miss, np.array([0, 0, 1, 1, 2, 2, 3]) / 3)
    np.testing.assert_allclose(rates.p_fa, np.array([3, 2, 2, 1, 1, 0, 0]) / 3)
    assert tune.eer(rates) == pytest.approx((1 / 3, 0.4))
    # p = 0.5: (P_miss + P_fa) / 2 is least at .2, .4 and .6 with 1/3, divided by 0.5
    assert tune.min_dcf(rates, 0.5).value == pytest.approx(2 / 3)
    # p = 0.01: only rejecting a target costs little: at .6 0.01 * 2/3 / 0.01
    assert tune.min_dcf(rates, 0.01) == pytest.approx((2 / 3, 0.6))


def test_eer_between_two_operating_points():
    # targets 1, 3; nontargets 0, 1, 2: at 2: (1/2, 1/3), at 1: (0, 2/3); both cross at share
    # (2/3) / (2/3 + 1/6) = 0.8 of the way: EER 0.8 * 1/2 = 0.4, threshold 1 + 0.8
    rates = tune.error_rates([1, 3, 0, 1, 2], [1, 1, 0, 0, 0])
    assert tune.eer(rates) == pytest.approx((0.4, 1.8))


@pytest.mark.parametrize(
    ("scores", "eer", "min_dcf"),
    [([1, 2, 3, 4], 0.0, 0.0), ([4, 3, 2, 1], 1.0, 1.0), ([7, 7, 7, 7], 0.5, 1.0)],
)
def test_perfect_inverted_and_constant_scores(scores, eer, min_dcf):
    rates = tune.error_rates(scores, [0, 0, 1, 1])
    assert tune.eer(rates).value == pytest.approx(eer)
    for p_target in (0.01, 0.5, 0.9):
        assert tune.min_dcf(rates, p_target).value == pytest.approx(min_dcf)
    assert np.isfinite(rates.thresholds).all()


@pytest.mark.parametrize("seed", range(20))
def test_equals_brute_force_with_ties_in_any_order(seed):
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, 8, 40).astype(float)
    labels = (scores + generator.normal(0, 3, 40) > 4).astype(int)
    order = generator.permutation(40)
    rates, shuffled = tune.error_rates(scores, labels), tune.error_rates(scores[order], labels[order])
    for a, b in zip(rates, shuffled, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (tune.eer(rates).value, tune.min_dcf(rates).value) == pytest.approx(brute_force(scores, labels))


def test_agrees_with_voxceleb_trainer_and_scikit_learn():
    scores = np.random.RandomState(3).uniform(-0.5, 0.5, 1000)
    labels = (scores + 0.6 * np.random.RandomState(5).uniform(-0.5, 0.5, 1000) > 0.15).astype(int)
    rates = tune.error_rates(scores, labels)
    assert 100 * tune.eer(rates).value == pytest.approx(14.4186, abs=1e-4)
    assert tune.min_dcf(rates, 0.05).value == pytest.approx(0.74447, abs=1e-5)
    assert tune.min_dcf(rates, 0.01).value == pytest.approx(0.78310, abs=1e-5)
    p_fa, p_hit, _ = roc_curve(labels, scores, drop_intermediate=False)
    np.testing.assert_allclose(rates.p_fa[::-1], p_fa)
    np.testing.assert_allclose(1.0 - rates.p_miss[::-1], p_hit)


def test_thresholds_for_wanted_rates():
    rates = tune.error_rates([1, 2, 3, 4, 5, 6], [0, 0, 1, 0, 1, 1])
    at = tune.threshold_for_p_fa(rates, 0.34)  # one false alarm in three: accept from 3 on
    assert (rates.thresholds[at], rates.p_fa[at], rates.p_miss[at]) == pytest.approx((3, 1 / 3, 0))
    at = tune.threshold_for_p_fa(rates, 0.0)
    assert (rates.thresholds[at], rates.p_fa[at], rates.p_miss[at]) == pytest.approx((5, 0, 1 / 3))
    at = tune.threshold_for_p_miss(rates, 0.0)
    assert (rates.thresholds[at], rates.p_fa[at], rates.p_miss[at]) == pytest.approx((3, 1 / 3, 0))
    at = tune.threshold_for_p_miss(rates, 0.5)
    assert (rates.thresholds[at], rates.p_miss[at]) == pytest.approx((5, 1 / 3))
    with pytest.raises(ValueError, match="fraction"):
        tune.threshold_for_p_fa(rates, 5.0)


@pytest.mark.parametrize(
    ("scores", "labels", "words"),
    [
        ([1.0, np.nan], [0, 1], "not finite"),
        ([1.0, np.inf], [0, 1], "not finite"),
        ([1.0, 2.0], [1, 1], "without a nontarget"),
        ([1.0, 2.0], [0, 0], "without a target"),
        ([1.0, 2.0], [0, 2], "labels 1"),
        ([1.0], [0, 1], "as many labels"),
        ([], [], "without a target"),
    ],
)
def test_refuses_what_has_no_error_rates(scores, labels, words):
    with pytest.raises(ValueError, match=words):
        tune.error_rates(scores, labels)


def test_a_million_scores_in_little_time_and_memory():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 1_000_000).astype(np.int8)
    scores = generator.normal(labels, 1.0)

    def all_figures():
        rates = tune.error_rates(scores, labels)
        tune.eer(rates), tune.min_dcf(rates, 0.05), tune.min_dcf(rates, 0.01)
        tune.threshold_for_p_fa(rates, 0.01), tune.threshold_for_p_miss(rates, 0.01)

    times = []
    for _ in range(3):
        began = time.perf_counter()
        all_figures()
        times.append(time.perf_counter() - began)
    assert min(times) < 0.5
    tracemalloc.start()
    all_figures()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200e6


def test_the_command(tmp_path):
    path = tmp_path / "scores.txt"
    path.write_text("0.9 a b 1\n0.8 a c 1\n0.1 a d 0\n0.2 my file e 0\n")
    result = run_script("tuneThreshold.py", path, "--p_fa", 0.5, "--p_miss", 0)
    assert result.returncode == 0, result.stderr
    assert "4 trials, 2 of them target" in result.stdout
    assert "EER 0.0000 % at threshold 0.8" in result.stdout
    assert "P_fa <= 50 %: threshold 0.2 gives P_fa 50.0000 %, P_miss 0.0000 %" in result.stdout


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0.9 a b\n", "scores.txt:1: expected"),
        ("0.9 a b 1\nx a b 0\n", "scores.txt:2: expected a score"),
        ("0.9 a b 1\n", "nontarget"),
        ("\n", "holds no scores"),
    ],
)
def test_the_command_refuses_in_one_line(tmp_path, text, words):
    (tmp_path / "scores.txt").write_text(text)
    assert_refused(run_script("tuneThreshold.py", tmp_path / "scores.txt"), words)
    assert_refused(run_script("tuneThreshold.py", tmp_path / "absent.txt"), "absent.txt")
    assert_refused(run_script("tuneThreshold.py"), "the following arguments are required: scores")


def test_printed_thresholds_give_the_rates_beside_them(tmp_path):
    scores, labels = [0.9999991, 0.9999992, 0.9999993, 0.9999994], [0, 1, 0, 1]
    lines = "".join(f"{s!r} a b {y}\n" for s, y in zip(scores, labels, strict=True))
    (tmp_path / "scores.txt").write_text(lines)
    output = run_script("tuneThreshold.py", tmp_path / "scores.txt", "--p_fa", 0, "--p_miss", 0, 0.5).stdout
    points = re.findall(r"threshold (\S+) gives P_fa (\S+) %, P_miss (\S+) %", output)
    assert len(points) == 3
    for threshold, p_fa, p_miss in points:
        accepted = np.array(scores) >= float(threshold)
        assert 100 * accepted[[0, 2]].mean() == float(p_fa)
        assert 100 * (~accepted[[1, 3]]).mean() == float(p_miss)
