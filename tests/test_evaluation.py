"""Evaluation as its user meets it: several lists, kept embeddings, cohorts, enrolments, decisions."""

import csv
import itertools
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch
from conftest import ROOT, assert_refused, run_here, voice
from forked import TORCHRUN, Command
from torch.nn import functional as F

import options
import report
import runtime
import trainSpeakerNet
import tuneThreshold
from audio.recording import AudioFile
from audio.recordings import Recordings
from distributed import signals
from evaluation.cohort import Cohort, CohortList, check_cohort
from evaluation.decisions import decided_options
from evaluation.embedder import Embedder, build_scoring
from evaluation.store import EmbeddingStore, embedding_options, fingerprint
from metrics import fusion
from metrics.calibration import Calibration
from metrics.figures import eer
from metrics.rates import error_rates
from metrics.score_files import read_score_file
from options import plugins
from SpeakerNet import SpeakerNet
from storage import checkpoint

SCRIPT = "trainSpeakerNet.py"


@pytest.fixture
def model(trained):
    return trained[0] / "model" / "best.model"


def evaluate(model, corpus, save_path, *more, mode="--eval", report=False):
    words = [mode, f"--initial_model={model}", f"--test_path={corpus.root}", "--nDataLoaderThread=0"]
    return run_here(SCRIPT, *words, f"--save_path={save_path}", f"--report={report}", *more)


def scores_of(save_path, name="test"):
    lines = (save_path / "result" / "eval" / f"{name}.scores.txt").read_text().splitlines()
    return np.array([float(line.split()[0]) for line in lines])


def records(save_path):
    return [json.loads(line) for line in (save_path / "result" / "results.jsonl").read_text().splitlines()]


def test_several_lists_are_scored_as_each_alone(model, corpus, tmp_path):
    hard = tmp_path / "hard.txt"
    hard.write_text("1 spk0/0.wav spk0/3.wav\n0 spk0/0.wav spk5/4.wav\n0 spk1/2.wav spk5/4.wav\n")
    together = evaluate(model, corpus, tmp_path / "both", "--test_list", corpus.test_list, hard)
    assert together.returncode == 0, together.stderr
    assert together.stdout.count(", VEER ") == 2 and f"{model} on hard, VEER" in together.stdout
    for listed in (corpus.test_list, hard):
        alone = evaluate(model, corpus, tmp_path / listed.stem, "--test_list", listed)
        assert alone.returncode == 0, alone.stderr
        np.testing.assert_array_equal(
            scores_of(tmp_path / "both", listed.stem), scores_of(tmp_path / listed.stem, listed.stem)
        )
    assert [record["list"] for record in records(tmp_path / "both")] == ["test", "hard"]
    (tmp_path / "other").mkdir()
    twin = shutil.copy(hard, tmp_path / "other" / "hard.txt")
    refused = evaluate(model, corpus, tmp_path / "both", "--test_list", hard, twin)
    assert_refused(refused, "two lists have the name hard")


