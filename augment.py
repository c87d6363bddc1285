"""Noise, music, babble, reverberation, speed, codec-like damage and gain on crops of training speech.

What happens to an utterance is drawn from its own generator (`Augmenter.draw`, in a worker process); the
arithmetic is batched and the same on any device (`apply_effects`).
"""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.fft
import torch
from torch import Tensor

from audio import SAMPLE_RATE, Audio
from material import FOLDERS, MUSAN, Material

NOISES = tuple(FOLDERS)  # kinds that are mixed in at an SNR
KINDS = (*NOISES, "reverb", "speed", "band", "mulaw", "gain")
LOW_EDGES, HIGH_EDGES = (50.0, 300.0), (3000.0, 7500.0)  # Hz, of telephones, codecs and microphones
EDGE_WIDTH = 100.0  # Hz from pass band to stop band
SILENCE = 1e-20  # level of a crop below which nothing is scaled up
ROOM_STEP = 4096  # samples; few different lengths, as a GPU plans its transforms anew for each
MU = 255.0  # of 8-bit mu-law, ITU-T G.711

Span = tuple[float, float]


class Choice(NamedTuple):
    """What a stage does with this probability: kinds of augmentation, one after the other."""

    probability: float
    kinds: tuple[str, ...]


def read_chain(text: str) -> list[list[Choice]]:
    """`reverb:0.5 noise:0.3|babble+music:0.3` -> stages in order, each a choice of at most one.

    Raises:
        ValueError: another form, an unknown kind, or probabilities that add up to more than 1.
    """
    stages = [[_read_choice(text, word) for word in stage.split("|")] for stage in text.split()]
    for stage in stages:
        if sum(choice.probability for choice in stage) > 1.0 + 1e-9:
            raise ValueError(f"--augment_chain {text}: the probabilities of a stage add up to more than 1")
    speeds = [n for n, stage in enumerate(stages) if any("speed" in choice.kinds for choice in stage)]
    alone = [choice.kinds for choice in stages[0]] == [("speed",)] if stages else False
    if not stages or (speeds and not (speeds == [0] and alone)):
        raise ValueError(f"--augment_chain {text!r}: expected stages; speed is one of its own, the first")
    return stages


def kinds_of(stages: list[list[Choice]]) -> set[str]:
    """Stages -> the kinds in them."""
    return {kind for stage in stages for choice in stage for kind in choice.kinds}


def _read_choice(text: str, word: str) -> Choice:
    names, _, share = word.partition(":")
    kinds = tuple(names.split("+"))
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise ValueError(f"--augment_chain {text}: {unknown[0]!r} is unknown; there are {', '.join(KINDS)}")
    try:
        probability = float(Fraction(share))
    except (ValueError, ZeroDivisionError):
        probability = 0.0
    if not 0.0 < probability <= 1.0:
        raise ValueError(
            f"--augment_chain {text}: expected KIND:PROBABILITY with 0 < PROBABILITY <= 1, got {word}"
        )
    return Choice(probability, kinds)


# Effects: what is done to some rows (n,) of a batch. Named tuples travel between processes and to a GPU.


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
        size = scipy.fft.next_fast_len(length + self.responses.shape[1] - 1, real=True)
        wet = _inverse(_spectrum(crops, size).mul_(_spectrum(self.responses, size)), size)
        wet = wet[:, self.delay : self.delay + length]
        return wet.mul_(_factor(wet, _level(crops)))


