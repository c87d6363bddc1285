"""Figures, intervals and comparisons: hand-worked lists, brute force, independent references, bounds."""

import os
import re
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from conftest import assert_refused, run_here, run_script
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import roc_auc_score, roc_curve

import tuneThreshold as tune
from metrics import costs
from metrics.bootstrap import interval, resampled
from metrics.costs import act_dcf, cllr, min_cllr, roc_hull
from metrics.figures import separating_threshold
from metrics.rates import error_rates, pick, sort_trials, weighted_rates
from metrics.score_files import read_score_file, read_scores
from metrics.speakers import RESAMPLING, find_speaker_folder, speakers_of, units_of
from metrics.summary import FigureOptions
from metrics.trials import ScoredTrials, condition_groups


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
    rates = error_rates([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0, 1, 0, 1, 0, 1])
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
    rates = error_rates([1, 3, 0, 1, 2], [1, 1, 0, 0, 0])
    assert tune.eer(rates) == pytest.approx((0.4, 1.8))


@pytest.mark.parametrize(
    ("scores", "eer", "min_dcf"),
    [([1, 2, 3, 4], 0.0, 0.0), ([4, 3, 2, 1], 1.0, 1.0), ([7, 7, 7, 7], 0.5, 1.0)],
)
def test_perfect_inverted_and_constant_scores(scores, eer, min_dcf):
    rates = error_rates(scores, [0, 0, 1, 1])
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
    rates, shuffled = error_rates(scores, labels), error_rates(scores[order], labels[order])
    for a, b in zip(rates, shuffled, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (tune.eer(rates).value, tune.min_dcf(rates).value) == pytest.approx(brute_force(scores, labels))


def test_agrees_with_voxceleb_trainer_and_scikit_learn():
    scores = np.random.RandomState(3).uniform(-0.5, 0.5, 1000)
    labels = (scores + 0.6 * np.random.RandomState(5).uniform(-0.5, 0.5, 1000) > 0.15).astype(int)
    rates = error_rates(scores, labels)
    assert 100 * tune.eer(rates).value == pytest.approx(14.4186, abs=1e-4)
    assert tune.min_dcf(rates, 0.05).value == pytest.approx(0.74447, abs=1e-5)
    assert tune.min_dcf(rates, 0.01).value == pytest.approx(0.78310, abs=1e-5)
    p_fa, p_hit, _ = roc_curve(labels, scores, drop_intermediate=False)
    np.testing.assert_allclose(rates.p_fa[::-1], p_fa)
    np.testing.assert_allclose(1.0 - rates.p_miss[::-1], p_hit)


def trials_with_ties(seed, count=60, values=12):
    """Scores (N,) on a grid, labels (N,) of both classes."""
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, values, count) / 2.0 - 3.0
    labels = (scores + generator.normal(0, 2, count) > 0).astype(np.int8)
    labels[:2] = 0, 1
    return scores, labels


def test_cllr_worked_by_hand():
    # targets log 3 and 0: log2(1 + 1/3) = 0.415037, log2(1 + 1) = 1, mean 0.707519
    # nontargets 0 and -log 7: 1 and log2(1 + 1/7) = 0.192645, mean 0.596323; half the sum 0.651921
    scores, labels = [np.log(3), 0.0, 0.0, -np.log(7)], [1, 1, 0, 0]
    expected = (np.log2(4 / 3) + 1 + 1 + np.log2(8 / 7)) / 4
    assert expected == pytest.approx(0.651921, abs=1e-6)
    assert cllr(error_rates(scores, labels)) == pytest.approx(expected)
    assert cllr(error_rates([0, 0, 0], [0, 1, 0])) == pytest.approx(1.0)  # says nothing: 1 bit
    assert np.isfinite(cllr(error_rates([-5e3, 5e3], [1, 0])))  # no overflow


