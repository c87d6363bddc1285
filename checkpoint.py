"""Model files and training states, older formats too: the only file that calls torch.load."""

import argparse
import hashlib
import pickle
import re
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import options
from files import written_whole

MODEL_FORMAT, STATE_FORMAT = "speakernet-model-1", "speakernet-state-2"
COHORT_FORMAT = "speakernet-cohort-1"


class ModelFile(NamedTuple):
    """Everything that a trained network needs to be used alone."""

    weights: dict[str, Tensor]
    options: dict[str, Any]  # resolved; decide the network and how it is scored
    speakers: list[str]
    normalize: bool  # whether `distance` scoring length-normalises
    metrics: dict[str, float]
    origin: str = ""  # of a file of another program: which program, and what the file tells
    cohort: dict[str, Any] | None = None  # what scores are normalised by, as save_cohort takes it
    decision: dict[str, Any] | None = None  # threshold, calibration and the options that they are for

    def network_options(self) -> dict[str, Any]:
        """What the file says of its network: all that decides it, or what an older file shows."""
        if self.origin:
            return self.options
        return options.network_options(argparse.Namespace(**self.options))


def save_model(path: Path, model: ModelFile) -> None:
    """Write a model file, whole or not at all."""
    _save(path, {"format": MODEL_FORMAT, **model._asdict()})


def load_model(path: str) -> ModelFile:
    """Model file -> its contents, on the CPU.

    Raises:
        FileNotFoundError, ValueError: absent, damaged, with code inside, or of another kind.
    """
    content = _load(Path(path), "or not a model file")
    if str(content.get("format")).startswith("speakernet-state-"):
        raise ValueError(f"{path}: a training state, not a model; models lie in the folder model/")
    if content.get("format") != MODEL_FORMAT:
        return _from_older(content, path)
    if not content.keys() >= set(ModelFile._fields) - ModelFile._field_defaults.keys():
        raise ValueError(f"{path}: damaged: it lacks parts of a model file")
    return ModelFile(**{name: content[name] for name in ModelFile._fields if name in content})


def digest(weights: dict[str, Tensor]) -> str:
    """A hash of weights and their names."""
    made = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        made.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return made.hexdigest()


def save_cohort(path: Path, cohort: dict[str, Any]) -> None:
    """Write what embedding.Cohort holds, whole or not at all."""
    _save(path, {"format": COHORT_FORMAT, **cohort})


def load_cohort(path: str) -> dict[str, Any]:
    """Cohort file -> what save_cohort was given."""
    content = _load(Path(path), "make it anew with --prepare")
    if content.pop("format", None) != COHORT_FORMAT:
        raise ValueError(f"--cohort {path}: not a cohort, as --prepare makes it")
    return content


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a training state; the one before is kept beside it."""
    new = path.with_name(f"{path.name}.new")
    _save(new, {"format": STATE_FORMAT, **state})
    if path.exists():
        path.replace(before(path))
    new.replace(path)


def before(path: Path) -> Path:
    """State file -> the file of the state before it."""
    return path.with_name(f"{path.name}.before")


def load_last_state(path: Path) -> tuple[dict[str, Any] | None, str]:
    """State file -> the newest whole state, None if there is none, and why it isn't the file's own.

    Raises:
        ValueError: neither the state nor the one before it is whole.
    """
    if not path.exists() and not before(path).exists():
        return None, ""
    try:
        return load_state(path), ""
    except (ValueError, FileNotFoundError) as error:
        if not before(path).exists():
            raise
        return load_state(before(path)), f"{error}; going on from {before(path)}"


def load_state(path: Path) -> dict[str, Any]:
    """State file -> what save_state was given."""
    content = _load(path, "delete it to start anew")
    kind = content.pop("format", None)
    if kind != STATE_FORMAT:
        if str(kind).startswith("speakernet-state-"):
            raise ValueError(f"{path} was written by another version; give another --save_path")
        raise ValueError(f"{path}: not a training state of this trainer")
    return content


def load_weights(
    network: nn.Module, weights: dict[str, Tensor], source: str, allow_partial: bool = False
) -> str:
    """Copy weights by name, all of them or nothing; with allow_partial those that fit -> what doesn't.

    Buffers of the front end follow from the options; where the file has none, those stand.

    Raises:
        ValueError: lists what is missing, what is unexpected and what has another shape; or nothing fits.
    """
    own = network.state_dict()
    derived = {name for name, _ in network.named_buffers() if name.startswith("features.")}
    wrong = [f"missing {name}" for name in own if name not in weights and name not in derived]
    wrong += [f"unexpected {name}" for name in weights if name not in own]
    wrong += [
        f"{name} is {tuple(weights[name].shape)}, not {tuple(tensor.shape)}"
        for name, tensor in own.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    fitting = {k: t for k, t in weights.items() if k in own and t.shape == own[k].shape}
    more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
    misfits = "; ".join(wrong[:5]) + more
    if wrong and not (allow_partial and split_loss(fitting)[0]):
        raise ValueError(f"{source} doesn't fit the network: {misfits}")
    network.load_state_dict(own | fitting)
    return misfits


def split_loss(weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights by name -> those of front end and encoder, those of the loss."""
    loss = {name: tensor for name, tensor in weights.items() if name.startswith("loss.")}
    return {name: tensor for name, tensor in weights.items() if name not in loss}, loss


