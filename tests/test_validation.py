"""Validation speakers: which ones are set aside, their trials, and what a run does with both."""

import json
import shutil

import numpy as np
import pytest
from conftest import assert_refused, run_here

import trainSpeakerNet
from audio.held_out import set_aside
from audio.lists import read_train_list
from evaluation.validation import draw_validation_trials
from storage import checkpoint

SCRIPT = "trainSpeakerNet.py"


def train_list(tmp_path, files_of):
    """Number of files of each speaker -> the list."""
    lines = [f"{name} x/{name}/s{i % 2}/{i}.wav\n" for name, count in files_of.items() for i in range(count)]
    (tmp_path / "list.txt").write_text("".join(lines))
    return read_train_list(str(tmp_path / "list.txt"))


def test_speakers_with_four_files_are_set_aside(tmp_path):
    listed = train_list(tmp_path, {"a": 4, "b": 3, "c": 5, "d": 4, "e": 1, "f": 4})  # a, c, d and f have four
    training, validation = set_aside(listed, 3, seed=1)
    assert len(validation.speakers) == 3 and {*validation.speakers} < {*"acdf"}
    assert sorted(training.speakers + validation.speakers) == listed.speakers
    for part in (training, validation):
        assert part.speakers == sorted(part.speakers)
        owners = [part.speakers[label] for label in part.labels]
        assert [path.split("/")[1] for path in part.paths] == owners
    assert len(training.paths) + len(validation.paths) == 21
    again = set_aside(listed, 3, seed=1)
    assert again.validation.digest() == validation.digest()
    drawn = {tuple(set_aside(listed, 2, seed).validation.speakers) for seed in range(20)}
    assert len(drawn) > 3  # of 6 pairs
    assert len(set_aside(listed, 0.75, seed=1).validation.speakers) == 3  # of four
    assert len(set_aside(listed, 0.01, seed=1).validation.speakers) == 2  # no fewer
    assert set_aside(listed, 0.0, seed=1) == (listed, None)


def test_too_few_speakers_and_segments_are_refused(tmp_path):
    listed = train_list(tmp_path, {"a": 4, "b": 3, "c": 4, "d": 4})
    with pytest.raises(ValueError, match="--validation_speakers 4: 3 speakers of --train_list have 4 files"):
        set_aside(listed, 4, seed=1)
    with pytest.raises(ValueError, match="leaves 1 of the 4 speakers of --train_list to train on; 2 are"):
        set_aside(listed, 3, seed=1)
    with pytest.raises(ValueError, match=r"--validation_speakers 0\.1: --train_list has segments"):
        set_aside(listed._replace(spans=np.zeros((len(listed.paths), 2))), 0.1, seed=1)
    alone = train_list(tmp_path, {"a": 4, "b": 3, "c": 1})
    with pytest.raises(ValueError, match="1 speakers of --train_list have 4 files or more; 2 are needed"):
        set_aside(alone, 0.1, seed=1)


@pytest.mark.parametrize("text", ["1", "2.5", "-0.1", "inf", "nan"])
def test_a_share_or_a_number_is_needed(text):
    with pytest.raises(ValueError, match=r"--validation_speakers: must be a share in \[0, 1\) or a whole"):
        trainSpeakerNet.parse(["--model=ResNetSE34L", "--trainfunc=softmax", f"--validation_speakers={text}"])


def test_trials_are_across_sessions_and_depend_on_the_seed_only(tmp_path):
    listed = train_list(tmp_path, {"a": 4, "b": 4, "c": 5})
    trials = draw_validation_trials(listed, seed=3)
    names = [path.split("/") for path in trials.names]
    # sessions s0 and s1 have 2 + 2, 2 + 2 and 3 + 2 files: 4 + 4 + 6 pairs
    assert trials.labels.sum() == 14 and len(trials.labels) == 28
    for label, enrol, test in zip(trials.labels, trials.enrol, trials.test, strict=True):
        assert (names[enrol][1] == names[test][1]) == bool(label)
        assert not label or names[enrol][2] != names[test][2]
    again, other = draw_validation_trials(listed, seed=3), draw_validation_trials(listed, seed=4)
    assert again.names == trials.names and (again.enrol == trials.enrol).all()
    assert other.names != trials.names or (other.enrol != trials.enrol).any()


@pytest.mark.slow
def test_a_run_is_judged_by_its_validation_speakers(corpus, tmp_path):
    settings = {"validation_speakers": 2, "trainfunc": "softmax", "score_norm": "snorm", "max_epoch": 1}
    words = corpus.options(tmp_path, **settings)
    result = run_here(SCRIPT, *words)
    assert result.returncode == 0, result.stderr
    assert "20 utterances of 4 speakers" in result.stdout
    path = tmp_path / "result" / "validation_list.txt"
    assert f"trials of speakers that are set aside, in {path}" in result.stdout
    records = [json.loads(line) for line in (tmp_path / "result" / "results.jsonl").read_text().splitlines()]
    tests = [(record["epoch"], record["list"]) for record in records if record["event"] == "test"]
    eers = [record["eer"] for record in records if record["event"] == "test"]
    assert tests == [(1, "validation"), (1, "test")]
    model = checkpoint.load_model(str(tmp_path / "model" / "best.model"))
    assert model.metrics["eer"] == eers[0]
    validation = {line.split()[1].split("/")[0] for line in path.read_text().splitlines()}
    assert len(model.speakers) == 4 and len(validation) == 2 and not validation & {*model.speakers}
    log = (tmp_path / "result" / "scores.txt").read_text().splitlines()
    assert log[-1].startswith(f"{tmp_path}/model/best.model of epoch 1 on test, VEER {100 * eers[1]:.4f}")
    card = (tmp_path / "model" / "README.md").read_text()
    assert "chosen by the EER on validation" in card and f"| test | 12 | {100 * eers[1]:.2f} % |" in card
    assert "| speakers | 4 |" in card and "| utterances | 20 |" in card
    again = run_here(SCRIPT, *words)
    assert again.returncode == 0 and "VEER" not in again.stdout, again.stderr

    words = [
        f"--{name}={value}" for name, value in settings.items() if name not in ("trainfunc", "max_epoch")
    ]
    words += [f"--train_list={corpus.train_list}", f"--train_path={corpus.root}", "--report=False"]
    words += [f"--test_list={path}", f"--test_path={corpus.root}", f"--save_path={tmp_path / 'eval'}"]
    evaluated = run_here(SCRIPT, "--eval", f"--initial_model={tmp_path}", *words)
    assert evaluated.returncode == 0 and not evaluated.stderr, evaluated.stderr
    scores = [
        (folder / "result" / "eval" / f"{name}.scores.txt").read_text()
        for folder, name in ((tmp_path, "validation"), (tmp_path / "eval", "validation_list"))
    ]
    assert scores[0] == scores[1] and f"VEER {100 * eers[0]:.4f}" in evaluated.stdout


def test_early_stopping_needs_labels(corpus, tmp_path):
    words = corpus.options(tmp_path, test_list="")
    assert_refused(run_here(SCRIPT, *words, "--early_stopping"), "or --validation_speakers")


def test_a_list_with_the_name_of_the_validation_trials_is_refused(corpus, tmp_path):
    path = shutil.copy(corpus.test_list, tmp_path / "validation.txt")
    words = corpus.options(tmp_path, test_list=path, validation_speakers=2)
    assert_refused(run_here(SCRIPT, *words), "no list can have the name validation", "rename it")
