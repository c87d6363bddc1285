"""Trial lists of every form: labels, paths with blanks, errors that name file and line."""

import numpy as np
import pytest

from audio.trials import Trials, read_trials


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
        ("1 a b\na b\n", r'list\.txt:2: expected "label enrol test" as in line 1, got 2 fields: a b'),
        ("1 a b\n1 a c\n", r"all 2 trials are of one class; it has no nontarget"),
        ("0 a b\n", r"it has no target"),
        ("\n", "the list is empty"),
    ],
)
def test_wrong_lists_are_rejected(tmp_path, text, words):
    with pytest.raises(ValueError, match=words):
        trials_of(tmp_path, text)


def test_trials_of_missing_files_are_removed():
    trials = Trials(["a", "b", "c"], np.array([0, 1, 2]), np.array([1, 2, 0]), np.array([1, 0, 1]))
    kept = trials.without(np.array([1]))
    assert (kept.enrol.tolist(), kept.test.tolist(), kept.labels.tolist()) == ([2], [0], [1])
    assert trials.without(np.array([], int)).enrol.tolist() == [0, 1, 2]
