"""The losses' equations on cases worked by hand."""

import json
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

import options
import tuneThreshold
from loss import _classification, _pairs
from metrics.rates import error_rates


def test_amsoftmax_subtracts_the_margin_from_the_true_cosine_only():
    loss_fn = options.plugin("loss", "amsoftmax")(2, 2, margin=0.5, scale=2.0)
    loss_fn.weight.data = torch.eye(2)
    loss, accuracy = loss_fn(torch.tensor([[[3.0, 0.0]]]), torch.tensor([0]))  # cosines 1, 0
    expected = F.cross_entropy(torch.tensor([[2.0 * (1.0 - 0.5), 0.0]]), torch.tensor([0]))
    torch.testing.assert_close(loss, expected)
    assert accuracy.tolist() == [1.0]


def test_distill_turns_embeddings_to_the_targets_of_their_speakers():
    loss_fn = options.plugin("loss", "distill")(2, 4)
    loss_fn.imprint(unit(0, 90, 200), 4, seed=1)  # of the fourth speaker nothing is known
    embeddings = torch.stack([5 * unit(30, 100), 2 * unit(90, 90)])  # of speakers 0 and 1, each two
    loss, accuracy = loss_fn(embeddings, torch.tensor([0, 1]))
    cosines = [math.cos(math.radians(angle)) for angle in (30, 100, 0, 0)]
    assert loss.item() == pytest.approx(1 - sum(cosines) / 4, abs=1e-6)
    assert accuracy.tolist() == [0.5, 1.0]  # at 100 degrees the target of speaker 1 is nearer
    assert loss_fn.targets[3].tolist() == [0.0, 0.0] and not list(loss_fn.parameters())


def test_angleproto_classifies_the_first_utterance_among_the_means_of_the_others():
    loss_fn = options.plugin("loss", "angleproto")(2, 2, init_w=1.0, init_b=0.5)
    embeddings = torch.tensor([[[2.0, 0.0], [1.0, 1.0], [1.0, -1.0]], [[0.0, 1.0], [-1.0, 0.0], [-3.0, 0.0]]])
    loss, accuracy = loss_fn(embeddings, torch.tensor([5, 9]))
    # queries (1, 0) and (0, 1); prototypes (1, 0) and (-1, 0) after length normalisation
    logits = torch.tensor([[1.0, -1.0], [0.0, 0.0]]) + 0.5
    torch.testing.assert_close(loss, F.cross_entropy(logits, torch.tensor([0, 1])))
    assert accuracy.tolist() == [1.0, 0.0]


def test_angleproto_never_rewards_dissimilarity():
    loss_fn = options.plugin("loss", "angleproto")(2, 2)
    loss_fn.w.data.fill_(-3.0)
    alike = torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]])
    loss, _ = loss_fn(alike, torch.tensor([0, 1]))
    assert loss.item() == pytest.approx(0.6931, abs=1e-4)  # ln 2: w counts as 1e-6, not as -3


def unit(*degrees):
    """Angles -> vectors (N, 2) of length 1."""
    angles = torch.tensor(degrees, dtype=torch.float64) * math.pi / 180
    return torch.stack([angles.cos(), angles.sin()], dim=1).float()


@pytest.mark.parametrize(
    ("degrees", "easy", "target"),
    [
        (60.0, False, math.cos(math.radians(60) + 0.5)),
        (60.0, True, math.cos(math.radians(60) + 0.5)),
        (120.0, True, math.cos(math.radians(120))),  # easy: no margin beyond 90 degrees
        (170.0, False, math.cos(math.radians(170)) - 0.5 * math.sin(0.5)),  # 170 degrees + 0.5 > 180
    ],
)
def test_aamsoftmax_adds_the_margin_to_the_true_speakers_angle(degrees, easy, target):
    loss_fn = options.plugin("loss", "aamsoftmax")(2, 2, margin=0.5, scale=2.0, easy_margin=easy)
    loss_fn.weight.data = unit(0.0, 90.0)
    loss, _ = loss_fn(3.0 * unit(degrees)[None], torch.tensor([0]))
    other = math.cos(math.radians(degrees - 90.0))
    expected = F.cross_entropy(torch.tensor([[2.0 * target, 2.0 * other]]), torch.tensor([0]))
    torch.testing.assert_close(loss, expected)


