"""How public models are shown: a table of all, or lines about one."""

from collections.abc import Collection

from inference.public_models import MODELS, PublicModel


def table(present: Collection[str]) -> list[str]:
    """Names of models that are in the cache -> lines of all models; an asterisk marks those."""
    header = ("name", "M param.", "EER in %", "licence", "trained on")
    rows = [header]
    for name, model in MODELS.items():
        mark = " *" if name in present else ""
        figures = (f"{model.millions:.1f}", model.eer or "-")
        rows.append((f"{name}{mark}", *figures, model.licence, model.trained_on))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def description(model: PublicModel) -> list[str]:
    """Lines about a public model."""
    thresholds = [] if model.threshold is None else [f"{model.threshold} (its authors')"]
    thresholds += [
        f"{each.score} at P_fa {100 * each.p_fa:g} % ({each.interval[0]} to {each.interval[1]}) "
        f"with --vad {measured.vad} --score_norm {measured.score_norm}"
        for measured in model.measured
        for each in measured.thresholds
    ]
    figure = f"{model.eer} % EER ({model.eer_source})" if model.eer else "none published"
    return [
        f"{model.name}: {model.title}, {model.millions:.1f} M parameters",
        f"licence     {model.licence}",
        f"source      {model.source}",
        f"trained on  {model.trained_on}",
        f"front end   {model.front_end}",
        f"figure      {figure}",
        "threshold   " + (f"\n{' ' * 12}".join(thresholds) or "none known"),
    ]
