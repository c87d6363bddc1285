"""The terminal: names of files that aren't UTF-8 are printed, too; and the end of a command."""

import io
import os
import sys
from typing import NoReturn


def print_any_name() -> None:
    """Have what the terminal's encoding lacks printed as escapes; print would raise an error."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # in tests and notebooks it may be something else
        sys.stdout.reconfigure(errors="backslashreplace")


def exit_at_once(code: int) -> NoReturn:
    """End the process without taking PyTorch's modules down one by one, which takes up to a second."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
