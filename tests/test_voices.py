"""Voices: answers about recordings equal the scores of --eval; the Python face and the verb compare."""

import csv
import io
import itertools
import json
import shutil

import numpy as np
import pytest
import soundfile
import torch
from conftest import assert_refused, run_here, voice

import inferSpeakerNet
import trainSpeakerNet
import tuneThreshold
from inference import load
from inference.public_models import MODELS
from inference.thresholds import Rule, measured_rule
from inference.voices import NoSpeechError
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
    with pytest.raises(ValueError, match=r"the threshold in .* is for --vad energy; give --threshold too"):
        load(str(model), vad="none", device="cpu")


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
    assert capsys.readouterr().out.startswith("undecided: ")


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
    measured = MODELS["campplus-zh-en"].measured[0]
    rule = measured_rule(MODELS["campplus-zh-en"], measured.vad)
    one_percent, one_in_a_thousand = measured.thresholds
    assert rule.threshold == one_percent.cosine and "P_fa 1 %" in rule.origin
    # ten times as many speakers: where P_fa is a tenth
    assert rule.threshold + rule.tail * np.log(10.0) == pytest.approx(one_in_a_thousand.cosine)
    assert measured_rule(MODELS["speechbrain-ecapa"], "energy") == Rule(0.25, "published by its authors")
    assert measured_rule(MODELS["campplus-zh-en"], "silero").threshold is None
    assert measured_rule(MODELS["rawnet3"], "energy").accepts(1.0) is None


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
    monkeypatch.setenv("SPEAKERNET_CACHE", str(tmp_path))
    refused = run_here("inferSpeakerNet.py", "compare", a, a)
    assert_refused(refused, "the default model isn't there yet: --yes", "fetch campplus-zh-en")
    model = f"--initial_model={trained[0]}"
    refused = run_here("inferSpeakerNet.py", "compare", a, tmp_path / "none.wav", model)
    assert_refused(refused, "none.wav: cannot be read: no such file")
