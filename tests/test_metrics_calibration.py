"""Calibration: known parameters, SciPy's minimiser as oracle, invariances, unseen speakers, errors."""

import json
from itertools import combinations

import numpy as np
import pytest
from scipy.optimize import linprog, minimize
from scipy.special import expit, logit, ndtri
from sklearn.isotonic import IsotonicRegression

from metrics import cross_validation
from metrics.calibration import Calibration, fit, probability, refuse_overlap
from metrics.cross_validation import cross_validate
from metrics.quality import symmetric_measures


def cllr(llr, labels):
    """Brümmer and du Preez 2006: mean cost of both classes in bits."""
    costs = np.logaddexp(0.0, np.where(labels == 1, -llr, llr)) / np.log(2.0)
    return (costs[labels == 1].mean() + costs[labels == 0].mean()) / 2.0


def min_cllr(scores, labels):
    """Cllr of the best monotonic map: posteriors by isotonic regression, less the log odds of the list."""
    posterior = IsotonicRegression().fit_transform(scores, labels)
    with np.errstate(divide="ignore"):
        odds = np.log(posterior) - np.log1p(-posterior)
    return cllr(odds - np.log(np.mean(labels) / np.mean(labels == 0)), labels)


def gaussian(num_trials=4000, mean=2.0, seed=0, share=0.25):
    """Scores of N(0, 1) nontargets and N(mean, 1) targets, labels."""
    generator = np.random.default_rng(seed)
    labels = (generator.uniform(size=num_trials) < share).astype(int)
    return generator.normal(size=num_trials) + mean * labels, labels


def speaker_trials(num_speakers=12, num_targets=8, seed=0):
    """Every pair of speakers once and target trials of each -> scores, labels, speakers of both sides."""
    names = [f"id{i:03d}" for i in range(num_speakers)]
    pairs = list(combinations(names, 2)) + [(name, name) for name in names] * num_targets
    labels = np.array([int(a == b) for a, b in pairs])
    scores = np.random.default_rng(seed).normal(size=len(pairs)) + 2.0 * labels
    return scores, labels, np.array(pairs)[:, 0], np.array(pairs)[:, 1]


@pytest.mark.parametrize("p_target", [0.01, 0.5, 0.9])
def test_parameters_of_gaussian_scores(p_target):
    # log N(x; 3, s^2) - log N(x; 1, s^2) = (3 - 1) / s^2 x - (3^2 - 1^2) / (2 s^2); s = 0.8:
    # 2 / 0.64 = 3.125 and -8 / 1.28 = -6.25, whatever the prior
    quantiles = [ndtri((np.arange(n) + 0.5) / n) for n in (100_000, 25_000)]  # no sampling error
    scores = np.concatenate([3.0 + 0.8 * quantiles[0], 1.0 + 0.8 * quantiles[1]])
    model = fit(scores, np.repeat([1, 0], [100_000, 25_000]), p_target)
    assert model.weights[0] == pytest.approx(3.125, rel=1e-3)
    assert model.offset == pytest.approx(-6.25, rel=1e-3)
    assert (model.num_targets, model.num_nontargets, model.ridge) == (100_000, 25_000, 0.0)


def test_one_score_that_both_classes_have():
    # targets: three times 1, once 0; nontargets: once 1, three times 0. Two parameters fit two
    # values exactly: LLR(1) = log (3/4) / (1/4) = log 3, LLR(0) = -log 3
    model = fit([1, 1, 1, 0, 1, 0, 0, 0], [1, 1, 1, 1, 0, 0, 0, 0], 0.2)
    np.testing.assert_allclose(model.apply([1.0, 0.0]), [np.log(3), -np.log(3)], rtol=1e-12)


