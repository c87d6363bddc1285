"""Time and memory of lists of ten million utterances of 120,000 speakers (VoxBlink2's size), and growth.

    python benchmarks/large_lists.py --utterances 1000000 10000000 --steps train generate check pack

Each step is a process of its own; its seconds are without the imports, its peak of resident memory is with
them. Speakers have unequal numbers of utterances. Their folders are links to one folder of a thousand
recordings, so that every path of the lists exists.

train: reading and checking the list, the sampler, an epoch's order, and the first batch of two workers.
generate: dataprep.py --generate --from LIST. check, pack: what --check and --pack do with the lists besides
reading recordings.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).parent.parent))

FOLDERS = 100
FILES = 10  # in each folder


def make_corpus(folder: Path, utterances: int, speakers: int) -> None:
    """A train list, and the recordings that it names."""
    generator = np.random.default_rng(0)
    names = [f"video{number:06d}" for number in range(FOLDERS)]
    for name in names:
        (folder / "pool" / name).mkdir(parents=True)
        for take in range(FILES):
            samples = 0.1 * generator.standard_normal(8000)
            soundfile.write(folder / "pool" / name / f"{take:05d}.wav", samples, 16_000)
    for speaker in range(speakers):
        (folder / f"id{speaker:06d}").symlink_to("pool")
    mean = utterances / speakers
    counts = np.clip(generator.gamma(2.0, mean / 2.0, speakers), 1, FOLDERS * FILES).astype(int)
    counts = np.minimum(counts, FOLDERS * FILES)
    written = 0
    with (folder / "train.txt").open("w") as stream:
        for speaker, count in enumerate(counts.tolist()):
            count = min(count, utterances - written) if speaker < speakers - 1 else count
            written += count
            takes = [f"{names[take // FILES]}/{take % FILES:05d}.wav" for take in range(count)]
            stream.writelines(f"id{speaker:06d} id{speaker:06d}/{take}\n" for take in takes)


def train(folder: Path) -> None:
    """What --train_list needs before and with the first batch."""
    import runtime
    import trainSpeakerNet
    from DatasetLoader import TrainData

    words = ["--model=ResNetSE34L", "--trainfunc=amsoftmax", "--test_list=", "--nDataLoaderThread=2"]
    words += [f"--train_list={folder}/train.txt", f"--train_path={folder}", "--max_frames=30"]
    values = trainSpeakerNet.parse(words)[0]
    began = time.perf_counter()
    data = TrainData.read(values, runtime.CPU)
    ready = time.perf_counter()
    data.sampler.set_epoch(1)
    data.sampler.plan(1)
    planned = time.perf_counter()
    next(iter(data.loader))
    ended = time.perf_counter()
    print(f"{len(data.utterances.paths)} utterances of {len(data.utterances.speakers)} speakers")
    print(f"list, check and sampler {ready - began:.1f} s, an epoch's order {planned - ready:.1f} s,")
    print(f"with the first batch {ready - began + ended - planned:.1f} s")


def generate(folder: Path) -> None:
    """A train list and trials from a list."""
    import dataprep

    began = time.perf_counter()
    words = ["--generate", "--from", f"{folder}/train.txt", "--save_path", f"{folder}/out"]
    assert dataprep.main([*words, "--num_trials", "1000000"]) == 0
    print(f"{time.perf_counter() - began:.1f} s")


def check(folder: Path) -> None:
    """The list as --check holds it."""
    from preparation.inspect import read_lists
    from preparation.targets import Target

    began = time.perf_counter()
    listed = read_lists(Target("own", folder, folder / "train.txt", ())).listed()
    print(f"{len(listed.train)} paths, {time.perf_counter() - began:.1f} s")


def pack(folder: Path) -> None:
    """The list as --pack holds it; its index, written and read."""
    from audio.lists import read_train_list
    from audio.pack import Pack
    from preparation.inspect import read_lists
    from preparation.pack import missing, write_index
    from preparation.targets import Target

    began = time.perf_counter()
    paths = read_lists(Target("own", folder, folder / "train.txt", ())).paths()
    wanted = missing(folder, paths, None, folder / "pack")
    (folder / "pack").mkdir(exist_ok=True)
    write_index(folder / "pack", wanted, np.zeros((len(wanted), Pack.COLUMNS), np.int64), ())
    np.lib.format.open_memmap(folder / "pack" / "0000.npy", "w+", np.int16, (1,))
    written = time.perf_counter()
    listed = read_train_list(f"{folder}/train.txt")
    read = time.perf_counter()
    Pack(folder / "pack").rows(listed.paths)
    print(f"{written - began:.1f} s to the index, {time.perf_counter() - read:.1f} s to look all of it up")


STEPS = {step.__name__: step for step in (train, generate, check, pack)}


def main() -> None:
    """Print time and memory of each step at each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--utterances", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--speakers", type=int, default=120_000)
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS))
    args = parser.parse_args()
    for count in args.utterances:
        with tempfile.TemporaryDirectory() as name:
            make_corpus(Path(name), count, args.speakers)
            for step in args.steps:
                print(f"{count}, {step}:", flush=True)
                code = f"import large_lists; large_lists.STEPS[{step!r}](large_lists.Path({name!r}))"
                process = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parent)
                _, status, usage = os.wait4(process.pid, 0)
                print(f"exit status {status}, peak {usage.ru_maxrss / 1e6:.2f} GB", flush=True)


if __name__ == "__main__":
    main()
