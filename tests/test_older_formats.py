"""Model files of older systems: recognised, described in one line, loaded whole or rejected, trained on."""

import numpy as np
import pytest
import soundfile
import test_models
import torch
from conftest import ROOT, assert_refused, run_here, voice
from torch.nn import functional as F

import inferSpeakerNet
import trainSpeakerNet
from features import psf
from SpeakerNet import SpeakerNet
from storage import checkpoint

SCRIPT = "trainSpeakerNet.py"
OLD_NAMES = {  # ours -> voxceleb_trainer's, for ResNetSE34L with SAP
    "features.mel.": "__S__.torchfb.",
    "model.pooling.attention.linear.": "__S__.sap_linear.",
    "model.pooling.attention.vector": "__S__.attention",
    "model.": "__S__.",
    "loss.": "__L__.",
}


def build(*words, speakers=None):
    """Command-line words -> network; the same weights in every call."""
    torch.manual_seed(3)
    return test_models.build(*words, speakers=speakers)


def old_name(name):
    return next(old + name.removeprefix(new) for new, old in OLD_NAMES.items() if name.startswith(new))


def fast_resnet(trainfunc="angleproto", speakers=6, **settings):
    """A network and the state dict that voxceleb_trainer would have saved of it."""
    words = [f"--{k}={v}" for k, v in {"model": "ResNetSE34L", "trainfunc": trainfunc, **settings}.items()]
    network = build(*words, speakers=speakers)
    return network, {old_name(name): t.clone() for name, t in network.state_dict().items()}


def evaluation(corpus, tmp_path, model, *words):
    listed = ["--test_list", corpus.test_list, "--test_path", corpus.root, "--save_path", tmp_path / "run"]
    listed += ["--nDataLoaderThread", 0, "--report", False]
    return run_here(SCRIPT, "--eval", "--initial_model", model, *listed, *words)


def scores(tmp_path):
    return (tmp_path / "run/result/eval/test.scores.txt").read_text()


def test_the_command_of_2020_scores(corpus, tmp_path):
    """The command in the README of voxceleb_trainer: there --max_frames is the length of evaluation crops."""
    _, state = fast_resnet(window="hann")
    torch.save(state, tmp_path / "baseline_lite_ap.model")
    words = ["--model", "ResNetSE34L", "--trainfunc", "angleproto", "--max_frames", 60, "--num_eval", 2]
    result = evaluation(corpus, tmp_path, tmp_path / "baseline_lite_ap.model", *words)
    assert result.returncode == 0, result.stderr
    lines = [line for line in result.stdout.splitlines() if "a file of voxceleb_trainer" in line]
    assert len(lines) == 1
    for option in ("model ResNetSE34L", "window hann", "n_mels 40", "encoder_type SAP", "nOut 512"):
        assert option in lines[0]
    assert "VEER" in result.stdout
    assert result.stderr.splitlines() == ["warning: --max_frames 60 is taken as --eval_frames, as in 2020"]
    at_60 = scores(tmp_path)
    same = evaluation(
        corpus, tmp_path, tmp_path / "baseline_lite_ap.model", "--eval_frames", 60, "--num_eval", 2
    )
    assert same.returncode == 0 and scores(tmp_path) == at_60  # also without --model
    other = evaluation(corpus, tmp_path, tmp_path / "baseline_lite_ap.model", "--num_eval", 2)
    assert other.returncode == 0 and scores(tmp_path) != at_60
    at_300 = scores(tmp_path)
    # in a config file, max_frames is the length of training crops
    (tmp_path / "c.yaml").write_text("max_frames: 60\nnum_eval: 2\n")
    recipe = evaluation(
        corpus, tmp_path, tmp_path / "baseline_lite_ap.model", "--config", tmp_path / "c.yaml"
    )
    assert recipe.returncode == 0 and scores(tmp_path) == at_300


