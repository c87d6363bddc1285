"""The encoders' sizes worked by hand, and what they refuse."""

import pytest
import torch

import options
from options import flags
from SpeakerNet import SpeakerNet


def build(*words):
    """Words of a command line -> the network, without a loss."""

    def core(add_help):
        return flags.training_flags("", add_help)

    return SpeakerNet.build(options.resolve(core, [str(word) for word in words]).args)


def count(*words):
    return sum(p.numel() for p in build(*words).parameters())


def conv(*shape, bias=0):
    size = 1
    for side in shape:
        size *= side
    return size + bias


def norm(channels):
    return 2 * channels


def basic_block(channels, out):
    """Two 3x3 convolutions and norms; a 1x1 convolution and norm where the width changes."""
    size = conv(9, channels, out) + conv(9, out, out) + 2 * norm(out)
    return size + (conv(channels, out) + norm(out) if channels != out else 0)


WIDTHS, BLOCKS = (32, 64, 128, 256), (3, 4, 6, 3)
RESNET = conv(9, 1, 32) + norm(32) + sum(
    basic_block(before, width) + (blocks - 1) * basic_block(width, width)
    for before, width, blocks in zip((32, *WIDTHS), WIDTHS, BLOCKS, strict=False)
)  # fmt: skip
GATES = sum(  # two linear layers with biases through C / 16 units, in every block
    blocks * (2 * width * width // 16 + width // 16 + width)
    for width, blocks in zip(WIDTHS, BLOCKS, strict=True)
)


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
        # as voxceleb_trainer's and TaoRuijie's code counts them
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
        ("RawNet3", 16_280_322 - 1024),  # without two batch norms that the original never uses
        ("RawNet3 --encoder_type ASP", 16_082_307 - 1024),
        ("DeepSpeaker", 11_624_128),
        # worked out here
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
    assert count("--model", *words.split()) == parameters


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("ResNetSE34V2 --n_mels 60", r"ResNetSE34V2 needs a multiple of 8 bands, got 60 \(--n_mels\)"),
        ("VGGVox --n_mels 12", r"VGGVox needs at least 15 bands, got 12 \(--n_mels\)"),
        ("ECAPA --channels 100", r"--channels must be a multiple of 8, got 100"),
        ("ResNetSE34L --encoder_type MHA --heads 3", r"--heads 3: must divide the 128 channels"),
        ("ResNetSE34L --encoder_type MQMHA --queries 0", r"--queries must be at least 1"),
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
@pytest.mark.parametrize("pooling", options.available("pooling"))
def test_every_pooling_fits_every_model(model, pooling):
    narrow = ["--channels", "64"] if model in ("ECAPA", "RawNet3") else []
    network = build("--model", model, "--encoder_type", pooling, *narrow).eval()
    with torch.no_grad():
        assert network.embed(0.1 * torch.randn(1, 4800)).isfinite().all()  # 0.3 s


def test_any_number_of_bands_fits_where_the_original_knew_one():
    assert build("--model", "VGGVox", "--n_mels", 64).embed(torch.randn(2, 16_000)).shape == (2, 512)
    assert build("--model", "DeepSpeaker", "--n_mels", 40).embed(torch.randn(2, 16_000)).shape == (2, 512)


def test_deep_speakers_embeddings_have_length_ten():
    lengths = build("--model", "DeepSpeaker").embed(torch.randn(3, 8000)).norm(dim=1)
    torch.testing.assert_close(lengths, torch.full((3,), 10.0))


def test_the_statistics_of_all_stages_tell_more_than_the_last():
    torch.manual_seed(0)
    network = build("--model", "SEResNet34", "--stages", "all").eval()
    assert len(network.model.poolings) == 4
    features = torch.randn(1, 81, 50)
    with torch.no_grad():
        pooled = [stage.out_channels for stage in network.model.poolings]
        embedding = network.model(features)
    assert pooled == [2 * 32 * 81, 2 * 64 * 41, 2 * 128 * 21, 2 * 256 * 11]
    assert embedding.shape == (1, 256)
