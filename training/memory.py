"""What to do where a batch doesn't fit into memory: the largest batch that does."""

from torch import Tensor, nn

import distributed
import runtime


def memory_advice(
    network: nn.Module,
    precision: runtime.Precision,
    crops: Tensor,
    *,
    duration_s: float,
    tries_sizes: bool,
) -> str:
    """Network with a method embed, crops (S, M, T) that are too large -> what to do, in one line.

    Args:
        network: what is trained.
        precision: of its training.
        crops: the batch.
        duration_s: of a crop.
        tries_sizes: whether to find out which size fits.
    """
    advice = "lower --batch_size"
    if tries_sizes:
        fitting = largest_batch(network, precision, crops) * distributed.world_size()
        advice = "not even one speaker fits: lower --max_frames"
        if fitting:
            advice = f"--batch_size {fitting} should fit"
    speakers, utterances, _ = crops.shape
    return (
        f"out of memory on {crops.device} with {speakers} x {utterances} utterances of {duration_s:.1f} s; "
        f"{advice} (--accumulate adds up the gradients of several batches)"
    )


def largest_batch(network: nn.Module, precision: runtime.Precision, crops: Tensor) -> int:
    """Network with a method embed, crops (S, M, T) that are too large -> number of speakers that fit.

    By bisection to a 32nd of the batch; only the memory of the front end and the encoder is tried. 0 if
    none fits.
    """
    fitting = 0
    too_large = len(crops)
    while too_large - fitting > max(1, len(crops) // 32):
        middle = (fitting + too_large) // 2
        if _fits(network, precision, crops[:middle]):
            fitting = middle
        else:
            too_large = middle
    return fitting


def _fits(network: nn.Module, precision: runtime.Precision, crops: Tensor) -> bool:
    network.zero_grad(set_to_none=True)
    runtime.free_memory()
    try:
        with precision.context():
            embeddings = network.embed(crops.flatten(0, 1))  # type: ignore[operator]
        if embeddings.requires_grad:  # not that of a frozen network
            embeddings.float().sum().backward()
    except (RuntimeError, MemoryError) as error:
        if runtime.is_out_of_memory(error):
            return False
        raise
    return True
