"""Files/s of dataprep.py's --check, --convert and --pack against plain single-process loops, in one run.

    python benchmarks/prepare_corpora.py

FLAC files of 3 to 8 s at 16 kHz are checked and packed, WAV files at 44.1 kHz converted; all in page cache.
The loop to check decodes each file and takes peak, mean and digest; the loop to convert resamples and writes;
the loop to pack copies the decoded samples of all files into one file.
"""

import argparse
import hashlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).parent.parent))

from audio.recording import AudioFile
from preparation import check, convert
from preparation.pack import write_pack


def write_noise(folder: Path, count: int, suffix: str, rate: int) -> list[str]:
    """Write `count` files of noise with a slow envelope -> their names."""
    generator = np.random.default_rng(0)
    names: list[str] = []
    folder.mkdir()
    for number in range(count):
        samples = round(rate * generator.uniform(3.0, 8.0))
        envelope = 0.1 + 0.05 * np.sin(np.arange(samples) / rate * generator.uniform(2, 6))
        names.append(f"s{number % 20}-{number}.{suffix}")
        soundfile.write(folder / names[-1], generator.normal(size=samples) * 0.3 * envelope, rate)
    return names


def check_loop(root: Path, names: list[str]) -> None:
    """Decode, compute statistics and digest."""
    for name in names:
        audio = AudioFile(str(root / name)).whole()
        np.abs(audio).max(), audio.mean(), np.square(audio).mean(), hashlib.md5(audio.tobytes()).digest()


def convert_loop(root: Path, names: list[str], target: Path) -> None:
    """Decode, resample, write."""
    target.mkdir()
    for name in names:
        soundfile.write(target / name, AudioFile(str(root / name)).whole(), 16_000, subtype="PCM_16")


def copy_loop(root: Path, names: list[str], target: Path) -> None:
    """Decode, append."""
    with target.open("wb") as stream:
        for name in names:
            stream.write(soundfile.read(root / name, dtype="int16")[0].tobytes())


def seconds(work: Callable[..., object], *arguments: object) -> float:
    """Wall-clock time of one call."""
    began = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - began


def main() -> None:
    """Print one line for each step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--files", type=int, default=600)
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    times_of: dict[str, list[tuple[float, float]]] = {"check": [], "convert": [], "pack": []}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        flac = write_noise(root / "flac", args.files, "flac", 16_000)
        wav = write_noise(root / "wav", args.files // 4, "wav", 44_100)
        listed = check.Listed({path: path.split("-")[0] for path in flac}, [], {})
        for run in range(args.runs):
            ours = seconds(check.check_recordings, root / "flac", listed)
            times_of["check"].append((ours, seconds(check_loop, root / "flac", flac)))
            jobs = [convert.Job(root / "wav" / path, root / f"out{run}" / path) for path in wav]
            ours = seconds(convert.convert_files, jobs)
            times_of["convert"].append((ours, seconds(convert_loop, root / "wav", wav, root / f"plain{run}")))
            ours = seconds(write_pack, root / "flac", flac, root / f"pack{run}")
            times_of["pack"].append((ours, seconds(copy_loop, root / "flac", flac, root / "copy.bin")))
    for step, times in times_of.items():
        files = len(wav) if step == "convert" else len(flac)
        ours = statistics.median(a for a, _ in times)
        faster = sorted(b / a for a, b in times)
        print(
            f"--{step}: {files / ours:.0f} files/s, {statistics.median(faster):.2f} times the plain loop "
            f"({faster[0]:.2f} to {faster[-1]:.2f})"
        )


if __name__ == "__main__":
    main()
