"""Imports torchaudio's MelSpectrogram, also where torchaudio's compiled extension doesn't load.

torchaudio 2.11.0 is its last release. Its extension loads only with the CUDA build of torch that it was
compiled for, and raises OSError or RuntimeError with others. MelSpectrogram doesn't need it.
"""

import importlib
import sys
from types import ModuleType


def _unavailable(*_: object, **__: object) -> None:
    raise RuntimeError("torchaudio's compiled extension doesn't load with this build of torch")


def _without_extension() -> ModuleType:
    """Import torchaudio with a stand-in for its extension that reports itself as unavailable."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchaudio"]:
        del sys.modules[name]
    extension = ModuleType("torchaudio._extension")
    extension._IS_TORCHAUDIO_EXT_AVAILABLE = False  # type: ignore[attr-defined]
    extension._IS_ALIGN_AVAILABLE = False  # type: ignore[attr-defined]
    extension._check_cuda_version = lambda: None  # type: ignore[attr-defined]
    extension.fail_if_no_align = lambda function: _unavailable  # type: ignore[attr-defined]
    sys.modules[extension.__name__] = extension
    return importlib.import_module("torchaudio")


try:
    torchaudio: ModuleType = importlib.import_module("torchaudio")
except (OSError, RuntimeError):
    torchaudio = _without_extension()

MelSpectrogram = importlib.import_module("torchaudio.transforms").MelSpectrogram
