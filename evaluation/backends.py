"""Backends (backend/) that were fitted and lie in a model file: how they change vectors and scores."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor
from torch.nn import functional as F

import options
from evaluation.cohort import LabelledVectors, any_input_binding
from evaluation.store import embedding_options
from options import Options
from SpeakerNet import SpeakerNet
from storage import checkpoint
from storage.checkpoint import ModelFile

NONE = {"backend": "none"}
KINDS: dict[str, type] = {"options": dict, "parameters": dict, "way": str}


def _damaged(source: str) -> ValueError:
    return ValueError(f"{source}: its backend is damaged; make it again with --prepare --backend")


class FittedBackend(NamedTuple):
    """A choice of --backend with the parameters that were fitted for a network."""

    options: dict[str, Any]  # the choice and its options
    parameters: dict[str, Tensor]
    way: str = ""  # binds it to the network, see evaluation.cohort.any_input_binding

    @classmethod
    def from_dict(cls, content: Any, source: str) -> Self:
        """What a model file holds -> backend; raises ValueError with the file's path if it isn't one."""
        values = content if isinstance(content, dict) else {}
        is_whole = values.keys() == KINDS.keys() and all(isinstance(values[k], KINDS[k]) for k in KINDS)
        if not is_whole or values["options"].get("backend") not in options.available("backend"):
            raise _damaged(source)
        return cls(**values)

    @property
    def name(self) -> str:
        """As --backend has it."""
        name: str = self.options["backend"]
        return name

    def project(self, vectors: Tensor) -> Tensor:
        """Vectors of recordings (..., D), of any lengths -> what is compared of them (..., E)."""
        if self.name == "none":
            return vectors
        plugin = options.plugin("backend", self.name)
        projected: Tensor = plugin.project(self.parameters, F.normalize(vectors.float(), dim=-1))
        return projected

    def mirror(self, projected: Tensor) -> Tensor:
        """Projected vectors (..., E) -> those whose dot product with others, not mirrored, is the score."""
        mirrored: Tensor = options.plugin("backend", self.name).mirror(projected)
        return mirrored

    def cohort(self, entries: Tensor) -> Tensor:
        """Cohort entries (K, D) -> what a normalisation of scores takes for them (K, E)."""
        return self.mirror(self.project(entries.float())) if self.name != "none" else entries

    def check(self, network: SpeakerNet, values: Options, mean: Tensor | None) -> None:
        """Raises ValueError unless it is whole, and was fitted for this network, options and mean (D,)."""
        if self.name == "none":
            return
        if self.way != any_input_binding(network, embedding_options(values), mean):
            raise ValueError(
                f"the backend in {values.initial_model} was fitted with another network or other options of "
                f"evaluation, --subtract_mean among them; fit it again (--prepare --backend {self.name}), or "
                "give --backend none"
            )
        try:
            is_finite = bool(self.project(torch.zeros(1, values.nOut)).isfinite().all())
        except (KeyError, AttributeError, TypeError, RuntimeError):  # a parameter is missing, or another one
            is_finite = False
        if not is_finite:
            raise _damaged(values.initial_model)


PLAIN = FittedBackend(NONE, {})


class BackendScoring(NamedTuple):
    """A scoring of vectors whose score is a dot product, by a backend."""

    scoring: Any
    backend: FittedBackend

    def score(self, enrol: Tensor, test: Tensor) -> Tensor:
        """Projected vectors of both sides (N, V, E) -> scores (N,)."""
        scores: Tensor = self.scoring.score(enrol, self.backend.mirror(test))
        return scores


def fit(values: Options, vectors: LabelledVectors, way: str) -> FittedBackend:
    """Resolved options, vectors of a list -> the backend that --backend names, fitted on all of them."""
    backend = options.build("backend", values)
    _, labels = torch.unique(torch.from_numpy(vectors.labels), return_inverse=True)
    with torch.inference_mode():
        parameters = backend.fit(F.normalize(vectors.vectors.float(), dim=-1), labels)
    return FittedBackend(options.chosen_options(values, ("backend",)), parameters, way)


def stored_backend(model_file: ModelFile, source: str) -> FittedBackend:
    """A model file, its path -> the backend in it; PLAIN without one."""
    return PLAIN if model_file.backend is None else FittedBackend.from_dict(model_file.backend, source)


def chosen_backend(model_file: ModelFile, values: Mapping[str, Any], source: str) -> FittedBackend:
    """A model file, resolved options -> the backend that these choose.

    Raises:
        ValueError: it isn't in the file.
    """
    stored = stored_backend(model_file, source)
    if values["backend"] == "none":
        return PLAIN
    if stored.options != options.chosen_options(values, ("backend",)):
        has = "no backend" if stored is PLAIN else f"another backend, {stored.options}"
        raise ValueError(
            f"{source}: --backend {values['backend']} isn't there, it has {has}; --prepare --backend "
            f"{values['backend']} fits it"
        )
    return stored


def scores_digest(model_file: ModelFile, name: str) -> str:
    """A model file, the --backend of scores -> a hash of all in the file that they are computed by."""
    weights = model_file.weights
    if name != "none":
        parameters = stored_backend(model_file, model_file.path).parameters
        weights = weights | {f"backend.{key}": tensor for key, tensor in parameters.items()}
    return checkpoint.digest(weights)
