"""Batches of the samplers: complete, of different speakers, in the intended proportions, in linear time."""

import sys

import numpy as np
import pytest

import options
from sampler import balanced, duration, dynamic
from sampler._batches import apportion, count_occurrences
from sampler.random import Sampler


def labels_of(*counts):
    return np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))


@pytest.mark.parametrize(
    ("counts", "batch_size", "per_speaker", "batches"),
    [
        ((10,) * 40, 32, 1, 12),  # 400 tuples, 12 * 32 = 384 of them
        ((100,) * 10, 16, 1, 100),  # batches of all 10 speakers
        ((100,) * 10, 10, 1, 100),
        ((7, 7, 7, 1), 3, 2, 3),  # 3 tuples of each of three; the fourth speaker has none
        ((1000, 3, 3, 3, 3), 3, 1, 6),  # B batches need 3 B <= min(1000, B) + 12 tuples
        ((5,), 200, 2, 2),
    ],
)
def test_random_draws_all_that_fits_into_batches_of_different_speakers(
    counts, batch_size, per_speaker, batches
):
    labels = labels_of(*counts)
    sampler = Sampler(labels, batch_size, per_speaker, 500, seed=1)
    assert len(sampler) == batches
    for epoch in (1, 2):
        sampler.set_epoch(epoch)
        drawn = list(sampler)
        assert len(drawn) == batches
        utterances = np.concatenate([key.utterances for key in drawn]).ravel()
        assert len(utterances) == len(set(utterances.tolist()))
        for batch_epoch, batch, occurrences in drawn:
            assert (
                batch_epoch == epoch
                and not occurrences.any()
                and batch.shape == (sampler.batch_size, per_speaker)
            )
            assert len(set(labels[batch[:, 0]].tolist())) == sampler.batch_size
            assert (labels[batch] == labels[batch[:, :1]]).all()


def test_random_caps_speakers_and_mixes_them():
    labels = labels_of(*(30,) * 20)
    sampler = Sampler(labels, 5, 1, max_per_speaker=6, seed=1)
    plans = [sampler.plan(epoch) for epoch in range(40)]
    assert plans[0].shape == (24, 5, 1)
    assert (plans[0] == sampler.plan(0)).all() and (plans[0] != plans[1]).any()
    used = np.bincount(np.concatenate(plans).ravel(), minlength=600)
    assert used.min() > 0  # 40 epochs * 6 of 30: each utterance 8 times on average
    together = np.zeros((20, 20))
    for plan in plans:
        for batch in labels[plan[..., 0]]:
            together[np.ix_(batch, batch)] += 1
    expected = 40 * 24 * 5 * 4 / (20 * 19)  # of each pair of speakers, 50.5
    apart = together[~np.eye(20, dtype=bool)]
    assert abs(apart - expected).max() < 5 * expected**0.5


class CountedLabels(np.ndarray):
    """Labels that count how many of them NumPy's functions have read."""

    num_read = 0

    def __array_ufunc__(self, ufunc, method, *inputs, **settings):
        return self.call(getattr(ufunc, method), inputs, settings)

    def __array_function__(self, function, types, arguments, settings):
        return self.call(function, arguments, settings)

    @staticmethod
    def call(function, arguments, settings):
        """The result of a function, and the sizes of its arguments counted."""
        plain = []
        for argument in arguments:
            if isinstance(argument, CountedLabels):
                CountedLabels.num_read += argument.size
                argument = argument.view(np.ndarray)
            plain.append(argument)
        return function(*plain, **settings)


def count_work(num_speakers):
    """Speakers of 20 utterances -> numbers of function calls and of labels read for the plan of an epoch."""
    sampler = Sampler(labels_of(*(20,) * num_speakers).view(CountedLabels), 50, 2, 500, seed=10)
    CountedLabels.num_read = 0
    calls = 0

    def count(*_):
        nonlocal calls
        calls += 1

    sys.setprofile(count)
    try:
        sampler.plan(1)
    finally:
        sys.setprofile(None)
    return calls, CountedLabels.num_read


def test_the_work_for_an_epoch_is_linear_in_the_list():
    """Neither a Python loop nor a NumPy scan over the whole list for each tuple."""
    small_calls, small_reads = count_work(200)
    large_calls, large_reads = count_work(800)
    assert (
        0 < large_calls < 6 * small_calls
    )  # four times the list; a scan for each tuple is 16 times the work
    assert 800 * 20 <= large_reads < 6 * small_reads


