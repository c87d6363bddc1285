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
    """Tensors by their old names -> by their new ones, without those that are dropped."""
    by_name = {rename(name, rules): tensor for name, tensor in tensors.items()}
    by_name.pop("", None)
    return by_name