def test_the_front_end_is_taken_from_the_file(tmp_path):
    _, state = fast_resnet()
    state["__S__.torchfb.mel_scale.fb"] *= 2.0
    state["__S__.torchfb.spectrogram.window"] = torch.ones(400)  # neither Hann nor Hamming
    torch.save(state, tmp_path / "old.model")
    assert inferSpeakerNet.main(["convert", str(tmp_path / "old.model"), str(tmp_path / "new.model")]) == 0
    weights = checkpoint.load_model(str(tmp_path / "new.model")).weights
    assert torch.equal(weights["features.mel.mel_scale.fb"], state["__S__.torchfb.mel_scale.fb"])
    assert torch.equal(weights["features.mel.spectrogram.window"], torch.ones(400))


def test_input_scale_is_kept_in_the_converted_file(corpus, tmp_path):
    """A network trained on int16 samples: a constant floor is added to its energies, so the scale matters."""
    _, state = fast_resnet()
    torch.save(state, tmp_path / "old.model")
    convert = ["convert", str(tmp_path / "old.model"), str(tmp_path / "new.model"), "--input_scale", "32768"]
    assert inferSpeakerNet.main(convert) == 0
    fast = ["--num_eval", 1, "--eval_frames", 60]
    assert evaluation(corpus, tmp_path, tmp_path / "new.model", *fast).returncode == 0
    converted = scores(tmp_path)
    assert evaluation(corpus, tmp_path, tmp_path / "old.model", *fast, "--input_scale", 32768).returncode == 0
    assert scores(tmp_path) == converted
    assert evaluation(corpus, tmp_path, tmp_path / "old.model", *fast).returncode == 0
    assert scores(tmp_path) != converted
    refused = evaluation(corpus, tmp_path, tmp_path / "new.model", "--input_scale", 1)
    assert_refused(refused, "--input_scale 1.0 contradicts", "32768")
    assert_refused(run_here("inferSpeakerNet.py", *convert), "new.model exists already")


CONTAINERS = {
    "bare": lambda state: state,
    "module": lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
    "RawNet": lambda state: {"model": {k[6:]: t for k, t in state.items() if k.startswith("__S__.")}},
    "2026": lambda state: {
        "model_state_dict": state, "optimizer_state_dict": {}, "scheduler_state_dict": {}, "epoch": 7,
    },
}  # fmt: skip


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_gives_the_same_weights(container, tmp_path):
    network, state = fast_resnet()
    torch.save(CONTAINERS[container](state), tmp_path / "old.model")
    model_file = checkpoint.load_model(str(tmp_path / "old.model"))
    expected = network.state_dict()
    if container == "RawNet":
        expected = checkpoint.split_loss(expected)[0]
    assert model_file.weights.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model_file.weights.items())


@pytest.mark.parametrize(
    ("trainfunc", "names"),
    [
        ("softmax", {"fc.weight", "fc.bias"}),
        ("amsoftmax", {"W"}),
        ("aamsoftmax", {"weight"}),
        ("softmaxproto", {"softmax.fc.weight", "softmax.fc.bias", "angleproto.w", "angleproto.b"}),
        ("ge2e", {"w", "b"}),
    ],
)
def test_loss_heads_have_their_old_names(trainfunc, names, tmp_path):
    network, state = fast_resnet(trainfunc)
    if trainfunc == "amsoftmax":
        state["__L__.W"] = state.pop("__L__.weight").T
    assert {name.removeprefix("__L__.") for name in state if name.startswith("__L__.")} == names
    torch.save(state, tmp_path / "old.model")
    head = checkpoint.split_loss(checkpoint.load_model(str(tmp_path / "old.model")).weights)[1]
    expected = checkpoint.split_loss(network.state_dict())[1]
    assert head.keys() == expected.keys()
    assert all(torch.equal(head[name], expected[name]) for name in expected)


