"""Whether a training survives SIGKILL at random moments, also while it saves.

It is killed and the same command repeated until the training is complete.

python benchmarks/kill_test.py --kills 100
python benchmarks/kill_test.py --kills 20 --nproc 2      kills either process, or their launcher

Trains a small network on noise twice: once undisturbed and once with kills. Afterwards the weights must be
equal bit for bit and no file may be damaged; exits with 1 otherwise. States are saved after every few steps,
so that many kills happen while a state is written.
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


def write_corpus(root: Path) -> None:
    """Write recordings of noise, a train list and a trial list."""
    generator = np.random.default_rng(0)
    lines = []
    for speaker in range(SPEAKERS):
        for utterance in range(UTTERANCES):
            path = root / f"s{speaker}" / f"{utterance}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, 0.1 * generator.normal(size=16_000), 16_000)
            lines.append(f"s{speaker} s{speaker}/{utterance}.wav\n")
    (root / "train.txt").write_text("".join(lines))
    (root / "test.txt").write_text("1 s0/0.wav s0/1.wav\n0 s0/0.wav s1/0.wav\n")


def train_command(root: Path, save_path: Path, epochs: int, num_processes: int) -> list[str]:
    """The command line of a training."""
    options = {
        "model": "ResNetSE34L",
        "trainfunc": "angleproto",
        "device": "cpu",
        "nDataLoaderThread": 1,
        "train_list": root / "train.txt",
        "test_list": root / "test.txt",
        "train_path": root,
        "test_path": root,
        "save_path": save_path,
        "batch_size": 2,
        "max_frames": 50,
        "eval_frames": 50,
        "num_eval": 1,
        "augment": True,
        "augment_chain": "gain:0.5",
        "max_epoch": epochs,
        "test_interval": 5,
        "save_interval": 0.002,
        "nproc": num_processes,
    }
    words = [f"--{name}={value}" for name, value in options.items()]
    return [sys.executable, str(ROOT / "trainSpeakerNet.py"), *words]


def run(command: list[str], kill_after_s: float | None = None, victim: int = 0) -> bool:
    """Run a command and kill it after some seconds -> whether it ended before that.

    victim: 0 to kill the process itself, else the number of one of its child processes, if it has any.
    """
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            output, _ = process.communicate(timeout=kill_after_s)
        except subprocess.TimeoutExpired:
            pids = [process.pid, *children(process.pid)]
            os.kill(pids[victim % len(pids)], signal.SIGKILL)
            process.communicate()
            while any(Path(f"/proc/{pid}").exists() for pid in pids):  # without their launcher they end too
                time.sleep(0.05)
            return False
    if process.returncode:
        sys.exit(f"the training failed with exit code {process.returncode}:\n{output}")
    return True


def children(parent: int) -> list[int]:
    """Process id -> the ids of its child processes."""
    pids = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(path.read_text(encoding="utf-8").rpartition(")")[2].split()[1]) == parent:
                pids.append(int(path.parent.name))
    return sorted(pids)


def damaged_files(folder: Path) -> list[str]:
    """A run folder -> the errors of its models and states that cannot be read."""
    errors = []
    for path in folder.rglob("*"):
        try:
            if path.suffix == ".model":
                checkpoint.load_model(str(path))
            elif path.name.endswith((".state", ".before")):
                checkpoint.load_state(path)
        except ValueError as error:
            errors.append(str(error))
    return errors


def equal(first: object, second: object) -> bool:
    """Whether two states are equal bit for bit."""
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(equal(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return len(first) == len(second) and all(map(equal, first, second))
    return first == second


def train_with_kills(root: Path, args: argparse.Namespace, epochs: int) -> str:
    """Kill trainings in root/parts at random moments, then let the last one finish -> how often."""
    generator = np.random.default_rng(args.seed)
    began = time.perf_counter()
    run(train_command(root, root / "start", 1, args.nproc))
    start_s = time.perf_counter() - began  # of a training with next to no steps
    command = train_command(root, root / "parts", epochs, args.nproc)
    kills = 0
    kills_in_saving = 0
    while kills < args.kills:
        victim = int(generator.integers(args.nproc + 1)) if args.nproc > 1 else 0
        if run(command, start_s * generator.uniform(0.3, 1.6), victim):
            break
        kills += 1
        kills_in_saving += any((root / "parts").rglob("*.tmp")) or any((root / "parts").rglob("*.new"))
        if errors := damaged_files(root / "parts"):
            sys.exit(f"after {kills} kills: {'; '.join(errors)}")
    run(command)
    return f"{kills} kills, {kills_in_saving} of them while a state was written, in {epochs} epochs"


def main() -> None:
    """Print whether the training survived."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=0, help="of the training; default: 6 for each kill")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--nproc", type=int, default=1, help="processes of the training")
    args = parser.parse_args()
    epochs = args.epochs or 6 * args.kills
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write_corpus(root)
        run(train_command(root, root / "whole", epochs, args.nproc))
        summary = train_with_kills(root, args, epochs)
        states = [checkpoint.load_state(root / part / "state" / "last.state") for part in ("whole", "parts")]
    same = equal(states[0]["trainer"], states[1]["trainer"])
    print(f"{summary}; no file damaged")
    print(f"weights and the rest of the state are {'equal bit for bit' if same else 'NOT equal'}")
    sys.exit(not same)


if __name__ == "__main__":
    main()