@pytest.mark.parametrize("p_target", [0.01, 0.5, 0.9])
@pytest.mark.parametrize("units", [(1.0, 1.0, 1.0), (1e-6, 1.0, 1e6)], ids=["alike", "different"])
@pytest.mark.parametrize("num_trials", [60, 5000])
def test_equals_scipys_minimiser_of_the_objective(p_target, units, num_trials):
    scores, labels = gaussian(num_trials)
    more = np.random.default_rng(1).normal(size=(num_trials, 2)) + 0.3 * labels[:, None]
    columns = np.column_stack([scores, more])
    design = np.column_stack([columns, np.ones(num_trials)])
    sign = 2 * labels - 1
    trial_weights = np.where(labels == 1, p_target / labels.sum(), (1 - p_target) / (labels == 0).sum())

    def margins(parameters):
        return sign * (design @ parameters + logit(p_target))

    def objective(parameters):
        return trial_weights @ np.logaddexp(0.0, -margins(parameters))

    def gradient(parameters):
        return -design.T @ (trial_weights * sign * expit(-margins(parameters)))

    def hessian(parameters):
        curvature = trial_weights * expit(margins(parameters)) * expit(-margins(parameters))
        return design.T @ (design * curvature[:, None])

    start = np.zeros(4)
    options = {"gtol": 1e-14 * min(p_target, 1 - p_target)}
    oracle = minimize(objective, start, method="trust-exact", jac=gradient, hess=hessian, options=options).x
    oracle -= np.linalg.solve(hessian(oracle), gradient(oracle))  # the rounding error of the trust region
    model = fit(columns * units, labels, p_target)
    assert model.ridge == 0.0
    np.testing.assert_allclose(np.array(model.weights) * units, oracle[:-1], rtol=0, atol=1e-8)
    assert model.offset == pytest.approx(oracle[-1], abs=1e-8)


def test_the_ridge_is_scipys_minimum_too():
    # whitened: scores -1 and 1 of unit variance; ridge 2 * 0.5 / 4 = 0.25 on the weight alone
    model = fit([10.0, 10.0, 30.0, 30.0], [0, 0, 1, 1])
    oracle = minimize(lambda w: np.logaddexp(0.0, -w[0]) + 0.125 * w[0] ** 2, [0.0], tol=1e-12).x[0]
    assert model.ridge == 0.25
    np.testing.assert_allclose(model.apply([10.0, 30.0]), [-oracle, oracle], atol=1e-7)


@pytest.mark.parametrize(
    "columns",
    [
        np.array([0.1, 0.2, 0.3, 0.8, 0.9, 1.0]),  # one score divides the classes
        np.array([1.0, 0.9, 0.8, 0.3, 0.2, 0.1]),  # the wrong way round
        np.array([0.1, 0.2, 0.5, 0.5, 0.9, 1.0]),  # one tie between them
        np.array([[0.1, 0], [0.6, 0], [0.3, 0], [0.4, 0], [0.2, 1], [0.5, 1]]),  # a flag marks some targets
    ],
    ids=["separable", "inverted", "tied", "partly"],
)
@pytest.mark.parametrize("p_target", [0.01, 0.5])
def test_separable_classes_get_finite_ratios(columns, p_target):
    labels = [0, 0, 0, 1, 1, 1]
    model = fit(columns, labels, p_target)
    llr = model.apply(columns)
    assert model.ridge == pytest.approx(2 * p_target / 6)
    assert np.isfinite(model.weights).all() and np.abs(llr).max() < 20
    assert llr[3:].mean() > 0 > llr[:3].mean()