def test_too_few_utterances_are_rejected():
    with pytest.raises(ValueError, match="no speaker can give 2 utterances: see --nPerSpeaker"):
        Sampler(np.arange(5), 2, 2, 500, seed=10)


@pytest.mark.parametrize("name", options.available("sampler"))
@pytest.mark.parametrize(("counts", "batch_size", "per_speaker"), [
    ((40, 3, 3, 2, 1), 3, 1), ((7, 7, 7, 1), 3, 2), ((9,) * 30, 8, 2), ((100, 4, 4), 2, 3),
])  # fmt: skip
def test_every_sampler_fills_its_batches_with_distinct_speakers(name, counts, batch_size, per_speaker):
    labels = labels_of(*counts)
    durations = 16_000 * (1 + np.arange(len(labels)) % 7)
    sampler = options.plugin("sampler", name)(labels, batch_size, per_speaker, 500, 1, durations)
    for epoch in (1, 2):
        plan = sampler.plan(epoch)
        assert plan.shape == (len(sampler), sampler.batch_size, per_speaker)
        assert (labels[plan] == labels[plan][..., :1]).all()  # a tuple is of one speaker
        assert all(len(set(row)) == len(row) for row in plan.reshape(-1, per_speaker).tolist())
        assert all(len(set(row)) == len(row) for row in labels[plan[..., 0]].tolist())
        assert (plan == sampler.plan(epoch)).all()
    assert (sampler.plan(1) != sampler.plan(2)).any()


def test_duration_draws_speakers_in_proportion_to_their_speech():
    labels = labels_of(*(50,) * 10)
    durations = np.where(labels < 5, 1000, 3000)
    sampler = duration.Sampler(labels, 4, 1, 500, 1, durations)
    draws = np.bincount(labels[sampler.plan(1)].ravel())
    assert draws[:5].sum() == 125 and draws[5:].sum() == 375  # 500 draws, 1 : 3
    with pytest.raises(ValueError, match="a pack: make one with dataprep"):
        duration.Sampler(labels, 4, 1, 500, 1)


@pytest.mark.parametrize("name", options.available("sampler"))
def test_the_cap_of_a_speaker_holds_for_every_sampler(name):
    labels = labels_of(*(50,) * 5, *(3,) * 15)
    sampler = options.plugin("sampler", name)(labels, 4, 1, 5, 1, 1000 + 9000 * (labels == 0))
    if sampler.needs_accuracy:
        sampler.set_accuracy(np.where(np.arange(20) < 2, 0.0, 1.0))
    assert np.bincount(labels[sampler.plan(1)].ravel()).max() <= 5


@pytest.mark.parametrize("name", options.available("sampler"))
def test_ranks_get_parts_of_the_same_batches(name):
    labels = labels_of(*(9,) * 30)
    whole, *ranks = (options.plugin("sampler", name)(labels, 8, 2, 500, 1, 1 + labels) for _ in range(5))
    for rank, part in enumerate(ranks):
        part.set_rank(rank, 4)
    for sampler in (whole, *ranks):
        sampler.set_epoch(3)
    for key, *parts in zip(whole, *ranks, strict=True):
        assert np.array_equal(np.concatenate([part.utterances for part in parts]), key.utterances)
        assert np.array_equal(np.concatenate([part.occurrences for part in parts]), key.occurrences)
    with pytest.raises(ValueError, match="batches of 8 speakers can't be split over 3 processes"):
        whole.set_rank(0, 3)


@pytest.mark.parametrize("name", options.available("sampler"))
def test_every_rank_sees_every_speaker_equally_often(name):
    """A rank's share of a speaker's draws is binomial with p = 1/4: within five standard deviations."""
    labels = labels_of(*(9,) * 24)
    counts = np.zeros((4, 24))
    for rank in range(4):
        sampler = options.plugin("sampler", name)(labels, 8, 2, 500, 1, np.full(len(labels), 16_000))
        sampler.set_rank(rank, 4)
        for epoch in range(60):
            sampler.set_epoch(epoch)
            for key in sampler:
                counts[rank] += np.bincount(labels[key.utterances[:, 0]], minlength=24)
    total = counts.sum(axis=0)
    assert total.min() > 100
    assert (abs(counts - total / 4) < 5 * np.sqrt(total * 0.25 * 0.75)).all()


