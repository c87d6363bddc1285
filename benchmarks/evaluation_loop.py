"""Times --eval against voxceleb_trainer's evaluation loop, rebuilt here, on the same files and weights.

    python benchmarks/evaluation_loop.py
    python benchmarks/evaluation_loop.py --initial_model exps/mine/model/best.model --files 200 --runs 3

Both score by the mean distance of 10 x 10 crops of 4 s with ResNetSE34L, in turns. The loop embeds all crops
of one file after the other with a network in PyTorch's default memory format, keeps the embeddings in a
dictionary, and computes the distances of one trial after the other. Unlike voxceleb_trainer it repeats a
short file to the length of a crop, not to one sample more, so that both embed the same samples.
"""

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

sys.path.insert(0, str(Path(__file__).parent.parent))

import options
import runtime
from audio.recording import num_samples
from audio.trials import read_trials
from distributed.signals import StopSignal
from evaluation.trial_test import TrialTest
from features._torchaudio import MelSpectrogram
from options import Options, flags
from SpeakerNet import SpeakerNet

DATA = Path(__file__).parents[2] / "shared" / "data"
NUM_CROPS = 10
EVAL_FRAMES = 400


class Block(nn.Module):
    """Two 3x3 convolutions with a gate for each channel and a shortcut."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.gate = nn.Sequential(
            nn.Linear(channels, channels // 8), nn.ReLU(), nn.Linear(channels // 8, channels), nn.Sigmoid()
        )
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, C_in, H, W) -> (B, C, H / stride, W / stride)."""
        inner = self.bn1(torch.relu(self.conv1(maps)))
        inner = self.bn2(self.conv2(inner))
        gates = self.gate(F.adaptive_avg_pool2d(inner, 1).flatten(1))
        return torch.relu(inner * gates[:, :, None, None] + self.shortcut(maps))


class FastResNet(nn.Module):
    """ResNetSE34L as in voxceleb_trainer's table of layers: waveforms (B, T) -> embeddings (B, 512)."""

    def __init__(self) -> None:
        super().__init__()
        self.mel = MelSpectrogram(16_000, 512, 400, 160, n_mels=40, window_fn=torch.hamming_window)
        self.norm = nn.InstanceNorm1d(40)
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 7, (2, 1), 3, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        blocks = list[nn.Module]()
        in_channels = 16
        for channels, count, stride in ((16, 3, 1), (32, 4, 2), (64, 6, 2), (128, 3, 1)):
            for number in range(count):
                blocks.append(Block(in_channels, channels, stride if number == 0 else 1))
                in_channels = channels
        self.blocks = nn.Sequential(*blocks)
        self.attention = nn.Linear(128, 128)
        self.context = nn.Parameter(torch.randn(128, 1))
        self.fc = nn.Linear(128, 512)

    def forward(self, waveforms: Tensor) -> Tensor:
        """Attention-weighted mean of the frames (Cai et al. 2018, arXiv:1804.05160)."""
        features = self.norm((self.mel(waveforms) + 1e-6).log())[:, None]  # (B, 1, F, L)
        frames = self.blocks(self.stem(features)).mean(dim=2).transpose(1, 2)  # (B, L', C)
        weights = torch.softmax(torch.tanh(self.attention(frames)) @ self.context, dim=1)  # (B, L', 1)
        return self.fc((frames * weights).sum(dim=1))


def copied(network: SpeakerNet) -> FastResNet:
    """Our network -> the other one with its weights."""
    ours = dict(network.model.state_dict())
    attention = {
        "attention.weight": ours.pop("pooling.attention.linear.weight"),
        "attention.bias": ours.pop("pooling.attention.linear.bias"),
        "context": ours.pop("pooling.attention.vector"),
    }
    copy = FastResNet().eval()
    names = [name for name in copy.state_dict() if name not in attention and not name.startswith("mel.")]
    # all others have the same order in both
    copy.load_state_dict(dict(zip(names, ours.values(), strict=True)) | attention, strict=False)
    return copy


