"""Model files of other toolkits: whose they are, what is refused, heads, containers and folders."""

import io
import json
import tarfile
import zipfile

import pytest
import torch
from conftest import assert_refused, run_here
from test_models import build

from storage import checkpoint, toolkits
from storage.containers import is_safetensors
from storage.initial_weights import load_initial_weights, read_head_speakers
from storage.model_folder import model_in_folder
from storage.renaming import renamed

WESPEAKER_CONFIG = """
model: CAMPPlus
model_args: {feat_dim: 80, embed_dim: 192, pooling_func: TSTP}
dataset_args:
  fbank_args: {num_mel_bins: 16, frame_shift: 10, frame_length: 25, dither: 1.0}
  resample_rate: 16000
projection_args: {project_type: arc_margin}
"""


@pytest.fixture
def campplus(small_models):
    """The tensors of a CAM++ as 3D-Speaker names them."""
    torch.manual_seed(0)
    network = build("--model", "CAMPPlus", "--nOut", 16, "--n_mels", 16)
    return {name.removeprefix("model."): t for name, t in network.state_dict().items()}


def modelscope_config(rate=16000):
    model = {"type": "cam++-sv", "model_config": {"sample_rate": rate, "fbank_dim": 80, "emb_size": 192}}
    return json.dumps({"framework": "pytorch", "task": "speaker-verification", "model": model})


def test_of_two_toolkits_with_one_network_the_user_or_a_config_says_which(campplus, tmp_path):
    path = tmp_path / "campplus.bin"
    torch.save(campplus, path)
    with pytest.raises(ValueError, match=r"wespeaker or 3D-Speaker.*--origin wespeaker\|3dspeaker"):
        checkpoint.load_model(str(path))
    with pytest.raises(ValueError, match="its network is CAM\\+\\+ of wespeaker or 3D-Speaker"):
        checkpoint.load_model(str(path), "speechbrain")
    given = {origin: checkpoint.load_model(str(path), origin) for origin in ("wespeaker", "3dspeaker")}
    windows = {origin: model.options["window"] for origin, model in given.items()}
    scales = {origin: model.options["waveform_scale"] for origin, model in given.items()}
    assert windows == {"wespeaker": "hamming", "3dspeaker": "povey"}
    assert scales == {"wespeaker": 32768.0, "3dspeaker": 1.0}
    for origin, name, config in (
        ("wespeaker", "config.yaml", WESPEAKER_CONFIG),
        ("3dspeaker", "configuration.json", modelscope_config()),
    ):
        (tmp_path / name).write_text(config)
        found = checkpoint.load_model(str(path))
        assert found.options == given[origin].options and found.origin == given[origin].origin
        (tmp_path / name).unlink()
    assert found.options["eval_frames"] == 0 and found.options["nOut"] == 16
    (tmp_path / "hyperparams.yaml").write_text("# needs speechbrain")  # of no candidate
    (tmp_path / "configuration.json").write_text(modelscope_config())
    assert checkpoint.load_model(str(path)).origin == found.origin
    (tmp_path / "config.yaml").write_text(WESPEAKER_CONFIG)  # those of both candidates
    with pytest.raises(ValueError, match=r"--origin wespeaker\|3dspeaker"):
        checkpoint.load_model(str(path))
    (tmp_path / "configuration.json").unlink()
    (tmp_path / "config.yaml").write_text("model: CAMPPlus\nmodel_conf: {}\n")  # another program's
    with pytest.raises(ValueError, match="--origin"):
        checkpoint.load_model(str(path))


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("config.yaml", "frame_shift: 10", "frame_shift: 15", "frame_shift 15; expected 10"),
        ("config.yaml", "bins: 16", "bins: 80", "num_mel_bins 80; expected 16"),
        ("config.yaml", "rate: 16000", "rate: 8000", "resample_rate 8000"),
        ("config.yaml", "fbank_args", "frontend: s3prl\n  fbank_args", "frontend s3prl; expected one of"),
        ("config.yaml", "fbank_args", "frontend: tfmel\n  fbank_args", "norm_signal False; expected True"),
        ("config.yaml", "fbank_args", "cmvn: false\n  fbank_args", "expected the mean subtracted"),
        ("config.yaml", "fbank_args", "cmvn_args: {norm_var: true}\n  fbank_args", "variance left as it is"),
        ("config.yaml", "dataset_args:", "dataset_args: 1\nother:", "dataset_args: expected lines"),
        ("configuration.json", "16000", "8000", "8000 Hz; networks here are for 16000 Hz"),
        ("configuration.json", '"task"', "task", "not JSON"),
    ],
)
def test_a_front_end_that_is_not_here_is_refused(campplus, tmp_path, name, old, new, message):
    config = WESPEAKER_CONFIG if name == "config.yaml" else modelscope_config()
    assert old in config
    (tmp_path / name).write_text(config.replace(old, new))
    torch.save(campplus, tmp_path / "avg_model.pt")
    with pytest.raises(ValueError, match=message):
        checkpoint.load_model(str(tmp_path / "avg_model.pt"))