def test_training_is_judged_by_the_first_list(corpus, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("1 spk0/0.wav spk0/3.wav\n0 spk0/0.wav spk5/4.wav\n")
    (tmp_path / "c.yaml").write_text(f"test_list: [{corpus.test_list}, {other}]\n")
    words = [w for w in corpus.options(tmp_path / "exp", max_epoch=1) if "test_list" not in w]
    result = run_here(SCRIPT, *words, f"--config={tmp_path / 'c.yaml'}")
    assert result.returncode == 0, result.stderr
    tests = [record for record in records(tmp_path / "exp") if record["event"] == "test"]
    assert [record["list"] for record in tests] == ["test", "other"]
    best = checkpoint.load_model(str(tmp_path / "exp" / "model" / "best.model"))
    assert best.metrics["eer"] == tests[0]["eer"]


def test_embeddings_are_kept_until_audio_or_options_change(trained, corpus, tmp_path, monkeypatch):
    root = shutil.copytree(corpus.root, tmp_path / "audio")
    model = trained[0] / "model" / "best.model"
    embedded = []
    plain = SpeakerNet.embed
    monkeypatch.setattr(SpeakerNet, "embed", lambda s, x, *a: (embedded.append(len(x)), plain(s, x, *a))[1])

    def count(*more):
        embedded.clear()
        words = ["--test_list", corpus.test_list, f"--test_path={root}", *more]
        result = evaluate(model, corpus, tmp_path / "exp", *words)
        assert result.returncode == 0, result.stderr
        told = f"embeddings of {12 - sum(embedded)} of 12 recordings are from earlier runs"
        assert (told in result.stdout) == (sum(embedded) < 12)
        return sum(embedded), scores_of(tmp_path / "exp")

    first, scores = count("--eval_frames=0")
    again, same = count("--eval_frames=0")
    assert (first, again) == (12, 0)
    np.testing.assert_array_equal(scores, same)
    assert count("--eval_frames=0", "--reuse_embeddings=False")[0] == 12
    assert count("--eval_frames=30", "--num_eval=3")[0] == 36
    shutil.copy(root / "spk1" / "2.wav", root / "spk0" / "0.wav")  # another recording under the same name
    os.utime(root / "spk0" / "0.wav", ns=(1, 1))
    changed, scores = count("--eval_frames=0")
    assert changed == 1 and scores[0] != same[0]
    for path in (tmp_path / "exp" / "result" / "embeddings").glob("*/*.npz"):
        path.write_bytes(path.read_bytes()[:-100])
    again, rescored = count("--eval_frames=0")
    assert again == 12  # damaged ones are computed again
    np.testing.assert_allclose(scores, rescored, atol=1e-6)  # in other batches


def test_whole_recordings_share_padded_batches_where_that_pays(corpus, tmp_path):
    for number, seconds in enumerate((2.0, 0.5, 1.1, 0.7, 1.6)):
        soundfile.write(tmp_path / f"{number}.wav", voice(number, 0, seconds), 16_000)
    args = trainSpeakerNet.parse(corpus.options(tmp_path, nDataLoaderThread=0, eval_frames=0))[0]
    recordings = Recordings(str(tmp_path), [f"{number}.wav" for number in range(5)])
    embedder = Embedder(
        recordings, scoring=build_scoring(args), device=runtime.CPU, num_workers=0, skip_bad=False
    )
    network = SpeakerNet.build(args)
    alone = embedder.embed(network, signals.StopSignal()).vectors
    batches = []
    plain = network.embed_unequal
    network.embed_unequal = lambda waves: (batches.append([len(wave) for wave in waves]), plain(waves))[1]
    embedder.shares_batches = True
    together = embedder.embed(network, signals.StopSignal()).vectors
    assert batches == [[8000, 11200, 17600, 25600, 32000]]
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_windows_of_unequal_recordings_share_batches(corpus, tmp_path):
    durations_s = (0.9, 0.5, 1.1, 0.2)  # windows have 0.415 s
    for number, seconds in enumerate(durations_s):
        soundfile.write(tmp_path / f"{number}.wav", voice(number, 0, seconds), 16_000)
    words = corpus.options(tmp_path, nDataLoaderThread=0, scoring="mean", num_eval=3)
    args = trainSpeakerNet.parse(words)[0]
    recordings = Recordings(str(tmp_path), [f"{number}.wav" for number in range(4)])
    embedder = Embedder(
        recordings, scoring=build_scoring(args), device=runtime.CPU, num_workers=0, skip_bad=False
    )
    network = SpeakerNet.build(args).eval()
    windows = []
    for number in range(4):
        audio = recordings[number].whole()
        features = network.features(torch.from_numpy(np.resize(audio, max(len(audio), 6640)))[None])
        room = features.shape[2] - 42  # 1 + 6640 // 160 frames
        windows.append(torch.cat([features[:, :, s : s + 42] for s in (0, room // 2, room)]))
    embeddings = torch.stack([network.model(each) for each in windows])  # (4, 3, D)
    mean = embeddings.mean(dim=(0, 1))
    for shares in (False, True):
        embedder.shares_batches = shares
        found_mean = embedder.mean(network, signals.StopSignal())
        torch.testing.assert_close(found_mean, mean, atol=1e-5, rtol=0)
        for subtracted in (None, mean):
            vectors = embedder.embed(network, signals.StopSignal(), mean=subtracted).vectors[:, 0]
            centred = embeddings if subtracted is None else embeddings - mean
            torch.testing.assert_close(vectors, F.normalize(centred.mean(dim=1)), atol=1e-5, rtol=0)


def test_stored_embeddings_and_cohorts_are_bound_to_the_version_of_the_scoring(monkeypatch):
    network = SpeakerNet(torch.nn.Identity(), torch.nn.Identity())
    deciding = {"scoring": "mean", "eval_frames": 32}
    now = fingerprint(network, deciding)
    monkeypatch.setattr(options.plugin("scoring", "mean"), "version", 1)
    assert fingerprint(network, deciding) != now
    # as before scorings had versions, so that cohorts stay valid
    before = "b25f9c92176839b0175ec3cc573fe80e2e36b8bad6245802d6ecf5a4e66af876"
    assert fingerprint(network, {"scoring": "cosine", "eval_frames": 0}) == before


def test_cohorts_and_thresholds_from_before_channels_could_be_chosen_stay_valid():
    words = ["--model=ResNetSE34L", "--trainfunc=angleproto"]
    network = SpeakerNet(torch.nn.Identity(), torch.nn.Identity())
    before = "de9b445d04ed33ebe3074f412d1d68fe9fbac042d433142f3c04f70a44be95a3"
    assert fingerprint(network, embedding_options(trainSpeakerNet.parse(words)[0])) == before
    chosen = trainSpeakerNet.parse([*words, "--channel=0"])[0]
    assert fingerprint(network, embedding_options(chosen)) != before
    stored = {"scoring": "cosine", "eval_frames": 300, "num_eval": 10, "score_norm": "none"}
    decision = {"threshold": 0.5, "rule": "EER", "calibration": {}, "options": stored}
    # the recordings were mixed down, whatever channel the network was trained on, and embedded whole
    defaults = {"channel": -1, "vad": "none", "precision": "fp32", "backend": "none"}
    assert decided_options(decision, "x.model") == stored | defaults
    stored |= {"channel": 1, "vad": "energy"}
    assert decided_options(decision, "x.model") == stored | {"precision": "fp32", "backend": "none"}
    stored["vad"] = "by hand"
    with pytest.raises(ValueError, match=r"x\.model: its decision has an unknown option, vad by hand;"):
        decided_options(decision, "x.model")


def test_cohorts_from_before_plugins_had_more_options_stay_valid():
    """The hash is from before fbank had --window and --waveform_scale; the test above is for logmel."""
    words = ["--model=SEResNet34", "--features=fbank", "--trainfunc=angleproto"]
    network = SpeakerNet(torch.nn.Identity(), torch.nn.Identity())
    before = "933f378c4f6969dc09b733e43c5182e32fd91e368fc7c46b2dfdef6d0af3ef39"
    given = "--window=povey", "--waveform_scale=32768"
    for more in ((), given):
        values = trainSpeakerNet.parse([*words, *more])[0]
        assert fingerprint(network, embedding_options(values)) == before
    for other in ("--window=hamming", "--waveform_scale=1"):
        values = trainSpeakerNet.parse([*words, other])[0]
        assert fingerprint(network, embedding_options(values)) != before


def test_a_threshold_of_scores_from_before_detectors_and_channels_decides(model, corpus, tmp_path):
    (tmp_path / "test.txt").write_text("1 spk0/0.wav spk0/1.wav\n0 spk0/0.wav spk1/0.wav\n")
    words = ["--test_list", tmp_path / "test.txt"]
    assert evaluate(model, corpus, tmp_path, *words).returncode == 0
    scores = tmp_path / "result" / "eval" / "test.scores.txt"
    origin = json.loads(scores.with_suffix(".json").read_text())
    assert origin["options"].pop("scoring_version") == 1
    assert not {"vad", "channel"} & origin["options"].keys()
    scores.with_suffix(".json").write_text(json.dumps(origin))
    stored = shutil.copy(model, tmp_path / "m.model")
    result = run_here("tuneThreshold.py", scores, "--store", stored)
    assert result.returncode == 0 and "now decides at" in result.stdout, result.stderr
    decided = evaluate(stored, corpus, tmp_path, *words, "--vad=none", "--channel=-1", mode="--test")
    assert decided.returncode == 0 and " of 2 trials accepted (EER)" in decided.stdout, decided.stderr
    for flag, has in (("--vad energy", "vad none"), ("--channel 0", "channel -1")):
        refused = evaluate(stored, corpus, tmp_path / "x", *words, *flag.split(), mode="--test")
        assert_refused(refused, f"{flag} contradicts", f"m.model, which has {has}; leave the flag out")


def test_precision_belongs_to_scores_and_thresholds(model, corpus, tmp_path):
    (tmp_path / "test.txt").write_text("1 spk0/0.wav spk0/1.wav\n0 spk0/0.wav spk1/0.wav\n")
    words = ["--test_list", tmp_path / "test.txt", "--eval_frames=0"]
    scores, from_store = {}, {}
    for precision in ("fp32", "auto", "bf16"):
        done = evaluate(model, corpus, tmp_path, *words, f"--precision={precision}")
        assert done.returncode == 0 and not done.stderr, done.stderr
        scores[precision] = scores_of(tmp_path)
        from_store[precision] = "of 3 recordings are from earlier runs" in done.stdout
        used = "fp32" if precision == "auto" else precision
        assert f"threads), {used}" in done.stdout and records(tmp_path)[-1]["precision"] == used
    assert from_store == {"fp32": False, "auto": True, "bf16": False}
    np.testing.assert_array_equal(scores["auto"], scores["fp32"])
    np.testing.assert_allclose(scores["bf16"], scores["fp32"], atol=0.02)
    assert (scores["bf16"] != scores["fp32"]).all()
    stored = shutil.copy(model, tmp_path / "m.model")
    path = tmp_path / "result" / "eval" / "test.scores.txt"
    assert json.loads(path.with_suffix(".json").read_text())["options"]["precision"] == "bf16"
    result = run_here("tuneThreshold.py", path, "--store", stored)
    assert result.returncode == 0, result.stderr
    decided = evaluate(stored, corpus, tmp_path, *words[:2], mode="--test")
    assert "embeddings of 3 of 3 recordings are from earlier runs" in decided.stdout, decided.stderr
    refused = evaluate(stored, corpus, tmp_path, *words[:2], "--precision=fp32", mode="--test")
    assert_refused(refused, "--precision fp32 contradicts", "m.model, which has precision bf16; leave")
    trained_in_bf16 = trainSpeakerNet.parse([*corpus.options(tmp_path), "--precision=bf16"])[0]
    assert "precision" not in embedding_options(trained_in_bf16)  # tests during training are exact
    assert embedding_options(trained_in_bf16.replaced(eval=True))["precision"] == "bf16"


def test_a_cohort_in_a_model_from_before_bindings_is_for_scores_of_then():
    words = ["--model=ResNetSE34L", "--trainfunc=angleproto", "--initial_model=m.model"]
    network = SpeakerNet(torch.nn.Identity(), torch.nn.Identity())
    labels = torch.tensor([0])
    cohort = Cohort(torch.ones(1, 2), labels, ["anna"], ["a.wav"], labels, None, "a hash of then")
    values = options.resolve(trainSpeakerNet.make_parser, words).options
    check_cohort(cohort, network, values, from_model_file=True)
    for changes in ({"scoring": "mean"}, {"vad": "energy"}, {"channel": 0}):
        with pytest.raises(ValueError, match=r"the cohort in m\.model was made by an earlier .* --prepare"):
            check_cohort(cohort, network, values.replaced(**changes), from_model_file=True)
    with pytest.raises(ValueError, match=r"^old\.pt was made by an earlier version"):
        check_cohort(cohort, network, values.replaced(cohort="old.pt"), from_model_file=False)


def test_stored_embeddings_are_bound_to_the_code_that_computes_them(tmp_path, monkeypatch):
    for folder in ("audio", "evaluation", *options.KINDS):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("DatasetLoader.py", "SpeakerNet.py"):
        shutil.copy(ROOT / name, tmp_path)
    monkeypatch.setattr(plugins, "ROOT", tmp_path)
    words = ["--model=ResNetSE34L", "--trainfunc=angleproto"]
    values = options.resolve(trainSpeakerNet.make_parser, words).options
    versions = [EmbeddingStore(tmp_path, values, runtime.CPU).version]
    edited = ["audio/vad.py", "audio/recording.py", "audio/containers.py", "scoring/cosine.py"]
    edited += ["models/ResNetSE34L.py", "models/_padded.py", "SpeakerNet.py", "evaluation/embedder.py"]
    for path in edited:
        with (tmp_path / path).open("a") as stream:
            stream.write("# edited\n")
        versions.append(EmbeddingStore(tmp_path, values, runtime.CPU).version)
    assert len({*versions}) == 1 + len(edited)
    for path in ("models/VGGVox.py", "scoring/mean.py", "loss/softmax.py"):  # not chosen, or only trains
        (tmp_path / path).write_text((tmp_path / path).read_text() + "# edited\n")
    assert EmbeddingStore(tmp_path, values, runtime.CPU).version == versions[-1]


def write_channels(corpus, root, first):
    """Trials, and their recordings with two channels: one computed from the corpus's own, which is the other.

    Returns the words that evaluate them.
    """
    for name in ("spk0/0.wav", "spk0/1.wav", "spk1/0.wav", "spk1/1.wav"):
        samples = soundfile.read(corpus.root / name, dtype="int16")[0]
        (root / name).parent.mkdir(exist_ok=True)
        soundfile.write(root / name, np.stack([first(samples), samples], axis=1), 16_000)
    (root / "test.txt").write_text(
        "0 spk0/0.wav spk1/0.wav\n1 spk0/0.wav spk0/1.wav\n1 spk1/0.wav spk1/1.wav\n"
    )
    return ["--test_list", root / "test.txt", f"--test_path={root}"]


def test_a_channel_is_scored_as_a_file_of_its_own(model, corpus, tmp_path):
    test = write_channels(corpus, tmp_path, lambda samples: -samples)
    mono = evaluate(model, corpus, tmp_path / "mono", *test[:2])
    assert mono.returncode == 0 and "note:" not in mono.stdout, mono.stderr
    mixed = evaluate(model, corpus, tmp_path / "exp", *test)
    assert mixed.returncode == 0, mixed.stderr
    remark = "note: channels in opposite phase: the first that is not silent is taken: "
    assert mixed.stdout.count(f"{remark}{tmp_path}") == 1 and f"{remark}4 files in all" in mixed.stdout
    negative = scores_of(tmp_path / "exp")  # log-mel energies don't know the sign
    np.testing.assert_allclose(negative, scores_of(tmp_path / "mono"), atol=1e-5)
    write_channels(corpus, tmp_path, lambda samples: samples[::-1] // 2)
    chosen = evaluate(model, corpus, tmp_path / "exp", *test, "--channel=1")
    assert chosen.returncode == 0 and "note:" not in chosen.stdout, chosen.stderr
    np.testing.assert_array_equal(scores_of(tmp_path / "exp"), scores_of(tmp_path / "mono"))
    refused = evaluate(model, corpus, tmp_path / "x", *test[:2], "--channel=1")
    assert_refused(refused, "0.wav: has no channel 1: it has 1, and --channel counts from 0")
    assert_refused(evaluate(model, corpus, tmp_path / "x", *test, "--channel=-2"), "--channel", "at least -1")


def test_cohorts_and_decisions_know_their_channel(model, corpus, tmp_path):
    test = write_channels(corpus, tmp_path, lambda samples: samples[::-1])
    (tmp_path / "cohort.txt").write_text("".join(f"spk{i} spk{i}/{j}.wav\n" for i in "01" for j in "01"))
    norm = ["--score_norm=snorm", f"--cohort_list={tmp_path / 'cohort.txt'}", f"--cohort_path={tmp_path}"]
    norm += ["--cohort_entries=utterances"]
    scored = evaluate(model, corpus, tmp_path / "exp", *test, *norm, "--channel=1")
    assert scored.returncode == 0, scored.stderr
    made = [norm[0], f"--cohort={tmp_path / 'exp' / 'result' / 'cohort.pt'}"]
    refused = evaluate(model, corpus, tmp_path / "x", *test, *made)
    assert_refused(refused, "the cohort was made with another network or other options of evaluation")
    shutil.copy(model, tmp_path / "m.model")
    scores = tmp_path / "exp" / "result" / "eval" / "test.scores.txt"
    assert run_here("tuneThreshold.py", scores, "--store", tmp_path / "m.model").returncode == 0
    assert checkpoint.load_model(str(tmp_path / "m.model")).decision["options"]["channel"] == 1
    decided = evaluate(tmp_path / "m.model", corpus, tmp_path / "exp", *test, mode="--test")
    assert decided.returncode == 0, decided.stderr
    rows = list(csv.DictReader((tmp_path / "exp/result/eval/test.decisions.csv").open()))
    np.testing.assert_allclose([float(row["score"]) for row in rows], scores_of(tmp_path / "exp"), rtol=1e-5)
    refused = evaluate(tmp_path / "m.model", corpus, tmp_path / "x", *test, "--channel=0", mode="--test")
    assert_refused(refused, "--channel 0 contradicts", "m.model, which has channel 1; leave the flag out")


def test_a_threshold_for_another_version_of_a_scoring_is_refused(model, corpus, tmp_path):
    (tmp_path / "test.txt").write_text("1 spk0/0.wav spk0/1.wav\n0 spk0/0.wav spk1/0.wav\n")
    test = ["--test_list", tmp_path / "test.txt"]
    words = [*test, "--scoring=mean", "--num_eval=2", "--eval_frames=30"]
    assert evaluate(model, corpus, tmp_path / "dev", *words).returncode == 0
    scores = tmp_path / "dev" / "result" / "eval" / "test.scores.txt"
    origin = json.loads(scores.with_suffix(".json").read_text())
    assert origin["options"]["scoring_version"] == 2
    calibration = Calibration(("score",), (2.0,), -1.0, 0.5, 3, 3, 0.0).to_dict()
    decision = {"threshold": 0.5, "rule": "EER", "calibration": calibration, "options": origin["options"]}
    model_file = checkpoint.load_model(str(model))._replace(decision=decision)
    checkpoint.save_model(tmp_path / "m.model", model_file)
    result = evaluate(tmp_path / "m.model", corpus, tmp_path / "exp", *test, mode="--test")
    assert result.returncode == 0 and " of 2 trials accepted" in result.stdout, result.stderr
    del decision["options"]["scoring_version"]  # as thresholds were stored before
    checkpoint.save_model(tmp_path / "m.model", model_file)
    refused = evaluate(tmp_path / "m.model", corpus, tmp_path / "exp", *test, mode="--test")
    assert_refused(refused, "m.model: its scores were computed by another version of --scoring mean")
    # --eval makes the scores for a new one
    assert evaluate(tmp_path / "m.model", corpus, tmp_path / "again", *test).returncode == 0
    np.testing.assert_array_equal(scores_of(tmp_path / "again"), scores_of(tmp_path / "dev"))
    scores.with_suffix(".json").write_text(json.dumps(origin))  # now without the version, too
    refused = run_here("tuneThreshold.py", scores, "--store", tmp_path / "m.model")
    assert_refused(refused, "test.scores.txt: its scores were computed by another version of --scoring mean")


def test_the_report_shows_what_was_found(trained, model, corpus, tmp_path):
    paths = [f"spk{speaker}/{take}.wav" for speaker in range(6) for take in range(2)]
    pairs = itertools.combinations(paths, 2)
    trials = tmp_path / "all.txt"
    trials.write_text("".join(f"{int(a[:4] == b[:4])} {a} {b}\n" for a, b in pairs))
    result = evaluate(model, corpus, tmp_path, "--test_list", trials, "--calibrate", report=True)
    assert result.returncode == 0, result.stderr
    llrs = read_score_file(str(tmp_path / "result" / "eval" / "all.llr.txt"))
    scored = read_score_file(str(tmp_path / "result" / "eval" / "all.scores.txt"))
    plain = fusion.cross_validated([scored])
    # the files have nine digits of a score, the LLRs are those of the scores themselves
    slope = np.ptp(plain.llr) / np.ptp(scored.scores)
    np.testing.assert_allclose(llrs.scores, plain.llr, rtol=1e-6, atol=1e-8 * slope)
    assert "calibration loss" in result.stdout
    path = tmp_path / "result" / "eval" / "report.html"
    assert f"report: {path}" in result.stdout and path.with_name("det.png").stat().st_size > 5000
    text, [figures] = path.read_text(), records(tmp_path)
    assert "Cllr" in text and "6 speakers were drawn" in text and figures["eer"] <= 1.0
    assert f"{100 * eer(error_rates(llrs.scores, llrs.labels)).value:.2f} %" in text
    assert "<dt>test_path</dt>" in text and "duration_s" in text and text.count("data:audio/mpeg") == 12
    unlabelled = tmp_path / "pairs.txt"
    unlabelled.write_text("spk0/0.wav spk1/0.wav\n")
    assert "report:" not in evaluate(model, corpus, tmp_path, "--test_list", unlabelled, report=True).stdout
    off = evaluate(model, corpus, tmp_path, "--test_list", corpus.test_list)
    assert off.returncode == 0 and "report:" not in off.stdout


def test_without_matplotlib_there_is_a_note(model, corpus, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for name in ("report.page", "report.plots"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    for name in ("page", "plots"):
        monkeypatch.delattr(report, name, raising=False)
    result = evaluate(model, corpus, tmp_path, "--test_list", corpus.test_list, report=True)
    assert result.returncode == 0 and "note: no report without matplotlib: pip install" in result.stdout


def test_a_stop_keeps_what_was_embedded(model, corpus, tmp_path):
    args = trainSpeakerNet.parse(corpus.options(tmp_path, nDataLoaderThread=0))[0]
    listed = CohortList(args, runtime.CPU, EmbeddingStore(tmp_path, args, runtime.CPU))  # 30 recordings
    network, stop = SpeakerNet.build(args), signals.StopSignal()
    calls = []
    stop.check = lambda: calls.append(1) or (len(calls) > 2 and stop_now())

    def stop_now():
        raise signals.Stopped(15)

    with pytest.raises(signals.Stopped):
        listed.embedder.embed(network, stop)
    [path] = tmp_path.glob("*/*.npz")
    assert len(np.load(path)["vectors"]) == 2  # one by one, as on every CPU


def test_scores_are_normalised_by_a_cohort(trained, corpus, tmp_path):
    model = trained[0] / "model" / "best.model"
    lists = [f"--test_list={corpus.test_list}", f"--test_path={corpus.root}", "--nDataLoaderThread=0"]
    lists.append("--report=False")
    words = [f"--cohort_list={corpus.train_list}", f"--cohort_path={corpus.root}", "--top_n=3"]
    scores = {}
    for name, more in {
        "none": [],
        "snorm": words[:2],
        "asnorm": words,
        "all": [*words, "--cohort_entries=utterances"],
    }.items():
        norm = "asnorm" if name == "all" else name
        result = run_here(
            SCRIPT, "--eval", f"--initial_model={model}", *lists, f"--score_norm={norm}", *more,
            f"--save_path={tmp_path / name}",
        )  # fmt: skip
        assert result.returncode == 0 and not result.stderr, result.stderr
        lines = (tmp_path / name / "result" / "eval" / "test.scores.txt").read_text().splitlines()
        scores[name] = np.array([float(line.split()[0]) for line in lines])
        recorded = json.loads((tmp_path / name / "result" / "results.jsonl").read_text().splitlines()[-1])
        assert recorded["score_norm"] == norm
    # six speakers, five of them others: the nearest three differ from all five, single utterances from means
    assert len({tuple(each) for each in scores.values()}) == 4
    refused = run_here(
        SCRIPT,
        "--eval",
        f"--initial_model={model}",
        *lists,
        *words,
        "--score_norm=znorm",
        "--scoring=distance",
    )
    assert_refused(refused, "--score_norm znorm is not for --scoring distance")


def test_an_own_speaker_is_known_by_path_or_folder(corpus, tmp_path):
    words = corpus.options(tmp_path / "exp", score_norm="snorm", cohort_utterances=2)
    args = trainSpeakerNet.parse(words)[0]
    listed = CohortList(args, runtime.CPU)
    assert len(listed.labels) == 12 and len(listed.embedder.recordings) == 12
    cohort = listed.prepare(SpeakerNet.build(args), signals.StopSignal(), None)
    assert cohort.entries.shape == (6, 512) and cohort.mean is None
    assert cohort.speakers_of(["spk3/0.wav", "x/spk4/new.wav", "other/1.wav"]).tolist() == [3, 4, -1]


def test_a_cohort_is_prepared_once(model, corpus, tmp_path):
    """For --cohort, and in the model file, from which --eval takes it unless told otherwise."""
    model = shutil.copy(model, tmp_path / "m.model")
    words = [f"--cohort_list={corpus.train_list}", f"--cohort_path={corpus.root}", "--eval_frames=0"]
    prepared = evaluate(model, corpus, tmp_path / "cohort", *words, "--subtract_mean", mode="--prepare")
    assert prepared.returncode == 0 and not prepared.stderr, prepared.stderr
    path = tmp_path / "cohort" / "result" / "cohort.pt"
    norm = ["--test_list", corpus.test_list, "--score_norm=asnorm", "--top_n=3", "--eval_frames=0"]
    norm += ["--subtract_mean"]
    by_file = evaluate(model, corpus, tmp_path / "file", *norm, f"--cohort={path}")
    assert by_file.returncode == 0 and not by_file.stderr, by_file.stderr
    by_list = evaluate(model, corpus, tmp_path / "list", *norm, *words)
    assert by_list.returncode == 0, by_list.stderr
    np.testing.assert_array_equal(scores_of(tmp_path / "file"), scores_of(tmp_path / "list"))
    assert len(checkpoint.load_model(str(model)).cohort["entries"]) == 6
    again = evaluate(model, corpus, tmp_path / "again", *norm)
    assert again.returncode == 0 and "cohort entries in" not in again.stdout  # none was made
    np.testing.assert_array_equal(scores_of(tmp_path / "file"), scores_of(tmp_path / "again"))
    refused = evaluate(model, corpus, tmp_path / "x", *norm, f"--cohort={path}", "--eval_frames=40")
    assert_refused(refused, "the cohort was made with another network or other options of evaluation")
    refused = evaluate(model, corpus, tmp_path / "x", *norm, f"--cohort={model}")
    assert_refused(refused, "not a cohort file, as --prepare writes it")


def test_the_mean_is_taken_off_before_length_normalisation(model, corpus, tmp_path):
    words = [f"--cohort_list={corpus.train_list}", f"--cohort_path={corpus.root}", "--eval_frames=0"]
    words += ["--test_list", corpus.test_list, "--subtract_mean", "--cohort_utterances=1"]
    assert evaluate(model, corpus, tmp_path, *words).returncode == 0
    model_file = checkpoint.load_model(str(model))
    args = trainSpeakerNet.parse(["--eval", f"--initial_model={model}", "--test_list", "x"])[0]
    network = SpeakerNet.build(args).eval()
    checkpoint.load_weights(network, checkpoint.split_loss(model_file.weights)[0], "")

    @torch.no_grad()
    def embed(name):
        return network.embed(torch.from_numpy(AudioFile(str(corpus.root / name)).whole())[None])[0]

    mean = torch.stack([embed(f"spk{speaker}/0.wav") for speaker in range(6)]).mean(dim=0)
    first, second = embed("spk0/0.wav") - mean, embed("spk0/1.wav") - mean
    expected = F.cosine_similarity(first, second, dim=0).item()
    assert scores_of(tmp_path)[0] == pytest.approx(expected, abs=1e-5)


def test_enrolments_of_several_files_are_averaged(model, corpus, tmp_path):
    (tmp_path / "enrol.txt").write_text("anna spk0/0.wav spk0/1.wav\nanna spk0/2.wav\nben spk1/0.wav\n")
    trials = tmp_path / "models.txt"
    trials.write_text("anna spk0/3.wav target\nanna spk1/3.wav nontarget\nben spk1/3.wav target\n")
    words = ["--test_list", trials, f"--enrol_list={tmp_path / 'enrol.txt'}"]
    result = evaluate(model, corpus, tmp_path / "exp", *words)
    assert result.returncode == 0, result.stderr
    pairs = tmp_path / "pairs.txt"
    pairs.write_text(
        "".join(f"spk0/{take}.wav spk0/3.wav\n" for take in range(3))
        + "spk1/0.wav spk1/3.wav\n"
        + "".join(f"spk0/{a}.wav spk0/{b}.wav\n" for a in range(3) for b in range(3))
        + "spk1/0.wav spk1/0.wav\n"
    )
    assert evaluate(model, corpus, tmp_path / "pairs", "--test_list", pairs).returncode == 0
    single = scores_of(tmp_path / "pairs", "pairs")
    assert len(single) == 14
    # the cosine with a mean is the mean of the cosines over the mean's length
    length = np.sqrt(single[4:13].mean())
    found = scores_of(tmp_path / "exp", "models")
    assert found[0] == pytest.approx(single[:3].mean() / length, abs=1e-5)
    assert found[2] == pytest.approx(single[3] / np.sqrt(single[13]), abs=1e-5)  # of one file likewise
    table = (tmp_path / "exp" / "result" / "eval" / "utterances.tsv").read_text().splitlines()
    assert table[0] == "path\tduration_s\tnorm\tspeech_s" and table[1].startswith("anna\t3.0000\t")
    refused = evaluate(model, corpus, tmp_path / "x", *words, "--scoring=distance")
    assert_refused(refused, "--scoring distance can't average files")
    (tmp_path / "enrol.txt").write_text("anna\n")
    assert_refused(evaluate(model, corpus, tmp_path / "x", *words), "enrol.txt:1", "model path path")


@pytest.mark.parametrize("form", ["{m} {t} {l}", "{l} {m} {t}", "{m} {t} {w}"])
def test_models_may_be_called_0_and_1(model, corpus, tmp_path, form):
    """The same trials with other names of the models have the same scores."""
    for first, second in ("ab", "01"):
        (tmp_path / "enrol").write_text(f"{first} spk0/0.wav spk0/1.wav\n{second} spk1/0.wav\n")
        trials = [(first, "spk0/3.wav", 1), (first, "spk1/3.wav", 0), (second, "spk1/4.wav", 1)]
        lines = [form.format(m=m, t=t, l=y, w=("nontarget", "target")[y]) for m, t, y in trials]
        (tmp_path / f"{first}.txt").write_text("\n".join(lines) + "\n")
        words = ["--test_list", tmp_path / f"{first}.txt", f"--enrol_list={tmp_path / 'enrol'}"]
        result = evaluate(model, corpus, tmp_path / first, *words)
        assert result.returncode == 0, result.stderr
    np.testing.assert_array_equal(scores_of(tmp_path / "a", "a"), scores_of(tmp_path / "0", "0"))
    figures = [records(tmp_path / name)[0]["eer"] for name in "a0"]
    assert figures[0] == figures[1]


def test_ambiguous_sides_of_trials_with_models_are_refused(model, corpus, tmp_path):
    root = shutil.copytree(corpus.root, tmp_path / "audio")
    for name in "01":
        shutil.copy(root / "spk0" / "0.wav", root / name)
    (tmp_path / "enrol").write_text("0 spk0/0.wav\n1 spk1/0.wav\n")
    words = [f"--test_path={root}", f"--enrol_list={tmp_path / 'enrol'}", "--test_list", tmp_path / "t.txt"]
    (tmp_path / "t.txt").write_text("0 spk0/3.wav 1\n1 spk1/3.wav 1\n")
    refused = evaluate(model, corpus, tmp_path / "x", *words)
    assert_refused(refused, "t.txt:1: is this spk0/3.wav against 1 or 0 against spk0/3.wav?")
    (tmp_path / "t.txt").write_text("spk0/3.wav 0 target\nspk1/3.wav spk0/3.wav nontarget\n")
    assert_refused(evaluate(model, corpus, tmp_path / "x", *words), "0 is also on the test side of a trial")


def test_a_list_that_keeps_one_class_has_scores_without_rates(model, corpus, tmp_path):
    root = shutil.copytree(corpus.root, tmp_path / "audio")
    (root / "spk5" / "0.wav").write_bytes(b"damaged")
    trials = tmp_path / "few.txt"
    trials.write_text("1 spk0/0.wav spk0/1.wav\n0 spk0/0.wav spk5/0.wav\n")
    words = ["--test_list", trials, f"--test_path={root}", "--skip_bad_audio", "--calibrate"]
    result = evaluate(model, corpus, tmp_path / "exp", *words, report=True)
    assert result.returncode == 0, result.stderr
    assert "no error rates for trials of one class" in result.stdout
    assert len(scores_of(tmp_path / "exp", "few")) == 1


def test_a_threshold_for_another_cohort_goes_with_it_and_one_for_cosines_stays(model, corpus, tmp_path):
    words = [f"--cohort_list={corpus.train_list}", f"--cohort_path={corpus.root}", "--cohort_utterances=1"]
    decision = {"threshold": 0.5, "rule": "EER", "calibration": {}}
    for norm, told in (("none", 0), ("asnorm", 1)):
        stored = {"scoring": "cosine", "score_norm": norm} | ({"top_n": 3} if told else {})
        model_file = checkpoint.load_model(str(model))._replace(decision=decision | {"options": stored})
        checkpoint.save_model(tmp_path / "m.model", model_file)
        prepared = evaluate(tmp_path / "m.model", corpus, tmp_path, *words, mode="--prepare")
        assert prepared.returncode == 0 and prepared.stdout.count("its threshold was for other") == told
        assert (checkpoint.load_model(str(tmp_path / "m.model")).decision is None) == bool(told)


def test_a_cohort_of_nothing_is_refused(model, corpus, tmp_path):
    words = [f"--cohort_list={corpus.train_list}", f"--cohort_path={corpus.root}", "--scoring=distance"]
    refused = evaluate(model, corpus, tmp_path, *words, mode="--prepare")
    assert_refused(refused, "--prepare: --scoring distance", "add --subtract_mean")


def test_the_flag_that_chose_the_cohort_is_named(model, corpus, tmp_path):
    words = [f"--test_list={corpus.test_list}", "--score_norm=snorm", f"--train_path={corpus.root}"]
    refused = evaluate(model, corpus, tmp_path, *words, "--train_list=absent.txt")
    assert_refused(refused, "--train_list absent.txt: no such file")
    refused = evaluate(model, corpus, tmp_path, *words, "--cohort_list=absent.txt")
    assert_refused(refused, "--cohort_list absent.txt: no such file")


def test_repeated_trials_count_and_are_said(model, corpus, tmp_path):
    trials = tmp_path / "twice.txt"
    trials.write_text("1 spk0/0.wav spk0/1.wav\n0 spk0/0.wav spk1/1.wav\n1 spk0/1.wav spk0/0.wav\n")
    result = evaluate(model, corpus, tmp_path / "exp", "--test_list", trials)
    assert result.returncode == 0 and "note: 1 trials of twice are duplicates" in result.stdout
    assert len(scores_of(tmp_path / "exp", "twice")) == 3
    trials.write_text("1 spk0/0.wav spk0/1.wav\n0 spk0/1.wav spk0/0.wav\n")
    refused = evaluate(model, corpus, tmp_path / "exp", "--test_list", trials)
    assert_refused(refused, "twice.txt: the trial", "both labels")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_model_file_may_have_weights_of_another_type(model, corpus, tmp_path, dtype):
    model_file = checkpoint.load_model(str(model))
    weights = {k: t.to(dtype) if t.is_floating_point() else t for k, t in model_file.weights.items()}
    checkpoint.save_model(tmp_path / "m.model", model_file._replace(weights=weights))
    words = ["--test_list", corpus.test_list]
    result = evaluate(tmp_path / "m.model", corpus, tmp_path / "exp", *words)
    assert result.returncode == 0, result.stderr
    assert evaluate(model, corpus, tmp_path / "plain", *words).returncode == 0
    np.testing.assert_allclose(scores_of(tmp_path / "exp"), scores_of(tmp_path / "plain"), atol=0.05)


def test_decisions_need_nothing_but_the_model_file(model, corpus, tmp_path):
    pairs = tmp_path / "pairs.txt"
    pairs.write_text("spk0/0.wav spk0/1.wav\nspk0/0.wav spk1/1.wav\n")
    refused = evaluate(model, corpus, tmp_path / "x", "--test_list", pairs, mode="--test")
    assert_refused(refused, "has no threshold", "tuneThreshold.py --store")
    calibration = Calibration(("score",), (2.0,), -1.0, 0.5, 3, 3, 0.0)
    assert evaluate(model, corpus, tmp_path / "plain", "--test_list", pairs).returncode == 0
    scores = scores_of(tmp_path / "plain", "pairs")
    decision = {
        "threshold": float(scores.mean()), "rule": "EER", "calibration": calibration.to_dict(),
        "options": {"scoring": "cosine", "score_norm": "none", "num_eval": 1},
    }  # fmt: skip
    checkpoint.save_model(tmp_path / "m.model", checkpoint.load_model(str(model))._replace(decision=decision))
    words = ["--test_list", pairs, "--prior=0.1"]
    result = evaluate(tmp_path / "m.model", corpus, tmp_path / "exp", *words, mode="--test")
    assert result.returncode == 0 and not result.stderr, result.stderr
    assert "1 of 2 trials accepted (EER)" in result.stdout
    with (tmp_path / "exp" / "result" / "eval" / "pairs.decisions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["decision"] for row in rows] == ["accept" if s >= scores.mean() else "reject" for s in scores]
    llr = 2.0 * scores[0] - 1.0
    assert float(rows[0]["llr"]) == pytest.approx(llr, abs=1e-5)
    assert float(rows[0]["probability"]) == pytest.approx(1 / (1 + 9 * np.exp(-llr)), abs=1e-5)


@pytest.mark.slow
def test_three_processes_share_the_recordings(model, corpus, tmp_path):
    root = shutil.copytree(corpus.root, tmp_path / "audio")
    (root / "spk2" / "0.wav").write_bytes(b"damaged")
    words = [f"--initial_model={model}", f"--test_list={corpus.test_list}", f"--test_path={root}", "--eval"]
    words += [
        "--nDataLoaderThread=0",
        "--eval_frames=0",
        "--device=cpu",
        "--skip_bad_audio",
        "--report=False",
    ]
    words += [
        "--score_norm=snorm",
        "--subtract_mean",
        f"--cohort_list={corpus.train_list}",
        f"--cohort_path={root}",
    ]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=3"]
    command = [*torchrun, ROOT / SCRIPT, *words, f"--save_path={tmp_path / 'ranks'}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(", VEER ") == 1 and done.stdout.count("note: skipped") == 2, done.stdout
    alone = run_here(SCRIPT, *words, f"--save_path={tmp_path / 'alone'}")
    assert alone.returncode == 0, alone.stderr
    np.testing.assert_allclose(scores_of(tmp_path / "ranks"), scores_of(tmp_path / "alone"), atol=2e-5)
    skipped = [(tmp_path / name / "result" / "skipped.txt").read_text() for name in ("ranks", "alone")]
    assert skipped[0] == skipped[1] and "spk2/0.wav" in skipped[0]


def test_a_stored_threshold_decides_as_the_list_it_was_found_on(trained, corpus, tmp_path, capsys):
    model = tmp_path / "m.model"
    shutil.copy(trained[0] / "model" / "best.model", model)
    paths = [f"spk{speaker}/{take}.wav" for speaker in range(6) for take in range(2)]
    trials = [(int(a[:4] == b[:4]), a, b) for a, b in itertools.combinations(paths, 2)]
    labelled, pairs = tmp_path / "all.txt", tmp_path / "pairs.txt"
    labelled.write_text("".join(f"{label} {a} {b}\n" for label, a, b in trials))
    pairs.write_text("".join(f"{a} {b}\n" for _, a, b in trials))
    norm = ["--score_norm=asnorm", "--top_n=3", "--eval_frames=0"]
    norm += [f"--cohort_list={corpus.train_list}", f"--cohort_path={corpus.root}"]
    assert evaluate(model, corpus, tmp_path / "dev", "--test_list", labelled, *norm).returncode == 0
    scores = tmp_path / "dev" / "result" / "eval" / "all.scores.txt"
    words = [scores, "--p_fa", "0.1", "--rule", "p_fa", "--store", model]
    assert tuneThreshold.main([*map(str, words)]) == 0
    assert "now decides at" in capsys.readouterr().out
    result = evaluate(model, corpus, tmp_path / "exp", "--test_list", pairs, mode="--test")
    assert result.returncode == 0 and not result.stderr, result.stderr
    with (tmp_path / "exp" / "result" / "eval" / "pairs.decisions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    np.testing.assert_allclose(
        [float(row["score"]) for row in rows], scores_of(tmp_path / "dev", "all"), rtol=1e-5
    )
    accepted = [row["decision"] == "accept" for row in rows]
    false = [taken for taken, (label, *_) in zip(accepted, trials, strict=True) if not label]
    assert 0 < sum(false) <= 0.1 * len(false)
    # --eval goes by the same options, from the model file alone
    again = evaluate(model, corpus, tmp_path / "again", "--test_list", labelled)
    assert again.returncode == 0, again.stderr
    np.testing.assert_allclose(
        scores_of(tmp_path / "again", "all"), scores_of(tmp_path / "dev", "all"), atol=1e-6
    )
    norms = ["--score_norm=none", "--eval_frames=40", f"--cohort_list={corpus.train_list}"]
    for flag, told in zip(norms, ("contradicts", "contradicts", "uses the cohort in"), strict=True):
        refused = evaluate(model, corpus, tmp_path / "exp", "--test_list", pairs, flag, mode="--test")
        assert_refused(refused, told)
    # stored once more from scores that the model's own cohort normalised: it keeps that cohort
    words[0] = tmp_path / "again" / "result" / "eval" / "all.scores.txt"
    assert tuneThreshold.main([*map(str, words)]) == 0
    assert checkpoint.load_model(str(model)).cohort is not None
    fine_tuning = trainSpeakerNet.parse(["--initial_model", str(model), "--trainfunc=softmax"])[0]
    assert fine_tuning.score_norm == "none"
    model_file = checkpoint.load_model(str(model))
    changed = model_file.weights | {"model.conv1.weight": model_file.weights["model.conv1.weight"] + 1.0}
    checkpoint.save_model(tmp_path / "other.model", model_file._replace(weights=changed))
    refused = run_here("tuneThreshold.py", scores, "--store", tmp_path / "other.model")
    assert_refused(refused, "was computed with other weights")
    refused = run_here("tuneThreshold.py", scores, "--store", model, "--rule", "p_miss")
    assert_refused(refused, "--rule p_miss needs --p_miss")
    (tmp_path / "dev" / "result" / "cohort.pt").write_bytes(b"another")
    assert_refused(run_here("tuneThreshold.py", scores, "--store", model), "cohort.pt: gone or changed")
    scores.write_text(scores.read_text() + "0.5 x y 1\n")
    assert_refused(run_here("tuneThreshold.py", scores, "--store", model), "all.scores.txt: changed since")
    scores.with_suffix(".json").write_text("[]")
    assert_refused(run_here("tuneThreshold.py", scores, "--store", model), "all.scores.json: damaged")
    scores.with_suffix(".json").unlink()
    assert_refused(run_here("tuneThreshold.py", scores, "--store", model), "needs scores of --eval")


@pytest.mark.slow
def test_a_report_of_two_systems(model, corpus, tmp_path):
    paths = [f"spk{speaker}/{take}.wav" for speaker in range(6) for take in range(2)]
    pairs = itertools.combinations(paths, 2)
    trials = tmp_path / "all.txt"
    trials.write_text("".join(f"{int(a[:4] == b[:4])} {a} {b}\n" for a, b in pairs))
    files = []
    for frames in (0, 40):
        more = ["--test_list", trials, f"--eval_frames={frames}"]
        assert evaluate(model, corpus, tmp_path / str(frames), *more).returncode == 0
        files.append(tmp_path / str(frames) / "result" / "eval" / "all.scores.txt")
    words = [*files, f"--output={tmp_path / 'report'}", f"--audio={corpus.root}", "--replicates=20"]
    result = run_here("tuneThreshold.py", "report", *words)
    assert result.returncode == 0, result.stderr
    text = (tmp_path / "report" / "report.html").read_text()
    assert "Scores of 0<" in text and "Scores of 40<" in text and "data:audio/mpeg" in text


@pytest.mark.parametrize(
    "decision",
    [
        [1],
        {"threshold": 0.1},
        {"threshold": 0.1, "rule": "", "calibration": {}, "options": {"save_path": "EVIL"}},
        {"threshold": 0.1, "rule": "", "calibration": {}, "options": {"scoring": "mean", "score_norm": "none",
                                                                     "eval_frames": "abc"}},
        {"threshold": 0.1, "rule": "", "calibration": {}, "options": {"scoring": "mean"}},
    ],
)  # fmt: skip
def test_a_decision_of_another_form_is_refused(model, corpus, tmp_path, decision):
    checkpoint.save_model(tmp_path / "m.model", checkpoint.load_model(str(model))._replace(decision=decision))
    words = ["--test_list", corpus.test_list]
    refused = evaluate(tmp_path / "m.model", corpus, tmp_path / "x", *words, mode="--test")
    assert_refused(refused, "m.model: its decision ")
    assert not (tmp_path / "EVIL").exists() and not (tmp_path / "x").exists()


def test_a_cohort_of_another_form_in_a_model_is_refused(model, corpus, tmp_path):
    checkpoint.save_model(tmp_path / "m.model", checkpoint.load_model(str(model))._replace(cohort=[1]))
    words = ["--test_list", corpus.test_list, "--score_norm=snorm"]
    refused = evaluate(tmp_path / "m.model", corpus, tmp_path / "x", *words)
    assert_refused(refused, "m.model: its cohort is damaged")


@pytest.mark.slow
def test_processes_with_different_stores_drop_nothing(model, corpus, tmp_path):
    words = [
        f"--initial_model={model}",
        f"--test_list={corpus.test_list}",
        f"--test_path={corpus.root}",
        "--eval",
    ]
    words += ["--nDataLoaderThread=0", "--eval_frames=0", "--device=cpu", f"--save_path={tmp_path}"]
    some = tmp_path / "some.txt"
    some.write_text("spk0/0.wav spk0/1.wav\n")
    assert evaluate(model, corpus, tmp_path, "--test_list", some, "--eval_frames=0").returncode == 0
    command = ["--standalone", "--nproc_per_node=2", ROOT / SCRIPT, *words, "--report=False"]
    agent = Command(TORCHRUN, *command)
    output, errors = agent.communicate(timeout=300)
    assert agent.returncode == 0 and "left out" not in output, errors
    assert len(scores_of(tmp_path)) == 12
    damaged = shutil.copytree(corpus.root, tmp_path / "audio")
    (damaged / "spk3" / "1.wav").write_bytes(b"damaged")
    agent = Command(TORCHRUN, *command, f"--test_path={damaged}")
    _, errors = agent.communicate(timeout=300)
    ours = [line for line in errors.splitlines() if line.startswith("trainSpeakerNet.py: error")]
    assert agent.returncode and len(ours) == 1 and "spk3/1.wav" in ours[0], errors
    # what both had embedded is kept
    parts = [np.load(path)["vectors"] for path in (tmp_path / "result" / "embeddings").glob("*/*.npz")]
    assert sum(map(len, parts)) > 12
