"""ReDimNet and ReDimNet2: sizes, layout and names of the official files, and the port's embeddings."""

import json

import pytest
import torch
from test_models import REDIMNET2, build, build_shapes, redimnet
from torch import nn

from models._redimnet import FrameGroupNorm
from models._redimnet_architecture import NAMED
from models.ReDimNet import Backbone, parse_architecture
from storage.renaming import rename
from storage.toolkit_networks import REDIMNET_RULES


def backbone(**changes):
    """A small description with some changes -> its backbone."""
    return Backbone(parse_architecture(redimnet(**changes).split()[-1])).eval()


SPEC = 2 + 400 + 257 * 72  # values of the front end's buffers: pre-emphasis, window, triangles
B5 = {
    **NAMED["B2"],
    "C": 32,
    "block_2d_type": "basic_resnet_fwse",
    "group_divisor": 16,
    "stages_setup": [
        [stride, blocks, expansion, [[3, 3]], reduction]
        for stride, blocks, expansion, reduction in (
            *((1, 4, 2, 48), (2, 4, 2, 48), (1, 6, 2, 48), (2, 6, 1, 32), (1, 8, 1, 24), (2, 4, 1, 16)),
        )
    ],
}


@pytest.mark.parametrize(
    ("architecture", "tensors", "values"),
    [
        # official files also have three buffers of the front end and the weight of a single output
        pytest.param("B2", 556 - 4, 5_100_983 - SPEC - 1, id="b2-vox2"),
        pytest.param(json.dumps(B5), 1052 - 4, 7_709_351 - SPEC - 1, id="b5-vox2", marks=pytest.mark.slow),
    ],
)
def test_tensors_and_values_of_the_released_files(architecture, tensors, values):
    state = build_shapes("--model", "ReDimNet", "--architecture", architecture).model.state_dict()
    assert len(state) == tensors
    assert sum(tensor.numel() for tensor in state.values()) == values


@pytest.mark.parametrize(
    ("architecture", "parameters"),
    [
        ("wespeaker-B2", 4_888_241 - 1),  # without the weight of a single output
        ("V2-B2", 3_676_320),  # published as 3.6 million
        pytest.param("V2-B6", 12_390_176, marks=pytest.mark.slow),  # published as 12.3 million
    ],
)
def test_parameters(architecture, parameters):
    model = build_shapes("--model", "ReDimNet", "--architecture", architecture).model
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_names_of_the_official_files():
    """Names and shapes of tensors in official files of the second version with two outputs of a stage."""
    model = build("--model", "ReDimNet", *redimnet(**REDIMNET2).split(), "--nOut", 5).model
    state = model.state_dict()
    official = {  # 64 values per frame: C 4 times F 16
        "backbone.stem.0.weight": (4, 1, 3, 3),
        "backbone.stem.1.bias": (4,),
        "backbone.stem_gnorm.weight": (64,),
        "backbone.stage0_pre.2.weight": (8, 1, 1, 1),  # expansion 2, as many groups as channels
        "backbone.stage0_pre.3.conv_block.conv1.weight": (8, 2, 3, 3),
        "backbone.stage0_pre.3.conv_block.conv1pw.bias": (8,),
        "backbone.stage0_pre.3.conv_block.bn2.running_var": (8,),
        "backbone.stage0_pre.3.conv_block.se.squeeze.weight": (32, 16),
        "backbone.stage0_pre.3.conv_block.se.exitation.weight": (16, 32),
        "backbone.stage0_pre.4.0.weight": (4, 8, 1, 1),
        "backbone.stage0_pre.4.1.running_mean": (4,),
        "backbone.stage0_1d.red_dim_conv.0.weight": (16, 64, 1),
        "backbone.stage0_1d.red_dim_conv.1.weight": (16,),
        "backbone.stage0_1d.tcm.3.dwconvs.0.weight": (16, 1, 59),
        "backbone.stage0_1d.tcm.3.norm.running_var": (16,),
        "backbone.stage0_1d.tcm.3.pwconv1.weight": (16, 16, 1),
        "backbone.stage0_1d.tcm.4.attention.out_proj.weight": (16, 16),
        "backbone.stage0_1d.tcm.4.layer_norm.weight": (16,),
        "backbone.stage0_1d.tcm.4.feed_forward.intermediate_dense.bias": (16,),
        "backbone.stage0_1d.tcm.4.feed_forward.output_dense.weight": (16, 16),
        "backbone.stage0_1d.tcm.4.final_layer_norm.bias": (16,),
        "backbone.stage0_1d.exp_dim_conv.weight": (64, 16, 1),
        "backbone.stage0_up_2d.1.weight": (64,),
        "backbone.stage0_up_1d.1.bias": (64,),
        "backbone.stage1.0.w": (1, 3, 64, 1),
        "backbone.stage1.2.weight": (8, 1, 2, 2),
        "backbone.stage1.6.weight": (64,),  # after one block, reshape and upsampling
        "backbone.stage2_pre.0.w": (1, 4, 64, 1),
        "backbone.stage2_pre.2.weight": (4, 2, 1, 4),  # the time strides of both stages; 4 groups
        "backbone.fin_wght1d.w": (1, 6, 64, 1),
        "backbone.head.weight": (6, 8, 1, 1),
        "pool.linear1.weight": (128, 3 * 6 * 8, 1),
        "pool.linear2.weight": (6 * 8, 128, 1),
        "bn.running_mean": (2 * 6 * 8,),
        "linear.weight": (5, 2 * 6 * 8),
    }
    found = {name: tuple(state[rename(name, REDIMNET_RULES)].shape) for name in official}
    assert found == official
    dropped = ["spec.torchfbank.2.mel_scale.fb", "backbone.stage0_pre.0.w", "backbone.stage0.0.w"]
    assert {rename(name, REDIMNET_RULES) for name in dropped} == {""}


