"""Open-set identification: ranks, thresholds at false alarm rates, and the evaluation that computes them."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import assert_refused, run_here

from evaluation import identification
from evaluation.identification import Identification
from metrics.identification import STRANGER, at_far, curve, identified, rank_probes

SPEAKERS = np.array([0, 1, 2, STRANGER, STRANGER, STRANGER, STRANGER])
SCORES = np.array(
    [
        [0.9, 0.1, 0.2],  # right
        [0.6, 0.5, 0.1],  # second
        [0.3, 0.4, 0.4],  # a tie, which is no identification
        [0.7, 0.2, 0.1],
        [0.1, 0.3, 0.2],
        [0.2, 0.2, 0.1],
        [0.0, 0.1, 0.1],
    ]
)


def test_ranks_and_thresholds_by_hand():
    probes = rank_probes(SCORES, SPEAKERS)
    assert probes.rank.tolist() == [1, 2, 2, 0, 0, 0, 0]
    assert probes.best.tolist()[:5] == [0, 0, 1, 0, 1]
    assert [identified(probes, n)[:] for n in (1, 2, 3)] == [(1, 3), (3, 3), (3, 3)]
    half, quarter, none = (at_far(probes, far) for far in (0.5, 0.25, 0.1))
    assert (half.threshold, half.far[:], half.dir[:]) == (0.2, (2, 4), (1, 3))
    assert (quarter.threshold, quarter.far[:], quarter.dir[:]) == (0.3, (1, 4), (1, 3))
    assert (none.threshold, none.far[:], none.dir[:]) == (0.7, (0, 4), (1, 3))
    assert at_far(probes, 1.0).threshold == -np.inf


def test_rates_equal_those_of_a_loop_over_thresholds():
    generator = np.random.default_rng(3)
    speakers = np.where(np.arange(80) < 50, generator.integers(0, 6, 80), STRANGER)
    scores = generator.normal(size=(80, 6)).round(1)  # with ties
    scores[np.arange(50), speakers[:50]] += 1.0
    probes = rank_probes(scores, speakers)

    def rates(threshold):
        false = sum(max(row) > threshold for row in scores[50:].tolist())
        right = 0
        for row, own in zip(scores[:50].tolist(), speakers, strict=False):
            others = [score for number, score in enumerate(row) if number != own]
            right += row[own] > threshold and row[own] > max(others)
        return false, right

    for far in (0.5, 0.1, 0.03, 0.001):
        point = at_far(probes, far)
        assert rates(point.threshold) == (point.far.num, point.dir.num)
        assert point.far.value <= far < rates(np.nextafter(point.threshold, -np.inf))[0] / 30
    fars, dirs = curve(probes)
    thresholds = np.sort(scores[50:].max(axis=1))[::-1]
    found = [rates(threshold) for threshold in thresholds]
    assert dirs.tolist() == [right / 50 for _, right in found]
    assert all(false / 30 <= far for (false, _), far in zip(found, fars, strict=True))


@pytest.mark.parametrize(
    ("scores", "speakers", "message"),
    [
        (SCORES, SPEAKERS[1:], "got (7, 3), (6,)"),
        (SCORES[:, :0], SPEAKERS, "got (7, 0), (7,)"),
        (np.full((7, 3), np.nan), SPEAKERS, "NaN"),
    ],
)
def test_what_cannot_be_ranked_is_refused(scores, speakers, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(").replace(")", r"\)")):
        rank_probes(scores, speakers)


@pytest.mark.parametrize("speakers", [SPEAKERS[:3], SPEAKERS[3:]])
def test_rates_need_known_probes_and_strangers(speakers):
    with pytest.raises(ValueError, match="of speakers in the gallery and of others, got"):
        at_far(rank_probes(SCORES[: len(speakers)], speakers), 0.1)


def evaluate(trained, corpus, save_path, *more):
    words = ["--eval", f"--initial_model={trained[0] / 'model' / 'best.model'}", f"--test_path={corpus.root}"]
    words += ["--nDataLoaderThread=0", f"--save_path={save_path}"]
    return run_here("trainSpeakerNet.py", *words, *more)


@pytest.mark.slow
def test_probes_are_scored_as_trials_of_averaged_enrolments(trained, corpus, tmp_path):
    gallery, probe, enrol, trials = (tmp_path / f"{name}.txt" for name in ("g", "p", "enrol", "trials"))
    gallery.write_text("anna spk0/0.wav\nben spk1/0.wav\nanna spk0/1.wav\n")
    probe.write_text("ben spk1/2.wav\nanna spk0/2.wav\nzoe spk4/0.wav\ncarl spk5/1.wav\ncarl spk5/2.wav\n")
    done = evaluate(trained, corpus, tmp_path / "exp", f"--gallery={gallery}", f"--probe={probe}")
    assert done.returncode == 0, done.stderr
    assert "2 speakers in the gallery; 2 probes of theirs and 3 of strangers" in done.stdout
    enrol.write_text("anna spk0/0.wav spk0/1.wav\nben spk1/0.wav\n")
    names = [line.split()[1] for line in probe.read_text().splitlines()]
    trials.write_text("".join(f"{model} {name}\n" for name in names for model in ("anna", "ben")))
    words = [f"--test_list={trials}", f"--enrol_list={enrol}", "--report=False"]
    assert evaluate(trained, corpus, tmp_path / "other", *words).returncode == 0
    lines = (tmp_path / "other" / "result" / "eval" / "trials.scores.txt").read_text().splitlines()
    scores = np.array([float(line.split()[0]) for line in lines]).reshape(5, 2)
    folder = tmp_path / "exp" / "result"
    with (folder / "eval" / "identification.tsv").open() as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    assert [row["path"] for row in rows] == names
    assert [row["speaker"] for row in rows] == ["ben", "anna", "", "", ""]
    assert [row["best"] for row in rows] == [("anna", "ben")[i] for i in scores.argmax(axis=1)]
    assert [float(row["best_score"]) for row in rows] == pytest.approx(scores.max(axis=1), abs=1e-5)
    own = [float(row["own_score"]) for row in rows[:2]]
    assert own == pytest.approx([scores[0, 1], scores[1, 0]], abs=1e-5)
    record = json.loads((folder / "results.jsonl").read_text().splitlines()[-1])
    accepted = (np.array(own) > record["threshold_at_far_0.1"]) & np.array(
        [row["rank"] == "1" for row in rows[:2]]
    )
    assert record["dir_at_far_0.1"] == accepted.mean()
    assert record["threshold_at_far_0.1"] == pytest.approx(scores[2:].max(), abs=1e-5)
    page = (folder / "eval" / "identification.html").read_text()
    assert f'<data class="big" value="{record["dir_at_far_0.01"]}">' in page and "<svg" in page


def test_probes_of_a_speaker_without_recordings_are_no_strangers():
    labels = np.array([0, 1, STRANGER, 2])
    made = Identification(None, ["anna", "ben", "carl"], ["a", "b", "s", "c"], labels)
    missing = np.array([1, 5])  # ben, and the probe s

    def scores(trials):
        assert trials.enrol.tolist() == [0, 2, 0, 2] and trials.test.tolist() == [3, 3, 6, 6]
        return np.array([0.0, 1.0, 4.0, 5.0])

    speakers, names, probes = made.rank(
        SimpleNamespace(sides=SimpleNamespace(missing=missing), scores=scores)
    )
    assert speakers == ["anna", "carl"] and names == ["a", "c"]
    assert probes.speakers.tolist() == [0, 1] and probes.own_score.tolist() == [0.0, 5.0]


def test_blocks_of_probes_come_to_what_all_pairs_come_to(monkeypatch):
    monkeypatch.setattr(identification, "BLOCK_TRIALS", 7)  # two probes at a time
    made = Identification(None, ["anna", "ben", "carl"], [f"{n}.wav" for n in range(7)], SPEAKERS)
    comparison = SimpleNamespace(
        sides=SimpleNamespace(missing=np.array([], int)),
        scores=lambda trials: SCORES[trials.test - 3, trials.enrol],
    )
    for mine, expected in zip(made.rank(comparison)[2], rank_probes(SCORES, SPEAKERS), strict=True):
        np.testing.assert_array_equal(mine, expected)


@pytest.mark.parametrize(
    ("probe", "words", "message"),
    [
        ("ben spk1/2.wav\n", ["--probe="], "--gallery and --probe belong together; give both"),
        ("ben spk1/2.wav\n", ["--test_list=t"], "leave out --test_list"),
        ("ben spk1/0.wav\n", [], "spk1/0.wav is also in --gallery"),
        ("ben ./spk1/../spk1/0.wav\n", [], "spk1/0.wav is also in --gallery"),
        ("ben spk1/2.wav\n", [], "of speakers in --gallery and of others, got 1 and 0"),
        ("ben spk1/0.flac\n", [], "spk1/0.flac is also in --gallery"),  # stands for the file that is there
        ("zoe spk1/2.wav\n", [], "of speakers in --gallery and of others, got 0 and 1"),
        ("ben spk1/2.wav\n", ["--enrol_list=e", "--calibrate"], "leave out --enrol_list and --calibrate"),
        ("ben anna\n", [], "anna is the name of a speaker in --gallery, too"),
        ("ben spk1/2.wav\nx spk2/1.wav\n", ["--scoring=distance"], "--scoring distance can't average files"),
    ],
)
def test_galleries_that_cannot_be_searched(trained, corpus, tmp_path, probe, words, message):
    (tmp_path / "g.txt").write_text("anna spk0/0.wav\nben spk1/0.wav\n")
    (tmp_path / "p.txt").write_text(probe)
    lists = [f"--gallery={tmp_path / 'g.txt'}", f"--probe={tmp_path / 'p.txt'}"]
    assert_refused(evaluate(trained, corpus, tmp_path / "exp", *lists, *words), message)
