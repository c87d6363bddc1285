"""The trunk of a network, all of it but the loss head: trained at a rate of its own, or frozen."""

from typing import Any


class Trunk:
    """Front end and model of a network whose loss head is trained at another rate."""

    def __init__(self, network: Any, factor: float, trainfunc: str) -> None:
        """Freeze the trunk if the factor is 0: its parameters get no gradients.

        Args:
            network: has the modules features, model and loss.
            factor: learning rate of the trunk, relative to that of the loss head.
            trainfunc: name of the loss, for errors.

        Raises:
            ValueError: the trunk is frozen and the loss has no weights, but at most a scale and an offset.
        """
        self.network = network
        self.factor = factor
        self.parts = (network.features, network.model)
        if factor > 0.0:
            return
        if all(parameter.numel() == 1 for parameter in network.loss.parameters()):
            raise ValueError(
                f"--trunk_lr 0 trains nothing but the loss, and {trainfunc} has no weights, at most a scale "
                "and an offset; give a --trunk_lr above 0, or another --trainfunc"
            )
        for part in self.parts:
            part.requires_grad_(False)

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """Learning rate of the loss head -> an optimizer's groups: the head, and the trunk unless frozen."""
        head = {"params": list(self.network.loss.parameters()), "lr": lr}
        if self.factor == 0.0:
            return [head]
        trunk = [parameter for part in self.parts for parameter in part.parameters()]
        return [head, {"params": trunk, "lr": self.factor * lr}]

    def begin_training(self) -> None:
        """Set the network to training mode; a frozen trunk stays in evaluation mode.

        Otherwise batch norm would update its running statistics, and dropout would change the embeddings.
        """
        self.network.train()
        if self.factor == 0.0:
            for part in self.parts:
                part.eval()
