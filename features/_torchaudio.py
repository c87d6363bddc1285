"""The one place that imports torchaudio.

torchaudio 2.11.0 is its last release. Its compiled extension only loads beside the CUDA build of
torch that it was made for (elsewhere: OSError or RuntimeError), yet nothing used here needs it.
"""

import importlib
import sys
from types import ModuleType


def _unavailable(*_: object, **__: object) -> None:
    raise RuntimeError("torchaudio's compiled extension is not available beside this torch")


def _without_extension() -> ModuleType:
    """Import torchaudio with an extension module that says it isn't there."""
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
