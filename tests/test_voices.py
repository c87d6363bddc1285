"""Voices: answers about recordings equal the scores of --eval; the Python face and the verb compare."""

import csv
import errno
import io
import itertools
import json
import shutil
import sys
from functools import partial

import numpy as np
import pytest
import soundfile
import torch
from conftest import assert_refused, run_here, voice

import inferSpeakerNet
import trainSpeakerNet
import tuneThreshold
from audio.errors import AudioError
from evaluation.cohort import ANY_INPUT, Cohort
from inference import load, voice_options
from inference.public_models import MODELS
from inference.thresholds import Rule, default_vad, measured_rule, stored_rule
from inference.voices import NoSpeechError
from metrics.calibration import Calibration
from options import Options
from storage import checkpoint

PATHS = [f"spk{speaker}/{take}.wav" for speaker in (3, 4, 5) for take in range(3)]


@pytest.fixture(scope="module")
def scored(trained, corpus, tmp_path_factory):
    """A model file with a threshold for scores normalised by a cohort, the trials' scores by --eval."""
    folder = tmp_path_factory.mktemp("scored")
    model, trials, cohort = folder / "m.model", folder / "all.txt", folder / "cohort.txt"
    shutil.copy(trained[0] / "model" / "best.model", model)
    pairs = list(itertools.combinations(PATHS, 2))
    trials.write_text("".join(f"{int(a[:4] == b[:4])} {a} {b}\n" for a, b in pairs))
    lines = corpus.train_list.read_text().splitlines(keepends=True)
    cohort.write_text("".join(line for line in lines if line[3] in "012"))
    words = [f"--initial_model={model}", f"--test_list={trials}", f"--test_path={corpus.root}"]
    words += [f"--cohort_list={cohort}", f"--cohort_path={corpus.root}", "--score_norm=asnorm", "--top_n=2"]
    words += ["--subtract_mean", "--vad=energy", f"--save_path={folder}", "--nDataLoaderThread=0"]
    words += ["--device=cpu", "--report=False"]
    assert trainSpeakerNet.main(["--eval", *words]) == 0
    scores = folder / "result" / "eval" / "all.scores.txt"
    words = [scores, "--p_fa", "0.1", "--rule", "p_fa", "--store", model]
    assert tuneThreshold.main([*map(str, words)]) == 0
    values = [float(line.split()[0]) for line in scores.read_text().splitlines()]
    return model, dict(zip(pairs, values, strict=True))


def test_scores_and_decisions_are_those_of_eval(scored, corpus):
    model, scores = scored
    answering = load(str(model), device="cpu")
    decision = checkpoint.load_model(str(model)).decision
    assert answering.rule.threshold == decision["threshold"] and "10 %, stored in" in answering.rule.origin
    heard = {path: answering.listen(corpus.root / path) for path in PATHS}
    for (first, second), score in scores.items():
        comparison = answering.compare(heard[first], heard[second])
        assert comparison.score == pytest.approx(score, abs=1e-4)
        assert comparison.accepted == (comparison.score >= decision["threshold"])
        weight, offset = decision["calibration"]["weights"][0], decision["calibration"]["offset"]
        odds = np.exp(weight * comparison.score + offset)
        assert comparison.probability == pytest.approx(odds / (1 + odds), abs=1e-6)
    paths = [str(corpus.root / path) for path in PATHS[:2]]
    score, accepted = answering.verify_files(*paths)
    assert score == pytest.approx(scores[PATHS[0], PATHS[1]], abs=1e-4) and accepted is not None


def test_the_threshold_may_be_given_and_is_for_one_detector(scored, corpus):
    model, _ = scored
    strict = load(str(model), threshold=1e6, device="cpu")
    comparison = strict.compare(corpus.root / PATHS[0], corpus.root / PATHS[0])
    assert comparison.accepted is False and comparison.threshold == 1e6
    with pytest.raises(ValueError, match=r"the cohort was made with .* other options of evaluation"):
        load(str(model), vad="none", device="cpu")


