"""Command-line options: what the plug-ins declare, how values resolve, which flags there are.

The modules `flags`, which declares the flags, and `checks`, what must hold between them, are imported
themselves; everything else that other packages use is exported here.
"""

from options.parser import Parser
from options.plugins import (
    KINDS,
    NETWORK_KINDS,
    ROOT,
    TESTING_KINDS,
    TRAINING_KINDS,
    added_options,
    available,
    build,
    choices,
    chosen_options,
    network_options,
    plugin,
    plugin_options,
    sources,
)
from options.resolve import (
    Options,
    Resolved,
    command_options,
    fixed_defaults,
    fixed_options,
    refuse_contradictions,
    resolve,
)

__all__ = [
    "KINDS",
    "NETWORK_KINDS",
    "ROOT",
    "TESTING_KINDS",
    "TRAINING_KINDS",
    "Options",
    "Parser",
    "Resolved",
    "added_options",
    "available",
    "build",
    "choices",
    "chosen_options",
    "command_options",
    "fixed_defaults",
    "fixed_options",
    "network_options",
    "plugin",
    "plugin_options",
    "refuse_contradictions",
    "resolve",
    "sources",
]