def test_the_convolution_before_the_pooling_of_the_first_version():
    head = backbone(out_channels=10).head
    assert [type(layer) for layer in head] == [nn.Conv1d, nn.BatchNorm1d]
    assert rename("backbone.mfa.0.weight", REDIMNET_RULES) == "backbone.head.0.weight"
    assert head[0].weight.shape == (10, 64, 1)


def test_pooled_maps_have_the_bands_of_a_channel_side_by_side():
    stages = [[[2, 1], 1, 1, [[3, 3]], None]]
    frames, maps = backbone(stages_setup=stages), backbone(stages_setup=stages, return_2d_output=True)
    maps.load_state_dict(frames.state_dict())
    features = torch.randn(2, 16, 9)
    with torch.no_grad():
        by_band, by_channel = frames(features), maps(features)
    torch.testing.assert_close(by_channel.view(2, 8, 8, 9), by_band.view(2, 8, 8, 9).transpose(1, 2))


def test_frames_beyond_a_multiple_of_the_time_strides_are_left_out():
    model = build("--model", "ReDimNet", *redimnet(**REDIMNET2).split()).model.eval()
    features = torch.randn(2, 16, 23)
    with torch.no_grad():
        torch.testing.assert_close(model(features), model(features[:, :, :20]), rtol=0, atol=0)
        assert (model(features) - model(features[:, :, :19])).abs().max() > 1e-4


def test_group_norm_of_padded_frames():
    norm = FrameGroupNorm(2, 6)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    frames = torch.randn(2, 6, 7)
    normed = norm(frames, torch.arange(7) < torch.tensor([[7], [4]]))
    torch.testing.assert_close(normed[0], nn.functional.group_norm(frames[:1], 2, norm.weight, norm.bias)[0])
    torch.testing.assert_close(normed[1, :, :4], norm(frames[1:, :, :4])[0])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--architecture B7", r"expected B2, V2-B2, V2-B6, wespeaker-B2 or the JSON text .*, got 'B7'"),
        ('--architecture {"F":16}', r"has no C, block_1d_type, block_2d_type, group_divisor, stages_setup"),
        (redimnet(stem="wide", offset=1), r"a description of ReDimNet has no key offset, stem"),
        (redimnet(dual_agg=True), r"a description of ReDimNet has no key dual_agg"),
        (redimnet(C=0), r"C must be a whole number of at least 1, got 0"),
        (redimnet(C="4"), r'C must be a whole number of at least 1, got "4"'),
        (redimnet(block_1d_type="gru"), r'block_1d_type must be "att", "conv", "conv\+att", "fc", got "gru"'),
        (redimnet(block_2d_type="mlp"), r'block_2d_type must be "basic_resnet", .*, got "mlp"'),
        (redimnet(pooling_func="TSTP"), r'pooling_func must be "ASTP", got "TSTP"'),
        (redimnet(global_context_att=False), r"global_context_att must be true, got false"),
        (redimnet(**{**REDIMNET2, "causal": "full"}), r'causal must be "none", got "full"'),
        (redimnet(**{**REDIMNET2, "agg_gnorm": "C"}), r'agg_gnorm must be true, false or a number, got "C"'),
        (redimnet(**{**REDIMNET2, "agg_gnorm": 5}), r"agg_gnorm 5 doesn't divide the 64 values per frame"),
        (redimnet(stages_setup=[]), r"stages_setup must be a list of stages, got \[\]"),
        (redimnet(stages_setup=[[1, 2, 1]]), r"expected a stage .*, got \[1, 2, 1\]"),
        (redimnet(stages_setup=[[1, 1, 1, [[3, 4]], 4]]), r"odd kernel .*, got \[1, 1, 1, \[\[3, 4\]\], 4\]"),
        (
            redimnet(stages_setup=[[1, 1, 1, [[3, 3]], 4], [[1, 2], 1, 1, [[3, 3]], 4]]),
            r"either all strides of stages_setup are pairs, or none",
        ),
        (redimnet(stages_setup=[[3, 1, 1, [[3, 3]], 4]]), r"stage 0 has a stride of 3 over 16 bands"),
        (redimnet(group_divisor=3), r"group_divisor 3 doesn't divide the 8 channels of a stage"),
        (redimnet(stages_setup=[[1, 1, 1, [[3, 3]], 6]]), r"multiple of 4 channels, got 10"),
        (f"{redimnet()} --n_mels 40", r"--architecture needs 16 bands, got 40; set --n_mels 16"),
        (redimnet(embed_dim=256), r"has embed_dim 256, but --nOut is 192; set --nOut 256"),
    ],
)
def test_refused(words, message):
    with pytest.raises(ValueError, match=message):
        build("--model", "ReDimNet", *words.split())


def test_keys_of_the_front_end_and_the_training_may_be_there():
    parse_architecture(redimnet(hop_length=240, feat_type="pt", num_classes=None, embed_dim=192).split()[-1])
