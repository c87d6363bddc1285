"""Model files of other toolkits: whose they are, what is refused, heads, containers and folders."""

import io
import json
import tarfile
import zipfile

import pytest
import torch
from conftest import assert_refused, run_here
from test_models import build

from storage import checkpoint
from storage.containers import is_safetensors
from storage.model_folder import model_in_folder

WESPEAKER_CONFIG = """
model: CAMPPlus
model_args: {feat_dim: 80, embed_dim: 192, pooling_func: TSTP}
dataset_args:
  fbank_args: {num_mel_bins: 80, frame_shift: 10, frame_length: 25, dither: 1.0}
  resample_rate: 16000
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
    with pytest.raises(ValueError, match="it is a CAM\\+\\+ of wespeaker or 3D-Speaker"):
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
    (tmp_path / "config.yaml").write_text("model: CAMPPlus\nmodel_conf: {}\n")  # another program's
    with pytest.raises(ValueError, match="--origin"):
        checkpoint.load_model(str(path))


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("config.yaml", "frame_shift: 10", "frame_shift: 15", "frame_shift 15; expected 10 ms"),
        ("config.yaml", "rate: 16000", "rate: 8000", "resample_rate 8000"),
        ("config.yaml", "fbank_args", "frontend: s3prl\n  fbank_args", "frontend s3prl; expected one of"),
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


def test_heads_are_dropped_unless_their_speakers_are_named(campplus, tmp_path):
    head = torch.randn(6, 16)
    torch.save(campplus | {"projection.weight": head}, tmp_path / "avg_model.pt")
    path = str(tmp_path / "avg_model.pt")
    found = checkpoint.load_model(path)  # only wespeaker keeps the head in the file
    assert "a file of wespeaker" in found.origin and found.weights.keys() == {f"model.{k}" for k in campplus}
    named = checkpoint.load_model(path, head_speakers=["a", "b"])  # at three speeds
    assert torch.equal(named.weights["loss.weight"], head[:2]) and named.speakers == ["a", "b"]
    assert torch.equal(checkpoint.load_model(path, head_speakers=list("abcdef")).weights["loss.weight"], head)
    with pytest.raises(ValueError, match=r"has 4 speakers, the head in .* 6 rows"):
        checkpoint.load_model(path, head_speakers=list("abcd"))
    torch.save(campplus, path)
    with pytest.raises(ValueError, match="has no loss head; leave out --head_speakers"):
        checkpoint.load_model(path, "wespeaker", ["a"])


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
    with pytest.raises(ValueError, match=r"NeMo's \.nemo"):
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


def test_networks_that_are_not_here_are_named(tmp_path):
    for name, words in {
        "layer1.0.convs.0.weight": "ERes2Net",
        "front.layer1.0.conv1.weight": "SimAM-ResNet",
        "norm_stats.weight": "ResNet of SpeechBrain",
        "encoder.encoder.0.mconv.0.conv.weight": "TitaNet of NeMo",
    }.items():
        torch.save({name: torch.zeros(2, 2)}, tmp_path / "model.pt")
        with pytest.raises(ValueError, match=f"{words}, which is not among the networks"):
            checkpoint.load_model(str(tmp_path / "model.pt"))
    torch.save({"xvector.block1.tdnnd1.linear1.weight": torch.zeros(1)}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"CAM\+\+, but incomplete: it has no 'head"):
        checkpoint.load_model(str(tmp_path / "model.pt"), "wespeaker")
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
