"""TitaNet: depth-wise separable convolutions with squeeze-and-excitation.

Koluguri et al. 2022 (arXiv:2110.04410), with the values of NVIDIA's NeMo, but without its dropout of a tenth.
"""

from collections.abc import Callable
from typing import Annotated

from torch import Tensor, nn

DEFAULTS = {"features": "slaneymel", "n_mels": 80, "encoder_type": "ECA", "nOut": 192}
KERNELS = (7, 11, 15)  # frames, of the blocks with a shortcut
LAYERS = 3  # in each of these blocks
POOLED_CHANNELS = 3072
REDUCTION = 8  # channels over units of a gate
EPSILON = 1e-3  # of the encoder's batch norms


class Separable(nn.Module):
    """Frames (B, C_in, L) -> (B, C, L): convolution of each channel, 1x1 convolution, batch norm."""

    def __init__(self, in_channels: int, channels: int, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(
            in_channels, in_channels, width, padding=width // 2, groups=in_channels, bias=False
        )
        self.pointwise = nn.Conv1d(in_channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm1d(channels, eps=EPSILON)

    def forward(self, frames: Tensor) -> Tensor:
        return self.norm(self.pointwise(self.depthwise(frames)))


class Gate(nn.Module):
    """Frames (B, C, L) -> the same shape, each channel scaled by a gate in (0, 1); arXiv:1709.01507."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        units = channels // REDUCTION
        self.mean = nn.AdaptiveAvgPool1d(1)
        self.fc = nn.Sequential(
            nn.Linear(channels, units, bias=False), nn.ReLU(), nn.Linear(units, channels, bias=False)
        )

    def forward(self, frames: Tensor) -> Tensor:
        return frames * self.fc(self.mean(frames)[:, :, 0]).sigmoid()[:, :, None]


class Block(nn.Module):
    """Frames (B, C_in, L) -> (B, C, L): separable layers with ReLU between them, gate, shortcut, ReLU."""

    def __init__(self, in_channels: int, channels: int, width: int, layers: int, shortcut: bool) -> None:
        super().__init__()
        inputs = [in_channels, *[channels] * (layers - 1)]
        self.layers = nn.ModuleList(Separable(before, channels, width) for before in inputs)
        self.gate = Gate(channels)
        self.shortcut = (
            nn.Sequential(
                nn.Conv1d(in_channels, channels, 1, bias=False), nn.BatchNorm1d(channels, eps=EPSILON)
            )
            if shortcut
            else None
        )

    def forward(self, frames: Tensor) -> Tensor:
        first, *others = self.layers
        outputs = first(frames)
        for layer in others:
            outputs = layer(outputs.relu())
        outputs = self.gate(outputs)
        return outputs.relu() if self.shortcut is None else (outputs + self.shortcut(frames)).relu()


class MainModel(nn.Module):
    """Features (B, F, L) -> speaker embeddings (B, D); L at least 1."""

    unequal_from = 1

    def __init__(
        self,
        num_features: int,
        embedding_dim: int,
        pooling: Callable[..., nn.Module],
        *,
        channels: Annotated[int, "channels of the blocks: 1024 for TitaNet-L, 512 for M, 256 for S"] = 1024,
    ) -> None:
        super().__init__()
        if channels < REDUCTION:
            raise ValueError(f"--channels must be at least {REDUCTION}, got {channels}")
        blocks = [Block(num_features, channels, 3, layers=1, shortcut=False)]
        blocks += [Block(channels, channels, width, LAYERS, shortcut=True) for width in KERNELS]
        blocks.append(Block(channels, POOLED_CHANNELS, 1, layers=1, shortcut=False))
        self.blocks = nn.Sequential(*blocks)
        self.pooling = pooling(POOLED_CHANNELS, "nemo")
        self.norm = nn.BatchNorm1d(self.pooling.out_channels)
        self.embedding = nn.Linear(self.pooling.out_channels, embedding_dim)

    def forward(self, features: Tensor) -> Tensor:
        return self.embedding(self.norm(self.pooling(self.blocks(features))))
