"""Backends against scikit-learn and the Gaussian formulas; EM; model files that hold one."""

import shutil
from functools import partial

import numpy as np
import pytest
import torch
from conftest import assert_refused, run_here
from scipy.stats import multivariate_normal
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

import options
import trainSpeakerNet
from backend import _lda, plda
from evaluation.cohort import Cohort, require_cohort
from evaluation.decisions import read_origin
from evaluation.prepare import target_of
from inference import load
from inference.speakers.identification import open_book
from inference.voice_options import voice_options
from storage import checkpoint
from storage.checkpoint import ModelFile
from storage.run_folder import RunFolder


def spoken(num_speakers=30, num_utterances=6, size=5, seed=0):
    """Vectors (U, D) of speakers with 1 to num_utterances each, speakers (U,), the covariances B and W."""
    generator = np.random.default_rng(seed)
    between, within = (np.cov(generator.normal(size=(size, 4 * size))) for _ in range(2))
    counts = generator.integers(1, num_utterances + 1, num_speakers)
    speakers = np.repeat(np.arange(num_speakers), counts)
    of_speakers = generator.multivariate_normal(np.full(size, 3.0), between, num_speakers)
    noise = generator.multivariate_normal(np.zeros(size), within, len(speakers))
    return torch.from_numpy(of_speakers[speakers] + noise), torch.from_numpy(speakers), between, within


@pytest.mark.parametrize("name", options.available("backend"))
def test_scores_are_dot_products_and_the_same_in_both_orders(name):
    vectors, speakers, *_ = spoken()
    backend = options.plugin("backend", name)()
    parameters = backend.fit(vectors, speakers)
    assert all(isinstance(tensor, torch.Tensor) for tensor in parameters.values())
    projected = backend.project(parameters, vectors.float()[:, None])  # (U, 1, E)
    assert projected.dtype == torch.float32 and projected.shape[:2] == (len(vectors), 1)
    scores = projected[:, 0] @ backend.mirror(projected)[:, 0].T
    torch.testing.assert_close(scores, scores.T)


def test_lda_is_that_of_scikit_learn():
    """Both may choose other signs and scales of the axes, so cosines are compared."""
    vectors, speakers, *_ = spoken()
    oracle = LinearDiscriminantAnalysis(solver="eigen", n_components=3).fit(vectors, speakers)
    expected = oracle.transform(vectors) - oracle.transform(vectors.mean(dim=0, keepdim=True))
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    backend = options.plugin("backend", "lda")(lda_dim=3, shrinkage=0.0)
    projected = backend.project(backend.fit(vectors, speakers), vectors.float()).double().numpy()
    np.testing.assert_allclose(projected @ projected.T, expected @ expected.T, atol=1e-5)


def test_plda_is_the_likelihood_ratio_of_two_gaussians():
    vectors, speakers, *_ = spoken()
    backend = options.plugin("backend", "plda")(lda_dim=3)
    parameters = backend.fit(vectors, speakers)
    values = _lda.project(parameters, vectors.float()).double() - parameters["centre"].double()
    back = torch.linalg.inv(parameters["basis"].double())
    within = (back.T @ back).numpy()
    between = (back.T @ parameters["variances"].double().diag() @ back).numpy()
    total = between + within
    joint = np.block([[total, between], [between, total]])
    alone = multivariate_normal(np.zeros(3), total)
    pairs = np.array([(0, 1), (0, 40), (7, 9)])
    expected = [
        multivariate_normal(np.zeros(6), joint).logpdf(np.concatenate([values[a], values[b]]))
        - alone.logpdf(values[a])
        - alone.logpdf(values[b])
        for a, b in pairs
    ]
    projected = backend.project(parameters, vectors.float())
    scores = (projected[pairs[:, 0]] * backend.mirror(projected[pairs[:, 1]])).sum(dim=1)
    np.testing.assert_allclose(scores, expected, atol=2e-4, rtol=1e-4)


