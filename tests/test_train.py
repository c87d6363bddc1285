"""The trainer through its command line: a run folder, resume, stops, evaluation, wrong input."""

import json
import multiprocessing
import os
import pickle
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from conftest import ROOT, Corpus, assert_refused, full_disk, run_here, wait_for
from forked import Command

import DatasetLoader
import inferSpeakerNet
import runtime
import trainSpeakerNet
import tuneThreshold
from distributed import signals
from metrics import score_files as scorefiles
from metrics.rates import error_rates
from preparation.pack import write_pack
from SpeakerNet import SpeakerNet
from storage import checkpoint
from training import profile
from training.update import Update

SCRIPT = "trainSpeakerNet.py"


def weights(save_path, epoch):
    return checkpoint.load_model(str(save_path / "model" / f"model{epoch:09d}.model")).weights


def assert_same(a, b):
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_the_run_folder(trained, corpus):
    save_path, result = trained
    files = {str(path.relative_to(save_path)) for path in save_path.rglob("*") if path.is_file()}
    assert files == {
        "model/model000000002.model",
        "model/model000000004.model",
        "model/best.model",
        "model/README.md",
        "state/last.state",
        "state/last.state.before",
        "state/lock",
        "result/scores.txt",
        "result/results.jsonl",
        "result/run.json",
        "result/eval/test.scores.txt",
    }
    log = (save_path / "result" / "scores.txt").read_text().splitlines()
    assert len(log) == 7
    assert re.match(r"Epoch 1, TEER/TAcc \d+\.\d\d, TLOSS \d\.\d{6}, LR 0\.001000, \d+ utterances/s", log[1])
    assert re.match(r"Epoch 4, VEER \d+\.\d{4}, MinDCF \d\.\d{5}, MinDCF\(0\.01\)", log[6])
    assert all(line in result.stdout for line in log)
    records = [json.loads(line) for line in (save_path / "result" / "results.jsonl").read_text().splitlines()]
    assert [(r["event"], r["epoch"]) for r in records] == [
        ("test", 0), ("train", 1), ("train", 2), ("test", 2), ("train", 3), ("train", 4), ("test", 4),
    ]  # fmt: skip
    assert log[6].startswith(f"Epoch 4, VEER {100 * records[6]['eer']:.4f}")
    run = json.loads((save_path / "result" / "run.json").read_text())
    assert run["options"]["n_mels"] == 16 and run["packages"]["torch"] == torch.__version__
    assert run["command"][0].endswith(SCRIPT) and str(corpus.root) in " ".join(run["command"])


def test_the_best_model_is_the_one_with_the_lowest_eer(trained):
    save_path, _ = trained
    records = [json.loads(line) for line in (save_path / "result" / "results.jsonl").read_text().splitlines()]
    eers = {r["epoch"]: r["eer"] for r in records if r["event"] == "test" and r["epoch"]}
    best = checkpoint.load_model(str(save_path / "model" / "best.model"))
    assert best.metrics["eer"] == min(eers.values())
    assert_same(best.weights, weights(save_path, min(eers, key=eers.get)))


def test_the_card_of_the_best_model_has_the_figures_of_its_test(trained, corpus):
    save_path, _ = trained
    card = (save_path / "model" / "README.md").read_text()
    eer = checkpoint.load_model(str(save_path / "model" / "best.model")).metrics["eer"]
    (model,) = yaml.safe_load(card.split("---\n")[1])["model-index"]
    assert model["name"] == "exp"
    assert model["results"][0]["metrics"][0]["value"] == round(100 * eer, 4)
    # 6 speakers with 5 utterances each, 6 targets and 6 nontargets
    assert f"| test | 12 | {100 * eer:.2f} % |" in card
    for line in ("| speakers | 6 |", "| utterances | 30 |", "| list | train.txt |", "| `--n_mels` | 16 |"):
        assert line in card
    assert str(corpus.root) not in card and str(save_path) not in card


@pytest.mark.slow
def test_the_same_command_goes_on_and_a_finished_run_is_left_alone(trained, corpus, tmp_path):
    save_path, _ = trained
    before = weights(save_path, 4)
    result = run_here(SCRIPT, *corpus.options(save_path, max_epoch=4, test_interval=2), "--test_at_start")
    assert result.returncode == 0 and "resumed after epoch 4" in result.stdout
    assert "Epoch" not in result.stdout
    assert_same(before, weights(save_path, 4))
    other = corpus.options(save_path, max_epoch=4, test_interval=2, n_mels=32)
    assert_refused(run_here(SCRIPT, *other), "--n_mels 16, not 32", "--save_path")
    shorter = tmp_path / "shorter.txt"
    shorter.write_text("\n".join(corpus.train_list.read_text().splitlines()[:-1]) + "\n")
    other = corpus.options(save_path, max_epoch=4, test_interval=2, train_list=shorter)
    assert_refused(run_here(SCRIPT, *other), "another train list", "--save_path")


