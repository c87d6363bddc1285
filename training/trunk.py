"""The trunk of a network, all of it but the loss head, trained at a rate of its own; and what is frozen."""

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


class Freezing(NamedTuple):
    """What stays as it is in training. Frozen modules get no gradients, and are in evaluation mode.

    Otherwise their batch norm would update its running statistics, and dropout would change the embeddings.
    """

    trunk: bool = False  # front end and model
    modules: tuple[str, ...] = ()  # their names in the network, such as model.head
    batchnorm: bool = False  # the running statistics of batch norm; its weights are trained

    def freeze(self, network: nn.Module) -> None:
        """Switch the gradients of frozen modules off.

        Raises:
            ValueError: a module isn't there, or nothing is left to train.
        """
        names = [name for name, _ in network.named_modules() if name]
        for name in self.modules:
            if name not in names:
                close = difflib.get_close_matches(name, names, n=3, cutoff=0.3) or ["model"]
                raise ValueError(
                    f"--freeze {name}: the network has no module of this name; did you mean "
                    f"{' or '.join(close)}?"
                )
        for module in self._frozen(network):
            module.requires_grad_(False)
        if not any(parameter.requires_grad for parameter in network.parameters()):
            raise ValueError(f"--freeze {','.join(self.modules)} leaves nothing to train; give fewer modules")

    def begin_training(self, network: nn.Module) -> None:
        """Set a network to training mode, but for what is frozen."""
        network.train()
        for module in self._frozen(network):
            module.eval()
        if self.batchnorm:
            for module in network.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()

    def _frozen(self, network: nn.Module) -> Iterator[nn.Module]:
        if self.trunk:
            yield from (network.get_submodule("features"), network.get_submodule("model"))
        modules = dict(network.named_modules())
        yield from (modules[name] for name in self.modules if name in modules)  # some networks have no loss


class Trunk:
    """Front end and model of a network whose loss head is trained at another rate."""

    def __init__(self, network: Any, values: Mapping[str, Any]) -> None:
        """Freeze what is to be frozen.

        Args:
            network: has the modules features, model and loss.
            values: resolved options.

        Raises:
            ValueError: the trunk is frozen and the loss has no weights, but at most a scale and an offset; or
                see Freezing.freeze.
        """
        self.network = network
        self.factor = values["trunk_lr"]
        self.freezing = Freezing(not self.factor, values["freeze"], values["freeze_batchnorm"])
        self.parts = (network.features, network.model)
        if self.freezing.trunk and all(parameter.numel() == 1 for parameter in network.loss.parameters()):
            raise ValueError(
                f"--trunk_lr 0 trains nothing but the loss, and {values['trainfunc']} has no weights, at "
                "most a scale and an offset; give a --trunk_lr above 0, or another --trainfunc"
            )
        self.freezing.freeze(network)

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """Learning rate of the loss head -> an optimizer's groups: the head, and the trunk unless frozen."""
        head = {"params": _trained(self.network.loss), "lr": lr}
        if self.freezing.trunk:
            return [head]
        trunk = [parameter for part in self.parts for parameter in _trained(part)]
        return [head, {"params": trunk, "lr": self.factor * lr}]

    def begin_training(self) -> None:
        """Set the network to training mode, but for what is frozen."""
        self.freezing.begin_training(self.network)


def _trained(module: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in module.parameters() if parameter.requires_grad]
