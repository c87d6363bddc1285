"""ResNet with SimAM, attention without parameters, as in VoxBlink2 and wespeaker.

Qin et al. 2022 (arXiv:2110.06534), Lin et al. 2024 (arXiv:2407.11510).
"""

from collections.abc import Callable
from typing import Annotated, Literal

from torch import Tensor, nn

from models._residual import BasicBlock, FlatResNet

DEFAULTS = {
    "features": "fbank",
    "n_mels": 80,
    "use_energy": False,
    "window": "hamming",
    "encoder_type": "ASP",
    "nOut": 256,
}
COUNTS = {34: (3, 4, 6, 3), 100: (6, 16, 24, 3)}  # layers of the network -> blocks of its four stages
CHANNELS = 64  # of the first stage
MOMENTUM = 0.1  # of the batch norms' running statistics
REGULARIZER = 1e-4  # lambda in equation 5 of SimAM


class SimAM(nn.Module):
    """Maps (B, C, H, L) -> the same shape: what stands out of its channel gets a larger weight.

    Yang et al. 2021, SimAM: a simple, parameter-free attention module, ICML (equations 5 and 6).
    """

    def forward(self, maps: Tensor, mask: Tensor | None = None) -> Tensor:
        values = maps.float()  # squares of fp16 would overflow
        squares = (values - mean_over_maps(values, mask)).square()
        variance = mean_over_maps(squares, mask)  # divided by n; the paper divides by n - 1
        if mask is None:
            count: Tensor | int = maps.shape[2] * maps.shape[3]
            unbiased = variance * (count / max(count - 1, 1))
        else:
            count = maps.shape[2] * mask.sum(dim=1)[:, None, None, None]
            unbiased = variance * (count / (count - 1).clamp(min=1))
        return maps * (squares / (4.0 * (unbiased + REGULARIZER)) + 0.5).sigmoid().to(maps.dtype)


def mean_over_maps(maps: Tensor, mask: Tensor | None) -> Tensor:
    """Maps (B, C, H, L), mask (B, L) -> mean of each channel over bands and the frames that count."""
    frames = maps.mean(dim=2, keepdim=True)  # (B, C, 1, L)
    if mask is None:
        return frames.mean(dim=3, keepdim=True)
    weights = mask[:, None, None]
    return (frames * weights).sum(dim=3, keepdim=True) / weights.sum(dim=3, keepdim=True)


class SimAMBlock(BasicBlock):
    """Maps (B, C_in, H, W) -> (B, C_out, H / stride, W / stride): two 3x3 convolutions, SimAM."""

    def __init__(self, in_channels: int, channels: int, stride: int | tuple[int, int]) -> None:
        super().__init__(in_channels, channels, stride)
        self.se = SimAM()


class MainModel(FlatResNet):
    """Features (B, F, L) -> speaker embeddings (B, D); F and L at least 1."""

    def __init__(
        self,
        num_features: int,
        embedding_dim: int,
        pooling: Callable[..., nn.Module],
        *,
        depth: Annotated[Literal[34, 100], "layers"] = 34,
    ) -> None:
        super().__init__(
            num_features,
            embedding_dim,
            pooling,
            SimAMBlock,
            channels=CHANNELS,
            counts=COUNTS[depth],
            head=nn.Linear,
            momentum=MOMENTUM,
        )
