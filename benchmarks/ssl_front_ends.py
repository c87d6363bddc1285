"""Speed and memory of --features ssl in the sizes of the published networks, with random weights.

    python benchmarks/ssl_front_ends.py
    python benchmarks/ssl_front_ends.py --networks wavlm-large --device cuda --batch 64

Each network precedes an ECAPA of 512 channels. Utterances/s are medians: of embedding 3 s at a time, and of
training steps on crops of 2 s with Adam, with the network frozen and not. Each runs in a process of its own,
so that the memory is its own.
"""

import argparse
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

import options
import runtime
from audio.recording import SAMPLE_RATE
from options import flags
from SpeakerNet import SpeakerNet

LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
STABLE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
NETWORKS: dict[str, dict[str, Any]] = {
    "wavlm-base": {"model_type": "wavlm", "do_normalize": False},
    "wavlm-large": {"model_type": "wavlm", "do_normalize": True, **LARGE, **STABLE},
    "w2v-bert-2.0": {"model_type": "wav2vec2-bert", "do_normalize": True},
}
WAYS = ("embed", "frozen", "trained")
SPEAKERS = 1000


def core(add_help: bool) -> options.Parser:
    """The flags of training."""
    return flags.training_parser("", add_help)


def network_of(name: str) -> SpeakerNet:
    """Name in NETWORKS -> ECAPA with this front end."""
    words = [
        "--model=ECAPA",
        "--channels=512",
        "--features=ssl",
        f"--ssl_config={json.dumps(NETWORKS[name])}",
    ]
    return SpeakerNet.build(options.resolve(core, [*words, "--trainfunc=aamsoftmax"]).options, SPEAKERS)


def training_step(
    network: SpeakerNet, batch: int, device: torch.device, frozen: bool
) -> Callable[[], object]:
    """Call that trains on crops of 2 s."""
    if frozen:
        network.features.get_submodule("network").requires_grad_(False)
    optimizer = torch.optim.Adam((p for p in network.parameters() if p.requires_grad), lr=1e-4, fused=True)
    crops = 0.1 * torch.randn(batch, 1, 2 * SAMPLE_RATE, device=device)
    labels = torch.arange(batch, device=device)

    def step() -> None:
        network(crops, labels)[0].backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def measure(name: str, way: str, batch: int, runs: int, device_name: str) -> str:
    """A row of the table."""
    device = runtime.choose_device(device_name)
    runtime.seed_everything(0)
    network = network_of(name).to(device)
    size = sum(weight.numel() for weight in network.features.parameters())
    waveform = 0.1 * torch.randn(1, 3 * SAMPLE_RATE, device=device)
    if way == "embed":
        network.eval().requires_grad_(False)
        call: Callable[[], object] = lambda: network.embed(waveform)  # noqa: E731
    else:
        call = training_step(network.train(), batch, device, way == "frozen")
    durations = list[float]()
    for _ in range(1 + runs):  # the first warms up
        runtime.wait_for(device)
        began = time.perf_counter()
        call()
        runtime.wait_for(device)
        durations.append(time.perf_counter() - began)
    rate = (1 if way == "embed" else batch) / statistics.median(durations[1:])
    return f"{name:14}{size / 1e6:7.1f} M  {way:8}{rate:8.2f} utterances/s  {runtime.peak_memory(device)}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", default=[*NETWORKS], choices=NETWORKS)
    parser.add_argument("--ways", nargs="+", default=WAYS, choices=WAYS)
    parser.add_argument("--batch", type=int, default=4, help="utterances in a training step")
    parser.add_argument("--runs", type=int, default=3, help="of which the median is taken")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    for name in args.networks:
        for way in args.ways:
            with context.Pool(1) as pool:
                print(pool.apply(measure, (name, way, args.batch, args.runs, args.device)), flush=True)


if __name__ == "__main__":
    main()