def test_the_sample_rate_counts_even_if_the_origin_is_given(campplus, tmp_path):
    (tmp_path / "configuration.json").write_text(modelscope_config(8000))
    torch.save(campplus, tmp_path / "campplus.bin")
    with pytest.raises(ValueError, match="8000 Hz; networks here are for 16000 Hz"):
        checkpoint.load_model(str(tmp_path / "campplus.bin"), "3dspeaker")


def test_a_front_end_named_in_the_config_replaces_the_usual_one(campplus, tmp_path):
    config = WESPEAKER_CONFIG.replace("fbank_args", "frontend: tfmel\n  tfmel_args")
    (tmp_path / "config.yaml").write_text(config.replace("dither", "norm_signal: true, dither"))
    torch.save(campplus, tmp_path / "avg_model.pt")
    found = checkpoint.load_model(str(tmp_path / "avg_model.pt")).options
    assert found["features"] == "tfmel" and not {"window", "waveform_scale", "use_energy"} & found.keys()


def test_wespeakers_redimnet2_with_its_front_end_and_the_bias_of_its_head():
    """As in its file of ReDimNet2-B6, trained with SphereFace2."""
    tensors = {
        "backbone.stem.0.weight": torch.zeros(64, 1, 3, 3),
        "linear.weight": torch.zeros(192, 4),
        "frontend.spec.torchfbank.1.flipped_filter": torch.zeros(1, 1, 2),
        "projection.weight": torch.zeros(6, 192),
        "projection.bias": torch.zeros(1, 1),
    }
    found = toolkits.read_foreign(tensors, "avg_model.pt")
    assert found.weights.keys() == {"model.backbone.stem.0.weight", "model.linear.weight"}
    assert found.options["features"] == "tfmel" and found.head.shape == (6, 192)


def test_pyannotes_copy_has_the_front_end_of_wespeaker():
    shapes = {"seg_1.weight": (256, 5120), "layer4.0.conv2.weight": (256, 256, 3, 3)}
    for stage, blocks in enumerate((3, 4, 6, 3), 1):
        shapes |= {f"layer{stage}.{block}.conv1.weight": (1,) for block in range(blocks)}
    tensors = {f"resnet.{name}": torch.zeros(shape) for name, shape in shapes.items()}
    found = toolkits.read_foreign({"state_dict": tensors}, "model.bin")
    assert found.options["window"] == "hamming" and found.options["depth"] == 34
    plain = {name.removeprefix("resnet."): tensor for name, tensor in tensors.items()}
    with pytest.raises(ValueError, match="ResNet of wespeaker or 3D-Speaker"):
        toolkits.read_foreign(plain, "model.bin")