@pytest.fixture(scope="module")
def plain(trained):
    """The best model of a run, by a Path of its folder."""
    return load(trained[0], device="cpu")


@pytest.fixture(scope="module")
def deciding(trained, tmp_path_factory):
    """A model file with a threshold for speech of the second channel."""
    options = {"scoring": "cosine", "score_norm": "none", "vad": "energy", "channel": 1}
    line = Calibration(("score",), (10.0,), -5.0, 0.5, num_targets=9, num_nontargets=9, ridge=0.0).to_dict()
    decision = {"threshold": 0.5, "rule": "P_fa 1 %", "calibration": line, "options": options}
    path = tmp_path_factory.mktemp("deciding") / "m.model"
    best = checkpoint.load_model(str(trained[0] / "model" / "best.model"))
    checkpoint.save_model(path, best._replace(decision=decision))
    return path


def test_recordings_are_embedded_as_those_that_the_threshold_is_from(deciding, tmp_path):
    """Otherwise there are scores, and nothing is decided."""
    two = np.stack([voice(0, 0), voice(3, 0)], axis=1)
    soundfile.write(tmp_path / "two.wav", two, 16_000)
    answering, other = load(deciding, device="cpu"), load(deciding, channel=-1, device="cpu")
    heard, alone = answering.listen(tmp_path / "two.wav"), other.listen((voice(3, 0), 16_000))
    np.testing.assert_allclose(heard.vector, alone.vector, atol=1e-3)  # a file has 16 bits
    assert answering.compare(heard, alone).accepted
    with pytest.raises(AudioError, match="no channel 1"):
        answering.listen((voice(3, 0), 16_000))
    comparison = other.compare(heard, alone)
    assert comparison.score > 0.99 and comparison.accepted is None
    assert comparison.reason.endswith("m.model is for --channel 1, not -1; give another one (--threshold)")


def test_a_threshold_is_for_one_way_of_embedding(deciding):
    decision = checkpoint.load_model(str(deciding)).decision
    decided = {"vad": "energy", "channel": 1, "precision": "fp32"}
    assert stored_rule(decision, "m", decided, {"precision": "fp32"}).threshold == 0.5
    other = stored_rule(decision, "m", decided, {"vad": "energy", "precision": "bf16"})
    assert other.threshold is None and "is for --precision fp32, not bf16" in other.origin
    with pytest.raises(ValueError, match=r"^m: its threshold isn't a finite number"):
        stored_rule(decision | {"threshold": float("nan")}, "m", decided, {})
    with pytest.raises(ValueError, match=r"^m: not a calibration of this program"):
        stored_rule(decision | {"calibration": {}}, "m", decided, {})


def test_the_detector_of_a_model_without_a_threshold():
    ge2e = MODELS["ge2e"]
    assert default_vad("none", None) == default_vad("none", MODELS["rawnet3"]) == "energy"
    assert default_vad("none", ge2e) == "webrtc" and default_vad("silero", ge2e) == "silero"


def test_samples_are_embedded_as_their_file(trained, corpus):
    answering = load(str(trained[0]), device="cpu")  # the folder of a run: its best model
    paths = [corpus.root / path for path in PATHS[:2]]
    embeddings = answering.embed_files(paths)
    assert embeddings.shape == (2, 512) and embeddings.dtype == np.float32
    samples, rate = soundfile.read(paths[0], dtype="float32")
    np.testing.assert_allclose(answering.embed(samples, rate), embeddings[0], atol=1e-5)
    integers, _ = soundfile.read(paths[0], dtype="int16")
    np.testing.assert_allclose(answering.embed(integers, rate), embeddings[0], atol=1e-5)
    assert answering.compare(paths[0], paths[0]).score == pytest.approx(float(embeddings[0] @ embeddings[0]))


def test_encode_batch_has_speechbrains_shapes(trained, corpus):
    answering = load(str(trained[0]), vad="none", device="cpu")
    waveforms = torch.from_numpy(np.stack([voice(0, 0), voice(1, 0)]))
    waveforms[1, 8_000:] = 0.0
    embeddings = answering.encode_batch(waveforms, torch.tensor([1.0, 0.5]))
    assert embeddings.shape == (2, 1, 512)
    np.testing.assert_allclose(embeddings[0, 0], answering.embed(voice(0, 0), 16_000), atol=1e-5)
    np.testing.assert_allclose(embeddings[1, 0], answering.embed(voice(1, 0)[:8_000], 16_000), atol=1e-5)


