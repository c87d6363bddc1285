"""Configuration files of toolkits beside a model file: which toolkit wrote it, what input it takes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

SAMPLE_RATE = 16_000  # Hz
FRAME_MS = {"frame_length": 25, "frame_shift": 10}
FRONT_ENDS = ("fbank", "tfmel")  # of wespeaker, that features/ has


def toolkit_beside(path: Path) -> str:
    """Model file -> the toolkit whose configuration file lies beside it; "" if none does.

    Raises:
        ValueError: the configuration is of a network for another input.
    """
    if speechbrain_config(path.with_name("hyperparams.yaml")):
        return "speechbrain"
    if rate := modelscope_rate(path.with_name("configuration.json")):
        if rate != SAMPLE_RATE:
            raise ValueError(f"{path}: configuration.json says {rate} Hz; networks here are for 16000 Hz")
        return "3dspeaker"
    return "wespeaker" if wespeaker_config(path.with_name("config.yaml")) else ""


def speechbrain_config(path: Path) -> bool:
    """hyperparams.yaml -> whether SpeechBrain reads it; it isn't plain YAML."""
    return path.is_file() and "speechbrain" in path.read_text(encoding="utf-8", errors="replace")


def modelscope_rate(path: Path) -> int:
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
    return rate if isinstance(rate, int) else SAMPLE_RATE


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


def wespeaker_front_end(path: Path) -> str:
    """Model file of wespeaker -> the front end that the config.yaml beside it names; "" if there is none.

    Raises:
        ValueError: the configuration asks for something that the front ends here don't do.
    """
    config = path.with_name("config.yaml")
    content = wespeaker_config(config)
    if not content:
        return ""
    data: Any = content.get("dataset_args") or {}
    front_end = str(data.get("frontend", "fbank"))
    if front_end not in FRONT_ENDS:
        raise ValueError(f"{config}: frontend {front_end}; expected one of {', '.join(FRONT_ENDS)}")
    rate = data.get("resample_rate", SAMPLE_RATE)
    if rate != SAMPLE_RATE:
        raise ValueError(f"{config}: resample_rate {rate}; networks here are for 16000 Hz")
    arguments = data.get("fbank_args") or {}
    for name, expected in FRAME_MS.items():
        if arguments.get(name, expected) != expected:
            raise ValueError(f"{config}: {name} {arguments[name]}; expected {expected} ms")
    return front_end


def _inside(content: Any, *keys: str) -> Any:
    """The value under a path of keys; None if it isn't there."""
    for key in keys:
        content = content.get(key) if isinstance(content, dict) else None
    return content
