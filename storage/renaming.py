"""Names of tensors in files of other programs -> those of this trainer's networks."""

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

# (pattern of the old name, new name): the first rule that matches the start of a name applies; an empty new
# name drops the tensor. A name that no rule matches is kept.
Rules = Sequence[tuple[str, str]]


def rename(name: str, rules: Rules) -> str:
    """Old name -> new name; an empty one if the tensor is dropped."""
    for pattern, replacement in rules:
        if match := re.match(pattern, name):
            return match.expand(replacement) + name[match.end() :] if replacement else ""
    return name


def renamed(tensors: Mapping[str, Tensor], rules: Rules) -> dict[str, Tensor]:
    """Tensors by their old names -> by their new ones, without those that are dropped.

    Raises:
        ValueError: two of them get the same name.
    """
    by_name = dict[str, Tensor]()
    for name, tensor in tensors.items():
        new = rename(name, rules)
        if new in by_name:
            raise ValueError(f"it has {name} and another tensor that is also {new} here")
        if new:
            by_name[new] = tensor
    return by_name
