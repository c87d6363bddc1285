"""Embeddings kept on disk for later evaluations."""

import argparse
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import options
from audio.lists import Paths
from options.flags import SCORING_OPTIONS
from SpeakerNet import SpeakerNet
from storage.files import written_whole

Floats = NDArray[np.float64]
FORMAT = "embeddings-1"  # to be changed when the same options make other embeddings


class Embedded:
    """Of U recordings what scores need (U, V, D), duration in s and norm (U, 2), which are there (U,)."""

    def __init__(self, count: int) -> None:
        """None is there yet; the others' values are zeros."""
        self.vectors, self.measures = torch.zeros(count, 0, 0), np.zeros((count, 2))
        self.there, self.num_known = np.zeros(count, dtype=bool), 0  # from earlier runs

    def put(self, numbers: Sequence[int], vectors: Tensor, measures: Floats) -> None:
        """Numbers of n recordings, their vectors (n, V, D), measures (n, 2)."""
        if not self.there.any():
            self.vectors = torch.zeros(len(self.there), *vectors.shape[1:])
        self.vectors[torch.as_tensor(numbers)] = vectors
        self.measures[numbers], self.there[numbers] = measures, True


def fingerprint(network: SpeakerNet, args: argparse.Namespace, normalize: bool) -> str:
    """A text that is another one when the network, or what of a recording goes through it, is another.

    It depends on the weights, the options and the code of the chosen plug-ins, and on PyTorch's version.
    """
    kinds = (*options.NETWORK_KINDS, "scoring")
    settings = options.network_options(args, kinds) | {"normalize": normalize, "torch": torch.__version__}
    settings |= {name: getattr(args, name) for name in ("input_scale", *SCORING_OPTIONS)}
    made = hashlib.sha256(json.dumps([FORMAT, settings], sort_keys=True, default=str).encode())
    made.update(options.sources(args, kinds))
    for name, tensor in network.state_dict().items():
        if not name.startswith("loss."):
            made.update(f"{name} {tuple(tensor.shape)}".encode())
            made.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return made.hexdigest()


class Store:
    """Embeddings by one network in one way, of any recordings: a file that grows with each run.

    Two runs that write at the same time may each lose what the other added: it is then made anew.
    """

    def __init__(self, folder: Path, way: str, device: torch.device, mean: Tensor | None) -> None:
        """A fingerprint, and what else decides an embedding: rounding, and a mean that is taken off."""
        own = "" if mean is None else mean.cpu().numpy().tobytes().hex()
        self.path = folder / f"{hashlib.sha256(f'{way} {device.type} {own}'.encode()).hexdigest()[:20]}.npz"
        self._read()

    def _read(self) -> None:
        self.rows, self.vectors, self.measures = dict[str, int](), torch.empty(0), np.empty((0, 2))
        try:
            with np.load(self.path, allow_pickle=False) as content:
                names = list(Paths(content["text"], content["ends"]))
                vectors, measures = torch.from_numpy(content["vectors"]), content["measures"]
            if vectors.ndim != 3 or measures.shape != (len(names), 2) or len(vectors) != len(names):
                return
            if not (vectors.isfinite().all() and np.isfinite(measures).all()):
                return
        except Exception:  # absent or damaged, which shows in many ways: made anew
            return
        self.rows = {name: row for row, name in enumerate(names)}
        self.vectors, self.measures = vectors, measures

    def fill(self, embedded: Embedded, identities: Sequence[str]) -> None:
        """Put what is known of the recordings with these identities (U,)."""
        numbers = [i for i, identity in enumerate(identities) if identity in self.rows]
        if numbers:
            rows = [self.rows[identities[i]] for i in numbers]
            embedded.put(numbers, self.vectors[rows], self.measures[rows])

    def add(self, embedded: Embedded, identities: Sequence[str]) -> None:
        """Write what is known and what has come to it; another run may have added to the file meanwhile."""
        if all(identities[i] in self.rows for i in np.flatnonzero(embedded.there).tolist()):
            return
        self._read()
        new = [i for i in np.flatnonzero(embedded.there).tolist() if identities[i] not in self.rows]
        names = Paths.of([*self.rows, *(identities[i] for i in new)])
        vectors = torch.cat([self.vectors, embedded.vectors[new]]) if self.rows else embedded.vectors[new]
        measures = np.concatenate([self.measures, embedded.measures[new]])
        with written_whole(self.path) as stream:
            np.savez(stream, text=names.text, ends=names.ends, vectors=vectors.numpy(), measures=measures)