class Band(NamedTuple):
    """Leaves what lies between two edges in Hz, values (n, 2)."""

    rows: Tensor
    values: Tensor

    def apply(self, crops: Tensor) -> Tensor:
        """Crops (n, T) -> the same within the band, which ends in slopes of 100 Hz."""
        size = scipy.fft.next_fast_len(crops.shape[1], real=True)
        hertz = torch.arange(size // 2 + 1, device=crops.device) * (SAMPLE_RATE / size)
        above, below = hertz - self.values[:, :1], self.values[:, 1:] - hertz
        gain = (torch.minimum(above, below) / EDGE_WIDTH + 0.5).clamp(0.0, 1.0)
        return _inverse(_spectrum(crops, size) * gain, size)[:, : crops.shape[1]]


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
    """Makes louder by so many dB, values (n, 1), or softer."""

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


def _spectrum(signals: Tensor, size: int) -> Tensor:
    """(n, T) -> (n, size // 2 + 1), complex; on the CPU SciPy takes a tenth of PyTorch's time on many."""
    if signals.device.type == "cpu":
        return torch.from_numpy(scipy.fft.rfft(signals.numpy(), size))
    return torch.fft.rfft(signals, size)


def _inverse(spectra: Tensor, size: int) -> Tensor:
    """(n, size // 2 + 1), complex -> (n, size)."""
    if spectra.device.type == "cpu":
        return torch.from_numpy(scipy.fft.irfft(spectra.numpy(), size, overwrite_x=True))
    return torch.fft.irfft(spectra, size)


class Ranges(NamedTuple):
    """What is drawn uniformly; of babble the number of voices, and the SNR of their sum."""

    snr_db: dict[str, Span]
    voices: Span
    gain_db: Span


class Drawn(NamedTuple):
    """What was drawn for a crop: stage and place in it, kind, and the kind's values."""

    place: tuple[int, int]
    kind: str
    values: tuple[Any, ...]


class Augmenter:
    """Draws what happens to each utterance, and gathers it for a batch."""

    def __init__(
        self, stages: list[list[Choice]], material: Material, ranges: Ranges, speeds: Sequence[float]
    ) -> None:
        self.material, self.ranges = material, ranges
        first = stages[0][0]
        plays = first.kinds == ("speed",)  # done while reading, before all else
        self.speed_probability, self.speeds = (first.probability, (1.0, *speeds)) if plays else (0.0, (1.0,))
        self.stages = stages[1:] if plays else stages

    @classmethod
    def build(cls, args: Any) -> "Augmenter | None":
        """Resolved options -> what they ask for, None without --augment.

        Raises:
            FileNotFoundError, ValueError: the chain can't be, or its recordings aren't there.
        """
        if not args.augment:
            return None
        stages = read_chain(args.augment_chain)
        musan_path = args.musan_path or next((p for p in MUSAN if Path(p).exists()), MUSAN[0])
        material = Material(kinds_of(stages), musan_path, args.rir_path, args.skip_bad_audio)
        spans = {kind: getattr(args, f"snr_{kind}") for kind in NOISES}
        return cls(stages, material, Ranges(spans, args.babble_voices, args.gain_db), args.speeds)

    def describe(self) -> str:
        """One line for the log."""
        stages = [f"speed {100 * self.speed_probability:.3g} %"] if self.speed_probability else []
        stages += [
            " or ".join(f"{'+'.join(choice.kinds)} {100 * choice.probability:.3g} %" for choice in stage)
            for stage in self.stages
        ]
        counts = self.material.counts()
        return f"augmentation: {', then '.join(stages)}" + (f" ({', '.join(counts)})" if counts else "")

    def draw_speed(self, generator: np.random.Generator) -> int:
        """Generator -> which of self.speeds."""
        if generator.random() < self.speed_probability:
            return int(generator.integers(1, len(self.speeds)))
        return 0

    def draw(self, generator: np.random.Generator, length: int) -> list[Drawn]:
        """Generator, samples of a crop -> what happens to it, beside its speed."""
        drawn = []
        for number, stage in enumerate(self.stages):
            left = generator.random()
            for choice in stage:
                left -= choice.probability
                if left < 0.0:
                    for place, kind in enumerate(choice.kinds):
                        drawn.append(Drawn((number, place), kind, self._draw(kind, generator, length)))
                    break
        return drawn

    def _draw(self, kind: str, generator: np.random.Generator, length: int) -> tuple[Any, ...]:
        """What the effect of a kind is gathered from."""
        if kind == "reverb":
            return self.material.room(generator)
        if kind == "band":
            return generator.uniform(*LOW_EDGES), generator.uniform(*HIGH_EDGES)
        if kind == "gain":
            return (generator.uniform(*self.ranges.gain_db),)
        if kind == "mulaw":
            return ()
        make = self._babble if kind == "babble" else partial(self.material.noise, kind)
        return make(generator, length), generator.uniform(*self.ranges.snr_db[kind])

    def _babble(self, generator: np.random.Generator, length: int) -> Audio:
        """Several voices, equally loud."""
        least, most = map(int, self.ranges.voices)
        together = np.zeros(length, np.float32)
        for _ in range(generator.integers(least, most, endpoint=True)):
            voice = self.material.noise("babble", generator, length)
            together += voice / max(np.sqrt(voice.dot(voice) / length), SILENCE)
        return together


def gather(drawn: Sequence[Sequence[Drawn]]) -> list[Any]:
    """What was drawn for each crop of a batch -> effects in the order in which they are applied."""
    groups: dict[tuple[tuple[int, int], Any], list[tuple[int, tuple[Any, ...]]]] = {}
    for row, own in enumerate(drawn):
        for place, kind, values in own:
            groups.setdefault((place, EFFECTS[kind]), []).append((row, values))
    in_order = sorted(groups.items(), key=lambda group: group[0][0])  # kinds of one place have other rows
    return [
        make(torch.tensor([row for row, _ in members]), [values for _, values in members])
        for (_, make), members in in_order
    ]


EFFECTS: dict[str, Callable[[Tensor, Any], Any]] = dict.fromkeys(NOISES, Mix.gather) | {
    "reverb": Reverb.gather,
    "band": lambda rows, values: Band(rows, torch.tensor(values)),
    "mulaw": lambda rows, values: MuLaw(rows, torch.tensor(values)),
    "gain": lambda rows, values: Gain(rows, torch.tensor(values)),
}


def mask(features: Tensor, widest: int, dim: int, drawn: Tensor) -> Tensor:
    """(B, F, L) -> the same with one stripe of 0 to `widest` bands (dim 1) or frames (dim 2) set to 0.

    One mask of SpecAugment (Park et al. 2019, arXiv:1904.08779, section 2); 0 is the mean of normalised
    features. Width and place come from numbers (B, 2) in [0, 1), drawn for each utterance.
    """
    size = features.shape[dim]
    widths = (drawn[:, :1] * (min(widest, size) + 1)).floor()
    starts = (drawn[:, 1:] * (size - widths + 1)).floor()
    places = torch.arange(size, device=features.device)
    stripe = (places >= starts) & (places < starts + widths)  # (B, size)
    return features.masked_fill(stripe[:, :, None] if dim == 1 else stripe[:, None, :], 0.0)
