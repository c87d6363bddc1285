"""Augmentation on batches of crops: noise at an SNR, rooms, bands, frequency responses, mu-law, gain."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from audio.noise import NOISES
from audio.recording import SAMPLE_RATE, Audio

EDGE_WIDTH = 100.0  # Hz from pass band to stop band
SILENCE = 1e-20  # level of a crop below which nothing is scaled up
ROOM_STEP = 4096  # samples; few different lengths, because a GPU plans its transforms for each
EQ_OCTAVES = 7  # of whose centres, 125 Hz to 8 kHz, an equaliser has the gains
EQ_LOWEST = 125.0  # Hz
MU = 255.0  # of 8-bit mu-law, ITU-T G.711


# An effect changes some rows (n,) of a batch. Named tuples travel between processes and to a GPU.


class Mix(NamedTuple):
    """Adds noise (n, T) at SNRs (n,) in dB: of the powers, mean squares over the crop."""

    rows: Tensor
    noise: Tensor
    snr_db: Tensor

    @classmethod
    def gather(cls, rows: Tensor, values: list[tuple[Audio, float]]) -> "Mix":
        """Noise (T,) and SNR of each row -> the effect."""
        noise = torch.from_numpy(np.stack([piece for piece, _ in values]))
        return cls(rows, noise, torch.tensor([snr_db for _, snr_db in values]))

    def apply(self, crops: Tensor) -> Tensor:
        """Crops (n, T) -> the same and noise; digital silence stays as it is."""
        wanted = _level(crops) * 10.0 ** (-self.snr_db[:, None] / 20.0)
        return torch.addcmul(crops, self.noise, _factor(self.noise, wanted))


class Reverb(NamedTuple):
    """Convolves with room responses (n, R) whose direct paths all come after `delay` samples."""

    rows: Tensor
    responses: Tensor
    delay: int

    @classmethod
    def gather(cls, rows: Tensor, values: list[tuple[Audio, int]]) -> "Reverb":
        """Response (R,) and place of its direct path of each row -> the effect, direct paths aligned."""
        delay = max(direct for _, direct in values)
        ends = [delay - direct + len(response) for response, direct in values]
        size = -(-max(ends) // ROOM_STEP) * ROOM_STEP
        responses = np.zeros((len(values), size), np.float32)
        for line, (response, _), end in zip(responses, values, ends, strict=True):
            line[end - len(response) : end] = response
        return cls(rows, torch.from_numpy(responses), delay)

    def apply(self, crops: Tensor) -> Tensor:
        """Crops (n, T) -> the same in the room, in time with the direct path, of the same energy."""
        length = crops.shape[1]
        size = _fast_length(length + self.responses.shape[1] - 1)
        wet = _inverse(_spectrum(crops, size).mul_(_spectrum(self.responses, size)), size)
        wet = wet[:, self.delay : self.delay + length]
        return wet.mul_(_factor(wet, _level(crops)))


class Band(NamedTuple):
    """Leaves what lies between two edges in Hz, values (n, 2)."""

    rows: Tensor
    values: Tensor

    def apply(self, crops: Tensor) -> Tensor:
        """Crops (n, T) -> the same within the band, which ends in slopes of 100 Hz."""
        size = _fast_length(crops.shape[1])
        hertz = torch.arange(size // 2 + 1, device=crops.device) * (SAMPLE_RATE / size)
        above, below = hertz - self.values[:, :1], self.values[:, 1:] - hertz
        gain = (torch.minimum(above, below) / EDGE_WIDTH + 0.5).clamp(0.0, 1.0)
        return _inverse(_spectrum(crops, size) * gain, size)[:, : crops.shape[1]]


class Equaliser(NamedTuple):
    """Colours speech as another microphone or call would: gains in dB at the octaves, values (n, EQ_OCTAVES).

    Linear in dB over log-frequency between the octaves, constant below the lowest; after FilterAugment
    (Nam et al., arXiv:2110.03282), here on waveforms and so with any front end.
    """

    rows: Tensor
    values: Tensor

    def apply(self, crops: Tensor) -> Tensor:
        """Crops (n, T) -> the same with this frequency response, of the same energy."""
        size = _fast_length(crops.shape[1])
        hertz = torch.arange(size // 2 + 1, device=crops.device) * (SAMPLE_RATE / size)
        octave = (hertz / EQ_LOWEST).log2().clamp(0.0, EQ_OCTAVES - 1.0)
        left = octave.long().clamp(max=EQ_OCTAVES - 2)
        gain_db = torch.lerp(self.values[:, left], self.values[:, left + 1], octave - left)
        heard = _inverse(_spectrum(crops, size) * 10.0 ** (gain_db / 20.0), size)[:, : crops.shape[1]]
        return heard * _factor(heard, _level(crops))


class MuLaw(NamedTuple):
    """Rounds to the 256 levels of 8-bit mu-law; no values (n, 0)."""

    rows: Tensor
    values: Tensor

    def apply(self, crops: Tensor) -> Tensor:
        """Crops (n, T) -> the same, clipped and rounded."""
        scale = math.log1p(MU)
        compressed = torch.log1p(MU * crops.abs().clamp(max=1.0)) / scale * crops.sign()
        rounded = ((compressed + 1.0) / 2.0 * MU).round() / MU * 2.0 - 1.0
        return torch.expm1(rounded.abs() * scale) / MU * rounded.sign()


class Gain(NamedTuple):
    """Changes the level by values (n, 1) dB."""

    rows: Tensor
    values: Tensor

    def apply(self, crops: Tensor) -> Tensor:
        """Crops (n, T) -> the same, louder."""
        return crops * 10.0 ** (self.values / 20.0)


def apply_effects(crops: Tensor, effects: Sequence[Any]) -> Tensor:
    """Crops (B, T), effects in order -> the augmented crops; changes and returns the same tensor."""
    for effect in effects:
        on_device = type(effect)(*(_moved(part, crops.device) for part in effect))
        # these two take half the time of indexing with brackets
        crops.index_copy_(0, on_device.rows, on_device.apply(crops.index_select(0, on_device.rows)))
    return crops


def _moved(part: Any, device: torch.device) -> Any:
    return part.to(device, non_blocking=True) if isinstance(part, Tensor) else part


def _level(crops: Tensor) -> Tensor:
    """(n, T) -> roots of the energies (n, 1)."""
    return torch.linalg.vector_norm(crops, dim=1, keepdim=True)


def _factor(crops: Tensor, level: Tensor) -> Tensor:
    """(n, T), level (n, 1) -> what to multiply by to have that level (n, 1); silence has no such factor."""
    return level / _level(crops).clamp(min=SILENCE)


def _fast_length(length: int) -> int:
    """Samples -> the next length that transforms are fast for."""
    # here and below: it takes half a second to import, and only augmentation needs it
    from scipy.fft import next_fast_len

    return int(next_fast_len(length, real=True))


def _spectrum(signals: Tensor, size: int) -> Tensor:
    """(n, T) -> (n, size // 2 + 1), complex; on the CPU SciPy takes a tenth of PyTorch's time on many."""
    if signals.device.type == "cpu":
        from scipy.fft import rfft

        return torch.from_numpy(rfft(signals.numpy(), size))
    return torch.fft.rfft(signals, size)


def _inverse(spectra: Tensor, size: int) -> Tensor:
    """(n, size // 2 + 1), complex -> (n, size)."""
    if spectra.device.type == "cpu":
        from scipy.fft import irfft

        return torch.from_numpy(irfft(spectra.numpy(), size, overwrite_x=True))
    return torch.fft.irfft(spectra, size)


class Drawn(NamedTuple):
    """What was drawn for a crop: stage and place in it, kind, and the kind's values."""

    place: tuple[int, int]
    kind: str
    values: tuple[Any, ...]


def gather(drawn: Sequence[Sequence[Drawn]]) -> list[Any]:
    """What was drawn for each crop of a batch -> effects in the order in which they are applied."""
    groups: dict[tuple[tuple[int, int], Any], list[tuple[int, tuple[Any, ...]]]] = {}
    for row, of_crop in enumerate(drawn):
        for place, kind, values in of_crop:
            groups.setdefault((place, EFFECTS[kind]), []).append((row, values))
    in_order = sorted(groups.items(), key=lambda group: group[0][0])  # kinds of one place have other rows
    return [
        build(torch.tensor([row for row, _ in members]), [values for _, values in members])
        for (_, build), members in in_order
    ]


EFFECTS: dict[str, Callable[[Tensor, Any], Any]] = dict.fromkeys(NOISES, Mix.gather) | {
    "reverb": Reverb.gather,
    "band": lambda rows, values: Band(rows, torch.tensor(values)),
    "eq": lambda rows, values: Equaliser(rows, torch.tensor(values)),
    "mulaw": lambda rows, values: MuLaw(rows, torch.tensor(values)),
    "gain": lambda rows, values: Gain(rows, torch.tensor(values)),
}
