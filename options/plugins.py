"""Plug-ins: a choice is a file in a folder, its parameters after `*` are options."""

import importlib
import inspect
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from options.parser import nearest

ROOT = Path(__file__).parent.parent


class Kind(NamedTuple):
    """A folder of choices: the flag that chooses, and what each file defines."""

    flag: str
    entry: str


class Part(NamedTuple):
    """A file that a choice consists of, and its weight in a combined loss."""

    weight: float
    name: str


KINDS = {
    "models": Kind("model", "MainModel"),
    "features": Kind("features", "Features"),
    "pooling": Kind("encoder_type", "Pooling"),
    "loss": Kind("trainfunc", "LossFunction"),
    "sampler": Kind("sampler", "Sampler"),
    "optimizer": Kind("optimizer", "Optimizer"),
    "scheduler": Kind("scheduler", "Scheduler"),
    "scoring": Kind("scoring", "Scoring"),
    "normalization": Kind("score_norm", "Normalization"),
    "backend": Kind("backend", "Backend"),
}
NETWORK_KINDS = ("models", "features", "pooling")  # what can't be changed in a stored model
COMBINED_KINDS = ("loss",)  # whose choices may be sums, as in aamsoftmax+0.5*angleproto
TESTING_KINDS = ("scoring", "normalization", "backend")  # what training doesn't depend on
TRAINING_KINDS = tuple(kind for kind in KINDS if kind not in TESTING_KINDS)


def available(kind: str) -> list[str]:
    """Kind (a folder's name) -> the names that can be chosen, sorted."""
    return sorted(path.stem for path in (ROOT / kind).glob("[!_]*.py"))


def choices(kind: str) -> str:
    """Kind -> a help text that lists its files."""
    return f"{KINDS[kind].entry} of a file in {kind}/: {', '.join(available(kind))}"


def plugin(kind: str, name: str) -> Any:
    """Kind and name -> the class or function that the file defines.

    Raises:
        ValueError: there is no such file, or it doesn't keep the contract.
    """
    weighted = parts(kind, name)
    factories = [_defined(kind, part, name) for _, part in weighted]
    if name == weighted[0].name:
        return factories[0]
    combined = importlib.import_module(f"{kind}._combined")
    return combined.combine([part.weight for part in weighted], factories)


def parts(kind: str, name: str) -> list[Part]:
    """Kind and choice -> the files that it consists of: one, but for a combined loss.

    Raises:
        ValueError: a term of `aamsoftmax+0.5*angleproto` has no name, or its weight is not a positive number.
    """
    if kind not in COMBINED_KINDS:
        return [Part(1.0, name)]
    weighted = list[Part]()
    for term in name.split("+"):
        weight, star, part = term.rpartition("*")
        try:
            weighted.append(Part(float(weight) if star else 1.0, part))
        except ValueError:
            weighted.append(Part(math.nan, part))
        if not part or not 0.0 < weighted[-1].weight < math.inf:
            raise ValueError(
                f"--{KINDS[kind].flag} {name}: expected NAME or WEIGHT*NAME with a positive weight, "
                f"got {term!r}"
            )
    return weighted


def _defined(kind: str, name: str, choice: str) -> Any:
    """Kind, file and the choice that it is a part of -> what the file defines; see plugin."""
    flag, entry = KINDS[kind]
    names = available(kind)
    if name not in names:
        part = "" if name == choice else f"{name}: "
        raise ValueError(f"--{flag} {choice}: {part}{nearest(name, names)} (available: {', '.join(names)})")
    factory = getattr(importlib.import_module(f"{kind}.{name}"), entry, None)
    if factory is None:
        raise ValueError(f"{kind}/{name}.py defines no {entry}; see {kind}/__init__.py for the contract")
    if any(p.kind is p.VAR_KEYWORD for p in inspect.signature(factory).parameters.values()):
        raise ValueError(
            f"{kind}/{name}.py: {entry} takes **kwargs; name each option after a bare * instead, as in "
            f'`*, n_mels: Annotated[int, "help"] = 40` (see {kind}/__init__.py)'
        )
    return factory


def plugin_options(factory: Any) -> dict[str, inspect.Parameter]:
    """The parameters after `*`, which are command-line options."""
    parameters = inspect.signature(factory).parameters
    return {name: p for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}


def added_options(options: Mapping[str, Any], kinds: Iterable[str]) -> dict[str, Any]:
    """Options of the chosen plug-ins that were added after model files had been written -> their defaults.

    A plug-in lists them in a constant ADDED; with the defaults it computes what it did without the options.
    Earlier model files and states lack them. They are left out of fingerprints while they have their
    defaults, so that cohorts and thresholds made before stay valid.
    """
    defaults = dict[str, Any]()
    for kind in kinds:
        choice = options[KINDS[kind].flag]
        parameters = plugin_options(plugin(kind, choice))
        for _, name in parts(kind, choice):
            added = getattr(importlib.import_module(f"{kind}.{name}"), "ADDED", ())
            defaults |= {option: parameters[option].default for option in added}
    return defaults


def build(kind: str, options: Mapping[str, Any], *wired: Any) -> Any:
    """Build the chosen plug-in from what the trainer passes it and the options that it declares."""
    factory = plugin(kind, options[KINDS[kind].flag])
    values = added_options(options, (kind,)) | dict(options)
    return factory(*wired, **{name: values[name] for name in plugin_options(factory)})


def chosen_options(options: Mapping[str, Any], kinds: Iterable[str]) -> dict[str, Any]:
    """The choices of some kinds, and the options of these choices."""
    names = list[str]()
    for kind in kinds:
        flag = KINDS[kind].flag
        names += [flag, *plugin_options(plugin(kind, options[flag]))]
    return {name: options[name] for name in names if name in options}


def network_options(options: Mapping[str, Any], kinds: Iterable[str] = NETWORK_KINDS) -> dict[str, Any]:
    """The resolved options that decide what the network computes (or those of other kinds)."""
    sizes = {name: options[name] for name in ("nOut", "input_scale") if name in options}
    return sizes | chosen_options(options, kinds)


def sources(options: Mapping[str, Any], kinds: Iterable[str], others: Iterable[str] = ()) -> bytes:
    """The code of the chosen plug-ins of some kinds, of what their folders share, and of other files.

    others: patterns of their paths, such as audio/*.py.
    """
    patterns = list[str]()
    for kind in kinds:
        names = [part.name for part in parts(kind, options[KINDS[kind].flag])]
        patterns += [f"{kind}/_*.py", *(f"{kind}/{name}.py" for name in names)]
    paths = [path for pattern in (*patterns, *others) for path in sorted(ROOT.glob(pattern))]
    return b"".join(path.read_bytes() for path in paths)
