"""Whether an exported network computes what the network does, how large it is and how fast."""

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from audio.recording import SAMPLE_RATE, SHORTEST
from inference.exported.onnx_file import HALF, INT8
from inference.speakers.prototypes import unit

Floats = NDArray[np.float32]
Embed = Callable[[Floats], Floats]  # inputs (B, ...) -> embeddings (B, D)
# Largest difference of a value of embeddings of unit length; 8 bits are only measured. Where a band holds
# nothing but rounding errors, the logarithm makes them visible, and an FFT has others than a convolution.
TOLERANCES = {"": 1e-4, HALF: 1e-2, INT8: 2.0}
EMPTY_BANDS_TOLERANCE = 2e-3
DURATIONS_S = (1.0, 3.0, 10.0)  # that are timed
REPETITIONS = 5
SEED = 21


class Agreement(NamedTuple):
    """How far embeddings of unit length differ at worst."""

    difference: float  # of a value
    cosine: float


def waveforms() -> list[Floats]:
    """Waveforms (B, T) of several lengths, loud and faint."""
    generator = np.random.default_rng(SEED)
    sizes = [(1, SHORTEST), (3, SAMPLE_RATE + 1), (1, 3 * SAMPLE_RATE - 7), (2, 10 * SAMPLE_RATE)]
    signals = [generator.normal(0.0, 0.1, size).astype(np.float32) for size in sizes]
    return [*signals, signals[2] * np.float32(1e-3)]


def with_empty_bands() -> list[Floats]:
    """Waveforms (B, T) with hardly any sound above 1 kHz, in 16 bits."""
    noise = np.random.default_rng(SEED).normal(0.0, 0.1, (3, SAMPLE_RATE + 1))
    smooth = np.apply_along_axis(np.convolve, 1, noise, np.hanning(64) / 32.0, "same")
    return [(np.round(smooth * 32768.0) / 32768.0).astype(np.float32)]


def compare(embed: Embed, reference: Embed, inputs: Sequence[Floats]) -> Agreement:
    """Two ways of embedding -> how far they differ over some inputs."""
    pairs = [(unit(embed(each)), unit(reference(each))) for each in inputs]
    return Agreement(
        max(float(np.abs(one - other).max()) for one, other in pairs),
        min(float((one * other).sum(axis=1).min()) for one, other in pairs),
    )


def require_agreement(agreement: Agreement, tolerance: float, path: Path) -> None:
    """Raises ValueError if an exported network differs from the one that it was made of."""
    if not agreement.difference <= tolerance:  # NaN isn't
        raise ValueError(
            f"{path}: refused: a value of its embeddings differs from the network's by "
            f"{agreement.difference:.2g}, expected at most {tolerance:g}; use the model file itself"
        )


def seconds(embeds: Sequence[Embed], num_samples: int, repetitions: int = REPETITIONS) -> list[float]:
    """Ways of embedding -> median time of each for a waveform of a number of samples, s.

    They take turns, so that other work on the machine slows all of them down.
    """
    waveform = np.random.default_rng(SEED).normal(0.0, 0.1, (1, num_samples)).astype(np.float32)
    times: list[list[float]] = [[] for _ in embeds]
    for _ in range(repetitions + 1):
        for embed, taken in zip(embeds, times, strict=True):
            start = time.perf_counter()
            embed(waveform)
            taken.append(time.perf_counter() - start)
    return [statistics.median(taken[1:]) for taken in times]  # the first run prepares


def torch_embed(module: torch.nn.Module) -> Embed:
    """A module (B, ...) -> (B, D) -> the same over arrays."""

    @torch.inference_mode()
    def embed(inputs: Floats) -> Floats:
        vectors: Floats = module(torch.from_numpy(inputs)).numpy()
        return vectors

    return embed
