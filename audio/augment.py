"""Noise, music, babble, reverberation, speed, other channels and gain on crops of training speech.

What happens to an utterance is drawn from its own generator (`Augmenter.draw`, in a worker process); the
arithmetic is batched and the same on any device (`apply_effects`).
"""

from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from audio.effects import EQ_OCTAVES, SILENCE, Drawn
from audio.noise import MUSAN, NOISES, Material
from audio.recording import Audio

KINDS = (*NOISES, "reverb", "speed", "band", "eq", "mulaw", "gain")
LOW_EDGES, HIGH_EDGES = (50.0, 300.0), (3000.0, 7500.0)  # Hz, of telephones, codecs and microphones
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
    is_alone = bool(stages) and [choice.kinds for choice in stages[0]] == [("speed",)]
    if not stages or (speeds and not (speeds == [0] and is_alone)):
        raise ValueError(
            f"--augment_chain {text!r}: expected at least one stage; speed must be alone in the first one"
        )
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


class Ranges(NamedTuple):
    """What is drawn uniformly; of babble the number of voices, and the SNR of their sum."""

    snr_db: dict[str, Span]
    voices: Span
    gain_db: Span
    eq_db: Span


class Augmenter:
    """Draws what happens to each utterance, and gathers it for a batch."""

    def __init__(
        self, stages: list[list[Choice]], material: Material, ranges: Ranges, speeds: Sequence[float]
    ) -> None:
        self.material = material
        self.ranges = ranges
        self.stages = stages
        self.speeds: tuple[float, ...] = (1.0,)
        self.speed_probability = 0.0
        first = stages[0][0]
        if first.kinds == ("speed",):  # done while reading, before everything else
            self.stages = stages[1:]
            self.speeds = (1.0, *speeds)
            self.speed_probability = first.probability

    @classmethod
    def build(
        cls,
        chain: str,
        *,
        musan_path: str | None,
        rir_path: str,
        skip_bad: bool,
        snr_db: dict[str, Span],
        voices: Span,
        gain_db: Span,
        eq_db: Span,
        speeds: Sequence[float],
    ) -> "Augmenter":
        """Chain (--augment_chain), noise and RIR folders or packs, ranges -> the augmenter.

        Without musan_path, the first existing folder of noise.MUSAN is used.

        Raises:
            FileNotFoundError, ValueError: the chain has another form, or its recordings don't exist.
        """
        stages = read_chain(chain)
        if not musan_path:
            musan_path = next((path for path in MUSAN if Path(path).exists()), MUSAN[0])
        material = Material(kinds_of(stages), musan_path, rir_path, skip_bad)
        return cls(stages, material, Ranges(snr_db, voices, gain_db, eq_db), speeds)

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
        if kind == "eq":
            return tuple(generator.uniform(*self.ranges.eq_db, EQ_OCTAVES).tolist())
        if kind == "gain":
            return (generator.uniform(*self.ranges.gain_db),)
        if kind == "mulaw":
            return ()
        draw_noise = self._babble if kind == "babble" else partial(self.material.noise, kind)
        return draw_noise(generator, length), generator.uniform(*self.ranges.snr_db[kind])

    def _babble(self, generator: np.random.Generator, length: int) -> Audio:
        """Several voices, equally loud."""
        least, most = map(int, self.ranges.voices)
        together = np.zeros(length, np.float32)
        for _ in range(generator.integers(least, most, endpoint=True)):
            voice = self.material.noise("babble", generator, length)
            together += voice / max(np.sqrt(voice.dot(voice) / length), SILENCE)
        return together
