"""Rewrite a model file of another program as one of this trainer."""

import sys
from pathlib import Path

from options.parser import Parser

DESCRIPTION = """Rewrite a model file of another program as one of this trainer, which needs no further flag.

python inferSpeakerNet.py convert baseline_lite_ap.model exps/lite.model --input_scale 32768
python inferSpeakerNet.py convert old.model new.model --model VGGVox --encoder_type TAP

OLD is a file, a folder of a run or of a toolkit, or the name of a public model. The flags say what OLD
doesn't show. Flags of evaluation, as trainSpeakerNet.py --help lists them, are stored in NEW as defaults."""
USAGE = "python inferSpeakerNet.py convert OLD NEW [--option value ...]"


def make_parser(add_help: bool = True) -> Parser:
    """The flags that `convert --help` shows; it also takes those of evaluation."""
    from options.flags import CONFIG, NETWORK, ORIGIN

    parser = Parser(DESCRIPTION, add_help)
    parser.usage = USAGE
    parser.add_flags("command", [CONFIG, ORIGIN])
    parser.add_flags("network", NETWORK)
    return parser


def run(words: list[str]) -> int:
    """Read a model file of any known format, check that it fits its network, write ours."""
    if len(words) < 2 or any(word.startswith("-") for word in words[:2]):
        raise ValueError(f"usage: {USAGE}; or --help")
    from inference.conversion import converted
    from inference.model_source import model_path
    from storage import checkpoint

    old, new, *argv = words
    if Path(new).exists():
        raise ValueError(f"{new} exists already")
    result = converted(model_path(old), argv)
    checkpoint.save_model(Path(new), result.model_file)
    for warning in result.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if result.origin:
        print(f"{old} is {result.origin}")
    values = result.model_file.options
    print(f"{new}: {values['model']} with {values['encoder_type']}, self-contained")
    return 0