def test_em_raises_the_likelihood_which_is_that_of_the_gaussian_and_finds_the_covariances():
    vectors, speakers, between, within = spoken(num_speakers=1500, num_utterances=5, size=3)
    centred = vectors - vectors.mean(dim=0)
    of_speakers = plda.Speakers.of(centred, speakers)
    model = plda.Model(torch.eye(3).double(), torch.eye(3).double())
    likelihoods = [plda.log_likelihood(model, of_speakers)]
    for _ in range(25):
        model = plda.em_step(model, of_speakers)
        likelihoods.append(plda.log_likelihood(model, of_speakers))
    assert (np.diff(likelihoods) > -1e-6).all() and likelihoods[-1] > likelihoods[0] + 100.0
    np.testing.assert_allclose(model.between, between, atol=0.1 * np.trace(between) / 3)
    np.testing.assert_allclose(model.within, within, atol=0.1 * np.trace(within) / 3)
    few = speakers < 4  # the joint Gaussian of all vectors of a speaker, written out
    expected = 0.0
    for speaker in range(4):
        values = centred[speakers == speaker]
        count = len(values)
        covariance = np.kron(np.eye(count), model.within) + np.kron(np.ones((count, count)), model.between)
        expected += multivariate_normal(np.zeros(3 * count), covariance).logpdf(values.flatten())
    found = plda.log_likelihood(model, plda.Speakers.of(centred[few], speakers[few]))
    assert found == pytest.approx(expected)


