"""Parameter counts of the encoders, worked by hand, and the options that they reject."""

import json

import pytest
import torch

import options
from options import flags
from SpeakerNet import SpeakerNet

FRONT_ENDS = [name for name in options.available("features") if name != "ssl"]  # which needs a description
# Options that make a network small where its size doesn't matter.
SMALL = {name: "--n_mels 16" for name in options.available("models")}
SMALL["ResNetSE34"] = ""  # its spectrogram has no bands to choose
SMALL["ECAPA"] += " --channels 64"
SMALL["ResNet"] += " --depth 18"
SMALL["GE2E"] += " --channels 64"
SMALL["ERes2NetV2"] += " --base_width 16"
SMALL["TitaNet"] += " --channels 32"
SMALL["RawNet3"] = "--sinc_stride 16 --channels 64"


def redimnet(**changes):
    """Words that choose a small ReDimNet, with changes of its description, in which there are no blanks."""
    description = {
        "F": 16,
        "C": 4,
        "block_1d_type": "conv+att",
        "block_2d_type": "convnext_like",
        "group_divisor": 2,
        "stages_setup": [[1, 1, 2, [[3, 3]], 4], [2, 1, 1, [[3, 3]], 8]],
    }
    return "--n_mels 16 --architecture " + json.dumps({**description, **changes}, separators=(",", ":"))


SMALL["ReDimNet"] = redimnet()
REDIMNET2 = {  # strides over time; group norms; two outputs of each stage; maps are pooled
    "block_2d_type": "basic_resnet_fwse",
    "stages_setup": [
        [[1, 1], 1, 2, [[3, 3]], 4],
        [[2, 2], 1, 1, [[3, 3]], None],
        [[1, 2], 1, 0.5, [[3, 5]], 8],
    ],
    "agg_gnorm": True,
    "dual_agg": True,
    "return_2d_output": True,
    "out_channels": 6,
}
NETWORKS = [  # every model and every variant that has other layers
    *(f"{name} {words}" for name, words in SMALL.items()),
    f"DeepSpeaker --variant GRU {SMALL['DeepSpeaker']}",
    f"SEResNet34 --stages all {SMALL['SEResNet34']}",
    "ResNet --n_mels 16 --depth 50",
    f"ECAPA --variant wespeaker {SMALL['ECAPA']}",
    f"ECAPA --variant speechbrain {SMALL['ECAPA']}",
    f"ReDimNet {redimnet(**REDIMNET2)}",
    f"ReDimNet {redimnet(**{**REDIMNET2, 'block_1d_type': 'att', 'block_2d_type': 'convnext_like'})}",
    f"ReDimNet {redimnet(block_1d_type='conv')}",
]


def resolve(*words):
    """Command-line words -> options of training."""

    def core(add_help):
        return flags.training_parser("", add_help)

    return options.resolve(core, [str(word) for word in words]).options


def build(*words, speakers=None):
    """Command-line words -> network; without a number of speakers it has no loss."""
    return SpeakerNet.build(resolve(*words), speakers)


def build_shapes(*words, requests=None):
    """Command-line words -> network whose model has shapes but no values, which is faster.

    The (channels, attention) that the model requests poolings for are appended to `requests`.
    """
    values = resolve(*words)

    def pooling(channels, attention="scalar"):
        if requests is not None:
            requests.append((channels, attention))
        return options.build("pooling", values, channels, attention)

    features = options.build("features", values)
    with torch.device("meta"):
        model = options.build("models", values, features.num_features, values["nOut"], pooling)
    return SpeakerNet(features, model)


def conv(*shape, bias=0):
    size = 1
    for side in shape:
        size *= side
    return size + bias


def norm(channels):
    return 2 * channels


def basic_block(channels, out):
    """Two 3x3 convolutions with norms; a 1x1 convolution with norm where the width changes."""
    size = conv(9, channels, out) + conv(9, out, out) + 2 * norm(out)
    return size + (conv(channels, out) + norm(out) if channels != out else 0)


