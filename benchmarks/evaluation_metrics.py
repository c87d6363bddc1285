"""Error rates of many scores and their bootstrap: time, memory, and how often an interval holds the truth.

    python benchmarks/evaluation_metrics.py
    python benchmarks/evaluation_metrics.py --coverage

Scores are synthetic: a class mean, effects of both speakers and noise, all normal, so that the true error
rates are known.
"""

import argparse
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent.parent))

import tuneThreshold
from metrics.bootstrap import interval, resampled
from metrics.costs import cllr
from metrics.rates import error_rates

PRIORS = [0.05, 0.01, 0.001]
NORMAL = statistics.NormalDist()


class Model(NamedTuple):
    """Targets: mean + speaker effect + noise. Nontargets: effects of two speakers + noise."""

    mean: float
    target_effect: float
    nontarget_effect: float

    def deviations(self) -> tuple[float, float]:
        """Standard deviations of target and nontarget scores."""
        return (1.0 + self.target_effect**2) ** 0.5, (1.0 + 2.0 * self.nontarget_effect**2) ** 0.5

    def truth(self) -> dict[str, float]:
        """EER, where (mean - t) / s_target = t / s_nontarget, and minDCF on a fine grid of thresholds."""
        target, nontarget = self.deviations()
        found = {"eer": NORMAL.cdf(-self.mean / (target + nontarget))}
        grid = np.linspace(-2.0, self.mean + 6.0, 20_001)
        p_miss = np.array([NORMAL.cdf((x - self.mean) / target) for x in grid])
        p_fa = np.array([NORMAL.cdf(-x / nontarget) for x in grid])
        for p in PRIORS:
            found[f"min_dcf_{p:g}"] = float((p * p_miss + (1.0 - p) * p_fa).min() / p)
        return found

    def draw(
        self,
        speakers: int,
        count: int,
        share: float,
        generator: np.random.Generator,
        system: int | None = None,
    ) -> tuple[NDArray[np.float64], NDArray[np.int8], NDArray[np.int64]]:
        """Scores (N,), labels (N,), speakers of both sides (N, 2); targets spread evenly over speakers.

        A number for the system draws its speaker effects and noise apart from the trials.
        """
        enrol = generator.integers(speakers, size=count)
        test = (enrol + generator.integers(1, speakers, size=count)) % speakers
        targets = round(share * count)
        enrol[:targets] = test[:targets] = np.arange(targets) % speakers
        if system is not None:
            generator = np.random.default_rng([system, 1])
        same, others = generator.normal(size=(2, speakers))
        scores = self.nontarget_effect * (others[enrol] + others[test])
        scores[:targets] = self.mean + self.target_effect * same[enrol[:targets]]
        scores += generator.normal(size=count)
        return scores, (enrol == test).astype(np.int8), np.stack([enrol, test], axis=1)


