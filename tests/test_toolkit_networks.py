"""Networks of other toolkits without references: their formulas, and files with their names of tensors."""

import io
import re
import tarfile

import numpy as np
import pytest
import torch
from test_models import SMALL, build
from torch.nn import functional as F

from inference.conversion import converted
from models.ERes2NetV2 import AttentiveFusion, Block, Cascade
from models.SimAMResNet import SimAM
from SpeakerNet import SpeakerNet
from storage import toolkits


@torch.inference_mode()
def test_simam_follows_its_formula():
    maps = np.random.default_rng(1).standard_normal((2, 3, 4, 5))
    squares = (maps - maps.mean(axis=(2, 3), keepdims=True)) ** 2
    variance = squares.sum(axis=(2, 3), keepdims=True) / (4 * 5 - 1)
    expected = maps / (1 + np.exp(-(squares / (4 * (variance + 1e-4)) + 0.5)))
    torch.testing.assert_close(SimAM()(torch.from_numpy(maps).float()), torch.from_numpy(expected).float())


@torch.inference_mode()
def test_blocks_of_eres2netv2_follow_their_description():
    """The first convolution has the stride; each group gets the one before it; activations end at 20."""
    torch.manual_seed(0)
    block, maps = Block(8, Cascade(6, 3, fused=True), 16, 2).eval(), 40 * torch.randn(2, 8, 6, 7)
    first = F.conv2d(maps, block.conv1.weight, stride=2)
    a, b, c = block.bn1(first).relu().clamp(max=20).split(6, dim=1)

    def convolved(number, group):
        return block.bns[number](F.conv2d(group, block.convs[number].weight, padding=1)).clamp(0, 20)

    def fused(number, earlier, group):
        reduce, norm, _, expand, last = block.fuse_models[number].local_att
        units = norm(reduce(torch.cat([earlier, group], dim=1)))
        share = 1 + last(expand(units * units.sigmoid())).tanh()
        return earlier * share + group * (2 - share)

    a = convolved(0, a)
    b = convolved(1, fused(0, a, b))
    c = convolved(2, fused(1, b, c))
    convolution, norm = block.downsample
    shortcut = norm(F.conv2d(maps, convolution.weight, stride=2))
    outputs = block.bn3(F.conv2d(torch.cat([a, b, c], dim=1), block.conv3.weight)) + shortcut
    torch.testing.assert_close(block(maps), outputs.relu().clamp(max=20))


@torch.inference_mode()
def test_without_fusion_groups_are_added():
    torch.manual_seed(0)
    block, maps = Block(8, Cascade(4, 2, fused=False), 8, 1).eval(), torch.randn(1, 8, 3, 5)
    a, b = block.bn1(F.conv2d(maps, block.conv1.weight)).relu().split(4, dim=1)
    a = block.bns[0](F.conv2d(a, block.convs[0].weight, padding=1)).relu()
    b = block.bns[1](F.conv2d(a + b, block.convs[1].weight, padding=1)).relu()
    outputs = block.bn3(F.conv2d(torch.cat([a, b], dim=1), block.conv3.weight)) + maps
    torch.testing.assert_close(block(maps), outputs.relu())
    assert not any(isinstance(layer, AttentiveFusion) for layer in block.modules())


def names_of_simam(name):
    name = re.sub(r"^stages\.(\d)\.", lambda match: f"front.layer{int(match[1]) + 1}.", name)
    name = re.sub(r"^(conv1|bn1)\.", r"front.\1.", name)
    return name.replace("poolings.0.attention.layers.", "pooling.attention.").replace("head.", "bottleneck.")


def names_of_eres2netv2(name):
    return name.replace("downsample", "shortcut")


def names_of_titanet(name):
    name = re.sub(r"^blocks\.(\d)\.gate", lambda m: f"blocks.{m[1]}.{13 if m[1] == '1' else 3}", name)
    parts = {"depthwise": (0, ".conv"), "pointwise": (1, ".conv"), "norm": (2, "")}
    for part, (place, conv) in parts.items():
        name = re.sub(rf"layers\.(\d)\.{part}", lambda m: f"{5 * int(m[1]) + place}{conv}", name)  # noqa: B023
    name = re.sub(r"^blocks\.(\d)\.shortcut\.0", r"encoder.encoder.\1.res.0.0.conv", name)
    name = re.sub(r"^blocks\.(\d)\.shortcut\.1", r"encoder.encoder.\1.res.0.1", name)
    name = re.sub(r"^blocks\.(\d)\.", r"encoder.encoder.\1.mconv.", name)
    name = name.replace("pooling.attention.layers.0", "decoder._pooling.attention_layer.0.conv_layer")
    name = name.replace("pooling.attention.layers.2", "decoder._pooling.attention_layer.0.bn")
    name = name.replace("pooling.attention.layers.4", "decoder._pooling.attention_layer.2")
    name = re.sub(r"^norm\.", "decoder.emb_layers.0.0.", name)
    return re.sub(r"^embedding\.", "decoder.emb_layers.0.1.", name)


