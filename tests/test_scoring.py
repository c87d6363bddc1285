"""Scores of every scoring/*.py against a loop over trials and pairs of crops."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import options
from audio.trials import Trials
from evaluation import trials as trials_module
from evaluation.trials import score_trials


def random_trials(num_files=9, num_trials=50):
    generator = np.random.default_rng(0)
    sides = generator.integers(num_files, size=(2, num_trials))
    labels = generator.integers(2, size=num_trials).astype(np.int8)
    return Trials([f"{i}.wav" for i in range(num_files)], *sides, labels)


def cosine(a, b):
    return F.cosine_similarity(a[:, None], b[None], dim=2).mean()  # over all pairs of crops


EXPECTED = {  # whole recordings (1, D) and crops (K, D) of both sides, whether to normalise -> score
    "cosine": lambda whole, crops, normalize: cosine(*crops),
    "mean": lambda whole, crops, normalize: F.cosine_similarity(*(side.mean(0) for side in crops), dim=0),
    "full_and_crops": lambda whole, crops, normalize: (cosine(*whole) + cosine(*crops)) / 2,
    "distance": lambda whole, crops, normalize: (
        -torch.cdist(*(F.normalize(side, dim=1) if normalize else side for side in crops)).mean()
    ),
}


@pytest.mark.parametrize("block_values", [1, 1000, 1 << 19])
@pytest.mark.parametrize("name", options.available("scoring"))
@pytest.mark.parametrize("normalize", [True, False])
def test_scores_equal_a_loop_over_trials(name, normalize, block_values, monkeypatch):
    monkeypatch.setattr(trials_module, "BLOCK_VALUES", block_values)
    torch.manual_seed(0)
    crops, whole = torch.randn(9, 4, 16), torch.randn(9, 1, 16)
    trials = random_trials()
    scoring = options.plugin("scoring", name)(4800, 4)
    groups = [whole, crops] if name == "full_and_crops" else [crops]
    summaries = scoring.summarise(groups, normalize)
    scores = score_trials(summaries, trials, scoring)
    for i, (a, b) in enumerate(zip(trials.enrol, trials.test, strict=True)):
        expected = EXPECTED[name]((whole[a], whole[b]), (crops[a], crops[b]), normalize).item()
        assert scores[i] == pytest.approx(expected, abs=2e-4 if a == b else 1e-5)
    if scoring.is_vector:
        assert summaries.shape[1] == 1


@pytest.mark.parametrize("name", [name for name in options.available("scoring") if name != "mean"])
def test_the_crops_that_are_embedded(name):
    audio = np.arange(10_000, dtype=np.float32)
    groups = options.plugin("scoring", name)(4800, 3).crops(audio)
    assert groups[-1].shape == (3, 4800)
    assert groups[-1][:, 0].tolist() == [0, 2600, 5200]
    assert options.plugin("scoring", name)(4800, 3).windows is None
    if name == "full_and_crops":
        np.testing.assert_array_equal(groups[0], audio[None])
        with pytest.raises(ValueError, match="--eval_frames"):
            options.plugin("scoring", name)(0, 3)
    else:
        assert options.plugin("scoring", name)(0, 3).crops(audio)[0].shape == (1, 10_000)


def test_windows_are_cut_out_of_whole_recordings():
    audio = np.arange(10_000, dtype=np.float32)
    windows = options.plugin("scoring", "mean")(5360, 3)
    assert windows.windows == (5360, 3)
    np.testing.assert_array_equal(windows.crops(audio), [audio[None]])
    np.testing.assert_array_equal(windows.crops(audio[:2000]), [np.resize(audio[:2000], (1, 5360))])
    whole = options.plugin("scoring", "mean")(0, 3)
    assert whole.windows is None
    np.testing.assert_array_equal(whole.crops(audio[:2000]), [np.resize(audio[:2000], (1, 4800))])  # 0.3 s
