"""One update of the weights from their gradients, left out where these aren't finite."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

import distributed
import runtime


class Update:
    """Scales gradients back, clips them and steps, unless one of them is infinite or NaN.

    Then weights, the optimizer's state and batch norm's running figures stay what they were. On a GPU nobody
    waits for the answer if the optimizer is a fused one. All processes decide alike: their gradients are the
    same but for the split parameters, whose norm is summed.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        precision: runtime.Precision,
        clip_norm: float = 0.0,
        split: Iterable[nn.Parameter] = (),  # each process has another part of them
    ) -> None:
        self.optimizer, self.precision, self.clip_norm = optimizer, precision, clip_norm
        self.split = [p for p in split if p.requires_grad]
        ids = {id(parameter) for parameter in self.split}
        self.whole = [p for p in network.parameters() if p.requires_grad and id(p) not in ids]
        self.figures = [buffer for buffer in network.buffers() if buffer.is_floating_point()]
        self.kept = [torch.empty_like(buffer) for buffer in self.figures]
        self.waits = not getattr(optimizer, "_step_supports_amp_scaling", False)

    def begin(self) -> None:
        """Before the batches of a step: remember the running figures, which they change."""
        for kept, figure in zip(self.kept, self.figures, strict=True):
            kept.copy_(figure)

    def __call__(self) -> Tensor:
        """Make the step and forget the gradients -> whether it was made ()."""
        self.precision.unscale(self.optimizer)
        norm = self._norm()
        if self.clip_norm:
            clip_grads_with_norm_([*self.whole, *self.split], self.clip_norm, norm)
        finite = norm.isfinite()
        if self.waits or finite.device == runtime.CPU:
            if finite:
                self.optimizer.step()
            else:
                self._take_back(finite)
        else:
            self.optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]
            self.optimizer.step()
            self._take_back(finite)
        self.precision.update()
        self.optimizer.zero_grad(set_to_none=True)
        return finite

    def _norm(self) -> Tensor:
        """Euclidean norm of the gradients of all parameters ()."""
        norm = get_total_norm([p.grad for p in self.whole if p.grad is not None])
        if not self.split:
            return norm
        part = get_total_norm([p.grad for p in self.split if p.grad is not None]).square()
        return (norm.square() + distributed.all_sum(part)).sqrt()

    def _take_back(self, finite: Tensor) -> None:
        """Running figures as they were before the step, unless it was a finite one."""
        for figure, kept in zip(self.figures, self.kept, strict=True):
            torch.where(finite, figure, kept, out=figure)
