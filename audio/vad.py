"""Voice activity: which samples of a recording are speech, chosen with --vad.

`energy` compares the level of frames with the loudest ones and with the background, as energy detectors have
done since Rabiner and Sambur 1975 ("An algorithm for determining the endpoints of isolated utterances").
`webrtc` is WebRTC's detector with Resemblyzer's smoothing and gain, for networks trained on such speech.
`silero` is the network of the package silero-vad, which tells speech from other sounds that come and go.
Another detector is a function like them, under its name in DETECTORS.
"""

import functools
import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from audio.recording import SAMPLE_RATE, Audio

HOP = 160  # samples, 10 ms
HOPS_OF_FRAME = 3
# Levels are those of the band that voices have most of, so that hiss and hum count for little: the mean of 8
# samples takes away what is above 1 kHz, the difference of two such means what is below 100 Hz.
BLOCK = 8  # samples
FLOOR_DB = -70.0  # below full scale; quieter frames are silence. The faintest of 150 voices reaches -35 dB.
RANGE_DB = 30.0  # of speech below the loudest frames
ABOVE_BACKGROUND_DB = 9.0
LEAST_RANGE_DB = 15.0  # of speech, however loud the background is
LEAST_SPEECH_S = 0.1
LOUD_FRAMES = round(LEAST_SPEECH_S * SAMPLE_RATE / HOP)  # as many as are as loud as speech must last
BACKGROUND_PERCENTILE = 10
# Between background and loudest frames. A minute of white or pink noise has at most 4 dB. Of 150 recordings
# of speech in such noise or in recorded noise, as loud as the speech, the least is 6.5 dB; without, 22 dB.
STEADY_DB = 5.5
STEADY_FRAMES = 100  # of 10 ms, that it takes to know: a word without pauses is steady, too
HANGOVER = 10  # hops kept before and after speech, which begins and ends softly
PADDING_S = 5.0  # zeros at an end, from which on they can't belong to a recording
MOSTLY_SILENCE = 0.25  # share of speech, below which silence around it decides the embedding
WEBRTC_FRAME = 480  # samples, 30 ms: the longest that the detector takes
HOPS_OF_WEBRTC_FRAME = WEBRTC_FRAME // HOP
AGGRESSIVENESS = 3  # of 0 to 3: keeps the least
SMOOTHED_FRAMES = 8  # more than half of them are voiced where there is speech
KEPT_AROUND = 3  # frames before and after speech
NO_SPEECH = "no speech found"  # remarks
MOSTLY_SILENT = "mostly without speech, which --vad energy would leave out"
LEAST_LEVEL = 10 ** (-30 / 20)  # root mean square to which quieter recordings are amplified, -30 dBFS


class Speech(NamedTuple):
    """What is speech in a recording: hops of 10 ms (H,) with the hangover, the duration without, the gain."""

    hops: NDArray[np.bool_]
    duration_s: float
    gain: float = 1.0

    def of(self, audio: Audio) -> Audio:
        """A recording (T,) -> its speech, amplified."""
        speech = audio[np.repeat(self.hops, HOP)[: len(audio)]]
        return speech if self.gain == 1.0 else speech * np.float32(self.gain)


def energy(audio: Audio) -> Speech:
    """Samples (T,) at 16 kHz -> what is speech, by the level of frames of 30 ms.

    A steady sound of a second or more, such as the hiss of a microphone that nobody speaks into, isn't
    speech; a sound that comes and goes is taken for it.
    """
    levels = _levels_db(audio)
    audible = levels[levels > FLOOR_DB]
    nothing = Speech(np.zeros(len(levels) + HOPS_OF_FRAME - 1, bool), 0.0)
    if len(audible) < LOUD_FRAMES:
        return nothing
    loud = np.partition(levels, -LOUD_FRAMES)[-LOUD_FRAMES]
    background = _percentile(audible, BACKGROUND_PERCENTILE)
    if len(audible) >= STEADY_FRAMES and loud - background < STEADY_DB:
        return nothing
    above_background = min(background + ABOVE_BACKGROUND_DB, loud - LEAST_RANGE_DB)
    is_speech = levels > max(FLOOR_DB, loud - RANGE_DB, above_background)
    reach = np.ones(2 * HANGOVER + HOPS_OF_FRAME)
    hops = np.convolve(is_speech, reach)[HANGOVER:-HANGOVER] > 0.5
    return Speech(hops, float(is_speech.sum()) * HOP / SAMPLE_RATE)


