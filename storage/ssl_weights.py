"""Folders of self-supervised networks as transformers writes them, which --features ssl starts from."""

import json
from pathlib import Path
from typing import Any

from torch import nn

CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
UNUSED = ("architectures", "dtype", "torch_dtype", "transformers_version")  # of the description


def ssl_options(folder: str) -> dict[str, str]:
    """--ssl_weights, or "" -> the option that describes the network in it, or none.

    Raises:
        FileNotFoundError, ValueError: a file is missing, or isn't JSON.
    """
    if not folder:
        return {}
    config = {name: value for name, value in _read(Path(folder, CONFIG)).items() if name not in UNUSED}
    config["do_normalize"] = _read(Path(folder, PREPROCESSOR)).get("do_normalize", True)
    return {"ssl_config": json.dumps(config, sort_keys=True, separators=(",", ":"))}


def load_ssl_weights(front_end: nn.Module, folder: str) -> None:
    """Copy the weights in a folder into the network of a front end that features/ssl.py has built.

    Raises:
        ValueError: they can't be read, or some are missing.
    """
    from transformers import AutoModel

    try:  # never code of the folder, never from the network
        source, report = AutoModel.from_pretrained(folder, local_files_only=True, output_loading_info=True)
    except Exception as error:  # whatever a damaged file leads to
        raise ValueError(f"--ssl_weights {folder}: {type(error).__name__}: {error}") from None
    if missing := sorted(report["missing_keys"]):
        raise ValueError(f"--ssl_weights {folder}: no weights for {missing[0]} and {len(missing) - 1} more")
    front_end.get_submodule("network").load_state_dict(source.state_dict())


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(
            f"--ssl_weights: {file}: no such file; expected a folder of transformers"
        ) from None
    except ValueError as error:
        raise ValueError(f"--ssl_weights: {file}: not JSON: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"--ssl_weights: {file}: expected a JSON object")
    return content