def test_taoruijies_files_need_no_option(tmp_path, corpus):
    network = build("--model", "ECAPA", "--channels", 64, "--trainfunc", "aamsoftmax", speakers=6)
    rename = {"features.mel.": "speaker_encoder.torchfbank.1.", "model.pooling.attention.layers.":
              "speaker_encoder.attention.", "model.": "speaker_encoder.",
              "loss.": "speaker_loss."}  # fmt: skip
    state = {
        next(old + name.removeprefix(new) for new, old in rename.items() if name.startswith(new)): tensor
        for name, tensor in network.state_dict().items()
    } | {"speaker_encoder.torchfbank.0.flipped_filter": torch.tensor([[[-0.97, 1.0]]])}
    torch.save(state, tmp_path / "pretrain.model")
    model_file = checkpoint.load_model(str(tmp_path / "pretrain.model"))
    assert "a file of ECAPA-TDNN" in model_file.origin
    expected = {"model": "ECAPA", "channels": 64, "nOut": 192, "encoder_type": "ECA", "n_mels": 80,
                "pre_emphasis": 0.97, "window": "hamming"}  # fmt: skip
    assert model_file.options == expected
    result = evaluation(corpus, tmp_path, tmp_path / "pretrain.model", "--num_eval", 1)
    assert result.returncode == 0 and "VEER" in result.stdout, result.stderr


@pytest.fixture(scope="module")
def deepspeaker(tmp_path_factory):
    """A network in evaluation mode, and the checkpoint that DeepSpeaker-pytorch would write of it."""
    network = build("--model", "DeepSpeaker", "--trainfunc", "softmaxtriplet", speakers=6).eval()
    state = {}
    for name, tensor in network.state_dict().items():
        if name.startswith("loss.fc."):
            state[f"model.classifier.{name.removeprefix('loss.fc.')}"] = tensor
        elif name.startswith("model.stages."):
            _, _, stage, part, rest = name.split(".", 4)
            part = {"conv": f"conv{int(stage) + 1}", "bn": f"bn{int(stage) + 1}",
                    "block": f"layer{int(stage) + 1}.0"}[part]  # fmt: skip
            state[f"model.{part}.{rest}"] = tensor.transpose(2, 3) if tensor.ndim == 4 else tensor
        else:
            state[name] = tensor  # fc
    contents = {"epoch": 3, "state_dict": state, "optimizer": {"state": {}, "param_groups": []}}
    path = tmp_path_factory.mktemp("deepspeaker") / "checkpoint_3.pth"
    torch.save(contents, path)
    return network, path


def test_kernels_of_deepspeaker_files_are_transposed(deepspeaker):
    network, path = deepspeaker
    model_file = checkpoint.load_model(str(path))
    assert "DeepSpeaker-pytorch" in model_file.origin and model_file.options["model"] == "DeepSpeaker"
    twin = build("--model", "DeepSpeaker", "--trainfunc", "softmaxtriplet", speakers=6)
    checkpoint.load_weights(twin, model_file.weights, "checkpoint_3.pth")
    waveforms = 0.1 * torch.randn(2, 16_000)
    assert torch.equal(twin.eval().embed(waveforms), network.embed(waveforms))


