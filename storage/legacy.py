"""Model files of older programs: recognises the program and its options, and renames the tensors.

Reads files of voxceleb_trainer, ECAPA-TDNN, RawNet and DeepSpeaker-pytorch.
"""

import re
from typing import Any

import torch
from torch import Tensor

from storage.renaming import renamed

TRUNK_RULES = [  # for tensors outside the loss
    (r"(torchfb|torchfbank|preprocess)\.0\.flipped_filter", ""),  # its value becomes --pre_emphasis
    (r"(torchfb|torchfbank)\.(1\.)?", "features.mel."),
    (r"preprocess\.1\.", "features.norm."),
    (r"conv1\.filterbank\.(low_hz|band_hz|window)_", r"features.\1"),
    (r"conv1\.filterbank\.n_", "features.radians"),
    (r"sap_linear\.", "model.pooling.attention.linear."),
    (r"attention$", "model.pooling.attention.vector"),
    (r"attention\.", "model.pooling.attention.layers."),
    ("", "model."),
]
RAWNET3_RULES = [(r"bn[16]\.", ""), *TRUNK_RULES]  # two norms that it has but never uses
DEEPSPEAKER_RULES = [
    *((rf"conv{stage}\.", f"model.stages.{stage - 1}.conv.") for stage in (1, 2, 3, 4)),
    *((rf"bn{stage}\.", f"model.stages.{stage - 1}.bn.") for stage in (1, 2, 3, 4)),
    *((rf"layer{stage}\.0\.", f"model.stages.{stage - 1}.block.") for stage in (1, 2, 3, 4)),
    ("", "model."),
]
TRUNK_PREFIXES = ("__S__.", "speaker_encoder.")
LOSS_PREFIXES = ("__L__.", "speaker_loss.")


def from_older(content: dict[str, Any], path: str) -> tuple[dict[str, Tensor], dict[str, Any], str]:
    """An older file, recognised by its contents -> weights by today's names, options, origin."""
    system, tensors = _unwrap(content)
    if not tensors or not all(isinstance(k, str) and isinstance(t, Tensor) for k, t in tensors.items()):
        raise ValueError(
            f"{path}: neither a model file of this trainer nor of voxceleb_trainer, ECAPA-TDNN, RawNet or "
            "DeepSpeaker-pytorch"
        )
    trunk, loss = _split(tensors)
    if system == "DeepSpeaker-pytorch":
        trunk = {k.removeprefix("model."): _frequency_first(t) for k, t in trunk.items()}
        for name in ("weight", "bias"):
            if f"classifier.{name}" in trunk:
                loss[f"fc.{name}"] = trunk.pop(f"classifier.{name}")
    if "W" in loss:
        loss["weight"] = loss.pop("W").T.contiguous()
    options = _recognise(trunk)
    model = options.get("model", "")
    rules = {"RawNet3": RAWNET3_RULES, "DeepSpeaker": DEEPSPEAKER_RULES}.get(model, TRUNK_RULES)
    weights = renamed(trunk, rules)
    shown = ", ".join(f"{key} {value}" for key, value in options.items()) or "no options"
    if model == "VGGVox" and "encoder_type" not in options:
        shown += "; its pooling is TAP or MAX (--encoder_type)"
    weights |= {f"loss.{name}": tensor for name, tensor in loss.items()}
    return weights, options, f"a file of {system}; it shows: {shown}"


