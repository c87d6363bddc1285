r"""Trains SpeechBrain's ECAPA-TDNN for some minutes on a train list, and prints its EER on trial lists.

    python -m venv peers
    peers/bin/pip install -r requirements.txt speechbrain==1.1.2
    peers/bin/python benchmarks/speechbrain_training.py --minutes 10 --train_list L --path PACK \
        --test_list TRIALS --test_path D

Network, front end, loss and optimizer are those of its package with the values of its VoxCeleb recipe: 80
mel bands in dB less their mean, 1024 channels, 192 dimensions, AAM with margin 0.2 and scale 30, Adam with
weight decay 2e-6, triangular learning rate between 1e-8 and 1e-3, batches of 32 crops of 3 s. The rate rises
and falls once in the whole training instead of over 130,000 steps, and nothing is augmented, because the
recipe's five copies of each batch would leave a fifth of the utterances. The minutes are turned into a
number of steps by the time of the first ones on an idle machine (--step_s where it is known), so that other
work doesn't change what is trained.
"""

import argparse
import importlib
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parent.parent))

import features._torchaudio  # noqa: F401  (SpeechBrain imports torchaudio, which may not load as it is)
from audio.lists import TrainList, read_train_list
from audio.named import NamedRecordings
from audio.recording import SAMPLE_RATE
from audio.recordings import Recordings
from audio.trials import Trials, read_trials
from metrics.figures import eer
from metrics.rates import error_rates

BATCH = 32
CROP = 3 * SAMPLE_RATE
DIM = 192
TIMED_STEPS = 6


class Embedder(nn.Module):
    """Waveforms (B, T) -> embeddings (B, 192), as SpeechBrain's recipe computes them."""

    def __init__(self) -> None:
        super().__init__()
        lobes: Any = importlib.import_module("speechbrain.lobes.features")
        processing: Any = importlib.import_module("speechbrain.processing.features")
        ecapa: Any = importlib.import_module("speechbrain.lobes.models.ECAPA_TDNN")
        self.features = lobes.Fbank(n_mels=80)
        self.normalise = processing.InputNormalization(norm_type="sentence", std_norm=False)
        self.network = ecapa.ECAPA_TDNN(
            80,
            channels=[1024, 1024, 1024, 1024, 3072],
            kernel_sizes=[5, 3, 3, 3, 1],
            dilations=[1, 2, 3, 4, 1],
            attention_channels=128,
            lin_neurons=DIM,
        )

    def forward(self, waveforms: Tensor) -> Tensor:
        """(B, T) -> (B, 192)."""
        lengths = torch.ones(len(waveforms))
        return self.network(self.normalise(self.features(waveforms), lengths), lengths).squeeze(1)


def batches(listed: TrainList, path: str, generator: np.random.Generator) -> Any:
    """Train list, folder or pack -> crops (32, T) and labels (32,), epoch after epoch."""
    recordings = Recordings(path, listed.paths)
    while True:
        order = generator.permutation(len(recordings))
        for start in range(0, len(order) - BATCH + 1, BATCH):
            chosen = order[start : start + BATCH]
            crops = np.stack([recordings[number].crop(CROP, generator) for number in chosen])
            yield torch.from_numpy(crops), torch.from_numpy(listed.labels[chosen])


def train(embedder: Embedder, listed: TrainList, args: argparse.Namespace) -> None:
    """Train the embedder for args.minutes, of args.step_s each."""
    ecapa: Any = importlib.import_module("speechbrain.lobes.models.ECAPA_TDNN")
    losses: Any = importlib.import_module("speechbrain.nnet.losses")
    classifier = ecapa.Classifier(DIM, out_neurons=int(listed.labels.max()) + 1)
    loss_of = losses.LogSoftmaxWrapper(losses.AdditiveAngularMargin(margin=0.2, scale=30))
    weights = [*embedder.parameters(), *classifier.parameters()]
    optimizer = torch.optim.Adam(weights, lr=0.001, weight_decay=0.000002)
    data = batches(listed, args.path, np.random.default_rng(args.seed))

    def step() -> None:
        crops, labels = next(data)
        loss = loss_of(classifier(embedder(crops)[:, None]), labels[:, None])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    num_steps = round(60 * args.minutes / (args.step_s or step_seconds(step, optimizer)))
    rates = torch.optim.lr_scheduler.CyclicLR(optimizer, 1e-8, 1e-3, num_steps // 2, cycle_momentum=False)
    for _ in tqdm(range(num_steps), mininterval=10):
        step()
        rates.step()
    print(f"{num_steps} steps, {num_steps * BATCH / len(listed.labels):.2f} epochs")


def step_seconds(step: Any, optimizer: torch.optim.Optimizer) -> float:
    """A training step -> its median duration; nothing is learnt."""
    rate, optimizer.param_groups[0]["lr"] = optimizer.param_groups[0]["lr"], 0.0
    durations = list[float]()
    for _ in range(TIMED_STEPS):
        start = time.perf_counter()
        step()
        durations.append(time.perf_counter() - start)
    optimizer.param_groups[0]["lr"] = rate
    print(f"a step takes {statistics.median(durations[1:]):.2f} s")
    return statistics.median(durations[1:])


def evaluate(embedder: Embedder, lists: dict[str, Trials], args: argparse.Namespace) -> None:
    """Print the EER of each trial list: cosine of embeddings of whole recordings."""
    recordings = Recordings(args.test_path, next(iter(lists.values())).names)
    with torch.inference_mode():
        embedder.eval()
        whole = (torch.from_numpy(recordings[number].whole())[None] for number in range(len(recordings)))
        rows = [embedder(waveform)[0] for waveform in tqdm(whole, total=len(recordings), mininterval=10)]
    units = nn.functional.normalize(torch.stack(rows))
    for path, trials in lists.items():
        scores = (units[trials.enrol] * units[trials.test]).sum(dim=1).numpy()
        if trials.labels is None:
            raise SystemExit(f"{path} has no labels")
        print(f"{path}: EER {100 * eer(error_rates(scores, trials.labels)).value:.2f} %", flush=True)


def main() -> None:
    """Train and evaluate."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train_list", required=True)
    parser.add_argument("--path", required=True, help="folder or pack of the train list")
    parser.add_argument("--test_list", required=True, nargs="+")
    parser.add_argument("--test_path", required=True, help="folder or pack of the trial lists")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--step_s", type=float, default=0.0, help="duration of a step; 0: measured first")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    known = NamedRecordings(args.test_path, "--test_path").known
    lists = dict(zip(args.test_list, read_trials(args.test_list, known), strict=True))
    embedder = Embedder()
    train(embedder.train(), read_train_list(args.train_list), args)
    evaluate(embedder, lists, args)


if __name__ == "__main__":
    main()
