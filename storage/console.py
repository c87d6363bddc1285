"""The terminal: names of files that aren't UTF-8 are printed, too."""

import io
import sys


def print_any_name() -> None:
    """Have what the terminal's encoding lacks printed as escapes; print would raise an error."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # in tests and notebooks it may be something else
        sys.stdout.reconfigure(errors="backslashreplace")
