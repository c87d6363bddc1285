"""Cosine scores of the largest VoxCeleb list and their adaptive s-norm: seconds, peak memory, exactness.

    python benchmarks/score_normalization.py

Synthetic vectors, as many as the list VoxCeleb1-E has files and trials, and a cohort of VoxCeleb2's speakers.
The loop over trials in NumPy is timed over a part of them, in the same process.
"""

import argparse
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

sys.path.insert(0, str(Path(__file__).parent.parent))

from audio.lists import Trials
from evaluation.trials import score_trials
from normalization.asnorm import Normalization
from scoring.cosine import Scoring

Floats = NDArray[np.floating]


def products_one_by_one(vectors: Floats, trials: Trials, count: int) -> list[float]:
    """Scores of the first trials from a vector for each file, a dot product each."""
    pairs = zip(trials.enrol[:count], trials.test[:count], strict=True)
    return [float(vectors[enrol] @ vectors[test]) for enrol, test in pairs]


def crops_one_by_one(crops: Floats, trials: Trials, count: int) -> list[float]:
    """Scores of the first trials from the crops of each file (U, K, D): mean cosine of all pairs of crops."""

    def unit(side: Floats) -> Floats:
        return side / np.linalg.norm(side, axis=1, keepdims=True)

    numbers = (trials.enrol[:count] % len(crops), trials.test[:count] % len(crops))
    return [
        float((unit(crops[enrol]) @ unit(crops[test]).T).mean()) for enrol, test in zip(*numbers, strict=True)
    ]


def asnorm_one_by_one(
    scores: Floats,
    vectors: Floats,
    cohort: Floats,
    trials: Trials,
    speakers: list[NDArray[np.int64]],
    top_n: int,
) -> list[float]:
    """The first scores normalised, each from its own two vectors in float64; speakers of files and cohort."""

    def standard(score: float, utterance: int) -> float:
        others = cohort[speakers[1] != speakers[0][utterance]]
        nearest = np.sort(others @ vectors[utterance])[-top_n:]
        return float((score - nearest.mean()) / nearest.std())

    triples = zip(scores, trials.enrol, trials.test, strict=False)
    return [(standard(score, enrol) + standard(score, test)) / 2 for score, enrol, test in triples]


def seconds(work: Callable[[], object], runs: int) -> list[float]:
    """How long it takes, each time."""
    took = []
    for _ in range(runs):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return took


def peak_gb() -> float:
    """Largest resident memory of the process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # KB on Linux


def show(what: str, took: list[float]) -> float:
    """Print the median and range -> the median, seconds."""
    middle = statistics.median(took)
    print(f"{what}: {middle:.3f} s ({min(took):.3f} to {max(took):.3f} in {len(took)} runs); ", end="")
    print(f"peak memory {peak_gb():.2f} GB")
    return middle


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--files", type=int, default=145_160)
    parser.add_argument("--trials", type=int, default=579_818)
    parser.add_argument("--cohort", type=int, default=5_994)
    parser.add_argument("--crops", type=int, default=10, help="of a file, for the loop over crops")
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--top_n", type=int, default=300)
    parser.add_argument("--loop_trials", type=int, default=20_000, help="trials that the loop is timed over")
    parser.add_argument("--runs", type=int, default=5)
    return parser.parse_args()


def main() -> None:
    """Print seconds and peak memory of scoring, of the cohort's statistics and of applying them."""
    args = parse()
    generator = np.random.default_rng(0)
    torch.manual_seed(0)
    vectors = normalize(torch.randn(args.files, args.dim))
    cohort = normalize(torch.randn(args.cohort, args.dim))
    speakers = [generator.integers(1_251, size=args.files), generator.integers(1_251, size=args.cohort)]
    enrol, test = generator.integers(args.files, size=(2, args.trials))
    trials = Trials([], enrol, test, None)
    print(f"peak memory with the vectors alone {peak_gb():.2f} GB; {torch.get_num_threads()} threads")

    def score() -> NDArray[np.float64]:
        return score_trials(vectors[:, None], trials, Scoring(0, 1))

    ours = show(f"cosine scores of {args.trials:,} trials", seconds(score, args.runs))
    array = vectors.numpy()
    crops = generator.normal(size=(2_000, args.crops, args.dim)).astype(np.float32)  # those of all: 1.5 GB
    for what, loop in (
        ("a dot product of ready vectors each", lambda: products_one_by_one(array, trials, args.loop_trials)),
        (
            f"{args.crops} x {args.crops} cosines each",
            lambda: crops_one_by_one(crops, trials, args.loop_trials),
        ),
    ):
        theirs = statistics.median(seconds(loop, args.runs)) / args.loop_trials * args.trials
        print(f"a NumPy loop over trials, {what}: {theirs:.2f} s, ratio {theirs / ours:.1f}")

    scores = score()
    method = Normalization(cohort, speakers[1], top_n=args.top_n)
    against = method.statistics(vectors, speakers[0])
    whole = show(
        f"statistics of {args.files:,} utterances, cohort {args.cohort:,}, top {args.top_n}",
        seconds(lambda: method.statistics(vectors, speakers[0]), args.runs),
    )
    whole += show("applying them", seconds(lambda: method.apply(scores, against, enrol, test), args.runs))
    print(f"both: {whole:.1f} s")
    some = method.apply(scores, against, enrol, test)[:200]
    exact = np.einsum("nd,nd->n", array[enrol[:200]], array[test[:200]], dtype=np.float64)
    expected = asnorm_one_by_one(
        exact, array.astype(np.float64), cohort.numpy().astype(np.float64), trials, speakers, args.top_n
    )
    print(f"largest difference from a loop over 200 trials in float64: {np.abs(some - expected).max():.1e}")


if __name__ == "__main__":
    main()