def test_aamsoftmax_without_a_margin_is_a_softmax_of_cosines():
    losses = [options.plugin("loss", name)(6, 5, margin=0.0) for name in ("aamsoftmax", "amsoftmax")]
    losses[1].weight.data = losses[0].weight.data
    embeddings, labels = torch.randn(3, 2, 6), torch.tensor([0, 3, 4])
    torch.testing.assert_close(losses[0](embeddings, labels), losses[1](embeddings, labels))


@pytest.mark.parametrize("name", ["amsoftmax", "aamsoftmax"])
def test_the_nearest_of_a_speakers_vectors_counts(name):
    loss_fn = options.plugin("loss", name)(2, 2, margin=0.1, scale=2.0, sub_centers=2)
    loss_fn.weight.data = torch.stack([unit(0.0, 90.0), unit(180.0, 270.0)])  # (speakers, 2, D)
    loss, accuracy = loss_fn(3.0 * unit(80.0)[None], torch.tensor([0]))
    # speaker 0: 80 and 10 degrees away, speaker 1: 100 and 170
    ten = math.radians(10)
    target = math.cos(ten) - 0.1 if name == "amsoftmax" else math.cos(ten + 0.1)
    logits = torch.tensor([[2.0 * target, 2.0 * math.cos(math.radians(100))]])
    torch.testing.assert_close(loss, F.cross_entropy(logits, torch.tensor([0])))
    assert accuracy.tolist() == [1.0]
    loss.backward()
    moved = loss_fn.weight.grad.abs().sum(dim=2) > 0.0
    assert moved.tolist() == [[False, True], [True, False]]  # only the nearest ones


@pytest.mark.parametrize("name", ["amsoftmax", "aamsoftmax"])
def test_the_nearest_others_get_a_penalty(name):
    """Others at 5, 20, 60, 170 degrees; the first is nearer than the penalty, 5.7 degrees."""
    settings = {"margin": 0.2, "scale": 2.0, "inter_topk": 2, "inter_topk_penalty": 0.1}
    loss_fn = options.plugin("loss", name)(2, 5, **settings)
    loss_fn.weight.data = unit(20.0, 170.0, 10.0, 60.0, 5.0)
    cosines = [math.cos(math.radians(degrees)) for degrees in (20, 170, 10, 60, 5)]
    if name == "amsoftmax":
        cosines[0], cosines[2], cosines[4] = cosines[0] + 0.1, cosines[2] - 0.2, cosines[4] + 0.1
    else:
        cosines[0], cosines[2] = math.cos(math.radians(20) - 0.1), math.cos(math.radians(10) + 0.2)
        cosines[4] += 1.0 - math.cos(0.1)
    loss, _ = loss_fn(3.0 * unit(0.0)[None], torch.tensor([2]))
    torch.testing.assert_close(loss, F.cross_entropy(2.0 * torch.tensor([cosines]), torch.tensor([2])))
    loss_fn.inter_topk = 99  # as many as there are
    loss_fn(3.0 * unit(0.0)[None], torch.tensor([2]))[0].backward()
    assert loss_fn.weight.grad.isfinite().all()


@pytest.mark.parametrize("kind", ["C", "A"])
def test_sphereface2_classifies_each_speaker_alone(kind):
    """Own speaker 60 degrees away, others 30 and 150; g(z) = 2 ((z + 1) / 2)^3 - 1."""
    loss_fn = options.plugin("loss", "sphereface2")(2, 3, margin=0.25, scale=4.0, margin_type=kind)
    loss_fn.weight.data = unit(60.0, -30.0, 150.0)
    loss_fn.bias.data.fill_(0.5)
    loss, accuracy = loss_fn(3.0 * unit(0.0)[None], torch.tensor([0]))

    def logit(degrees, sign):
        shift = sign * 0.25
        z = math.cos(math.radians(degrees) - shift * (kind == "A"))
        return 4.0 * (2.0 * ((z + 1.0) / 2.0) ** 3 - 1.0 + shift * (kind == "C")) + 0.5

    others = sum(math.log(1.0 + math.exp(logit(degrees, 1))) for degrees in (30, 150))
    own = math.log(1.0 + math.exp(-logit(60, -1)))
    assert loss.item() == pytest.approx(0.7 * own + 0.3 * others, rel=1e-5)
    assert accuracy.tolist() == [0.0]
    loss_fn.scale = 1e4  # log(1 + exp(z)) would overflow
    loss_fn(3.0 * unit(0.0)[None], torch.tensor([0]))[0].backward()
    assert loss_fn.weight.grad.isfinite().all() and loss_fn.bias.grad.isfinite()


