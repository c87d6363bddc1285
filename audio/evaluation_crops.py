"""The parts of a recording that are embedded for scoring; nothing here imports PyTorch."""

import numpy as np

from audio.recording import SAMPLE_RATE, SHORTEST, Audio

# Longer whole recordings are embedded in parts, which bounds the memory: at this length CAM++ takes 0.5 GB,
# ResNetSE34L 0.15 GB. The longest utterance of VoxCeleb1 has 145 s.
LONGEST = 150 * SAMPLE_RATE


def evaluation_crops(audio: Audio, length: int, count: int) -> Audio:
    """Audio (T,) -> crops (count, length), evenly spread over it; length 0: the whole recording (1, T).

    Audio that is shorter than a crop, or than 0.3 s, is repeated. Whole recordings of more than LONGEST are
    cut into the fewest parts of one length (k, T / k), rounded up.
    """
    audio = repeated(audio, length or SHORTEST)
    if length == 0:
        count = -(-len(audio) // LONGEST)
        length = -(-len(audio) // count)
    return np.stack([audio[start : start + length] for start in evenly_spread(len(audio), length, count)])


def repeated(audio: Audio, shortest: int) -> Audio:
    """Audio (T,) -> the same, or repeated to the shortest length, in samples, if it is shorter."""
    return audio if len(audio) >= shortest else np.resize(audio, shortest)


def evenly_spread(total: int, length: int, count: int) -> list[int]:
    """Starts of pieces of one length; the first begins at 0, the last one ends at the end."""
    return [int(start) for start in np.linspace(0, total - length, num=count)]
