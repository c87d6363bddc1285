"""Batch norm over the batches of all processes (Peng et al. 2018, arXiv:1711.07240, section 3.2)."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import distributed
from runtime import CPU


class SyncBatchNorm(_BatchNorm):
    """(B, C, ...) of each process -> normalised over the batches of all processes; works on any device."""

    def _check_input_dim(self, inputs: Tensor) -> None:
        pass

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, C, ...) -> the same shape."""
        if not self.training:
            return super().forward(inputs)
        axes = [axis for axis in range(inputs.ndim) if axis != 1]
        shape = [1, -1, *([1] * (inputs.ndim - 2))]
        exact = inputs.float()
        count = inputs.numel() // inputs.shape[1] * distributed.world_size()
        mean = distributed.all_reduce_sum(exact.sum(axes)) / count  # (C,)
        centred = exact - mean.view(shape)
        variance = distributed.all_reduce_sum(centred.square().sum(axes)) / count  # (C,)
        self._update_statistics(mean.detach(), variance.detach() * count / max(count - 1, 1))
        outputs = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            outputs = outputs * self.weight.view(shape) + self.bias.view(shape)
        return outputs.to(inputs.dtype)

    @torch.no_grad()
    def _update_statistics(self, mean: Tensor, variance: Tensor) -> None:
        """Update the running mean and the running variance, which is the unbiased one as in PyTorch."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        weight = self.momentum if self.momentum is not None else 1.0 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, weight)
        self.running_var.lerp_(variance, weight)


def convert_sync_batchnorm(network: nn.Module, device: torch.device) -> None:
    """Replace every batch norm in the network; on GPUs by PyTorch's, whose kernels are fused."""
    kind = SyncBatchNorm if device == CPU else nn.SyncBatchNorm
    for name, module in list(network.named_modules(remove_duplicate=False)):
        if name and isinstance(module, _BatchNorm) and not isinstance(module, kind):
            replacement = kind(
                module.num_features, module.eps, module.momentum, module.affine, module.track_running_stats
            )
            replacement.load_state_dict(module.state_dict())
            network.set_submodule(name, replacement.to(device))