@torch.inference_mode()
def test_windows_of_deepspeaker_are_cut_out_of_normalised_recordings(deepspeaker, tmp_path):
    network, path = deepspeaker
    front_end = psf.Features(feature_norm="none")
    takes = [voice(0, 0, 1.0), voice(1, 0, 0.71), voice(2, 0, 0.2)]
    takes[0] *= np.linspace(0.0, 2.0, len(takes[0]), dtype=np.float32)  # the end is louder than the beginning
    whole, alone = [], []
    for number, take in enumerate(takes):
        soundfile.write(tmp_path / f"{number}.wav", take, 16_000, "FLOAT")
        waveform = torch.from_numpy(np.resize(take, max(len(take), 5360)))[None]  # 32 frames
        features = front_end(waveform)  # (1, 64, L)
        starts = [int(i * (features.shape[2] - 32) / 3) for i in range(4)]
        windows = torch.cat([features[:, :, start : start + 32] for start in starts])
        whole.append(network.model(windows - features.mean(dim=2)[:, :, None]).mean(dim=0))
        alone.append(network.model(windows - windows.mean(dim=2, keepdim=True)).mean(dim=0))
    (tmp_path / "test.txt").write_text("1 0.wav 1.wav\n0 0.wav 2.wav\n")
    words = ["--initial_model", path, "--test_list", tmp_path / "test.txt"]
    words += ["--test_path", tmp_path, "--save_path", tmp_path / "run", "--report=False"]
    words += ["--scoring=mean", "--eval_frames=32", "--num_eval=4", "--nDataLoaderThread=0"]
    result = run_here(SCRIPT, "--eval", *words)
    assert result.returncode == 0, result.stderr
    found = [float(line.split()[0]) for line in scores(tmp_path).splitlines()]
    expected = [F.cosine_similarity(whole[0], whole[i], dim=0).item() for i in (1, 2)]
    assert found == pytest.approx(expected, abs=1e-5)
    assert F.cosine_similarity(whole[0], alone[0], dim=0) < 0.99
    assert (whole[2] - alone[2]).abs().max() < 1e-5  # all windows are the same repeated recording


def test_tensors_that_do_not_fit_are_listed_and_rejected(corpus, tmp_path):
    _, state = fast_resnet()
    del state["__S__.bn1.bias"]
    state["__S__.extra"] = torch.zeros(1)
    state["__S__.layer1.0.conv1.weight"] = torch.zeros(3, 3)
    torch.save(state, tmp_path / "odd.model")
    result = evaluation(corpus, tmp_path, tmp_path / "odd.model")
    wanted = ("missing model.bn1.bias", "unexpected model.extra", "layer1.0.conv1.weight is (3, 3), not (16,")
    assert_refused(result, *wanted)
    words = corpus.options(tmp_path / "run", initial_model=tmp_path / "odd.model", max_epoch=1, n_mels=40)
    assert_refused(run_here(SCRIPT, *words), *wanted)
    result = run_here(SCRIPT, *words, "--allow_partial")
    assert result.returncode == 0, result.stderr
    note = next(line for line in result.stdout.splitlines() if "--allow_partial" in line)
    assert all(words in note for words in wanted)


@pytest.mark.parametrize("name", ["torchfb.mel_scale.fb", "fc.weight", "conv1.filterbank.low_hz_"])
def test_no_options_are_derived_from_tensors_of_unexpected_shapes(name, tmp_path):
    _, state = fast_resnet()
    torch.save(state | {f"__S__.{name}": torch.zeros(1)}, tmp_path / "odd.model")
    assert "no options" in checkpoint.load_model(str(tmp_path / "odd.model")).origin


def test_a_file_without_its_front_end_takes_the_options(corpus, tmp_path):
    """ResNetSE34 and ResNetSE34L have the same shapes: flags decide between them, and choose the window."""
    network, state = fast_resnet(window="hann")
    torch.save({k: t for k, t in state.items() if "torchfb" not in k}, tmp_path / "old.model")
    assert_refused(evaluation(corpus, tmp_path, tmp_path / "old.model"), "give --model")
    choices = ["--model", "ResNetSE34L", "--window", "hann"]
    convert = ["convert", str(tmp_path / "old.model"), str(tmp_path / "new.model")]
    assert inferSpeakerNet.main([*convert, *choices]) == 0
    twin = build(*choices)
    model_file = checkpoint.load_model(str(tmp_path / "new.model"))
    checkpoint.load_weights(twin, checkpoint.split_loss(model_file.weights)[0], "new.model")
    waveforms = 0.1 * torch.randn(2, 16_000)
    assert torch.equal(twin.eval().embed(waveforms), network.eval().embed(waveforms))
    assert evaluation(corpus, tmp_path, tmp_path / "new.model", "--num_eval", 1).returncode == 0


