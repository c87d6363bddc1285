r"""Compares the speed of encoders with the same networks in SpeechBrain and FunASR, in one process.

    python -m venv peers
    peers/bin/pip install -r requirements.txt speechbrain==1.1.2 funasr==1.4.16 librosa torch_complex \
        kaldiio
    peers/bin/python benchmarks/peers.py

Both networks of a pair get the same features; front ends are left out. They take turns, and the ratio is
the median of those of the turns. Above 1 the encoder here is faster. ECAPA and CAMPPlus have the same weights
as their peers; SpeechBrain's ResNet is another network, with 15.4 instead of 6.6 million weights.
"""

import argparse
import importlib
import importlib.machinery
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent.parent))

import features._torchaudio  # noqa: F401  (SpeechBrain imports torchaudio, which may not load as it is)
import options
from options import flags
from SpeakerNet import SpeakerNet

FRAMES_PER_S = 100


class Pair(NamedTuple):
    """A network here and the one that it is compared with; features are (B, F, L) here, (B, L, F) there."""

    words: str  # the network here, as flags
    peer: Callable[[], nn.Module]


class Case(NamedTuple):
    """What is timed: a batch of one length, forward alone or with the backward pass."""

    name: str
    batch: int
    seconds: float
    trains: bool


CASES = [
    Case("embed 1 x 2 s", 1, 2.0, False),
    Case("embed 1 x 10 s", 1, 10.0, False),
    Case("embed 8 x 3 s", 8, 3.0, False),
    Case("train 16 x 2 s", 16, 2.0, True),
]


def speechbrain_ecapa() -> nn.Module:
    """SpeechBrain's ECAPA-TDNN with its published widths."""
    module: Any = importlib.import_module("speechbrain.lobes.models.ECAPA_TDNN")
    return module.ECAPA_TDNN(80, channels=[1024, 1024, 1024, 1024, 3072], lin_neurons=192)


def speechbrain_resnet() -> nn.Module:
    """SpeechBrain's residual network with squeeze-and-excitation."""
    module: Any = importlib.import_module("speechbrain.lobes.models.ResNet")
    return module.ResNet()


def funasr_campplus() -> nn.Module:
    """FunASR's CAM++."""
    spec = importlib.machinery.PathFinder.find_spec("funasr")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("funasr isn't installed")
    package = ModuleType("funasr")  # its own __init__ imports far more than this network
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules["funasr"] = package
    module: Any = importlib.import_module("funasr.models.campplus.model")
    return module.CAMPPlus(80, 192)


PAIRS = {
    "ECAPA / SpeechBrain": Pair("--model ECAPA --variant speechbrain --encoder_type ECA", speechbrain_ecapa),
    "CAMPPlus / FunASR": Pair("--model CAMPPlus --nOut 192", funasr_campplus),
    "ResNet 34 / SpeechBrain's ResNet": Pair("--model ResNet", speechbrain_resnet),
}


def encoder(words: str) -> nn.Module:
    """Flags -> the encoder that they choose."""
    resolved = options.resolve(lambda add_help: flags.training_parser("", add_help), words.split())
    return SpeakerNet.build(resolved.options).model


def seconds_of(network: nn.Module, features: Tensor, trains: bool) -> float:
    """Seconds of one forward pass, or of one with its backward pass."""
    start = time.perf_counter()
    if trains:
        network(features).square().mean().backward()
    else:
        with torch.inference_mode():
            network(features)
    return time.perf_counter() - start


def compare(pair: Pair, case: Case, turns: int) -> tuple[float, float]:
    """Two networks, what is timed -> utterances/s here, and the median ratio to the peer."""
    ours, peer = encoder(pair.words).train(case.trains), pair.peer().train(case.trains)
    features = torch.randn(case.batch, 80, round(case.seconds * FRAMES_PER_S))
    inputs = ((ours, features), (peer, features.transpose(1, 2).contiguous()))
    times = [[seconds_of(network, x, case.trains) for network, x in inputs] for _ in range(turns + 1)][1:]
    rate = case.batch / statistics.median(here for here, _ in times)
    return rate, statistics.median(there / here for here, there in times)


def main() -> None:
    """Print a line for each pair and case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--turns", type=int, default=7, help="of each of the two networks")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for name, pair in PAIRS.items():
        for case in CASES:
            rate, ratio = compare(pair, case, args.turns)
            print(f"{name}, {case.name}: {rate:.1f} utterances/s, {ratio:.2f} times", flush=True)


if __name__ == "__main__":
    main()
