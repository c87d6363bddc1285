"""Utterances/s that one process reads and augments, against plain loops, in one run; and a list of a million.

    python benchmarks/data_path.py
    python benchmarks/data_path.py --million

The recordings are WAV files of 4 to 8 s in page cache, the same in a pack, in a pack of 8 parts and in 8
tars, FLAC files, the same in tars, and Ogg files; crops are of 2 s, in batches of 64 x 1. The plain
loops do what voxceleb_trainer's loader does: read each file whole into float64 and cut; four of five
utterances get one of reverberation (scipy.signal.convolve), music, babble or noise, whole files of 5 s,
mixed one by one.
"""

import argparse
import io
import multiprocessing
import resource
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.signal
import soundfile
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from lists import write_list

import runtime
import trainSpeakerNet
from audio.augment import Augmenter, Ranges, kinds_of, read_chain
from audio.noise import Material
from audio.pack import Pack
from audio.recordings import Recordings
from audio.utterances import Paths
from DatasetLoader import TrainData, TrainDataset
from preparation.index import index_tars
from preparation.pack import write_pack
from preparation.pack_parts import pack_and_verify
from preparation.parts import ListPart
from sampler._batches import Key

LENGTH = 32_240  # samples: --max_frames 200
BATCH = 64
SHARD = 1 << 26  # samples
SNR_DB = {"noise": (0.0, 15.0), "music": (5.0, 15.0), "babble": (13.0, 20.0)}
FOLDERS = {"noise": "noise", "music": "music", "babble": "speech"}
PARTS = 8  # of the pack in parts; tars
AGAINST = {  # what is measured -> what else it is compared with
    "pack in 8 parts": ("pack",),
    "WAV in 8 tars": ("pack", "WAV files"),
    "FLAC in 8 tars": ("FLAC files",),
}
CHAIN = "reverb:0.2|music:0.2|babble:0.2|noise:0.2"


def make(folder: Path, count: int, suffix: str, low_s: float, high_s: float, **settings: str) -> list[str]:
    """Noise in so many files -> their names."""
    generator, names = np.random.default_rng(0), []
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        samples = generator.normal(size=round(16_000 * generator.uniform(low_s, high_s)))
        names.append(f"{number}.{suffix}")
        soundfile.write(folder / names[-1], 0.1 * samples, 16_000, **settings)
    return names


def make_tars(folder: Path, names: list[str], target: Path) -> None:
    """Recordings -> the same in tars, and their index."""
    target.mkdir()
    for part in range(PARTS):
        with tarfile.open(target / f"{part}.tar", "w") as archive:
            for name in names[part::PARTS]:
                archive.add(folder / name, name)
                speaker = tarfile.TarInfo(f"{Path(name).stem}.spk")
                speaker.size = 1
                archive.addfile(speaker, io.BytesIO(b"s"))
    index_tars(target, target, 1)


def make_corpus(root: Path, count: int) -> None:
    """Speech in three formats, packs and tars, noises in files and a pack, rooms of 0.3 to 1 s."""
    for suffix in ("wav", "flac", "ogg"):
        names = make(root / suffix, count, suffix, 4.0, 8.0)
        if suffix == "wav":
            write_pack(root / suffix, names, root / "pack")
            for part in range(PARTS):
                pack_and_verify(root / suffix, names, root / "parts", 1, ListPart(part, PARTS))
        if suffix != "ogg":
            make_tars(root / suffix, names, root / f"{suffix}_tars")
    for kind in FOLDERS.values():
        make(root / "musan" / kind, 40, "wav", 5.0, 5.0)
    paths = [path.relative_to(root / "musan").as_posix() for path in (root / "musan").rglob("*.wav")]
    write_pack(root / "musan", paths, root / "musan_pack")
    make(root / "rirs", 40, "wav", 0.3, 1.0, subtype="FLOAT")
    for path in (root / "rirs").iterdir():
        noise, _ = soundfile.read(path)
        decay = np.exp(-6.9 * np.arange(len(noise)) / len(noise))
        noise[0] = 1.0
        soundfile.write(path, noise * decay, 16_000, subtype="FLOAT")


