"""Error rates of voices on a list of trials, to compare an exported one with the original."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audio.named import NamedRecordings
from audio.trials import Trials, read_trials
from inference.audio_input import read_audio
from inference.exported.checks import Embed
from inference.speakers.prototypes import unit
from inference.voices import Voice
from metrics.figures import eer
from metrics.rates import error_rates


def labelled_trials(path: str, root: str) -> Trials:
    """Trial list, folder of its recordings -> trials; raises ValueError if they have no labels."""
    (trials,) = read_trials([path], NamedRecordings(root, "--test_path").known)
    if trials.labels is None:
        raise ValueError(
            f"--test_list {path}: an EER needs labels, lines of `1 enrol test` and `0 enrol test`"
        )
    return trials


def eer_of(voice: Voice, trials: Trials, root: str) -> float:
    """A voice, trials with labels, folder of the recordings -> EER; raises AudioError as `listen` does."""
    heard = [voice.listen(Path(root, name)) for name in trials.names]
    return _eer(trials, lambda enrol, test: voice.score(heard[enrol], heard[test]))


def eer_of_sherpa(extractor: Any, trials: Trials, root: str) -> float:
    """An extractor of sherpa-onnx, trials, folder -> EER of the cosines of whole recordings."""
    vectors = unit(np.stack([sherpa_embedding(extractor, Path(root, name)) for name in trials.names]))
    return _eer(trials, lambda enrol, test: float(vectors[enrol] @ vectors[test]))


def sherpa_extractor(path: Path) -> Any:
    """File for sherpa-onnx -> its extractor; raises ValueError if the package isn't installed."""
    try:
        sherpa_onnx = importlib.import_module("sherpa_onnx")
    except ImportError:
        raise ValueError("sherpa-onnx isn't installed: pip install sherpa-onnx") from None
    return sherpa_onnx.SpeakerEmbeddingExtractor(sherpa_onnx.SpeakerEmbeddingExtractorConfig(str(path)))


def sherpa_embedding(extractor: Any, path: Path) -> Any:
    """An extractor of sherpa-onnx, a recording -> embedding (D,) of all of it."""
    stream = extractor.create_stream()
    stream.accept_waveform(16_000, read_audio(path).waveform)
    stream.input_finished()
    return np.array(extractor.compute(stream), np.float32)


def sherpa_cosines(extractor: Any, embed: Embed, trials: Trials, root: str) -> NDArray[np.floating]:
    """An extractor, what embeds waveforms (B, T), trials, folder -> cosines (U,) of whole recordings."""
    paths = [Path(root, name) for name in trials.names]
    one = unit(np.stack([sherpa_embedding(extractor, path) for path in paths]))
    other = unit(np.stack([embed(read_audio(path).waveform[None])[0] for path in paths]))
    cosines: NDArray[np.floating] = (one * other).sum(axis=1)
    return cosines


def _eer(trials: Trials, score: Callable[[int, int], float]) -> float:
    assert trials.labels is not None
    scores = [score(enrol, test) for enrol, test in zip(trials.enrol, trials.test, strict=True)]
    return eer(error_rates(scores, trials.labels)).value
