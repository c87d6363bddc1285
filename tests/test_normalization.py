"""Every normalization/*.py against a loop over trials in NumPy; speakers, blocks, cohorts, shifts."""

import importlib
import inspect

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import options
import tuneThreshold
from metrics.rates import error_rates
from normalization import _cohort
from normalization._cohort import Statistics, speaker_means, subtract_mean

NAMES = options.available("normalization")
BY_COHORT = [name for name in NAMES if name != "none"]


def normalization(name, *wired, **settings):
    return importlib.import_module(f"normalization.{name}").Normalization(*wired, **settings)


def normalise_one_by_one(name, scores, enrol, test, vectors, cohort, speakers, cohort_speakers, top_n):
    """The definitions, one trial at a time; vectors and cohort (., D), speakers or None."""

    def standard(score, utterance):
        against = []
        for entry in range(len(cohort)):
            same_speaker = speakers is not None and 0 <= speakers[utterance] == cohort_speakers[entry]
            if not same_speaker:
                against.append(vectors[utterance] @ cohort[entry])
        against = sorted(against, reverse=True)[: top_n or None]
        return (score - np.mean(against)) / np.std(against)

    normalised = []
    for score, a, b in zip(scores, enrol, test, strict=True):
        by_enrol, by_test = standard(score, a), standard(score, b)
        means = {"znorm": by_enrol, "tnorm": by_test}
        normalised.append(means.get(name, (by_enrol + by_test) / 2))
    return np.array(normalised)


def unit(generator, *shape):
    return F.normalize(torch.from_numpy(generator.normal(size=shape)).float(), dim=-1)


def case(num_utterances=11, num_entries=17, dim=6, num_trials=40, exact=True):
    generator = np.random.default_rng(3)
    vectors, cohort = unit(generator, num_utterances, dim), unit(generator, num_entries, dim)
    if (
        exact
    ):  # products of multiples of 1 / 1024 are exact in float32. Otherwise a cohort of the two nearest, whose
        # scores may be nearly equal, magnifies rounding errors
        vectors = (vectors * 1024).round() / 1024
        cohort = (cohort * 1024).round() / 1024
    speakers = generator.integers(-1, 5, num_utterances)
    cohort_speakers = generator.integers(-1, 5, num_entries)
    enrol, test = generator.integers(num_utterances, size=(2, num_trials))
    scores = (vectors[enrol] * vectors[test]).sum(1).double().numpy()
    return scores, enrol, test, vectors, cohort, speakers, cohort_speakers


