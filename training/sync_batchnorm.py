"""Batch norm over the batch of all processes (Peng et al. 2018, arXiv:1711.07240, section 3.2)."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import distributed
from runtime import CPU


class SyncBatchNorm(_BatchNorm):
    """(B, C, ...) of each process -> normalised over the batches of all, on any device."""

    def _check_input_dim(self, inputs: Tensor) -> None:
        pass

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, C, ...) -> the same shape."""
        if not self.training:
            return super().forward(inputs)
        axes = [axis for axis in range(inputs.ndim) if axis != 1]
        shape = [1, -1, *([1] * (inputs.ndim - 2))]
        exact = inputs.float()
        count = inputs.numel() // inputs.shape[1] * distributed.place()[1]
        mean = distributed.all_sum(exact.sum(axes)) / count  # (C,)
        centred = exact - mean.view(shape)
        variance = distributed.all_sum(centred.square().sum(axes)) / count  # (C,)
        self._learn(mean.detach(), variance.detach() * count / max(count - 1, 1))
        made = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            made = made * self.weight.view(shape) + self.bias.view(shape)
        return made.to(inputs.dtype)

    @torch.no_grad()
    def _learn(self, mean: Tensor, variance: Tensor) -> None:
        """Running figures, of the unbiased variance as in PyTorch."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        share = self.momentum if self.momentum is not None else 1.0 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


def synchronize(network: nn.Module, device: torch.device) -> None:
    """Replace every batch norm of the network; on GPUs by PyTorch's, whose kernels are fused."""
    kind = SyncBatchNorm if device == CPU else nn.SyncBatchNorm
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, _BatchNorm) and not isinstance(child, kind):
                made = kind(
                    child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats
                )
                made.load_state_dict(child.state_dict())
                setattr(module, name, made.to(device))