def nemo_archive(path, tensors, window="hann", mode="w", config=None):
    """Write a `.nemo` archive; the last layer is a convolution, and there are a head and a front end."""
    theirs = tensors | {
        "decoder.emb_layers.0.1.weight": tensors["decoder.emb_layers.0.1.weight"][:, :, None],
        "decoder.final.weight": torch.zeros(3, 8),
        "preprocessor.featurizer.window": torch.zeros(400),
    }
    weights = io.BytesIO()
    torch.save(theirs, weights)
    config = config or f"preprocessor: {{sample_rate: 16000, window: {window}, features: 16}}\n"
    with tarfile.open(path, mode) as archive:
        for name, content in (
            ("model_config.yaml", config.encode()),
            ("model_weights.ckpt", weights.getvalue()),
        ):
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


@pytest.mark.usefixtures("small_models")
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_archives_of_nemo(mode, tmp_path, monkeypatch):
    network = build("--model", "TitaNet", *f"--nOut 8 {SMALL['TitaNet']}".split())
    tensors = {names_of_titanet(name): tensor for name, tensor in network.model.state_dict().items()}
    examples = ("encoder.encoder.1.mconv.13.fc.0.weight", "encoder.encoder.1.mconv.10.conv.weight")
    assert tensors.keys() >= {
        *examples,
        "encoder.encoder.2.mconv.2.weight",
        "encoder.encoder.1.res.0.1.weight",
    }
    path = tmp_path / "titanet-l.nemo"
    nemo_archive(path, tensors, mode=mode)
    model_file = converted(str(path)).model_file
    shown = {"model": "TitaNet", "features": "slaneymel", "channels": 32, "nOut": 8, "n_mels": 16}
    assert {name: model_file.options[name] for name in shown} == shown
    ours, features = SpeakerNet.from_model_file(model_file), torch.randn(1, 16, 40)
    with torch.inference_mode():
        torch.testing.assert_close(ours.eval().model(features), network.eval().model(features))
    nemo_archive(path, tensors, window="hamming", mode=mode)
    with pytest.raises(ValueError, match="preprocessor has window hamming; expected hann"):
        converted(str(path))
    for config in ("a: [", "[1, 2]", "preprocessor: 3"):
        nemo_archive(path, tensors, mode=mode, config=config)
        with pytest.raises(ValueError, match=r"model_config\.yaml in it isn't a configuration of NeMo"):
            converted(str(path))
    monkeypatch.setattr("storage.containers.LARGEST_NEMO", 2000)
    with pytest.raises(ValueError, match=r"an archive without model_weights\.ckpt"):
        converted(str(path))


@pytest.mark.usefixtures("small_models")
@pytest.mark.parametrize(
    ("model", "theirs", "example", "origin", "shown"),
    [
        (
            "SimAMResNet",
            names_of_simam,
            "front.layer2.0.downsample.0.weight",
            "voxblink2",
            {"depth": 34, "n_mels": 16, "window": "hann", "normalise_waveform": True},
        ),
        (
            "SimAMResNet",
            names_of_simam,
            "pooling.attention.0.weight",
            "wespeaker",
            {"features": "fbank", "window": "hamming", "waveform_scale": 32768.0},
        ),
        (
            "ERes2NetV2",
            names_of_eres2netv2,
            "layer3.0.fuse_models.0.local_att.4.weight",
            "3dspeaker",
            {"base_width": 16, "groups": 2, "expansion": 2, "window": "povey", "waveform_scale": 1.0},
        ),
    ],
)
def test_files_become_networks(model, theirs, example, origin, shown, tmp_path):
    model_options = f"--nOut 8 {SMALL[model]}".split()
    network = build("--model", model, *model_options)
    content = {theirs(name): tensor for name, tensor in network.model.state_dict().items()}
    assert example in content
    torch.save(content, tmp_path / "theirs.pt")
    model_file = converted(str(tmp_path / "theirs.pt"), origin=origin).model_file
    assert {name: model_file.options[name] for name in shown} == shown
    ours, features = SpeakerNet.from_model_file(model_file), torch.randn(1, 16, 40)
    with torch.inference_mode():
        torch.testing.assert_close(ours.eval().model(features), network.eval().model(features))


def test_whose_simam_it_is_must_be_said():
    content = {"front.layer1.0.conv1.weight": torch.zeros(1)}
    with pytest.raises(
        ValueError, match=r"wespeaker or VoxBlink2, whose front ends differ; say which: --origin"
    ):
        toolkits.read_foreign(content, "model.pt")
