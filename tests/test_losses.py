"""The losses' equations on cases worked by hand."""

import pytest
import torch
from torch.nn import functional as F

import options


def test_amsoftmax_takes_the_margin_off_the_true_cosine_only():
    loss_fn = options.plugin("loss", "amsoftmax")(2, 2, margin=0.5, scale=2.0)
    loss_fn.weight.data = torch.eye(2)
    loss, accuracy = loss_fn(torch.tensor([[[3.0, 0.0]]]), torch.tensor([0]))  # cosines 1, 0
    expected = F.cross_entropy(torch.tensor([[2.0 * (1.0 - 0.5), 0.0]]), torch.tensor([0]))
    torch.testing.assert_close(loss, expected)
    assert accuracy.tolist() == [1.0]


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
    assert loss.item() == pytest.approx(0.6931, abs=1e-4)  # ln 2: w is held just above 0, not at -3


@pytest.mark.parametrize(
    ("name", "settings", "flag"),
    [
        ("amsoftmax", {"margin": 1.0}, "--margin"),
        ("amsoftmax", {"scale": 0.0}, "--scale"),
        ("angleproto", {"init_w": 0.0}, "--init_w"),
    ],
)
def test_values_that_make_no_sense_are_refused(name, settings, flag):
    with pytest.raises(ValueError, match=flag):
        options.plugin("loss", name)(4, 3, **settings)
