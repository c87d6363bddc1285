"""Command line, config file and model file -> the value of every option.

Values resolve in this order, the later having priority: the plug-in's default, the model's DEFAULTS, the
options stored in a model file, the --config file (of a stage in it: the file's values, those of the stages
before it, its own), the command line.
"""

import argparse
import importlib
import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from options.flags import FLAGS, SPELLINGS, Role, names_of
from options.parser import BOOLEAN, Parser
from options.plugins import (
    KINDS,
    TRAINING_KINDS,
    added_options,
    available,
    network_options,
    parts,
    plugin,
    plugin_options,
)

UNSET = object()


class Options(Mapping[str, Any]):
    """Resolved options: a read-only mapping whose values are attributes too."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.__dict__.update(values)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"options can't be changed; `replaced({name}=...)` returns others")

    def __getattr__(self, name: str) -> Any:
        # only called for names that aren't there; its type tells mypy that all others are
        raise AttributeError(f"no option {name}")

    def __getitem__(self, name: str) -> Any:
        return self.__dict__[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dict__)

    def __len__(self) -> int:
        return len(self.__dict__)

    def replaced(self, **changes: Any) -> "Options":
        """The same options, some of them with other values."""
        return Options(self.__dict__ | changes)

    def without(self, *names: str) -> "Options":
        """The other options."""
        return Options({name: value for name, value in self.items() if name not in names})


class Resolved(NamedTuple):
    """Every option's value, the names of those that the user gave, and warnings for the user.

    `own` are the given ones, in a stage of a --config file only those that it doesn't have from elsewhere.
    """

    options: Options
    given: frozenset[str]
    own: frozenset[str]
    warnings: tuple[str, ...] = ()

    def warn(self, *warnings: str) -> "Resolved":
        """The same with more warnings."""
        return self._replace(warnings=self.warnings + warnings)


def fixed_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The resolved options that a resumed run can't change."""
    return network_options(options, TRAINING_KINDS) | {name: options[name] for name in names_of(Role.FIXED)}