def _split(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Tensors by name -> those of front end and encoder, those of the loss, without their prefixes."""
    trunk, loss = {}, {}
    for name, tensor in tensors.items():
        bare = name.removeprefix("module.")
        if bare.startswith(LOSS_PREFIXES):
            loss[bare.partition(".")[2]] = tensor
        elif bare.startswith(TRUNK_PREFIXES):
            trunk[bare.partition(".")[2]] = tensor
        else:
            trunk[bare] = tensor
    return trunk, loss


def _unwrap(content: dict[str, Any]) -> tuple[str, dict[str, Tensor]]:
    """Contents of an older file -> the program that writes such files, its tensors by name."""
    if isinstance(content.get("model_state_dict"), dict):
        return "voxceleb_trainer (2026)", content["model_state_dict"]
    if isinstance(content.get("state_dict"), dict):
        known = any("model.conv4.weight" in str(name) for name in content["state_dict"])
        return "DeepSpeaker-pytorch" if known else "an unknown program", content["state_dict"]
    if isinstance(content.get("model"), dict):
        return "RawNet", content["model"]
    tao = any(str(name).removeprefix("module.").startswith("speaker_encoder.") for name in content)
    return "ECAPA-TDNN" if tao else "voxceleb_trainer", content


def _frequency_first(tensor: Tensor) -> Tensor:
    """DeepSpeaker-pytorch's maps are (time, frequency), those here (frequency, time)."""
    return tensor.transpose(2, 3).contiguous() if tensor.ndim == 4 else tensor


def _recognise(trunk: dict[str, Tensor]) -> dict[str, Any]:
    """Tensors by their old names -> the options that follow from them; none if the model isn't known."""
    try:
        return _options_shown_by(trunk)
    except (KeyError, IndexError):  # a tensor that every file of the model has is absent or of another rank
        return {}


def _options_shown_by(trunk: dict[str, Tensor]) -> dict[str, Any]:
    shapes = {name: tuple(tensor.shape) for name, tensor in trunk.items()}
    options = _recognise_model(shapes)
    if not options:
        return {}
    last = shapes.get("fc6.weight") or shapes.get("fc.weight")
    if last:
        options["nOut"] = last[0]
        options |= _recognise_pooling(shapes, last[1])
    for name, tensor in trunk.items():
        if name.endswith("mel_scale.fb"):
            options |= {"n_mels": tensor.shape[1], "pre_emphasis": options.get("pre_emphasis", 0.0)}
        elif name.endswith("flipped_filter") and name.startswith("torchfb"):
            options["pre_emphasis"] = -round(tensor.flatten()[0].item(), 4)
        elif name.endswith("spectrogram.window"):
            for kind, make in (("hann", torch.hann_window), ("hamming", torch.hamming_window)):
                if torch.allclose(tensor, make(len(tensor)), atol=1e-5):
                    options["window"] = kind
    return options


def _recognise_model(shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    if "conv1.filterbank.low_hz_" in shapes:
        return {"model": "RawNet3", "channels": shapes["layer1.conv1.weight"][0]}
    if "layer1.se.se.1.weight" in shapes:
        return {"model": "ECAPA", "channels": shapes["conv1.weight"][0]}
    if "netcnn.0.weight" in shapes:
        return {"model": "VGGVox"}
    stem = shapes.get("conv1.weight")
    if stem == (64, 1, 5, 5) and "conv4.weight" in shapes:
        return {"model": "DeepSpeaker"}
    if "layer1.0.se.fc.0.weight" not in shapes:
        return {}
    if "conv1.bias" in shapes:
        return {"model": "ResNetSE34V2"}
    if not any(name.startswith("torchfb") for name in shapes):
        return {}  # ResNetSE34, or another one without its front end: the shapes are the same
    return {"model": "ResNetSE34Half" if stem == (32, 1, 7, 7) else "ResNetSE34L"}


def _recognise_pooling(shapes: dict[str, tuple[int, ...]], pooled: int) -> dict[str, str]:
    """Shapes, size of what the pooling gives -> its name where the tensors show it."""
    if "attention" in shapes:  # one weight a frame
        return {"encoder_type": "SAP" if pooled == shapes["attention"][0] else "ASP"}
    outputs = [shape[0] for name, shape in shapes.items() if re.fullmatch(r"attention\.[34]\.weight", name)]
    if not outputs:
        return {}
    if "fc6.weight" in shapes:  # with the utterance's context
        return {"encoder_type": "ASP" if outputs[0] == 1 else "ECA"}
    return {"encoder_type": "SAP" if pooled == outputs[0] else "ASP"}
