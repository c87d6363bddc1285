"""Memory and time of a head of very many speakers, split over processes by class.

    python benchmarks/sharded_head.py
    python benchmarks/sharded_head.py --classes 200000 --dim 256 --ranks 1 2 --sample_classes 0.1

Steps of AAM-Softmax alone, forward, backward and SGD with momentum, on random embeddings, one thread for each
process. Memory is a process's peak beyond what it had after its imports: while the whole weight was built
and its own part cut out, and in all, steps included.
"""

import argparse
import os
import resource
import socket
import statistics
import sys
import time
from pathlib import Path

import torch
from torch import multiprocessing
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parent.parent))

import distributed
import options
from distributed.launch import end_at_once

TIMEOUT_S = 600.0


def peak_gb() -> float:
    """Most memory that this process had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # KB on Linux


def measure(rank: int, num_ranks: int, port: int, args: argparse.Namespace) -> None:
    """One process: build the head, train it, print a line."""
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": num_ranks, "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in place.items()} | {"MASTER_ADDR": "127.0.0.1"}
    torch.set_num_threads(1)
    torch.manual_seed(0)
    distributed.meet()
    distributed.join(torch.device("cpu"), TIMEOUT_S)
    imported = peak_gb()
    head = options.plugin("loss", "aamsoftmax")(args.dim, args.classes, sample_classes=args.sample_classes)
    head.shard()
    built = peak_gb()
    optimizer = torch.optim.SGD(head.parameters(), lr=0.1, momentum=0.9)
    taken = list[float]()
    for step in tqdm(range(args.steps), leave=False, disable=None if rank == 0 else True):
        torch.manual_seed(step)
        embeddings = torch.randn(args.batch, 1, args.dim).chunk(num_ranks)[rank].requires_grad_()
        labels = torch.randint(args.classes, (args.batch,)).chunk(num_ranks)[rank]
        began = time.perf_counter()
        loss, _ = head(embeddings, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        taken.append(time.perf_counter() - began)
    print(
        f"rank {rank} of {num_ranks}: {len(head.weight)} classes, peak {built - imported:.2f} GB built, "
        f"{peak_gb() - imported:.2f} GB in all, {statistics.median(taken):.2f} s a step",
        flush=True,
    )
    distributed.leave()
    end_at_once(0)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """Print a line for each process of each number of processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--classes", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=192, help="of an embedding")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4], help="numbers of processes")
    parser.add_argument("--batch", type=int, default=64, help="utterances of all processes together")
    parser.add_argument("--sample_classes", type=float, default=1.0, help="share that a step compares with")
    parser.add_argument("--steps", type=int, default=3)
    args = parser.parse_args()
    if any(args.batch % num_ranks for num_ranks in args.ranks):
        parser.error("--batch: every process must get as many utterances")
    for num_ranks in args.ranks:
        multiprocessing.spawn(measure, (num_ranks, free_port(), args), nprocs=num_ranks)


if __name__ == "__main__":
    main()
