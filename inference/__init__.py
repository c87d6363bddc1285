"""Using trained models: `from inference import load` gives a voice that embeds, compares and identifies.

voices.py is the Python face, network_voice.py what it does by a network in PyTorch, exported/ what it does
without; thresholds.py has its decisions, and verbs/ are the subcommands of inferSpeakerNet.py.
audio_input.py and audio_files.py read what users give, extraction.py embeds many recordings, and
embedding_files.py writes the embeddings. speakers/ keeps enrolled speakers and decides who speaks, and
diarization/ finds who spoke when.
model_source.py finds what --initial_model names, fetch.py keeps the cache of the public models that
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