def test_occurrences_by_hand():
    plan = np.array([[[3, 1], [2, 3]], [[3, 2], [1, 0]]])
    assert count_occurrences(plan).tolist() == [[[0, 0], [0, 1]], [[2, 1], [1, 0]]]


@pytest.mark.parametrize("name", options.available("sampler"))
def test_no_utterance_occurs_twice_with_the_same_number_in_an_epoch(name):
    labels = labels_of(*(40,) * 6, 3, 3)
    durations = np.where(labels < 6, 1000, 100_000)
    sampler = options.plugin("sampler", name)(labels, 4, 1, 500, 1, durations)
    sampler.set_epoch(1)
    keys = list(sampler)
    drawn = [(u, o) for key in keys for u, o in zip(key.utterances.flat, key.occurrences.flat, strict=True)]
    assert len(set(drawn)) == len(drawn) == len(sampler) * 4
    assert (max(o for _, o in drawn) > 3) == (name != "random")  # three utterances for many draws


def test_an_epoch_continues_from_any_batch():
    sampler = Sampler(labels_of(*(9,) * 30), 8, 2, 500, seed=1)
    sampler.set_epoch(2)
    batches = [key.utterances for key in sampler]
    sampler.set_epoch(2, first_batch=5)
    assert np.array_equal([key.utterances for key in sampler], batches[5:]) and len(sampler) == len(batches)


def test_balanced_draws_speakers_and_the_utterances_of_small_speakers_equally_often():
    labels = labels_of(60, 60, 60, 4, 4, 4)
    sampler = balanced.Sampler(labels, 4, 1, 500, seed=1)
    plan = sampler.plan(1)
    draws = np.bincount(labels[plan].ravel())
    assert draws.max() - draws.min() <= 1 and draws.sum() == plan.size
    small = np.flatnonzero(labels == 3)
    uses = np.array([(plan == index).sum() for index in small])
    assert uses.max() - uses.min() <= 1  # again only after all others


def test_dynamic_draws_speakers_in_proportion_to_their_errors():
    labels = labels_of(*(50,) * 10)
    sampler = dynamic.Sampler(labels, 2, 1, 500, seed=1, least_weight=0.1)
    first = np.bincount(labels[sampler.plan(1)].ravel())
    assert first.max() - first.min() <= 1  # no errors are known yet
    sampler.set_accuracy(np.array([0.0, 0.5, 1.0, np.nan, *[0.8] * 6]))  # errors 1, .5, 0, unknown, .2 ...
    weights = np.array([1.0, 0.5, 0.1, 1.0, *[0.2] * 6])
    draws = np.bincount(labels[sampler.plan(2)].ravel(), minlength=10)
    np.testing.assert_allclose(draws, weights / weights.sum() * draws.sum(), atol=1.0)
    twin = dynamic.Sampler(labels, 2, 1, 500, seed=1, least_weight=0.1)
    twin.load_state_dict(sampler.state_dict())
    assert (twin.plan(2) == sampler.plan(2)).all()
    with pytest.raises(ValueError, match="--least_weight"):
        dynamic.Sampler(labels, 2, 1, 500, seed=1, least_weight=0.0)


@pytest.mark.parametrize(
    ("weights", "total", "most", "shares"),
    [
        ([1, 1, 2], 8, 8, [2, 2, 4]),
        ([1, 1, 8], 8, 4, [2, 2, 4]),  # 6.4 is cut to 4, which leaves 4 for the other two
        ([0, 1, 100], 9, 5, [0, 4, 5]),
        ([1, 1, 1], 9, 3, [3, 3, 3]),
    ],
)
def test_apportioned_shares_add_up_and_respect_the_cap(weights, total, most, shares):
    counts = apportion(np.array(weights, float), total, most, np.random.default_rng(0))
    assert counts.tolist() == shares


def test_the_expected_draws_are_the_exact_shares():
    """Shares 0.265, 0.265, 0.97, 3.5 and 5; the mean of 4,000 epochs is within five standard errors."""
    shares = np.array([0.265, 0.265, 0.97, 3.5, 5.0])
    generator = np.random.default_rng(0)
    counts = np.array([apportion(shares, 10, 8, generator) for _ in range(4_000)])
    assert (counts.sum(axis=1) == 10).all() and (abs(counts - shares) < 1.0).all()
    errors = np.sqrt(shares % 1.0 * (1.0 - shares % 1.0) / len(counts))  # of a mean of two whole numbers
    assert (abs(counts.mean(axis=0) - shares) <= 5.0 * errors).all()