@pytest.mark.parametrize("name", ["amsoftmax", "aamsoftmax"])
def test_weights_of_one_vector_per_speaker_have_the_shape_of_older_files(name):
    assert options.plugin("loss", name)(8, 5).weight.shape == (5, 8)
    assert options.plugin("loss", name)(8, 5, sub_centers=1).weight.shape == (5, 8)
    assert options.plugin("loss", name)(8, 5, sub_centers=3).weight.shape == (5, 3, 8)


def test_classes_other_than_the_targets_are_drawn_evenly():
    torch.manual_seed(0)
    draws = [_classification.draw_classes(30, 0.2, torch.tensor([4, 7])) for _ in range(2000)]
    assert all(len(d) == 6 and d.unique().equal(d) for d in draws)  # 0.2 of 30; in order, none twice
    share = torch.cat(draws).bincount(minlength=30) / 2000
    assert share[[4, 7]].tolist() == [1.0, 1.0]
    others = torch.cat([share[:4], share[5:7], share[8:]])
    assert (others - 4 / 28).abs().max() < 0.04  # four more of 28; one standard deviation is 0.008
    few = _classification.draw_classes(5, 0.2, torch.tensor([3, 0, 2]))  # more than the share
    assert few.tolist() == [0, 2, 3]
    present = torch.tensor([True, False, True, False])
    few = _classification.draw_classes(5, 0.2, torch.tensor([3, 3, 0, 2]), present)
    assert few.tolist() == [0, 3]
    assert (
        len(_classification.draw_classes(100, 0.07, torch.tensor([3]))) == 7
    )  # 0.07 * 100 is 7.000000000000001
    assert len(_classification.draw_classes(10, 1e-12, torch.tensor([], dtype=torch.long))) == 1


def test_ge2e_leaves_the_utterance_out_of_its_speaker():
    loss_fn = options.plugin("loss", "ge2e")(2, 2, init_w=1.0, init_b=0.5)
    embeddings = torch.stack([unit(0.0, 30.0), unit(90.0, 60.0)])  # (S, M, D)
    loss, accuracy = loss_fn(embeddings, torch.tensor([4, 7]))

    def cos(degrees):
        return math.cos(math.radians(degrees))

    # means: at 15 and 75 degrees; for the speaker of an utterance, the other utterance alone
    logits = [[cos(30), cos(75)], [cos(30), cos(45)], [cos(75), cos(30)], [cos(45), cos(30)]]
    expected = F.cross_entropy(torch.tensor(logits) + 0.5, torch.tensor([0, 0, 1, 1]))
    torch.testing.assert_close(loss, expected)
    assert accuracy.tolist() == [1.0, 1.0]


def test_proto_classifies_by_squared_distances_even_far_from_the_origin():
    loss_fn = options.plugin("loss", "proto")(2, 2)
    embeddings = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [1.0, 2.0]], [[2.0, 0.0], [0.0, 3.0], [0.0, 1.0]]])
    # queries (0, 0) and (2, 0); prototypes (1, 1) and (0, 2)
    expected = F.cross_entropy(-torch.tensor([[2.0, 4.0], [2.0, 8.0]]), torch.tensor([0, 1]))
    torch.testing.assert_close(loss_fn(embeddings, torch.tensor([0, 1]))[0], expected)
    torch.testing.assert_close(loss_fn(embeddings + 4096.0, torch.tensor([0, 1]))[0], expected)


def test_softmaxproto_is_the_sum_of_both():
    loss_fn = options.plugin("loss", "softmaxproto")(6, 5)
    softmax, angleproto = options.plugin("loss", "softmax")(6, 5), options.plugin("loss", "angleproto")(6, 5)
    softmax.load_state_dict(loss_fn.softmax.state_dict())
    batch = torch.randn(3, 2, 6), torch.tensor([0, 3, 4])
    loss, accuracy = loss_fn(*batch)
    torch.testing.assert_close(loss, softmax(*batch)[0] + angleproto(*batch)[0])
    torch.testing.assert_close(accuracy, softmax(*batch)[1])


# Three speakers' anchors at 0, 90 and 180 degrees, positives at 10, 60 and 170: squared distances 2 - 2 cos.
PAIRS = torch.stack([unit(0.0, 90.0, 180.0), unit(10.0, 60.0, 170.0)], dim=1)


def square(degrees):
    return 2 - 2 * math.cos(math.radians(degrees))


