"""Command-line options: what the plug-ins declare, how values resolve, which flags there are.

`flags` declares the flags, `checks` what must hold between them; others need only what is named here.
"""

from options.parser import BOOLEAN, HelpFormatter, Parser, boolean
from options.plugins import (
    KINDS,
    NETWORK_KINDS,
    ROOT,
    TESTING_KINDS,
    available,
    build,
    choices,
    chosen_options,
    fixed_options,
    network_options,
    plugin,
    plugin_options,
    sources,
)
from options.resolve import Resolved, config_tokens, refuse_contradictions, resolve

__all__ = [
    "BOOLEAN",
    "KINDS",
    "NETWORK_KINDS",
    "ROOT",
    "TESTING_KINDS",
    "HelpFormatter",
    "Parser",
    "Resolved",
    "available",
    "boolean",
    "build",
    "choices",
    "chosen_options",
    "config_tokens",
    "fixed_options",
    "network_options",
    "plugin",
    "plugin_options",
    "refuse_contradictions",
    "resolve",
    "sources",
]
