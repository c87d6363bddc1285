r"""Recordings per second of `inferSpeakerNet.py embed`, against one by one, here and by other programs.

    python benchmarks/extraction.py --test_path ../shared/data/test --initial_model campplus-zh-en
    python benchmarks/extraction.py --test_path ../shared/data/test --initial_model ecapa.model --vad none \
        --peer speechbrain --peer_python peers/bin/python
    python benchmarks/extraction.py --test_path ../shared/data/test --initial_model ge2e --peer resemblyzer \
        --peer_python peers/bin/python

The same files are embedded by the verb, with a process for each core, and one after another by a voice in one
process with all cores as threads; the verb, the loop and the peer's loop take turns, and ratios are medians
over the turns. The verb's time is that of the whole command without its start, which is the time of a command
for two recordings. Peers run in an environment of their own: Resemblyzer with its own weights, which ge2e
has, and its own detector (pip install Resemblyzer==0.1.4 --no-deps, webrtcvad-wheels, librosa), SpeechBrain's
ECAPA-TDNN with random weights of the same shapes (pip install speechbrain==1.1.2 soundfile). The latter
embeds whole recordings: --vad none has the verb and the loop do so, too.
"""

import argparse
import importlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
SUFFIXES = (".wav", ".flac")


def files_in(folder: str, count: int) -> list[str]:
    """Folder, number -> so many of its recordings, evenly spread over it."""
    paths = sorted(str(path) for path in Path(folder).rglob("*") if path.suffix in SUFFIXES)
    return paths[:: max(1, len(paths) // count)][:count]


def verb_seconds(paths: list[str], model: list[str], out: Path) -> float:
    """Paths, flags of the model -> seconds of the command that embeds them."""
    listed = out.with_suffix(".lst")
    listed.write_text("".join(f"{path}\n" for path in paths))
    out.unlink(missing_ok=True)
    words = ["embed", str(listed), "--out", str(out), *model]
    words += ["--nproc", str(len(os.sched_getaffinity(0)))]
    start = time.perf_counter()
    command = [sys.executable, str(ROOT / "inferSpeakerNet.py"), *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def loop_seconds(voice: Any, paths: list[str]) -> tuple[float, Any]:
    """Voice, paths -> seconds of embedding them one after another, the embeddings (U, D)."""
    start = time.perf_counter()
    embeddings = voice.embed_files(paths)
    return time.perf_counter() - start, embeddings


def peer_seconds(args: argparse.Namespace, paths: list[str]) -> float:
    """Paths -> seconds of the other program's loop, as its own process measures them."""
    command = [args.peer_python, __file__, "--worker", args.peer]
    done = subprocess.run(command, input="\n".join(paths), capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def resemblyzer() -> Callable[[str], Any]:
    """-> function that embeds a file as Resemblyzer does."""
    import scipy.ndimage

    sys.modules["scipy.ndimage.morphology"] = scipy.ndimage  # its former place
    package: Any = importlib.import_module("resemblyzer")
    encoder = package.VoiceEncoder("cpu", verbose=False)
    return lambda path: encoder.embed_utterance(package.preprocess_wav(path))


def speechbrain() -> Callable[[str], Any]:
    """-> function that embeds a file as EncoderClassifier does."""
    import soundfile
    import torch

    import features._torchaudio  # noqa: F401  (SpeechBrain imports torchaudio, which may not load as it is)

    networks: Any = importlib.import_module("speechbrain.lobes.models.ECAPA_TDNN")
    front_end: Any = importlib.import_module("speechbrain.lobes.features").Fbank(n_mels=80)
    processing: ModuleType = importlib.import_module("speechbrain.processing.features")
    normalise = processing.InputNormalization(norm_type="sentence", std_norm=False)
    network = networks.ECAPA_TDNN(80, channels=[1024, 1024, 1024, 1024, 3072], lin_neurons=192).eval()

    @torch.inference_mode()
    def embed(path: str) -> Any:
        samples, _ = soundfile.read(path, dtype="float32")
        waveform = torch.from_numpy(samples)[None]
        lengths = torch.ones(1)
        return network(normalise(front_end(waveform), lengths), lengths)

    return embed


PEERS = {"resemblyzer": resemblyzer, "speechbrain": speechbrain}


def work(peer: str) -> None:
    """In the peer's environment: embed the paths of standard input, print the seconds."""
    embed = PEERS[peer]()
    paths = sys.stdin.read().split("\n")
    embed(paths[0])
    start = time.perf_counter()
    for path in paths:
        embed(path)
    print(time.perf_counter() - start)


def measure(args: argparse.Namespace) -> None:
    """Print recordings per second, ratios, and how far the embeddings are apart."""
    import numpy as np

    from inference import load
    from inference.embedding_files import read_embeddings

    paths = files_in(args.test_path, args.files)
    voice = load(args.initial_model, vad=args.vad)
    model = ["--initial_model", args.initial_model, *(["--vad", args.vad] if args.vad else [])]
    loop_seconds(voice, paths[:5])
    verb, loop, peer = list[float](), list[float](), list[float]()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "x.npz"
        start_s = statistics.median(verb_seconds(paths[:2], model, out) for _ in range(3))
        for _ in range(args.turns):
            verb.append(verb_seconds(paths, model, out) - start_s)
            seconds, embeddings = loop_seconds(voice, paths)
            loop.append(seconds)
            if args.peer:
                peer.append(peer_seconds(args, paths))
        distance = np.abs(read_embeddings(out).vectors - embeddings).max()
    print(f"{len(paths)} files, {args.initial_model}, start of the command {start_s:.1f} s")
    print(f"verb: {len(paths) / statistics.median(verb):.1f} recordings/s")
    for name, times in (("one by one", loop), (args.peer, peer)):
        if times:
            ratios = sorted(other / ours for other, ours in zip(times, verb, strict=True))
            print(f"{name}: {len(paths) / statistics.median(times):.1f} recordings/s; the verb is")
            print(f"  {statistics.median(ratios):.2f} times as fast ({ratios[0]:.2f} to {ratios[-1]:.2f})")
    print(f"largest difference between verb and loop: {distance:.1e}")


def main() -> None:
    """Measure, or be the worker of a peer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--test_path", default="", help="folder of recordings, searched for .wav and .flac")
    parser.add_argument("--files", type=int, default=400, help="how many are embedded")
    parser.add_argument("--initial_model", default="campplus-zh-en")
    parser.add_argument("--vad", default="", help="as of embed")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--peer", default="", choices=("", *PEERS), help="another program")
    parser.add_argument("--peer_python", default="", help="Python of its environment")
    parser.add_argument("--worker", default="", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(args.worker)
    else:
        measure(args)


if __name__ == "__main__":
    main()
