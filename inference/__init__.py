"""Using trained models: `from inference import load` gives a voice that embeds, compares and identifies.

voices.py is the Python face; verbs/ are the subcommands of inferSpeakerNet.py. database.py keeps enrolled
speakers, speaker_search.py ranks them, open_set.py and tuning.py decide, and identification.py joins these to
a voice. model_source.py finds what --initial_model names, fetch.py keeps the cache of the public models that
public_models.py lists, and conversion.py reads model files of other programs. Importing the package doesn't
import PyTorch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inference.voices import Voice, load

__all__ = ["Voice", "load"]


def __getattr__(name: str) -> Any:
    # PyTorch takes seconds to import, and most verbs' --help and the speaker database do without it
    if name in __all__:
        from inference import voices

        return getattr(voices, name)
    raise AttributeError(f"module {__name__} has no attribute {name}")
