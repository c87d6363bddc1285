"""Time, memory and exactness of cosine scores and their adaptive s-norm, for the largest VoxCeleb list.

    python benchmarks/score_normalization.py

Uses synthetic vectors: as many files and trials as the list VoxCeleb1-E, and a cohort of as many speakers as
VoxCeleb2 has. A loop over trials in NumPy is timed over a part of them, in the same process.
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

from audio.trials import Trials
from evaluation.trials import score_trials
from normalization.asnorm import Normalization
from scoring.cosine import Scoring

Floats = NDArray[np.floating]


def products_one_by_one(vectors: Floats, trials: Trials, count: int) -> list[float]:
    """Scores of the first trials: a dot product of the vectors of two files each."""
    pairs = zip(trials.enrol[:count], trials.test[:count], strict=True)
    return [float(vectors[enrol] @ vectors[test]) for enrol, test in pairs]


def crops_one_by_one(crops: Floats, trials: Trials, count: int) -> list[float]:
    """Scores of the first trials from the crops of each file (U, K, D): mean cosine of all pairs of crops."""

    def unit(side: Floats) -> Floats:
        return side / np.linalg.norm(side, axis=1, keepdims=True)

    pairs = zip(trials.enrol[:count] % len(crops), trials.test[:count] % len(crops), strict=True)
    return [float((unit(crops[enrol]) @ unit(crops[test]).T).mean()) for enrol, test in pairs]


def asnorm_one_by_one(
    scores: Floats,
    vectors: Floats,
    cohort: Floats,
    trials: Trials,
    *,
    speakers: NDArray[np.int64],
    cohort_speakers: NDArray[np.int64],
    top_n: int,
) -> list[float]:
    """The first scores, normalised one by one in float64."""

    def standard(score: float, utterance: int) -> float:
        others = cohort[cohort_speakers != speakers[utterance]]
        nearest = np.sort(others @ vectors[utterance])[-top_n:]
        return float((score - nearest.mean()) / nearest.std())

    triples = zip(scores, trials.enrol, trials.test, strict=False)
    return [(standard(score, enrol) + standard(score, test)) / 2 for score, enrol, test in triples]


def seconds(work: Callable[[], object], runs: int) -> list[float]:
    """Call work so many times -> seconds of each call."""
    durations_s = []
    for _ in range(runs):
        start_s = time.perf_counter()
        work()
        durations_s.append(time.perf_counter() - start_s)
    return durations_s


def peak_gb() -> float:
    """Peak resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # KB on Linux


def show(name: str, durations_s: list[float]) -> float:
    """Print median and range -> the median, in seconds."""
    median_s = statistics.median(durations_s)
    extremes = f"{min(durations_s):.3f} to {max(durations_s):.3f} in {len(durations_s)} runs"
    print(f"{name}: {median_s:.3f} s ({extremes}); peak memory {peak_gb():.2f} GB")
    return median_s


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
    """Print time and peak memory of scoring, of the cohort statistics and of applying them."""
    args = parse()
    generator = np.random.default_rng(0)
    torch.manual_seed(0)
    vectors = normalize(torch.randn(args.files, args.dim))
    cohort = normalize(torch.randn(args.cohort, args.dim))
    speakers = generator.integers(1_251, size=args.files)
    cohort_speakers = generator.integers(1_251, size=args.cohort)
    enrol, test = generator.integers(args.files, size=(2, args.trials))
    trials = Trials([], enrol, test, None)
    print(f"peak memory with the vectors alone {peak_gb():.2f} GB; {torch.get_num_threads()} threads")

    def score() -> NDArray[np.float64]:
        return score_trials(vectors[:, None], trials, Scoring(0, 1))

    block_s = show(f"cosine scores of {args.trials:,} trials", seconds(score, args.runs))
    array = vectors.numpy()
    crops = generator.normal(size=(2_000, args.crops, args.dim)).astype(
        np.float32
    )  # those of all files would take 1.5 GB
    for name, loop in (
        ("a dot product of two vectors each", lambda: products_one_by_one(array, trials, args.loop_trials)),
        (
            f"{args.crops} x {args.crops} cosines each",
            lambda: crops_one_by_one(crops, trials, args.loop_trials),
        ),
    ):
        loop_s = statistics.median(seconds(loop, args.runs)) / args.loop_trials * args.trials
        print(f"a NumPy loop over trials, {name}: {loop_s:.2f} s, ratio {loop_s / block_s:.1f}")

    scores = score()
    method = Normalization(cohort, cohort_speakers, top_n=args.top_n)
    cohort_statistics = method.statistics(vectors, speakers)
    total_s = show(
        f"statistics of {args.files:,} utterances, cohort {args.cohort:,}, top {args.top_n}",
        seconds(lambda: method.statistics(vectors, speakers), args.runs),
    )
    total_s += show(
        "applying them",
        seconds(lambda: method.apply(scores, cohort_statistics, enrol, test), args.runs),
    )
    print(f"both: {total_s:.1f} s")
    normalised = method.apply(scores, cohort_statistics, enrol, test)[:200]
    exact = np.einsum("nd,nd->n", array[enrol[:200]], array[test[:200]], dtype=np.float64)
    expected = asnorm_one_by_one(
        exact,
        array.astype(np.float64),
        cohort.numpy().astype(np.float64),
        trials,
        speakers=speakers,
        cohort_speakers=cohort_speakers,
        top_n=args.top_n,
    )
    difference = np.abs(normalised - expected).max()
    print(f"largest difference from a loop over 200 trials in float64: {difference:.1e}")


if __name__ == "__main__":
    main()
