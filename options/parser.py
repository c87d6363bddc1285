"""The argument parser of the commands: errors of one line, older spellings, nearest names."""

import argparse
import difflib
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from options.flags import Flag


def boolean(text: str) -> bool:
    """True, 1, yes, on and their opposites -> bool."""
    words = {"true": True, "1": True, "yes": True, "on": True}
    words |= {"false": False, "0": False, "no": False, "off": False}
    if text.lower() not in words:
        raise argparse.ArgumentTypeError(f"expected True or False, got {text!r}")
    return words[text.lower()]


# The settings of a boolean flag, which may also stand alone: --flag, --flag True, --flag=False.
BOOLEAN: dict[str, Any] = {"type": boolean, "nargs": "?", "const": True, "metavar": "True|False"}


def nearest(name: str, names: Iterable[str]) -> str:
    """A name that isn't known -> the known ones that look like it, for an error."""
    close = difflib.get_close_matches(name, list(names), n=3, cutoff=0.5)
    return f"unknown; did you mean {' or '.join(close)}?" if close else "unknown"


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows defaults that say something, and keeps the lines of a description as they are."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, "") else super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """An ArgumentParser without abbreviations, whose errors are ValueErrors of one line.

    Spellings that other programs use for a flag are translated: their name -> ours, both without dashes.
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

    def parse_words(self, words: list[str]) -> argparse.Namespace:
        """Words of a command line -> values; raises ValueError for a word that is unknown."""
        args, rest = self.parse_known_args(words)
        if rest:
            self.refuse(rest[0])
        return args

    def _translate(self, token: str) -> str:
        flag, equals, value = token.removeprefix("--").partition("=")
        if not token.startswith("--") or flag not in self.spellings:
            return token
        return f"--{self.spellings[flag]}{equals}{value}"

    def add_flags(self, title: str, flags: Iterable["Flag"]) -> None:
        """Add declared flags as a group of the help."""
        group = self.add_argument_group(title)
        for flag in flags:
            names = flag.names.split()
            if flag.type is bool:
                group.add_argument(*names, **BOOLEAN, default=flag.default, help=flag.help)
            else:
                group.add_argument(
                    *names,
                    type=flag.type,
                    default=flag.default,
                    choices=flag.choices,
                    nargs=flag.nargs,
                    const=flag.const,
                    metavar=flag.metavar,
                    help=flag.help,
                )

    def flags(self) -> list[str]:
        """Every spelling that the parser knows, without the dashes."""
        return [text.lstrip("-") for text in self._option_string_actions]

    def refuse(self, token: str, others: Iterable[str] = ()) -> NoReturn:
        """Raises ValueError for a token that is no option, with the names nearest to it."""
        if not token.startswith("-"):
            raise ValueError(f"unexpected argument {token!r}")
        flag = token.lstrip("-").partition("=")[0]
        raise ValueError(f"--{flag}: {nearest(flag, [*self.flags(), *others])}")