def test_min_cllr_worked_by_hand():
    # scores 1 2 3 4, labels 0 1 0 1. PAV pools 2 and 3: blocks {0}, {1, 0}, {1} with LLRs -inf, 0, inf.
    # Only the middle costs: 1 bit for half of the targets and for half of the nontargets: (0.5 + 0.5) / 2.
    rates = error_rates([1, 2, 3, 4], [0, 1, 0, 1])
    assert min_cllr(rates) == pytest.approx(0.5)
    # hull: accept all, above the first nontarget, above the pooled pair, reject all
    np.testing.assert_allclose(roc_hull(rates).p_fa, [1.0, 0.5, 0.0, 0.0])
    np.testing.assert_allclose(roc_hull(rates).p_miss, [0.0, 0.0, 0.5, 1.0])
    assert min_cllr(error_rates([1, 2], [0, 1])) == 0.0
    assert min_cllr(error_rates([2, 1], [0, 1])) == pytest.approx(1.0)
    assert min_cllr(error_rates([1, 1, 1], [0, 1, 1])) == pytest.approx(1.0)


@pytest.mark.parametrize("seed", range(20))
def test_figures_agree_with_scikit_learn(seed):
    scores, labels = trials_with_ties(seed, values=12 if seed % 2 else 500)
    rates = error_rates(scores, labels)
    assert tune.auc(rates) == pytest.approx(roc_auc_score(labels, scores))
    # classes weighted alike, so that the posterior's odds are the likelihood ratio
    weights = np.where(labels == 1, 1 / labels.sum(), 1 / (1 - labels).sum())
    posterior = IsotonicRegression(out_of_bounds="clip").fit_transform(scores, labels, sample_weight=weights)
    chosen = np.where(labels == 1, posterior, 1.0 - posterior)
    assert min_cllr(rates) == pytest.approx(-(weights * np.log2(chosen)).sum() / 2, abs=1e-9)
    assert min_cllr(rates) <= min(1.0, cllr(rates)) + 1e-12
    assert min_cllr(error_rates(np.exp(scores), labels)) == pytest.approx(min_cllr(rates))


def test_the_hull_of_adversarial_lists_takes_few_passes(monkeypatch):
    # a convex arc, then all misses at once: one pass over all points removes one point, and repeating such
    # passes until none is removed would take 1,000 of them
    passes = []
    monkeypatch.setattr(
        costs, "pick", lambda rates, points: passes.append(len(points)) or pick(rates, points)
    )
    count = 1000
    sizes = np.arange(1, count + 1)
    labels = np.concatenate([np.repeat([0, 1], [count, size]) for size in sizes] + [np.zeros(10**6, int)])
    hull = roc_hull(error_rates(np.arange(len(labels)), labels))
    assert len(passes) < 10
    slopes = np.diff(hull.p_miss) / np.maximum(-np.diff(hull.p_fa), 1e-300)
    assert (np.diff(slopes) > 0).all()


def test_act_dcf_worked_by_hand():
    # p = 0.2: accept from log((1 - 0.2) / 0.2) = log 4 = 1.386 on. The target at 1 is missed (1/2), the
    # nontarget at 2 accepted (1/2): (0.2 * 0.5 + 0.8 * 0.5) / 0.2 = 2.5
    rates = error_rates([1, 3, 2, -1], [1, 1, 0, 0])
    assert act_dcf(rates, 0.2) == pytest.approx(2.5)
    # c_fa 10: from log 40 = 3.7 on nothing is accepted: 0.2 * 1 / min(0.2, 8) = 1
    assert act_dcf(rates, 0.2, c_fa=10.0) == pytest.approx(1.0)
    # a score at the threshold is accepted: p = 0.5, from 0 on
    assert act_dcf(error_rates([0.0, -1.0], [1, 0]), 0.5) == 0.0


def test_p_miss_at_a_p_fa_worked_by_hand():
    # targets 1, 3; nontargets 0, 1, 2: points (P_fa, P_miss) (1, 0), (2/3, 0), (1/3, 1/2), (0, 1/2), (0, 1)
    rates = error_rates([1, 3, 0, 1, 2], [1, 1, 0, 0, 0])
    assert tune.p_miss_at(rates, 0.5) == pytest.approx(0.25)  # half of the way from (2/3, 0) to (1/3, 1/2)
    assert tune.p_miss_at(rates, 1 / 3) == pytest.approx(0.5)
    assert tune.p_miss_at(rates, 0.0) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="P_fa < 1"):
        tune.p_miss_at(rates, 1.0)


