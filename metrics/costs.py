"""Costs of decisions and of log-likelihood ratios, from operating points."""

import numpy as np

from metrics.rates import ErrorRates, Floats, pick, turns


def act_dcf(rates: ErrorRates, p_target: float = 0.05, c_miss: float = 1.0, c_fa: float = 1.0) -> float:
    """Normalised detection cost of log-likelihood ratios (natural log) at the Bayes threshold.

    Threshold log(C_fa (1 - p) / (C_miss p)): Bruemmer & du Preez 2006, eq. 4. Above 1 if calibrated badly.
    """
    costs = cost(rates, p_target, c_miss, c_fa)
    threshold = bayes_threshold(p_target, c_miss, c_fa)
    return float(costs[min(int(np.searchsorted(rates.thresholds, threshold)), len(costs) - 1)])


def bayes_threshold(p_target: float, c_miss: float, c_fa: float) -> float:
    """Prior, costs -> threshold of least expected cost for log-likelihood ratios (natural log)."""
    return float(np.log(c_fa * (1.0 - p_target) / (c_miss * p_target)))


def cost(rates: ErrorRates, p_target: float, c_miss: float, c_fa: float) -> Floats:
    """Normalised detection cost (K,) of every operating point."""
    if not 0.0 < p_target < 1.0 or not all(0.0 < c < np.inf for c in (c_miss, c_fa)):
        raise ValueError(f"expected 0 < p_target < 1 and costs > 0, got {p_target}, {c_miss}, {c_fa}")
    blind = min(c_miss * p_target, c_fa * (1.0 - p_target))
    return (c_miss * p_target * rates.p_miss + c_fa * (1.0 - p_target) * rates.p_fa) / blind


def cllr(rates: ErrorRates) -> float:
    """Cost of log-likelihood ratios (natural log) over all priors, in bits; 1 for LLRs that are all 0.

    (mean of log2(1 + e^-s) over targets + mean of log2(1 + e^s) over nontargets) / 2:
    Bruemmer & du Preez 2006, "Application-independent evaluation of speaker detection".
    """
    llrs = rates.thresholds[:-1]  # (K - 1,); below, the share of each class with this score
    targets, nontargets = np.diff(rates.p_miss), -np.diff(rates.p_fa)
    bits = targets * np.logaddexp(0.0, -llrs) + nontargets * np.logaddexp(0.0, llrs)
    return float(bits.sum() / (2.0 * np.log(2.0)))


def roc_hull(rates: ErrorRates) -> ErrorRates:
    """The vertices of the ROC's convex hull (J,): trials between two of them are a block of PAV.

    Fawcett & Niculescu-Mizil 2007, "PAV and the ROC convex hull". All points on or above the line between
    their neighbours are removed at once, as long as there are many; then Andrew's monotone chain.
    """
    hull = pick(rates, turns(rates))
    while True:
        missed, rejected = np.diff(hull.p_miss), -np.diff(hull.p_fa)
        convex = missed[:-1] * rejected[1:] < missed[1:] * rejected[:-1]
        kept = np.concatenate(([0], np.flatnonzero(convex) + 1, [len(convex) + 1]))
        few = len(kept) > 0.9 * len(hull.p_miss)
        hull = pick(hull, kept)
        if few:
            break
    x, y = hull.p_fa.tolist(), hull.p_miss.tolist()
    chain: list[int] = []
    for k in range(len(x)):
        while len(chain) > 1:
            i, j = chain[-2:]
            if (y[j] - y[i]) * (x[j] - x[k]) < (y[k] - y[j]) * (x[i] - x[j]):
                break
            chain.pop()
        chain.append(k)
    return pick(hull, np.array(chain))


def min_cllr(rates: ErrorRates) -> float:
    """Cllr in bits after the best monotonic map of the scores: isotonic regression by PAV, ties merged.

    A block with shares t of the targets and n of the nontargets gets the LLR log(t / n).
    """
    hull = roc_hull(rates)
    shares = np.stack([np.diff(hull.p_miss), -np.diff(hull.p_fa)])  # (2, J - 1)
    ratios = np.divide(shares.sum(axis=0), shares, out=np.ones_like(shares), where=shares > 0.0)
    return float((shares * np.log2(ratios)).sum() / 2.0)
