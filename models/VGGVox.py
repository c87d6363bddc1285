"""VGG-M-40 on log-mel energies (after Nagrani et al. 2017, arXiv:1706.08612; Chung et al. 2020)."""

from collections.abc import Callable

from torch import Tensor, nn

DEFAULTS = {"features": "logmel", "n_mels": 40, "window": "hann", "encoder_type": "SAP", "nOut": 512}
FEWEST_BANDS = 15  # with fewer, the last max-pooling outputs nothing
FEWEST_FRAMES = 63  # the same along time


class MainModel(nn.Module):
    """Features (B, F, L), F at least 15, L at least 1 -> speaker embeddings (B, D)."""

    unequal_from = FEWEST_FRAMES

    def __init__(self, num_features: int, embedding_dim: int, pooling: Callable[..., nn.Module]) -> None:
        super().__init__()
        if num_features < FEWEST_BANDS:
            raise ValueError(
                f"--model VGGVox needs at least {FEWEST_BANDS} bands, got {num_features}; raise --n_mels"
            )
        rows = ((num_features - 1) // 2 - 1) // 2  # bands after the second convolution and pooling
        rows = (rows - 1) // 2  # after the third pooling
        self.netcnn = nn.Sequential(
            *_convolution(1, 96, (5, 7), stride=(1, 2), padding=2),
            nn.MaxPool2d(kernel_size=(1, 3), stride=(1, 2)),
            *_convolution(96, 256, (5, 5), stride=(2, 2), padding=1),
            nn.MaxPool2d(kernel_size=3, stride=2),
            *_convolution(256, 384, (3, 3), padding=1),
            *_convolution(384, 256, (3, 3), padding=1),
            *_convolution(256, 256, (3, 3), padding=1),
            nn.MaxPool2d(kernel_size=3, stride=2),
            *_convolution(256, 512, (rows, 1)),
        )
        self.pooling = pooling(512)
        self.fc = nn.Linear(self.pooling.out_channels, embedding_dim)

    def forward(self, features: Tensor) -> Tensor:
        length = features.shape[2]
        if length < FEWEST_FRAMES:  # a short utterance is repeated
            features = features.repeat(1, 1, -(-FEWEST_FRAMES // length))[:, :, :FEWEST_FRAMES]
        maps = self.netcnn(features[:, None])  # (B, 512, 1, L')
        return self.fc(self.pooling(maps[:, :, 0]))


def _convolution(
    in_channels: int,
    channels: int,
    kernel: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    padding: int = 0,
) -> list[nn.Module]:
    """Convolution, batch norm, ReLU."""
    convolution = nn.Conv2d(in_channels, channels, kernel, stride, padding)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return [convolution, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
