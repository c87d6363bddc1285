"""d-vector of three LSTM layers (Wan et al. 2018, arXiv:1710.10467), as in Resemblyzer's weights."""

from collections.abc import Callable
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import runtime

DEFAULTS = {"features": "linmel", "n_mels": 40, "encoder_type": "LAST", "nOut": 256, "max_frames": 160}
LAYERS = 3
PARTIAL_FRAMES = 160  # 1.6 s
STEP_FRAMES = 77  # from one partial to the next: 100 frames a second over 1.3 partials a second
COVERED_FRAMES = 120  # 75 % of a partial: the least that must lie in the recording, unless it is the only one
EXTRA_FRAMES = 3  # of --features linmel, which has 3 + T // 160 frames
PARTIALS_AT_ONCE = 256  # through the network together, which bounds the memory that long recordings need


class MainModel(nn.Module):
    """Features (B, F, L) -> speaker embeddings (B, D) of norm 1, none of their values negative; L at least 1.

    In training each crop is one sequence. In evaluation each utterance is cut into overlapping partials of
    1.6 s, and its embedding is the normalised mean of theirs (section 3.2 of the paper).
    """

    unequal_from = 1

    def __init__(
        self,
        num_features: int,
        embedding_dim: int,
        pooling: Callable[..., nn.Module],
        *,
        channels: Annotated[int, "units of each LSTM layer"] = 256,
    ) -> None:
        super().__init__()
        if channels < 1:
            raise ValueError(f"--channels must be at least 1, got {channels}")
        self.lstm = nn.LSTM(num_features, channels, LAYERS)
        self.pooling = pooling(channels)
        self.linear = nn.Linear(self.pooling.out_channels, embedding_dim)

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, F, L), mask (B, L) that is True on the frames of each utterance -> (B, D)."""
        if self.training:
            return self._embed(features)
        if mask is None:
            mask = features.new_ones(len(features), features.shape[2], dtype=torch.bool)
        counts = num_partials(mask.sum(dim=1))  # (B,)
        most = int(counts.max())
        end = PARTIAL_FRAMES + (most - 1) * STEP_FRAMES
        padded = F.pad(features * mask[:, None], (0, end - features.shape[2]))  # or cut
        windows = padded.unfold(2, PARTIAL_FRAMES, STEP_FRAMES).transpose(1, 2)  # (B, K, F, 160)
        is_partial = torch.arange(most, device=counts.device) < counts[:, None]  # (B, K)
        partials = torch.cat(
            [self._embed(part) for part in windows[is_partial].split(PARTIALS_AT_ONCE)]
        )  # (N, D)
        sums = partials.new_zeros(*is_partial.shape, partials.shape[1])
        sums[is_partial] = partials
        return F.normalize(sums.sum(dim=1))

    def _embed(self, sequences: Tensor) -> Tensor:
        """(N, F, L) -> (N, D)."""
        with runtime.float32_on_cpu():
            frames, _ = self.lstm(sequences.permute(2, 0, 1))  # (L, N, C)
        return F.normalize(F.relu(self.linear(self.pooling(frames.permute(1, 2, 0)))))


def num_partials(num_frames: Tensor) -> Tensor:
    """Frames of utterances (B,) -> their partials (B,): one, and each further one that is covered by 75 %."""
    return 1 + (num_frames - EXTRA_FRAMES - COVERED_FRAMES).clamp(min=0) // STEP_FRAMES
