"""Use trained models. So far: convert model files of other programs to this trainer's format.

python inferSpeakerNet.py convert OLD NEW [--model ... as in trainSpeakerNet.py, where OLD doesn't say]
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from options import Parser

USAGE = "usage: python inferSpeakerNet.py convert OLD NEW [--option value ...]; --help tells more"


def make_parser(add_help: bool = True) -> "Parser":
    """The command's flags, without those of plug-ins."""
    from options.flags import network_parser

    return network_parser(str(__doc__), add_help)


def convert(old: str, new: str, argv: list[str]) -> list[str]:
    """Read a model file of any known format, check that it fits its network, write ours -> lines to print."""
    import options
    from options import checks
    from SpeakerNet import SpeakerNet
    from storage import checkpoint

    model_file = checkpoint.load_model(old)
    stored = checks.stored_network_options(model_file.options, model_file.origin)
    resolved = options.resolve(make_parser, argv, model_file.options | dict(stored))
    options.refuse_contradictions(resolved, stored, old)
    values = resolved.options
    if not values.model:
        raise ValueError(f"{old} doesn't show which model it is; give --model")
    checks.check_evaluation_values(values)
    if not model_file.origin and values.trainfunc != model_file.options["trainfunc"]:
        raise ValueError(f"{old} was trained with {model_file.options['trainfunc']}; leave out --trainfunc")
    if Path(new).exists():
        raise ValueError(f"{new} exists already")
    network = SpeakerNet.from_model_file(model_file, values)
    converted = model_file._replace(
        options=model_file.options | dict(values), normalize=network.normalize, origin=""
    )
    checkpoint.save_model(Path(new), converted)
    for warning in resolved.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    lines = [f"{old} is {model_file.origin}"] if model_file.origin else []
    return [*lines, f"{new}: {values.model} with {values.encoder_type}, self-contained"]


def main(argv: list[str] | None = None) -> int:
    """Run the command -> exit code: 0, or 2 for a mistake of the user."""
    words = sys.argv[1:] if argv is None else argv
    try:
        if {"-h", "--help"} & set(words) or not words:
            make_parser().print_help()
            return 0
        if words[0] != "convert" or len(words) < 3 or any(word.startswith("-") for word in words[1:3]):
            raise ValueError(USAGE)
        print(*convert(words[1], words[2], words[3:]), sep="\n")
    except (ValueError, OSError) as error:
        print(f"inferSpeakerNet.py: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
