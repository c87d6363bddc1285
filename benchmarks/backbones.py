"""Error rate against speed: networks trained with one loss for the same time on the same recordings.

python benchmarks/backbones.py speeds --save_path D
python benchmarks/backbones.py run --save_path D --train_list L --path PACK --test_list TRIALS --minutes 10
python benchmarks/backbones.py plot --save_path D --image backbones.png

`speeds` measures training steps and embeddings of each network on one thread; nothing else may run. `run`
turns the minutes into a number of utterances by these speeds, so that other work on the machine doesn't
change what is trained, and scores the trials once, at the end. An epoch has two utterances of each speaker,
so that slow networks get their share too. Finished runs are not repeated. `plot` prints and draws the EERs.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from network_speed import Parts, build, embedding_rate, flags_of, median_durations_s
from torch import Tensor

from audio.recording import SAMPLE_RATE
from SpeakerNet import SpeakerNet

ROOT = Path(__file__).parent.parent
BATCH = 32  # speakers, of two utterances each
CROP_S = 1.0
EMBEDDED_S = 3.0
LABELS_BELOW = ("ECAPA, 512 channels",)  # whose place another network's point would be in
TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
RECIPE = (
    "--precision=fp32 --nDataLoaderThread=0 --eval_frames=0 --trainfunc=angleproto --nPerSpeaker=2 "
    f"--batch_size={BATCH} --max_frames=100 --max_seg_per_spk=2 --scheduler=cosine"
)
NARROW = (  # as in recipes.py
    "ECAPA:variant=speechbrain,channels=128,encoder_type=STATS,features=logmel,n_mels=40,feature_norm=none,"
    "normalise_waveform=True,nOut=192"
)
BACKBONES = {  # name in the plot -> `MODEL:option=value,...`
    "ECAPA, 128 channels": NARROW,
    "ResNetSE34L": "ResNetSE34L",
    "x-vector": "XVector",
    "ECAPA, 512 channels": "ECAPA:variant=wespeaker,channels=512",
    "CAM++": "CAMPPlus:nOut=192",
    "ResNet 34": "ResNet",
}


def steps(network: SpeakerNet, crops: Tensor, labels: Tensor) -> Parts:
    """Network and a batch -> call that runs a training step."""
    return {"step": lambda: network(crops, labels)[0].backward()}


def speeds(args: argparse.Namespace) -> None:
    """Measure utterances/s of each network, in training and one at a time, into speeds.json."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    device = torch.device("cpu")
    crops = 0.1 * torch.randn(BATCH, 2, round(CROP_S * SAMPLE_RATE))
    labels = torch.arange(BATCH)
    waveform = 0.1 * torch.randn(round(EMBEDDED_S * SAMPLE_RATE))
    found = dict[str, dict[str, float]]()
    for name, choice in BACKBONES.items():
        network = build(choice, "angleproto", BATCH)
        step_s = median_durations_s(steps(network, crops, labels), args.runs, device)["step"]
        rate = embedding_rate(network, waveform, 4 * args.runs, device)
        size = sum(weight.numel() for weight in network.model.parameters())
        found[name] = {"training": 2 * BATCH / step_s, "embedding": rate, "parameters": size}
        print(f"{name}: {2 * BATCH / step_s:.1f} utterances/s in training, {rate:.1f} embedded")
    folder = Path(args.save_path)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "speeds.json").write_text(json.dumps(found, indent=1) + "\n")


def measured(folder: str) -> dict[str, dict[str, float]]:
    """Run folder -> what `speeds` found."""
    path = Path(folder, "speeds.json")
    if not path.is_file():
        raise SystemExit(f"{path} is missing: run the command speeds first")
    found: dict[str, dict[str, float]] = json.loads(path.read_text())
    return found


