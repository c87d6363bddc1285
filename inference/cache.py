"""Where the public models are kept that were fetched."""

import os
import sys
from pathlib import Path

CACHE = "SPEAKERNET_CACHE"  # environment variable


def cache_folder() -> Path:
    """The folder of SPEAKERNET_CACHE, or `speakernet` in the platform's folder for caches."""
    if given := os.environ.get(CACHE):
        return Path(given).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA", "") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME", "") or "~/.cache"
    return Path(base).expanduser() / "speakernet"


def cached(name: str) -> Path:
    """Name of a public model -> where its self-contained model file is, or will be."""
    return cache_folder() / f"{name}.model"
