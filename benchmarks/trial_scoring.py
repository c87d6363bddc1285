"""Trials scored per second, in blocks, compared with a loop over trials as in voxceleb_trainer.

    python benchmarks/trial_scoring.py

Both score the same synthetic embeddings in one process; the loop is timed over a part of the trials.
"""

import argparse
import resource
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

import options
from audio.trials import Trials
from evaluation.trials import score_trials


def loop(crops: torch.Tensor, trials: Trials, count: int) -> list[float]:
    """Scores of the first trials, one by one: minus the mean distance of all pairs of crops."""
    with torch.inference_mode():
        return [
            -torch.cdist(crops[a], crops[b]).mean().item()
            for a, b in zip(trials.enrol[:count].tolist(), trials.test[:count].tolist(), strict=True)
        ]


def seconds(work: Callable[[], object]) -> float:
    """Call work -> seconds that it takes."""
    start_s = time.perf_counter()
    work()
    return time.perf_counter() - start_s


def peak_mb() -> float:
    """Peak resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print trials/s, ratios and peak memory for each way of scoring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--trials", type=int, default=200_000)
    parser.add_argument("--files", type=int, default=5_000)
    parser.add_argument("--crops", type=int, default=10)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--loop_trials", type=int, default=5_000, help="trials that the loop is timed over")
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    torch.manual_seed(0)
    crops = torch.nn.functional.normalize(torch.randn(args.files, args.crops, args.dim), dim=-1)
    enrol, test = np.random.default_rng(0).integers(args.files, size=(2, args.trials))
    trials = Trials([str(i) for i in range(args.files)], enrol, test, None)
    tenth = trials._replace(enrol=enrol[: args.trials // 10], test=test[: args.trials // 10])
    for name in ("cosine", "distance"):
        scoring = options.plugin("scoring", name)(0, args.crops)
        vectors = scoring.summarise([crops], normalize=True)
        before = peak_mb()
        score_trials(vectors, tenth, scoring)
        after_a_tenth = peak_mb()
        score_trials(vectors, trials, scoring)
        print(
            f"{name}: peak memory grows by {after_a_tenth - before:.0f} MB over a tenth of the trials and by "
            f"{peak_mb() - after_a_tenth:.0f} MB more over all"
        )
        ratios, rates = [], []
        for _ in range(args.runs):
            block_rate = args.trials / seconds(partial(score_trials, vectors, trials, scoring))
            loop_rate = args.loop_trials / seconds(partial(loop, crops, trials, args.loop_trials))
            ratios.append(block_rate / loop_rate)
            rates.append(block_rate)
        print(
            f"{name}: {statistics.median(rates):,.0f} trials/s, {statistics.median(ratios):.1f} times "
            f"the loop (runs: {', '.join(f'{ratio:.1f}' for ratio in ratios)})"
        )
    expected = torch.tensor(loop(crops, trials, 1000))
    error = (expected - torch.tensor(score_trials(crops, trials, scoring)[:1000])).abs().max()
    print(f"distance: largest difference from the loop over 1,000 trials {error:.1e}")


if __name__ == "__main__":
    main()