# Commands of voxceleb_trainer that score a file, and the options that they stand for.
EVALUATIONS = {
    "--model=ResNetSE34 --trainfunc angleproto --optimizer adam --max_frames=300": (
        "ResNetSE34", {"features": "spectrogram", "log_input": False, "eval_frames": 300},
    ),
    "--model ResNetSE34L --trainfunc angleproto --eval_frames 400": (
        "ResNetSE34L", {"features": "logmel", "log_input": True, "eval_frames": 400},
    ),
    "--model ResNetSE34V2 --log_input True --encoder_type ASP --n_mels 64 --trainfunc softmaxproto "
    "--eval_frames 400": (
        "ResNetSE34V2", {"pre_emphasis": 0.97, "encoder_type": "ASP", "n_mels": 64, "eval_frames": 400},
    ),
    f"--config {ROOT}/configs/RawNet3_AAM.yaml": (
        "RawNet3", {"encoder_type": "ECA", "nOut": 256, "sinc_stride": 10, "eval_frames": 400},
    ),
}  # fmt: skip


@pytest.mark.parametrize("command", EVALUATIONS)
def test_commands_that_score_a_file_keep_their_meaning(command, tmp_path):
    model, expected = EVALUATIONS[command]
    channels = ["--channels", 64] if model == "RawNet3" else []
    rename = OLD_NAMES | {"model.pooling.attention.layers.": "__S__.attention."}
    if model == "RawNet3":
        rename = {"features.norm.": "__S__.preprocess.1.",
                  "features.low_hz": "__S__.conv1.filterbank.low_hz_",
                  "features.band_hz": "__S__.conv1.filterbank.band_hz_",
                  "features.window": "__S__.conv1.filterbank.window_",
                  "features.radians": "__S__.conv1.filterbank.n_"} | rename  # fmt: skip
    if model == "ResNetSE34V2":
        rename = {"features.mel.": "__S__.torchfb.1."} | rename
    order = sorted(rename, key=len, reverse=True)
    state = {}
    for name, tensor in build("--model", model, *channels).state_dict().items():
        new = next(each for each in order if name.startswith(each))
        state[rename[new] + name.removeprefix(new)] = tensor
    if model == "ResNetSE34V2":
        state["__S__.torchfb.0.flipped_filter"] = torch.tensor([[[-0.97, 1.0]]])
    torch.save(state, tmp_path / "old.model")
    args, model_file, _ = trainSpeakerNet.parse(
        ["--eval", *command.split(), "--initial_model", str(tmp_path / "old.model")]
    )
    assert args.model == model and {name: getattr(args, name) for name in expected} == expected
    checkpoint.load_weights(SpeakerNet.build(args), model_file.weights, "old.model")


def test_other_files_are_rejected(corpus, tmp_path):
    torch.save({"weight": torch.zeros(2), "info": "x"}, tmp_path / "x.model")
    assert_refused(evaluation(corpus, tmp_path, tmp_path / "x.model"), "neither a model file of this trainer")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "y.model")
    assert_refused(
        evaluation(corpus, tmp_path, tmp_path / "y.model"), "doesn't show which model it is; give --model"
    )
    torch.save({0: torch.zeros(2)}, tmp_path / "n.model")
    assert_refused(evaluation(corpus, tmp_path, tmp_path / "n.model"), "neither a model file")
    torch.save({"meta": {}, "state_dict": {"backbone.conv1.weight": torch.zeros(2)}}, tmp_path / "m.model")
    assert_refused(evaluation(corpus, tmp_path, tmp_path / "m.model"), "doesn't show which model it is")
    words = corpus.options(tmp_path / "run", initial_model=tmp_path / "y.model", max_epoch=1)
    assert_refused(run_here(SCRIPT, *words, "--allow_partial"), "y.model doesn't fit the network")
    result = evaluation(corpus, tmp_path, tmp_path / "y.model", "--model", "ResNetSE34L")
    assert_refused(result, "y.model doesn't fit the network: missing")
    _, state = fast_resnet()
    torch.save(state, tmp_path / "z.model")
    result = evaluation(corpus, tmp_path, tmp_path / "z.model", "--model", "VGGVox")
    assert_refused(result, "--model VGGVox contradicts", "ResNetSE34L")
    assert_refused(run_here("inferSpeakerNet.py", "convert", tmp_path / "z.model"), "usage:")
    assert_refused(run_here("inferSpeakerNet.py", "convert", tmp_path / "a", tmp_path / "b"), "no such file")


