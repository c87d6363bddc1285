"""Utterances/s of whole training steps, and what share of the machine's peak they reach.

    python benchmarks/train_step.py
    python benchmarks/train_step.py --cases ResNetSE34L ECAPA:channels=512 --ways before fp32 fp32+compile
    python benchmarks/train_step.py --device cuda --ways fp32 bf16 --batch 256 --channels_last True False
    python benchmarks/train_step.py --train_list train_list.txt --train_path data/voxceleb2

A step is front end, network, loss, backward and the optimizer's step, on random audio. Ways of computing it:
    before                  float32, torch's Adam as it is by default
    fp32, tf32, bf16, fp16  --precision, with the trainer's fused Adam; GPUs only: tf32
    ...+compile             the same with the trunk compiled by torch.compile; the first step takes minutes
The ways take turns, so that a slow moment of the machine meets all. In a row:
    utt/s       median over --runs
    x before    median of the ratios to `before` of the same turn, which other work disturbs least
    GFLOP/utt   floating-point operations of forward and backward, a multiplication and an addition being two
    % of peak   of the fastest matrix product or 1x1 convolution up to then, in the row's precision
    aim         1.5 times the ancestors' rate, for the case's own batch of 2 s on a CPU
    memory      on GPUs: the most that a step held, its weights and moments included
"""

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

import torch
from network_speed import build
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parent.parent))

import options
import runtime
import trainSpeakerNet
from audio.recording import SAMPLE_RATE
from DatasetLoader import TrainData
from options.parser import boolean
from SpeakerNet import SpeakerNet
from training.update import Update

COMPILED = "+compile"
WAYS = ["before", *runtime.Precision.NAMES, *(name + COMPILED for name in runtime.Precision.NAMES)]
LOADER_BATCHES = 100
PRODUCT_S = 2.0  # enough for one size of product: without the instructions for it, bfloat16 is very slow


class Case(NamedTuple):
    """What is trained: loss, utterances of each speaker, speakers in a batch, utterances/s aimed at."""

    trainfunc: str
    each: int
    speakers: int
    aim: float


CASES = {
    "ResNetSE34L": Case("angleproto", 2, 32, 1.5 * 85.0),
    "ResNetSE34V2": Case("aamsoftmax", 1, 32, 1.5 * 10.0),
    "ECAPA:channels=512": Case("aamsoftmax", 1, 32, 1.5 * 24.0),
    "ECAPA:channels=1024": Case("aamsoftmax", 1, 32, 1.5 * 14.0),
}


class Batch(NamedTuple):
    """Crops (S, M, T), labels (S,)."""

    crops: Tensor
    labels: Tensor

    @property
    def size(self) -> int:
        """Utterances."""
        return len(self.crops) * self.crops.shape[1]


class Trainer:
    """A network that trains in one way and in one layout of its weights."""

    def __init__(self, network: SpeakerNet, way: str, channels_last: bool, device: torch.device) -> None:
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.network, self.device = deepcopy(network).to(memory_format=layout), device  # type: ignore[call-overload]
        self.way, self.name = way, way if channels_last else f"{way}, channels first"
        self.precision_name = "fp32" if way == "before" else way.removesuffix(COMPILED)
        self.precision = runtime.Precision(self.precision_name, device)
        make = torch.optim.Adam if way == "before" else options.plugin("optimizer", "adam")
        self.optimizer: torch.optim.Optimizer = make(self.network.parameters(), lr=0.001)
        if way.endswith(COMPILED):
            self.network.model.compile()
        self.update = Update(self.network, self.optimizer, self.precision)
        self.rates, self.memory = list[float](), 0

    def step(self, batch: Batch) -> None:
        """One optimizer step; no gradients stay behind, which would add to the others' memory."""
        self.update.begin()
        with self.precision.context():
            loss, _ = self.network(*batch)
        self.precision.backward(loss)
        if self.way == "before":
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        else:
            self.update()

    def turn(self, batch: Batch) -> None:
        """Measure one step; raises RuntimeError where the memory doesn't suffice."""
        runtime.Precision(self.precision_name, self.device)  # sets whether a GPU may round to tf32, for all
        others = self._begin_memory()
        began = time.perf_counter()
        self.step(batch)
        runtime.wait_for(self.device)
        self.rates.append(batch.size / (time.perf_counter() - began))
        if self.device.type == "cuda":
            self.memory = max(self.memory, torch.cuda.max_memory_allocated(self.device) - others)

    def _begin_memory(self) -> int:
        """Count a GPU's memory anew -> bytes that are not this trainer's."""
        if self.device.type != "cuda":
            return 0
        torch.cuda.reset_peak_memory_stats(self.device)
        moments = [t for state in self.optimizer.state.values() for t in state.values()]
        own = sum(t.nbytes for t in [*self.network.parameters(), *self.network.buffers(), *moments])
        return torch.cuda.memory_allocated(self.device) - own