@pytest.mark.parametrize("block_values", [1, 40, 1 << 20])
@pytest.mark.parametrize("leave_out_speaker", [False, True])
@pytest.mark.parametrize(
    ("name", "top_n"),
    [(n, top_n) for n in BY_COHORT for top_n in (0, 2, 7, 15, 17, 300) if top_n or n != "asnorm"],
)
def test_equal_to_a_loop_over_trials(name, leave_out_speaker, top_n, block_values, monkeypatch):
    monkeypatch.setattr(_cohort, "BLOCK_VALUES", block_values)
    monkeypatch.setattr(_cohort, "MIN_ROWS", 1)
    scores, enrol, test, vectors, cohort, *ids = case()
    speakers, cohort_speakers = ids if leave_out_speaker else (None, None)
    method = normalization(name, cohort, cohort_speakers, top_n=top_n)
    statistics = method.statistics(vectors, speakers)
    normalised = method.apply(scores, statistics, enrol, test)
    arrays = vectors.double().numpy(), cohort.double().numpy()
    expected = normalise_one_by_one(name, scores, enrol, test, *arrays, speakers, cohort_speakers, top_n)
    assert normalised.dtype == np.float64 and statistics.mean.shape == statistics.deviation.shape == (11,)
    np.testing.assert_allclose(normalised, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("top_n", [5, 300])
@pytest.mark.parametrize("name", BY_COHORT)
def test_equal_to_a_loop_over_trials_for_vectors_of_unit_length(name, top_n):
    scores, enrol, test, vectors, cohort, *ids = case(exact=False)
    method = normalization(name, cohort, ids[1], top_n=top_n)
    normalised = method.apply(scores, method.statistics(vectors, ids[0]), enrol, test)
    arrays = vectors.double().numpy(), cohort.double().numpy()
    expected = normalise_one_by_one(name, scores, enrol, test, *arrays, *ids, top_n)
    np.testing.assert_allclose(normalised, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.requires_cuda
@pytest.mark.parametrize("name", BY_COHORT)
def test_on_a_gpu(name):
    scores, enrol, test, vectors, cohort, speakers, cohort_speakers = case()
    on_cpu = normalization(name, cohort, cohort_speakers, top_n=5)
    on_gpu = normalization(name, cohort.cuda(), cohort_speakers, top_n=5)
    results = [
        method.apply(scores, method.statistics(v, speakers), enrol, test)
        for method, v in ((on_cpu, vectors), (on_gpu, vectors.cuda()), (on_cpu, vectors.cuda()))
    ]
    np.testing.assert_allclose(results[1], results[0], atol=1e-5)
    np.testing.assert_allclose(results[2], results[0], atol=1e-5)


def test_values_worked_by_hand():
    cohort = torch.tensor([[0.0, 0.0], [0.5, 0.25], [1.0, 0.5], [0.75, 1.0]])
    vectors = torch.eye(2)  # the cohort scores 0, .5, 1, .75 and 0, .25, .5, 1
    enrol, test, score = np.array([0]), np.array([1]), np.array([0.6])

    def value(name, top_n, ids=None, speakers=None):
        method = normalization(name, cohort, ids, top_n=top_n)
        return method.apply(score, method.statistics(vectors, speakers), enrol, test).item()

    # enrolment side, top 2: mean .875, deviation .125; test side, top 2: mean .75, deviation .25
    assert value("znorm", 2) == pytest.approx((0.6 - 0.875) / 0.125)  # -2.2
    assert value("tnorm", 2) == pytest.approx((0.6 - 0.75) / 0.25)  # -0.6
    assert value("snorm", 2) == value("asnorm", 2) == pytest.approx((-2.2 - 0.6) / 2)
    # without entry 2 (speaker 8) for utterance 0, top 2: .75 and .5
    assert value("znorm", 2, np.array([7, 7, 8, 9]), np.array([8, 6])) == pytest.approx((0.6 - 0.625) / 0.125)
    # all: mean .5625, squares 0 + .25 + 1 + .5625 = 1.8125, variance 1.8125 / 4 - .31640625 = .13671875
    assert value("znorm", 0) == pytest.approx((0.6 - 0.5625) / 0.13671875**0.5)


def test_none_returns_the_scores_unchanged():
    scores, enrol, test, vectors, *_ = case()
    method = normalization("none")
    statistics = method.statistics(vectors)
    np.testing.assert_array_equal(method.apply(scores, statistics, enrol, test), scores)
    np.testing.assert_array_equal((scores - statistics.mean[enrol]) / statistics.deviation[enrol], scores)


@pytest.mark.parametrize("name", NAMES)
def test_every_file_keeps_the_contract(name):
    factory = importlib.import_module(f"normalization.{name}").Normalization
    hints = inspect.get_annotations(factory.__init__)
    for option, parameter in options.plugin_options(factory).items():
        assert parameter.default is not inspect.Parameter.empty
        assert len(hints[option].__metadata__[0]) > 3, f"{option} has no help"
    assert list(options.plugin_options(factory)) == ["top_n"] * factory.needs_cohort
    assert factory.__doc__ and factory.apply.__doc__ and factory.statistics.__doc__
    scores, enrol, test, vectors, cohort, speakers, cohort_speakers = case()
    method = factory(cohort, cohort_speakers)
    statistics = method.statistics(vectors.requires_grad_(), speakers)
    assert (statistics.deviation > 0).all()
    shuffle = np.random.default_rng(0).permutation(len(scores))
    whole = method.apply(scores, statistics, enrol, test)
    parts = method.apply(scores[shuffle], statistics, enrol[shuffle], test[shuffle])
    np.testing.assert_array_equal(whole[shuffle], parts)


def test_tied_cohort_scores_each_count():
    # 1, .5, .5, .5, 0: the top 3 are 1, .5, .5, whichever of the tied entries they come from
    cohort = torch.tensor([[0.5], [1.0], [0.5], [0.0], [0.5]])
    statistics = normalization("snorm", cohort, top_n=3).statistics(torch.ones(1, 1))
    assert statistics.mean.item() == pytest.approx(2 / 3)
    assert statistics.deviation.item() == pytest.approx((1.5 / 3 - 4 / 9) ** 0.5)


def test_a_cohort_smaller_than_top_n_is_used_whole():
    _, _, _, vectors, cohort, *_ = case()
    few, every = (normalization("asnorm", cohort, top_n=n).statistics(vectors) for n in (300, 17))
    whole = normalization("snorm", cohort).statistics(vectors)
    np.testing.assert_array_equal([*few, *every], [*whole, *whole])


@pytest.mark.parametrize("name", BY_COHORT)
def test_a_constant_cohort_gives_finite_scores(name):
    entry = F.normalize(torch.randn(1, 8, generator=torch.Generator().manual_seed(0)))
    method = normalization(name, entry.repeat(400, 1))
    vectors = torch.cat([entry, -entry])
    statistics = method.statistics(vectors)
    np.testing.assert_array_equal(statistics.deviation, _cohort.MIN_DEVIATION)
    assert np.isfinite(method.apply(np.array([-1.0]), statistics, np.array([0]), np.array([1]))).all()


def test_the_order_of_the_cohort_and_unknown_speakers_do_not_matter():
    _, _, _, vectors, cohort, speakers, cohort_speakers = case()
    order = np.random.default_rng(1).permutation(len(cohort))
    one = normalization("asnorm", cohort, cohort_speakers, top_n=4).statistics(vectors, speakers)
    other = normalization("asnorm", cohort[order], cohort_speakers[order], top_n=4)
    np.testing.assert_allclose(other.statistics(vectors, speakers), one, atol=1e-7)
    unknown = np.full(len(vectors), -1)
    nothing_left_out = normalization("asnorm", cohort, top_n=4).statistics(vectors)
    np.testing.assert_allclose(other.statistics(vectors, unknown), nothing_left_out, atol=1e-7)


def test_products_are_computed_in_float32_under_autocast_and_of_half_precision():
    _, _, _, vectors, cohort, *_ = case()
    method = normalization("snorm", cohort)
    expected = method.statistics(vectors)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        np.testing.assert_array_equal(method.statistics(vectors), expected)
    exact = normalization("snorm", cohort.half().float()).statistics(vectors.half().float())
    np.testing.assert_array_equal(normalization("snorm", cohort.half()).statistics(vectors.half()), exact)


ONES = torch.ones(3, 4)


@pytest.mark.parametrize(
    ("work", "words"),
    [
        (lambda: normalization("asnorm", torch.ones(0, 4)), "cohort of at least 2 entries, got 0"),
        (lambda: normalization("znorm", torch.ones(1, 4)), "cohort of at least 2 entries, got 1"),
        (
            lambda: normalization("snorm", torch.ones(3, 2, 4)),
            r"cohort: .* got \(3, 2, 4\).*--score_norm needs a --scoring",
        ),
        (lambda: normalization("snorm", ONES * torch.nan), "cohort: some values are not finite"),
        (lambda: normalization("snorm", ONES, np.arange(2)), r"cohort: expected 3 speaker ids, got \(2,\)"),
        (lambda: normalization("tnorm", ONES, top_n=1), "--top_n must be 0 .* or at least 2, got 1"),
        (lambda: normalization("tnorm", ONES, top_n=-3), "--top_n must be .* got -3"),
        (lambda: normalization("asnorm", ONES, top_n=0), "at least 2 with --score_norm asnorm, got 0"),
        (lambda: normalization("asnorm", ONES, top_n=1), "--top_n must be"),
        (
            lambda: normalization("snorm", ONES).statistics(torch.ones(5, 10, 4)),
            r"utterances: .*\(5, 10, 4\)",
        ),
        (
            lambda: normalization("snorm", ONES).statistics(torch.ones(5, 3)),
            "of 4 values, the utterances of 3",
        ),
        (lambda: normalization("snorm", ONES).statistics(ONES / 0), "utterances: some values are not finite"),
        (lambda: normalization("snorm", ONES).statistics(ONES, np.arange(3)), "not those of the cohort"),
        (
            lambda: normalization("snorm", ONES, np.array([5, 5, 6])).statistics(ONES, np.array([6, 5, 6])),
            "got 1 for utterance 1 of speaker 5",
        ),
        (
            lambda: _cohort.standardise(np.ones(3), Statistics(np.ones(1), np.ones(1)), np.zeros(2, int)),
            "one utterance for each score",
        ),
        (lambda: speaker_means(torch.ones(0, 4), np.zeros(0, int)), "list without utterances"),
        (lambda: speaker_means(ONES, np.array([1, -1, 2])), "every speaker; 1 are unknown"),
        (lambda: speaker_means(ONES[0], np.arange(4)), r"cohort utterances: .* got \(4,\)"),
        (lambda: subtract_mean(ONES, torch.ones(3)), r"expected a mean \(D,\)"),
        (lambda: subtract_mean(ONES, torch.ones(1, 4)), r"expected a mean \(D,\)"),
    ],
)
def test_mistakes_are_rejected_in_one_line(work, words):
    with pytest.raises(ValueError, match=words) as error:
        work()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("block_values", [1, 1 << 20])
def test_speaker_means(block_values, monkeypatch):
    monkeypatch.setattr(_cohort, "BLOCK_VALUES", block_values)
    monkeypatch.setattr(_cohort, "MIN_ROWS", 2)
    vectors = torch.tensor([[3.0, 0.0], [0.0, 1.0], [0.0, 4.0], [0.0, -2.0], [0.0, 7.0]])
    speakers = np.array([9, 4, 9, 4, 9])
    # speaker 4: (0, -1) / 2; speaker 9: (3, 11) / 3, of the first two (3, 4) / 2
    means, ids = speaker_means(vectors, speakers)
    assert ids.tolist() == [4, 9] and means.dtype == torch.float32
    torch.testing.assert_close(means, torch.tensor([[0.0, -1.0], [3 / 130**0.5, 11 / 130**0.5]]))


def test_a_mean_is_subtracted_before_length_normalisation():
    cohort = torch.randn(50, 3, 4, generator=torch.Generator().manual_seed(0)) + 5.0
    mean = cohort.mean(dim=(0, 1))
    centred = subtract_mean(cohort, mean)
    torch.testing.assert_close(centred.mean(dim=(0, 1)), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(centred[7, 2], cohort[7, 2] - mean)


def test_shifts_of_sessions_are_removed():
    """Each session shifts its vectors towards a common direction by a different amount."""
    generator = np.random.default_rng(0)
    dim, num_speakers, sessions = 32, 60, 6

    def shifted_vectors(shift, num_speakers):
        voices = unit(generator, num_speakers, 1, dim) + 0.8 * unit(generator, num_speakers, sessions, dim)
        common = F.one_hot(torch.tensor(0), dim) * torch.from_numpy(shift).float()[..., None]
        vectors = F.normalize(voices + common, dim=-1).flatten(0, 1)
        return vectors, np.repeat(np.arange(num_speakers), sessions)

    vectors, speakers = shifted_vectors(
        generator.uniform(0.0, 3.0, size=(num_speakers, sessions)), num_speakers
    )
    cohort = speaker_means(*shifted_vectors(np.full((300, sessions), 1.5), 300))[0]
    enrol, test = np.triu_indices(len(vectors), 1)
    labels = speakers[enrol] == speakers[test]
    scores = (vectors @ vectors.T).double().numpy()[enrol, test]
    rates = {}
    for name in NAMES:
        method = normalization(name, cohort)
        normalised = method.apply(scores, method.statistics(vectors), enrol, test)
        rates[name] = tuneThreshold.eer(error_rates(normalised, labels)).value
    assert rates["none"] > 0.3 and rates["snorm"] < 0.7 * rates["none"]


def test_a_shift_of_one_side_is_removed_exactly_by_that_sides_normalisation():
    scores, enrol, test, vectors, cohort, *_ = case()
    shift = torch.linspace(-1, 1, len(vectors))[:, None]
    shifted = torch.cat([vectors, shift], dim=1)  # adds a different amount to all scores of each utterance
    longer = torch.cat([cohort, torch.ones(len(cohort), 1)], dim=1)
    for name, side in (("znorm", enrol), ("tnorm", test)):
        before, after = normalization(name, cohort), normalization(name, longer)
        expected = before.apply(scores, before.statistics(vectors), enrol, test)
        moved = scores + shift.double().numpy()[side, 0]
        actual = after.apply(moved, after.statistics(shifted), enrol, test)
        np.testing.assert_allclose(actual, expected, atol=1e-5)
