"""Memory and time of a class head with very many speakers, sharded over processes.

    python benchmarks/sharded_head.py
    python benchmarks/sharded_head.py --classes 200000 --dim 256 --ranks 1 2 --sample_classes 0.1

Measures steps of AAM-Softmax alone (forward, backward, SGD with momentum) on random embeddings, with one
thread for each process. Memory is the peak of a process beyond that after its imports: first while all rows
are initialised and this process's rows are copied, then including the training steps.
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
from distributed.launch import exit_immediately

TIMEOUT_S = 600.0


def peak_gb() -> float:
    """Peak resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # KB on Linux


def measure(rank: int, world_size: int, port: int, args: argparse.Namespace) -> None:
    """One process: build the head, train it, print a line."""
    variables = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world_size, "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in variables.items()}
    os.environ["MASTER_ADDR"] = "127.0.0.1"
    torch.set_num_threads(1)
    torch.manual_seed(0)
    distributed.rendezvous()
    distributed.join(torch.device("cpu"), TIMEOUT_S)
    imported = peak_gb()
    head = options.plugin("loss", "aamsoftmax")(args.dim, args.classes, sample_classes=args.sample_classes)
    head.shard()
    built = peak_gb()
    optimizer = torch.optim.SGD(head.parameters(), lr=0.1, momentum=0.9)
    step_seconds = list[float]()
    for step in tqdm(range(args.steps), leave=False, disable=None if rank == 0 else True):
        torch.manual_seed(step)
        embeddings = torch.randn(args.batch, 1, args.dim).chunk(world_size)[rank].requires_grad_()
        labels = torch.randint(args.classes, (args.batch,)).chunk(world_size)[rank]
        start_s = time.perf_counter()
        loss, _ = head(embeddings, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step_seconds.append(time.perf_counter() - start_s)
    print(
        f"rank {rank} of {world_size}: {len(head.weight)} classes, peak {built - imported:.2f} GB built, "
        f"{peak_gb() - imported:.2f} GB in all, {statistics.median(step_seconds):.2f} s a step",
        flush=True,
    )
    distributed.leave()
    exit_immediately(0)


def free_port() -> int:
    """A free TCP port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """Print a line for each process, for each world size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--classes", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=192, help="of an embedding")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4], help="world sizes")
    parser.add_argument("--batch", type=int, default=64, help="utterances of all processes together")
    parser.add_argument(
        "--sample_classes", type=float, default=1.0, help="fraction of the classes that a step uses"
    )
    parser.add_argument("--steps", type=int, default=3)
    args = parser.parse_args()
    if any(args.batch % world_size for world_size in args.ranks):
        parser.error("--batch must be divisible by every number in --ranks")
    for world_size in args.ranks:
        multiprocessing.spawn(measure, (world_size, free_port(), args), nprocs=world_size)


if __name__ == "__main__":
    main()