def test_eval_needs_nothing_but_the_model_file(trained, corpus, tmp_path):
    save_path, _ = trained
    model = save_path / "model" / "model000000004.model"
    words = ["--initial_model", model, "--test_list", corpus.test_list, "--test_path", corpus.root]
    words.append("--report=False")
    result = run_here(SCRIPT, "--eval", *words, "--save_path", tmp_path)
    assert result.returncode == 0, result.stderr
    during = (save_path / "result" / "scores.txt").read_text().splitlines()[6].removeprefix("Epoch 4")
    assert during in result.stdout
    ours, theirs = (
        (folder / "result" / "eval" / "test.scores.txt").read_text() for folder in (tmp_path, save_path)
    )
    assert ours == theirs
    scores, labels = scorefiles.read_scores(str(tmp_path / "result" / "eval" / "test.scores.txt"))
    eer = tuneThreshold.eer(error_rates(scores, labels)).value
    assert f"VEER {100 * eer:.4f}" in result.stdout
    distance = run_here(SCRIPT, "--eval", *words, "--save_path", tmp_path, "--scoring", "distance")
    assert distance.returncode == 0
    scores, _ = scorefiles.read_scores(str(tmp_path / "result" / "eval" / "test.scores.txt"))
    assert (scores <= 0).all() and (scores >= -2).all()
    refused = run_here(SCRIPT, "--eval", *words, "--save_path", tmp_path, "--n_mels", 64)
    assert_refused(refused, "--n_mels 64 contradicts", "16")


def test_model_files_from_before_an_option_was_added_have_its_default(trained, tmp_path):
    model_file = checkpoint.load_model(str(trained[0] / "model" / "best.model"))
    earlier = {name: value for name, value in model_file.options.items() if name != "hop_length"}
    assert len(earlier) == len(model_file.options) - 1
    path = tmp_path / "earlier.model"
    checkpoint.save_model(path, model_file._replace(options=earlier))
    words = ["--eval", f"--initial_model={path}"]
    assert trainSpeakerNet.parse(words).options.hop_length == 160
    with pytest.raises(ValueError, match=r"--hop_length 240 contradicts .*, which has hop_length 160"):
        trainSpeakerNet.parse([*words, "--hop_length=240"])
    network = SpeakerNet.from_model_file(str(path))
    assert network.features.hop_length == 160
    assert inferSpeakerNet.main(["convert", str(path), str(tmp_path / "new.model")]) == 0
    assert checkpoint.load_model(str(tmp_path / "new.model")).options["hop_length"] == 160


def test_a_list_without_labels_gives_scores_only(trained, corpus, tmp_path):
    save_path, _ = trained
    (tmp_path / "pairs.txt").write_text("spk0/0.wav spk1/0.wav\nspk2/0.wav spk2/1.wav\n")
    words = ["--initial_model", save_path / "model" / "best.model", "--test_list", tmp_path / "pairs.txt"]
    result = run_here(SCRIPT, "--eval", *words, "--test_path", corpus.root, "--save_path", tmp_path)
    assert result.returncode == 0, result.stderr
    assert "no error rates without labels" in result.stdout and "VEER" not in result.stdout
    lines = (tmp_path / "result" / "eval" / "pairs.scores.txt").read_text().splitlines()
    assert [line.split()[1:] for line in lines] == [
        ["spk0/0.wav", "spk1/0.wav"],
        ["spk2/0.wav", "spk2/1.wav"],
    ]


def test_training_goes_on_from_a_model_with_other_speakers(trained, corpus, tmp_path):
    save_path, _ = trained
    (tmp_path / "four.txt").write_text(
        "".join(line for line in corpus.train_list.open() if line[3] in "0123")
    )
    words = corpus.options(tmp_path / "exp", train_list=tmp_path / "four.txt", max_epoch=1, lr=0.0)
    words += ["--initial_model", str(save_path / "model" / "best.model"), "--trainfunc", "softmax"]
    result = run_here(SCRIPT, *words)
    assert result.returncode == 0, result.stderr
    assert "the loss is re-initialised" in result.stdout
    old, new = checkpoint.load_model(words[-3]).weights, weights(tmp_path / "exp", 1)
    assert torch.equal(old["model.conv1.weight"], new["model.conv1.weight"])
    assert new["loss.fc.weight"].shape == (4, 512)


@pytest.mark.slow
def test_interrupted_and_started_again_equals_uninterrupted(corpus, tmp_path):
    settings = {"max_epoch": 5, "test_interval": 5, "nDataLoaderThread": 1}
    whole = run_here(SCRIPT, *corpus.options(tmp_path / "whole", **settings))
    assert whole.returncode == 0, whole.stderr
    words = corpus.options(tmp_path / "parts", **settings)
    process = Command(SCRIPT, *words)
    wait_for(tmp_path / "parts" / "result" / "scores.txt", "Epoch 1,", process)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT, errors
    assert errors == "" and "stopped by SIGINT" in output
    assert not (tmp_path / "parts" / "model").exists()
    again = run_here(SCRIPT, *words)
    assert again.returncode == 0 and "resumed " in again.stdout, again.stderr
    assert_same(weights(tmp_path / "whole", 5), weights(tmp_path / "parts", 5))
    scores = [
        (tmp_path / run / "result" / "eval" / "test.scores.txt").read_text() for run in ("whole", "parts")
    ]
    assert scores[0] == scores[1]