class Crops(Dataset[tuple[Tensor, str]]):
    """Evenly spread crops (10, T) of each file, and its name."""

    def __init__(self, root: str, files: Sequence[str]) -> None:
        self.root = root
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, str]:
        audio, _ = soundfile.read(Path(self.root) / self.files[index])
        length = num_samples(EVAL_FRAMES)
        if len(audio) < length:
            audio = np.pad(audio, (0, length - len(audio)), "wrap")
        starts = np.linspace(0, len(audio) - length, num=NUM_CROPS)
        crops = np.stack([audio[int(start) : int(start) + length] for start in starts])
        return torch.from_numpy(crops).float(), self.files[index]


@torch.inference_mode()
def loop(network: nn.Module, values: Options) -> NDArray[np.float64]:
    """Their loop -> scores (N,)."""
    [trials] = read_trials(values.test_list)
    loader = DataLoader(Crops(values.test_path, trials.names), num_workers=values.nDataLoaderThread)
    embeddings = dict[str, Tensor]()
    for crops, [name] in loader:
        embeddings[name] = F.normalize(network(crops[0]))
    scores = np.empty(len(trials.enrol))
    for number, (enrol, test) in enumerate(zip(trials.enrol, trials.test, strict=True)):
        sides = embeddings[trials.names[enrol]], embeddings[trials.names[test]]
        scores[number] = -torch.cdist(*sides).mean().item()
    return scores


def ours(network: SpeakerNet, values: Options) -> NDArray[np.float64]:
    """What --eval does, without its files -> scores (N,)."""
    outcome = TrialTest(values, runtime.CPU).score(network, StopSignal())
    assert outcome is not None
    return outcome.lists[0].scores


def first_trials(path: str, num_files: int) -> str:
    """Trial list -> the text of its first trials that need no more than a number of files; 0: of all."""
    lines, files = list[str](), set[str]()
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        files |= {*line.split()[1:3]}
        if 0 < num_files < len(files):
            break
        lines.append(line)
    return "".join(f"{line}\n" for line in lines)


def main() -> None:
    """Print the seconds of both, their ratio, and the largest difference of a score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--initial_model", default="", help="of ResNetSE34L; else random weights")
    parser.add_argument("--test_list", default=str(DATA / "test_list.txt"))
    parser.add_argument("--test_path", default=str(DATA))
    parser.add_argument("--files", type=int, default=0, help="use the first trials of so many files; 0: all")
    parser.add_argument("--workers", type=int, default=2, help="processes that read files, for both")
    parser.add_argument("--threads", type=int, default=0, help="0: one a core")
    parser.add_argument("--runs", type=int, default=1)
    args = parser.parse_args()
    runtime.use_threads(args.threads)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        trial_list = Path(folder, "trials.txt")
        trial_list.write_text(first_trials(args.test_list, args.files), encoding="utf-8")
        words = ["--model=ResNetSE34L", "--trainfunc=angleproto", f"--test_path={args.test_path}"]
        words += [f"--test_list={trial_list}", f"--nDataLoaderThread={args.workers}"]
        words += ["--scoring=distance", f"--eval_frames={EVAL_FRAMES}", f"--num_eval={NUM_CROPS}"]
        values = options.resolve(lambda add_help: flags.training_parser("", add_help), words).options
        network = SpeakerNet.build(values).eval()
        if args.initial_model:
            network = SpeakerNet.from_model_file(args.initial_model).eval()
        compare(network, values, args.runs)


def compare(network: SpeakerNet, values: Options, runs: int) -> None:
    """Time both in turns and print what came out."""
    copy = copied(network)
    seconds: dict[str, list[float]] = {"loop": [], "ours": []}
    scores = dict[str, NDArray[np.float64]]()
    for name in itertools.islice(itertools.cycle(seconds), 2 * runs):
        start = time.perf_counter()
        scores[name] = loop(copy, values) if name == "loop" else ours(network, values)
        seconds[name].append(time.perf_counter() - start)
        print(f"{name}: {seconds[name][-1]:.1f} s", flush=True)
    ratio = statistics.median(theirs / here for theirs, here in zip(*seconds.values(), strict=True))
    distance = np.abs(scores["loop"] - scores["ours"]).max()
    spread = scores["ours"].std()
    described = f"{runtime.describe(runtime.CPU)}, {len(scores['ours'])} trials"
    print(f"{described}: {ratio:.2f} times as fast as the loop")
    print(f"scores at most {distance:.1e} apart, standard deviation {spread:.1e}")


if __name__ == "__main__":
    main()