def test_too_little_to_fit_is_an_error():
    vectors, speakers, *_ = spoken(num_speakers=4)
    for name, values, message in (
        ("lda", {"lda_dim": 4}, r"--lda_dim 4: expected at most 3, .* \(4 - 1\)"),
        ("lda", {"lda_dim": -1}, "--lda_dim must be at least 0, got -1"),
        ("plda", {"shrinkage": 1.5}, r"--shrinkage must lie between 0 and 1, got 1\.5"),
        ("plda", {"plda_steps": 0}, "--plda_steps must be at least 1, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            options.plugin("backend", name)(**values).fit(vectors, speakers)
    backend = options.plugin("backend", "lda")()
    with pytest.raises(ValueError, match="at least 2 speakers, and two utterances of one of them, got 3 "):
        backend.fit(vectors[:3], torch.arange(3))
    with pytest.raises(ValueError, match=r"utterances are too few .* raise --shrinkage, or lower --lda_dim"):
        options.plugin("backend", "lda")(shrinkage=0.0).fit(torch.randn(4, 9), torch.tensor([0, 0, 1, 1]))


@pytest.fixture(scope="module")
def with_plda(trained, corpus, tmp_path_factory):
    """A model file with a cohort of one utterance a speaker and a backend of all, and its run folder."""
    folder = tmp_path_factory.mktemp("plda")
    shutil.copy(trained[0] / "model" / "best.model", folder / "m.model")
    words = [f"--cohort_list={corpus.train_list}", f"--cohort_path={corpus.root}", "--cohort_utterances=1"]
    words += ["--cohort_names=False"]  # --eval leaves out entries of the trials' speakers where it knows them
    assert call(folder, "--prepare", "--backend=plda", "--lda_dim=3", *words) == 0
    return folder


def call(folder, *words):
    usual = [f"--initial_model={folder / 'm.model'}", f"--save_path={folder}", "--nDataLoaderThread=0"]
    return trainSpeakerNet.main([*map(str, words), *usual, "--device=cpu", "--report=False"])


def scores_of(folder):
    lines = (folder / "result" / "eval" / "test.scores.txt").read_text().splitlines()
    return {tuple(line.split()[1:3]): float(line.split()[0]) for line in lines}


@pytest.mark.slow
def test_eval_and_voices_compare_by_the_backend_in_the_model_file(with_plda, corpus, capsys):
    tests = [f"--test_list={corpus.test_list}", f"--test_path={corpus.root}"]
    stored = checkpoint.load_model(str(with_plda / "m.model")).backend
    assert stored["options"] == {"backend": "plda", "lda_dim": 3, "shrinkage": 0.1, "plda_steps": 20}
    for norm in ("none", "asnorm"):
        assert call(with_plda, "--eval", *tests, f"--score_norm={norm}") == 0
        voice = load(with_plda / "m.model", vad="none", score_norm=norm, device="cpu")
        (first, second), expected = next(iter(scores_of(with_plda).items()))
        one, other = (voice.listen(corpus.root / path) for path in (first, second))
        # voices embed the same crops as --eval
        assert voice.score(one, other) == pytest.approx(expected, rel=1e-3, abs=1e-3)
        assert voice.score(other, one) == pytest.approx(voice.score(one, other), rel=1e-3, abs=1e-3)
    origin = read_origin(str(with_plda / "result" / "eval" / "test.scores.txt"))
    content = checkpoint.load_model(str(with_plda / "m.model"))
    require_cohort(origin, content, "s")
    changed = content.cohort | {"entries": content.cohort["entries"] * 0.5}
    with pytest.raises(ValueError, match=r"m\.model has another cohort than when s was made; run --eval"):
        require_cohort(origin, content._replace(cohort=changed), "s")
    cosine = load(with_plda / "m.model", vad="none", backend="none", score_norm="none", device="cpu")
    assert cosine.score(one, other) == pytest.approx(float(one.vector @ other.vector), abs=1e-5)
    with pytest.raises(ValueError, match=r"--backend plda of .* identification takes none; give --backend"):
        open_book(load(with_plda / "m.model", vad="none", device="cpu"), with_plda / "s.db", prototypes="")
    assert call(with_plda, "--eval", *tests, "--backend=lda") == 2
    assert "m.model: --backend lda isn't there, it has another backend" in capsys.readouterr().err
    assert call(with_plda, "--eval", *tests, "--backend=plda", "--scoring=distance") == 2
    assert "--backend plda is not for --scoring distance" in capsys.readouterr().err


def test_a_threshold_is_for_the_backend_of_its_scores(with_plda, corpus, tmp_path):
    folder = shutil.copytree(with_plda, tmp_path / "run")
    tests = [f"--test_list={corpus.test_list}", f"--test_path={corpus.root}"]
    assert call(folder, "--eval", *tests) == 0
    scores = folder / "result" / "eval" / "test.scores.txt"
    words = ["tuneThreshold.py", scores, "--store", folder / "m.model"]
    assert run_here(*words).returncode == 0
    path = str(folder / "m.model")
    assert checkpoint.load_model(path).decision["options"]["backend"] == "plda"
    undecided = load(path, vad="none", backend="none", device="cpu").rule
    assert undecided.threshold is None and "is for --backend plda, not none" in undecided.origin
    content = checkpoint.load_model(path)
    changed = content.backend["parameters"] | {"mean": content.backend["parameters"]["mean"] + 1.0}
    checkpoint.save_model(
        folder / "m.model", content._replace(backend=content.backend | {"parameters": changed})
    )
    assert_refused(run_here(*words), "was computed with other weights")
    other = content.backend | {"way": "any-input-1:0"}
    checkpoint.save_model(folder / "m.model", content._replace(backend=other))
    with pytest.raises(ValueError, match="was fitted with another network or other options of evaluation"):
        load(path, device="cpu")
    for damaged in ({"options": {}}, content.backend | {"parameters": {"mean": torch.zeros(2)}}):
        checkpoint.save_model(folder / "m.model", content._replace(backend=damaged))
        with pytest.raises(
            ValueError, match="its backend is damaged; make it again with --prepare --backend"
        ):
            load(path, device="cpu")


def test_vectors_of_a_backend_have_the_mean_taken_off_that_it_was_fitted_with():
    fitted = {"options": {"backend": "lda", "lda_dim": 2, "shrinkage": 0.1}, "parameters": {}, "way": ""}
    cohort = Cohort(torch.eye(3), torch.arange(3), [], [], torch.arange(0), torch.ones(3), "")
    model_file = ModelFile(
        {}, {"scoring": "cosine"}, [], True, {}, cohort={"entries": cohort.entries}, backend=fitted
    )
    choose = partial(voice_options, model_file, "m.model", None, cohort, is_threshold_given=False)
    assert choose(chosen={"score_norm": "none"}).subtract_mean
    assert choose(chosen={"backend": "none"}).subtract_mean  # by the cohort
    assert not choose(chosen={"score_norm": "none", "backend": "none"}).subtract_mean


def test_prepare_replaces_no_model_but_the_one_that_it_is_given(tmp_path):
    run, cache = RunFolder(str(tmp_path / "run")), tmp_path / "cache"
    own = ModelFile({}, {}, [], True, {}, path=str(tmp_path / "best.model"))
    assert target_of(own, run, cache) == tmp_path / "best.model"
    foreign = own._replace(origin="of another program")
    assert target_of(foreign, run, cache) == target_of(own, run, tmp_path) == run.models / "best.model"
    run.models.mkdir(parents=True)
    run.best.touch()
    with pytest.raises(ValueError, match=r"run/model/best\.model exists already: --initial_model .*run/mod"):
        target_of(foreign, run, cache)


def test_training_fits_no_backend(corpus, tmp_path):
    with pytest.raises(ValueError, match="--backend lda is fitted by --prepare; training needs none"):
        trainSpeakerNet.parse([*corpus.options(tmp_path), "--backend=lda"])
