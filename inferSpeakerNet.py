"""Use trained models. So far: turn model files of other programs into this trainer's, once and for all.

python inferSpeakerNet.py convert OLD NEW [--model ... as in trainSpeakerNet.py, where OLD doesn't tell]
"""

import sys
from pathlib import Path

import options
from options import checks, flags
from SpeakerNet import SpeakerNet
from storage import checkpoint

USAGE = "usage: python inferSpeakerNet.py convert OLD NEW [--option value ...]; --help tells more"


def core(add_help: bool = True) -> options.Parser:
    """The command's own options."""
    parser = options.Parser(str(__doc__), add_help, flags.SPELLINGS)
    parser.add_argument("--config", help="YAML file of `option: value` lines; the command line wins over it")
    flags.network_flags(parser)
    flags.evaluation_flags(parser)
    return parser


def convert(old: str, new: str, argv: list[str]) -> list[str]:
    """Read a model file of any known format, check that it fits its network, write ours -> lines to print."""
    model_file = checkpoint.load_model(old)
    stored = checks.stored_network_options(model_file.options, model_file.origin)
    resolved = options.resolve(core, argv, model_file.options)
    options.refuse_contradictions(resolved, stored, old)
    args = resolved.args
    if not args.model:
        raise ValueError(f"{old} doesn't show its model; give --model")
    checks.check_network_ranges(args)
    if not model_file.origin and args.trainfunc != model_file.options["trainfunc"]:
        raise ValueError(f"{old} was trained with {model_file.options['trainfunc']}; leave out --trainfunc")
    if Path(new).exists():
        raise ValueError(f"{new} is there already")
    checkpoint.load_weights(SpeakerNet.build(args), checkpoint.split_loss(model_file.weights)[0], old)
    normalize = model_file.normalize
    if model_file.origin and args.trainfunc:
        normalize = options.plugin("loss", args.trainfunc).normalize
    converted = model_file._replace(options=model_file.options | vars(args), normalize=normalize, origin="")
    checkpoint.save_model(Path(new), converted)
    for warning in resolved.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    told = [f"{old} is {model_file.origin}"] if model_file.origin else []
    return [*told, f"{new}: {args.model} with {args.encoder_type}, usable alone"]


def main(argv: list[str] | None = None) -> int:
    """The command -> its exit code: 0, or 2 for a mistake of the user."""
    words = sys.argv[1:] if argv is None else argv
    try:
        if {"-h", "--help"} & set(words) or not words:
            core().print_help()
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
