"""An optimizer step that is skipped where gradients are infinite or NaN."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

import distributed
import runtime


class Update:
    """Unscales and clips the gradients and steps the optimizer, unless a gradient is infinite or NaN.

    Then weights, the optimizer's state and batch norm's running statistics keep their values. The host never
    waits for a GPU to decide it: fused optimizers are told on the device, the step of others is undone there.
    All processes decide the same: their gradients are equal but for those of sharded parameters, whose norm
    is summed over the processes.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        precision: runtime.Precision,
        clip_norm: float = 0.0,
        sharded: Iterable[nn.Parameter] = (),
    ) -> None:
        """What is updated.

        Args:
            network: the parameters and buffers.
            optimizer: of these parameters.
            precision: scales the gradients.
            clip_norm: largest norm of the gradients of all parameters together; 0: any.
            sharded: parameters of which each process holds other rows.
        """
        self.optimizer = optimizer
        self.precision = precision
        self.clip_norm = clip_norm
        self.sharded = [p for p in sharded if p.requires_grad]
        sharded_ids = {id(parameter) for parameter in self.sharded}
        self.replicated = [p for p in network.parameters() if p.requires_grad and id(p) not in sharded_ids]
        self.statistics = [buffer for buffer in network.buffers() if buffer.is_floating_point()]
        self.saved_statistics = [torch.empty_like(buffer) for buffer in self.statistics]
        self.is_fused = getattr(optimizer, "_step_supports_amp_scaling", False)

    def begin(self) -> None:
        """Save the running statistics; to be called before the batches of a step, which change them."""
        for saved, current in zip(self.saved_statistics, self.statistics, strict=True):
            saved.copy_(current)

    def __call__(self) -> Tensor:
        """Step and clear the gradients -> whether the weights were updated ()."""
        self.precision.unscale(self.optimizer)
        norm = self._gradient_norm()
        if self.clip_norm:
            clip_grads_with_norm_([*self.replicated, *self.sharded], self.clip_norm, norm)
        is_finite = norm.isfinite()
        if is_finite.device != runtime.CPU:
            self._step_on_device(is_finite)
        elif is_finite:
            self.optimizer.step()
        else:
            _restore(self.statistics, self.saved_statistics, is_finite)
        self.precision.update()
        self.optimizer.zero_grad(set_to_none=True)
        return is_finite

    def _step_on_device(self, is_finite: Tensor) -> None:
        """Step if the gradients are finite (), which the device decides."""
        changed, saved = self.statistics, self.saved_statistics
        if self.is_fused:
            self.optimizer.found_inf = (~is_finite).float()  # type: ignore[attr-defined]
        else:
            optimized = [*self.replicated, *self.sharded, *self._optimizer_state(is_finite.device)]
            changed = [*changed, *optimized]
            saved = [*saved, *(tensor.detach().clone() for tensor in optimized)]
        self.optimizer.step()
        _restore(changed, saved, is_finite)

    def _optimizer_state(self, device: torch.device) -> list[Tensor]:
        """The tensors of the optimizer's state that are on the device, not counters on the CPU."""
        values = [value for state in self.optimizer.state.values() for value in state.values()]
        return [value for value in values if isinstance(value, Tensor) and value.device == device]

    def _gradient_norm(self) -> Tensor:
        """Euclidean norm of the gradients of all parameters ()."""
        norm = get_total_norm([p.grad for p in self.replicated if p.grad is not None])
        if not self.sharded:
            return norm
        square = get_total_norm([p.grad for p in self.sharded if p.grad is not None]).square()
        return (norm.square() + distributed.all_reduce_sum(square)).sqrt()


@torch.no_grad()
def _restore(tensors: Iterable[Tensor], saved: Iterable[Tensor], is_finite: Tensor) -> None:
    """Give tensors their saved values unless the step is finite (); decided on the device."""
    for current, before in zip(tensors, saved, strict=True):
        torch.where(is_finite, current, before, out=current)
