"""Descriptions of ReDimNet and ReDimNet2: the `model_config` of the official files, checked and named."""

import json
from typing import Any, NamedTuple

WESPEAKER_B2 = {
    "F": 72,
    "C": 16,
    "block_1d_type": "conv+att",
    "block_2d_type": "convnext_like",
    "group_divisor": 4,
    "pooled_norm": False,
    "stages_setup": [
        [1, 2, 1, [[3, 3]], 12],
        [2, 2, 1, [[3, 3]], 12],
        [1, 3, 1, [[3, 3]], 12],
        [2, 4, 1, [[3, 3]], 8],
        [1, 4, 1, [[3, 3]], 8],
        [2, 4, 1, [[3, 3]], 4],
    ],
}
# With a stride of 3 in the fourth stage, tensors and values are as many as in the files that were released.
B2 = {
    **WESPEAKER_B2,
    "pooled_norm": True,
    "stages_setup": [
        [1, 2, 1, [[3, 3]], 12],
        [2, 2, 1, [[3, 3]], 12],
        [1, 3, 1, [[3, 3]], 12],
        [3, 4, 1, [[3, 3]], 8],
        [1, 4, 1, [[3, 3]], 8],
        [2, 4, 1, [[3, 3]], 4],
    ],
}
V2 = {"F": 72, "block_1d_type": "conv+att", "block_2d_type": "basic_resnet", "group_divisor": 1}
# Without a convolution before the pooling, as in the authors' recipe: wespeaker's port, which has one of 64
# channels, has 2.5 million parameters instead of the 3.6 million that are published.
V2_B2 = {
    **V2,
    "C": 20,
    "return_2d_output": True,
    "stages_setup": [
        [[1, 1], 2, 2, [[3, 5]], 40],
        [[2, 1], 3, 1, [[3, 5]], 30],
        [[1, 2], 4, 1, [[3, 5]], 30],
        [[3, 1], 5, 1, [[3, 5]], 20],
        [[1, 2], 4, 1, [[3, 7]], 20],
        [[2, 1], 3, 1, [[3, 7]], 10],
    ],
}
V2_B6 = {
    **V2,
    "C": 64,
    "out_channels": 224,
    "return_2d_output": True,
    "stages_setup": [
        [[1, 1], 3, 3, [[3, 3]], 64],
        [[2, 1], 4, 2, [[3, 3]], 64],
        [[1, 2], 5, 2, [[3, 3]], 48],
        [[2, 1], 5, 1, [[3, 3]], 48],
        [[1, 2], 4, 0.75, [[3, 3]], 32],
        [[2, 1], 3, 0.5, [[3, 3]], 24],
    ],
}
NAMED: dict[str, dict[str, Any]] = {
    "B2": B2,
    "V2-B2": V2_B2,
    "V2-B6": V2_B6,
    "wespeaker-B2": WESPEAKER_B2,
}

REQUIRED = ("F", "C", "block_1d_type", "block_2d_type", "group_divisor", "stages_setup")
SWITCH = (True, False)
SupportedValues = dict[str, tuple[Any, ...]]  # of keys that decide the network; the first one is the default
VALUES: SupportedValues = {
    "emb_bn": (False, True),
    "pooled_norm": SWITCH,  # not in official files, which always have this batch norm
    "pooling_func": ("ASTP",),
    "global_context_att": (True,),
    "tf_optimized_arch": (False,),
    "return_all_outputs": (False,),
}
SECOND_VERSION_VALUES: SupportedValues = {
    "compress_tconvs": SWITCH,
    "return_2d_output": (False, True),
    "dual_agg": (False, True),
    "causal": ("none",),
    "spec_in_channels": (1,),
    "fm_weigthing_type": ("NC",),
    "use_freq_pos_enc": (False,),
    "att_dos": (None, {}),
    "pad_right_samples": (None,),
    "before_pool_offset": (None,),
}
BLOCKS_1D = ("att", "conv", "conv+att", "fc")
BLOCKS_2D = ("basic_resnet", "basic_resnet_fwse", "convnext_like")
# of the front end, the training and the size of the embedding
OTHER_KEYS = {
    *("feat_type", "hop_length", "spec_params", "embed_dim"),
    *("num_classes", "class_dropout", "feat_agg_dropout", "head_activation"),
}


class Stage(NamedTuple):
    """An element of stages_setup."""

    band_stride: int
    time_stride: int
    blocks: int  # number of 2-D blocks
    expansion: float  # of the channels within the 2-D blocks
    kernels: list[tuple[int, int]]  # of a 2-D block, bands by frames
    reduction: int | None  # of the channels within the 1-D block; None: there is no 1-D block


class Architecture(NamedTuple):
    """A checked description."""

    second_version: bool
    bands: int
    channels: int
    block_1d: str
    block_2d: str
    group_divisor: int | None  # channels of a group in 2-D blocks; None: no groups
    stages: list[Stage]
    out_channels: int | None  # of the convolution before the pooling; None: there is no convolution
    norm_groups: int  # of the group norm of each aggregated output; 0: there is no norm
    grouped_strides: bool  # whether the convolutions with strides have groups
    pools_maps: bool  # whether the convolution before the pooling sees maps
    dual: bool  # whether the aggregation also sees the input of each 1-D block
    pooled_norm: bool  # whether a batch norm precedes the last linear layer
    embedding_norm: bool  # whether a batch norm follows it
    embedding_dim: int | None  # None: not said


