"""The processes that train or evaluate together: who they are, what they tell one another.

The only place that names gloo and NCCL. A process knows its rank by the environment, from torchrun or
distributed/launch.py. Alone, nothing here does anything: whoever calls needn't ask.
"""

from distributed.collectives import (
    Agreement,
    broadcast,
    gather,
    gather_everywhere,
    join,
    leave,
    patience,
    raise_anyones,
    share,
)
from distributed.heartbeat import LostProcess, excuse, first_line, last_word, lost
from distributed.rank import is_first, place
from distributed.rendezvous import meet
from distributed.tensors import all_max, all_sum, gather_rows, parallel, share_buffers, unshared

__all__ = [
    "Agreement",
    "LostProcess",
    "all_max",
    "all_sum",
    "broadcast",
    "excuse",
    "first_line",
    "gather",
    "gather_everywhere",
    "gather_rows",
    "is_first",
    "join",
    "last_word",
    "leave",
    "lost",
    "meet",
    "parallel",
    "patience",
    "place",
    "raise_anyones",
    "share",
    "share_buffers",
    "unshared",
]