def _percentile(values: NDArray[np.float64], percent: int) -> float:
    """np.percentile, which would import numpy.ma: as much time as embedding a word takes."""
    place = (len(values) - 1) * percent / 100
    lower = int(place)
    pair = np.partition(values, (lower, min(lower + 1, len(values) - 1)))[lower : lower + 2]
    return float(pair[0] + (pair[-1] - pair[0]) * (place - lower))


def _levels_db(audio: Audio) -> NDArray[np.float64]:
    """Samples (T,) -> level of each frame, 100 Hz to 1 kHz, in dB below full scale; silence -120 dB."""
    num_hops = max(HOPS_OF_FRAME, -(-len(audio) // HOP))
    means = np.zeros(num_hops * HOP // BLOCK + 1, np.float32)
    whole = len(audio) // BLOCK
    means[1 : whole + 1] = audio[: whole * BLOCK].reshape(-1, BLOCK) @ np.full(BLOCK, 1 / BLOCK, np.float32)
    hops = np.diff(means).reshape(num_hops, -1)
    power = np.einsum("ht,ht->h", hops, hops, dtype=np.float64) / hops.shape[1]
    frames = np.lib.stride_tricks.sliding_window_view(power, HOPS_OF_FRAME).mean(axis=1)
    return 10.0 * np.log10(np.maximum(frames, 1e-12))


def webrtc(audio: Audio) -> Speech:
    """Samples (T,) at 16 kHz -> what Resemblyzer takes for speech, by WebRTC's detector on frames of 30 ms.

    Quiet recordings are amplified first. A frame is speech if more than half of the 8 around it are voiced.
    What is left of the recording after whole frames isn't speech.

    Raises:
        ValueError: its package isn't installed.
    """
    level = float(np.sqrt(np.mean(np.square(audio, dtype=np.float64))))
    gain = LEAST_LEVEL / level if 0.0 < level < LEAST_LEVEL else 1.0
    voiced = _voiced(audio * np.float32(gain))
    smoothed = _sums_around(voiced, SMOOTHED_FRAMES, (SMOOTHED_FRAMES - 1) // 2) > SMOOTHED_FRAMES // 2
    kept = _sums_around(smoothed, 2 * KEPT_AROUND + 1, KEPT_AROUND) > 0
    hops = np.zeros(-(-len(audio) // HOP), bool)
    hops[: len(kept) * HOPS_OF_WEBRTC_FRAME] = np.repeat(kept, HOPS_OF_WEBRTC_FRAME)
    # voiced frames outside of what is kept are no speech; what is kept holds at least 4, which is 0.12 s
    return Speech(hops, float((voiced & kept).sum()) * WEBRTC_FRAME / SAMPLE_RATE, gain)


def _voiced(audio: Audio) -> NDArray[np.bool_]:
    """Samples (T,) -> whether each whole frame is voiced (K,)."""
    detector = _webrtcvad().Vad(AGGRESSIVENESS)  # it adapts to the recording, frame by frame
    frames = audio[: len(audio) // WEBRTC_FRAME * WEBRTC_FRAME].reshape(-1, WEBRTC_FRAME)
    pcm = np.round(frames * 32767.0).clip(-32768, 32767).astype("<i2")
    return np.array([detector.is_speech(frame.tobytes(), SAMPLE_RATE) for frame in pcm], bool)


def _sums_around(flags: NDArray[np.bool_], width: int, before: int) -> NDArray[np.int64]:
    """Flags (K,) -> how many are set among `width` of them, the first `before` frames before each (K,)."""
    counts = np.cumsum(np.pad(flags, (before + 1, width - before - 1)))
    return counts[width:] - counts[:-width]


def _webrtcvad() -> Any:
    try:
        return importlib.import_module("webrtcvad")
    except ImportError:
        raise ValueError("--vad webrtc needs a package: pip install webrtcvad-wheels") from None


def silero(audio: Audio) -> Speech:
    """Samples (T,) at 16 kHz -> what the network of silero-vad takes for speech, in windows of 32 ms.

    Raises:
        ValueError: its package isn't installed.
    """
    package, network = _silero()
    torch = importlib.import_module("torch")
    with _one_thread(torch):
        pieces = package.get_speech_timestamps(
            torch.from_numpy(audio),
            network,
            sampling_rate=SAMPLE_RATE,
            min_speech_duration_ms=round(1000 * LEAST_SPEECH_S),
            speech_pad_ms=0,
        )
    is_speech = np.zeros(-(-len(audio) // HOP), bool)
    num_samples = 0
    for piece in pieces:
        is_speech[piece["start"] // HOP : -(-piece["end"] // HOP)] = True
        num_samples += piece["end"] - piece["start"]
    return Speech(_sums_around(is_speech, 2 * HANGOVER + 1, HANGOVER) > 0, num_samples / SAMPLE_RATE)


@functools.cache
def _silero() -> tuple[Any, Any]:
    """The package silero-vad and its network, once in a process."""
    try:
        torch = importlib.import_module("torch")  # slow to import; the other detectors do without
        with _one_thread(torch):
            package = importlib.import_module("silero_vad")
            return package, package.load_silero_vad()
    except ImportError:
        raise ValueError("--vad silero needs a package: pip install silero-vad") from None


@contextmanager
def _one_thread(torch: Any) -> Iterator[None]:
    """Context in which PyTorch has one thread: with two the small network takes 14 times as much CPU time.

    The import of silero-vad sets one, too, for all that the process computes from then on.
    """
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


def without_padding(audio: Audio) -> Audio:
    """Samples (T,) -> the same without 5 s or more of zeros at an end."""
    sounds = audio != 0
    least = round(PADDING_S * SAMPLE_RATE)
    before, after = (int(np.argmax(side)) for side in (sounds, sounds[::-1]))
    if not sounds[before]:
        return audio
    return audio[before if before >= least else 0 : len(audio) - (after if after >= least else 0)]


DETECTORS: dict[str, Callable[[Audio], Speech]] = {"energy": energy, "webrtc": webrtc, "silero": silero}
NONE = "none"


def require_package(vad: str) -> None:
    """Value of --vad; raises ValueError if a package that it needs isn't installed."""
    if vad == "webrtc":
        _webrtcvad()
    elif vad == "silero":
        _silero()


class Heard(NamedTuple):
    """What of a recording is embedded (T,), its duration and that of its speech, remarks for the user."""

    audio: Audio
    duration_s: float
    speech_s: float
    remarks: list[str]


def hear(audio: Audio, vad: str) -> Heard:
    """Samples (T,) of a whole recording, value of --vad -> what of it is embedded.

    Without a detector that is all of it but 5 s or more of zeros at an end; `energy` then only measures.
    """
    remarks = list[str]()
    kept = without_padding(audio)
    if len(kept) < len(audio):
        remarks.append(f"at least {PADDING_S:g} s of zeros at an end left out")
    speech = DETECTORS.get(vad, energy)(kept)
    duration_s = len(audio) / SAMPLE_RATE
    if speech.duration_s < LEAST_SPEECH_S:
        remarks.append(NO_SPEECH)
    elif vad != NONE:
        kept = speech.of(kept)
    elif speech.duration_s < MOSTLY_SILENCE * len(kept) / SAMPLE_RATE:
        remarks.append(MOSTLY_SILENT)
    return Heard(kept, duration_s, speech.duration_s, remarks)
