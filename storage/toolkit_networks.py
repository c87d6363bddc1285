"""The networks that toolkits publish: how their files are recognised and become those of models/."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor

from models.ResNet import COUNTS
from models.SimAMResNet import COUNTS as SIMAM_COUNTS
from storage.renaming import Rules

Tensors = Mapping[str, Tensor]
Options = dict[str, Any]

PT_FEATURES = ("pt", "pt_mel")  # of ReDimNet: torchaudio's mel spectrogram
TF_FEATURES = ("tf", "tf_mel")
NEMO_FRONT_END = {  # settings of slaneymel, by their names in NeMo
    "sample_rate": 16000,
    "window_size": 0.025,
    "window_stride": 0.01,
    "window": "hann",
    "n_fft": 512,
    "normalize": "per_feature",
}
HEAD_STRIDE = 8  # of CAM++, over bands


class Network(NamedTuple):
    """A network that some toolkits write files of."""

    name: str
    marker: str  # pattern of a tensor that all its files have, and those of no network after it
    systems: tuple[str, ...] = ()  # whose files it may be in
    rules: Rules = ()  # names in the file -> names in the model here
    # pattern of names here -> rank: a 1x1 convolution of one frame is a linear layer, so they can be swapped
    ranks: tuple[tuple[str, int], ...] = ()
    # tensors, contents of the file -> options; None: models/ has no such network
    options: Callable[[Tensors, Mapping[str, Any]], Options] | None = None


def campplus_options(tensors: Tensors, _: Mapping[str, Any]) -> Options:
    """CAM++: the embedding size and the bands follow from its shapes."""
    channels = len(tensors["head.conv1.weight"])
    n_mels = tensors["xvector.tdnn.linear.weight"].shape[1] // channels * HEAD_STRIDE
    size = len(tensors["xvector.dense.linear.weight"])
    return {"model": "CAMPPlus", "encoder_type": "TSTP", "nOut": size, "n_mels": n_mels}


def resnet_options(tensors: Tensors, _: Mapping[str, Any]) -> Options:
    """ResNet: its depth follows from the number and kind of blocks."""
    counts = tuple(count(tensors, rf"layer{stage}\.\d+\.conv1\.weight") for stage in (1, 2, 3, 4))
    last = 3 if "layer1.0.conv3.weight" in tensors else 2  # convolution of a block
    depths = [depth for depth, blocks in COUNTS.items() if blocks == counts and (depth >= 50) == (last == 3)]
    if not depths:
        raise ValueError(f"{counts} blocks in its stages, which --model ResNet doesn't have")
    if "pool.linear1.weight" in tensors or "seg_2.weight" in tensors:
        raise ValueError("attentive pooling or two embedding layers, which --model ResNet doesn't have")
    size, pooled = tensors["seg_1.weight"].shape
    bands = pooled // (2 * len(tensors[f"layer4.0.conv{last}.weight"]))
    return {"model": "ResNet", "depth": depths[0], "encoder_type": "TSTP", "nOut": size, "n_mels": 8 * bands}


def wespeaker_ecapa_options(tensors: Tensors, _: Mapping[str, Any]) -> Options:
    """ECAPA-TDNN of wespeaker; only that with global context has its pooling here."""
    channels, n_mels, _width = tensors["layer1.conv.weight"].shape
    size, pooled = tensors["linear.weight"].shape
    if tensors["pool.linear1.weight"].shape[1] != 3 * pooled // 2:
        raise ValueError("pooling without global context, which --model ECAPA doesn't have")
    sizes = {"channels": channels, "nOut": size, "n_mels": n_mels}
    return {"model": "ECAPA", "variant": "wespeaker", "encoder_type": "ECA"} | sizes


def speechbrain_ecapa_options(tensors: Tensors, _: Mapping[str, Any]) -> Options:
    """ECAPA-TDNN of SpeechBrain and 3D-Speaker."""
    channels, n_mels, _width = tensors["blocks.0.conv.conv.weight"].shape
    sizes = {"channels": channels, "nOut": len(tensors["fc.conv.weight"]), "n_mels": n_mels}
    return {"model": "ECAPA", "variant": "speechbrain", "encoder_type": "ECA"} | sizes


def redimnet_options(tensors: Tensors, content: Mapping[str, Any]) -> Options:
    """ReDimNet and ReDimNet2: the file describes the network and its front end."""
    config = content["model_config"]
    spectrum = dict(config.get("spec_params") or {})
    front_end = {"n_mels": config["F"], "f_min": 20.0, "f_max": 7600.0, "feature_norm": "mean"}
    front_end["hop_length"] = config.get("hop_length", 160)
    kind = config.get("feat_type", "pt")
    is_second = isinstance(config["stages_setup"][0][0], list)
    if "norm_signal" not in spectrum and (is_second or kind in TF_FEATURES):
        raise ValueError("its spec_params lack norm_signal, which decides the front end")
    is_normalised = bool(spectrum.get("norm_signal", False))
    is_emphasised = bool(spectrum.get("do_preemph", True))
    if kind in PT_FEATURES:
        emphasis = 0.97 if is_emphasised else 0.0
        front_end |= {"features": "logmel", "pre_emphasis": emphasis, "normalise_waveform": is_normalised}
    elif kind in TF_FEATURES and is_normalised and is_emphasised:
        front_end["features"] = "tfmel"
    else:
        raise ValueError(f"feat_type {kind} with spec_params {spectrum}, which features/ doesn't have")
    if spectrum.get("spec_norm", "mn") != "mn":
        raise ValueError(f"spec_norm {spectrum['spec_norm']}; expected mn, the mean subtracted")
    text = json.dumps(config, separators=(",", ":"))
    size = len(tensors["linear.weight"])
    return front_end | {"model": "ReDimNet", "architecture": text, "encoder_type": "ECA", "nOut": size}


def wespeaker_redimnet_options(tensors: Tensors, _: Mapping[str, Any]) -> Options:
    """ReDimNet of wespeaker, of which only B2 is known here."""
    channels = len(tensors["backbone.stem.0.weight"])
    outputs = count(tensors, r"backbone\.inputs_weights\.\d")
    if (channels, outputs) != (16, 7):
        raise ValueError("of wespeaker's sizes only B2 is supported")
    options = {"model": "ReDimNet", "architecture": "wespeaker-B2", "n_mels": 72}
    return options | {"encoder_type": "ECA", "nOut": len(tensors["seg_1.weight"])}


def wespeaker_redimnet2_options(tensors: Tensors, _: Mapping[str, Any]) -> Options:
    """ReDimNet2 of wespeaker, of which only B6 is published."""
    options = {"model": "ReDimNet", "architecture": "V2-B6", "features": "tfmel", "n_mels": 72}
    return options | {"encoder_type": "ECA", "nOut": len(tensors["linear.weight"])}


def xvector_options(tensors: Tensors, _: Mapping[str, Any]) -> Options:
    """The x-vector network of wespeaker; its embedding is that of the second layer after the pooling."""
    n_mels = tensors["frame_1.conv_1d.weight"].shape[1]
    return {
        "model": "XVector",
        "encoder_type": "TSTP",
        "nOut": len(tensors["seg_2.weight"]),
        "n_mels": n_mels,
    }


def simam_options(tensors: Tensors, _: Mapping[str, Any]) -> Options:
    """ResNet with SimAM: its depth follows from the number of blocks."""
    counts = tuple(count(tensors, rf"front\.layer{stage}\.\d+\.conv1\.weight") for stage in (1, 2, 3, 4))
    depths = [depth for depth, blocks in SIMAM_COUNTS.items() if blocks == counts]
    if not depths:
        raise ValueError(f"{counts} blocks in its stages, which --model SimAMResNet doesn't have")
    size, pooled = tensors["bottleneck.weight"].shape
    bands = pooled // (2 * len(tensors["front.layer4.0.conv2.weight"]))
    sizes = {"depth": depths[0], "nOut": size, "n_mels": 8 * bands}
    return {"model": "SimAMResNet", "encoder_type": "ASP"} | sizes


def eres2netv2_options(tensors: Tensors, _: Mapping[str, Any]) -> Options:
    """ERes2NetV2: widths and groups follow from the shapes of its first block."""
    if "seg_2.weight" in tensors:
        raise ValueError("two embedding layers, which --model ERes2NetV2 doesn't have")
    stem = len(tensors["conv1.weight"])
    sizes = {
        "base_width": len(tensors["layer1.0.convs.0.weight"]),
        "groups": count(tensors, r"layer1\.0\.convs\.\d+\.weight"),
        "expansion": len(tensors["layer1.0.conv3.weight"]) // stem,
    }
    size, pooled = tensors["seg_1.weight"].shape
    bands = pooled // (2 * len(tensors["layer4.0.conv3.weight"]))
    return {"model": "ERes2NetV2", "encoder_type": "TSTP", "nOut": size, "n_mels": 8 * bands} | sizes


def titanet_options(tensors: Tensors, content: Mapping[str, Any]) -> Options:
    """TitaNet of NeMo; the configuration in its archive must be that of the front end here."""
    channels, n_mels = tensors["encoder.encoder.0.mconv.1.conv.weight"].shape[:2]
    found = content.get("model_config", {}).get("preprocessor", {})
    for name, value in (NEMO_FRONT_END | {"features": n_mels}).items():
        if found.get(name, value) != value:
            raise ValueError(f"its preprocessor has {name} {found[name]}; expected {value}")
    size = len(tensors["decoder.emb_layers.0.1.weight"])
    sizes = {"channels": channels, "nOut": size, "n_mels": n_mels}
    return {"model": "TitaNet", "features": "slaneymel", "encoder_type": "ECA"} | sizes


def ge2e_options(tensors: Tensors, _: Mapping[str, Any]) -> Options:
    """The d-vector network of Resemblyzer."""
    gates, n_mels = tensors["lstm.weight_ih_l0"].shape
    sizes = {"channels": gates // 4, "nOut": len(tensors["linear.weight"]), "n_mels": n_mels}
    return {"model": "GE2E", "features": "linmel", "encoder_type": "LAST"} | sizes


def count(tensors: Tensors, pattern: str) -> int:
    """How many tensors have a name of this pattern."""
    return sum(re.fullmatch(pattern, name) is not None for name in tensors)


POOLING_RULES = (
    (r"pool\.linear1\.", "pooling.attention.layers.0."),
    (r"pool\.linear2\.", "pooling.attention.layers.2."),
)
REDIMNET_RULES = (
    (r"((frontend\.)?spec|cls_head)\.", ""),  # buffers of the front end, the loss
    (r"backbone\.stage0(_pre)?\.0\.w$", ""),  # weights of a single output are 1
    (r"backbone\.stage(\d+)_pre\.", r"backbone.stages.\1.pre."),
    (r"backbone\.stage(\d+)_1d\.", r"backbone.stages.\1.context."),
    (r"backbone\.stage(\d+)_up_2d\.", r"backbone.stages.\1.up_maps."),
    (r"backbone\.stage(\d+)_up_1d\.", r"backbone.stages.\1.up_context."),
    (r"backbone\.stage(\d+)\.", r"backbone.stages.\1."),
    (r"backbone\.fin_wght1d\.", "backbone.aggregation."),
    (r"backbone\.mfa\.", "backbone.head."),
    *POOLING_RULES,
)
WESPEAKER_REDIMNET_RULES = (  # of networks with six stages
    (r"backbone\.inputs_weights\.0$", ""),
    (r"backbone\.inputs_weights\.6$", "backbone.aggregation.w"),
    (r"backbone\.inputs_weights\.(\d+)$", r"backbone.stages.\1.0.w"),
    *((rf"backbone\.stage(\d+)\.{i}\.", rf"backbone.stages.\1.{i + 2}.") for i in range(16)),
    (r"seg_1\.", "linear."),
    *POOLING_RULES,
)
RESNET_RULES = (
    *((rf"layer{i}\.(\d+)\.shortcut\.", rf"stages.{i - 1}.\1.downsample.") for i in (1, 2, 3, 4)),
    *((rf"layer{i}\.", f"stages.{i - 1}.") for i in (1, 2, 3, 4)),
    (r"seg_1\.", "head."),
)
WESPEAKER_ECAPA_RULES = (
    (r"layer1\.(conv|bn)\.", r"\g<1>1."),
    *(
        (rf"layer{block + 1}\.se_res2block\.{theirs}", f"layer{block}.{ours}")
        for block in (1, 2, 3)
        for theirs, ours in (
            (r"0\.(conv|bn)\.", r"\g<1>1."),
            (r"1\.(convs|bns)\.", r"\1."),
            (r"2\.(conv|bn)\.", r"\g<1>3."),
            (r"3\.linear1\.", "se.se.1."),
            (r"3\.linear2\.", "se.se.3."),
        )
    ),
    (r"conv\.", "layer4."),
    *POOLING_RULES,
    (r"bn\.", "bn5."),
    (r"linear\.", "fc6."),
)
SPEECHBRAIN_ECAPA_RULES = (
    (r"blocks\.0\.conv\.conv\.", "conv1."),
    (r"blocks\.0\.norm\.norm\.", "bn1."),
    (r"blocks\.(\d)\.tdnn1\.conv\.conv\.", r"layer\1.conv1."),
    (r"blocks\.(\d)\.tdnn1\.norm\.norm\.", r"layer\1.bn1."),
    (r"blocks\.(\d)\.res2net_block\.blocks\.(\d)\.conv\.conv\.", r"layer\1.convs.\2."),
    (r"blocks\.(\d)\.res2net_block\.blocks\.(\d)\.norm\.norm\.", r"layer\1.bns.\2."),
    (r"blocks\.(\d)\.tdnn2\.conv\.conv\.", r"layer\1.conv3."),
    (r"blocks\.(\d)\.tdnn2\.norm\.norm\.", r"layer\1.bn3."),
    (r"blocks\.(\d)\.se_block\.conv1\.conv\.", r"layer\1.se.se.1."),
    (r"blocks\.(\d)\.se_block\.conv2\.conv\.", r"layer\1.se.se.3."),
    (r"mfa\.conv\.conv\.", "layer4."),
    (r"mfa\.norm\.norm\.", "bn4."),
    (r"asp\.tdnn\.conv\.conv\.", "pooling.attention.layers.0."),
    (r"asp\.tdnn\.norm\.norm\.", "pooling.attention.layers.2."),
    (r"asp\.conv\.conv\.", "pooling.attention.layers.4."),
    (r"asp_bn\.norm\.", "bn5."),
    (r"fc\.conv\.", "fc6."),
)
XVECTOR_RULES = tuple(
    (rf"frame_{i}\.{theirs}\.", f"frames.{i - 1}.{ours}.")
    for i in range(1, 6)
    for theirs, ours in (("conv_1d", "conv"), ("bn", "bn"))
)
SIMAM_RULES = (
    *((rf"front\.layer{i}\.", f"stages.{i - 1}.") for i in (1, 2, 3, 4)),
    (r"front\.(conv1|bn1)\.", r"\1."),
    (r"pooling\.attention\.", "poolings.0.attention.layers."),
    (r"bottleneck\.", "head."),
)
TITANET_RULES = (
    (r"(preprocessor|decoder\.final|loss|eval_loss)\.", ""),
    *(
        (rf"encoder\.encoder\.(\d)\.mconv\.{5 * layer + i}\.(conv\.)?", rf"blocks.\1.layers.{layer}.{part}.")
        for layer in range(3)
        for i, part in enumerate(("depthwise", "pointwise", "norm"))
    ),
    (r"encoder\.encoder\.(\d)\.mconv\.(3|13)\.fc\.", r"blocks.\1.gate.fc."),
    (r"encoder\.encoder\.(\d)\.res\.0\.(\d)\.(conv\.)?", r"blocks.\1.shortcut.\2."),
    (r"decoder\._pooling\.attention_layer\.0\.conv_layer\.", "pooling.attention.layers.0."),
    (r"decoder\._pooling\.attention_layer\.0\.bn\.", "pooling.attention.layers.2."),
    (r"decoder\._pooling\.attention_layer\.2\.", "pooling.attention.layers.4."),
    (r"decoder\.emb_layers\.0\.0\.", "norm."),
    (r"decoder\.emb_layers\.0\.1\.", "embedding."),
)
ELSEWHERE = (  # networks that models/ doesn't have
    Network("ERes2Net", r"layer1\.0\.convs\.0\.weight"),
    Network("ResNet of SpeechBrain", r"norm_stats\.(norm\.)?weight"),
    Network("x-vector network of SpeechBrain", r"blocks\.0\.conv\.weight"),
    Network("x-vector network of pyannote", r"sincnet\.conv1d\.0\.filterbank\.low_hz_"),
    Network("ECAPA-TDNN of NeMo", r"encoder\.layers\.0\.conv_layer\.weight"),
    Network("w2v-BERT network", r"adapter_layers\.0\..*"),
)
NETWORKS: tuple[Network, ...] = (
    Network(
        "ERes2NetV2",
        r"layer3_ds\.weight",
        ("3dspeaker",),
        ((r"(layer\d\.\d+)\.shortcut\.", r"\1.downsample."),),
        options=eres2netv2_options,
    ),
    *ELSEWHERE,
    Network(
        "SimAM-ResNet",
        r"front\.layer1\.0\.conv1\.weight",
        ("wespeaker", "voxblink2"),
        SIMAM_RULES,
        options=simam_options,
    ),
    Network(
        "x-vector network",
        r"frame_1\.conv_1d\.weight",
        ("wespeaker",),
        XVECTOR_RULES,
        options=xvector_options,
    ),
    Network(
        "CAM++",
        r"xvector\.block1\.tdnnd1\.linear1\.weight",
        ("wespeaker", "3dspeaker"),
        ((r"head\.(layer\d\.\d)\.shortcut\.", r"head.\1.downsample."),),
        options=campplus_options,
    ),
    Network(
        "ReDimNet",
        r"backbone\.inputs_weights\.0",
        ("wespeaker",),
        WESPEAKER_REDIMNET_RULES,
        options=wespeaker_redimnet_options,
    ),
    Network(
        "ReDimNet",
        r"spec\.torchfbank\..*",
        ("redimnet",),
        REDIMNET_RULES,
        options=redimnet_options,
    ),
    Network(
        "ReDimNet2",
        r"backbone\.stem\.0\.weight",
        ("wespeaker",),
        REDIMNET_RULES,
        options=wespeaker_redimnet2_options,
    ),
    Network(
        "ResNet",
        r"seg_1\.weight",  # of networks after ReDimNet
        ("wespeaker", "3dspeaker"),
        RESNET_RULES,
        options=resnet_options,
    ),
    Network(
        "ECAPA-TDNN",
        r"layer2\.se_res2block\.0\.conv\.weight",
        ("wespeaker",),
        WESPEAKER_ECAPA_RULES,
        ((r"layer\d\.se\.se\.\d\.weight", 3),),
        wespeaker_ecapa_options,
    ),
    Network(
        "ECAPA-TDNN",
        r"blocks\.1\.res2net_block\.blocks\.0\.conv\.conv\.weight",
        ("speechbrain", "3dspeaker"),
        SPEECHBRAIN_ECAPA_RULES,
        ((r"fc6\.weight", 2),),
        speechbrain_ecapa_options,
    ),
    Network(
        "TitaNet",
        r"decoder\._pooling\.attention_layer\.0\.conv_layer\.weight",
        ("nemo",),
        TITANET_RULES,
        ((r"embedding\.weight", 2),),
        titanet_options,
    ),
    Network(
        "d-vector network",
        r"lstm\.weight_ih_l2",
        ("resemblyzer",),
        ((r"similarity_", ""),),
        options=ge2e_options,
    ),
)
