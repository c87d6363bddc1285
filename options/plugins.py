"""Command-line options: the parser, config files, plug-in look-up and building.

A choice is a file in a folder; the parameters after `*` of what the file defines are its options.
Values resolve in this order, the later winning: the plug-in's default, the model's DEFAULTS, the
options stored in a model file, the --config file, the command line.
"""

import argparse
import importlib
import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from options.parser import _nearest

ROOT = Path(__file__).parent.parent


class Kind(NamedTuple):
    """A folder of choices: the flag that chooses, and what each file defines."""

    flag: str
    entry: str


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
}
TESTING_KINDS = ("scoring", "normalization")  # that training doesn't depend on
NETWORK_KINDS = ("models", "features", "pooling")  # what a stored model can't be changed in


def available(kind: str) -> list[str]:
    """Kind (a folder's name) -> the names that can be chosen, sorted."""
    return sorted(path.stem for path in (ROOT / kind).glob("[!_]*.py"))


def plugin(kind: str, name: str) -> Any:
    """Kind and name -> the class or function that the file defines.

    Raises:
        ValueError: no such file, or it doesn't keep the contract.
    """
    flag, entry = KINDS[kind]
    names = available(kind)
    if name not in names:
        raise ValueError(f"--{flag} {name}: {_nearest(name, names)} (there are {', '.join(names)})")
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


def build(kind: str, args: argparse.Namespace, *wired: Any) -> Any:
    """Make the chosen plug-in from what the trainer wires and the options that it declares."""
    factory = plugin(kind, getattr(args, KINDS[kind].flag))
    return factory(*wired, **{name: getattr(args, name) for name in plugin_options(factory)})


def network_options(args: argparse.Namespace, kinds: Iterable[str] = NETWORK_KINDS) -> dict[str, Any]:
    """The resolved options that decide what the network computes (or those of other kinds)."""
    own = {name: getattr(args, name) for name in ("nOut", "input_scale") if hasattr(args, name)}
    return own | chosen_options(args, kinds)


def chosen_options(args: argparse.Namespace, kinds: Iterable[str]) -> dict[str, Any]:
    """The choices of some kinds, and the options that these have."""
    names = list[str]()
    for kind in kinds:
        flag = KINDS[kind].flag
        names += [flag, *plugin_options(plugin(kind, getattr(args, flag)))]
    return {name: getattr(args, name) for name in names if hasattr(args, name)}


def sources(args: argparse.Namespace, kinds: Iterable[str]) -> bytes:
    """The code of the chosen plug-ins of some kinds, and of what their folders share."""
    names = ((kind, getattr(args, KINDS[kind].flag)) for kind in kinds)
    files = (sorted([*(ROOT / kind).glob("_*.py"), ROOT / kind / f"{name}.py"]) for kind, name in names)
    return b"".join(file.read_bytes() for folder in files for file in folder)


def fixed_options(args: argparse.Namespace) -> dict[str, Any]:
    """The resolved options that a run can't change when it is resumed."""
    others = (
        "seed",
        "initial_model",
        "allow_partial",
        "nClasses",
        "nPerSpeaker",
        "batch_size",
        "max_frames",
        "max_seg_per_spk",
        "precision",
        *("accumulate", "clip_norm", "ema_decay", "gather_negatives", "sync_bn"),
        *("augment", "augment_chain", "snr_noise", "snr_music", "snr_babble", "babble_voices", "gain_db"),
        *("speeds", "speed_classes", "mask_bands", "mask_frames"),
    )
    kinds = [kind for kind in KINDS if kind not in TESTING_KINDS]
    return network_options(args, kinds) | {name: getattr(args, name) for name in others}


def choices(kind: str) -> str:
    """Kind -> a help text that lists its files."""
    return f"{KINDS[kind].entry} of a file in {kind}/: {', '.join(available(kind))}"