def test_heads_are_dropped_unless_their_speakers_are_named(campplus, tmp_path):
    head = torch.randn(6, 16)
    torch.save(campplus | {"projection.weight": head}, tmp_path / "avg_model.pt")
    path = str(tmp_path / "avg_model.pt")
    found = checkpoint.load_model(path)  # only wespeaker keeps the head in the file
    assert "a file of wespeaker" in found.origin and found.weights.keys() == {f"model.{k}" for k in campplus}
    with pytest.raises(ValueError, match=r"3 rows for each speaker .* config\.yaml of wespeaker"):
        checkpoint.load_model(path, head_speakers=["a", "b"])
    (tmp_path / "config.yaml").write_text(WESPEAKER_CONFIG.replace("arc_margin", "arc_margin_subcenter"))
    with pytest.raises(ValueError, match="sub-centers"):
        checkpoint.load_model(path, head_speakers=["a", "b"])
    (tmp_path / "config.yaml").write_text(WESPEAKER_CONFIG)
    named = checkpoint.load_model(path, head_speakers=["a", "b"])  # at three speeds
    assert torch.equal(named.weights["loss.weight"], head[:2]) and named.speakers == ["a", "b"]
    assert torch.equal(checkpoint.load_model(path, head_speakers=list("abcdef")).weights["loss.weight"], head)
    with pytest.raises(ValueError, match=r"has 4 speakers, the head in .* 6 rows"):
        checkpoint.load_model(path, head_speakers=list("abcd"))
    torch.save(campplus, path)
    with pytest.raises(ValueError, match="has no loss head; leave out --head_speakers"):
        checkpoint.load_model(path, "wespeaker", ["a"])
    checkpoint.save_model(tmp_path / "own.model", checkpoint.ModelFile({}, {}, ["a"], True, {}))
    with pytest.raises(ValueError, match="is a file of this trainer, with its speakers; leave out"):
        checkpoint.load_model(str(tmp_path / "own.model"), head_speakers=["a"])
    torch.save({"__S__.conv1.weight": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="isn't a file of a toolkit; leave out --head_speakers"):
        checkpoint.load_model(path, head_speakers=["a"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("b\na c\n\nd\n", ["b", "a c", "d"]),
        ("", "expected one speaker a line, got an empty file"),
        ("a\nb\na\n", "a is in 2 lines; expected each speaker once"),
    ],
)
def test_the_speakers_of_a_head(tmp_path, text, expected):
    path = tmp_path / "speakers.txt"
    path.write_text(text)
    if isinstance(expected, list):
        assert read_head_speakers(str(path)) == expected
        return
    with pytest.raises(ValueError, match=expected):
        read_head_speakers(str(path))
    with pytest.raises(OSError, match=r"--head_speakers .*: cannot be read: Is a directory"):
        read_head_speakers(str(tmp_path))


def test_rows_of_a_head_follow_the_train_list():
    network = torch.nn.ModuleDict({"model": torch.nn.Linear(2, 2), "loss": torch.nn.Linear(2, 3, bias=False)})
    head = torch.tensor([[3.0, 3.0], [1.0, 1.0], [2.0, 2.0]])  # of c, a, b
    weights = {"model.weight": torch.ones(2, 2), "model.bias": torch.ones(2), "loss.weight": head}
    initial = checkpoint.ModelFile(weights, {}, ["c", "a", "b"], True, {})
    settings = {"trainfunc": "aamsoftmax", "allow_partial": False}
    assert not load_initial_weights(network, initial, speakers=["a", "b", "c"], **settings)
    assert network["loss"].weight[:, 0].tolist() == [1.0, 2.0, 3.0]
    [note] = load_initial_weights(network, initial, speakers=["a", "b", "z"], **settings)
    assert note.endswith("one for other speakers: 2 of its 3 are among the 3 to train on")


def averaged(tensors):
    """As averaging by division leaves a state: counts of batches are fractions."""
    return {name: t / 1.0 if name.endswith("num_batches_tracked") else t for name, t in tensors.items()}


@pytest.mark.parametrize(
    "container",
    [
        averaged,
        lambda tensors: {"state_dict": tensors, "epoch": 3},
        lambda tensors: {"model": tensors},
        lambda tensors: {f"module.{name}": tensor for name, tensor in tensors.items()},
    ],
)
def test_wrappers_prefixes_and_averaged_counts(campplus, tmp_path, container):
    torch.save(container(campplus), tmp_path / "campplus.pt")
    found = checkpoint.load_model(str(tmp_path / "campplus.pt"), "3dspeaker").weights
    assert found.keys() == {f"model.{name}" for name in campplus}
    assert all(torch.equal(tensor, campplus[name.removeprefix("model.")]) for name, tensor in found.items())
    assert found["model.head.bn1.num_batches_tracked"].dtype == torch.int64


def test_safetensors(campplus, tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    path = tmp_path / "model.safetensors"
    safetensors.save_file({name: tensor.contiguous() for name, tensor in campplus.items()}, path)
    found = checkpoint.load_model(str(path), "3dspeaker").weights
    assert all(torch.equal(found[f"model.{name}"], tensor) for name, tensor in campplus.items())
    path.write_bytes(path.read_bytes()[:5000])
    with path.open("rb") as stream:
        assert is_safetensors(stream)
    with pytest.raises(checkpoint.DamagedError, match="damaged"):
        checkpoint.load_model(str(path), "3dspeaker")


def test_files_that_weights_alone_are_not(tmp_path):
    path = tmp_path / "model.pt"
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("model_config.yaml"), io.BytesIO())
    with pytest.raises(ValueError, match=r"an archive without model_weights\.ckpt"):
        checkpoint.load_model(str(path))
    torch.save({}, path)
    with zipfile.ZipFile(path) as archive:
        members = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    for changed, message in (
        ({"constants.pkl": b"", "code/network.py": b""}, "a TorchScript program"),
        ({"data.pkl": b"\x80\x02cpyannote.audio\nModel\n."}, r"pyannote's files .*from_pretrained"),
    ):
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in (members | changed).items():
                archive.writestr(f"model/{name}", content)
        with pytest.raises(ValueError, match=message):
            checkpoint.load_model(str(path))
    content = path.read_bytes()
    for damaged in (content[:-30], b"\x1f\x8b\x08" + content[3:]):
        path.write_bytes(damaged)
        with pytest.raises(checkpoint.DamagedError, match="damaged"):
            checkpoint.load_model(str(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"xvector.block1.tdnnd1.linear1.weight": torch.zeros(1)}, "it has no 'head"),
        ({"model_config": 3, "spec.torchfbank.x": torch.zeros(1)}, "unexpected shapes or settings"),
        ({"model_config": {"F": 72}, "spec.torchfbank.x": torch.zeros(1)}, "it has no 'stages_setup"),
        ({"model_config": {"F": 72, "spec_params": [1]}, "spec.torchfbank.x": torch.zeros(1)}, "unexpected"),
        ({"lstm.weight_ih_l2": torch.zeros(1), "lstm.weight_ih_l0": torch.zeros(1)}, "d-vector network"),
    ],
)
def test_files_of_unexpected_content(content, message):
    with pytest.raises(ValueError, match=f"model.pt: .*{message}"):
        toolkits.read_foreign(content, "model.pt", "wespeaker" if "xvector" in str(content) else "")


