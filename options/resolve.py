"""Command line, config file and model file -> the value of every option."""

import argparse
import importlib
import inspect
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml

from options.parser import BOOLEAN, Parser
from options.plugins import KINDS, available, plugin, plugin_options

UNSET = object()


def _add_plugin_options(parser: Parser, kind: str, name: str) -> None:
    """Add a group with the options of one plug-in; those that a group before it has are shared."""
    factory = plugin(kind, name)
    doc = (inspect.getmodule(factory).__doc__ or "").partition("\n")[0]
    group = parser.add_argument_group(f"{kind}/{name}.py", doc.replace("%", "%%"))
    hints = typing.get_type_hints(
        factory.__init__ if inspect.isclass(factory) else factory, include_extras=True
    )
    for option, parameter in plugin_options(factory).items():
        if option in parser.flags():
            continue
        annotated = hints[option]
        base, *notes = typing.get_args(annotated) if hasattr(annotated, "__metadata__") else [annotated]
        settings: dict[str, Any] = {"type": base}
        if base is bool:
            settings = dict(BOOLEAN)
        elif typing.get_origin(base) is Literal:
            settings = {"choices": typing.get_args(base)}
        help_text = str(notes[0] if notes else option).replace("%", "%%")
        group.add_argument(f"--{option}", default=parameter.default, help=help_text, **settings)


def _unused_options(chosen: dict[str, str]) -> dict[str, str]:
    """Options that only choices other than these have -> the kind they belong to."""
    return {
        option: kind
        for kind in chosen
        for name in available(kind)
        if name != chosen[kind]
        for option in plugin_options(plugin(kind, name))
    }


def _unused(rest: list[str], parser: Parser, chosen: dict[str, str]) -> list[str]:
    """Tokens that the parser left -> a warning for each option of a plug-in that wasn't chosen.

    Raises:
        ValueError: a flag that no plug-in has either.
    """
    others = _unused_options(chosen)
    sieve = Parser(None, add_help=False)
    for option in others:
        sieve.add_argument(f"--{option}", nargs="?", default=UNSET)
    found, unknown = sieve.parse_known_args(rest)
    if unknown:
        parser.refuse(unknown[0], others)
    flags = {option: KINDS[kind].flag for option, kind in others.items()}
    return [
        f"--{option} has no effect with --{flags[option]} {chosen[others[option]]}"
        for option in others
        if getattr(found, option) is not UNSET and chosen[others[option]]
    ]


def config_tokens(path: str) -> list[str]:
    """YAML file of `option: value` -> the argv tokens that say the same."""
    try:
        entries = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        raise FileNotFoundError(f"--config {path}: no such file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"--config {path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(entries, dict):
        raise ValueError(f"--config {path}: expected lines of `option: value`")
    for key, value in entries.items():
        parts = value if isinstance(value, list) else [value]
        if key == "config" or not parts or not all(isinstance(p, str | int | float | bool) for p in parts):
            raise ValueError(f"--config {path}: {key}: expected a value or a list of them, got {value!r}")
    return [token for key, value in entries.items() for token in _tokens(key, value)]


def _tokens(key: str, value: Any) -> list[str]:
    """`key: value` -> its tokens; a list of numbers is one, `1,2`, of words each is one."""
    if not isinstance(value, list):
        return [f"--{key}={value}"]
    if any(isinstance(part, str) for part in value):
        return [f"--{key}", *map(str, value)]
    return [f"--{key}={','.join(map(str, value))}"]


class Resolved(NamedTuple):
    """What `resolve` finds: every option's value, those the user gave, and what to tell the user."""

    args: argparse.Namespace
    given: set[str]
    warnings: list[str]


def _parse(
    parser: Parser, sources: dict[str, list[str]], preset: dict[str, Any]
) -> tuple[argparse.Namespace, dict[str, list[str]]]:
    """Parse one source of tokens after the other -> values, and for each source what was left."""
    args, rest = argparse.Namespace(**preset), {}
    for source, tokens in sources.items():
        try:
            _, rest[source] = parser.parse_known_args(tokens, args)
        except ValueError as error:
            raise ValueError(f"{source}{error}") from None
    return args, rest


def resolve(
    core: Callable[[bool], Parser], argv: list[str], stored: dict[str, Any] | None = None
) -> Resolved:
    """Command line -> every option of the command and of the plug-ins that it chooses.

    Args:
        core: called with add_help, makes a parser with the command's own flags, --config and the
            flags of KINDS among them.
        argv: the tokens after the command's name.
        stored: options out of a model file; they rank below the config file and the command line.
    """
    path = core(False).parse_known_args(argv)[0].config
    sources = ({f"--config {path}: ": config_tokens(path)} if path else {}) | {"": argv}
    defaults = dict(stored or {})
    model = _parse(core(False), sources, defaults)[0].model
    if model:
        plugin("models", model)
        defaults = importlib.import_module(f"models.{model}").DEFAULTS | defaults
    names = _parse(core(False), sources, defaults)[0]
    chosen = {kind: getattr(names, flag) for kind, (flag, _) in KINDS.items() if hasattr(names, flag)}

    parser = core(True)
    for kind, name in chosen.items():
        if name:
            _add_plugin_options(parser, kind, name)
    known = [action.dest for action in parser._actions if action.dest != "help"]
    parser.set_defaults(**{name: value for name, value in defaults.items() if name in known})
    args, rest = _parse(parser, sources, dict.fromkeys(known, UNSET))
    given = {name for name in known if getattr(args, name) is not UNSET}
    for name in set(known) - given:
        setattr(args, name, parser.get_default(name))

    warnings = []
    for source, tokens in rest.items():
        try:
            warnings += _unused(tokens, parser, chosen) if tokens else []
        except ValueError as error:
            raise ValueError(f"{source}{error}") from None
    return Resolved(args, given, warnings)


def refuse_contradictions(resolved: Resolved, stored: dict[str, Any], source: str) -> None:
    """Raises ValueError where the user gave another value than the model file holds."""
    for name in sorted(resolved.given & stored.keys()):
        value = getattr(resolved.args, name)
        if value != stored[name]:
            raise ValueError(
                f"--{name} {value} contradicts {source}, which was made with {stored[name]}; leave it out"
            )