def peak_mb() -> float:
    """Largest resident memory of the process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def speed(args: argparse.Namespace) -> None:
    """Print the time of all figures, of the bootstrap, and peak memory."""
    generator = np.random.default_rng(0)
    scores, labels, units = Model(4.0, 0.4, 0.3).draw(args.speakers, args.trials, 0.5, generator)
    order = generator.permutation(args.trials)
    scores, labels, units = scores[order], labels[order], units[order]
    times = []
    for _ in range(args.runs):
        began = time.perf_counter()
        rates = error_rates(scores, labels)
        [
            tuneThreshold.eer(rates),
            cllr(rates),
            *(tuneThreshold.min_dcf(rates, p) for p in PRIORS),
        ]
        times.append(time.perf_counter() - began)
    print(f"EER, three minDCF, Cllr: median {statistics.median(times):.3f} s, from {min(times):.3f} s")
    times = []
    for _ in range(args.runs):
        began = time.perf_counter()
        found = tuneThreshold.figures(error_rates(scores, labels), PRIORS, 1.0, 1.0, llr=True)
        times.append(time.perf_counter() - began)
    print(f"every figure: median {statistics.median(times):.3f} s, from {min(times):.3f} s")
    before = peak_mb()
    began = time.perf_counter()
    replicates = resampled(scores, labels, units, args.replicates)
    drawn = [tuneThreshold.figures(rates, PRIORS, 1.0, 1.0) for rates in replicates]
    took = time.perf_counter() - began
    low, high = interval(np.array([figures["eer"] for figures in drawn]), found["eer"])
    print(f"{args.replicates} replicates of {args.trials} trials, {args.speakers} speakers: {took:.1f} s")
    print(f"peak memory {peak_mb():.0f} MB, {before:.0f} MB of it before the bootstrap")
    print(f"EER {100 * found['eer']:.4f} % ({100 * low:.4f} to {100 * high:.4f})")


def replicate(
    scores: NDArray[np.float64], labels: NDArray[np.int8], units: NDArray[np.int64], count: int, seed: int
) -> tuple[dict[str, float], dict[str, NDArray[np.float64]]]:
    """Trials, units of both sides -> the list's figures, the same in each replicate (R,)."""
    found = tuneThreshold.figures(error_rates(scores, labels), PRIORS, 1.0, 1.0)
    replicates = resampled(scores, labels, units, count, seed=seed)
    drawn = [tuneThreshold.figures(rates, PRIORS, 1.0, 1.0) for rates in replicates]
    return found, {name: np.array([figures[name] for figures in drawn]) for name in found}


def coverage(args: argparse.Namespace) -> None:
    """Print how many 95 % intervals hold the truth: of figures, and of two equal systems' difference.

    Resampled are speakers, as by default, and as a contrast trials.
    """
    model = Model(args.mean, 0.4, 0.3)
    truth = model.truth()
    held: dict[tuple[str, str], int] = {}
    for seed in range(args.experiments):
        scores, labels, speakers = model.draw(
            args.speakers, args.trials, args.share, np.random.default_rng([seed, 0])
        )
        # the same trials once more, with speaker effects and noise of a second system
        other = model.draw(args.speakers, args.trials, args.share, np.random.default_rng([seed, 0]), seed)[0]
        alone = np.repeat(np.arange(len(scores))[:, None], 2, axis=1)
        for way, units in (("speakers", speakers), ("trials", alone)):
            found, drawn = replicate(scores, labels, units, args.replicates, seed)
            drawn_other = replicate(other, labels, units, args.replicates, seed)[1]
            for name, value in truth.items():
                low, high = interval(drawn[name], found[name])
                limits = interval(drawn_other[name] - drawn[name])
                figure, difference = (way, f"{name} {value:.5f}"), (way, f"difference of {name}")
                held[figure] = held.get(figure, 0) + (low <= value <= high)
                held[difference] = held.get(difference, 0) + (limits[0] <= 0.0 <= limits[1])
    for (way, name), count in held.items():
        share = count / args.experiments
        error = (share * (1.0 - share) / args.experiments) ** 0.5
        print(f"{way} resampled: {name} held by {100 * share:.1f} % (+- {100 * error:.1f}) of intervals")


def main() -> None:
    """Run one of both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--coverage", action="store_true", help="simulate instead of timing")
    parser.add_argument("--speakers", type=int, help="default 1,251, for --coverage 100")
    parser.add_argument("--trials", type=int, help="default 579,818, for --coverage 10,000")
    parser.add_argument("--replicates", type=int, help="default 1,000, for --coverage 300")
    parser.add_argument("--experiments", type=int, default=500)
    parser.add_argument("--mean", type=float, default=3.5, help="of target scores, for --coverage")
    parser.add_argument("--share", type=float, default=0.2, help="of target trials, for --coverage")
    parser.add_argument("--runs", type=int, default=7)
    args = parser.parse_args()
    sizes = (100, 10_000, 300) if args.coverage else (1_251, 579_818, 1_000)
    args.speakers, args.trials, args.replicates = (
        given or size
        for given, size in zip((args.speakers, args.trials, args.replicates), sizes, strict=True)
    )
    (coverage if args.coverage else speed)(args)


if __name__ == "__main__":
    main()
