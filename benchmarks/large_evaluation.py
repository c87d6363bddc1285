"""Time and memory of evaluations with trial lists of many millions of lines, and how both grow.

    python benchmarks/large_evaluation.py --trials 1000000 25000000

Trials of random pairs among 2,000 recordings of noise of 40 speakers are scored by a tiny network whose
embeddings of the recordings are stored, so that reading the list, scoring, error rates and the score file
take the time. Then tuneThreshold.py reads the score file. Each command is a process of its own, whose peak of
resident memory is printed. --gallery measures the ranking of an open-set identification instead.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

ROOT = Path(__file__).parent.parent
SPEAKERS = 40
RECORDINGS = 2000
BLOCK = 100_000  # trials written at a time
SMALL = [
    *("--model=ResNetSE34L", "--n_mels=16", "--trainfunc=angleproto", "--batch_size=20", "--max_frames=30"),
    *("--eval_frames=40", "--num_eval=1", "--max_epoch=1", "--nDataLoaderThread=0", "--device=cpu"),
    *("--precision=fp32", "--train_list=train.txt", "--train_path=.", "--test_path=."),
]


def name_of(number: int) -> str:
    """Number of a recording -> its path."""
    return f"spk{number % SPEAKERS:02d}/u{number:06d}.wav"


def write_recordings(folder: Path) -> None:
    """Noise of 0.5 s for each recording."""
    generator = np.random.default_rng(0)
    for number in range(RECORDINGS):
        path = folder / name_of(number)
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, 0.1 * generator.standard_normal(8000), 16_000)


def write_trials(path: Path, count: int) -> None:
    """A list of random pairs."""
    generator = np.random.default_rng(1)
    names = [name_of(number) for number in range(RECORDINGS)]
    with path.open("w") as stream:
        for start in range(0, count, BLOCK):
            sides = generator.integers(RECORDINGS, size=(min(BLOCK, count - start), 2)).tolist()
            stream.writelines(
                f"{int(a % SPEAKERS == b % SPEAKERS)} {names[a]} {names[b]}\n" for a, b in sides
            )


def measured(folder: Path, *words: str) -> str:
    """Run a command in the folder -> its seconds and peak of memory, in words."""
    began = time.perf_counter()
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen([sys.executable, *words], cwd=folder, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError((folder / "log.txt").read_text())
    duration_s = time.perf_counter() - began
    return f"{duration_s:.0f} s ({usage.ru_utime + usage.ru_stime:.0f} s CPU), {usage.ru_maxrss / 1e6:.2f} GB"


def trials_of(folder: Path, evaluate: list[str], count: int) -> None:
    """Measure an evaluation with a list of some trials, and tuneThreshold.py on its scores."""
    write_trials(folder / "trials.txt", count)
    done = measured(folder, *evaluate, "--test_list=trials.txt")
    print(f"{count} trials, --eval: {done}", flush=True)
    scores = "exp/result/eval/trials.scores.txt"
    done = measured(folder, str(ROOT / "tuneThreshold.py"), scores)
    print(f"{count} trials, tuneThreshold.py: {done}", flush=True)


def identify(speakers: int, probes: int) -> None:
    """Rank random embeddings of 192 values, half of them strangers', in a gallery of random ones."""
    sys.path.insert(0, str(ROOT))
    import torch  # not above: a command's peak is never below the memory of the process that starts it

    from evaluation.identification import Identification
    from evaluation.trial_lists import Sides
    from evaluation.trial_test import Comparison
    from scoring.cosine import Scoring

    vectors = torch.nn.functional.normalize(torch.randn(speakers + probes, 1, 192), dim=-1)
    sides = Sides(vectors, {}, np.array([], np.int64), [])
    labels = np.where(np.arange(probes) % 2, np.arange(probes) % speakers, -1)
    names = [name_of(number) for number in range(speakers + probes)]
    lists: Any = None  # only the names are looked at
    scoring: Any = Scoring(0, 1)  # without a backend
    made = Identification(lists, names[:speakers], names[speakers:], labels)
    began = time.perf_counter()
    made.rank(Comparison(sides, None, 0, scoring, lambda scores, trials: scores))
    print(f"{probes} probes in a gallery of {speakers}: {time.perf_counter() - began:.0f} s")
    print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB with the imports")


def main() -> None:
    """Print time and memory of each command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="*", default=[1_000_000, 25_000_000])
    parser.add_argument("--gallery", type=int, nargs=2, metavar=("SPEAKERS", "PROBES"))
    parser.add_argument("--report", action="store_true", help="with the report and its intervals")
    args = parser.parse_args()
    if args.gallery:
        identify(*args.gallery)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_recordings(folder)
        lines = (f"{name_of(number)[:5]} {name_of(number)}\n" for number in range(200))
        (folder / "train.txt").write_text("".join(lines))
        command = [str(ROOT / "trainSpeakerNet.py"), *SMALL, "--save_path=exp"]
        print(f"training: {measured(folder, *command, '--test_list=')}", flush=True)
        evaluate = [*command, "--eval", "--calibrate=False", f"--report={args.report}"]
        write_trials(folder / "warm.txt", BLOCK)
        print(f"embedding: {measured(folder, *evaluate, '--test_list=warm.txt')}", flush=True)
        for count in args.trials:
            trials_of(folder, evaluate, count)


if __name__ == "__main__":
    main()
