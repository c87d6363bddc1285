"""Features, models and losses against values computed by the original systems."""

import json
import zlib

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

import inferSpeakerNet
import options
import trainSpeakerNet
from features.logmel import Features
from features.sinc import Features as SincFeatures
from options import Options
from SpeakerNet import SpeakerNet
from storage import checkpoint

NUM_SAMPLES = 32_240


def signal(seed: int) -> Tensor:
    """The two waveforms (2, 32240) that the original systems embedded."""
    n = np.arange(NUM_SAMPLES)
    noise = np.random.RandomState(seed).uniform(-0.5, 0.5, NUM_SAMPLES)
    x = 0.3 * np.sin(2 * np.pi * 220 * n / 16000) + 0.2 * np.sin(2 * np.pi * 1330 * n / 16000) + 0.1 * noise
    return torch.tensor(np.stack([x, x[::-1]]).astype(np.float32))


def formula_weight(name: str, tensor: Tensor) -> Tensor:
    """The value that a weight has in the reference computation, from its name in the original system."""
    if not tensor.is_floating_point() or tensor.ndim == 0:
        return tensor
    u = np.random.RandomState(zlib.crc32(name.encode())).uniform(-0.5, 0.5, tensor.numel())
    if tensor.ndim > 1:
        u = 2 * np.sqrt(6 / np.prod(tensor.shape[1:])) * u
    elif name.endswith("running_var"):
        u = 1 + 0.4 * u
    else:
        u = 1 + 0.2 * u if name.endswith(".weight") else 0.2 * u
    return torch.tensor(u.reshape(tensor.shape), dtype=torch.float32)


# Reference file -> layout of the original system's checkpoints, and the flags needed beside the file.
VARIANTS = {
    "seed_ResNetSE34_SAP": ("bare", ["--model", "ResNetSE34"]),
    "seed_ResNetSE34L_SAP": ("module", []),
    "seed_VGGVox_SAP": ("bare", []),
    "ResNetSE34L_SAP_40_log": ("2026", []),
    "ResNetSE34L_SAP_40_linear": ("bare", ["--log_input", "False"]),
    "ResNetSE34L_ASP_64_log": ("bare", []),
    "ResNetSE34V2_ASP_64_log": ("2026", []),
    "ResNetSE34V2_SAP_64_log": ("bare", []),
    "VGGVox_SAP_log": ("bare", []),
    "VGGVox_TAP_log": ("bare", ["--encoder_type", "TAP"]),
    "VGGVox_MAX_log": ("bare", ["--encoder_type", "MAX"]),
    "RawNet3_ECA": ("RawNet", []),
    "RawNet3_ASP": ("2026", []),
    "ECAPA_512": ("bare", []),
    "ECAPA_1024": ("bare", []),
}
UNUSED = {"RawNet3": 1024}  # parameters of two batch norms that the original doesn't use


def old_checkpoint(reference, variant, path):
    """Write a checkpoint of the original system's layout -> contents of the reference file."""
    original = json.loads((reference / f"{variant}.json").read_text())
    buffers = reference / f"{variant}.buffers.npz"
    front_end = dict(np.load(buffers)) if buffers.exists() else {}
    tensors = {}
    for name, shape, kind in original["tensors"]:
        tensor = torch.zeros(shape, dtype=getattr(torch, kind))
        tensors[name] = (
            torch.from_numpy(front_end[name]) if name in front_end else formula_weight(name, tensor)
        )
    container = VARIANTS[variant][0]
    prefix = "" if container == "RawNet" else original["prefix"]
    named = {("module." if container == "module" else "") + prefix + k: t for k, t in tensors.items()}
    if prefix == "__S__.":
        named |= {"__L__.w": torch.tensor(10.0), "__L__.b": torch.tensor(-5.0)}
    contents = {"RawNet": {"model": named}, "2026": {"model_state_dict": named, "optimizer_state_dict": {}}}
    torch.save(contents.get(container, named), path)
    return original


LARGE = ("ECAPA_1024", "RawNet3", "ResNetSE34V2")  # networks whose comparison is slow


