"""Write the embeddings of recordings into a file."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from inference.exported import SUFFIX
from inference.verbs._model import add_model_flags, require_consent, voice_of
from options.flags import Flag, at_least, path
from options.parser import Parser

if TYPE_CHECKING:
    from distributed.signals import StopSignal
    from inference.audio_files import AudioFiles
    from inference.embedding_files import Extracted

DESCRIPTION = """Write the embeddings of recordings, folders and lists into a file.

python inferSpeakerNet.py embed recordings --out embeddings.npz
python inferSpeakerNet.py embed wav.scp --out embeddings.ark --initial_model exps/exp1

A list is a text file of paths or of `speaker path` lines, or a Kaldi wav.scp. Recordings that can't be used,
or have no speech, are named and left out; the exit code is then 2, and 0 otherwise. The same command
continues one that was stopped."""
LEAST_FILES = 64  # of a process, whose start takes as long as embedding some dozens of recordings
TIMEOUT_S = 600.0  # for a process to wait for another one that loads the model
SCRIPT = Path(__file__).parents[2] / "inferSpeakerNet.py"


def make_parser(add_help: bool = True) -> Parser:
    """The flags of `embed`."""
    parser = Parser(DESCRIPTION, add_help)
    parser.usage = "python inferSpeakerNet.py embed FILE|FOLDER|LIST ... [--option value ...]"
    parser.add_argument("files", nargs="*", metavar="FILE|FOLDER|LIST", help="what is embedded")
    flags = [
        Flag(
            "--out",
            "file to write: .npz (embeddings and names), .npy (with names in a .txt), .csv, or Kaldi's .ark "
            "(with .scp)",
            "embeddings.npz",
            path,
            metavar="PATH",
        ),
        Flag(
            "--nproc",
            f"processes; default: one for every {LEAST_FILES} recordings, at most one a GPU, or one a core; "
            "of an exported file: recordings at once, default: one a core",
            0,
            at_least(0),
        ),
        Flag(
            "--nDataLoaderThread",
            "processes that read recordings, for each that embeds; default: 4 for a GPU, 0 for a core",
            None,
            at_least(0),
        ),
    ]
    parser.add_flags("embedding", flags)
    add_model_flags(parser)
    return parser


def run(words: list[str]) -> int:
    """Embed recordings, by several processes if that is faster -> exit code."""
    args = make_parser().parse_words(words)
    out = Path(args.out)
    if not args.files:
        raise ValueError("expected recordings, folders or lists; --help shows examples")
    from inference.audio_files import files_of
    from inference.audio_input import STANDARD_INPUT
    from inference.embedding_files import check_names, companion

    for file in filter(None, (out, companion(out))):  # the latter may be the list that is embedded
        if file.exists():
            raise ValueError(f"{file} exists already; give another --out, or delete it")
    if STANDARD_INPUT in args.files:
        raise ValueError("embed reads files; compare and identify also take standard input")
    if args.initial_model.endswith(SUFFIX):
        return embed_exported(args, files_of(args.files))
    import distributed
    from distributed.exit import exit_code_of
    from distributed.signals import Stopped
    from inference.model_source import model_path

    files = files_of(args.files if distributed.is_first() else [])  # it tells the others
    check_names(out, files.names)
    require_consent(args.initial_model, args.yes)
    model_path(args.initial_model)  # downloaded once, before there are several processes

    def embed_until_stopped(stop: "StopSignal") -> int:
        try:
            return embed(args, words, files, stop)
        except Stopped as stopped:
            if distributed.is_first():
                print(f"stopped by {stopped}; the same command continues", file=sys.stderr)
            raise

    return exit_code_of(embed_until_stopped)


def embed(args: argparse.Namespace, words: list[str], files: "AudioFiles", stop: "StopSignal") -> int:
    """Values of the flags, the words that they are from, recordings -> exit code."""
    import distributed
    from distributed import launch
    from distributed.exit import abort
    from inference.extraction import Extraction
    from inference.network_voice import NetworkVoice
    from storage.run_log import LOGGER, Remarks

    distributed.rendezvous(abort)
    num_processes = processes_for(args, len(files.paths))
    if num_processes > 1:
        return launch.launch([str(SCRIPT), "embed", *words], num_processes, 0, stop)
    voice = voice_of(args)
    assert isinstance(voice, NetworkVoice)
    device = voice.precision.device
    distributed.join(device, TIMEOUT_S)
    num_workers = args.nDataLoaderThread
    if num_workers is None:
        num_workers = 0 if device.type == "cpu" else 4
    remarks = Remarks()
    LOGGER.addHandler(remarks)
    try:
        with stop.guard(), distributed.wait_for_stragglers():
            extraction = Extraction(voice, files, Path(args.out), num_workers)
            extraction.embed(stop)
            remarks.gather()
            extracted = extraction.write(stop)
    finally:
        LOGGER.removeHandler(remarks)
    return 0 if extracted is None else report(extracted, files, f"{voice.dim} values in {args.out}")


def embed_exported(args: argparse.Namespace, files: "AudioFiles") -> int:
    """Values of the flags, among them an exported model, recordings -> exit code; PyTorch isn't imported."""
    from inference.embedding_files import check_names
    from inference.exported.extraction import extract
    from inference.exported.session import cores
    from inference.exported.voice import ExportedVoice

    check_names(Path(args.out), files.names)
    if args.nDataLoaderThread is not None:
        raise ValueError("--nDataLoaderThread: an exported file takes none; --nproc: recordings at once")
    at_once = min(args.nproc or cores(), len(files.paths))
    voice = voice_of(args, threads=1 if at_once > 1 else None)
    assert isinstance(voice, ExportedVoice)
    extracted = extract(voice, files, Path(args.out), at_once)
    return report(extracted, files, f"{voice.dim} values in {args.out}")


def report(extracted: "Extracted", files: "AudioFiles", what: str) -> int:
    """Print what was written, and what was left out -> exit code."""
    for folder in files.unreadable:
        print(f"note: can't be read: {folder}")
    if files.num_repeated:
        print(f"note: {files.num_repeated} recordings that are named again are embedded once")
    left_out = f"; {extracted.num_left_out} recordings left out" if extracted.num_left_out else ""
    embeddings = "embedding" if extracted.num_written == 1 else "embeddings"
    print(f"{extracted.num_written} {embeddings} of {what}{left_out}")
    return 2 if extracted.num_left_out or files.unreadable else 0


def processes_for(args: argparse.Namespace, num_files: int) -> int:
    """Values of the flags, number of recordings -> processes to start; 1 in one that was started."""
    import distributed
    import runtime

    if distributed.world_size() > 1:
        return 1
    if args.nproc:
        return int(args.nproc)
    gpus = runtime.num_gpus(args.device)
    if gpus and args.gpu_id:  # one GPU is chosen
        return 1
    return max(1, min(num_files // LEAST_FILES, gpus or runtime.num_cores()))
