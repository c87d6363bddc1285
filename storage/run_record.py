"""run.json: what is needed to do the same run again."""

import json
import platform
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import distributed
from storage.files import write_text
from storage.run_folder import RunFolder
from storage.run_log import now

PACKAGES = ("torch", "torchaudio", "numpy", "scipy", "soundfile")


def describe_run(options: Mapping[str, Any], device: str) -> dict[str, Any]:
    """Resolved options, device -> the record of this run."""
    return {
        "time": now(),
        "command": sys.argv,
        "options": dict(options),
        "device": device,
        "git_commit": _git_commit(),
        "processes": distributed.world_size(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def write_run(folder: RunFolder, options: Mapping[str, Any], device: str) -> None:
    """Write run.json."""
    if distributed.is_first():
        text = json.dumps(describe_run(options, device), indent=2)
        write_text(folder.result / "run.json", text + "\n")


def read_run(folder: RunFolder) -> dict[str, Any]:
    """Contents of run.json; {} where it is missing or damaged."""
    path = folder.result / "run.json"
    with suppress(FileNotFoundError, ValueError):  # ValueError: neither UTF-8 nor JSON
        run = json.loads(path.read_text(encoding="utf-8"))
        return run if isinstance(run, dict) else {}
    return {}


def earlier_option(folder: RunFolder, name: str) -> Any:
    """An option of the run whose state is in the folder; None if there is no state."""
    if not folder.state.exists():
        return None
    options = read_run(folder).get("options")
    return options.get(name) if isinstance(options, dict) else None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """Commit of the running code, with "+changes" where it was edited since; None outside git."""
    try:
        commit = _git("rev-parse", "HEAD")
        return commit + ("+changes" if _git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*words: str) -> str:
    command = ["git", "-C", str(Path(__file__).parent), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