class StopAfter(signals.StopSignal):
    """A signal that comes after so many steps."""

    steps = 0

    def requested(self):
        """Count down and stop at zero."""
        StopAfter.steps -= 1
        if StopAfter.steps == 0:
            self.signum = signal.SIGTERM
        return super().requested()


def test_a_stop_between_any_two_steps_goes_on_with_the_next_batch(corpus, tmp_path, monkeypatch):
    changes = {"max_epoch": 2, "test_list": "", "test_interval": 2, "trainfunc": "amsoftmax", "batch_size": 6}
    changes |= {"sampler": "dynamic", "mask_bands": 5, "augment": True, "augment_chain": "speed:0.5 gain:0.5"}
    for name, stops in {"whole": (), "parts": (2, 3, 5)}.items():  # of 5 batches an epoch
        words = corpus.options(tmp_path / name, **changes)
        for steps in stops:
            StopAfter.steps = steps
            with monkeypatch.context() as patch:
                patch.setattr("distributed.exit.StopSignal", StopAfter)
                stopped = run_here(SCRIPT, *words)
            assert stopped.returncode == 128 + signal.SIGTERM, stopped.stderr
        result = run_here(SCRIPT, *words)
        assert result.returncode == 0, result.stderr
    assert "resumed in epoch 2 after 2 of 5 batches" in result.stdout
    assert_same(weights(tmp_path / "whole", 2), weights(tmp_path / "parts", 2))
    lines = [
        (tmp_path / name / "result" / "results.jsonl").read_text().splitlines() for name in ("whole", "parts")
    ]
    for whole, parts in zip(*lines, strict=True):
        figures = [json.loads(line) for line in (whole, parts)]
        assert figures[0]["loss"] == figures[1]["loss"] and figures[0]["accuracy"] == figures[1]["accuracy"]


@pytest.mark.slow
def test_a_pack_trains_and_scores_as_its_files_do(corpus, tmp_path):
    paths = [f"spk{speaker}/{take}.wav" for speaker in range(6) for take in range(5)]
    write_pack(corpus.root, paths, tmp_path / "pack")
    scores = []
    for root in (corpus.root, tmp_path / "pack"):
        words = corpus.options(tmp_path / root.name, train_path=root, test_path=root, max_epoch=1)
        result = run_here(SCRIPT, *words)
        assert result.returncode == 0, result.stderr
        scores.append((tmp_path / root.name / "result" / "eval" / "test.scores.txt").read_text())
    assert scores[0] == scores[1]
    assert_same(weights(tmp_path / corpus.root.name, 1), weights(tmp_path / "pack", 1))


