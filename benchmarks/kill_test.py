"""Whether a training survives SIGKILL at random moments, also while it saves.

It is killed and the same command given again, until the training has come to its end.

python benchmarks/kill_test.py --kills 100
python benchmarks/kill_test.py --kills 20 --nproc 2      kills either process, or the one that started them

Trains a small network on noise twice: once undisturbed, once killed so many times. Afterwards the weights
must be equal bit for bit and no file may be damaged; exits with 1 otherwise. States are saved after every few
steps, so that many kills fall into saving.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import soundfile
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from storage import checkpoint  # noqa: E402

SPEAKERS, UTTERANCES = 12, 4


def make_corpus(root: Path) -> None:
    """Noise in files, a train list and a trial list."""
    generator, lines = np.random.default_rng(0), []
    for speaker in range(SPEAKERS):
        for utterance in range(UTTERANCES):
            path = root / f"s{speaker}" / f"{utterance}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, 0.1 * generator.normal(size=16_000), 16_000)
            lines.append(f"s{speaker} s{speaker}/{utterance}.wav\n")
    (root / "train.txt").write_text("".join(lines))
    (root / "test.txt").write_text("1 s0/0.wav s0/1.wav\n0 s0/0.wav s1/0.wav\n")


def command(root: Path, save_path: Path, epochs: int, nproc: int) -> list[str]:
    """The training's command line."""
    lists = [f"--{kind}_list={root / kind}.txt" for kind in ("train", "test")]
    words = ["--model=ResNetSE34L", "--trainfunc=angleproto", "--device=cpu", "--nDataLoaderThread=1", *lists]
    words += [f"--train_path={root}", f"--test_path={root}", f"--save_path={save_path}", "--batch_size=2"]
    words += ["--max_frames=50", "--eval_frames=50", "--num_eval=1", "--augment", "--augment_chain=gain:0.5"]
    words += [f"--max_epoch={epochs}", "--test_interval=5", "--save_interval=0.002", f"--nproc={nproc}"]
    return [sys.executable, str(ROOT / "trainSpeakerNet.py"), *words]


def run(words: list[str], seconds: float | None = None, victim: int = 0) -> bool:
    """Run, and kill after so many seconds -> whether it came to its end before.

    victim: 0 for the process itself, else the number of one that it has started, if it has.
    """
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            told, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            ranks = [process.pid, *children(process.pid)]
            os.kill(ranks[victim % len(ranks)], signal.SIGKILL)
            process.communicate()
            while any(Path(f"/proc/{rank}").exists() for rank in ranks):  # without their starter they end too
                time.sleep(0.05)
            return False
    if process.returncode:
        sys.exit(f"the training failed with {process.returncode}:\n{told}")
    return True


def children(parent: int) -> list[int]:
    """Process id -> those of the processes that it has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(path.read_text(encoding="utf-8").rpartition(")")[2].split()[1]) == parent:
                found.append(int(path.parent.name))
    return sorted(found)


def damaged(folder: Path) -> list[str]:
    """A run folder -> its files that can't be read whole."""
    found = []
    for path in folder.rglob("*"):
        try:
            if path.suffix == ".model":
                checkpoint.load_model(str(path))
            elif path.name.endswith((".state", ".before")):
                checkpoint.load_state(path)
        except ValueError as error:
            found.append(str(error))
    return found


def equal(first: object, second: object) -> bool:
    """Whether two states hold the same, bit for bit."""
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(equal(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return len(first) == len(second) and all(map(equal, first, second))
    return first == second


def main() -> None:
    """Print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=0, help="of the training; default: 6 for each kill")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--nproc", type=int, default=1, help="processes of the training")
    args = parser.parse_args()
    generator = np.random.default_rng(args.seed)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        make_corpus(root)
        epochs = args.epochs or 6 * args.kills
        began = time.perf_counter()
        run(command(root, root / "start", 1, args.nproc))
        start_s = time.perf_counter() - began  # of a process that trains next to nothing
        run(command(root, root / "whole", epochs, args.nproc))
        kills = saving = 0
        while kills < args.kills:
            victim = int(generator.integers(args.nproc + 1)) if args.nproc > 1 else 0
            words = command(root, root / "parts", epochs, args.nproc)
            if run(words, start_s * generator.uniform(0.3, 1.6), victim):
                break
            kills += 1
            saving += bool(list((root / "parts").rglob("*.tmp")) or list((root / "parts").rglob("*.new")))
            if bad := damaged(root / "parts"):
                sys.exit(f"after {kills} kills: {'; '.join(bad)}")
        run(command(root, root / "parts", epochs, args.nproc))
        states = [checkpoint.load_state(root / part / "state" / "last.state") for part in ("whole", "parts")]
        same = equal(*(state["trainer"] for state in states))
        told = f"{kills} kills, {saving} of them while a state was written, in {epochs} epochs"
        print(f"{told}; no file damaged")
        print(f"weights and the rest of the state are {'equal bit for bit' if same else 'NOT equal'}")
        sys.exit(not same)


if __name__ == "__main__":
    main()
