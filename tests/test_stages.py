"""Stages of a config file: their options, what each keeps, and a run that is killed in each of them."""

import json
import signal

import pytest
import torch
from conftest import assert_refused, run_here

import trainSpeakerNet
from distributed import signals
from evaluation.kept_model import AVERAGE, BEFORE, Candidate, choose
from evaluation.stages import plan
from options.config import read_config, stage_lines
from storage import checkpoint
from storage.run_folder import RunFolder
from storage.stage_record import StageRecord

SCRIPT = "trainSpeakerNet.py"
THREE = """
model: ResNetSE34L
n_mels: 16
nOut: 16
trainfunc: aamsoftmax
margin: 0.2
initial_model: start.model
lr: 0.01
stages:
- stage: train
  max_epoch: 2
  trunk_lr: 0.5
- max_epoch: 1
  margin: 0.5
  max_frames: [300]
- stage: final
  eval: true
  score_norm: asnorm
"""


def config(tmp_path, text=THREE):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    return f"--config={path}"


def lines_of(*argv):
    return stage_lines(trainSpeakerNet.make_parser(False), list(argv))


def plan_of(*argv):
    return plan(lines_of(*argv), trainSpeakerNet.parse)


def test_a_stage_has_the_values_of_those_before_it_unless_it_has_its_own(tmp_path):
    text = THREE.replace("initial_model: start.model\n", "")
    train, second, final = plan_of(config(tmp_path, text), "--lr=0.02", f"--save_path={tmp_path}")
    assert [stage.options.stage for stage in (train, second, final)] == ["train", "2", "final"]
    values = [(stage.options.max_epoch, stage.options.margin, stage.options.lr) for stage in (train, second)]
    assert values == [(2, 0.2, 0.02), (1, 0.5, 0.02)]  # the command line comes last, in every stage
    assert (train.options.max_frames, second.options.max_frames) == (200, 300)
    assert (train.options.trunk_lr, second.options.trunk_lr) == (0.5, 0.5)
    assert not train.options.eval and not second.options.eval and final.options.eval
    assert final.options.score_norm == "asnorm" and final.options.nOut == 16
    assert train.options.initial_model == "" and second.options.initial_model == "the model of stage train"
    assert final.options.initial_model == "the model of stage 2"
    assert not train.warnings and not second.warnings and not final.warnings


def test_what_a_training_starts_from_is_the_first_stages(tmp_path):
    sources = read_config(config(tmp_path).partition("=")[2]).sources("2")
    assert not [token for tokens in sources.values() for token in tokens if "initial_model" in token]
    lines = lines_of(config(tmp_path), "--initial_model", "mine.model", "--allow_partial", "--lr", "0.1")
    assert "mine.model" in lines["train"] and lines["train"][-1] == "--stage=train"
    assert lines["2"] == [config(tmp_path), "--lr", "0.1", "--stage=2"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("margin: 0.5", "marign: 0.5", r"c\.yaml, stage 2: --marign: unknown; did you mean margin"),
        ("max_frames: [300]", "max_frames: many", r"stage 2: argument --max_frames: invalid int value"),
        ("- stage: final", "- stage: train", r"stage train: another stage has this name"),
        ("- stage: final", "- stage: Final run", r"stage Final run: a name has small letters"),
        ("margin: 0.5", "save_path: x", r"stage 2: save_path is for the whole run"),
        ("margin: 0.5", "config: x", r"stage 2: config: expected"),
        (
            "margin: 0.5",
            "n_mels: 20",
            r"--n_mels 20 contradicts the model of stage train, which has n_mels 16",
        ),
        ("score_norm: asnorm", "score_norm: asnomr", r"--score_norm asnomr: unknown; did you mean asnorm"),
        ("margin: 0.5\n  max_frames: [300]", "max_frames: 2", r"^stage 2: --max_frames must be at least"),
        ("score_norm: asnorm", 'test_list: ""', r"stage final: --eval needs --test_list"),
        ("eval: true", "test: true", r"stage final: --test needs a threshold"),
        ("lr: 0.01", "eval: true", r"eval is for one stage"),
        ("margin: 0.5", "validation_speakers: 2", r"stage 2: --validation_speakers 2 is 0 in stage train"),
        ("- stage: train", "- 3\n- stage: train", r"stages: expected a list of `option: value` lines"),
    ],
)
def test_a_mistake_in_any_stage_is_found_at_the_start(tmp_path, old, new, message):
    text = THREE.replace("initial_model: start.model\n", "")
    assert old in text
    with pytest.raises(ValueError, match=message):
        plan_of(config(tmp_path, text.replace(old, new, 1)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, r"stage lm: --warmup_epochs must be in [0, --max_epoch), got 1.0"),
        ({"train_list": "none.txt"}, r"stage train: --train_list none.txt: no such file"),
    ],
)
def test_a_stage_that_cannot_be_built_is_found_before_the_first_one_begins(
    changes, message, corpus, tmp_path
):
    stages = "scheduler: cosine\nwarmup_epochs: 1\nstages:\n- stage: train\n- stage: lm\n  max_epoch: 1\n"
    changes = {"trainfunc": "aamsoftmax", "nOut": 8, "model": "GE2E"} | changes
    words = [word for word in corpus.options(tmp_path, **changes) if not word.startswith("--max_epoch")]
    assert_refused(run_here(SCRIPT, config(tmp_path, stages), *words), message)
    assert not (tmp_path / "stages").exists()