def keep_classes(weights: dict[str, Tensor], classes: int, kept: int) -> dict[str, Tensor]:
    """Weights of a loss over so many classes -> the same over the first of them."""
    if kept == classes:
        return weights
    loss = split_loss(weights)[1]
    per_class = {name for name, tensor in loss.items() if tensor.ndim and len(tensor) == classes}
    return {name: tensor[:kept].clone() if name in per_class else tensor for name, tensor in weights.items()}


def _save(path: Path, content: dict[str, Any]) -> None:
    try:
        with written_whole(path) as stream:
            torch.save(content, stream)
    except RuntimeError as error:  # how torch's zip writer reports a failed write
        if "DataLoader worker" in f"{error} {error.__context__}":
            raise error.__context__ or error from None  # its death is told wherever the main process is
        raise OSError(f"{path} could not be written: {str(error).splitlines()[0]}") from None


def _load(path: Path, advice: str) -> dict[str, Any]:
    try:
        stream = path.open("rb")
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    with stream:
        try:
            content = torch.load(stream, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            if "GLOBAL" not in str(error):
                raise ValueError(f"{path}: damaged, {advice}") from None
            raise ValueError(  # a class or function that is no plain tensor's
                f"{path}: refused: it holds Python objects other than weights, which could run code"
            ) from None
        except Exception:  # a damaged file can fail anywhere in the unpickler
            raise ValueError(f"{path}: damaged, {advice}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: damaged, {advice}")
    return content


# Older formats. Names of a trunk's tensors there -> names here; the first rule that matches counts, and one
# without a new name drops the tensor.
TRUNK_RULES = [
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
PREFIXES = {
    "__S__.": False,
    "speaker_encoder.": False,
    "__L__.": True,
    "speaker_loss.": True,
}  # True: the loss


def _from_older(content: dict[str, Any], path: str) -> ModelFile:
    """A file of one of the ancestors, recognised by its contents -> model file with the names used here."""
    system, tensors = _unwrap(content)
    if not tensors or not all(isinstance(k, str) and isinstance(t, Tensor) for k, t in tensors.items()):
        raise ValueError(
            f"{path}: neither a model file of this trainer nor of voxceleb_trainer, ECAPA-TDNN, RawNet or "
            "DeepSpeaker-pytorch"
        )
    trunk, loss = dict[str, Tensor](), dict[str, Tensor]()
    for name, tensor in tensors.items():
        bare = name.removeprefix("module.")
        prefix = next((p for p in PREFIXES if bare.startswith(p)), "")
        (loss if prefix and PREFIXES[prefix] else trunk)[bare.removeprefix(prefix)] = tensor
    if system == "DeepSpeaker-pytorch":
        trunk = {k.removeprefix("model."): _frequency_first(t) for k, t in trunk.items()}
        loss = {
            f"fc.{k}": trunk.pop(f"classifier.{k}") for k in ("weight", "bias") if f"classifier.{k}" in trunk
        }
    if "W" in loss:
        loss["weight"] = loss.pop("W").T.contiguous()
    found = _recognise(trunk)
    rules = {"RawNet3": RAWNET3_RULES, "DeepSpeaker": DEEPSPEAKER_RULES}.get(
        found.get("model", ""), TRUNK_RULES
    )
    renamed = {_rename(name, rules): tensor for name, tensor in trunk.items()}
    renamed.pop("", None)
    told = ", ".join(f"{key} {value}" for key, value in found.items())
    if found.get("model") == "VGGVox" and "encoder_type" not in found:
        told += "; its pooling is TAP or MAX (--encoder_type)"
    weights = renamed | {f"loss.{name}": tensor for name, tensor in loss.items()}
    return ModelFile(weights, found, [], True, {}, f"a file of {system}; it tells: {told or 'no options'}")


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


def _rename(name: str, rules: list[tuple[str, str]]) -> str:
    for pattern, replacement in rules:
        if match := re.match(pattern, name):
            return match.expand(replacement) + name[match.end() :] if replacement else ""
    raise AssertionError(name)  # the last rule matches everything


def _recognise(trunk: dict[str, Tensor]) -> dict[str, Any]:
    """Tensors by their old names -> the options that they show; none if the model isn't known."""
    try:
        return _told_by(trunk)
    except (KeyError, IndexError):  # a tensor that every file of the model has is absent or of another rank
        return {}


def _told_by(trunk: dict[str, Tensor]) -> dict[str, Any]:
    shapes = {name: tuple(tensor.shape) for name, tensor in trunk.items()}
    found = _recognise_model(shapes)
    if not found:
        return {}
    last = shapes.get("fc6.weight") or shapes.get("fc.weight")
    if last:
        found["nOut"] = last[0]
        found |= _recognise_pooling(shapes, last[1])
    for name, tensor in trunk.items():
        if name.endswith("mel_scale.fb"):
            found |= {"n_mels": tensor.shape[1], "pre_emphasis": found.get("pre_emphasis", 0.0)}
        elif name.endswith("flipped_filter") and name.startswith("torchfb"):
            found["pre_emphasis"] = -round(tensor.flatten()[0].item(), 4)
        elif name.endswith("spectrogram.window"):
            for kind, make in (("hann", torch.hann_window), ("hamming", torch.hamming_window)):
                if torch.allclose(tensor, make(len(tensor)), atol=1e-5):
                    found["window"] = kind
    return found


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