def peak(name: str, device: torch.device, sizes: list[int]) -> tuple[float, str]:
    """Precision -> GFLOP/s of the fastest product, and which it was.

    Both kinds are tried: on AMD's processors MKL's product is slower than oneDNN's convolution.
    """
    dtype = runtime.Precision(name, device).dtype or torch.float32
    best = 0.0, ""
    for size in sizes:
        left, right = torch.randn(2, size, size, device=device).to(dtype)
        image = left.t().reshape(1, size, -1, 32).to(memory_format=torch.channels_last)
        kernel = right[:, :, None, None].to(memory_format=torch.channels_last)
        products: dict[str, Callable[[], Tensor]] = {
            "matrix product": lambda left=left, right=right: left @ right,  # type: ignore[misc]
            "1x1 convolution": lambda image=image, kernel=kernel: F.conv2d(image, kernel),  # type: ignore[misc]
        }
        for kind, product in products.items():
            taken = list[float]()
            while len(taken) < 20 and sum(taken) < PRODUCT_S:
                began = time.perf_counter()
                product()
                runtime.wait_for(device)
                taken.append(time.perf_counter() - began)
            best = max(best, (2e-9 * size**3 / min(taken), f"{kind} of {size} x {size} x {size}"))
    return best


def gflop(network: SpeakerNet, batch: Batch) -> float:
    """GFLOP of forward and backward for an utterance."""
    with FlopCounterMode(display=False) as counter:
        network(*batch)[0].backward()
    network.zero_grad(set_to_none=True)
    return counter.get_total_flops() / batch.size / 1e9


def loader_rate(args: argparse.Namespace, device: torch.device) -> float:
    """Utterances/s that the trainer's loader gives alone; a first round starts the workers."""
    words = ["--model=ResNetSE34L", "--trainfunc=softmax", "--test_list=", "--batch_size=64"]
    words += [f"--{name}={getattr(args, name)}" for name in ("train_list", "train_path", "nDataLoaderThread")]
    words += [f"--max_frames={round(100 * args.seconds)}"]
    data = TrainData.read(trainSpeakerNet.parse(words).options, device)
    for epoch in (1, 2):
        data.sampler.set_epoch(epoch)
        began, utterances = time.perf_counter(), 0
        for batch in itertools.islice(data.loader, LOADER_BATCHES):
            if isinstance(batch, Exception):
                raise batch
            utterances += len(batch.moved(device).finished().masks)
        runtime.wait_for(device)
        rate = utterances / (time.perf_counter() - began)
    return rate


def measure(trainers: list[Trainer], batch: Batch, runs: int, progress: "tqdm[None]") -> None:
    """The trainers take turns; one that runs out of memory has no rates and no further turns."""
    failed = set[Trainer]()
    for _ in range(1 + runs):
        for trainer in trainers:
            progress.set_postfix_str(f"batch of {batch.size}, {trainer.name}")
            try:
                if trainer not in failed:
                    trainer.turn(batch)
            except RuntimeError as error:
                if not runtime.is_out_of_memory(error):
                    raise
                failed.add(trainer)
                trainer.optimizer.zero_grad(set_to_none=True)
            progress.update()
    for trainer in trainers:
        trainer.rates = [] if trainer in failed else trainer.rates[1:]  # the first warms up


def row(choice: str, size: int, trainer: Trainer, before: list[float], work: float, top: float) -> str:
    """A line of the table; work: GFLOP of an utterance, top: GFLOP/s at most."""
    start = f"{choice:20}{size:6}  {trainer.name:28}"
    if not trainer.rates:
        return start + "out of memory"
    rate, case = statistics.median(trainer.rates), CASES[choice]
    ratio = (
        f"{statistics.median(a / b for a, b in zip(trainer.rates, before, strict=True)):.2f}"
        if before
        else "-"
    )
    own = trainer.device.type == "cpu" and size == case.each * case.speakers
    line = f"{start}{rate:8.1f}{ratio:>10}{work:11.2f}{rate * work:10.1f}{100 * rate * work / top:11.1f}"
    line += f"{case.aim if own else '-':>7}"
    return line + (f"{trainer.memory / 1e9:8.2f} GB" if trainer.memory else "")


