"""Where the public models are kept that were fetched."""

import os
import sys
from pathlib import Path

CACHE = "SPEAKERNET_CACHE"  # environment variable


def cache_folder() -> Path:
    """The folder of SPEAKERNET_CACHE, or `speakernet` in the platform's folder for caches.

    Raises:
        ValueError: it would be in the user's home folder, which isn't known, as in some containers.
    """
    if given := os.environ.get(CACHE):
        return _in_home(given)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA", "") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME", "") or "~/.cache"
    return _in_home(base) / "speakernet"


def _in_home(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ValueError(
            f"{path}: the home folder is unknown; {CACHE} may name a folder for public models"
        ) from None


def cached(name: str) -> Path:
    """Name of a public model -> where its self-contained model file is, or will be."""
    return cache_folder() / f"{name}.model"