def fixed_defaults(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those that the states of earlier versions may lack -> the values that these runs had."""
    flags = {flag.option: flag.default for flag in FLAGS if flag.roles & Role.FIXED}
    return flags | added_options(options, TRAINING_KINDS)


def resolve(
    make_parser: Callable[[bool], Parser], argv: list[str], stored: Mapping[str, Any] | None = None
) -> Resolved:
    """Command line -> every option of the command and of the plug-ins that it chooses.

    Args:
        make_parser: called with add_help, returns a parser with the flags of the command, --config and
        those of KINDS among them.
        argv: the tokens after the command's name.
        stored: options from a model file; the config file and the command line have priority over them.
    """
    sources = _sources(make_parser, argv)
    defaults = dict(stored or {})
    model = _parse(make_parser(False), sources, defaults)[0].model
    if model:
        plugin("models", model)
        defaults = model_defaults(model) | defaults
    names = _parse(make_parser(False), sources, defaults)[0]
    chosen = {kind: getattr(names, flag) for kind, (flag, _) in KINDS.items() if hasattr(names, flag)}

    parser = make_parser(True)
    for kind, name in chosen.items():
        if name:
            plugin(kind, name)  # its errors show the whole name
            for part in parts(kind, name):
                _add_plugin_options(parser, kind, part.name)
    known = [action.dest for action in parser._actions if action.dest != "help"]
    parser.set_defaults(**{name: value for name, value in defaults.items() if name in known})
    parsed, rest = _parse(parser, sources, dict.fromkeys(known, UNSET))
    values = {name: value for name, value in vars(parsed).items() if value is not UNSET}
    all_values = {name: values.get(name, parser.get_default(name)) for name in known}
    given = frozenset(values)
    own = given & _own_names(sources) if values.get("stage") else given
    return Resolved(Options(all_values), given, own).warn(*_unused_tokens(rest, parser, chosen))


def command_options(make_parser: Callable[[bool], Parser], argv: list[str]) -> Options:
    """Command line -> the options of the command itself, whatever else is given for plug-ins."""
    if {"-h", "--help"} & set(argv):
        resolve(make_parser, argv)  # prints the help, that of plug-ins too, and exits
    return Options(vars(_parse(make_parser(False), _sources(make_parser, argv), {})[0]))


def _sources(make_parser: Callable[[bool], Parser], argv: list[str]) -> dict[str, list[str]]:
    """Command line -> what is said of a mistake's source, and the tokens of the config file and the line."""
    values = make_parser(False).parse_known_args(argv)[0]
    stage = getattr(values, "stage", "")
    if not values.config:
        if stage:
            raise ValueError(f"--stage {stage} is one in a file of --config, which isn't given")
        return {"": argv}
    from options.config import read_config  # imports YAML, which most commands do without

    return read_config(values.config).sources(stage) | {"": argv}


def _own_names(sources: dict[str, list[str]]) -> set[str]:
    """Sources of a stage, the last but one its own -> the options that it sets."""
    *_, own, _ = sources.values()
    names = {token.removeprefix("--").partition("=")[0] for token in own if token.startswith("--")}
    return {SPELLINGS.get(name, name) for name in names}


def model_defaults(name: str) -> dict[str, Any]:
    """Name of a model -> the option values that it was published with."""
    defaults = getattr(importlib.import_module(f"models.{name}"), "DEFAULTS", None)
    if not isinstance(defaults, dict):
        raise ValueError(f"models/{name}.py defines no DEFAULTS; see models/__init__.py for the contract")
    return defaults


def _parse(
    parser: Parser, sources: dict[str, list[str]], preset: dict[str, Any]
) -> tuple[argparse.Namespace, dict[str, list[str]]]:
    """Parse one source of tokens after the other -> values, and the tokens of each source that remain."""
    values, rest = argparse.Namespace(**preset), {}
    for source, tokens in sources.items():
        try:
            _, rest[source] = parser.parse_known_args(tokens, values)
        except ValueError as error:
            raise ValueError(f"{source}{error}") from None
    return values, rest


def _add_plugin_options(parser: Parser, kind: str, name: str) -> None:
    """Add a group with the options of one plug-in; an option of an earlier group is shared."""
    factory = plugin(kind, name)
    doc = (inspect.getmodule(factory).__doc__ or "").partition("\n")[0]
    group = parser.add_argument_group(f"{kind}/{name}.py", doc.replace("%", "%%"))
    hints = typing.get_type_hints(
        factory.__init__ if inspect.isclass(factory) else factory, include_extras=True
    )
    for option, parameter in plugin_options(factory).items():
        if option in parser.flags():
            continue
        _check_option(f"{kind}/{name}.py", option, hints)
        annotated = hints[option]
        base, *notes = typing.get_args(annotated) if hasattr(annotated, "__metadata__") else [annotated]
        settings: dict[str, Any] = {"type": base}
        if base is bool:
            settings = BOOLEAN
        elif typing.get_origin(base) is Literal:
            values = typing.get_args(base)
            settings = {"type": type(values[0]), "choices": values}
        help_text = str(notes[0] if notes else option).replace("%", "%%")
        group.add_argument(f"--{option}", default=parameter.default, help=help_text, **settings)


def _check_option(source: str, option: str, hints: Mapping[str, Any]) -> None:
    """Raises ValueError for a parameter of a plug-in that can't become an option."""
    if option not in hints:
        raise ValueError(f'{source}: {option} has no type; write `{option}: Annotated[float, "help"] = ...`')
    if hasattr(Options, option):
        raise ValueError(f"{source}: an option can't be called {option}; give the parameter another name")


def _unused_tokens(rest: dict[str, list[str]], parser: Parser, chosen: dict[str, str]) -> list[str]:
    """Tokens that the parser left over -> a warning for each option of a plug-in that isn't chosen.

    Raises:
        ValueError: a flag that no plug-in has either.
    """
    if not any(rest.values()):
        return []
    kinds = _options_of_other_choices(chosen)
    others = Parser(None, add_help=False)
    for option in kinds:
        others.add_argument(f"--{option}", nargs="?", default=UNSET)
    warnings = list[str]()
    for source, tokens in rest.items():
        parsed, unknown = others.parse_known_args(tokens)
        if unknown:
            try:
                parser.refuse(unknown[0], kinds)
            except ValueError as error:
                raise ValueError(f"{source}{error}") from None
        for option, kind in kinds.items():
            if getattr(parsed, option) is not UNSET and chosen[kind]:
                warnings.append(f"--{option} has no effect with --{KINDS[kind].flag} {chosen[kind]}")
    return warnings


def _options_of_other_choices(chosen: dict[str, str]) -> dict[str, str]:
    """Options that only choices other than these have -> the kind that they belong to."""
    return {
        option: kind
        for kind in chosen
        for name in available(kind)
        if name != chosen[kind]
        for option in plugin_options(plugin(kind, name))
    }


def refuse_contradictions(resolved: Resolved, stored: Mapping[str, Any], source: str) -> None:
    """Raises ValueError where the user gave another value than the model file holds."""
    for name in sorted(resolved.given & stored.keys()):
        value = resolved.options[name]
        if value != stored[name]:
            raise ValueError(
                f"--{name} {value} contradicts {source}, which has {name} {stored[name]}; leave the flag out"
            )