def test_one_stage_alone(tmp_path):
    text = THREE.replace("initial_model: start.model\n", "")
    words = [config(tmp_path, text), "--stage=2"]
    assert lines_of(*words) == {} and trainSpeakerNet.parse(words).options.margin == 0.5
    with pytest.raises(ValueError, match=r"--stage tarin: unknown; did you mean train\? \(train, 2, final\)"):
        trainSpeakerNet.parse([words[0], "--stage=tarin"])
    with pytest.raises(ValueError, match="--stage 2 is one in a file of --config, which isn't given"):
        trainSpeakerNet.parse(words[1:])
    with pytest.raises(ValueError, match=r"--eval: the stages of --config .* say what is evaluated"):
        lines_of(words[0], "--eval")


def test_the_model_with_the_lowest_eer_is_kept():
    best, average = Candidate("best.model", 3, 0.05), Candidate("average.model", AVERAGE, 0.04)
    before = Candidate("before.model", BEFORE, 0.03)
    assert choose([best, average, before]) == (
        before, "the model before is kept, EER 3.0000 % (epoch 3 5.0000 %, the average 4.0000 %)"
    )  # fmt: skip
    assert choose([best, average])[0] == average
    assert choose([best, before._replace(eer=0.05)])[0] == best  # of equal ones the trained one
    unknown = [candidate._replace(eer=float("inf")) for candidate in (best, average, before)]
    assert choose(unknown) == (
        unknown[1], "the average is kept; there are no trials with labels to compare by"
    )  # fmt: skip
    assert choose([unknown[0], unknown[2]])[0] == unknown[0]


def test_a_stage_that_is_done_keeps_its_options(tmp_path):
    folder = RunFolder(str(tmp_path))
    record = StageRecord.open(folder)
    values = {"eval": False, "lr": 0.1, "speeds": (0.9, 1.1), "device": "cpu", "prior": 0.5}
    record.add("train", values, kept="stages/train/model/best.model", validation="x")
    record.add("final", values | {"eval": True})
    [train, final] = StageRecord.open(folder).done
    assert StageRecord.open(folder).kept == train and "prior" in final.options
    train.require_same("train", values | {"device": "cuda", "prior": 0.1}, record.path)
    with pytest.raises(ValueError, match=r"stages\.json: stage train is done, with --lr 0\.1, not 0\.2"):
        train.require_same("train", values | {"lr": 0.2}, record.path)
    with pytest.raises(ValueError, match="stage train is done, which is pretrain now"):
        train.require_same("pretrain", values, record.path)
    for content in ("{", "[]", '{"stages": [{"stage": "train", "options": []}]}'):
        record.path.write_text(content)
        with pytest.raises(ValueError, match=r"stages\.json: damaged"):
            StageRecord.open(folder)