@pytest.mark.parametrize("seed", range(10))
def test_all_figures_whatever_the_order_and_points(seed):
    scores, labels = trials_with_ties(seed)
    order = np.random.default_rng(seed).permutation(len(scores))
    found = tune.figures(error_rates(scores, labels), [0.05, 0.5], 1.0, 1.0, llr=True)
    shuffled = tune.figures(error_rates(scores[order], labels[order]), [0.05, 0.5], 1.0, 1.0, llr=True)
    assert found == shuffled
    rates = error_rates(scores, labels)
    expected = {"": tune.eer(rates)} | {f"_min_dcf_{p}": tune.min_dcf(rates, p) for p in (0.05, 0.5)}
    for name, (value, threshold) in expected.items():  # turning points alone hold the minimum
        assert found[name.removeprefix("_") or "eer"] == value
        assert ((scores >= found[f"threshold{name}"]) == (scores >= threshold)).all()


@pytest.mark.parametrize("seed", range(50))
def test_thresholds_decide_alike_before_and_after_scores_are_rounded(seed):
    """Score files have nine digits; what a threshold from them promises holds for the scores themselves."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, 60)
    scores = generator.normal(labels, 1.0)
    rounded = np.array([float(f"{score:.9g}") for score in scores])
    options = FigureOptions((0.05, 0.5), p_fa=(0.1, 0.01), p_miss=(0.1,))
    figures = options.figures(error_rates(rounded, labels))
    for name in options.rules().values():
        assert ((scores >= figures[name]) == (rounded >= figures[name])).all()
    false_alarms = (scores >= figures["threshold_p_fa_0.1"])[labels == 0].mean()
    assert false_alarms <= 0.1 < false_alarms + 1.5 / (labels == 0).sum()


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [(0.5, 0.5), (1.0, 0.5), (1.2, 1.5), (2.0, 1.5), (4.0, 3.0), (4.1, 5.0), (9.0, 5.0)],
)
def test_a_threshold_lies_between_two_scores_by_hand(threshold, expected):
    """Scores 1, 2, 4: the outer thresholds, which accept or reject all, are half a gap outside."""
    rates = error_rates([1.0, 2.0, 4.0, 2.0], [0, 1, 1, 0])
    assert separating_threshold(rates, threshold) == expected
    neighbours = [1.0, np.nextafter(1.0, 2.0)]  # nothing lies between them
    assert separating_threshold(error_rates(neighbours, [0, 1]), neighbours[1]) == neighbours[1]
    assert separating_threshold(error_rates(neighbours, [0, 1]), 9.0) > neighbours[1]


@pytest.mark.parametrize("seed", range(10))
def test_weighted_rates_are_those_of_repeated_trials(seed):
    scores, labels = trials_with_ties(seed)
    weights = np.random.default_rng(seed).integers(0, 4, len(scores))
    trials = sort_trials(scores, labels)
    weighted = weighted_rates(trials, weights[trials.order])
    for threshold, p_miss, p_fa in zip(*weighted, strict=True):
        missed, accepted = weights * (scores < threshold), weights * (scores >= threshold)
        assert p_miss == missed[labels == 1].sum() / weights[labels == 1].sum()
        assert p_fa == accepted[labels == 0].sum() / weights[labels == 0].sum()
    repeated = error_rates(np.repeat(scores, weights), np.repeat(labels, weights))
    found, expected = (tune.figures(rates, [0.05], 1.0, 1.0, llr=True) for rates in (weighted, repeated))
    for name in found:
        if "threshold" not in name:  # a threshold may lie anywhere between two trials that are there
            assert found[name] == pytest.approx(expected[name], abs=1e-12), name


def speaker_trials(seed, speakers=20, count=800, spread=1.0):
    """Trials of speakers that differ: scores (N,), labels (N,), speakers of both sides (N, 2)."""
    generator = np.random.default_rng(seed)
    enrol, test = generator.integers(speakers, size=(2, count))
    test[: count // 2] = enrol[: count // 2]
    labels = (enrol == test).astype(np.int8)
    effect = generator.normal(0, spread, speakers)
    scores = np.round(3.0 * labels + effect[enrol] + effect[test] + generator.normal(size=count), 2)
    return scores, labels, np.stack([enrol, test], axis=1)


@pytest.mark.parametrize("every_point", [False, True])
def test_replicates_are_physically_repeated_trials(every_point, monkeypatch):
    monkeypatch.setattr("metrics.bootstrap.MAX_THRESHOLDS", 50)
    scores, labels, units = speaker_trials(0)
    generator = np.random.default_rng(5)
    for rates in resampled(scores, labels, units, 5, seed=5, every_point=every_point):
        drawn = generator.integers(20, size=20)  # the speakers of this replicate
        times = np.array([np.count_nonzero(drawn == speaker) for speaker in range(20)])
        weights = [times[a] if a == b else times[a] * times[b] for a, b in units]
        repeated = error_rates(np.repeat(scores, weights), np.repeat(labels, weights))
        found, expected = (tune.figures(r, [0.05, 0.01], 1.0, 1.0, every_point) for r in (rates, repeated))
        for name in found:
            if "threshold" not in name:
                assert found[name] == pytest.approx(expected[name], abs=1e-12), name
        assert found["threshold"] == pytest.approx(expected["threshold"], abs=0.05)


def eers(scores, labels, units, replicates, seed=0):
    drawn = resampled(scores, labels, units, replicates, seed=seed)
    return np.array([tune.eer(rates).value for rates in drawn])


def test_replicates_depend_on_the_seed_alone():
    scores, labels, units = speaker_trials(1)
    order = np.random.default_rng(0).permutation(len(scores))
    drawn = eers(scores, labels, units, 50, 3)
    np.testing.assert_array_equal(drawn, eers(scores, labels, units, 50, 3))
    np.testing.assert_array_equal(drawn, eers(scores[order], labels[order], units[order], 50, 3))
    np.testing.assert_array_equal(drawn, eers(scores, labels, 7 * units + 2, 50, 3))
    assert (drawn != eers(scores, labels, units, 50, 4)).any()


def test_speakers_that_differ_widen_the_interval():
    scores, labels, units = speaker_trials(2)
    alone = np.repeat(np.arange(len(scores))[:, None], 2, axis=1)  # each trial for itself
    widths = [np.diff(interval(eers(scores, labels, u, 200)))[0] for u in (units, alone)]
    assert widths[0] > 1.5 * widths[1]
    value = tune.eer(error_rates(scores, labels)).value
    low, high = interval(eers(scores, labels, units, 200), value)
    assert low < value < high


def test_an_interval_worked_by_hand():
    # quantiles of 0 ... 1000 are 25 and 975; reflected about 600: 1200 - 975 and 1200 - 25
    assert interval(np.arange(1001.0)) == pytest.approx((25.0, 975.0))
    assert interval(np.arange(1001.0), 600.0) == pytest.approx((225.0, 1175.0))
    assert interval(np.arange(1001.0), 600.0, 300.0, 1000.0) == pytest.approx((300.0, 1000.0))


@pytest.mark.parametrize(
    ("units", "replicates", "words"),
    [([[0, 0], [0, 0]], 10, "1 units"), ([[0, 0], [0, 1]], 1, "1 replicates"), ([[0, 0], [0, 1]], 50, "few")],
)
def test_refuses_to_resample_too_little(units, replicates, words):
    with pytest.raises(ValueError, match=words):
        list(resampled([1.0, 2.0], [1, 0], np.array(units), replicates))


def test_thresholds_for_wanted_rates():
    rates = error_rates([1, 2, 3, 4, 5, 6], [0, 0, 1, 0, 1, 1])
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
        error_rates(scores, labels)


def test_a_million_scores_in_little_memory():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 1_000_000).astype(np.int8)
    scores = generator.normal(labels, 1.0)

    tracemalloc.start()
    figures = tune.figures(error_rates(scores, labels), [0.05, 0.01], 1.0, 1.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200e6
    assert figures["eer"] == pytest.approx(0.3085, abs=0.002)  # means 0 and 1, deviations 1: Phi(-1/2)


def test_a_list_is_sorted_once_whatever_the_figures(monkeypatch):
    sorts = []
    argsort = np.argsort

    def counted(*args, **options):
        sorts.append(args)
        return argsort(*args, **options)

    monkeypatch.setattr(np, "argsort", counted)
    scores, labels, units = speaker_trials(0)
    for rates in resampled(scores, labels, units, 5):
        tune.figures(rates, [0.05, 0.01], 1.0, 1.0)
    assert len([args for args in sorts if len(args[0]) == len(scores)]) == 1


def test_the_command(tmp_path):
    path = tmp_path / "scores.txt"
    path.write_text("0.9 a b 1\n0.8 a c 1\n0.1 a d 0\n0.2 my file e 0\n")
    result = run_script("tuneThreshold.py", path, "--p_fa", 0.5, "--p_miss", 0)
    assert result.returncode == 0, result.stderr
    assert "4 trials, 2 of them target" in result.stdout
    assert "EER 0.0000 % at threshold 0.5" in result.stdout
    assert "P_fa <= 50 %: threshold 0.15 gives P_fa 50.0000 %, P_miss 0.0000 %" in result.stdout


@pytest.mark.parametrize("gap", [" ", "\t"])
def test_a_score_after_the_pair_is_read_too(tmp_path, gap):
    lines = (
        [("a b", "c", "0.9", "1"), ("a b", "d", "-1e-2", "0")]
        if gap == "\t"
        else [("a", "c", "0.9", "1"), ("a", "d", "-1e-2", "0")]
    )
    for labelled in (True, False):
        rows = [line if labelled else line[:3] for line in lines]
        (tmp_path / "s.txt").write_text("".join(gap.join(row) + "\n" for row in rows))
        trials = read_score_file(str(tmp_path / "s.txt"), labels_needed=labelled)
        assert trials.scores.tolist() == [0.9, -0.01] and trials.files == sorted({*lines[0][:2], "d"})
        assert trials.labels is None or trials.labels.tolist() == [1, 0]


def test_which_column_is_the_score_is_decided_for_the_whole_file(tmp_path):
    path = tmp_path / "s.txt"
    path.write_text("1 a/x.wav 0.53 1\n2 a/y.wav 0.4 0\n")  # models called 1 and 2, or files called 0.53?
    with pytest.raises(ValueError, match=r"a trial of a/x\.wav and 0\.53 or of 1 and a/x\.wav"):
        read_score_file(str(path))
    path.write_text("0.9 1001 1002 1\n0.1 1001 1003 0\n")  # names are numbers
    assert read_score_file(str(path)).scores.tolist() == [0.9, 0.1]
    path.write_text("0.9 a 1002 1\n0.1 a b 0\n")
    assert read_score_file(str(path)).scores.tolist() == [0.9, 0.1]


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
    assert_refused(run_here("tuneThreshold.py", tmp_path / "scores.txt"), words)
    assert_refused(run_here("tuneThreshold.py", tmp_path / "absent.txt"), "absent.txt")


def test_the_command_without_arguments_is_refused_in_one_line():
    assert_refused(run_here("tuneThreshold.py"), "the following arguments are required: scores")


def test_printed_thresholds_give_the_rates_beside_them(tmp_path):
    scores, labels = [0.9999991, 0.9999992, 0.9999993, 0.9999994], [0, 1, 0, 1]
    lines = "".join(f"{s!r} a b {y}\n" for s, y in zip(scores, labels, strict=True))
    (tmp_path / "scores.txt").write_text(lines)
    output = run_here("tuneThreshold.py", tmp_path / "scores.txt", "--p_fa", 0, "--p_miss", 0, 0.5).stdout
    points = re.findall(r"threshold (\S+) gives P_fa (\S+) %, P_miss (\S+) %", output)
    assert len(points) == 3
    for threshold, p_fa, p_miss in points:
        accepted = np.array(scores) >= float(threshold)
        assert 100 * accepted[[0, 2]].mean() == float(p_fa)
        assert 100 * (~accepted[[1, 3]]).mean() == float(p_miss)


def write_trials(path, seed=0, noise=0.0, order=None):
    """A score file of 20 speakers with paths of `speaker/session/take.wav`."""
    scores, labels, units = speaker_trials(seed, spread=0.3)
    scores = scores + noise * np.random.default_rng(9).normal(size=len(scores))
    takes = np.random.default_rng(1).integers(0, 5, (len(scores), 2))
    lines = []
    for i in range(len(scores)) if order is None else order:
        pair = (f"spk{units[i, k]:02d}/s{takes[i, k] % 2}/{takes[i, k]}.wav" for k in (0, 1))
        lines.append(" ".join([f"{scores[i]:.6f}", *pair, str(labels[i])]))
    path.write_text("\n".join(lines) + "\n")
    return path


def test_intervals_of_the_command(tmp_path):
    path = write_trials(tmp_path / "scores.txt")
    plain = run_here("tuneThreshold.py", path)
    assert plain.returncode == 0 and " to " not in plain.stdout
    result = run_here("tuneThreshold.py", path, "--intervals", "--replicates", 100, "--p_miss", 0.05, "--llr")
    assert result.returncode == 0, result.stderr
    low, value, high = (
        float(re.search(rf"EER {pattern}", result.stdout)[1])
        for pattern in (r"\S+ % \((\S+) to", r"(\S+) %", r"\S+ % \(\S+ to (\S+)\)")
    )
    assert low < value < high
    assert len(re.findall(r"\d \(\S+ to \S+\)|% \(\S+ to \S+\)", result.stdout)) >= 15
    for word in ("minCllr", "Cllr", "actDCF", "AUC", "at P_fa 0.1 %", "P_miss <= 5 %: threshold"):
        assert word in result.stdout
    shuffled = np.random.default_rng(3).permutation(800)
    again = write_trials(tmp_path / "shuffled.txt", order=shuffled)
    for way in RESAMPLING:
        words = ("--intervals", "--replicates", 50, "--resample", way)
        assert len({run_here("tuneThreshold.py", p, *words).stdout for p in (path, again)}) == 1
    wide = run_here("tuneThreshold.py", path, "--intervals", "--replicates", 50, "--seed", 1)
    assert wide.stdout != run_here("tuneThreshold.py", path, "--intervals", "--replicates", 50).stdout


def test_speakers_from_a_folder_or_a_file(tmp_path):
    text = "2 a/x/1 a/x/2 1\n3 a/y/1 a/y/2 1\n1 a/x/1 a/y/1 0\n0 a/y/2 a/z/1 0\n2 a/z/1 a/z/2 1\n"
    path = tmp_path / "scores.txt"
    path.write_text(text)
    trials = read_score_file(str(path))
    assert speakers_of(trials.files, 1) == ["x", "x", "y", "y", "z", "z"]
    assert speakers_of(trials.files, -1) == ["x", "x", "y", "y", "z", "z"]
    lines = [f"{name} {name.split('/')[1]}" for name in trials.files]
    (tmp_path / "utt2spk").write_text("\n".join(lines) + "\n")
    assert speakers_of(trials.files, 0, str(tmp_path / "utt2spk")) == [
        "x",
        "x",
        "y",
        "y",
        "z",
        "z",
    ]
    refused = run_here("tuneThreshold.py", path, "--intervals", "--speaker_folder", 0)
    assert_refused(refused, "a/x/1 a/y/1 has label 0", "one speaker")
    np.testing.assert_array_equal(units_of(trials, "speakers", None, ""), units_of(trials, "speakers", 1, ""))
    path.write_text(text.replace("a/", ""))
    assert find_speaker_folder(read_score_file(str(path))) == 0
    path.write_text(text.replace("/", "-"))
    refused = run_here("tuneThreshold.py", path, "--intervals")
    assert_refused(refused, "no folder of the paths", "--utt2spk")
    path.write_text(text)
    assert_refused(run_here("tuneThreshold.py", path, "--intervals", "--speaker_folder", 2), "no folder 2")
    (tmp_path / "utt2spk").write_text("\n".join(lines[1:]) + "\n")
    refused = run_here("tuneThreshold.py", path, "--intervals", "--utt2spk", tmp_path / "utt2spk")
    assert_refused(refused, "no speaker for a/x/1")
    (tmp_path / "utt2spk").write_text("\n".join([*lines, "a/x/1 z"]) + "\n")
    refused = run_here("tuneThreshold.py", path, "--intervals", "--utt2spk", tmp_path / "utt2spk")
    assert_refused(refused, "two speakers for a/x/1")
    path.write_text("1 a/my file.wav b/c.wav 0\n2 b/c.wav b/d.wav 1\n")
    assert_refused(run_here("tuneThreshold.py", path, "--intervals"), "by tabs")
    path.write_text("1\ta/my file.wav\tb/c.wav\t0\n2\tb/c.wav\tb/d.wav\t1\n")
    assert read_score_file(str(path)).files == ["a/my file.wav", "b/c.wav", "b/d.wav"]


def test_compare_finds_the_better_system_and_no_difference_between_equals(tmp_path):
    good = write_trials(tmp_path / "good.txt")
    shuffled = write_trials(tmp_path / "same.txt", order=np.random.default_rng(2).permutation(800))
    bad = write_trials(tmp_path / "bad.txt", noise=3.0)
    result = run_here("tuneThreshold.py", "compare", good, shuffled, bad, "--replicates", 200)
    assert result.returncode == 0, result.stderr
    *named, third = result.stdout.split("\n", 3)
    assert [line.partition(":")[0] for line in named] == [f"A = {good}", f"B = {shuffled}", f"C = {bad}"]
    assert "EER of B minus A: +0.000 points (+0.000 to +0.000): no difference" in third
    assert re.search(r"EER of C minus A: \+\S+ points \(\+\S+ to \+\S+\): A is better", third)
    assert re.search(r"minDCF\(0.05\) of C minus A: \S+ \(.*\): A is better", third)
    reverse = run_here("tuneThreshold.py", "compare", bad, good, "--replicates", 200).stdout
    assert re.search(r"EER of B minus A: -\S+ points \(-\S+ to -\S+\): B is better", reverse)
    assert_refused(run_here("tuneThreshold.py", "compare", good, bad, good), "different files")
    # options may come first, and those that change no difference are taken
    first = run_here("tuneThreshold.py", "--replicates", 200, "compare", bad, good, "--intervals", "--llr")
    assert first.stdout == reverse
    # as good on average, but with other mistakes
    one, two = (write_trials(tmp_path / f"{seed}.txt", seed=0, noise=0.01 * seed) for seed in (1, 2))
    assert "is better" not in run_here("tuneThreshold.py", "compare", one, two, "--replicates", 200).stdout


def test_compare_refuses_other_trials_in_one_line(tmp_path):
    path = write_trials(tmp_path / "a.txt")
    lines = path.read_text().splitlines(keepends=True)
    other = tmp_path / "b.txt"
    other.write_text("".join(lines[1:]))
    score, enrol, test, label = lines[0].split()
    again = sum(f" {enrol} {test} " in line for line in lines)
    words = "lacks the trial" if again == 1 else "repeats other trials"
    assert_refused(run_here("tuneThreshold.py", "compare", path, other), "b.txt", words)
    other.write_text("".join([*lines, f"{score} new/s/1.wav {test} {label}\n"]))
    assert_refused(
        run_here("tuneThreshold.py", "compare", path, other), f"a.txt: lacks the trial new/s/1.wav {test}"
    )
    other.write_text("".join([f"{score} {enrol} {test} {1 - int(label)}\n", *lines[1:]]))
    assert_refused(run_here("tuneThreshold.py", "compare", path, other), "another label")
    other.write_text("".join([f"nan {enrol} {test} {label}\n", *lines[1:]]))
    assert_refused(run_here("tuneThreshold.py", "compare", path, other), "b.txt: 1 scores are not finite")
    for one_class in (path, other):
        one_class.write_text("1 a/1 b/1 0\n2 a/1 c/1 0\n")
    assert_refused(
        run_here("tuneThreshold.py", "compare", path, other), "a.txt: no error rates from 2 trials"
    )
    assert_refused(run_here("tuneThreshold.py", "compare", path), "at least two")
    assert_refused(run_here("tuneThreshold.py", path, other), "one score file")


def test_breakdown_by_condition(tmp_path):
    # f against f: 3, 4 (target), 1 (nontarget); f against m: 2 (nontarget); m against m: 5 (target)
    text = "3 a/1 a/2 1\n4 a/2 b/1 1\n1 a/1 b/1 0\n2 b/1 c/1 0\n5 c/1 c/2 1\n"
    (tmp_path / "scores.txt").write_text(text)
    table = "path\tgender\tseconds\na/1\tf\t1.0\na/2\tf\t2.5\nb/1\tf\t3\nc/1\tm\t4\nc/2\tm\t5\n"
    (tmp_path / "conditions.tsv").write_text(table)
    words = (tmp_path / "scores.txt", "--conditions", tmp_path / "conditions.tsv")
    result = run_here("tuneThreshold.py", *words)
    assert result.returncode == 0, result.stderr
    assert (
        "gender same: 4 trials, 3 of them target: EER 0.0000 %, minDCF 0.00000 (p_target 0.05)"
        in result.stdout
    )
    assert "gender other: 1 trials, 0 of them target: no error rates without both classes" in result.stdout
    # the shorter sides 1, 2.5, 1, 3, 4 have the quartiles 1, 2.5, 3: [1, 2.5), [2.5, 3), [3, 4]
    assert "seconds 1 to 2.5: 2 trials, 1 of them target: EER 0.0000 %" in result.stdout
    assert "seconds 2.5 to 3: 1 trials, 1 of them target: no error rates" in result.stdout
    assert "seconds 3 to 4: 2 trials, 1 of them target: EER 0.0000 %" in result.stdout
    for wrong, said in (
        (table.replace("c/2\tm\t5\n", ""), "no line for c/2"),
        (table.replace("c/2\tm\t5\n", "c/2\tm\n"), "conditions.tsv:6: expected 3 fields"),
        (table + "a/1\tf\t1.0\n", "1 lines repeat a path"),
        ("path gender\n", "conditions.tsv:1: expected a header"),
        ("", "conditions.tsv:1: expected a header"),
    ):
        (tmp_path / "conditions.tsv").write_text(wrong)
        assert_refused(run_here("tuneThreshold.py", *words), said)


def test_groups_of_an_attribute():
    sides = np.array([[0, 1], [0, 2], [1, 2], [2, 3]])
    groups = condition_groups(["1", "1", "2", "2"], sides)  # whole numbers are names
    assert {name: chosen.tolist() for name, chosen in groups.items()} == {
        "same": [True, False, False, True],
        "other": [False, True, True, False],
    }
    assert list(condition_groups(["2.0"] * 4, sides)) == ["all"]
    assert list(condition_groups(["2.0", "nan", "1.0", "3.0"], sides)) == ["same", "other"]
    bins = condition_groups(["0.5", "1.5", "2.5", "3.5"], sides)
    assert sum(chosen.astype(int) for chosen in bins.values()).tolist() == [1, 1, 1, 1]


def test_score_files_may_be_pipes():
    receiver, sender = os.pipe()
    os.write(sender, b"0.5 a b 1\n0.1 a c 0\n")
    os.close(sender)
    scores, labels = read_scores(f"/dev/fd/{receiver}")
    os.close(receiver)
    assert scores.tolist() == [0.5, 0.1] and labels.tolist() == [1, 0]


def test_trials_from_arrays_are_those_of_their_score_file(tmp_path):
    trials_read = read_score_file(str(write_trials(tmp_path / "scores.txt")))
    generator = np.random.default_rng(0)
    # other numbers for the files, in another order, one of them unused; trials in another order
    renumbered = generator.permutation(len(trials_read.files) + 1)
    files = [""] * len(renumbered)
    for number, name in zip(renumbered.tolist(), [*trials_read.files, "unused.wav"], strict=True):
        files[number] = name
    order = generator.permutation(len(trials_read.scores))
    trials = ScoredTrials.from_arrays(
        trials_read.name,
        trials_read.scores[order],
        trials_read.labels[order],
        files,
        renumbered[trials_read.sides][order],
    )
    assert trials.files == trials_read.files
    for field in ("scores", "labels", "sides"):
        np.testing.assert_array_equal(getattr(trials, field), getattr(trials_read, field))
