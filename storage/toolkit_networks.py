"""The networks that toolkits publish: how their files are recognised and become those of models/."""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor

from storage.renaming import Rules

Tensors = Mapping[str, Tensor]
Options = dict[str, Any]

CAMPPLUS_BANDS = 8  # of the spectrum, that become one after the head of CAM++


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
    n_mels = tensors["xvector.tdnn.linear.weight"].shape[1] // channels * CAMPPLUS_BANDS
    size = len(tensors["xvector.dense.linear.weight"])
    return {"model": "CAMPPlus", "encoder_type": "TSTP", "nOut": size, "n_mels": n_mels}


def wespeaker_ecapa_options(tensors: Tensors, _: Mapping[str, Any]) -> Options:
    """ECAPA-TDNN of wespeaker; only that with global context has its pooling here."""
    channels, n_mels, _width = tensors["layer1.conv.weight"].shape
    size, pooled = tensors["linear.weight"].shape
    if tensors["pool.linear1.weight"].shape[1] != 3 * pooled // 2:
        raise ValueError("an ECAPA-TDNN without global context, which --model ECAPA doesn't have")
    sizes = {"channels": channels, "nOut": size, "n_mels": n_mels}
    return {"model": "ECAPA", "variant": "wespeaker", "encoder_type": "ECA"} | sizes


def speechbrain_ecapa_options(tensors: Tensors, _: Mapping[str, Any]) -> Options:
    """ECAPA-TDNN of SpeechBrain and 3D-Speaker."""
    channels, n_mels, _width = tensors["blocks.0.conv.conv.weight"].shape
    sizes = {"channels": channels, "nOut": len(tensors["fc.conv.weight"]), "n_mels": n_mels}
    return {"model": "ECAPA", "variant": "speechbrain", "encoder_type": "ECA"} | sizes


def ge2e_options(tensors: Tensors, _: Mapping[str, Any]) -> Options:
    """The d-vector network of Resemblyzer."""
    gates, n_mels = tensors["lstm.weight_ih_l0"].shape
    sizes = {"channels": gates // 4, "nOut": len(tensors["linear.weight"]), "n_mels": n_mels}
    return {"model": "GE2E", "encoder_type": "LAST"} | sizes


def count(tensors: Tensors, pattern: str) -> int:
    """How many tensors have a name of this pattern."""
    return sum(re.fullmatch(pattern, name) is not None for name in tensors)


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
    (r"pool\.linear1\.", "pooling.attention.layers.0."),
    (r"pool\.linear2\.", "pooling.attention.layers.2."),
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
ELSEWHERE = (  # networks that models/ doesn't have
    Network("ERes2Net", r"layer1\.0\.convs\.0\.weight"),
    Network("SimAM-ResNet", r"front\.layer1\.0\.conv1\.weight"),
    Network("ResNet of SpeechBrain", r"norm_stats\.(norm\.)?weight"),
    Network("x-vector network of SpeechBrain", r"blocks\.0\.conv\.weight"),
    Network("x-vector network of wespeaker", r"frame_1\.conv_1d\.weight"),
    Network("x-vector network of pyannote", r"sincnet\.conv1d\.0\.filterbank\.low_hz_"),
    Network("TitaNet of NeMo", r"encoder\.encoder\.0\.mconv\.0\.conv\.weight"),
    Network("w2v-BERT network", r"adapter_layers\.0\..*"),
)
NETWORKS: tuple[Network, ...] = (
    *ELSEWHERE,
    Network(
        "CAM++",
        r"xvector\.block1\.tdnnd1\.linear1\.weight",
        ("wespeaker", "3dspeaker"),
        options=campplus_options,
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
        "d-vector network",
        r"lstm\.weight_ih_l2",
        ("resemblyzer",),
        ((r"similarity_", ""),),
        options=ge2e_options,
    ),
)