@pytest.mark.parametrize("seed", range(150))
def test_regularised_if_and_only_if_there_is_no_minimum(seed):
    generator = np.random.default_rng(seed)
    size, num_columns = generator.integers(4, 40), generator.integers(1, 4)
    columns = generator.normal(size=(size, num_columns)).round(seed % 3)
    labels = (np.arange(size) < generator.integers(1, size)).astype(int)
    p_target = generator.choice([1e-6, 0.01, 0.5, 0.99])
    model = fit(columns, labels, p_target)
    # a direction that moves no trial to the wrong side and some to the right one, by linear programming
    sides = (2 * labels - 1)[:, None] * np.column_stack([columns, np.ones(size)])
    bounds = [(-1, 1)] * (num_columns + 1)
    gain = -linprog(-sides.sum(axis=0), A_ub=-sides, b_ub=np.zeros(size), bounds=bounds).fun
    assert (model.ridge > 0) == (gain > 1e-7)
    if model.ridge == 0:  # then the gradient is zero
        shares = np.where(labels == 1, p_target / labels.mean(), (1 - p_target) / (1 - labels.mean())) / size
        residuals = shares * (labels - probability(model.apply(columns), p_target))
        gradient = residuals @ np.column_stack([columns, np.ones(size)])
        np.testing.assert_allclose(gradient / min(p_target, 1 - p_target), 0.0, atol=1e-8)


def test_separable_ratios_grow_with_the_number_of_trials():
    largest = [
        fit(np.repeat([0.0, 1.0], n), np.repeat([0, 1], n)).apply([1.0])[0] for n in (10, 1000, 10_000)
    ]
    assert 1 < largest[0] < largest[1] < largest[2] < np.log(20_000)


