"""Measures utterances/s of a training step and its parts' shares, and of embedding one utterance at a time.

    python benchmarks/network_speed.py
    python benchmarks/network_speed.py --models ResNetSE34L ECAPA:channels=512 RawNet3 --seconds 3

A training step is the forward and backward pass on random waveforms, without the optimizer's step. Each part
is also timed alone; its share is its time over the sum of the times of all parts.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parent.parent))

import options
import runtime
from audio.recording import SAMPLE_RATE
from options import flags
from SpeakerNet import SpeakerNet

Parts = dict[str, Callable[[], object]]


def core(add_help: bool) -> options.Parser:
    """The flags of training."""
    return flags.training_parser("", add_help)


def flags_of(choice: str) -> list[str]:
    """`MODEL` or `MODEL:option=value,...` -> flags."""
    model, _, settings = choice.partition(":")
    return [f"--model={model}", *(f"--{setting}" for setting in settings.split(",") if setting)]


def build(choice: str, trainfunc: str, num_speakers: int) -> SpeakerNet:
    """`MODEL` or `MODEL:option=value,...` -> network."""
    args = options.resolve(core, [*flags_of(choice), f"--trainfunc={trainfunc}"]).options
    return SpeakerNet.build(args, num_speakers).train()


def backward(module: nn.Module, *inputs: Tensor) -> Callable[[], object]:
    """Module and inputs -> call that runs a forward and a backward pass."""
    leaves = [t.detach().clone().requires_grad_() if t.is_floating_point() else t for t in inputs]

    def forward_and_backward() -> None:
        output = module(*leaves)
        output = output[0] if isinstance(output, tuple) else output
        output.backward(torch.ones_like(output))

    return forward_and_backward


def parts(network: SpeakerNet, crops: Tensor, labels: Tensor) -> Parts:
    """Calls that run the whole step, and each part of it on the inputs that it has in the step."""
    pooled_frames: list[Tensor] = []
    pooling = next(layer for layer in network.model.modules() if type(layer).__name__ == "Pooling")
    hook = pooling.register_forward_hook(lambda _, inputs, __: pooled_frames.append(inputs[0]))
    features = network.features(crops.flatten(0, 1))
    embeddings = network.model(features)
    hook.remove()
    assert network.loss is not None
    return {
        "step": lambda: network(crops, labels)[0].backward(),
        "front end": lambda: network.features(crops.flatten(0, 1)),
        "model": backward(network.model, features),
        "pooling": backward(pooling, pooled_frames[0]),
        "loss": backward(network.loss, embeddings.unflatten(0, crops.shape[:2]), labels),
    }


def median_durations_s(calls: Parts, runs: int, device: torch.device) -> dict[str, float]:
    """Calls -> median duration of each. The calls alternate, so that a slow moment affects all of them."""
    durations_s: dict[str, list[float]] = {name: [] for name in calls}
    for _ in tqdm(range(runs + 1), leave=False, disable=None):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            runtime.wait_for(device)
            durations_s[name].append(time.perf_counter() - start)
    return {name: statistics.median(each[1:]) for name, each in durations_s.items()}  # the first is a warm-up


def embedding_rate(network: SpeakerNet, waveform: Tensor, runs: int, device: torch.device) -> float:
    """Network, waveform (T,) -> how many such utterances are embedded one by one in a second."""
    with torch.inference_mode():
        network.eval()
        calls: Parts = {"embed": lambda: network.embed(waveform[None])}
        return 1.0 / median_durations_s(calls, runs, device)["embed"]


def main() -> None:
    """Prints one line per model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    published = ["ResNetSE34L", "ECAPA:channels=512", "ECAPA:channels=1024"]
    parser.add_argument("--models", nargs="+", default=published, help="MODEL or MODEL:option=value,...")
    parser.add_argument("--trainfunc", default="angleproto")
    parser.add_argument(
        "--speakers", type=int, default=32, help="speakers in a batch, with two utterances each"
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="duration of an utterance")
    parser.add_argument("--num_classes", type=int, default=5994)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    args = parser.parse_args()
    torch.manual_seed(0)
    device = runtime.choose_device(args.device)
    crops = 0.1 * torch.randn(args.speakers, 2, round(args.seconds * SAMPLE_RATE), device=device)
    labels = torch.arange(args.speakers, device=device)
    print(
        f"{args.speakers} x 2 utterances of {args.seconds:g} s, {args.trainfunc}, {runtime.describe(device)}"
    )
    for choice in args.models:
        network = build(choice, args.trainfunc, args.num_classes).to(device)
        durations_s = median_durations_s(parts(network, crops, labels), args.runs, device)
        step_s = durations_s.pop("step")
        durations_s["trunk"] = durations_s.pop("model") - durations_s["pooling"]
        total_s = sum(durations_s.values())
        shares = ", ".join(f"{name} {100 * part_s / total_s:.1f} %" for name, part_s in durations_s.items())
        print(f"{choice}: {2 * args.speakers / step_s:.1f} utterances/s; {shares}", end="; ")
        print(f"embeds {embedding_rate(network, crops[0, 0], 4 * args.runs, device):.1f} utterances/s")


if __name__ == "__main__":
    main()
