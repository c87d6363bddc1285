"""Model files of other programs -> this trainer's self-contained model files."""

from collections.abc import Sequence
from typing import NamedTuple

import options
from options import Parser, checks
from options.flags import network_parser
from SpeakerNet import SpeakerNet
from storage import checkpoint
from storage.checkpoint import ModelFile


class Converted(NamedTuple):
    """A model that is complete, the program that its file is of ("" = this one), warnings about options."""

    model_file: ModelFile
    origin: str
    warnings: tuple[str, ...]


def make_parser(add_help: bool = True) -> Parser:
    """The flags of a conversion, without those of plug-ins."""
    return network_parser("", add_help)


def converted(source: str, argv: Sequence[str] = (), origin: str = "") -> Converted:
    """Model file of any known format -> the model with all options that it needs; it fits its network.

    Args:
        source: path of the file.
        argv: options that the file doesn't show, or other values for how it is scored.
        origin: the toolkit that wrote it, where neither the file nor argv shows it.

    Raises:
        FileNotFoundError, ValueError: the file can't be read, or contradicts the options.
    """
    given = options.command_options(make_parser, list(argv)).origin
    model_file = checkpoint.load_model(source, given or origin)
    stored = checks.stored_network_options(model_file.options, model_file.origin)
    resolved = options.resolve(make_parser, list(argv), model_file.options | dict(stored))
    options.refuse_contradictions(resolved, stored, source)
    values = resolved.options
    if not values.model:
        raise ValueError(f"{source} doesn't show which model it is; give --model")
    checks.check_evaluation_values(values)
    if not model_file.origin and values.trainfunc != model_file.options["trainfunc"]:
        raise ValueError(
            f"{source} was trained with {model_file.options['trainfunc']}; leave out --trainfunc"
        )
    network = SpeakerNet.from_model_file(model_file, values)
    complete = model_file._replace(
        options=model_file.options | dict(values), normalize=network.normalize, origin=""
    )
    return Converted(complete, model_file.origin, resolved.warnings)
