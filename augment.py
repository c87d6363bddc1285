"""Noise, music, babble, reverberation, speed, codec-like damage and gain on crops of training speech.

What happens to an utterance is drawn from its own generator (`Augmenter.draw`, in a worker process); the
arithmetic is batched and the same on any device (`apply_effects`).
"""

import math
import os
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.fft
import torch
from torch import Tensor

from audio import FORMATS, SAMPLE_RATE, Audio, AudioFile, Pack, Recordings
from files import walk

MUSAN = ("data/musan", "data/musan_split")  # as dataprep.py lays it out, and as voxceleb_trainer's did
NOISES = ("noise", "music", "babble")  # kinds that are mixed in at an SNR
FOLDERS = {"noise": "noise", "music": "music", "babble": "speech"}  # kind -> its folder in MUSAN
KINDS = (*NOISES, "reverb", "speed", "band", "mulaw", "gain")
INAUDIBLE = 1e-6  # share of a room response's energy that may be cut off at either end, -60 dB
LOW_EDGES, HIGH_EDGES = (50.0, 300.0), (3000.0, 7500.0)  # Hz, of telephones, codecs and microphones
EDGE_WIDTH = 100.0  # Hz from pass band to stop band
SILENCE = 1e-20  # level of a crop below which nothing is scaled up
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
    speeds = [stage for stage in stages if any("speed" in choice.kinds for choice in stage)]
    if (
        not stages
        or len(speeds) > 1
        or any(len(stage) > 1 or stage[0].kinds != ("speed",) for stage in speeds)
    ):
        raise ValueError(
            f"--augment_chain {text!r}: expected stages, speed at most once and in one of its own"
        )
    return stages


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
        responses = np.zeros((len(values), max(ends)), np.float32)
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


class Responses:
    """Room impulse responses below a folder."""

    def __init__(self, root: str) -> None:
        self.root, self.paths = root, find_audio(root)
        self.read = lru_cache(maxsize=256)(self._read)

    def _read(self, number: int) -> tuple[Audio, int]:
        """Number -> response (R,) without its inaudible ends, and where its direct path is.

        The direct path is the largest sample; of several channels the first is taken.
        """
        file = AudioFile(os.path.join(self.root, self.paths[number]), channel=0)  # noqa: PTH118
        response = file.whole()
        energy = np.cumsum(response.astype(np.float64) ** 2)
        begin, end = np.searchsorted(energy, np.array([INAUDIBLE, 1.0 - INAUDIBLE]) * energy[-1])
        return response[begin : end + 1], int(np.abs(response).argmax() - begin)


def find_audio(root: str) -> list[str]:
    """Folder or pack -> paths of the recordings in it, sorted."""
    if Path(root, Pack.INDEX).exists():
        return sorted(Pack(Path(root)).paths)
    return sorted(path for path in walk(Path(root)) if FORMATS.fullmatch(path))


