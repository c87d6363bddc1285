"""Exported networks: the files, what they say about themselves, and voices that use them without PyTorch."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT, assert_refused, run_here, voice

import options
from evaluation.cohort import Cohort
from inference import load
from inference.exported import checks, extraction, writing
from inference.exported.contents import Contents
from inference.exported.voice import ExportedVoice, exported_voice
from inference.network_voice import NetworkVoice
from inference.thresholds import Rule
from metrics.error_curve import ErrorCurve
from models import _resnet
from options.flags import network_parser
from SpeakerNet import SpeakerNet
from storage import checkpoint
from storage.checkpoint import ModelFile

PATHS = [f"spk{speaker}/{take}.wav" for speaker in (0, 3) for take in range(2)]
CONTENTS = Contents(
    {
        "vad": "energy",
        "channel": -1,
        "precision": "fp32",
        "scoring": "cosine",
        "score_norm": "asnorm",
        "top_n": 2,
    }
    | {"backend": "none", "subtract_mean": False, "eval_frames": 0, "num_eval": 10},
    3,
    "abc",
    Rule(0.5, "as measured", (10.0, -5.0), 0.1, ErrorCurve.of_trials([0.0, 1.0], [0, 1])),
    True,
    np.array([[1, 0, 0], [0, 1, 0], [0, 0.6, 0.8]], np.float16),
)


class FixedNetwork:
    """Stands for a session: embeddings of waveforms are a function's."""

    def __init__(self, embed, contents=CONTENTS):
        self.embed = embed
        self.contents = contents


@pytest.fixture
def with_contents(monkeypatch):
    """Function: contents -> the voice of a file that has them, with options of the user."""

    def load_with(contents, chosen, threshold=None):
        network = FixedNetwork(lambda waveforms: np.zeros((len(waveforms), 3), np.float32), contents)
        monkeypatch.setattr("inference.exported.voice.ExportedNetwork", lambda source, threads: network)
        return exported_voice("m.onnx", chosen, threshold)

    return load_with


def test_contents_come_back_as_they_were():
    read = Contents.from_text(CONTENTS.to_text(), "m.onnx")
    assert read._replace(cohort=None) == CONTENTS._replace(cohort=None)
    assert read.cohort.dtype == np.float16
    np.testing.assert_array_equal(read.cohort, CONTENTS.cohort)
    damaged = json.loads(CONTENTS.to_text())
    damaged["rule"]["curve"]["p_fa"] = []
    for wrong in ("{", "[]", json.dumps({"format": "speakernet-export-1"}), json.dumps(damaged)):
        with pytest.raises(ValueError, match=r"m.onnx: its metadata is damaged .*; export it again"):
            Contents.from_text(wrong, "m.onnx")
    with pytest.raises(ValueError, match="expected the format speakernet-export-1, got other"):
        Contents.from_text(json.dumps({"format": "other"}), "m.onnx")


def test_scores_are_normalised_by_the_cohort_in_the_file(with_contents):
    first, second = np.array([[0.6, 0.8, 0.0]], np.float32), np.array([[0.0, 0.8, 0.6]], np.float32)
    # cohort scores of the first: 0.6, 0.8, 0.48; the 2 highest have mean 0.7, deviation 0.1
    # of the second: 0, 0.8, 0.96; mean 0.88, deviation 0.08
    expected = ((0.64 - 0.7) / 0.1 + (0.64 - 0.88) / 0.08) / 2
    answering = with_contents(CONTENTS, {})
    assert answering.score_summaries(first, second) == pytest.approx(expected, abs=2e-2)  # half precision
    assert answering.rule == CONTENTS.rule and answering.fingerprint == "abc" and answering.dim == 3
    plain = with_contents(CONTENTS, {"score_norm": "none"})
    assert plain.score_summaries(first, second) == pytest.approx(0.64)
    assert plain.rule.threshold is None and "is for --score_norm asnorm, not none" in plain.rule.origin