FIRST = {"F": 72, "stages_setup": [[1, 2, 1, [[3, 3]], 12]], "hop_length": 240}
SECOND = {"F": 72, "stages_setup": [[[1, 1], 2, 1, [[3, 3]], 12]], "feat_type": "pt"}
NORMALISED = {"spec_params": {"norm_signal": True}}


@pytest.mark.parametrize(
    ("config", "shown"),
    [
        (FIRST, {"features": "logmel", "hop_length": 240, "pre_emphasis": 0.97, "normalise_waveform": False}),
        (FIRST | {"spec_params": {"do_preemph": False}}, {"features": "logmel", "pre_emphasis": 0.0}),
        (SECOND | NORMALISED, {"features": "logmel", "hop_length": 160, "normalise_waveform": True}),
        (SECOND | NORMALISED | {"feat_type": "tf"}, {"features": "tfmel", "n_mels": 72, "nOut": 5}),
        (SECOND, "lack norm_signal"),
        (FIRST | {"feat_type": "tf"}, "lack norm_signal"),
        (FIRST | {"feat_type": "pt_stft", "spec_params": {"norm_signal": False}}, "feat_type pt_stft"),
        (FIRST | {"spec_params": {"spec_norm": "bn"}}, "spec_norm bn; expected mn"),
    ],
)
def test_front_ends_of_redimnet(config, shown):
    tensors = {"spec.torchfbank.1.flipped_filter": torch.ones(1), "linear.weight": torch.zeros(5, 4)}
    content = {"model_config": config, "state_dict": tensors}
    if isinstance(shown, str):
        with pytest.raises(ValueError, match=shown):
            toolkits.read_foreign(content, "b2-vox2-ptn.pt")
        return
    foreign = toolkits.read_foreign(content, "b2-vox2-ptn.pt")
    assert {name: foreign.options[name] for name in shown} == shown
    assert json.loads(foreign.options["architecture"]) == config
    assert foreign.weights.keys() == {"model.linear.weight"}