@pytest.mark.parametrize(
    "variant",
    [pytest.param(name, marks=[pytest.mark.slow] if name.startswith(LARGE) else []) for name in VARIANTS],
)
def test_embeddings_and_scores_of_old_checkpoints(variant, reference, tmp_path, capsys):
    original = old_checkpoint(reference, variant, tmp_path / "old.model")
    words = VARIANTS[variant][1]
    convert = ["convert", str(tmp_path / "old.model"), str(tmp_path / "new.model"), *words]
    assert inferSpeakerNet.main(convert) == 0
    assert "it shows: model" in capsys.readouterr().out or "--model" in words
    model_file = checkpoint.load_model(str(tmp_path / "new.model"))
    args = Options(model_file.options)
    network = SpeakerNet.build(args).eval()
    checkpoint.load_weights(network, checkpoint.split_loss(model_file.weights)[0], "new.model")
    count = sum(p.numel() for p in network.parameters())
    assert count + UNUSED.get(args.model, 0) == original["parameters"]
    waveforms, expected = signal(original["signal_seed"]), torch.tensor(original["embeddings"])
    with torch.no_grad():
        embeddings = network.embed(waveforms)
    assert ((embeddings - expected).norm(dim=1) / expected.norm(dim=1)).max() < 1e-4

    for name, waveform in zip(("a.wav", "b.wav"), waveforms, strict=True):
        soundfile.write(tmp_path / name, waveform.numpy(), 16_000, subtype="FLOAT")
    (tmp_path / "trials.txt").write_text("a.wav b.wav\n")
    evaluate = f"--eval --test_list {tmp_path}/trials.txt --test_path {tmp_path} --save_path {tmp_path}/run "
    evaluate += "--num_eval 1 --eval_frames 200 --nDataLoaderThread 0 --scoring distance --initial_model "
    unit = torch.nn.functional.normalize(expected)
    for file, flags in (("old.model", words), ("new.model", [])):
        assert trainSpeakerNet.main([*evaluate.split(), str(tmp_path / file), *flags]) == 0
        score = float((tmp_path / "run/result/eval/trials.scores.txt").read_text().split()[0])
        assert score == pytest.approx(-(unit[0] - unit[1]).norm().item(), rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("variant", VARIANTS)
def test_front_end_buffers(variant, reference):
    path = reference / f"{variant}.buffers.npz"
    if not path.exists():
        assert variant == "seed_ResNetSE34_SAP"  # it has none
        return
    buffers = np.load(path)
    if variant.startswith("RawNet3"):
        features = SincFeatures()
        for name in ("low_hz", "band_hz"):
            edges = getattr(features, name).detach()
            np.testing.assert_allclose(edges, buffers[f"conv1.filterbank.{name}_"], rtol=1e-4)
        np.testing.assert_allclose(features.window, buffers["conv1.filterbank.window_"], atol=1e-6)
        np.testing.assert_allclose(features.radians, buffers["conv1.filterbank.n_"], atol=1e-8)
        return
    window, bank = (next(buffers[k] for k in buffers.files if k.endswith(end)) for end in ("window", "fb"))
    hann = "VGG" in variant or variant.startswith("seed")
    edges = {"f_min": 20.0, "f_max": 7600.0} if variant.startswith("ECAPA") else {}
    mel = Features(n_mels=bank.shape[1], window="hann" if hann else "hamming", **edges).mel
    np.testing.assert_allclose(mel.spectrogram.window, window, atol=1e-6)
    # float32 rounds the band edges: half a unit at 8 kHz, 2.4e-4 Hz, is 4e-6 of a band's slope of 60 Hz
    np.testing.assert_allclose(mel.mel_scale.fb, bank, atol=1e-5)


# Sums of the filterbank and of the mel energies, computed by voxceleb_trainer's front ends for signal(7).
@pytest.mark.parametrize(
    ("n_mels", "f_min", "f_max", "bank_sum", "total"),
    [
        (64, 0.0, 8000.0, 250.195114, 541121.06),
        (40, 0.0, 8000.0, 246.898895, 541006.69),
        (80, 20.0, 7600.0, 238.258362, 540744.88),
    ],
)
def test_mel_spectrogram(n_mels, f_min, f_max, bank_sum, total):
    features = Features(n_mels=n_mels, f_min=f_min, f_max=f_max, log_input=False, feature_norm="none")
    assert features.mel.mel_scale.fb.sum().item() == pytest.approx(bank_sum, rel=1e-5)
    assert features.mel.spectrogram.window.sum().item() == pytest.approx(216.0, rel=1e-5)
    maps = features(signal(7)[:1])
    assert maps.shape == (1, n_mels, 202)
    assert (maps - 1e-6).sum().item() == pytest.approx(total, rel=1e-4)
    if n_mels == 64:
        np.testing.assert_allclose(maps[0, :4, 100], [0.078001, 0.055605, 0.123172, 0.083449], rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "utterances", "settings", "value", "accuracy"),
    [
        ("softmax", 1, {}, 3.004319, 0.0),
        ("amsoftmax", 1, {"margin": 0.1, "scale": 30.0}, 15.236768, 0.0),
        ("amsoftmax", 1, {"margin": 0.3, "scale": 15.0}, 11.091341, 0.0),
        ("angleproto", 2, {}, 3.365215, 0.0),
        ("angleproto", 3, {}, 2.942683, 0.25),
        ("aamsoftmax", 1, {"margin": 0.1, "scale": 30.0}, 14.722663, 0.0),
        ("aamsoftmax", 1, {"margin": 0.2, "scale": 30.0}, 17.635601, 0.0),
        ("ge2e", 2, {}, 3.151611, 0.0),
        ("ge2e", 3, {}, 2.731156, 1 / 6),
        ("softmaxproto", 2, {}, 6.357186, 0.0625),
        ("proto", 2, {}, 2.735302, 0.125),
        ("proto", 3, {}, 2.184570, 0.125),
        ("triplet", 2, {"margin": 0.1, "hard_prob": 1.0, "hard_rank": 0}, 0.635542, None),
        ("triplet", 2, {"margin": 0.3, "hard_prob": 1.0, "hard_rank": 0}, 0.835542, None),
    ],
)
def test_losses(name, utterances, settings, value, accuracy):
    draws = np.random.RandomState(99).uniform(-0.5, 0.5, 8 * utterances * 32)
    embeddings = torch.tensor(draws.reshape(8, utterances, 32), dtype=torch.float32)
    labels = (7 * torch.arange(8) + 3) % 20
    loss_fn = options.plugin("loss", name)(32, 20, **settings)
    loss_fn.load_state_dict({k: formula_weight(k, v) for k, v in loss_fn.state_dict().items()})
    if name == "amsoftmax":  # the original stores it as W (embedding, classes)
        loss_fn.weight.data = formula_weight("W", torch.empty(32, 20)).T
    loss, correct = loss_fn(embeddings, labels)
    assert loss.item() == pytest.approx(value, rel=1e-4)
    if accuracy is not None:
        assert correct.mean().item() == pytest.approx(accuracy)