def test_another_way_of_embedding_has_another_fingerprint_and_no_threshold(with_contents):
    other = with_contents(CONTENTS, {"vad": "none"})
    assert other.fingerprint != "abc" and other.rule.threshold is None
    assert "the threshold in m.onnx is for --vad energy, not none" in other.rule.origin
    assert with_contents(CONTENTS, {"vad": "none"}, 0.3).rule == Rule(0.3, "as given")
    assert with_contents(CONTENTS._replace(variant="int8"), {}).fingerprint != "abc"
    # a threshold alone is for scores as they are, where nobody asked for others
    assert with_contents(CONTENTS._replace(is_norm_asked_for=False), {}, 0.3).values.score_norm == "none"
    assert with_contents(CONTENTS, {}, 0.3).values.score_norm == "asnorm"
    with pytest.raises(ValueError, match=r"exported with --score_norm asnorm; to use snorm export it again"):
        with_contents(CONTENTS, {"score_norm": "snorm"})
    centred = CONTENTS._replace(options=CONTENTS.options | {"subtract_mean": True})
    with pytest.raises(ValueError, match="a mean that is subtracted"):
        with_contents(centred, {"score_norm": "none"})


def network_of(*words):
    """Flags -> a small network in evaluation mode, whose batch norms have statistics, and its options."""
    torch.manual_seed(21)
    values = options.resolve(lambda add_help=True: network_parser("", add_help), list(words), {}).options
    network = SpeakerNet.build(values)
    with torch.no_grad():
        network.train().embed(0.1 * torch.randn(4, 8000))
    return network.eval(), values