@pytest.mark.parametrize(("scale", "shift"), [(1e-6, 3.0), (-4.0, 1.0), (1e12, -1e12), (1e200, 0.0)])
@pytest.mark.parametrize("mean", [2.0, 40.0], ids=["overlapping", "separable"])
def test_affine_maps_of_a_score_change_nothing(scale, shift, mean):
    scores, labels = gaussian(mean=mean)
    mapped = scale * scores + shift
    expected = fit(scores, labels, 0.05).apply(scores)
    np.testing.assert_allclose(fit(mapped, labels, 0.05).apply(mapped), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("mean", [2.0, 40.0], ids=["overlapping", "separable"])
def test_mixing_columns_changes_nothing(mean):
    scores, labels = gaussian(mean=mean)
    columns = np.column_stack([scores, gaussian(seed=1)[0]])
    mixed = columns @ np.array([[1.0, 0.5], [-3.0, 20.0]]) + [7.0, -2.0]
    np.testing.assert_allclose(
        fit(mixed, labels).apply(mixed), fit(columns, labels).apply(columns), rtol=1e-7, atol=1e-7
    )


def test_large_scores_and_outliers_are_stable():
    scores, labels = gaussian()
    scores[labels.argmax()] = -1e6  # a target far on the wrong side
    model = fit(scores, labels, 0.01)
    assert np.isfinite(model.apply(scores)).all() and model.ridge == 0.0
    sure = Calibration(("score",), (1.0,), 0.0, 0.5, 1, 1, 0.0).apply([-1e308, 1e308])
    np.testing.assert_array_equal(probability(sure, 0.01), [0.0, 1.0])


def test_columns_that_say_nothing_new():
    scores, labels = gaussian()
    plain = fit(scores, labels).apply(scores)
    repeated = fit(np.column_stack([scores, np.full(4000, 7.3), 2 * scores + 1]), labels)
    assert repeated.weights[1] == 0.0
    np.testing.assert_allclose(repeated.apply(np.column_stack([scores, scores, 2 * scores + 1])), plain)
    np.testing.assert_allclose(fit(np.full(4000, 0.1), labels, 0.01).apply([0.1]), 0.0, atol=1e-12)


def test_cllr_falls_close_to_its_minimum():
    scores, labels = gaussian(20_000)
    raw = 0.1 * scores + 0.3  # ordered well, scaled badly, as cosines are
    calibrated = cllr(fit(raw, labels).apply(raw), labels)
    least = min_cllr(raw, labels)
    assert least <= calibrated < least + 0.01
    assert calibrated < 0.6 * cllr(raw, labels)


def test_probability_is_bayes_rule():
    # odds 1/4 before; LLR log 4 makes them 1, LLR 0 leaves them
    np.testing.assert_allclose(probability([np.log(4), 0.0], 0.2), [0.5, 0.2])


def test_fusion_of_independent_systems_beats_either():
    columns, labels = gaussian(20_000, mean=1.5)
    columns = np.column_stack([columns, np.random.default_rng(1).normal(size=20_000) + labels])
    train, test = slice(0, 10_000), slice(10_000, None)
    fused = fit(columns[train], labels[train], names=("a", "b"))
    # independent Gaussians of variance 1: LLR weights are the distances of the means, 1.5 and 1
    np.testing.assert_allclose(fused.weights, [1.5, 1.0], atol=0.1)
    alone = [
        cllr(fit(columns[train, i], labels[train]).apply(columns[test, i]), labels[test]) for i in (0, 1)
    ]
    assert cllr(fused.apply(columns[test], ("a", "b")), labels[test]) < min(alone) - 0.05


def test_a_useless_quality_measure_gets_no_weight_and_a_useful_one_helps():
    scores, labels = gaussian(40_000)
    generator = np.random.default_rng(2)
    noise = generator.normal(size=40_000)
    useless = fit(np.column_stack([scores, noise]), labels)
    # the deviation of an unbiased estimate is about 1 / sqrt(10,000 targets)
    assert abs(useless.weights[1]) < 0.05
    shift = generator.normal(size=40_000)  # a condition that moves all scores, and is known
    columns = np.column_stack([scores + shift, shift])
    assert cllr(fit(columns, labels).apply(columns), labels) < 0.8 * cllr(
        fit(columns[:, 0], labels).apply(columns[:, 0]), labels
    )


def test_symmetric_measures():
    values = {"duration": [1.0, 2.0, 5.0], "norm": [9.0, 8.0, 7.0]}
    names, measures = symmetric_measures(values, [0, 2, 1], [1, 0, 1], ("min", "max", "sum"))
    assert names == ("min duration", "max duration", "sum duration", "min norm", "max norm", "sum norm")
    np.testing.assert_array_equal(measures, [[1, 2, 3, 8, 9, 17], [1, 5, 6, 7, 9, 16], [2, 2, 4, 8, 8, 16]])
    swapped = symmetric_measures(values, [1, 0, 1], [0, 2, 1], ("min", "max", "sum"))[1]
    np.testing.assert_array_equal(swapped, measures)
    assert symmetric_measures(values, [0], [1])[1].shape == (1, 4)


@pytest.mark.parametrize("num_groups", [3, 5, 12])
def test_no_model_has_seen_a_speaker_it_scores(monkeypatch, num_groups):
    scores, labels, enrol, test = speaker_trials()
    speakers = {score: {a, b} for score, a, b in zip(scores.tolist(), enrol, test, strict=True)}
    seen, scored = [], []

    class Spy:
        def __init__(self, columns, *rest):
            self.model = fit(columns, *rest)
            seen.append(set.union(*(speakers[score] for score in columns[:, 0].tolist())))

        def apply(self, columns):
            used = set.union(*(speakers[score] for score in columns[:, 0].tolist()))
            assert not used & seen[-1]
            scored.extend(columns[:, 0].tolist())
            return self.model.apply(columns)

    monkeypatch.setattr(cross_validation, "fit", Spy)
    result = cross_validate(scores, labels, enrol, test, num_groups=num_groups)
    assert sorted(scored) == sorted(scores.tolist())  # each trial once
    assert result.num_unscored == 0 and np.isfinite(result.llr).all()
    # all pairs of groups; of groups of one speaker too, because each has target trials
    assert len(result.models) == num_groups * (num_groups + 1) // 2


def test_cross_validation_is_close_to_a_fit_on_all_and_no_better():
    scores, labels, enrol, test = speaker_trials(num_speakers=60, num_targets=20)
    result = cross_validate(scores, labels, enrol, test, names=("score",))
    fitted_on_all = cllr(fit(scores, labels).apply(scores), labels)
    assert fitted_on_all < cllr(result.llr, labels) < fitted_on_all + 0.01


def test_cross_validation_depends_on_the_seed_alone():
    scores, labels, enrol, test = speaker_trials()
    first = cross_validate(scores, labels, enrol, test, seed=3).llr
    np.testing.assert_array_equal(cross_validate(scores, labels, enrol, test, seed=3).llr, first)
    assert not np.allclose(cross_validate(scores, labels, enrol, test, seed=4).llr, first)
    order = np.random.default_rng(0).permutation(len(scores))
    shuffled = cross_validate(scores[order], labels[order], test[order], enrol[order], seed=3).llr
    np.testing.assert_allclose(shuffled, first[order], rtol=1e-9)


def test_trials_without_a_model_are_counted():
    # target trials of two speakers only: the fold of both of them leaves none to fit on
    enrol = ["a", "a", "b", "b", "a", "c", "c", "d", "a"]
    test = ["a", "a", "b", "b", "c", "d", "e", "e", "b"]
    labels = [1, 1, 1, 1, 0, 0, 0, 0, 0]
    result = cross_validate([2, 3, 2, 1, 1, 0, 2, 1, 0], labels, enrol, test, num_groups=5)
    assert result.num_unscored == 1 and np.flatnonzero(np.isnan(result.llr)).tolist() == [8]


def test_the_same_trials_are_refused():
    fitted = [("a/1.wav", "b/1.wav"), ("a/1.wav", "a/2.wav")]
    refuse_overlap(fitted, [("a/2.wav", "b/1.wav"), ("b/1.wav", "b/2.wav")])
    for pair in [("a/1.wav", "a/2.wav"), ("a/2.wav", "a/1.wav")]:
        with pytest.raises(
            ValueError, match=f"^1 test trials, '{pair[0]} {pair[1]}' the first, are among .*$"
        ):
            refuse_overlap(fitted, [("a/2.wav", "b/1.wav"), pair])


def test_a_calibration_survives_storage():
    scores, labels = gaussian()
    columns = np.column_stack([scores, scores**2])
    model = fit(columns, labels, 0.05, ("score", "square"))
    again = Calibration.from_dict(json.loads(json.dumps(model.to_dict())))
    assert again == model
    np.testing.assert_array_equal(again.apply(columns), model.apply(columns))


@pytest.mark.parametrize(
    "change",
    [
        {"format": "calibration-0"},
        {"format": np.zeros(3)},
        {"names": "score"},
        {"names": []},
        {"names": [1]},
        {"names": ["a", "b"]},
        {"names": ["a", "a"], "weights": [1.0, 1.0]},
        {"weights": (1.0,)},
        {"weights": [True]},
        {"weights": [10**400]},
        {"weights": [float("nan")]},
        {"offset": "0"},
        {"offset": float("inf")},
        {"offset": np.zeros(2)},
        {"p_target": 1.0},
        {"p_target": float("nan")},
        {"num_targets": 0},
        {"num_nontargets": 2.0},
        {"ridge": -1.0},
        {"ridge": None},
        {"more": 1},
    ],
    ids=str,
)
def test_hostile_stored_calibrations_are_refused(change):
    content = Calibration(("score",), (1.0,), 0.0, 0.5, 1, 1, 0.0).to_dict() | change
    with pytest.raises(ValueError, match=r"\A[^\n]+\Z"):
        Calibration.from_dict(content)


@pytest.mark.parametrize("content", [None, [], "x", {}, {"format": "calibration-1"}], ids=str)
def test_other_objects_are_no_calibrations(content):
    with pytest.raises(ValueError, match=r"\A(not a|damaged) calibration[^\n]+\Z"):
        Calibration.from_dict(content)


@pytest.mark.parametrize(
    ("columns", "labels", "p_target", "names", "message"),
    [
        ([1, np.nan, np.inf], [0, 1, 1], 0.5, (), "2 values are not finite"),
        ([1, 2, 3], [1, 1, 1], 0.5, (), "without a nontarget trial"),
        ([1, 2, 3], [0, 0, 0], 0.5, (), "without a target trial"),
        ([], [], 0.5, (), "expected trials in rows"),
        (np.zeros((3, 0)), [0, 1, 1], 0.5, (), "expected trials in rows"),
        (np.zeros((3, 1, 1)), [0, 1, 1], 0.5, (), "expected trials in rows"),
        ([[1], [2, 3]], [0, 1], 0.5, (), "expected columns of numbers"),
        (["a", "b"], [0, 1], 0.5, (), "expected columns of numbers"),
        ([1, 2, 3], [0, 1], 0.5, (), "expected a label for each of 3 trials"),
        ([1, 2, 3], [0, 1, 2], 0.5, (), "expected labels 1"),
        ([1, 2, 3], [0, 1, np.nan], 0.5, (), "expected labels 1"),
        ([1, 2, 3], [0, 1, 1], 0.0, (), "p_target must be between 0 and 1"),
        ([1, 2, 3], [0, 1, 1], np.nan, (), "p_target must be between 0 and 1"),
        ([1, 2, 3], [0, 1, 1], 0.5, ("a", "b"), "expected 1 different names"),
        (np.eye(2), [0, 1], 0.5, ("a", "a"), "expected 2 different names"),
        ([1e-320, 0, 1e-320, 0], [0, 0, 1, 1], 0.5, (), "too small to calibrate"),
    ],
)
def test_what_cannot_be_fitted_is_refused(columns, labels, p_target, names, message):
    with pytest.raises(ValueError, match=message) as error:
        fit(columns, labels, p_target, names)
    assert "\n" not in str(error.value)


def test_columns_that_were_not_fitted_are_refused():
    model = fit([1, 2, 2, 3], [0, 0, 1, 1], names=("score",))
    for columns, names, message in [
        (np.zeros((4, 2)), (), r"needs columns \['score'\], got 2 columns"),
        (np.zeros(4), ("other",), r"needs columns \['score'\], got \['other'\]"),
        ([np.nan], (), "1 values are not finite"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.apply(columns, names)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_groups": 2}, "expected 3 to 12 groups"),
        ({"num_groups": 13}, "expected 3 to 12 groups"),
        ({"enrol_speakers": ["id000"]}, "expected names of the speakers"),
        ({"enrol_speakers": None}, "expected names of the speakers"),
        ({"labels": "swapped"}, "labels contradict the speakers, trial 1 the first: label 1, speakers id000"),
    ],
)
def test_cross_validation_refuses_what_it_cannot_split(change, message):
    scores, labels, enrol, test = speaker_trials()
    values = {"labels": labels, "enrol_speakers": enrol, "test_speakers": test, **change}
    if "labels" in change:
        values["labels"] = 1 - labels
    with pytest.raises(ValueError, match=message):
        cross_validate(scores, **values)


@pytest.mark.parametrize(
    ("values", "enrol", "test", "kinds", "message"),
    [
        ({}, [0], [1], ("min",), "expected values"),
        ({"d": [1, 2]}, [0], [1], ("mean",), "kinds out of min, max, sum"),
        ({"d": [1, 2]}, [0], [1], (), "expected values, and kinds"),
        ({"d": [1, np.nan]}, [0], [1], ("min",), "d: 1 values are not finite"),
        ({"d": [1, 2]}, [0], [2], ("min",), "d: expected a value for each"),
        ({"d": [1, 2]}, [-1], [1], ("min",), "d: expected a value for each"),
        ({"d": [[1, 2]]}, [0], [0], ("min",), "d: expected a value for each"),
        ({"d": [1, 2]}, [0, 1], [1], ("min",), "expected utterance numbers"),
        ({"d": [1, 2]}, [0.0], [1.0], ("min",), "expected utterance numbers"),
    ],
)
def test_measures_that_do_not_fit_are_refused(values, enrol, test, kinds, message):
    with pytest.raises(ValueError, match=message):
        symmetric_measures(values, enrol, test, kinds)
