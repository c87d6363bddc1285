"""Recipes in configs/: their values against the originals', and two steps of each with its whole network."""

import pytest
import soundfile
from conftest import ROOT, run_here, voice

import options
import trainSpeakerNet
from audio.augment import read_chain
from evaluation.stages import plan
from options.config import stage_lines
from SpeakerNet import SpeakerNet
from storage import checkpoint
from storage.checkpoint import ModelFile

RECIPES = sorted((ROOT / "configs").glob("*.yaml"))
PUBLIC = "initial_model: campplus-zh-en"


def values_of(name, *words):
    return trainSpeakerNet.parse(["--config", str(ROOT / "configs" / f"{name}.yaml"), *words]).options


@pytest.mark.parametrize("name", ["ResNet_AAM", "ECAPA_wespeaker_AAM", "ReDimNet_AAM"])
def test_rates_and_averages_are_wespeakers(name):
    """0.1 for 64 utterances in a batch, times 5e-4 ** (epoch / epochs); the margin from epoch 20 to 40."""
    values = values_of(name)
    assert values.lr == pytest.approx(0.1 * values.batch_size / 64)
    assert (values.scheduler, values.last_lr, values.nesterov) == ("exponential", 5e-4, True)
    assert (values.margin_schedule, values.margin_epochs) == ("exponential", (19.0, 39.0))
    assert (values.test_interval, values.average_last) == (1, 10)  # a model of each of the last 10 epochs


@pytest.mark.parametrize(
    ("name", "share", "reverberant"),
    [
        ("ResNet_AAM", 0.6, 1 / 2),
        ("ECAPA_wespeaker_AAM", 0.6, 1 / 2),
        ("ReDimNet_AAM", 0.6, 1 / 2),
        ("CAMPPlus_AAM", 0.2, 2 / 3),  # noise, reverberation or both
    ],
)
def test_as_many_utterances_are_augmented_as_in_the_original(name, share, reverberant):
    """Noises are drawn from all 2,016 recordings of MUSAN: 930 of noise, 660 of music, 426 of speech."""
    values = values_of(name)
    [speed], choices = read_chain(values.augment_chain)
    assert (speed.probability, values.speeds, values.speed_classes) == (2 / 3, (0.9, 1.1), True)
    shares = {choice.kinds: choice.probability for choice in choices}
    assert sum(shares.values()) == pytest.approx(share)
    of_reverb = sum(p for kinds, p in shares.items() if "reverb" in kinds)
    assert of_reverb == pytest.approx(reverberant * share, abs=0.002)
    noises = {kind: shares[kind,] for kind in ("noise", "music", "babble")}
    assert noises["noise"] / sum(noises.values()) == pytest.approx(930 / 2016, abs=0.02)
    assert noises["music"] / sum(noises.values()) == pytest.approx(660 / 2016, abs=0.02)
    assert values.babble_voices == (1.0, 1.0)  # a recording of speech


def test_large_margin_fine_tuning_is_wespeakers():
    """Rates 1e-4 to 2.5e-5 for 64 utterances in a batch; margin, crops and schedule as published."""
    words = [f"--config={ROOT / 'configs' / 'ResNet_AAM.yaml'}"]
    lines = stage_lines(trainSpeakerNet.make_parser(False), words)
    first, second = (stage.options for stage in plan(lines, trainSpeakerNet.parse))
    assert second.lr == pytest.approx(1e-4 * second.batch_size / 64)
    assert second.lr * second.last_lr == pytest.approx(2.5e-5 * second.batch_size / 64)
    assert (second.margin, second.max_frames, second.max_epoch, second.warmup_epochs) == (0.5, 600, 5, 1)
    _, *chain = read_chain(first.augment_chain)
    assert read_chain(second.augment_chain) == chain  # all but the speeds


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """A recording of each kind of noise, and of a room -> their folder."""
    root = tmp_path_factory.mktemp("material")
    for place in ("noise", "music", "speech", "room"):
        (root / place).mkdir()
        soundfile.write(root / place / "0.wav", voice(0, 0), 16_000)
    return root


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A model like the public one that recipes adapt, but untrained."""
    values = options.resolve(trainSpeakerNet.make_parser, ["--model=CAMPPlus", "--nOut=192"]).options
    path = tmp_path_factory.mktemp("start") / "start.model"
    weights = SpeakerNet.build(values, None).state_dict()
    checkpoint.save_model(path, ModelFile(weights, dict(values), [], True, {}))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_takes_two_steps_and_is_tested(path, corpus, material, start, tmp_path):
    source = [f"--initial_model={start}"] if PUBLIC in path.read_text() else []
    values = values_of(path.stem, *source)
    per_speaker = options.plugin("loss", values.trainfunc).min_utterances
    trials = tmp_path / "test.txt"
    trials.write_text("1 spk0/0.wav spk0/1.wav\n0 spk0/0.wav spk1/1.wav\n")
    changes = {"train_list": corpus.train_list, "train_path": corpus.root, "test_list": trials}
    changes |= {"test_path": corpus.root, "musan_path": material, "rir_path": material / "room"}
    changes |= {"batch_size": 6, "nPerSpeaker": per_speaker, "max_seg_per_spk": 2 * per_speaker}
    changes |= {"max_frames": 40, "max_epoch": 1, "num_eval": 1, "nDataLoaderThread": 0, "device": "cpu"}
    changes |= {"eval_frames": min(values.eval_frames, 40), "save_path": tmp_path, "report": False}
    if values.scheduler in ("cosine", "exponential"):
        changes["warmup_epochs"] = 0
    if values.scheduler == "triangular2":
        changes["cycles"] = 1
    if values.margin_schedule != "constant":
        changes["margin_epochs"] = "0,1"
    if values.subtract_mean:
        changes["cohort_utterances"] = 1
    if values.validation_speakers:
        changes["validation_speakers"] = 2
    words = [*source, *(f"--{name}={value}" for name, value in changes.items())]
    result = run_here("trainSpeakerNet.py", f"--config={path}", *words)
    assert result.returncode == 0, result.stderr
    stages = list(tmp_path.glob("stages/*"))
    logs = [(folder / "result" / "scores.txt").read_text() for folder in stages or [tmp_path]]
    assert all("nan" not in log.lower() and "VEER" in log for log in logs), logs
