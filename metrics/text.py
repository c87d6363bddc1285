"""Figures of systems as lines of text, as tuneThreshold.py prints them."""

from metrics.bootstrap import interval
from metrics.figures import LOW_P_FA, threshold_for_p_fa, threshold_for_p_miss
from metrics.rates import Floats
from metrics.summary import Measured

DIGITS = ".12g"  # of thresholds, which lie between scores of nine digits


def summary_lines(system: Measured) -> list[str]:
    """A measured system -> the lines to print; thresholds with more digits than scores."""
    options = system.options

    def shown(name: str, form: str, scale: float = 1.0, unit: str = "") -> str:
        text = f"{scale * system.figures[name]:{form}}{unit}"
        if not system.intervals:
            return text
        limits = (f"{scale * end:{'.6g' if form == DIGITS else form}}" for end in system.intervals[name])
        return f"{text} ({' to '.join(limits)})"

    def percent(name: str) -> str:
        return shown(name, ".4f", 100.0, " %")

    lines = [f"EER {percent('eer')} at threshold {shown('threshold', DIGITS)}"]
    for p in options.p_targets:
        costs = f"(p_target {p:g}, c_miss {options.c_miss:g}, c_fa {options.c_fa:g})"
        value = shown(f"min_dcf_{p:g}", ".5f")
        lines.append(f"minDCF {value} at threshold {shown(f'threshold_min_dcf_{p:g}', DIGITS)} {costs}")
        if options.llr:
            lines.append(f"actDCF {shown(f'act_dcf_{p:g}', '.5f')} {costs}")
    rates = system.rates
    points = [("P_fa", p, threshold_for_p_fa(rates, p)) for p in options.p_fa]
    points += [("P_miss", p, threshold_for_p_miss(rates, p)) for p in options.p_miss]
    for kind, p, i in points:
        lines.append(
            f"{kind} <= {100 * p:g} %: threshold {shown(f'threshold_{kind.lower()}_{p}', DIGITS)} gives "
            f"P_fa {100 * rates.p_fa[i]:.4f} %, P_miss {100 * rates.p_miss[i]:.4f} %"
        )
    lines += [f"P_miss {percent(f'p_miss_at_p_fa_{p:g}')} at P_fa {100 * p:g} %" for p in LOW_P_FA]
    lines += [f"AUC {percent('auc')}", f"minCllr {shown('min_cllr', '.5f')} bit"]
    if options.llr:
        lines.append(f"Cllr {shown('cllr', '.5f')} bit")
    return lines


def condition_lines(system: Measured) -> list[str]:
    """A measured system -> a line for each group of each attribute."""
    lines = []
    p = system.options.p_targets[0]
    for row in system.conditions:
        figures = "no error rates without both classes"
        if row.eer is not None:
            figures = f"EER {100 * row.eer:.4f} %, minDCF {row.min_dcf:.5f} (p_target {p:g})"
        counts = f"{row.trials} trials, {row.targets} of them target"
        lines.append(f"{row.attribute} {row.group}: {counts}: {figures}")
    return lines


def difference_line(letter: str, name: str, title: str, change: float, drawn: Floats) -> str:
    """A system's letter, a figure, its change from system A, the same in every replicate (R,) -> line."""
    scale, form, unit = (100.0, "+.3f", " points") if name == "eer" else (1.0, "+.5f", "")
    low, high = interval(scale * drawn)
    verdict = "no difference beyond what chance explains"
    if low > 0.0:
        verdict = "A is better"
    elif high < 0.0:
        verdict = f"{letter} is better"
    limits = f"({low:{form}} to {high:{form}})"
    return f"{title} of {letter} minus A: {scale * change:{form}}{unit} {limits}: {verdict}"