def run(args: argparse.Namespace) -> None:
    """Train and test each network with each seed."""
    found = measured(args.save_path)
    speakers = {line.split()[0] for line in Path(args.train_list).read_text(encoding="utf-8").splitlines()}
    for seed in args.seeds:
        for name in args.networks or BACKBONES:
            place = Path(args.save_path, f"{name}, {args.minutes:g} minutes, seed {seed}")
            if (place / "done").exists():
                continue
            seen = 60 * args.minutes * found[name]["training"]
            epochs = max(1, round(seen / (2 * len(speakers))))
            words = [*RECIPE.split(), *flags_of(BACKBONES[name]), f"--max_epoch={epochs}", f"--seed={seed}"]
            words += [f"--test_interval={epochs}", f"--save_path={place}", f"--train_list={args.train_list}"]
            words += [f"--train_path={args.path}", f"--test_path={args.path}"]
            words += ["--test_list", *args.test_list]
            subprocess.run([sys.executable, str(ROOT / "trainSpeakerNet.py"), *words], check=True)
            (place / "done").touch()


def error_rates(folder: str, name: str, minutes: float) -> list[float]:
    """Run folder, network, minutes of training -> EER of the first list in percent with each seed."""
    rates = list[float]()
    for path in sorted(Path(folder).glob(f"{name}, {minutes:g} minutes, seed */result/results.jsonl")):
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        rates.append(100 * next(each["eer"] for each in records if each["event"] == "test"))
    return rates


def plot(args: argparse.Namespace) -> None:
    """Print the EERs, and draw them against the speed of embedding."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = measured(args.save_path)
    figure, axes = pyplot.subplots(figsize=(6.4, 4.0), layout="constrained")
    for name, speed in found.items():
        rates = error_rates(args.save_path, name, args.minutes)
        if not rates:
            continue
        mean, spread, rate = statistics.mean(rates), np.ptp(rates) / 2, speed["embedding"]
        label = f"{name}\n{speed['parameters'] / 1e6:.1f} M, {speed['training']:.0f}/s in training"
        print(f"{label.replace(chr(10), ', ')}, {rate:.0f}/s embedded: {shown(rates)}")
        axes.errorbar(rate, mean, yerr=spread, fmt="o", color="#1f6fb4", capsize=3)
        place = (6, -22) if name in LABELS_BELOW else (6, 4)
        axes.annotate(label, (rate, mean), place, textcoords="offset points", fontsize=8)
    lowest = min(speed["embedding"] for speed in found.values())
    highest = max(speed["embedding"] for speed in found.values())
    axes.set(xscale="log", xlim=(lowest / 1.5, 4.0 * highest))  # room for the last name
    ticks = [tick for tick in TICKS if lowest / 1.5 <= tick <= 4.0 * highest]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set(xlabel=f"recordings of {EMBEDDED_S:g} s embedded in a second, one thread", ylabel="EER, %")
    axes.grid(alpha=0.3)
    axes.margins(y=0.15)
    figure.savefig(args.image, dpi=120)


def shown(rates: list[float]) -> str:
    """EERs of several seeds in percent -> text."""
    return f"EER {', '.join(f'{rate:.1f}' for rate in rates)} %"


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands: Any = parser.add_subparsers(dest="command", required=True)
    for function in (speeds, run, plot):
        command = commands.add_parser(function.__name__, help=(function.__doc__ or "").partition("\n")[0])
        command.set_defaults(function=function)
        command.add_argument("--save_path", required=True, help="folder of the speeds and runs")
    commands.choices["speeds"].add_argument(
        "--runs", type=int, default=5, help="of which the median is taken"
    )
    running = commands.choices["run"]
    running.add_argument("--train_list", required=True)
    running.add_argument("--test_list", required=True, nargs="+", help="trials; the first list is drawn")
    running.add_argument("--path", required=True, help="folder or pack of the recordings of all lists")
    running.add_argument("--networks", nargs="+", choices=BACKBONES, help="default: all")
    running.add_argument("--seeds", nargs="+", type=int, default=[1])
    for command in (running, commands.choices["plot"]):
        command.add_argument("--minutes", type=float, default=10, help="on one core that does nothing else")
    commands.choices["plot"].add_argument("--image", required=True, help="PNG file to write")
    args = parser.parse_args()
    args.function(args)


if __name__ == "__main__":
    main()