def find_noises(root: str) -> dict[str, Recordings]:
    """MUSAN, whole or split, or any tree with folders noise, music and speech -> recordings of each kind."""
    paths: dict[str, list[str]] = {kind: [] for kind in NOISES}
    for path in find_audio(root):
        for kind in NOISES:
            if FOLDERS[kind] in path.split("/")[:-1]:
                paths[kind].append(path)
                break
    return {kind: Recordings(root, found) for kind, found in paths.items() if found}


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
        self,
        chain: str,
        musan_path: str,
        rir_path: str,
        ranges: Ranges,
        speeds: Sequence[float],
    ) -> None:
        """Raises FileNotFoundError or ValueError if the chain can't be, or its recordings aren't there."""
        self.stages, self.ranges = read_chain(chain), ranges
        kinds = {kind for stage in self.stages for choice in stage for kind in choice.kinds}
        self.noises = find_noises(musan_path) if kinds & set(NOISES) else {}
        for kind in sorted(kinds & set(NOISES) - self.noises.keys()):
            raise FileNotFoundError(
                f"--musan_path {musan_path}: no recordings in folders called {FOLDERS[kind]}; get them with "
                f"dataprep.py --augment, or take {kind} out of --augment_chain"
            )
        self.responses = Responses(rir_path) if "reverb" in kinds else None
        if self.responses and not self.responses.paths:
            raise FileNotFoundError(
                f"--rir_path {rir_path}: no recordings there; get them with dataprep.py --augment, or take "
                "reverb out of --augment_chain"
            )
        shares = [choice.probability for stage in self.stages for choice in stage if "speed" in choice.kinds]
        self.speed_probability = sum(shares)
        self.speeds = (1.0, *speeds) if shares else (1.0,)
        self._draw: dict[str, Callable[[np.random.Generator, int], tuple[Any, ...]]] = {
            "noise": partial(self._mixed, "noise"),
            "music": partial(self._mixed, "music"),
            "babble": self._babble,
            "reverb": self._reverb,
            "band": lambda generator, _: (generator.uniform(*LOW_EDGES), generator.uniform(*HIGH_EDGES)),
            "mulaw": lambda generator, _: (),
            "gain": lambda generator, _: (generator.uniform(*self.ranges.gain_db),),
        }

    @classmethod
    def build(cls, args: Any) -> "Augmenter | None":
        """Resolved options -> what they ask for, None without --augment."""
        if not args.augment:
            return None
        musan_path = args.musan_path or next((p for p in MUSAN if Path(p).exists()), MUSAN[0])
        spans = {kind: getattr(args, f"snr_{kind}") for kind in NOISES}
        ranges = Ranges(spans, args.babble_voices, args.gain_db)
        return cls(args.augment_chain, musan_path, args.rir_path, ranges, args.speeds)

    def describe(self) -> str:
        """One line for the log."""
        stages = (
            " or ".join(f"{'+'.join(choice.kinds)} {100 * choice.probability:.3g} %" for choice in stage)
            for stage in self.stages
        )
        counts = [f"{len(found)} of {kind}" for kind, found in self.noises.items()]
        counts += [f"{len(self.responses.paths)} rooms"] if self.responses else []
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
                    drawn += [
                        Drawn((number, place), kind, self._draw[kind](generator, length))
                        for place, kind in enumerate(choice.kinds)
                        if kind != "speed"
                    ]
                    break
        return drawn

    def _mixed(self, kind: str, generator: np.random.Generator, length: int) -> tuple[Audio, float]:
        return self._piece(kind, generator, length), generator.uniform(*self.ranges.snr_db[kind])

    def _babble(self, generator: np.random.Generator, length: int) -> tuple[Audio, float]:
        """Several voices, equally loud."""
        least, most = map(int, self.ranges.voices)
        together = np.zeros(length, np.float32)
        for _ in range(generator.integers(least, most, endpoint=True)):
            voice = self._piece("babble", generator, length)
            level = np.sqrt(voice.dot(voice) / length)
            together += voice / max(level, SILENCE)
        return together, generator.uniform(*self.ranges.snr_db["babble"])

    def _piece(self, kind: str, generator: np.random.Generator, length: int) -> Audio:
        recordings = self.noises[kind]
        return recordings[int(generator.integers(len(recordings)))].crop(length, generator)

    def _reverb(self, generator: np.random.Generator, _: int) -> tuple[Audio, int]:
        assert self.responses is not None
        return self.responses.read(int(generator.integers(len(self.responses.paths))))


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


def mask(features: Tensor, widest: int, dim: int) -> Tensor:
    """(B, F, L) -> the same with one stripe of 0 to `widest` bands (dim 1) or frames (dim 2) set to 0.

    One mask of SpecAugment (Park et al. 2019, arXiv:1904.08779, section 2), drawn for each utterance;
    0 is the mean of normalised features.
    """
    count, size = len(features), features.shape[dim]
    widths = torch.randint(min(widest, size) + 1, (count, 1), device=features.device)
    starts = (torch.rand(count, 1, device=features.device) * (size - widths + 1)).long()
    places = torch.arange(size, device=features.device)
    stripe = (places >= starts) & (places < starts + widths)  # (B, size)
    return features.masked_fill(stripe[:, :, None] if dim == 1 else stripe[:, None, :], 0.0)