@pytest.mark.slow
def test_a_dead_worker_is_reported_with_its_last_file(corpus, tmp_path):
    words = corpus.options(tmp_path / "exp", max_epoch=500, nDataLoaderThread=1, test_list="")
    process = Command(SCRIPT, *words)
    wait_for(tmp_path / "exp" / "result" / "scores.txt", "Epoch 2,", process)
    worker = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[-1]
    os.kill(int(worker), signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2, errors
    assert re.fullmatch(rf".*worker \(pid(\(s\))? {worker}\).*; its last file was spk\d/\d.wav\n", errors), (
        errors
    )


def test_too_little_shared_memory_is_explained(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(runtime, "free_shared_mb", lambda: 0.1)
    result = run_here(
        SCRIPT, *corpus.options(tmp_path / "exp", max_epoch=1, nDataLoaderThread=1, test_list="")
    )
    # 3 x 2 crops of 5,040 samples of 4 bytes, 2 batches: 0.24 MB
    assert (
        "warning: shared memory is small: 0 MB are free" in result.stdout and "may take 0 MB" in result.stdout
    )
    args = trainSpeakerNet.parse(corpus.options(tmp_path / "exp", nDataLoaderThread=1))[0]
    data = DatasetLoader.TrainData.read(args, runtime.CPU)
    assert data.workers.batches_mb() == pytest.approx(0.24192)
    for text in (
        "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that ...",
        "Caught RuntimeError in DataLoader worker process 0.\nunable to write to file </torch_1>",
    ):
        assert "docker run --shm-size=8g" in data.workers.death_reason(RuntimeError(text))
    data.dataset.crops.reading[:2] = torch.tensor([[41, 1], [4110, 3]])
    killed = "DataLoader worker (pid(s) 4110) exited unexpectedly"
    assert data.workers.death_reason(RuntimeError(killed)) == f"{killed}; its last file was spk0/2.wav"
    other = RuntimeError(killed.replace("4110", "7"))
    assert data.workers.death_reason(other).endswith("its last file was none yet")
    assert (
        data.workers.death_reason(RuntimeError("Caught RuntimeError in DataLoader worker process 0.")) == ""
    )
    assert data.workers.death_reason(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) == ""


def test_the_profile_says_where_the_time_goes(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(profile.Profile, "STEPS", 4)
    monkeypatch.setattr("run.LONG_WAIT", -1.0)
    changes = {
        "max_epoch": 2,
        "test_list": "",
        "augment": True,
        "augment_chain": "gain:0.5",
        "nDataLoaderThread": 0,
    }
    result = run_here(SCRIPT, *corpus.options(tmp_path / "exp", **changes), "--profile")
    assert result.returncode == 0, result.stderr
    (line,) = re.findall(r"profile of 4 steps: \d+ utterances/s; (.*)", result.stdout)
    shares = {part: float(share) for part, share in re.findall(r"([a-z ]+) ([\d.]+) %", line)}
    parts = ["data wait", "transfer", "augmentation", "front end", "trunk", "loss", "backward", "optimizer"]
    assert [part.strip() for part in shares] == parts
    assert sum(shares.values()) == pytest.approx(100.0, abs=0.5)
    assert re.search(r"profile: peak memory [\d.]+ GB; most goes into [a-z ]+: ", result.stdout)
    assert len(re.findall("warning: training waited for data", result.stdout)) == 1


def test_other_speeds_are_other_speakers_in_training_only(corpus, tmp_path):
    changes = {"max_epoch": 1, "trainfunc": "softmax", "augment": True, "augment_chain": "speed:2/3"}
    result = run_here(SCRIPT, *corpus.options(tmp_path / "exp", **changes))
    assert result.returncode == 0, result.stderr
    assert "18 classes: each speaker at each speed; model files keep 6" in result.stdout
    model_file = checkpoint.load_model(str(tmp_path / "exp" / "model" / "best.model"))
    head = {name: len(tensor) for name, tensor in model_file.weights.items() if name.startswith("loss.")}
    assert head and set(head.values()) == {6}
    state = checkpoint.load_state(tmp_path / "exp" / "state" / "last.state")["trainer"]["network"]
    assert all(
        torch.equal(model_file.weights[name], state[name][:6]) and len(state[name]) == 18 for name in head
    )
    changes |= {"max_epoch": 2, "speed_classes": False}
    other = run_here(SCRIPT, *corpus.options(tmp_path / "exp", **changes))
    assert_refused(other, "belongs to a run with --speed_classes True, not False")


def test_options_of_augmentation_without_effect_are_warned_of(corpus, tmp_path):
    words = corpus.options(tmp_path / "exp")
    for given, warned in {
        ("--snr_noise=1,2", "--augment_chain=noise:1"): ("snr_noise", "augment_chain"),
        ("--augment", "--augment_chain=gain:1", "--snr_noise=1,2", "--speed_classes"): (
            "snr_noise",
            "speed_classes",
        ),
        ("--augment", "--augment_chain=gain:1 eq:1", "--gain_db=-1,2", "--eq_db=-3,3"): (),
    }.items():
        warnings = trainSpeakerNet.parse([*words, *given])[2]
        assert sorted(re.findall(r"--(\w+) has no effect", " ".join(warnings))) == sorted(warned)
    with pytest.raises(ValueError, match="'nonsense' is unknown"):
        trainSpeakerNet.parse([*words, "--augment_chain=nonsense"])


@pytest.mark.slow
def test_a_run_goes_on_with_the_same_noises_only(corpus, tmp_path):
    for number in range(2):
        path = tmp_path / "musan" / "noise" / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((corpus.root / "spk0" / f"{number}.wav").read_bytes())
    changes = {"augment": True, "augment_chain": "noise:0.5", "test_list": ""}
    words = [
        corpus.options(tmp_path / "exp", max_epoch=n, musan_path=tmp_path / "musan", **changes)
        for n in (1, 2)
    ]
    assert run_here(SCRIPT, *words[0]).returncode == 0
    path.unlink()
    assert_refused(run_here(SCRIPT, *words[1]), "other noises or rooms")


def test_augmentation_without_its_recordings_is_refused(corpus, tmp_path):
    for words in (["--musan_path=nowhere"], [f"--musan_path={corpus.root}", "--augment_chain=music:1"]):
        assert_refused(
            run_here(SCRIPT, *corpus.options(tmp_path / "exp"), "--augment", *words), "dataprep.py --augment"
        )
    for flag, words in {
        "snr_noise=5,1": "expected LOW,HIGH, got 5,1",
        "speeds=1.1,3": "factors between 0.5 and 2",
        "speeds=0.9,0.9": "different factors",
        "speeds=1.00001": "different factors",
        "snr_noise=0,inf": "expected LOW,HIGH",
        "seed=9223372036854775808": "below 2**63",
        "babble_voices=0,1": "whole numbers of at least 1",
        "mask_bands=-1": "must be at least 0",
        "eq_db=-70,3": "--eq_db: expected levels of at most 60 dB, got 70",
        "gain_db=loud": "expected numbers separated by commas, got 'loud'",
    }.items():
        result = run_here(SCRIPT, *corpus.options(tmp_path / "exp"), f"--{flag}")
        assert_refused(result, f"--{flag.partition('=')[0]}", words)


@pytest.mark.slow
def test_a_tiny_corpus_is_overfitted(corpus, tmp_path):
    settings = {"trainfunc": "softmax", "nPerSpeaker": 1, "batch_size": 6, "max_frames": 60, "lr": 0.001}
    settings |= {"max_epoch": 20, "n_mels": 24, "f_max": 4000, "test_list": "", "scheduler": "cosine"}
    result = run_here(SCRIPT, *corpus.options(tmp_path, **settings))
    assert result.returncode == 0, result.stderr
    losses = [float(x) for x in re.findall(r"TLOSS (\d+\.\d+)", result.stdout)]
    # five seeds end at 0.27 to 0.52 of the first loss; tests/test_overfit.py goes further
    assert losses[-1] < 0.75 * losses[0]


@pytest.mark.requires_cuda
def test_a_gpu_trains_and_a_cpu_scores(corpus, tmp_path):
    result = run_here(SCRIPT, *corpus.options(tmp_path, device="cuda"))
    assert result.returncode == 0 and "cuda:0" in result.stdout, result.stderr
    words = ["--initial_model", tmp_path / "model" / "best.model", "--device", "cpu"]
    words += ["--test_list", corpus.test_list, "--test_path", corpus.root]
    assert run_here(SCRIPT, "--eval", *words, "--save_path", tmp_path / "cpu").returncode == 0


@pytest.fixture
def fragile(tmp_path):
    """A corpus that a test may damage, and the folder of a run that must not come to be."""
    return Corpus(tmp_path / "data"), tmp_path / "exp"


def refused(corpus, save_path, *words, **changes):
    """Run, expect one line with these words and no trace of a run."""
    result = run_here(SCRIPT, *corpus.options(save_path, **changes))
    assert_refused(result, *words)
    assert not save_path.exists()


def test_wrong_lists_and_numbers(fragile):
    corpus, save_path = fragile
    broken = corpus.root / "broken.txt"
    refused(corpus, save_path, "--train_list absent.txt: no such file", train_list="absent.txt")
    refused(corpus, save_path, "--test_list absent.txt: no such file", test_list="absent.txt")
    broken.write_text("\n")
    refused(corpus, save_path, "broken.txt: the list is empty", train_list=broken)
    broken.write_text("spk0 spk0/0.wav\nspk1\n")
    refused(corpus, save_path, "broken.txt:2: expected", train_list=broken)
    broken.write_text("1 spk0/0.wav spk0/1.wav\n0 spk0/0.wav spk9/1.wav\n")
    refused(corpus, save_path, "spk9/1.wav: no such file", "--test_path", test_list=broken)
    broken.write_text("1 spk0/0.wav spk0/1.wav\n1 spk1/0.wav spk1/1.wav\n")
    refused(corpus, save_path, "one class", test_list=broken)
    refused(corpus, save_path, "no such file", "--train_path", train_path="elsewhere")
    refused(corpus, save_path, "--nClasses 3 is less than the 6 speakers", nClasses=3)
    refused(corpus, save_path, "--nPerSpeaker 1: angleproto needs at least 2", nPerSpeaker=1)
    refused(corpus, save_path, "--nPerSpeaker", nPerSpeaker=6)
    refused(corpus, save_path, "--batch_size 1", "compares the speakers", batch_size=1)
    refused(corpus, save_path, "--lr_decay must be in (0, 1]", lr_decay=2)
    refused(corpus, save_path, "--n_mels 300: some bands", n_mels=300)
    refused(corpus, save_path, "out of memory", nOut=10**12)
    broken.write_text("spk0 spk0/0.wav\nspk0 spk0/1.wav\n")
    refused(corpus, save_path, "broken.txt has one speaker only", train_list=broken)


def test_bad_audio_is_named_or_skipped(fragile):
    corpus, save_path = fragile
    soundfile.write(corpus.root / "spk1" / "0.wav", np.full(9000, np.nan), 16_000, subtype="FLOAT")
    whole = (corpus.root / "spk2" / "1.wav").read_bytes()
    (corpus.root / "spk2" / "1.wav").write_bytes(whole[: len(whole) // 2])
    result = run_here(SCRIPT, *corpus.options(save_path, max_epoch=1))
    assert_refused(result, "spk")
    assert "spk1/0.wav: holds samples that are not finite" in result.stderr or (
        "spk2/1.wav: truncated" in result.stderr
    )
    assert not (save_path / "model").exists()
    result = run_here(SCRIPT, *corpus.options(save_path, max_epoch=2), "--skip_bad_audio")
    assert result.returncode == 0, result.stderr
    assert "note: skipped: " in result.stdout and "spk2/1.wav: truncated" in result.stdout
    assert re.search(r"note: skipped: 2 files in all, listed in .*skipped.txt", result.stdout)
    listed = (save_path / "result" / "skipped.txt").read_text().splitlines()
    assert len(listed) == 2 and "spk2/1.wav: truncated" in listed[1]
    assert re.search(r"note: [34] trials left out with the skipped files", result.stdout)


def test_bad_audio_in_a_worker_is_one_line_too(fragile):
    corpus, save_path = fragile
    for take in range(5):
        (corpus.root / "spk3" / f"{take}.wav").write_bytes(b"")
    result = run_here(SCRIPT, *corpus.options(save_path, nDataLoaderThread=2, test_list=""))
    assert_refused(result, "spk3", "cannot be read")
    assert not multiprocessing.active_children()


def test_unusable_model_files(fragile, trained):
    corpus, save_path = fragile
    bad = corpus.root / "bad.model"

    class Exploit:
        def __reduce__(self):
            return os.mkdir, (str(corpus.root / "ran"),)

    torch.save({"format": Exploit()}, bad)
    refused(corpus, save_path, "bad.model: refused", initial_model=bad)
    bad.write_bytes(pickle.dumps(Exploit(), protocol=2))
    refused(corpus, save_path, "bad.model: refused", initial_model=bad)
    assert not (corpus.root / "ran").exists()
    good = (trained[0] / "model" / "best.model").read_bytes()
    bad.write_bytes(good[: len(good) // 2])
    refused(corpus, save_path, "bad.model: damaged", initial_model=bad)
    refused(corpus, save_path, "absent.model: no such file", initial_model="absent.model")


def test_a_save_path_that_cannot_be_written(fragile):
    corpus, save_path = fragile
    save_path.write_text("a file stands where the folder should be")
    result = run_here(SCRIPT, *corpus.options(save_path))
    assert_refused(result, str(save_path))


@pytest.mark.slow
def test_a_full_disk(fragile):
    corpus, save_path = fragile
    with full_disk(200_000):
        result = run_here(SCRIPT, *corpus.options(save_path))
    assert_refused(result, "last.state")
    assert not list(save_path.rglob("*.tmp")) and not (save_path / "state" / "last.state").exists()


@pytest.mark.slow
def test_a_stop_that_reaches_the_workers_too_is_clean(corpus, tmp_path):
    """As `timeout` and batch systems send it: to the whole process group."""
    words = corpus.options(tmp_path / "exp", max_epoch=500, nDataLoaderThread=2, test_list="")
    process = subprocess.Popen(
        [sys.executable, ROOT / SCRIPT, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for(tmp_path / "exp" / "result" / "scores.txt", "Epoch 2,", process)
    os.killpg(process.pid, signal.SIGTERM)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert errors == "" and "stopped by SIGTERM; the same command resumes the run" in output


@pytest.mark.slow
def test_real_speech_trains_and_scores(real_data, tmp_path):
    """One epoch of the recipe over two speakers of each corpus, then the trials of one corpus."""
    chosen: dict[str, list[str]] = {}
    for line in (real_data / "train_list_all.txt").read_text().splitlines():
        chosen.setdefault(line.split()[0], []).append(line)
    some = [name for prefix in ("wuw", "sc", "ls", "so") for name in chosen if name.startswith(prefix)][::60]
    (tmp_path / "train.txt").write_text("\n".join(line for name in some for line in chosen[name]) + "\n")
    trials = (real_data / "test_list_all.txt").read_text().splitlines()[:40]
    (tmp_path / "test.txt").write_text("\n".join(trials) + "\n")
    words = ["--config", ROOT / "configs" / "real_small.yaml", "--save_path", tmp_path / "exp"]
    words += ["--train_list", tmp_path / "train.txt", "--train_path", real_data, "--max_epoch", 1]
    words += ["--test_list", tmp_path / "test.txt", "--test_path", real_data, "--batch_size", 4]
    result = run_here(SCRIPT, *words)
    assert result.returncode == 0, result.stderr
    assert re.search(r"Epoch 1, VEER \d+\.\d{4}, MinDCF", result.stdout)


@pytest.mark.slow
def test_a_damaged_state_falls_back_to_the_one_before(corpus, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run_here(SCRIPT, *corpus.options(whole, max_epoch=2)).returncode == 0
    assert run_here(SCRIPT, *corpus.options(parts, max_epoch=1)).returncode == 0
    state = parts / "state" / "last.state"
    state.write_bytes(state.read_bytes()[:-1000])
    result = run_here(SCRIPT, *corpus.options(parts, max_epoch=2))
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("last.state: damaged") == 1 and "resuming from" in result.stdout
    assert_same(weights(whole, 2), weights(parts, 2))
    for path in (state, state.with_name("last.state.before")):
        path.write_bytes(b"damaged")
    refused = run_here(SCRIPT, *corpus.options(parts, max_epoch=3))
    assert_refused(refused, "last.state.before: damaged, give another --save_path to start again")


def test_a_run_does_not_begin_among_the_models_of_another(corpus, tmp_path):
    """--eval, best.model and --average_last would take them for its own."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model000000500.model").write_bytes(b"of another run")
    result = run_here(SCRIPT, *corpus.options(tmp_path, max_epoch=1))
    assert_refused(result, "holds the models of another run", "another --save_path")
    assert not (tmp_path / "state" / "last.state").exists()


def test_states_are_saved_within_an_epoch(corpus, tmp_path, monkeypatch):
    saved = []
    plain = checkpoint.save_state
    monkeypatch.setattr(
        checkpoint, "save_state", lambda p, s: (saved.append(s["trainer"]["step"]), plain(p, s))
    )
    words = corpus.options(tmp_path / "exp", max_epoch=1, test_list="", batch_size=2)
    assert run_here(SCRIPT, *words, "--save_interval=1e-9").returncode == 0
    assert saved[1:-2] == list(range(len(saved) - 3)) and len(saved) > 4  # then the epoch's and the model's
    assert_refused(run_here(SCRIPT, *words, "--save_interval=-1"), "--save_interval: must be in")


@pytest.mark.slow
def test_two_runs_in_a_folder_are_refused(corpus, tmp_path):
    words = corpus.options(tmp_path, max_epoch=500, test_list="")
    process = Command(SCRIPT, *words)
    wait_for(tmp_path / "result" / "scores.txt", "Epoch 1,", process)
    second = run_here(SCRIPT, *words)
    assert_refused(second, "another run trains in this --save_path", f"process {process.pid} on")
    process.send_signal(signal.SIGUSR1)
    assert process.wait(timeout=60) == 128 + signal.SIGUSR1
    words = corpus.options(tmp_path, max_epoch=1, test_list="")
    assert run_here(SCRIPT, *words).returncode == 0  # the lock went with the process


def losses(save_path):
    lines = (save_path / "result" / "results.jsonl").read_text().splitlines()
    return [line["loss"] for line in map(json.loads, lines) if line["event"] == "train"]


MIXED = {
    "test_list": "",
    "trainfunc": "amsoftmax",
    "lr": 1e-5,  # fp16 leaves the first steps out, until its loss scale has adapted
    "batch_size": 6,
    "max_seg_per_spk": 2,
}


@pytest.fixture(scope="module")
def exact_losses(corpus, tmp_path_factory):
    """Of two epochs in fp32."""
    folder = tmp_path_factory.mktemp("fp32") / "exp"
    result = run_here(SCRIPT, *corpus.options(folder, **MIXED))
    assert result.returncode == 0, result.stderr
    return losses(folder)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16", "fp16", "tf32"])
def test_mixed_precision_trains_nearly_the_same_and_resumes_bit_for_bit(
    exact_losses, corpus, tmp_path, precision
):
    settings = MIXED | {"precision": precision}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder, epochs in ((whole, 2), (parts, 1), (parts, 2)):
        result = run_here(SCRIPT, *corpus.options(folder, max_epoch=epochs, **settings))
        assert result.returncode == 0, result.stderr
    assert_same(weights(whole, 2), weights(parts, 2))
    rounded = losses(whole)
    assert rounded == pytest.approx(exact_losses, rel=0.02)
    assert (rounded == exact_losses) == (precision == "tf32")  # which only GPUs have
    assert ("tf32 is for GPUs" in result.stdout) == (precision == "tf32")
    other = corpus.options(parts, max_epoch=3, **settings | {"precision": "fp32"})
    assert_refused(run_here(SCRIPT, *other), f"belongs to a run with --precision {precision}")


def test_mixedprec_is_fp16(corpus, tmp_path):
    words = [word for word in corpus.options(tmp_path) if "precision" not in word]
    assert trainSpeakerNet.parse([*words, "--mixedprec"])[0].precision == "fp16"
    both = [*words, "--mixedprec", "--precision=bf16"]
    assert_refused(run_here(SCRIPT, *both), "--mixedprec is --precision fp16, not bf16")


def test_overflowing_gradients_skip_the_step_and_lower_the_scale():
    network = torch.nn.Linear(3, 1, bias=False)
    torch.nn.init.ones_(network.weight)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    precision = runtime.Precision("fp16", runtime.CPU)
    update = Update(network, optimizer, precision)
    for factor, is_made, expected in ((1e38, False, 1.0), (1.0, True, 0.9)):
        before = precision.scaler.get_scale()
        update.begin()
        precision.backward((network.weight * factor).sum())
        assert bool(update()) == is_made and precision.expects_overflows()
        torch.testing.assert_close(network.weight.detach(), torch.full((1, 3), expected))
        assert precision.scaler.get_scale() == (before if is_made else before / 2)


@pytest.mark.slow
def test_curves_for_tensorboard(corpus, tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    for epochs in (1, 2):  # resumed in between
        words = corpus.options(tmp_path / "exp", max_epoch=epochs)
        result = run_here(SCRIPT, *words, "--tensorboard")
        assert result.returncode == 0, result.stderr
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(tmp_path / "exp" / "result" / "tensorboard"))
    board.Reload()
    path = tmp_path / "exp" / "result" / "results.jsonl"
    told = [json.loads(line) for line in path.read_text().splitlines()]
    for curve, event, name in (("loss/train", "train", "loss"), ("eer/test test", "test", "eer")):
        points = [(point.step, point.value) for point in board.Scalars(curve)]
        expected = [(line["epoch"], pytest.approx(line[name])) for line in told if line["event"] == event]
        assert points == expected and len(points) == 2
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    words = corpus.options(tmp_path / "other", max_epoch=1)
    assert_refused(run_here(SCRIPT, *words, "--tensorboard"), "pip install tensorboard")


@pytest.mark.slow
def test_early_stopping_waits_for_its_patience_and_resumes_to_the_same_end(corpus, tmp_path):
    words = corpus.options(tmp_path, max_epoch=50, lr=1e-9, es_patience=2)  # so slow that the EER stays
    result = run_here(SCRIPT, *words, "--early_stopping")
    assert result.returncode == 0, result.stderr
    assert "early stopping: 2 tests without a better EER" in result.stdout
    epochs = len(list((tmp_path / "model").glob("model0*.model")))
    assert 3 <= epochs < 50
    again = run_here(SCRIPT, *words, "--early_stopping")
    assert again.returncode == 0 and "early stopping" in again.stdout and "TLOSS" not in again.stdout
    unlabelled = tmp_path / "pairs.txt"
    unlabelled.write_text("spk0/0.wav spk1/0.wav\n")
    words = corpus.options(tmp_path / "other", test_list=unlabelled)
    assert_refused(run_here(SCRIPT, *words, "--early_stopping"), "--early_stopping needs a --test_list")


def test_eval_takes_the_best_model_of_the_run_folder(trained, corpus, tmp_path):
    save_path, _ = trained
    words = ["--eval", "--save_path", save_path, "--test_list", corpus.test_list, "--test_path", corpus.root]
    result = run_here(SCRIPT, *words, "--report=False")
    assert result.returncode == 0, result.stderr
    assert f"from {save_path}/model/best.model" in result.stdout
    words = ["--eval", "--initial_model", save_path, *words[3:], "--save_path", tmp_path / "other"]
    by_folder = run_here(SCRIPT, *words, "--report", "False")
    assert by_folder.returncode == 0 and f"from {save_path}/model/best.model" in by_folder.stdout
    words[2] = corpus.root
    assert_refused(run_here(SCRIPT, *words), f"{corpus.root}: no model file in it")
    words = ["--eval", "--save_path", tmp_path, *words[3:7]]
    assert_refused(run_here(SCRIPT, *words), "--eval needs --initial_model FILE", "has no model")


@pytest.mark.slow
def test_the_dynamic_sampler_learns_and_resumes_bit_for_bit(corpus, tmp_path):
    settings = {"trainfunc": "softmax", "sampler": "dynamic", "max_epoch": 2, "test_list": ""}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run_here(SCRIPT, *corpus.options(whole, **settings)).returncode == 0
    for epochs in (1, 2):
        result = run_here(SCRIPT, *corpus.options(parts, **settings | {"max_epoch": epochs}))
        assert result.returncode == 0, result.stderr
    assert_same(weights(whole, 2), weights(parts, 2))
    state = checkpoint.load_state(whole / "state" / "last.state")
    assert len(state["sampler"]["errors"]) == 6 and len(set(state["sampler"]["errors"])) > 1
    words = corpus.options(tmp_path / "triplet", **settings | {"trainfunc": "triplet"})
    assert_refused(run_here(SCRIPT, *words), "--sampler dynamic: triplet gives no accuracy")


def test_the_loss_knows_the_epoch(corpus, tmp_path):
    """After --min_softmax_epoch only the triplet loss is left: smaller by far than ln 6 of the softmax."""
    settings = {"trainfunc": "softmaxtriplet", "min_softmax_epoch": 1, "lr": 1e-6, "max_epoch": 2}
    assert run_here(SCRIPT, *corpus.options(tmp_path, **settings)).returncode == 0
    lines = (tmp_path / "result" / "results.jsonl").read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in lines if '"train"' in line]
    assert losses[0] > 1.7 > losses[1] > 0.0