@pytest.fixture(scope="module")
def shallow():
    """ResNets with one block a stage: exporting takes as long as there are layers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_resnet.stages, "__defaults__", (_resnet.SEBasicBlock, (1, 1, 1, 1), 1))
        yield


@pytest.fixture(scope="module")
def small_model(shallow, tmp_path_factory):
    """A model file with a cohort and a mean, scored as a whole and in crops."""
    path = tmp_path_factory.mktemp("small") / "m.model"
    words = ["--model=ResNetSE34L", "--n_mels=40", "--nOut=8", "--scoring=full_and_crops", "--eval_frames=60"]
    network, values = network_of(*words, "--vad=energy", "--num_eval=2")
    checkpoint.save_model(path, ModelFile(network.state_dict(), dict(values), [], True, {}))
    answering = load(path, device="cpu")
    entries = torch.nn.functional.normalize(torch.randn(6, 16))
    labels = torch.arange(6)
    cohort = Cohort(entries, labels, [], [], labels[:0], 0.1 * torch.randn(8), "")
    return path, answering, cohort


def test_an_exported_voice_answers_as_the_network_does(small_model, corpus, tmp_path):
    _, plain, cohort = small_model
    values = plain.values.replaced(score_norm="asnorm", top_n=3, subtract_mean=True)
    rule = Rule(0.5, "as given")
    original = NetworkVoice(plain.network, values, rule=rule, cohort=cohort, precision=plain.precision)
    contents = writing.contents_of(original)
    network = FixedNetwork(writing.reference(original), Contents.from_text(contents.to_text(), "m.onnx"))
    exported = ExportedVoice(
        network, options.Options({**contents.options, "initial_model": "m.onnx"}), rule, True
    )
    assert exported.fingerprint == original.fingerprint and exported.dim == original.dim == 16
    heard = [[each.listen(corpus.root / path) for path in PATHS] for each in (original, exported)]
    for before, after in zip(*heard, strict=True):
        np.testing.assert_allclose(after.vector, before.vector, atol=1e-6)
    for one in range(4):
        before, after = (
            each.score(sides[0], sides[one]) for each, sides in zip((original, exported), heard, strict=True)
        )
        assert after == pytest.approx(before, abs=1e-4)
    database = tmp_path / "s.db"
    original.enrol("Ann", [corpus.root / PATHS[0]], database)
    assert exported.identify(corpus.root / PATHS[1], database).ranked[0].name == "Ann"


def test_recordings_are_extracted_block_by_block(with_contents, corpus, tmp_path, monkeypatch, capsys):
    from inference.audio_files import files_of
    from inference.embedding_files import read_embeddings

    monkeypatch.setattr(extraction, "BLOCK", 2)
    answering = with_contents(CONTENTS, {})
    calls = []

    def embed(waveforms):
        calls.append(waveforms.shape)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return np.full((len(waveforms), 3), 1.0, np.float32)

    answering.network.embed = embed
    paths = [str(corpus.root / path) for path in PATHS]
    files = files_of([*paths[:3], str(tmp_path / "none.wav"), paths[3]])
    out = tmp_path / "e.npz"
    with pytest.raises(KeyboardInterrupt):
        extraction.extract(answering, files, out, 1)
    assert not out.exists() and len(calls) == 4
    assert extraction.extract(answering, files, out, 2) == (4, 1)
    assert len(calls) == 5  # the last block alone
    assert "note: skipped: " in capsys.readouterr().out
    read = read_embeddings(out)
    assert read.names == paths and read.model == "abc" and not (tmp_path / "e.npz.parts").exists()
    np.testing.assert_allclose(read.vectors, 3**-0.5, atol=1e-6)


def test_what_differs_from_the_network_is_refused(tmp_path):
    same = checks.compare(lambda x: x, lambda x: 2 * x, [np.eye(3, dtype=np.float32)])
    assert same == (0.0, 1.0)
    checks.require_agreement(same, 1e-4, tmp_path)
    turned = checks.compare(lambda x: x[:, ::-1], lambda x: x, [np.eye(3, dtype=np.float32)])
    assert turned == (1.0, 0.0)
    for wrong in (turned, checks.Agreement(np.nan, np.nan)):
        with pytest.raises(
            ValueError, match="refused: a value of its embeddings differs from the network's by"
        ):
            checks.require_agreement(wrong, 1e-4, tmp_path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["m.tflite"], "expected a file that ends in .onnx, .pt2 or .safetensors"),
        (["m.pt2", "--quantise=int8"], "are for .onnx files"),
        (["m.onnx", "--quantise=int8", "--precision=fp16"], "not both"),
        (["m.onnx", "--precision=bf16"], "exported weights are fp32 or fp16"),
        (["m.pt2", "--sherpa"], "--sherpa needs an .onnx file"),
        (["m.pt2", "--test_list=x"], "--test_list is for .onnx files"),
        (["n.onnx", "--initial_model=m.onnx"], "exported already"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(words, message):
    assert_refused(run_here("inferSpeakerNet.py", "export", *words), message)


def test_what_exported_files_cannot_do_is_refused(small_model, tmp_path):
    _, plain, _ = small_model
    for name, value in (("scoring", "distance"), ("score_norm", "tnorm"), ("backend", "lda")):
        values = plain.values.replaced(**{name: value})
        other = NetworkVoice(plain.network, values, rule=plain.rule, cohort=None, precision=plain.precision)
        with pytest.raises(ValueError, match=f"--{name} {value} of .*: exported files take "):
            writing.contents_of(other)
    with pytest.raises(ValueError, match="--features logmel: sherpa-onnx computes fbank of 80 bands"):
        writing.export_sherpa(plain, tmp_path / "s.onnx")


def test_a_model_file_may_be_safetensors(small_model, tmp_path):
    pytest.importorskip("safetensors")
    source, answering, _ = small_model
    path = tmp_path / "m.safetensors"
    done = run_here("inferSpeakerNet.py", "export", path, f"--initial_model={source}")
    assert done.returncode == 0, done.stderr
    read, original = (checkpoint.load_model(str(each)) for each in (path, source))
    assert {*read.weights} == {*original.weights} and read.options == original.options
    assert load(path, device="cpu").fingerprint == answering.fingerprint


@pytest.fixture(scope="module")
def exported(small_model):
    """The model file, and what it was exported to."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    path, _, _ = small_model
    out = path.with_name("m.onnx")
    done = run_here("inferSpeakerNet.py", "export", out, f"--initial_model={path}")
    assert done.returncode == 0, done.stderr
    return path, out, done.stdout


