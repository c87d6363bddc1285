"""Command-line options: the parser, config files, plug-in look-up and building.

A choice is a file in a folder; the parameters after `*` of what the file defines are its options.
Values resolve in this order, the later winning: the plug-in's default, the model's DEFAULTS, the
options stored in a model file, the --config file, the command line.
"""

import argparse
import difflib
import importlib
import inspect
import sys
import typing
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn

import yaml

ROOT = Path(__file__).parent
UNSET = object()


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


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows defaults where there are any and leaves the lines of a description as they are."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, "") else super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """An ArgumentParser without abbreviations whose errors are ValueErrors of one line.

    Spellings that other programs had for a flag are translated: old name -> flag, without the dashes.
    """

    def __init__(
        self, description: str | None, add_help: bool = True, spellings: dict[str, str] | None = None
    ) -> None:
        self.spellings = spellings or {}
        super().__init__(
            usage="%(prog)s [--option value ...]",
            description=description,
            allow_abbrev=False,
            add_help=add_help,
            formatter_class=HelpFormatter,
        )

    def error(self, message: str) -> NoReturn:
        """Raises ValueError instead of printing the usage and exiting."""
        raise ValueError(message)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As in argparse, after translating the spellings."""
        tokens = sys.argv[1:] if args is None else args
        return super().parse_known_args([self._translate(token) for token in tokens], namespace)

    def _translate(self, token: str) -> str:
        flag, equals, value = token.removeprefix("--").partition("=")
        if not token.startswith("--") or flag not in self.spellings:
            return token
        return f"--{self.spellings[flag]}{equals}{value}"

    def flags(self) -> list[str]:
        """Every spelling that the parser knows, without the dashes."""
        return [text.lstrip("-") for text in self._option_string_actions]

    def refuse(self, token: str, others: Iterable[str] = ()) -> NoReturn:
        """Raises ValueError for a token that is no option, with the names nearest to it."""
        if not token.startswith("-"):
            raise ValueError(f"unexpected argument {token!r}")
        flag = token.lstrip("-").partition("=")[0]
        raise ValueError(f"--{flag}: {_nearest(flag, [*self.flags(), *others])}")


def boolean(text: str) -> bool:
    """True, 1, yes, on and their opposites -> bool; for flags that also stand bare."""
    words = {"true": True, "1": True, "yes": True, "on": True}
    words |= {"false": False, "0": False, "no": False, "off": False}
    if text.lower() not in words:
        raise argparse.ArgumentTypeError(f"expected True or False, got {text!r}")
    return words[text.lower()]


BOOLEAN: dict[str, Any] = {"type": boolean, "nargs": "?", "const": True, "metavar": "True|False"}


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


def _nearest(name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(names), n=3, cutoff=0.5)
    return f"unknown; did you mean {' or '.join(close)}?" if close else "unknown"


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


def choices(kind: str) -> str:
    """Kind -> a help text that lists its files."""
    return f"{KINDS[kind].entry} of a file in {kind}/: {', '.join(available(kind))}"
