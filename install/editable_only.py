"""Build backend of pip: setuptools for `pip install -e .`; wheels are refused.

The modules of a wheel would lie in site-packages under names such as `options` or `models`, which other
packages may have too.
"""

from typing import Any, NoReturn

from setuptools.build_meta import (
    build_editable,
    get_requires_for_build_editable,
    prepare_metadata_for_build_editable,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "prepare_metadata_for_build_editable",
]


def build_wheel(*_: Any, **__: Any) -> NoReturn:
    """Refuse, in the one line that pip shows."""
    raise SystemExit("speakernet can only be installed where its folder is: pip install -e .")


build_sdist = build_wheel