def test_triplet_takes_the_nearest_other_positive():
    loss_fn = options.plugin("loss", "triplet")(2, 3, margin=0.5, hard_prob=1.0, hard_rank=0)
    loss, eer = loss_fn(5.0 * PAIRS, torch.tensor([0, 1, 2]))
    # positive, others: 10, (60, 170) degrees for speaker 0; 30, (80, 80) for 1; 10, (170, 120) for 2
    expected = [square(10) - square(60), square(30) - square(80), square(10) - square(120)]
    assert loss.item() == pytest.approx(np.mean([max(0.0, e + 0.5) for e in expected]), rel=1e-5)
    assert eer == 0.0  # every positive pair is nearer than every negative one


def test_contrastive_pulls_pairs_together_and_pushes_others_to_the_margin():
    loss_fn = options.plugin("loss", "contrastive")(2, 3, margin=1.2, hard_prob=1.0, hard_rank=0)
    loss, _ = loss_fn(5.0 * PAIRS, torch.tensor([0, 1, 2]))
    negatives = [max(0.0, 1.2 - math.sqrt(square(d))) ** 2 for d in (60, 80, 120)]
    expected = np.mean([square(10), square(30), square(10), *negatives])
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_softmaxtriplet_drops_the_softmax_after_its_epochs():
    settings = {"margin": 1.0, "hard_prob": 1.0, "hard_rank": 0, "loss_ratio": 3.0}
    loss_fn = options.plugin("loss", "softmaxtriplet")(2, 3, **settings)
    softmax = options.plugin("loss", "softmax")(2, 3)
    softmax.load_state_dict(loss_fn.state_dict())
    batch = PAIRS, torch.tensor([0, 1, 2])
    # distances, not squared: 10 against 120 degrees, the third triplet, keeps the margin of 1
    first, second = (
        math.sqrt(square(positive)) - math.sqrt(square(negative)) + 1.0
        for positive, negative in ((10, 60), (30, 80))
    )
    assert min(first, second) > 0.1 and math.sqrt(square(10)) - math.sqrt(square(120)) + 1.0 < 0.0
    triplet = (first + second) / 2
    for epoch, expected in ((2, softmax(*batch)[0].item() + 3.0 * triplet), (3, triplet)):
        loss_fn.set_epoch(epoch)
        assert loss_fn(*batch)[0].item() == pytest.approx(expected, rel=1e-4)


def test_softmaxtriplet_mines_in_the_distances_of_its_margin():
    """Semi-hard: d in (d_p, d_p + 1), which holds for one other of two: 10.5 against 30 behind 10."""
    settings = {"margin": 1.0, "hard_prob": 1.0, "hard_rank": -1, "min_softmax_epoch": 0}
    loss_fn = options.plugin("loss", "softmaxtriplet")(1, 3, **settings)
    embeddings = torch.tensor([[[0.0], [10.0]], [[0.0], [10.5]], [[0.0], [30.0]]])
    losses = {round(loss_fn(embeddings, torch.tensor([0, 1, 2]))[0].item(), 4) for _ in range(40)}
    # 0 takes 10.5: 0.5 short. 1 has no semi-hard one: 10 (1.5 short) or 30 (none). 2: 10 or 10.5
    assert losses == {
        round(sum(short) / len(short), 4)
        for short in ([0.5, 1.5, 21.0], [0.5, 1.5, 20.5], [0.5, 21.0], [0.5, 20.5])
    }


def test_hard_negatives_are_among_the_nearest_and_never_the_positive():
    torch.manual_seed(0)
    distances = torch.rand(50, 50)
    order = distances.fill_diagonal_(2.0).argsort(dim=1)  # the positive comes last
    rank = torch.empty_like(order).scatter(1, order, torch.arange(50).expand(50, 50))
    draws = torch.stack([_pairs.choose_negatives(distances, 1.0, 3, 0.1) for _ in range(200)])
    chosen = rank[torch.arange(50), draws]
    assert chosen.max() == 3 and (chosen.flatten().bincount() / chosen.numel() - 0.25).abs().max() < 0.02
    for hard_rank in (1000, 48):  # beyond the batch: any other speaker
        far = torch.stack([_pairs.choose_negatives(distances, 1.0, hard_rank, 0.1) for _ in range(50)])
        assert (far != torch.arange(50)).all() and rank[torch.arange(50), far].max() == 48
    half = torch.stack([_pairs.choose_negatives(distances, 0.5, 0, 0.1) for _ in range(200)])
    nearest = (rank[torch.arange(50), half] == 0).float().mean()
    assert abs(nearest - (0.5 + 0.5 / 49)) < 0.02
    assert (half != torch.arange(50)).all()


