"""The processes of one command: rank, rendezvous, collectives, failure detection, launcher, signals, exit.

Only this package names gloo and NCCL. Every function also works in a process that is alone (world size 1), so
callers need not distinguish. A command calls, in this order:

    distributed.rendezvous(on_loss)      the processes connect; heartbeats begin
    distributed.join(device, timeout_s)  the collectives are initialised
    distributed.leave()                  the process group is closed
"""

from distributed.collectives import (
    DelayedMaximum,
    all_gather,
    broadcast,
    errors_on_all_ranks,
    gather,
    raise_first_error,
    shard,
)
from distributed.environment import is_first, rank, world_size
from distributed.errors import LostProcessError, is_dead_worker, lost_process_reason
from distributed.process_group import (
    ProcessGroup,
    announce_exit,
    error_to_report,
    join,
    leave,
    rendezvous,
    wait_for_stragglers,
)
from distributed.status import Timeouts
from distributed.tensors import (
    all_gather_rows,
    all_reduce_max,
    all_reduce_sum,
    broadcast_buffers,
    data_parallel,
    no_sync,
)

__all__ = [
    "DelayedMaximum",
    "LostProcessError",
    "ProcessGroup",
    "Timeouts",
    "all_gather",
    "all_gather_rows",
    "all_reduce_max",
    "all_reduce_sum",
    "announce_exit",
    "broadcast",
    "broadcast_buffers",
    "data_parallel",
    "error_to_report",
    "errors_on_all_ranks",
    "gather",
    "is_dead_worker",
    "is_first",
    "join",
    "leave",
    "lost_process_reason",
    "no_sync",
    "raise_first_error",
    "rank",
    "rendezvous",
    "shard",
    "wait_for_stragglers",
    "world_size",
]
