"""The argument parser of the commands: one-line errors, old spellings, nearest names."""

import argparse
import difflib
import sys
from collections.abc import Iterable
from typing import Any, NoReturn


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


def _nearest(name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(names), n=3, cutoff=0.5)
    return f"unknown; did you mean {' or '.join(close)}?" if close else "unknown"
