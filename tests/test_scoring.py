"""Trial lists of every form, scores against loops over pairs of crops, score files."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import options
from audio.lists import Trials, read_trials
from evaluation import trials as trials_module
from evaluation.trials import score_trials, write_scores
from metrics.score_files import read_scores


def trials_of(tmp_path, text):
    (tmp_path / "list.txt").write_text(text)
    return read_trials([str(tmp_path / "list.txt")], str(tmp_path))[0]


def test_labelled_trials(tmp_path):
    trials = trials_of(tmp_path, "1 a.wav b.wav\n0 a.wav c.wav\n\n1\tc.wav\tb.wav\n0 a.wav c.wav\n")
    assert trials.names == ["a.wav", "b.wav", "c.wav"]
    assert trials.enrol.tolist() == [0, 0, 2, 0] and trials.test.tolist() == [1, 2, 1, 2]
    assert trials.labels.tolist() == [1, 0, 1, 0]


def test_trials_without_labels(tmp_path):
    (tmp_path / "0").touch()
    trials = trials_of(tmp_path, "a.wav b.wav\n0 1\n")
    assert trials.labels is None and trials.names == ["a.wav", "b.wav", "0", "1"]


def test_paths_with_blanks_are_split_where_two_files_are_or_at_tabs(tmp_path):
    for name in ("my voice.wav", "b.wav"):
        (tmp_path / name).touch()
    trials = trials_of(tmp_path, "1 my voice.wav b.wav\n0\tx y.wav\tb.wav\n")
    assert trials.names == ["my voice.wav", "b.wav", "x y.wav"]
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


def cosine(a, b):
    return F.cosine_similarity(a[:, None], b[None], dim=2).mean()  # over all pairs of crops


LOOPS = {  # whole recordings (1, D) and crops (K, D) of both sides, normalised or not -> the score
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
    crops, whole, trials = torch.randn(9, 4, 16), torch.randn(9, 1, 16), random_trials()
    scoring = options.plugin("scoring", name)(4800, 4)
    groups = [whole, crops] if name == "full_and_crops" else [crops]
    summaries = scoring.summarise(groups, normalize)
    scores = score_trials(summaries, trials, scoring)
    for i, (a, b) in enumerate(zip(trials.enrol, trials.test, strict=True)):
        expected = LOOPS[name]((whole[a], whole[b]), (crops[a], crops[b]), normalize).item()
        assert scores[i] == pytest.approx(expected, abs=2e-4 if a == b else 1e-5)
    if scoring.is_vector:
        assert summaries.shape[1] == 1


@pytest.mark.parametrize("name", options.available("scoring"))
def test_what_is_embedded(name):
    audio = np.arange(10_000, dtype=np.float32)
    groups = options.plugin("scoring", name)(4800, 3).crops(audio)
    assert [group.shape for group in groups][-1] == (3, 4800)
    assert groups[-1][:, 0].tolist() == [0, 2600, 5200]
    if name == "full_and_crops":
        np.testing.assert_array_equal(groups[0], audio[None])
        with pytest.raises(ValueError, match="--eval_frames"):
            options.plugin("scoring", name)(0, 3)
    else:
        assert options.plugin("scoring", name)(0, 3).crops(audio)[0].shape == (1, 10_000)


def test_trials_without_missing_files():
    trials = Trials(["a", "b", "c"], np.array([0, 1, 2]), np.array([1, 2, 0]), np.array([1, 0, 1]))
    kept = trials.without(np.array([1]))
    assert (kept.enrol.tolist(), kept.test.tolist(), kept.labels.tolist()) == ([2], [0], [1])
    assert trials.without(np.array([], int)).enrol.tolist() == [0, 1, 2]


def test_score_files_are_read_back(tmp_path):
    trials = random_trials()
    scores = np.random.default_rng(1).normal(size=50)
    write_scores(tmp_path / "s.txt", trials, scores)
    first = (tmp_path / "s.txt").read_text().splitlines()[0].split()
    assert first[1:] == [f"{trials.enrol[0]}.wav", f"{trials.test[0]}.wav", str(trials.labels[0])]
    read, labels = read_scores(str(tmp_path / "s.txt"))
    np.testing.assert_allclose(read, scores, rtol=1e-8)
    np.testing.assert_array_equal(labels, trials.labels)


def test_score_files_of_paths_with_blanks_are_separated_by_tabs(tmp_path):
    trials = Trials(["my a", "b"], np.array([0]), np.array([1]), None)
    write_scores(tmp_path / "s.txt", trials, np.array([0.5]))
    assert (tmp_path / "s.txt").read_text() == "0.5\tmy a\tb\n"
