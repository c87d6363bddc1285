"""Configuration files of toolkits beside a model file: which toolkit wrote it, what input it takes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

SAMPLE_RATE = 16_000  # Hz
FRONT_ENDS: dict[str, dict[str, Any]] = {  # of wespeaker, with the settings that features/ has
    "fbank": {"frame_length": 25, "frame_shift": 10},  # ms
    "tfmel": {
        "norm_signal": True,
        "do_preemph": True,
        "n_fft": 512,
        "win_length": 400,
        "hop_length": 160,
        "f_min": 20,
        "f_max": 7600,
    },
}
BANDS = {"fbank": "num_mel_bins", "tfmel": "n_mels"}  # names of the settings
UNSET = {"norm_signal": False}  # what a missing setting means, where it isn't the value above


def toolkits_beside(path: Path) -> list[str]:
    """Model file -> the toolkits whose configuration files lie beside it."""
    found = {
        "speechbrain": speechbrain_config(path.with_name("hyperparams.yaml")),
        "3dspeaker": modelscope_rate(path.with_name("configuration.json")),
        "wespeaker": wespeaker_config(path.with_name("config.yaml")),
    }
    return [name for name, config in found.items() if config]


def require_sample_rate(path: Path) -> None:
    """Raises ValueError if the configuration beside a model file of 3D-Speaker states another sample rate."""
    rate = modelscope_rate(path.with_name("configuration.json"))
    if rate not in (0, SAMPLE_RATE):
        raise ValueError(f"{path}: configuration.json says {rate} Hz; networks here are for 16000 Hz")


def speechbrain_config(path: Path) -> bool:
    """hyperparams.yaml -> whether SpeechBrain reads it; it isn't plain YAML."""
    return path.is_file() and "speechbrain" in path.read_text(encoding="utf-8", errors="replace")


def modelscope_rate(path: Path) -> Any:
    """configuration.json -> the sample rate of a speaker verifier of 3D-Speaker, Hz; 0 if it is of none."""
    if not path.is_file():
        return 0
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON: {error}") from None
    if not isinstance(content, dict) or content.get("task") != "speaker-verification":
        return 0
    rate = _inside(content, "model", "model_config", "sample_rate")
    return SAMPLE_RATE if rate is None else rate


def wespeaker_config(path: Path) -> Mapping[str, Any]:
    """config.yaml -> its contents if wespeaker wrote it, else nothing."""
    if not path.is_file():
        return {}
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        return {}  # another program's
    is_wespeakers = isinstance(content, dict) and {"model", "model_args"} <= content.keys()
    return content if is_wespeakers else {}


def wespeaker_projection(path: Path) -> str:
    """Model file of wespeaker -> the kind of its loss head, as the config.yaml beside it says; or ""."""
    return str(
        _inside(wespeaker_config(path.with_name("config.yaml")), "projection_args", "project_type") or ""
    )


def wespeaker_front_end(path: Path, n_mels: int) -> str:
    """Model file of wespeaker, its bands -> the front end that config.yaml beside it names; "" without one.

    Raises:
        ValueError: the configuration asks for something that the front ends here don't do.
    """
    config = path.with_name("config.yaml")
    content = wespeaker_config(config)
    if not content:
        return ""
    data = _inside(content, "dataset_args") or {}
    if not isinstance(data, dict):
        raise ValueError(f"{config}: dataset_args: expected lines of `name: value`, got {data!r}")
    front_end = str(data.get("frontend", "fbank"))
    if front_end not in FRONT_ENDS:
        raise ValueError(f"{config}: frontend {front_end}; expected one of {', '.join(FRONT_ENDS)}")
    rate = data.get("resample_rate", SAMPLE_RATE)
    if rate != SAMPLE_RATE:
        raise ValueError(f"{config}: resample_rate {rate}; networks here are for 16000 Hz")
    for name, expected in (FRONT_ENDS[front_end] | {BANDS[front_end]: n_mels}).items():
        value = _inside(data, f"{front_end}_args", name)
        value = UNSET.get(name, expected) if value is None else value
        if value != expected:
            raise ValueError(f"{config}: {name} {value}; expected {expected}")
    if front_end == "fbank" and not _subtracts_mean(data):
        raise ValueError(f"{config}: cmvn: expected the mean subtracted, and the variance left as it is")
    return front_end


def _subtracts_mean(data: Mapping[str, Any]) -> bool:
    """dataset_args of wespeaker -> whether features are normalised by their mean alone, as by default."""
    is_mean_kept = data.get("cmvn") is False or _inside(data, "cmvn_args", "norm_mean") is False
    return not is_mean_kept and not _inside(data, "cmvn_args", "norm_var")


def _inside(content: Any, *keys: str) -> Any:
    """The value under a path of keys; None if it isn't there."""
    for key in keys:
        content = content.get(key) if isinstance(content, dict) else None
    return content