class StopIn(signals.StopSignal):
    """A signal that comes after so many steps in a stage."""

    state, steps = None, 0

    def requested(self):
        """Count down from the first saved state of the stage on."""
        if StopIn.state is not None and StopIn.state.exists():
            StopIn.steps -= 1
            if StopIn.steps == 0:
                self.signum = signal.SIGTERM
        return super().requested()


STAGES = """
max_frames: 30
stages:
- stage: train
  augment: true
  augment_chain: speed:2/3
  average_last: 1
- stage: lm
  max_frames: 40
  margin: 0.5
  lr: 0.0001
  augment: false
  average_last: 0
- stage: final
  eval: true
  calibrate: true
  report: false
"""


@pytest.mark.slow
def test_a_run_that_is_stopped_in_each_stage_goes_on_in_it(corpus, tmp_path, monkeypatch):
    changes = {"validation_speakers": 2, "trainfunc": "aamsoftmax", "nOut": 16, "batch_size": 4}
    changes |= {"model": "ECAPA", "channels": 32, "max_epoch": 1}
    # an epoch has 5 steps; before that of the second stage a test embeds 10 recordings
    for name, stops in {"whole": [], "parts": [("train", 3), ("lm", 13)]}.items():
        root = tmp_path / "before" if stops else tmp_path / name
        words = [config(tmp_path, STAGES), *corpus.options(root, **changes)]
        words = [word for word in words if not word.startswith("--max_frames")]  # else that of all stages
        for stage, steps in stops:
            StopIn.state, StopIn.steps = root / "stages" / stage / "state" / "last.state", steps
            with monkeypatch.context() as patch:
                patch.setattr("distributed.exit.StopSignal", StopIn)
                stopped = run_here(SCRIPT, *words)
            assert stopped.returncode == 128 + signal.SIGTERM, stopped.stderr
            assert "the same command resumes the run" in stopped.stdout
        if stops:
            root.rename(tmp_path / name)
        result = run_here(SCRIPT, *words, f"--save_path={tmp_path / name}")
        assert result.returncode == 0, result.stderr
    assert "stage train (1 of 3) is done" in result.stdout and "resumed in epoch 1" in result.stdout
    for path in ("stages/train/model/average.model", "stages/lm/model/best.model", "model/best.model"):
        whole, parts = (checkpoint.load_model(str(tmp_path / name / path)) for name in ("whole", "parts"))
        assert whole.weights.keys() == parts.weights.keys() and len(whole.speakers) == 4
        assert all(torch.equal(whole.weights[key], parts.weights[key]) for key in whole.weights)
        assert whole.weights["loss.weight"].shape[0] == 4  # the first classes of 12
    scores = [(tmp_path / name / "result/eval/test.scores.txt").read_text() for name in ("whole", "parts")]
    assert scores[0] == scores[1]
    root = tmp_path / "parts"
    options = json.loads((root / "stages/lm/result/run.json").read_text())["options"]
    assert (options["margin"], options["max_frames"], options["stage"]) == (0.5, 40, "lm")
    records = [json.loads(line) for line in (root / "result/results.jsonl").read_text().splitlines()]
    assert [(record["event"], record.get("stage")) for record in records] == [
        ("stage", "train"), ("stage", "lm"), ("eval", None)
    ]  # fmt: skip
    eers = [
        record["eer"]
        for stage in ("train", "lm")
        for record in map(json.loads, (root / f"stages/{stage}/result/results.jsonl").open())
        if record["event"] == "test"
    ]
    assert records[0]["eer"] == min(eers[:2]) and records[1]["eer"] == min(eers[2:])
    assert eers[2] == records[0]["eer"]  # the second stage begins with the model that the first one keeps
    assert "loss is re-initialised" not in result.stdout
