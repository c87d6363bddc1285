"""The largest batch that memory holds, once one was too large."""

from torch import Tensor, nn

import runtime


def largest_batch(network: nn.Module, precision: runtime.Precision, crops: Tensor) -> int:
    """Network with a method embed, crops (S, M, T) of a batch too large -> speakers of one that fits.

    Found by halving within a thirty-second of the batch, of the front end's and the encoder's memory alone;
    0 if none fits.
    """
    low, high = 0, len(crops)
    while high - low > max(1, len(crops) // 32):
        middle = (low + high) // 2
        low, high = (middle, high) if _fits(network, precision, crops[:middle]) else (low, middle)
    return low


def _fits(network: nn.Module, precision: runtime.Precision, crops: Tensor) -> bool:
    network.zero_grad(set_to_none=True)
    runtime.free_memory()
    try:
        with precision.context():
            embeddings = network.embed(crops.flatten(0, 1))  # type: ignore[operator]
        embeddings.float().sum().backward()
    except (RuntimeError, MemoryError) as error:
        if runtime.is_out_of_memory(error):
            return False
        raise
    return True
