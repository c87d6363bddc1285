"""A source-filter speech synthesiser (Fant 1960; cascade of formants after Klatt 1980, JASA 67).

The speech has no meaning: sequences of phones whose pitch, vocal-tract length, formants and
glottal pulse belong to a speaker, and whose sequence, level, channel and noise change each time.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve, firwin2, lfilter, sosfilt

SAMPLE_RATE = 16_000  # Hz
FRAME = 160  # samples between changes of the filters
NUM_FORMANTS = 5
Signal = NDArray[np.float64]

# Formants 1 to 3 in Hz of i, e, a, o, u (Peterson and Barney 1952, men); five, as many languages have.
VOWELS = np.array(
    [(270, 2290, 3010), (530, 1840, 2480), (730, 1090, 2440), (570, 840, 2410), (300, 870, 2240)],
    dtype=float,
)
NASALS = np.array([(250, 1100, 2200), (250, 1500, 2400)], dtype=float)
FRICATIVES = np.array([(5800, 1500), (3000, 900), (4500, 4000), (1500, 2500)], dtype=float)  # centre, width
UPPER_FORMANTS = (3500.0, 4500.0)  # Hz, of a vocal tract of 17.5 cm
BANDWIDTHS = np.array([60.0, 90.0, 150.0, 200.0, 250.0])  # Hz


class Speaker(NamedTuple):
    """The properties that all utterances of a voice share."""

    pitch: float  # Hz
    pitch_range: float  # octaves
    vowels: Signal  # (5, 3) Hz, of this voice
    formant_scale: Signal  # of each formant; mostly the vocal tract's length
    bandwidth_scale: float
    open_quotient: float  # share of the glottal period that the glottis is open
    tilt: float  # pole of the source's low-pass
    breath: float  # level of aspiration noise
    rate: float  # speed of speaking, 1 = average
    fricative_scale: float


class Tracks(NamedTuple):
    """Control values, one row per frame."""

    formants: Signal  # (L, 5) Hz
    voicing: Signal  # (L,)
    noise: Signal  # (L,)
    noise_band: Signal  # (L, 2) centre and width in Hz


def draw_speaker(generator: np.random.Generator) -> Speaker:
    """A random voice."""
    uniform = generator.uniform
    length = uniform(0.78, 1.28)  # shorter tracts have higher formants and mostly higher voices
    pitch = 120.0 * length**2.5 * 2.0 ** uniform(-0.8, 0.8)
    return Speaker(
        pitch=pitch,
        pitch_range=uniform(0.05, 0.25),
        vowels=VOWELS * (1.0 + generator.normal(0.0, 0.13, VOWELS.shape)),
        formant_scale=length * (1.0 + generator.normal(0.0, 0.12, NUM_FORMANTS)),
        bandwidth_scale=uniform(0.5, 2.0),
        open_quotient=uniform(0.4, 0.8),
        tilt=uniform(0.3, 0.93),
        breath=10.0 ** uniform(-2.2, -0.7),
        rate=uniform(0.75, 1.35),
        fricative_scale=uniform(0.75, 1.25),
    )


def synthesise(speaker: Speaker, duration_s: float, generator: np.random.Generator) -> Signal:
    """Voice -> an utterance (T,) in [-1, 1] at 16 kHz, through a random channel."""
    num_frames = round(duration_s * SAMPLE_RATE / FRAME)
    tracks = _phones(speaker, num_frames, generator)
    speech = _vocal_tract(speaker, tracks, _source(speaker, tracks, generator), generator)
    return _record(speech, generator)


def _phones(speaker: Speaker, num_frames: int, generator: np.random.Generator) -> Tracks:
    """A random sequence of syllables as control tracks."""
    rows: list[tuple[int, Signal, float, float, Signal]] = []  # frames, formants, voicing, noise, band
    quiet = FRICATIVES[2]

    def add(duration_s: float, low: Signal, voicing: float, noise: float, band: Signal = quiet) -> None:
        frames = max(2, round(duration_s * 100 / speaker.rate * generator.uniform(0.75, 1.3)))
        rows.append((frames, np.append(low, UPPER_FORMANTS), voicing, noise, band))

    while sum(row[0] for row in rows) < num_frames:
        vowel = speaker.vowels[generator.integers(len(VOWELS))]
        onset = generator.choice(["none", "fricative", "nasal", "stop"], p=[0.2, 0.3, 0.25, 0.25])
        if onset == "fricative":
            add(0.09, vowel, 0.0, 0.25, FRICATIVES[generator.integers(len(FRICATIVES))])
        elif onset == "nasal":
            add(0.07, NASALS[generator.integers(len(NASALS))], 0.5, 0.0)
        elif onset == "stop":
            add(0.05, vowel, 0.0, 0.0)
            add(0.02, vowel, 0.1, 0.4, FRICATIVES[generator.integers(len(FRICATIVES))])
        add(0.13, vowel, generator.uniform(0.7, 1.0), 0.0)
        if generator.random() < 0.08:
            add(0.15, vowel, 0.0, 0.0)
    lengths = [row[0] for row in rows]
    formants, voicing, noise, band = (
        np.repeat([row[i] for row in rows], lengths, axis=0)[:num_frames] for i in range(1, 5)
    )
    glide = np.hanning(9)[1:-1] / np.hanning(9).sum()  # the tongue takes about 70 ms from phone to phone
    return Tracks(
        speaker.formant_scale * np.apply_along_axis(_smooth, 0, formants, glide),
        _smooth(voicing, glide),
        _smooth(noise, glide),
        band * np.array([speaker.fricative_scale, 1.0]),
    )


def _smooth(track: Signal, window: Signal) -> Signal:
    """Track (L,) -> its moving average (L,) under a window; the ends are repeated."""
    return np.convolve(np.pad(track, len(window) // 2, mode="edge"), window, mode="valid")


def _source(speaker: Speaker, tracks: Tracks, generator: np.random.Generator) -> Signal:
    """Voicing track -> glottal flow derivative (T,): Rosenberg pulses (1971, JASA 49) and breath."""
    num_frames = len(tracks.voicing)
    walk = _smooth(generator.normal(0.0, 1.0, num_frames), np.hanning(41) / np.hanning(41).sum()) * 4.0
    fall = np.linspace(0.5, -0.5, num_frames)  # declination
    octaves = speaker.pitch_range * (walk + fall) + generator.normal(0.0, 0.05)
    jitter = generator.normal(0.0, 0.01, num_frames)
    pitch = _per_sample(speaker.pitch * 2.0 ** (octaves + jitter))
    phase = np.cumsum(pitch / SAMPLE_RATE) % 1.0
    rise = speaker.open_quotient * 0.67
    fall_time = speaker.open_quotient - rise
    flow = np.where(
        phase < rise,
        0.5 * (1.0 - np.cos(np.pi * phase / rise)),
        np.cos(0.5 * np.pi * np.clip((phase - rise) / fall_time, 0.0, 1.0)),
    )
    breath = speaker.breath * flow * generator.normal(0.0, 1.0, len(flow))
    pulses = lfilter([1.0 - speaker.tilt], [1.0, -speaker.tilt], np.diff(flow, prepend=0.0) * 8.0)
    return (pulses + breath) * _per_sample(tracks.voicing)


def _vocal_tract(speaker: Speaker, tracks: Tracks, source: Signal, generator: np.random.Generator) -> Signal:
    """Source (T,) -> speech (T,): five formants, and friction noise through one resonance, frame by frame."""
    widths = np.broadcast_to(BANDWIDTHS * speaker.bandwidth_scale, tracks.formants.shape)
    formants = _resonators(tracks.formants, widths)  # (L, 5, 6)
    friction = _resonators(tracks.noise_band[:, :1], tracks.noise_band[:, 1:])  # (L, 1, 6)
    hiss = generator.normal(0.0, 0.3, len(source)) * _per_sample(tracks.noise)
    speech = np.empty_like(source)
    voice_state, hiss_state = np.zeros((NUM_FORMANTS, 2)), np.zeros((1, 2))
    for frame in range(len(tracks.voicing)):
        block = slice(frame * FRAME, (frame + 1) * FRAME)
        speech[block], voice_state = sosfilt(formants[frame], source[block], zi=voice_state)
        if hiss[block].any():
            rough, hiss_state = sosfilt(friction[frame], hiss[block], zi=hiss_state)
            speech[block] += rough
    return speech


def _resonators(frequency: Signal, bandwidth: Signal) -> Signal:
    """Centres and widths in Hz (L, n) -> second-order sections (L, n, 6) with unit gain at 0 Hz."""
    frequency = np.minimum(frequency, 0.47 * SAMPLE_RATE)
    radius = np.exp(-np.pi * bandwidth / SAMPLE_RATE)
    a1 = -2.0 * radius * np.cos(2.0 * np.pi * frequency / SAMPLE_RATE)
    a2 = radius**2
    zero, one = np.zeros_like(a1), np.ones_like(a1)
    return np.stack([1.0 + a1 + a2, zero, zero, one, a1, a2], axis=-1)


def _per_sample(track: Signal) -> Signal:
    """Values of frames (L,) -> of samples (L * 160,), linear between them."""
    positions = np.arange(len(track) * FRAME) / FRAME
    return np.interp(positions, np.arange(len(track)) + 0.5, track)


def _record(speech: Signal, generator: np.random.Generator) -> Signal:
    """Speech (T,) -> a recording of it (T,) by a random microphone, at a random level, in random noise."""
    corners = np.array([0.0, 150.0, 400.0, 1000.0, 2500.0, 4500.0, 8000.0]) / (SAMPLE_RATE / 2)
    gains_db = generator.uniform(-2.0, 2.0, len(corners))
    gains_db[0] -= 20.0
    gains_db[-1] -= generator.uniform(0.0, 10.0)
    speech = fftconvolve(speech, firwin2(129, corners, 10.0 ** (gains_db / 20.0)), mode="same")
    speech /= np.sqrt(np.mean(speech**2))
    pole = generator.uniform(0.0, 0.95)  # from white to nearly brown
    noise = lfilter([1.0], [1.0, -pole], generator.normal(0.0, 1.0, len(speech)))
    noise *= 10.0 ** (-generator.uniform(25.0, 45.0) / 20.0) / np.sqrt(np.mean(noise**2))
    mixture = speech + noise
    level = 10.0 ** (generator.uniform(-38.0, -18.0) / 20.0)
    return np.clip(mixture * level, -1.0, 1.0)
