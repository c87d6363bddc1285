"""Score files of trials: written and read back."""

import numpy as np

from audio.trials import Trials
from evaluation.trials import write_scores
from metrics import score_files
from metrics.fields import text_of
from metrics.score_files import read_scores


def test_score_files_are_read_back(tmp_path):
    generator = np.random.default_rng(0)
    enrol, test = generator.integers(9, size=(2, 50))
    labels = generator.integers(2, size=50).astype(np.int8)
    trials = Trials([f"{i}.wav" for i in range(9)], enrol, test, labels)
    scores = generator.normal(size=50)
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


def test_long_score_files_are_written_as_short_ones_are(tmp_path, monkeypatch):
    monkeypatch.setattr(score_files, "BLOCK_LINES", 2)
    sides = np.array([0, 1, 2, 0, 1]), np.array([1, 2, 0, 2, 0])
    for names in (["a", "b", "c"], ["a", "b c", "d"], ["a", "b\t", "c"]):
        trials = Trials([*names, "not used\n"], *sides, np.array([1, 0, 1, 0, 0], np.int8))
        write_scores(tmp_path / "s.txt", trials, np.arange(5.0))
        rows = zip("01234", *([names[i] for i in side] for side in sides), "10100", strict=True)
        assert (tmp_path / "s.txt").read_text() == text_of(rows)