def test_semi_hard_negatives_are_within_the_margin_beyond_the_positive():
    torch.manual_seed(0)
    distances = torch.rand(50, 50)
    distances[:, 0] = 5.0  # out of reach, but the only choice of the last row
    distances[49] = 5.0
    draws = torch.stack([_pairs.choose_negatives(distances, 0.5, -1, 0.2) for _ in range(100)])
    positive = distances.diagonal()
    drawn = distances[torch.arange(50), draws]
    within = (distances > positive[:, None]) & (distances < positive[:, None] + 0.2)
    has_any = within.any(dim=1)
    assert has_any.sum() > 20 and not has_any[49]
    assert ((drawn > positive) & (drawn < positive + 0.2))[:, has_any].all()
    assert (draws != torch.arange(50)).all() and len(draws[:, 49].unique()) > 20


@pytest.mark.parametrize("seed", range(5))
def test_the_batchs_eer_is_that_of_tunethreshold(seed):
    generator = np.random.default_rng(seed)
    target = np.round(generator.normal(0.5, 1.0, 37), 1)  # ties
    nontarget = np.round(generator.normal(-0.5, 1.0, 53), 1)
    on_device = _pairs.equal_error_rate(torch.tensor(target), torch.tensor(nontarget))
    scores, labels = np.r_[target, nontarget], np.r_[np.ones(37, int), np.zeros(53, int)]
    expected = tuneThreshold.eer(error_rates(scores, labels)).value
    assert on_device.item() == pytest.approx(expected, abs=1e-6)
    assert _pairs.equal_error_rate(torch.tensor([2.0, 3.0]), torch.tensor([0.0])) == 0.0
    assert _pairs.equal_error_rate(torch.tensor([0.0]), torch.tensor([2.0, 3.0])) == 1.0


def peak_bytes(loss_fn, embeddings, labels, trace):
    """Largest memory that forward and backward hold at once, without their input."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        loss_fn(embeddings, labels)[0].backward()
    profiler.export_chrome_trace(str(trace))
    events = [e for e in json.loads(trace.read_text())["traceEvents"] if e["name"] == "[memory]"]
    changes = [e["args"]["Bytes"] for e in sorted(events, key=lambda event: event["ts"])]
    assert max(changes) >= 800 * 800 * 4  # the similarities at least
    return np.cumsum(changes).max()


@pytest.mark.parametrize("name", ["angleproto", "ge2e", "proto", "triplet"])
def test_similarities_are_one_matrix_product(name, tmp_path):
    loss_fn = options.plugin("loss", name)(512, 800)
    embeddings = torch.randn(800, 2, 512, requires_grad=True)  # 3.3 MB; 800 x 512 x 800 would be 1.3 GB
    limit = 20e6 if name == "angleproto" else 40e6  # ge2e has twice the queries
    assert peak_bytes(loss_fn, embeddings, torch.arange(800), tmp_path / "trace.json") < limit


@pytest.mark.parametrize(
    ("name", "settings", "flag"),
    [
        ("amsoftmax", {"margin": 1.0}, "--margin"),
        ("amsoftmax", {"scale": 0.0}, "--scale"),
        ("angleproto", {"init_w": 0.0}, "--init_w"),
        ("aamsoftmax", {"margin": -0.1}, "--margin"),
        ("triplet", {"margin": 0.0}, "--margin"),
        ("contrastive", {"hard_prob": 1.5}, "--hard_prob"),
        ("softmaxtriplet", {"loss_ratio": 0.0}, "--loss_ratio"),
        ("softmax", {"sample_classes": 0.0}, "--sample_classes"),
        ("amsoftmax", {"sample_classes": 1.1}, "--sample_classes"),
        ("aamsoftmax", {"sample_classes": math.nan}, "--sample_classes"),
        ("amsoftmax", {"sub_centers": 0}, "--sub_centers"),
        ("aamsoftmax", {"sub_centers": -1}, "--sub_centers"),
        ("aamsoftmax", {"inter_topk": -1}, "--inter_topk"),
        ("amsoftmax", {"inter_topk_penalty": 1.0}, "--inter_topk_penalty"),
        ("sphereface2", {"own_weight": 1.0}, "--own_weight"),
        ("sphereface2", {"exponent": math.nan}, "--exponent"),
    ],
)
def test_values_out_of_range_are_rejected(name, settings, flag):
    with pytest.raises(ValueError, match=flag):
        options.plugin("loss", name)(4, 3, **settings)
