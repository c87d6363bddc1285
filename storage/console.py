"""Standard output and error: any name of a file can be printed, also if they are closed; a command's end."""

import io
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn


def print_any_name() -> None:
    """Have what the terminal's encoding lacks printed as escapes; print would raise an error."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # in tests and notebooks it may be something else
        sys.stdout.reconfigure(errors="backslashreplace")


def print_nowhere_if_closed() -> None:
    """Replace standard output and error that whoever started the command has closed.

    Otherwise they are None, errors would go to standard output, and the next file that is opened would get
    the number of the closed one, and what libraries print.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115  (open to the end)


def is_interactive() -> bool:
    """Whether somebody can be asked: standard input and error are a terminal."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))


def exit_at_once(code: int) -> NoReturn:
    """End the process without taking PyTorch's modules down one by one, which takes up to a second."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # a full disk, or a pipe without a reader, was told before
            stream.flush()
    os._exit(code)