@pytest.mark.parametrize(("classes", "reinitialised"), [(6, False), (9, True)])
def test_training_continues_with_the_old_loss_head_if_the_speakers_fit(
    classes, reinitialised, corpus, tmp_path
):
    _, state = fast_resnet("amsoftmax", speakers=classes)
    state["__L__.W"] = state.pop("__L__.weight").T
    torch.save({"model_state_dict": state}, tmp_path / "old.model")
    settings = {"trainfunc": "amsoftmax", "initial_model": tmp_path / "old.model", "max_epoch": 1, "lr": 1e-6}
    settings |= {"n_mels": 40, "test_list": ""}
    result = run_here(SCRIPT, *corpus.options(tmp_path / "run", **settings))
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("the loss is re-initialised") == reinitialised
    trained = checkpoint.load_model(str(tmp_path / "run/model/model000000001.model")).weights["loss.weight"]
    if not reinitialised:
        torch.testing.assert_close(trained, state["__L__.W"].T, atol=1e-4, rtol=0)
    convert = ["convert", str(tmp_path / "old.model"), str(tmp_path / "new.model")]
    assert inferSpeakerNet.main([*convert, "--trainfunc", "amsoftmax"]) == 0
    args, model_file, warnings = trainSpeakerNet.parse(
        corpus.options(tmp_path / "run2", **settings | {"initial_model": tmp_path / "new.model"})
    )
    assert not warnings and model_file.options["trainfunc"] == args.trainfunc == "amsoftmax"


def test_trainfunc_decides_whether_embeddings_are_normalised(tmp_path):
    """Prototypical networks are scored without length normalisation, which an old file doesn't record."""
    _, state = fast_resnet("proto")
    torch.save(state, tmp_path / "old.model")
    for words, normalize in (([], True), (["--trainfunc", "proto"], False)):
        new = tmp_path / f"{normalize}.model"
        assert inferSpeakerNet.main(["convert", str(tmp_path / "old.model"), str(new), *words]) == 0
        assert checkpoint.load_model(str(new)).normalize is normalize


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--input_scale", 0], "--input_scale must be positive"),
        (["--num_eval", 0], "--num_eval: must be at least 1"),
        (["--eval_frames", 7], "--eval_frames must be at least 29"),
        (["--dcf_p_target", 2], "--dcf_p_target"),
        (["--lr", 2], "--lr: unknown"),
    ],
)
def test_convert_rejects_the_same_options_as_eval(words, message, tmp_path):
    _, state = fast_resnet()
    torch.save(state, tmp_path / "old.model")
    convert = ["inferSpeakerNet.py", "convert", tmp_path / "old.model", tmp_path / "new.model"]
    assert_refused(run_here(*convert, *words), message)
    assert not (tmp_path / "new.model").exists()


def test_convert_does_not_change_the_loss_of_current_files(corpus, tmp_path):
    assert run_here(SCRIPT, *corpus.options(tmp_path / "run", max_epoch=1)).returncode == 0
    current = tmp_path / "run/model/model000000001.model"
    convert = ["inferSpeakerNet.py", "convert", current, tmp_path / "new.model"]
    assert_refused(run_here(*convert, "--trainfunc", "proto"), "was trained with angleproto")
    assert run_here(*convert, "--eval_frames", 0).returncode == 0
    assert checkpoint.load_model(str(tmp_path / "new.model")).options["eval_frames"] == 0