def test_encode_batch_takes_what_users_have(plain):
    waveforms = np.stack([voice(0, 0), voice(1, 0)])
    expected = plain.encode_batch(torch.from_numpy(waveforms))
    for given in (
        waveforms,
        torch.from_numpy(waveforms).requires_grad_(),
        torch.from_numpy(waveforms).double(),
    ):
        torch.testing.assert_close(plain.encode_batch(given, [1.0, 1.0]), expected)
    with pytest.raises(ValueError, match=r"^expected waveforms \(B, T\), got \(16000,\)$"):
        plain.encode_batch(torch.from_numpy(waveforms[0]))
    with pytest.raises(ValueError, match="expected one length for each of 2 waveforms, got 1"):
        plain.encode_batch(torch.from_numpy(waveforms), [1.0])
    with pytest.raises(ValueError, match="not finite"):
        plain.encode_batch(torch.full((1, 8000), torch.nan))


def test_what_is_no_recording_is_refused(plain, corpus, tmp_path):
    path = corpus.root / PATHS[0]
    with path.open("rb") as stream:
        for given in (voice(0, 0), bytes(path), [path], (voice(0, 0),), stream, None):
            kind = type(given).__name__
            with pytest.raises(ValueError, match=f"^expected a recording: a path, or a tuple .* got {kind}$"):
                plain.compare(given, path)
    for paths in (path, str(path)):
        with pytest.raises(
            ValueError, match=r"^expected a list of paths, got one path: write \['.*0\.wav'\]$"
        ):
            plain.embed_files(paths)
        with pytest.raises(ValueError, match=r"^expected a list of paths"):
            plain.enrol("a", paths, tmp_path / "a.db")
    assert plain.embed_files([]).shape == (0, 512)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"vad": "enrgy"}, "vad: expected one of none, energy, webrtc, silero, got 'enrgy'"),
        ({"device": "cuda:1"}, "device: expected one of auto, cpu, cuda, got 'cuda:1'"),
        ({"precision": "fp8"}, "precision: expected one of auto, fp32, tf32, bf16, fp16, got 'fp8'"),
        ({"threshold": float("nan")}, "threshold: expected a finite number, got nan"),
    ],
)
def test_values_that_nothing_has_are_refused(trained, values, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        load(trained[0], **values)


@pytest.mark.parametrize("change", [{"nOut": "x"}, {"features": None}])
def test_damaged_options_are_an_error(trained, tmp_path, change):
    """Files may come from anybody."""
    best = checkpoint.load_model(str(trained[0] / "model" / "best.model"))
    values = {name: value for name, value in (best.options | change).items() if value is not None}
    checkpoint.save_model(tmp_path / "m.model", best._replace(options=values))
    with pytest.raises(ValueError, match=r"^.*m\.model: its options are damaged: [^\n]+$"):
        load(tmp_path / "m.model", device="cpu")


@pytest.mark.parametrize("prior", [0.0, 1.0, float("nan"), 2.0])
def test_a_prior_is_a_probability(prior):
    with pytest.raises(ValueError, match=r"^prior: expected a probability between 0 and 1, got "):
        Rule(0.5, "", (10.0, -5.0)).probability(0.5, prior)


def test_silence_is_an_answer(trained, corpus, tmp_path, capsys):
    answering = load(str(trained[0]), threshold=0.5, device="cpu")
    soundfile.write(tmp_path / "silent.wav", np.zeros(32_000), 16_000)
    comparison = answering.compare(tmp_path / "silent.wav", corpus.root / PATHS[0])
    assert comparison.score is None and comparison.accepted is None and comparison.second.speech_s > 0.1
    assert comparison.reason == f"{tmp_path / 'silent.wav'}: no speech in 2.0 s"
    with pytest.raises(NoSpeechError, match=r"no speech in 2\.0 s"):
        answering.embed_files([tmp_path / "silent.wav"])
    words = [tmp_path / "silent.wav", corpus.root / PATHS[0], f"--initial_model={trained[0]}", "--device=cpu"]
    assert inferSpeakerNet.main(["compare", *map(str, words)]) == 2
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("undecided: ") and second.endswith("silent.wav: no speech in 2.0 s")


def test_a_model_without_a_threshold_gives_a_score_and_decides_nothing(trained, corpus):
    comparison = load(str(trained[0]), device="cpu").compare(corpus.root / PATHS[0], corpus.root / PATHS[1])
    assert comparison.score is not None and comparison.accepted is None and comparison.probability is None
    assert "tuneThreshold.py --store" in comparison.reason


def test_distance_scoring_compares_but_has_no_embedding(trained, corpus, tmp_path):
    model_file = checkpoint.load_model(str(trained[0] / "model" / "best.model"))
    values = model_file.options | {"scoring": "distance", "num_eval": 3}
    checkpoint.save_model(tmp_path / "m.model", model_file._replace(options=values))
    answering = load(str(tmp_path / "m.model"), device="cpu")
    first, second = (corpus.root / path for path in PATHS[:2])
    assert answering.compare(first, first).score > answering.compare(first, second).score
    with pytest.raises(ValueError, match=r"convert .*m\.model NEW --scoring cosine"):
        answering.embed_files([first])


def test_rules_of_public_models():
    campplus = MODELS["campplus-zh-en"]
    for measured in campplus.measured:
        rule = measured_rule(campplus, measured.vad, measured.score_norm)
        one_percent, one_in_a_thousand = measured.thresholds
        assert rule.threshold == one_percent.score and "P_fa 1 %" in rule.origin
        # ten times as many speakers: where P_fa is a tenth
        assert rule.threshold + rule.tail * np.log(10.0) == pytest.approx(one_in_a_thousand.score)
    published = MODELS["speechbrain-ecapa"]
    assert measured_rule(published, "energy", "none") == Rule(0.25, "published by its authors")
    assert measured_rule(published, "energy", "asnorm").threshold is None
    unknown = measured_rule(campplus, "silero", "snorm")
    assert unknown.threshold is None
    assert "known for campplus-zh-en with --vad silero --score_norm snorm" in unknown.origin
    assert measured_rule(MODELS["rawnet3"], "energy", "none").accepts(1.0) is None


def test_the_cohort_of_a_public_model_counts_where_its_name_is_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = voice_options.COHORTS / "campplus-zh-en.pt"
    values = Options({"score_norm": "asnorm", "subtract_mean": False, "prepare": False})
    values = values.replaced(cohort="", cohort_list="")
    with_cohort = partial(voice_options.with_public_cohort, source="campplus-zh-en")
    assert with_cohort(values).cohort == str(path) and voice_options.public_cohort("ge2e") == ""
    for other in ({"cohort_list": "l"}, {"prepare": True}, {"score_norm": "none"}, {"subtract_mean": True}):
        assert with_cohort(values.replaced(**other)).cohort == ""
    (tmp_path / "campplus-zh-en").mkdir()  # a folder takes precedence
    assert with_cohort(values).cohort == ""


def test_cohorts_of_public_models_show_nobody_and_have_thresholds():
    for path in voice_options.COHORTS.glob("*.pt"):
        cohort = Cohort.from_dict(checkpoint.load_cohort(str(path)), str(path))
        assert cohort.entries.dtype == torch.float16 and not cohort.speakers and not cohort.paths
        assert cohort.mean is None and (cohort.entries.float().norm(dim=1) > 0.0).all()
        measured = MODELS[path.stem].measured
        norms = {
            norm: [each.vad for each in measured if each.score_norm == norm] for norm in ("none", "asnorm")
        }
        assert norms["none"] == norms["asnorm"]  # detectors


def test_a_public_cohort_normalises_only_where_asked(trained, monkeypatch, tmp_path, with_cohort):
    """It may lack recordings like the user's; a cohort that the user puts into a file doesn't."""
    source = trained[0] / "model" / "best.model"
    cohort = Cohort.from_dict(checkpoint.load_cohort(str(with_cohort.parent / "result" / "cohort.pt")), "")
    plain = checkpoint.load_model(str(source))
    voice = partial(voice_options.voice_options, public=None, is_threshold_given=False)
    for chosen, norm in (({}, "none"), ({"score_norm": "asnorm"}, "asnorm")):
        assert voice(plain, "campplus-zh-en", cohort=cohort, chosen=chosen).score_norm == norm
    own = checkpoint.load_model(str(with_cohort))
    assert voice(own, str(with_cohort), cohort=cohort, chosen={}).score_norm == "asnorm"


def test_a_cohort_without_names_shows_nobody(with_cohort):
    content = checkpoint.load_cohort(str(with_cohort.parent / "result" / "cohort.pt"))
    cohort = Cohort.from_dict(content, "")
    assert cohort.entries.dtype == torch.float16 and len(cohort.entries) == 6
    assert not cohort.speakers and not cohort.paths and cohort.way.startswith(ANY_INPUT)
    assert cohort.speakers_of(["spk0/0.wav"]).tolist() == [-1]


@pytest.fixture(scope="module")
def with_cohort(trained, corpus, tmp_path_factory):
    """A model file with a cohort without names and no decision."""
    folder = tmp_path_factory.mktemp("cohort")
    path = folder / "m.model"
    shutil.copy(trained[0] / "model" / "best.model", path)
    words = [f"--initial_model={path}", f"--cohort_list={corpus.train_list}", f"--cohort_path={corpus.root}"]
    words += [f"--save_path={folder}", "--nDataLoaderThread=0", "--device=cpu", "--cohort_utterances=1"]
    assert trainSpeakerNet.main(["--prepare", "--cohort_names=False", *words]) == 0
    return path


def test_scores_are_normalised_where_the_model_has_a_cohort(with_cohort, corpus):
    """With any detector and channel; a threshold that is given is for cosines."""
    usual = load(with_cohort, device="cpu", channel=0)
    first, second = (usual.listen(corpus.root / path) for path in PATHS[:2])
    entries, cosine = usual.cohort.entries.double().numpy(), float(first.vector @ second.vector)
    sides = [entries @ side.vector.astype(np.float64) for side in (first, second)]
    expected = np.mean([(cosine - side.mean()) / side.std() for side in sides])
    assert usual.values.vad == "energy" and usual.score(first, second) == pytest.approx(expected, rel=1e-3)
    for plain in (load(with_cohort, threshold=0.5, device="cpu"), load(with_cohort, score_norm="none")):
        assert plain.score(first, second) == pytest.approx(cosine, abs=1e-5)
    asked_for = load(with_cohort, threshold=0.5, score_norm="asnorm", device="cpu")
    assert asked_for.score(first, second) == pytest.approx(expected, rel=1e-3)


def test_a_normalisation_without_a_cohort_is_refused(trained, scored):
    with pytest.raises(
        ValueError, match=r"--score_norm asnorm needs a cohort, .* --prepare puts one into it"
    ):
        load(trained[0], score_norm="asnorm", device="cpu")
    with pytest.raises(ValueError, match=r"^score_norm: expected one of asnorm, none, snorm, "):
        load(trained[0], score_norm="x")
    other = load(scored[0], score_norm="none", device="cpu")
    assert other.rule.threshold is None and "is for --score_norm asnorm, not none" in other.rule.origin


# The verb


def answers_of(capsys, *words):
    code = inferSpeakerNet.main(["compare", *map(str, words)])
    return code, capsys.readouterr()


def test_many_pairs_as_a_table_and_as_objects(scored, corpus, tmp_path, capsys):
    model, scores = scored
    broken, pairs = corpus.root.parent / "broken.wav", tmp_path / "pairs.txt"
    broken.write_text("not audio")
    (first, second), score = next(iter(scores.items()))
    pairs.write_text(f"{first} {second}\n{first} {first}\n{first} ../broken.wav\n")
    words = [f"--initial_model={model}", f"--test_list={pairs}", f"--test_path={corpus.root}", "--device=cpu"]
    code, printed = answers_of(capsys, *words, "--format=csv")
    rows = list(csv.DictReader(io.StringIO(printed.out)))
    assert code == 2 and [row["decision"] for row in rows][1:] == ["accepted", "undecided"]
    assert float(rows[0]["score"]) == pytest.approx(score, abs=1e-4) and "broken.wav" in rows[2]["reason"]
    pairs.write_text(f"{first} {first}\n")
    code, printed = answers_of(capsys, *words, "--format=json")
    assert code == 0 and json.loads(printed.out)["first"] == str(corpus.root / first)
    code, printed = answers_of(capsys, *words, "--threshold=1e6")
    assert code == 1 and printed.out.startswith("two speakers: ") and "as given" in printed.out


def test_mistakes_are_refused_in_one_line(trained, corpus, tmp_path, monkeypatch):
    a = corpus.root / PATHS[0]
    assert_refused(run_here("inferSpeakerNet.py", "compare", a), "two recordings or --test_list, got 1")
    assert_refused(run_here("inferSpeakerNet.py", "compare", a, a, "--treshold=1"), "did you mean threshold")
    assert_refused(run_here("inferSpeakerNet.py", "compare", a, a, "--threshold=nan"), "--threshold", "nan")
    assert_refused(run_here("inferSpeakerNet.py", "compare", a, a, "--prior=1"), "--prior", "got 1")
    for words in ((a, a, "--test_list=pairs.txt"), (a, a, "--test_path=folder")):
        assert_refused(run_here("inferSpeakerNet.py", "compare", *words), "--test_list")
    monkeypatch.setenv("SPEAKERNET_CACHE", str(tmp_path))
    refused = run_here("inferSpeakerNet.py", "compare", a, a)
    assert_refused(refused, "the default model isn't there yet: --yes", "fetch campplus-zh-en")
    monkeypatch.setattr("sys.stdin", None)
    assert_refused(run_here("inferSpeakerNet.py", "compare", a, a), "the default model isn't there yet")
    model = f"--initial_model={trained[0]}"
    refused = run_here("inferSpeakerNet.py", "compare", a, tmp_path / "none.wav", model)
    assert_refused(refused, "none.wav: cannot be read: no such file")


def test_names_of_files_are_printed_in_one_line(trained, tmp_path, monkeypatch, capsys):
    """Also that of a file called microphone, which isn't one."""
    monkeypatch.chdir(tmp_path)
    for name in ("microphone", "a\n\x1b[2J.wav"):
        soundfile.write(name, voice(0, 0), 16_000, format="WAV")
    words = [
        "a\n\x1b[2J.wav",
        "microphone",
        f"--initial_model={trained[0]}",
        "--threshold=-1",
        "--device=cpu",
    ]
    code, printed = answers_of(capsys, *words)
    lines = printed.out.splitlines()
    assert code == 0 and lines[0] == r"one speaker: a\x0a\x1b[2J.wav and microphone"
    assert [line.split()[0] for line in lines[1:3]] == ["score", "threshold"] and "\x1b" not in printed.out


class Unwritable(io.StringIO):
    """Standard output whose file or reader has gone."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def flush(self):  # noqa: D102
        raise self.error


def test_what_cannot_be_printed_is_an_error(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout", Unwritable(BrokenPipeError(errno.EPIPE, "Broken pipe")))
    assert inferSpeakerNet.main([]) == 141
    monkeypatch.setattr("sys.stdout", Unwritable(OSError(errno.ENOSPC, "No space left on device")))
    assert inferSpeakerNet.main([]) == 2
    assert capsys.readouterr().err == "inferSpeakerNet.py: error: [Errno 28] No space left on device\n"
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(f"sys.{name}", None)
    assert inferSpeakerNet.main([]) == 0 and inferSpeakerNet.main(["compare"]) == 2
    for stream in (sys.stdout, sys.stderr):
        stream.close()