def read_whole(path: Path, generator: np.random.Generator) -> np.ndarray:
    """A crop (1, LENGTH) of a file that is read whole into float64."""
    audio, _ = soundfile.read(path)
    if len(audio) <= LENGTH:
        audio = np.pad(audio, (0, LENGTH + 1 - len(audio)), "wrap")
    start = int(generator.random() * (len(audio) - LENGTH))
    return audio[None, start : start + LENGTH]


def plain_noise(root: Path, kind: str, audio: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Audio (1, LENGTH) with files of a kind added, each at its own SNR."""
    count = generator.integers(3, 8) if kind == "babble" else 1
    clean_db, pieces = 10 * np.log10(np.mean(audio**2) + 1e-4), []
    for _ in range(count):
        noise = read_whole(root / "musan" / FOLDERS[kind] / f"{generator.integers(40)}.wav", generator)
        noise_db = 10 * np.log10(np.mean(noise**2) + 1e-4)
        snr_db = generator.uniform(*SNR_DB[kind])
        pieces.append(np.sqrt(10 ** ((clean_db - noise_db - snr_db) / 10)) * noise)
    return audio + np.sum(np.concatenate(pieces, axis=0), axis=0, keepdims=True)


def plain_batch(
    root: Path, numbers: list[int], generator: np.random.Generator, augmented: bool
) -> torch.Tensor:
    """Crops (B, 1, LENGTH) as voxceleb_trainer makes them."""
    crops = []
    for number in numbers:
        audio = read_whole(root / "wav" / f"{number}.wav", generator)
        kind = generator.integers(5) if augmented else 0
        if kind == 1:
            response, _ = soundfile.read(root / "rirs" / f"{generator.integers(40)}.wav")
            response = response[None] / np.sqrt(np.sum(response**2))
            audio = scipy.signal.convolve(audio, response, mode="full")[:, :LENGTH]
        elif kind > 1:
            audio = plain_noise(root, ("music", "babble", "noise")[kind - 2], audio, generator)
        crops.append(audio)
    return torch.FloatTensor(np.stack(crops))


def dataset(root: Path, place: str, count: int, augmenter: Augmenter | None = None) -> TrainDataset:
    """Every file a speaker of its own."""
    suffix = place.partition("_")[0] if place not in ("pack", "parts") else "wav"
    names = (f"{number}.{suffix}" for number in range(count))
    if place.endswith("_tars"):
        names = (f"{number % PARTS}.tar/{name}" for number, name in enumerate(names))
    recordings = Recordings(str(root / place), Paths.of(names))
    return TrainDataset(np.arange(count), recordings, LENGTH, 1, augmenter=augmenter)


def ways(root: Path, count: int) -> dict[str, Callable[[int, list[int]], object]]:
    """Names of what is measured -> functions of round and utterances."""
    made: dict[str, Callable[[int, list[int]], object]] = {}

    def plain(name: str, augmented: bool) -> None:
        made[name] = lambda epoch, n: plain_batch(root, n, np.random.default_rng(epoch), augmented)

    def ours(name: str, data: TrainDataset) -> None:
        def batch(epoch: int, numbers: list[int]) -> object:
            utterances = np.array(numbers)[:, None]
            return data[Key(epoch, utterances, np.zeros_like(utterances))]

        made[name] = batch

    ranges = Ranges(SNR_DB, (3.0, 7.0), (-10.0, 10.0), (-10.0, 10.0))
    stages, augmenters = read_chain(CHAIN), dict[str, Augmenter]()
    for musan in ("musan", "musan_pack"):
        material = Material(kinds_of(stages), str(root / musan), str(root / "rirs"))
        augmenters[musan] = Augmenter(stages, material, ranges, ())
    plain("plain loop", False)
    ours("WAV files", dataset(root, "wav", count))
    ours("pack", dataset(root, "pack", count))
    ours("pack in 8 parts", dataset(root, "parts", count))
    ours("WAV in 8 tars", dataset(root, "wav_tars", count))
    ours("FLAC files", dataset(root, "flac", count))
    ours("FLAC in 8 tars", dataset(root, "flac_tars", count))
    ours("Ogg Vorbis files", dataset(root, "ogg", count))
    plain("plain loop, augmented", True)
    ours("WAV files, augmented from files", dataset(root, "wav", count, augmenters["musan"]))
    ours("pack, augmented from a pack", dataset(root, "pack", count, augmenters["musan_pack"]))
    return made


def measure(root: Path, count: int, rounds: int) -> None:
    """Print utterances/s and the ratios to the plain loops."""
    torch.set_num_threads(1)
    rates, made = dict[str, list[float]](), ways(root, count)
    for epoch in range(rounds + 1):
        for name, work in made.items():
            batches = (
                np.random.default_rng(epoch).permutation(count)[: count // BATCH * BATCH].reshape(-1, BATCH)
            )
            began = time.perf_counter()
            for numbers in batches.tolist():
                work(epoch, numbers)
            rates.setdefault(name, []).append(batches.size / (time.perf_counter() - began))
    for name, each in rates.items():
        each = each[1:]  # the first round fills the page cache
        against = "plain loop, augmented" if "augmented" in name else "plain loop"
        print(f"{name}: {statistics.median(each):.0f} utterances/s", end="")
        for other in (against, *AGAINST.get(name, ())):
            ratios = sorted(a / b for a, b in zip(each, rates[other][1:], strict=True))
            spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
            print(f", {statistics.median(ratios):.2f} times the {other} ({spread})", end="")
        print()


def make_million(folder: Path, count: int) -> None:
    """A list like VoxCeleb2's and its pack; the samples overlap in one shard."""
    write_list(folder / "train.txt", count, 5994)
    paths = [line.partition(" ")[2] for line in (folder / "train.txt").read_text().splitlines()]
    generator = np.random.default_rng(0)
    lengths = generator.integers(64_000, 128_000, count)
    starts = generator.integers(0, SHARD - 128_000, count)
    places = np.stack([np.zeros(count, int), starts, lengths, starts, lengths, starts], axis=1)
    compact = Paths.of(paths)
    (folder / "pack").mkdir()
    np.savez(folder / "pack" / Pack.INDEX, text=compact.text, ends=compact.ends, places=places)
    np.lib.format.open_memmap(folder / "pack" / "0000.npy", "w+", np.int16, (SHARD,))


def own_mb(pid: str = "self") -> float:
    """Memory of a process that it shares with no other, MB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private")) / 1000


def measure_million(folder: Path) -> None:
    """Print seconds and memory from the list to the first batches, with two workers."""
    words = ["--model=ResNetSE34L", "--trainfunc=amsoftmax", "--test_list=", "--nDataLoaderThread=2"]
    words += [f"--train_list={folder}/train.txt", f"--train_path={folder}/pack", "--max_frames=30"]
    args = trainSpeakerNet.parse(words)[0]
    before, began = own_mb(), time.perf_counter()
    data = TrainData.read(args, runtime.CPU)
    ready, size = time.perf_counter(), own_mb() - before
    data.sampler.set_epoch(1)
    data.sampler.plan(1)
    planned = time.perf_counter()
    batches = iter(data.loader)  # plans the epoch again
    next(batches)
    ended = time.perf_counter()
    for _ in range(200):
        next(batches)
    workers = [own_mb(str(process.pid)) for process in multiprocessing.active_children()]
    print(f"list, pack and sampler: {ready - began:.2f} s, {size:.0f} MB")
    print(f"plan of an epoch: {planned - ready:.2f} s; first batch: {ended - ready:.2f} s")
    print(f"start: {ready - began + ended - planned:.2f} s")
    print(f"private memory after 201 batches: {own_mb() - before:.0f} MB more than after the imports")
    print(f"private memory of the workers: {' and '.join(f'{each:.0f} MB' for each in workers)}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    print(f"peak, with {before:.0f} MB of imports and what is shared: {peak:.0f} MB")


def main() -> None:
    """Measure one of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--files", type=int, default=640)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--million", action="store_true", help="a list of a million utterances instead")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if args.million:  # measured in a process of its own, which did not make the list
            make_million(Path(name), 1_000_000)
            code = f"import data_path; data_path.measure_million(data_path.Path({name!r}))"
            subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent)
        else:
            make_corpus(Path(name), args.files)
            measure(Path(name), args.files, args.rounds)


if __name__ == "__main__":
    main()