def test_tensors_that_get_one_name_are_not_dropped():
    with pytest.raises(ValueError, match=r"another tensor that is also head\.weight here"):
        renamed({"head.weight": torch.zeros(1), "seg_1.weight": torch.ones(1)}, [(r"seg_1\.", "head.")])


def test_networks_that_are_not_here_are_named(tmp_path):
    for name, words in {
        "layer1.0.convs.0.weight": "ERes2Net",
        "norm_stats.weight": "ResNet of SpeechBrain",
        "encoder.layers.0.conv_layer.weight": "ECAPA-TDNN of NeMo",
    }.items():
        torch.save({name: torch.zeros(2, 2)}, tmp_path / "model.pt")
        with pytest.raises(ValueError, match=f"{words}, which is not among the networks"):
            checkpoint.load_model(str(tmp_path / "model.pt"))
    torch.save({"something": torch.zeros(1)}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="--origin wespeaker: its tensors are of no network of wespeaker"):
        checkpoint.load_model(str(tmp_path / "model.pt"), "wespeaker")


def test_folders(tmp_path):
    with pytest.raises(ValueError, match="no model file in it"):
        model_in_folder(tmp_path)
    (tmp_path / "voxceleb_resnet34.pt").touch()
    assert model_in_folder(tmp_path).name == "voxceleb_resnet34.pt"
    (tmp_path / "classifier.ckpt").touch()
    with pytest.raises(ValueError, match=r"several model files.*classifier\.ckpt, voxceleb_resnet34\.pt"):
        model_in_folder(tmp_path)
    (tmp_path / "embedding_model.ckpt").touch()
    assert model_in_folder(tmp_path).name == "embedding_model.ckpt"
    (tmp_path / "avg_model.pt").touch()
    with pytest.raises(ValueError, match=r"several model files.*avg_model\.pt, embedding_model\.ckpt"):
        model_in_folder(tmp_path)


def test_a_folder_is_evaluated_and_trained_on_as_it_was_downloaded(campplus, corpus, tmp_path):
    folder = tmp_path / "campplus"
    folder.mkdir()
    torch.save(campplus | {"projection.weight": torch.randn(18, 16)}, folder / "avg_model.pt")
    (folder / "config.yaml").write_text(WESPEAKER_CONFIG)
    words = ["--test_list", corpus.test_list, "--test_path", corpus.root, "--save_path", tmp_path / "run"]
    words += ["--nDataLoaderThread", 0, "--report", False]
    result = run_here("trainSpeakerNet.py", "--eval", "--initial_model", folder, *words)
    assert result.returncode == 0, result.stderr
    assert "a file of wespeaker; it shows: model CAMPPlus" in result.stdout and "VEER" in result.stdout
    refused = run_here("trainSpeakerNet.py", "--eval", "--initial_model", folder, "--window", "povey", *words)
    assert_refused(refused, "--window povey contradicts", "window hamming")
    converted = run_here("inferSpeakerNet.py", "convert", folder, tmp_path / "own.model")
    assert converted.returncode == 0, converted.stderr
    words = [tmp_path / "own.model", tmp_path / "other.model", "--origin", "wespeaker"]
    assert_refused(run_here("inferSpeakerNet.py", "convert", *words), "leave out --origin wespeaker")
    assert checkpoint.load_model(str(tmp_path / "own.model")).options["eval_frames"] == 0
