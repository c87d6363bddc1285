"""Diarization error rates on mixtures of real speech, and how fast `diarize` is.

python benchmarks/diarization.py --data FOLDER
python benchmarks/diarization.py --data FOLDER --mixtures 6 --minutes 2 2 --kept mixtures

FOLDER has recordings SPEAKER/SESSION/CLIP of one speaker each. A mixture has turns of 2 to 6 speakers, one
session of each, at levels of their own, with pauses of 0.1 to 2 s; one turn in seven begins before the one
before has ended. A turn is one to four clips; clips come again once all of their speaker's were used. White
noise lies 30 dB below the mean level. The reference has a turn from the first to the last loud part of each
clip, and those of one speaker joined over pauses up to 0.5 s. Windows and embeddings are kept in --kept.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from audio.recording import SAMPLE_RATE, Audio
from inference.audio_input import read_audio
from inference.diarization.turns import Turn, assign
from inference.diarization.windows import Windows, embed_windows, find_windows, windows_in
from metrics.diarization import DiarizationError, diarization_error

if TYPE_CHECKING:
    from inference.voices import Voice

LEAST_CLIPS = 4  # of a session
JOINED_S = 0.5
COLLARS_S = (0.0, 0.25)
BELOW_PEAK_DB = 30.0  # of a clip's loudest 10 ms, is what it begins and ends with
NOISE_DB = -56.0  # below full scale
LEVEL_DB = (-30.0, -22.0)  # of a speaker


class Mixture(NamedTuple):
    """Windows (W,) of a recording, their embeddings (W, D), who spoke, and how long both took."""

    windows: Windows
    vectors: np.ndarray
    reference: list[Turn]
    duration_s: float
    seconds: float


def sessions(root: Path) -> dict[str, list[Path]]:
    """Folder -> the clips of the largest session of each speaker, if that is large enough."""
    found = dict[str, list[Path]]()
    for speaker in sorted(path for path in root.iterdir() if path.is_dir()):
        clips = [sorted(session.iterdir()) for session in sorted(speaker.iterdir())]
        largest = max(clips, key=len)
        if len(largest) >= LEAST_CLIPS:
            found[speaker.name] = largest
    return found


def corpus_of(speaker: str) -> str:
    """Name of a speaker -> of the corpus: the letters it begins with."""
    return speaker[:2]


def choose(speakers: list[str], count: int, generator: np.random.Generator) -> list[str]:
    """Speakers -> so many of them; each corpus is as likely as another."""
    by_corpus = dict[str, list[str]]()
    for speaker in speakers:
        by_corpus.setdefault(corpus_of(speaker), []).append(speaker)
    chosen = list[str]()
    while len(chosen) < count:
        corpus = by_corpus[list(by_corpus)[generator.integers(len(by_corpus))]]
        speaker = corpus[generator.integers(len(corpus))]
        if speaker not in chosen:
            chosen.append(speaker)
    return chosen


class Talker:
    """A speaker of a mixture, who says one clip after another."""

    def __init__(self, clips: list[Path], generator: np.random.Generator) -> None:
        """The clips, in an order that is drawn, as is the level."""
        self.clips = clips
        self.order = generator.permutation(len(clips)).tolist()
        self.level_db = generator.uniform(*LEVEL_DB)
        self.said = 0

    def clip(self) -> tuple[Audio, int, int]:
        """The next one: samples (T,) at the speaker's level, and where its speech begins and ends."""
        audio = read_audio(self.clips[self.order[self.said % len(self.order)]]).waveform
        self.said += 1
        power = np.square(audio[: len(audio) // 160 * 160]).reshape(-1, 160).mean(axis=1)
        loud = np.flatnonzero(power > power.max() * 10 ** (-BELOW_PEAK_DB / 10))
        gain = 10 ** (self.level_db / 20) / np.sqrt(power[loud].mean())
        return (audio * gain).astype(np.float32), int(loud[0]) * 160, int(loud[-1] + 1) * 160


def make(
    chosen: dict[str, list[Path]], duration_s: float, generator: np.random.Generator
) -> tuple[Audio, list[Turn]]:
    """Speakers with their clips -> a recording (T,), and who speaks when in it."""
    talkers = {speaker: Talker(clips, generator) for speaker, clips in chosen.items()}
    names, shares = list(talkers), generator.dirichlet(np.full(len(talkers), 3.0))
    audio = np.zeros(round((duration_s + 60.0) * SAMPLE_RATE), np.float32)
    turns = list[Turn]()
    place, speaker, used = round(0.5 * SAMPLE_RATE), "", 0
    while used < duration_s * SAMPLE_RATE:
        others = np.array([share * (name != speaker) for name, share in zip(names, shares, strict=True)])
        others[others > 0] += 0.05  # nobody is silent
        speaker = names[generator.choice(len(names), p=others / others.sum())]
        for _ in range(generator.integers(1, 5)):
            clip, start, end = talkers[speaker].clip()
            audio[place : place + len(clip)] += clip[: len(audio) - place]
            turns.append(Turn((place + start) / SAMPLE_RATE, (place + end) / SAMPLE_RATE, speaker))
            used = max(used, place + len(clip))
            place += len(clip) + round(generator.uniform(0.05, 0.3) * SAMPLE_RATE)
        pause_s = (
            generator.uniform(-1.5, -0.5) if generator.random() < 1 / 7 else 0.1 + generator.exponential(0.4)
        )
        place = used + round(min(pause_s, 2.0) * SAMPLE_RATE)
    audio = audio[: used + SAMPLE_RATE // 2]
    noise = generator.normal(scale=10 ** (NOISE_DB / 20), size=len(audio))
    return (audio + noise).clip(-1.0, 1.0).astype(np.float32), joined(turns)


def joined(turns: list[Turn]) -> list[Turn]:
    """Turns -> those of one speaker as one where the pause between them is short."""
    result = list[Turn]()
    last = dict[str, int]()
    for turn in sorted(turns):
        place = last.get(turn.speaker)
        if place is not None and turn.start_s - result[place].end_s <= JOINED_S:
            result[place] = result[place]._replace(end_s=max(turn.end_s, result[place].end_s))
            continue
        last[turn.speaker] = len(result)
        result.append(turn)
    return result


def mixture(number: int, args: argparse.Namespace, clips: dict[str, list[Path]]) -> Mixture:
    """Number of a mixture -> what is known of it, computed once."""
    longest = "-".join(f"{minutes:g}" for minutes in args.minutes)
    place = Path(args.kept, f"{Path(args.data).name}_{longest}_{args.vad}_{args.seed}_{number}.npz")
    if args.kept and place.is_file():
        with np.load(place) as content:
            reference = [
                Turn(start_s, end_s, name)
                for (start_s, end_s), name in zip(
                    content["times"].tolist(), content["names"].tolist(), strict=True
                )
            ]
            windows = windows_in(content["regions"])
            return Mixture(windows, content["vectors"], reference, *content["durations"].tolist())
    generator = np.random.default_rng([args.seed, number])
    chosen = choose(list(clips), int(generator.integers(2, 7)), generator)
    minutes = generator.uniform(*args.minutes)
    audio, reference = make({name: clips[name] for name in chosen}, 60.0 * minutes, generator)
    start = time.perf_counter()
    windows = find_windows(audio, args.vad)
    vectors = embed_windows(voice_of(args), audio, windows)
    seconds = time.perf_counter() - start
    durations = len(audio) / SAMPLE_RATE, seconds
    if args.kept:
        place.parent.mkdir(parents=True, exist_ok=True)
        np.savez(
            place,
            regions=windows.regions,
            vectors=vectors,
            times=np.array([turn[:2] for turn in reference]),
            names=np.array([turn.speaker for turn in reference]),
            durations=np.array(durations),
        )
    return Mixture(windows, vectors, reference, *durations)


def voice_of(args: argparse.Namespace) -> "Voice":
    """The command line -> the voice, loaded once."""
    from inference.voices import load

    if "voice" not in args:
        args.voice = load(args.initial_model)
    voice: Voice = args.voice
    return voice


def overlapping(turns: list[Turn]) -> list[tuple[float, float]]:
    """Turns -> when two speakers speak at once."""
    pairs = [(one, other) for place, one in enumerate(turns) for other in turns[place + 1 :]]
    times = [
        (max(one.start_s, other.start_s), min(one.end_s, other.end_s))
        for one, other in pairs
        if one.speaker != other.speaker
    ]
    return [(start, end) for start, end in times if end > start]


def common_s(one: list[tuple[float, float]], other: list[tuple[float, float]]) -> float:
    """Two lists of intervals, none of which overlap in a list -> seconds that both have."""
    return sum(max(0.0, min(a[1], b[1]) - max(a[0], b[0])) for a in one for b in other)


def show(name: str, errors: list[DiarizationError]) -> None:
    """Print a line of error rates, in percent of the speech of all mixtures, and the median of their DERs."""
    total = np.array(errors).sum(axis=0)
    shares = "  ".join(f"{100 * value / total[3]:6.2f}" for value in (total[:3].sum(), *total[:3]))
    print(f"{name:42}  {shares}  {100 * np.median([error.rate for error in errors]):6.2f}")


def show_overlaps(mixtures: list[Mixture]) -> None:
    """Print how much of what is marked as an overlap is one, and how much of the overlaps is marked."""
    right_s = marked_s = real_s = 0.0
    for each in mixtures:
        real = overlapping(each.reference)
        marked = [mark[:2] for mark in assign(each.windows, each.vectors).overlaps]
        right_s += common_s(marked, real)
        marked_s += sum(end - start for start, end in marked)
        real_s += sum(end - start for start, end in real)
    precision, recall = (100 * right_s / max(whole_s, 1e-9) for whole_s in (marked_s, real_s))
    print(
        f"overlaps: {real_s:.0f} s, {marked_s:.0f} s marked; "
        f"precision {precision:.0f} %, recall {recall:.0f} %"
    )


def main() -> None:
    """Print error rates and speed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", required=True, help="folder of recordings SPEAKER/SESSION/CLIP")
    parser.add_argument("--mixtures", type=int, default=50)
    parser.add_argument("--minutes", type=float, nargs=2, default=[2.0, 10.0], help="shortest and longest")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kept", default="", help="folder that keeps windows and embeddings")
    parser.add_argument("--initial_model", default="campplus-zh-en")
    parser.add_argument("--vad", default="energy", choices=("energy", "webrtc", "silero"))
    args = parser.parse_args()
    clips = sessions(Path(args.data))
    mixtures = [mixture(number, args, clips) for number in range(args.mixtures)]
    true = [len({turn.speaker for turn in each.reference}) for each in mixtures]
    start = time.perf_counter()
    turns = {
        "estimated": [assign(each.windows, each.vectors).turns for each in mixtures],
        "given": [
            assign(each.windows, each.vectors, count).turns
            for each, count in zip(mixtures, true, strict=True)
        ],
    }
    seconds = sum(each.seconds for each in mixtures) + (time.perf_counter() - start) / 2
    minutes = sum(each.duration_s for each in mixtures) / 60
    print(f"{len(mixtures)} mixtures, {minutes:.1f} minutes, {minutes / seconds:.2f} minutes a second")
    print(f"{'percent of speech':42}  {'DER':>6}  {'miss':>6}  {'fa':>6}  {'conf':>6}  {'median':>6}")
    for name, hypotheses in turns.items():
        for collar_s in COLLARS_S:
            errors = [
                diarization_error(each.reference, turns, collar_s)
                for each, turns in zip(mixtures, hypotheses, strict=True)
            ]
            show(f"number of speakers {name}, collar {collar_s:g}", errors)
    found = [len({turn.speaker for turn in turns}) for turns in turns["estimated"]]
    right, close = (sum(abs(a - b) <= most for a, b in zip(found, true, strict=True)) for most in (0, 1))
    print(f"number of speakers: {right} of {len(mixtures)} right, {close} within 1")
    show_overlaps(mixtures)


if __name__ == "__main__":
    main()