def run_case(
    choice: str,
    size: int,
    args: argparse.Namespace,
    peaks: dict[str, tuple[float, str]],
    progress: "tqdm[None]",
) -> None:
    """Print the rows of a case with so many utterances in a batch (0: its own)."""
    case, device = CASES[choice], args.device
    speakers = max(2, size // case.each) if size else case.speakers
    length = round(args.seconds * SAMPLE_RATE)
    crops = 0.1 * torch.randn(speakers, case.each, length, device=device)
    batch = Batch(crops, torch.arange(speakers, device=device) % args.num_classes)
    runtime.seed_everything(0)
    torch.compiler.reset()  # a trunk of another size is compiled for its own shapes
    network = build(choice, case.trainfunc, args.num_classes).to(device)
    work = gflop(network, Batch(crops[:16], batch.labels[:16]))  # a whole large one may not fit in float32
    pairs = itertools.product(args.ways, args.channels_last)
    trainers = [Trainer(network, way, channels_last, device) for way, channels_last in pairs]
    measure(trainers, batch, args.runs, progress)
    for name in peaks:  # again, as other work may have disturbed it before
        peaks[name] = max(peaks[name], peak(name, device, args.sizes))
    before = (
        trainers[args.ways.index("before") * len(args.channels_last)].rates if "before" in args.ways else []
    )
    for trainer in trainers:
        top, _ = peaks[trainer.precision_name]
        progress.write(row(choice, batch.size, trainer, before, work, top))


def arguments() -> argparse.Namespace:
    """The command line; --quick changes what it is quicker without."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--cases", nargs="+", default=[*CASES], choices=CASES, metavar="CASE", help=f"of {', '.join(CASES)}")
    add(
        "--ways", nargs="+", default=["before", "fp32", "bf16"], choices=WAYS, metavar="WAY", help="see above"
    )
    add("--batch", nargs="+", type=int, default=[0], help="utterances in a batch; each case's own by default")
    layout = "layout of the 2D convolutions' weights; the trainer's is True (%(default)s)"
    add("--channels_last", nargs="+", type=boolean, default=[True], metavar="True|False", help=layout)
    add("--seconds", type=float, default=2.0, help="length of an utterance (%(default)s)")
    add("--num_classes", type=int, default=5994, help="of the losses that have a weight for each speaker")
    add("--runs", type=int, default=5, help="steps of each way that are measured (%(default)s)")
    add("--device", default="auto", choices=("auto", "cpu", "cuda"))
    add("--threads", type=int, default=0, help="of the CPU; 0: the cores that this process may use")
    add("--quick", action="store_true", help="1 s, 4 utterances, 1 run, small products: whether it works")
    add("--train_list", help="measure the loader's rate too, on this list")
    add("--train_path", help="folder or pack of its recordings")
    add("--nDataLoaderThread", type=int, default=2, help="the loader's worker processes (%(default)s)")
    args = parser.parse_args()
    if bool(args.train_list) != bool(args.train_path):
        parser.error("--train_list and --train_path belong together")
    if args.quick:
        args.seconds, args.batch, args.runs = 1.0, [4], 1
    runtime.use_threads(args.threads)
    args.device = runtime.choose_device(args.device)
    args.sizes = [256] if args.quick else [1024, 2048] if args.device == runtime.CPU else [4096, 8192]
    return args


def main() -> None:
    """Print the loader's rate, a table and the peaks."""
    args = arguments()
    device = args.device
    print(f"training steps on random audio of {args.seconds:g} s, {runtime.describe(device)}")
    names = ["fp32" if way == "before" else way.removesuffix(COMPILED) for way in args.ways]
    peaks = {name: peak(name, device, args.sizes) for name in dict.fromkeys(names)}
    if args.train_list:
        workers = args.nDataLoaderThread
        print(f"loader alone, {workers} workers: {loader_rate(args, device):.1f} utterances/s")
    print(f"{'case':20}{'batch':>6}  {'way':28}{'utt/s':>8}{'x before':>10}{'GFLOP/utt':>11}", end="")
    print(f"{'GFLOP/s':>10}{'% of peak':>11}{'aim':>7}{'   memory' if device != runtime.CPU else ''}")
    turns = (1 + args.runs) * len(args.ways) * len(args.channels_last)
    with tqdm(total=turns * len(args.cases) * len(args.batch), unit="step", disable=None) as progress:
        for choice, size in itertools.product(args.cases, args.batch):
            progress.set_description(choice)
            run_case(choice, size, args, peaks, progress)
    for name, (rate, kind) in peaks.items():
        print(f"peak in {name}: {rate:.1f} GFLOP/s, a {kind}")
    print(f"most memory of the process: {runtime.peak_memory(device)}")


if __name__ == "__main__":
    main()