WIDTHS = (32, 64, 128, 256)
BLOCKS = (3, 4, 6, 3)
RESNET = conv(9, 1, 32) + norm(32) + sum(
    basic_block(before, width) + (blocks - 1) * basic_block(width, width)
    for before, width, blocks in zip((32, *WIDTHS), WIDTHS, BLOCKS, strict=False)
)  # fmt: skip
GATES = sum(  # two linear layers with biases through C / 16 units, in every block
    blocks * (2 * width * width // 16 + width // 16 + width)
    for width, blocks in zip(WIDTHS, BLOCKS, strict=True)
)


def bottleneck(channels, out):
    """1x1, 3x3 and 1x1 convolution with norms; a 1x1 convolution with norm where the width changes."""
    width = out // 4
    size = conv(channels, width) + conv(9, width, width) + conv(width, out) + 2 * norm(width) + norm(out)
    return size + (conv(channels, out) + norm(out) if channels != out else 0)


def r_vector(depth, blocks):
    """Stem and four stages; means and deviations of 10 bands, linear to 256."""
    block, expansion = (basic_block, 1) if depth < 50 else (bottleneck, 4)
    outs = [expansion * width for width in WIDTHS]
    stages = sum(
        block(before, out) + (count - 1) * block(out, out)
        for before, out, count in zip((32, *outs), outs, blocks, strict=False)
    )
    return conv(9, 1, 32) + norm(32) + stages + conv(2 * outs[-1] * 10, 256, bias=256)


def head(pooled):
    """Linear to 256, norm."""
    return conv(pooled, 256, bias=256) + norm(256)


def se_tdnn(channels, kernel):
    """Convolution with bias to 512, norm, gate through 64 units."""
    return (
        conv(channels, 512, kernel, bias=512) + norm(512) + conv(512, 64, bias=64) + conv(64, 512, bias=512)
    )


def gru(inputs, units):
    """Three gates, each with a matrix for input and state and two biases."""
    return 3 * (inputs * units + units * units + 2 * units)


@pytest.mark.parametrize(
    ("words", "parameters"),
    [
        # counted in voxceleb_trainer's, TaoRuijie's, wespeaker's and SpeechBrain's code
        ("ResNetSE34", 1_437_078),
        ("ResNetSE34L", 1_437_078),
        ("ResNetSE34L --nOut 256", 1_404_054),
        ("ResNetSE34L --encoder_type ASP", 1_502_614),
        ("ResNetSE34Half --encoder_type SAP", 5_602_988),
        ("ResNetSE34Half", 5_734_060),
        ("ResNetSE34V2 --encoder_type SAP", 6_979_916),
        ("ResNetSE34V2", 8_028_492),
        ("ResNetSE34V2 --n_mels 80", 8_684_364),
        ("VGGVox", 4_032_448),
        ("VGGVox40 --encoder_type TAP", 3_769_280),
        ("VGGVox --encoder_type MAX", 3_769_280),
        ("ECAPA --channels 512", 6_978_176),
        ("ECAPA_TDNN", 15_444_544),
        ("ECAPA --variant wespeaker --channels 512", 6_190_720),
        ("ECAPA --variant wespeaker", 14_657_088),
        ("ECAPA --variant speechbrain", 20_767_552),
        ("RawNet3", 16_280_322 - 1024),  # without the two batch norms that the original doesn't use
        ("RawNet3 --encoder_type ASP", 16_082_307 - 1024),
        ("DeepSpeaker", 11_624_128),
        # counted in the published files of wespeaker and 3D-Speaker
        ("ResNet", 6_634_336),
        ("ResNet --depth 152", 19_814_880),
        ("ResNet --depth 221", 23_792_224),
        ("ResNet --depth 293", 28_626_016),
        ("CAMPPlus", 7_176_224),
        ("CAMPPlus --nOut 192", 6_848_544),
        ("SimAMResNet", 25_213_760),
        ("SimAMResNet --depth 100", 50_232_896),
        ("ERes2NetV2", 17_859_632),
        ("ERes2NetV2 --base_width 24 --groups 4 --expansion 4", 53_513_632),
        ("XVector", 4_610_524),
        # NeMo's has 22.12 M without the head; each block of three layers, a gate and a shortcut
        ("TitaNet", 22_122_288),
        ("GE2E", 1_423_618 - 2),  # Resemblyzer's weights, without the scale and offset of the loss
        # worked out in this file
        ("ResNet --depth 18", r_vector(18, (2, 2, 2, 2))),
        ("ResNet --depth 50", r_vector(50, (3, 4, 6, 3))),
        ("ResNet --depth 101", r_vector(101, (3, 4, 23, 3))),
        (
            "DeepSpeaker --variant GRU",  # 64 channels x 32 bands, three layers of 1024 units
            conv(25, 1, 64) + norm(64) + gru(64 * 32, 1024) + 2 * gru(1024, 1024) + conv(1024, 512, bias=512),
        ),
        ("ResNet34", RESNET + head(2 * 256 * 11)),
        ("SEResNet34", RESNET + GATES + head(2 * 256 * 11)),
        (
            "SEResNet34 --stages all",
            RESNET + GATES + head(2 * (32 * 81 + 64 * 41 + 128 * 21 + 256 * 11)),
        ),
        (
            "ETDNN",
            sum(conv(512, 512, width, bias=512) for width in (1, 3, 1, 3, 1, 3, 1, 1))
            + conv(80, 512, 5, bias=512)
            + conv(512, 1500, bias=1500)
            + conv(3000, 512, bias=512)
            + conv(512, 512, bias=512),
        ),
        (
            "ResSETDNN",
            se_tdnn(81, 5)
            + sum(se_tdnn(512, kernel) for kernel in (5, 5, 7, 7, 1, 1))
            + conv(512, 1500, bias=1500)
            + norm(1500)
            + head(2 * 1500),
        ),
    ],
)
def test_parameters(words, parameters):
    network = build_shapes("--model", *words.split())
    assert sum(p.numel() for p in network.parameters()) == parameters


@pytest.mark.usefixtures("small_models")
@pytest.mark.parametrize("model", ["XVector", "ETDNN"])
def test_fewer_frames_than_a_window_are_followed_by_zeros(model):
    network, features = build_shapes("--model", model).model.eval(), torch.randn(1, 80, 5, device="meta")
    assert network(features).shape == (1, 512)
    model = build("--model", model, "--nOut", 8).model.eval()
    features = torch.randn(2, 80, 14)
    padded = torch.cat([features, torch.zeros(2, 80, model.unequal_from - 14)], dim=2)
    torch.testing.assert_close(model(features), model(padded))


@pytest.mark.usefixtures("small_models")
def test_networks_of_the_tests_over_all_models_are_small():
    """Otherwise each new model costs those tests seconds: conftest.py's small_models sets such sizes."""
    for words in NETWORKS:
        size = sum(p.numel() for p in build_shapes("--model", *words.split()).parameters())
        assert size < 4_000_000, f"{words} has {size} parameters"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("ResNetSE34V2 --n_mels 60", r"ResNetSE34V2 needs a multiple of 8 bands, got 60; change --n_mels"),
        ("VGGVox --n_mels 12", r"VGGVox needs at least 15 bands, got 12; raise --n_mels"),
        ("ECAPA --channels 100", r"--channels must be a multiple of 8, got 100"),
        (
            "ResNetSE34L --encoder_type MHA --heads 3",
            r"--heads must divide the 128 channels that are pooled, got 3",
        ),
        ("ResNetSE34L --encoder_type MQMHA --queries 0", r"--queries must be at least 1"),
        ("ResNet --depth 36", r"argument --depth: invalid choice: 36 \(choose from 18, 34, 50, 101"),
        ("ERes2NetV2 --groups 0", r"--groups must be at least 1, got 0"),
        ("TitaNet --channels 4", r"--channels must be at least 8, got 4"),
        ("RawNet3 --sinc_stride 0", r"--sinc_stride must be at least 1"),
        ("RawNet3 --sinc_filters 3", r"--sinc_filters must be even"),
        ("RawNet3 --sinc_length 250", r"--sinc_length must be odd"),
        ("RawNet3 --sinc_length 9001", r"--sinc_length must be odd, 3 to 4800"),
    ],
)
def test_refused(words, message):
    with pytest.raises(ValueError, match=message):
        build("--model", *words.split())


