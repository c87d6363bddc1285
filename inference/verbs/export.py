"""Write a network for other programs and for use without PyTorch: .onnx, .safetensors or .pt2."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from inference.exported import SUFFIX
from inference.verbs._model import add_model_flags, require_consent
from options.flags import Flag, path
from options.parser import Parser

if TYPE_CHECKING:
    from audio.trials import Trials
    from inference.exported.checks import Agreement
    from inference.network_voice import NetworkVoice

DESCRIPTION = """Write a network for other programs, and for use without PyTorch.

python inferSpeakerNet.py export speakers.onnx --initial_model exps/mine
python inferSpeakerNet.py compare a.wav b.wav --initial_model speakers.onnx
python inferSpeakerNet.py export small.onnx --quantise int8 --test_list trials.txt --test_path recordings

The suffix of OUT chooses: .onnx and .pt2 (torch.export) hold the network with its front end, from waveforms
(B, T) at 16 kHz to embeddings (B, D), and how recordings are embedded and compared; an .onnx file is a model
for all other verbs. .safetensors holds the weights and options of a model file. What is written is compared
with the network, and deleted if it differs."""
WEIGHTS, PROGRAM = ".safetensors", ".pt2"
SUFFIXES = (SUFFIX, PROGRAM, WEIGHTS)
INT8, HALF = "int8", "fp16"


def make_parser(add_help: bool = True) -> Parser:
    """The flags of `export`."""
    parser = Parser(DESCRIPTION, add_help)
    parser.usage = "python inferSpeakerNet.py export OUT [--option value ...]"
    parser.add_argument("out", metavar="OUT", help="file to write: .onnx, .pt2 or .safetensors")
    flags = [
        Flag(
            "--quantise",
            "int8: weights of 8 bits in an .onnx file; half of the size with --precision fp16",
            "",
            choices=(INT8,),
        ),
        Flag("--sherpa", "for sherpa-onnx: its features as input, the metadata that it reads", False, bool),
        Flag("--test_list", "trials with labels, whose EER is printed before and after", "", path),
        Flag("--test_path", "folder of the recordings of --test_list", "", path),
    ]
    parser.add_flags("export", flags)
    add_model_flags(parser)
    return parser


def run(words: list[str]) -> int:
    """Write the file, compare it with the network, print size, speed and error rates -> exit code."""
    args = make_parser().parse_words(words)
    out = Path(args.out)
    variant = variant_of(args, out)
    if out.exists():
        raise ValueError(f"{out} exists already; give another name, or delete it")
    require_consent(args.initial_model, args.yes)
    if out.suffix == WEIGHTS:
        return write_weights(args.initial_model, out)
    from inference.exported import writing
    from inference.exported.measurements import labelled_trials

    trials = labelled_trials(args.test_list, args.test_path) if args.test_list else None
    voice = voice_for_export(args)
    print(f"exporting {voice.values.model}; this takes a minute or two", flush=True)
    if args.sherpa:
        show(out, writing.export_sherpa(voice, out))
        show_sherpa(args, voice, out, trials)
        return 0
    if out.suffix == PROGRAM:
        show(out, writing.export_program(voice, out))
        return 0
    show(out, writing.export_onnx(voice, out, variant))
    show_speed(voice, out)
    if trials is not None:
        show_error_rates(args, voice, out, trials)
    return 0


def variant_of(args: argparse.Namespace, out: Path) -> str:
    """Values of the flags, the file -> which numbers its weights have, "" for float32.

    Raises:
        ValueError: flags that don't go together.
    """
    if out.suffix not in SUFFIXES:
        raise ValueError(f"{out}: expected a file that ends in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    if args.precision not in ("auto", "fp32", HALF):
        raise ValueError(f"--precision {args.precision}: exported weights are fp32 or {HALF}")
    variant: str = args.quantise or (HALF if args.precision == HALF else "")
    if args.quantise and args.precision == HALF:
        raise ValueError(f"give --quantise {INT8} or --precision {HALF}, not both")
    if variant and (out.suffix != SUFFIX or args.sherpa):
        raise ValueError(f"--precision {HALF} and --quantise are for .onnx files without --sherpa")
    if args.sherpa and out.suffix != SUFFIX:
        raise ValueError(f"{out}: --sherpa needs an .onnx file")
    if args.test_list and out.suffix != SUFFIX:
        raise ValueError(f"{out}: --test_list is for .onnx files; others compute what the model file does")
    return variant


def write_weights(source: str, out: Path) -> int:
    """What --initial_model names, a .safetensors file to be written -> exit code."""
    from inference.network_voice import complete_model_file
    from storage import checkpoint

    model_file = complete_model_file(source)
    checkpoint.save_model(out, model_file)
    print(f"{out}: {len(model_file.weights)} tensors and the options, {megabytes(out)}")
    return 0


def voice_for_export(args: argparse.Namespace) -> "NetworkVoice":
    """Values of the flags -> the voice on the CPU, in float32."""
    from inference.network_voice import NetworkVoice
    from inference.voices import load

    if args.initial_model.endswith(SUFFIX):
        raise ValueError(f"{args.initial_model}: exported already; give the model file it was made of")
    voice = load(
        args.initial_model,
        vad=args.vad,
        channel=args.channel,
        score_norm=args.score_norm,
        backend=args.backend,
        device="cpu",
        precision="fp32",
        threads=args.threads,
    )
    assert isinstance(voice, NetworkVoice)
    return voice


def show(out: Path, agreement: "Agreement") -> None:
    """Print the size of a file, and how far it differs from the network."""
    print(
        f"{out}: {megabytes(out)}; embeddings differ from the network's by at most "
        f"{agreement.difference:.1e}, cosine {agreement.cosine:.6f}"
    )


def megabytes(file: Path) -> str:
    """A file -> its size in words."""
    return f"{file.stat().st_size / 1e6:.1f} MB"


def show_speed(voice: "NetworkVoice", out: Path) -> None:
    """Print the times for waveforms by PyTorch and by ONNX Runtime, with as many threads."""
    import torch

    from audio.recording import SAMPLE_RATE
    from inference.exported import checks
    from inference.exported.session import ExportedNetwork
    from inference.exported.writing import reference

    exported = ExportedNetwork(str(out), torch.get_num_threads())
    for duration_s in checks.DURATIONS_S:
        num_samples = round(duration_s * SAMPLE_RATE)
        before, after = checks.seconds([reference(voice), exported.embed], num_samples)
        print(
            f"  {duration_s:4g} s   PyTorch {1000 * before:6.1f} ms   ONNX Runtime {1000 * after:6.1f} ms   "
            f"{before / after:.2f} times as fast"
        )


def show_error_rates(args: argparse.Namespace, voice: "NetworkVoice", out: Path, trials: "Trials") -> None:
    """Print the EER of the network and of the exported one."""
    from inference.exported.measurements import eer_of
    from inference.voices import load

    before, after = (100 * eer_of(each, trials, args.test_path) for each in (voice, load(out)))
    print(f"  EER      {before:.3f} % before, {after:.3f} % after, of {len(trials.enrol)} trials")


def show_sherpa(args: argparse.Namespace, voice: "NetworkVoice", out: Path, trials: "Trials | None") -> None:
    """Print what the front end of sherpa-onnx changes on the recordings of trials: cosine, and EER."""
    from inference.exported import measurements
    from inference.exported.writing import reference

    if trials is None:
        print("  --test_list shows what the front end of sherpa-onnx changes: bands end at 7.6 kHz")
        return
    extractor = measurements.sherpa_extractor(out)
    cosines = measurements.sherpa_cosines(extractor, reference(voice), trials, args.test_path)
    before = 100 * measurements.eer_of(voice, trials, args.test_path)
    after = 100 * measurements.eer_of_sherpa(extractor, trials, args.test_path)
    mean, least = cosines.mean(), cosines.min()
    print(f"  cosine   {mean:.4f} of embeddings here and by sherpa-onnx on average, {least:.4f} at worst")
    print(f"  EER      {before:.3f} % here, {after:.3f} % by sherpa-onnx, of {len(trials.enrol)} trials")
