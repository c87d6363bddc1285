"""Trial lists of every form, scores against loops over pairs of crops, score files."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import scorefiles
import scoring
from scoring import Trials, read_trials, score_trials, summarise, write_scores


def trials_of(tmp_path, text):
    (tmp_path / "list.txt").write_text(text)
    return read_trials(str(tmp_path / "list.txt"), str(tmp_path))


def test_labelled_trials(tmp_path):
    trials = trials_of(tmp_path, "1 a.wav b.wav\n0 a.wav c.wav\n\n1\tc.wav\tb.wav\n0 a.wav c.wav\n")
    assert trials.files == ["a.wav", "b.wav", "c.wav"]
    assert trials.enrol.tolist() == [0, 0, 2, 0] and trials.test.tolist() == [1, 2, 1, 2]
    assert trials.labels.tolist() == [1, 0, 1, 0]


def test_trials_without_labels(tmp_path):
    (tmp_path / "0").touch()
    trials = trials_of(tmp_path, "a.wav b.wav\n0 1\n")
    assert trials.labels is None and trials.files == ["a.wav", "b.wav", "0", "1"]


def test_paths_with_blanks_are_split_where_two_files_are_or_at_tabs(tmp_path):
    for name in ("my voice.wav", "b.wav"):
        (tmp_path / name).touch()
    trials = trials_of(tmp_path, "1 my voice.wav b.wav\n0\tx y.wav\tb.wav\n")
    assert trials.files == ["my voice.wav", "b.wav", "x y.wav"]
    assert trials_of(tmp_path, "my voice.wav b.wav\n").labels is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1 a.wav\n0 a b\n", r"list\.txt:1: expected .* got 2 fields"),
        ("1 a b\n0\n", r"list\.txt:2: expected .* got 1 fields"),
        ("1 a b\n0 a b c\n", r"list\.txt:2: expected .* got 4 fields"),
        ("1 a b\n2 a b\n", r"list\.txt:2: expected"),
        ("1 a b\na b\n", r"list\.txt:2: some trials have labels"),
        ("1 a b\n1 a c\n", r"all 2 trials are of one class; it has no nontarget"),
        ("0 a b\n", r"it has no target"),
        ("\n", "the list is empty"),
    ],
)
def test_wrong_lists_are_refused(tmp_path, text, words):
    with pytest.raises(ValueError, match=words):
        trials_of(tmp_path, text)


def random_trials(num_files=9, num_trials=50):
    generator = np.random.default_rng(0)
    sides = generator.integers(num_files, size=(2, num_trials))
    labels = generator.integers(2, size=num_trials).astype(np.int8)
    return Trials([f"{i}.wav" for i in range(num_files)], *sides, labels)


@pytest.mark.parametrize("block_values", [1, 1000, 1 << 19])
@pytest.mark.parametrize("method", scoring.METHODS)
@pytest.mark.parametrize("normalize", [True, False])
def test_scores_equal_the_mean_over_all_pairs_of_crops(method, normalize, block_values, monkeypatch):
    monkeypatch.setattr(scoring, "BLOCK_VALUES", block_values)
    torch.manual_seed(0)
    crops, trials = torch.randn(9, 4, 16), random_trials()
    scores = score_trials(summarise(crops, method, normalize), trials, method)
    for i, (a, b) in enumerate(zip(trials.enrol, trials.test, strict=True)):
        if method == "cosine":
            expected = F.cosine_similarity(crops[a][:, None], crops[b][None], dim=2).mean()
        else:
            x, y = (F.normalize(crops[k], dim=1) if normalize else crops[k] for k in (a, b))
            expected = -torch.cdist(x, y).mean()
        assert scores[i] == pytest.approx(expected.item(), abs=2e-4 if a == b else 1e-5)


def test_trials_without_missing_files():
    trials = Trials(["a", "b", "c"], np.array([0, 1, 2]), np.array([1, 2, 0]), np.array([1, 0, 1]))
    kept = trials.without({1})
    assert (kept.enrol.tolist(), kept.test.tolist(), kept.labels.tolist()) == ([2], [0], [1])
    assert trials.without(set()).enrol.tolist() == [0, 1, 2]


def test_score_files_are_read_back(tmp_path):
    trials = random_trials()
    scores = np.random.default_rng(1).normal(size=50)
    write_scores(tmp_path / "s.txt", trials, scores)
    first = (tmp_path / "s.txt").read_text().splitlines()[0].split()
    assert first[1:] == [f"{trials.enrol[0]}.wav", f"{trials.test[0]}.wav", str(trials.labels[0])]
    read, labels = scorefiles.read_scores(str(tmp_path / "s.txt"))
    np.testing.assert_allclose(read, scores, rtol=1e-8)
    np.testing.assert_array_equal(labels, trials.labels)


def test_score_files_of_paths_with_blanks_are_separated_by_tabs(tmp_path):
    trials = Trials(["my a", "b"], np.array([0]), np.array([1]), None)
    write_scores(tmp_path / "s.txt", trials, np.array([0.5]))
    assert (tmp_path / "s.txt").read_text() == "0.5\tmy a\tb\n"