@pytest.mark.parametrize("model", options.available("models"))
def test_every_pooling_fits_every_model(model):
    """Shapes only; test_plugins.py checks the values of each pooling in each form of attention."""
    requests = []
    build_shapes("--model", model, *SMALL[model].split(), requests=requests)
    assert requests
    for channels, attention in requests:
        for name in options.available("pooling"):
            with torch.device("meta"):
                pooling = options.plugin("pooling", name)(channels, attention)
                assert pooling(torch.randn(2, channels, 5)).shape == (2, pooling.out_channels)


@pytest.mark.slow
@pytest.mark.usefixtures("small_models")
@pytest.mark.parametrize("model", ["ECAPA", "ResNet"])
def test_compiled_in_one_graph(model):
    network = build("--model", model, *SMALL[model].split()).train()
    compiled = torch.compile(network.model, backend="eager", fullgraph=True)  # an error if it takes several
    compiled(torch.randn(4, network.features.num_features, 60))


def test_any_number_of_bands_fits_where_the_original_had_one():
    assert build("--model", "VGGVox", "--n_mels", 64).embed(torch.randn(2, 16_000)).shape == (2, 512)
    assert build("--model", "DeepSpeaker", "--n_mels", 40).embed(torch.randn(2, 16_000)).shape == (2, 512)


def test_embeddings_of_deep_speaker_have_norm_ten():
    norms = build("--model", "DeepSpeaker").embed(torch.randn(3, 8000)).norm(dim=1)
    torch.testing.assert_close(norms, torch.full((3,), 10.0))


def test_maps_of_all_stages_are_pooled():
    network = build("--model", "SEResNet34", "--stages", "all").eval()
    pooled_channels = [pooling.out_channels for pooling in network.model.poolings]
    assert pooled_channels == [2 * 32 * 81, 2 * 64 * 41, 2 * 128 * 21, 2 * 256 * 11]
    inputs = []
    for pooling in network.model.poolings:
        pooling.register_forward_hook(lambda _, inputs_, __: inputs.append(inputs_[0].shape))
    with torch.no_grad():
        assert network.model(torch.randn(1, 81, 48)).shape == (1, 256)
    assert inputs == [(1, 32 * 81, 48), (1, 64 * 41, 24), (1, 128 * 21, 12), (1, 256 * 11, 6)]
