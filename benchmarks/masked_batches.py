"""Measures whole recordings/s embedded one by one, and in padded batches sorted by length.

    python benchmarks/masked_batches.py
    python benchmarks/masked_batches.py --models ECAPA:channels=1024 --batches 16 64 --utterances 512

Random waveforms and weights. Also prints the largest distance between the embedding of a recording in a batch
and of the same recording alone, both length-normalised.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch
from network_speed import build
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parent.parent))

import runtime
from audio.recording import SAMPLE_RATE
from SpeakerNet import SpeakerNet


@torch.inference_mode()
def embed(network: SpeakerNet, waveforms: list[Tensor], batch: int) -> Tensor:
    """Waveforms (T_i,) -> length-normalised embeddings (B, D)."""
    if batch == 1:
        embeddings = [network.embed(waveform[None]) for waveform in waveforms]
    else:
        parts = [waveforms[i : i + batch] for i in range(0, len(waveforms), batch)]
        embeddings = [network.embed_unequal(part) for part in parts]
    return F.normalize(torch.cat(embeddings))


def main() -> None:
    """Prints one line per model and batch size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    published = ["ResNetSE34L", "ECAPA:channels=512"]
    parser.add_argument("--models", nargs="+", default=published, help="MODEL or MODEL:option=value,...")
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 16], help="recordings in a batch")
    parser.add_argument("--utterances", type=int, default=64)
    parser.add_argument(
        "--seconds", type=float, nargs=2, default=(2.0, 8.0), help="shortest and longest recording"
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    args = parser.parse_args()
    torch.manual_seed(0)
    device = runtime.choose_device(args.device)
    shortest, longest = args.seconds
    durations = (shortest + (longest - shortest) * torch.rand(args.utterances)).sort().values
    waveforms = [0.1 * torch.randn(round(s * SAMPLE_RATE), device=device) for s in durations.tolist()]
    print(f"{args.utterances} recordings of {shortest:g} to {longest:g} s, {runtime.describe(device)}")
    for choice in args.models:
        network = build(choice, "angleproto", 2).to(device).eval()
        sizes = [1, *args.batches]
        durations_s: dict[int, list[float]] = {size: [] for size in sizes}
        embeddings = dict[int, Tensor]()
        for _ in tqdm(range(args.runs + 1), choice, leave=False, disable=None):
            for size in sizes:  # sizes alternate, so that a slow moment affects all of them
                start = time.perf_counter()
                embeddings[size] = embed(network, waveforms, size)
                runtime.wait_for(device)
                durations_s[size].append(time.perf_counter() - start)
        for size in sizes:
            rate = args.utterances / statistics.median(durations_s[size][1:])  # the first is a warm-up
            distance = (embeddings[size] - embeddings[1]).norm(dim=1).max()
            print(f"{choice}, batches of {size}: {rate:.1f} recordings/s, at most {distance:.1e} apart")


if __name__ == "__main__":
    main()