@pytest.mark.slow
def test_an_onnx_file_is_a_model_for_all_commands_without_torch(exported, corpus, tmp_path):
    model, out, printed = exported
    assert "embeddings differ from the network's by" in printed and "times as fast" in printed
    sides = [str(corpus.root / path) for path in (PATHS[0], PATHS[2])]
    before, after = (load(each, device="cpu").compare(*sides) for each in (model, out))
    assert after.score == pytest.approx(before.score, abs=1e-4)
    database, embeddings = tmp_path / "s.db", tmp_path / "e.npz"
    commands = [
        ["compare", *sides, "--threshold=0.99"],
        ["enrol", "Ann", sides[0], f"--db={database}"],
        ["verify", "Ann", sides[1], f"--db={database}", "--threshold=-1"],
        ["identify", sides[1], f"--db={database}", "--threshold=-1"],
        ["embed", *sides, f"--out={embeddings}"],
        ["migrate", f"--db={database}"],
    ]
    code = "import json, sys, inferSpeakerNet as command\n"
    code += "for words in json.loads(sys.argv[1]): command.main([*words, f'--initial_model={sys.argv[2]}'])\n"
    code += "print(sorted({'torch', 'scipy', 'yaml'} & {*sys.modules}))"
    words = [sys.executable, "-c", code, json.dumps(commands), str(out)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == "" and done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr
    assert load(model, device="cpu").identify(sides[0], database, threshold=0.9).answer.name == "Ann"


@pytest.mark.slow
def test_smaller_variants_agree_with_the_network(exported, small_model, tmp_path):
    onnx = pytest.importorskip("onnx")
    from inference.exported import onnx_file
    from inference.exported.contents import KEY
    from inference.exported.session import ExportedNetwork

    _, out, _ = exported
    _, answering, _ = small_model
    model = onnx.load(out)
    front_end = 514 * 400 * 4  # bytes of its kernels, which keep their precision
    sizes = [out.stat().st_size - front_end]
    for variant, cosine in (("fp16", 0.99999), ("int8", 0.98)):
        path = tmp_path / f"{variant}.onnx"
        metadata = {KEY: writing.contents_of(answering, variant).to_text()}
        onnx_file.write(path, onnx_file.with_numbers(model, variant), metadata)
        agreement = checks.compare(
            ExportedNetwork(str(path)).embed, writing.reference(answering), checks.waveforms()
        )
        assert agreement.cosine > cosine, variant
        sizes.append(path.stat().st_size - front_end)
    assert sizes[1] < 0.6 * sizes[0] and sizes[2] < 0.4 * sizes[0], sizes
    content = out.read_bytes()
    assert str(ROOT).encode() not in content and b"stack_trace" not in content


@pytest.mark.slow
def test_a_program_of_torch_export_computes_the_same(small_model, tmp_path):
    _, answering, _ = small_model
    assert writing.export_program(answering, tmp_path / "m.pt2").difference < 1e-4


@pytest.mark.slow
def test_sherpa_onnx_computes_its_own_features_and_our_embedding(small_models, tmp_path):
    """The oracle: kaldi-native-fbank with sherpa-onnx's settings, through our network."""
    sherpa_onnx = pytest.importorskip("sherpa_onnx")
    pytest.importorskip("onnxscript")
    import kaldi_native_fbank

    from inference.exported.graph import FeatureNetwork
    from inference.exported.measurements import sherpa_embedding, sherpa_extractor

    assert sherpa_onnx.__version__
    network, values = network_of("--model=CAMPPlus", "--nOut=8", "--eval_frames=0")
    path = tmp_path / "m.model"
    checkpoint.save_model(path, ModelFile(network.state_dict(), dict(values), [], True, {}))
    answering = load(path, device="cpu")
    writing.export_sherpa(answering, tmp_path / "s.onnx")
    waveform = voice(1, 0, 2.0)
    settings = kaldi_native_fbank.FbankOptions()
    settings.frame_opts.dither = 0.0
    settings.frame_opts.snip_edges = False
    settings.mel_opts.num_bins = 80
    settings.mel_opts.high_freq = -400.0
    fbank = kaldi_native_fbank.OnlineFbank(settings)
    fbank.accept_waveform(16_000, waveform.tolist())
    fbank.input_finished()
    frames = np.stack([fbank.get_frame(number) for number in range(fbank.num_frames_ready)])
    embed = checks.torch_embed(FeatureNetwork(answering.network).eval())
    extractor = sherpa_extractor(tmp_path / "s.onnx")
    file = tmp_path / "a.wav"
    import soundfile

    soundfile.write(file, waveform, 16_000, subtype="FLOAT")
    np.testing.assert_allclose(sherpa_embedding(extractor, file), embed(frames[None])[0], atol=1e-3)