def parse_architecture(text: str) -> Architecture:
    """A name in NAMED or the JSON text of a model_config -> checked description.

    Raises:
        ValueError: the name, a key or a value is unknown or not supported; the message names it.
    """
    config = NAMED[text] if text in NAMED else _parse_json(text)
    missing = [key for key in REQUIRED if key not in config]
    if missing:
        raise ValueError(f"--architecture: the description has no {', '.join(missing)}")
    stages = _parse_stages(config["stages_setup"])
    second_version = isinstance(config["stages_setup"][0][0], list)
    switches = _parse_values(config, second_version)
    channels = _check_count(config, "C")
    return Architecture(
        second_version=second_version,
        bands=_check_count(config, "F"),
        channels=channels,
        block_1d=_check_value("block_1d_type", config["block_1d_type"], BLOCKS_1D),
        block_2d=_check_value("block_2d_type", config["block_2d_type"], BLOCKS_2D),
        group_divisor=_check_count(config, "group_divisor", optional=True),
        stages=stages,
        out_channels=_check_count(config, "out_channels", optional=True),
        norm_groups=_parse_norm_groups(config.get("agg_gnorm", False), channels),
        grouped_strides=second_version and switches["compress_tconvs"],
        pools_maps=second_version and switches["return_2d_output"],
        dual=second_version and switches["dual_agg"],
        pooled_norm=switches["pooled_norm"],
        embedding_norm=switches["emb_bn"],
        embedding_dim=_check_count(config, "embed_dim", optional=True),
    )


def _parse_json(text: str) -> dict[str, Any]:
    try:
        config = json.loads(text)
    except json.JSONDecodeError:
        config = None
    if not isinstance(config, dict):
        raise ValueError(
            f"--architecture: expected {', '.join(NAMED)} or the JSON text of a model_config, "
            f"got {text[:60]!r}"
        )
    return config


def _parse_values(config: dict[str, Any], second_version: bool) -> dict[str, Any]:
    """Description -> values of the keys with few supported values; there must be no other keys."""
    supported = {**VALUES, **SECOND_VERSION_VALUES} if second_version else VALUES
    counts = {"out_channels", "agg_gnorm"} if second_version else {"out_channels"}
    unknown = sorted(config.keys() - {*REQUIRED, *supported, *counts, *OTHER_KEYS})
    if unknown:
        version = "ReDimNet2" if second_version else "ReDimNet"
        raise ValueError(f"--architecture: a description of {version} has no key {', '.join(unknown)}")
    return {key: _check_value(key, config.get(key, values[0]), values) for key, values in supported.items()}


def _check_value(key: str, value: Any, supported: tuple[Any, ...]) -> Any:
    if value not in supported:
        known = ", ".join(json.dumps(each) for each in supported)
        raise ValueError(f"--architecture: {key} must be {known}, got {json.dumps(value)}")
    return value


def _check_count(config: dict[str, Any], key: str, optional: bool = False) -> Any:
    value = config.get(key)
    if (value is None and optional) or (type(value) is int and value >= 1):
        return value
    raise ValueError(f"--architecture: {key} must be a whole number of at least 1, got {json.dumps(value)}")


def _parse_norm_groups(spec: Any, channels: int) -> int:
    """Value of agg_gnorm, where true stands for C groups -> number of groups, 0 without norm."""
    if spec is True:
        return channels
    if spec in (False, None) or type(spec) is int:
        return max(spec or 0, 0)
    raise ValueError(f"--architecture: agg_gnorm must be true, false or a number, got {json.dumps(spec)}")


def _parse_stages(setup: Any) -> list[Stage]:
    if not isinstance(setup, list) or not setup:
        raise ValueError(f"--architecture: stages_setup must be a list of stages, got {json.dumps(setup)}")
    stages = [_parse_stage(entry) for entry in setup]
    if len({isinstance(entry[0], list) for entry in setup}) > 1:
        raise ValueError("--architecture: either all strides of stages_setup are pairs, or none")
    return stages


def _parse_stage(entry: Any) -> Stage:
    try:
        stride, blocks, expansion, kernels, reduction = entry
        band_stride, time_stride = stride if isinstance(stride, list) else (stride, 1)
        kernels = [(int(bands), int(frames)) for bands, frames in kernels]
        counts = [band_stride, time_stride, blocks, 1 if reduction is None else reduction]
        valid = all(type(count) is int and count >= 1 for count in counts) and expansion > 0
        valid = valid and bool(kernels) and all(size % 2 for kernel in kernels for size in kernel)
    except (TypeError, ValueError):
        valid = False
    if not valid:
        raise ValueError(
            "--architecture: expected a stage [stride or [stride of bands, of frames], blocks, expansion, "
            f"[[odd kernel of bands, of frames], ...], reduction or null], got {json.dumps(entry)}"
        )
    if not isinstance(stride, list):
        kernels = [(3, 3)]  # the first version writes kernels but doesn't use them
    return Stage(band_stride, time_stride, blocks, expansion, kernels, reduction)
