"""Measures an exported network against PyTorch: time to embed a waveform, and to answer from process start.

    python inferSpeakerNet.py export /tmp/speakers.onnx
    python benchmarks/exported.py /tmp/speakers.onnx
    python benchmarks/exported.py /tmp/speakers.onnx --initial_model exps/mine --pair a.wav b.wav

Both embed the same waveforms in turn, so that other work on the machine slows both down; the ratio is of the
medians. The second part starts `inferSpeakerNet.py compare` as often as --repetitions says, with the model
file and with the exported one, in turn.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import torch

from audio.recording import SAMPLE_RATE
from inference import load
from inference.exported import checks
from inference.exported.session import ExportedNetwork
from inference.exported.writing import reference
from inference.network_voice import NetworkVoice
from inference.public_models import DEFAULT_MODEL

SCRIPT = Path(__file__).parent.parent / "inferSpeakerNet.py"


def speeds(exported: str, model: str, threads: list[int], repetitions: int) -> None:
    """Print a row for each duration and number of threads."""
    print("threads   seconds   PyTorch ms   ONNX Runtime ms   times as fast")
    for count in threads:
        voice = load(model, device="cpu", precision="fp32", threads=count)
        assert isinstance(voice, NetworkVoice)
        embeds = [reference(voice), ExportedNetwork(exported, count).embed]
        for duration_s in checks.DURATIONS_S:
            torch.set_num_threads(count)
            before, after = checks.seconds(embeds, round(duration_s * SAMPLE_RATE), repetitions)
            row = f"{count:7} {duration_s:9g} {1000 * before:12.1f} {1000 * after:17.1f}"
            print(f"{row} {before / after:15.2f}", flush=True)


def starts(models: list[str], pair: list[str], repetitions: int) -> None:
    """Print the time that `compare` takes from process start with each model."""
    times: dict[str, list[float]] = {model: [] for model in models}
    for _ in range(repetitions):
        for model in models:
            start = time.perf_counter()
            words = [sys.executable, str(SCRIPT), "compare", *pair, "--initial_model", model]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            times[model].append(time.perf_counter() - start)
            if done.stderr:
                raise SystemExit(done.stderr)
    for model, taken in times.items():
        span = f"{min(taken):.2f} to {max(taken):.2f}"
        print(f"compare with {model}: {statistics.median(taken):.2f} s ({span})")


def main() -> None:
    """Measure both parts."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("exported", help="the .onnx file")
    parser.add_argument("--initial_model", default=DEFAULT_MODEL, help="the model that it was made of")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="numbers of threads")
    parser.add_argument("--repetitions", type=int, default=11, help="of each measurement")
    parser.add_argument("--pair", nargs=2, help="two recordings for `compare`; default: that is left out")
    args = parser.parse_args()
    speeds(args.exported, args.initial_model, args.threads, args.repetitions)
    if args.pair:
        starts([args.initial_model, args.exported], args.pair, args.repetitions)


if __name__ == "__main__":
    main()
