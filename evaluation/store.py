"""Embeddings of recordings, and files that keep them for later evaluations."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import distributed
import options
import runtime
from audio.utterances import Paths
from options import Options
from options.flags import scoring_options
from SpeakerNet import SpeakerNet
from storage.files import written_whole

Floats = NDArray[np.float64]
CODE = ("audio/*.py", "DatasetLoader.py", "SpeakerNet.py", "evaluation/embedder.py")  # besides plug-ins
MEASURES = ("duration_s", "norm", "speech_s")  # of a recording and what it was embedded from


class Embeddings:
    """Vectors (U, V, D) of U recordings, their MEASURES (U, 3), and which are present (U,)."""

    def __init__(self, count: int) -> None:
        """No embedding is present; the values of those that aren't are zeros."""
        self.vectors = torch.zeros(count, 0, 0)
        self.measures = np.zeros((count, len(MEASURES)))
        self.present = np.zeros(count, dtype=bool)
        self.num_stored = 0  # how many come from earlier runs

    def put(self, numbers: Sequence[int], vectors: Tensor, measures: Floats) -> None:
        """Numbers of n recordings, their vectors (n, V, D), measures (n, 3)."""
        if not self.present.any():
            self.vectors = torch.zeros(len(self.present), *vectors.shape[1:])
        self.vectors[torch.as_tensor(numbers)] = vectors
        self.measures[numbers] = measures
        self.present[numbers] = True


def embedding_options(values: Options) -> dict[str, Any]:
    """Resolved options -> those that decide the embedding of a recording, given the network's weights.

    Options that plug-ins have gained are left out while they have their defaults.
    """
    kinds = (*options.NETWORK_KINDS, "scoring")
    defaults = options.added_options(values, kinds).items()
    deciding = options.network_options(values, kinds)
    deciding = {name: value for name, value in deciding.items() if (name, value) not in defaults}
    return deciding | scoring_options(values)


def fingerprint(network: SpeakerNet, deciding: Mapping[str, Any], *more: bytes) -> str:
    """A hash of the network's weights and of the options that decide an embedding.

    Neither PyTorch's version nor the code takes part, so that it lasts, but the scoring's own version does.
    `more` is hashed too.
    """
    settings = dict(deciding) | {"normalize": network.normalize}
    way = f"embeddings-{options.plugin('scoring', deciding['scoring']).version}"
    digest = hashlib.sha256(json.dumps([way, settings], sort_keys=True, default=str).encode())
    for part in more:
        digest.update(part)
    for name, tensor in network.state_dict().items():
        if not name.startswith("loss."):
            digest.update(f"{name} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


class EmbeddingStore:
    """A folder of embedding files, one for each network and way of embedding."""

    def __init__(self, folder: Path, values: Options, device: torch.device) -> None:
        self.folder = folder
        self.deciding = embedding_options(values)
        # a cache: other code or another PyTorch may round differently
        code = options.sources(values, (*options.NETWORK_KINDS, "scoring"), CODE)
        self.version = f"{torch.__version__} {device.type}".encode() + code

    def open(self, network: SpeakerNet, mean: Tensor | None) -> "EmbeddingFile":
        """Network, mean that is subtracted from its embeddings (D,) -> their file."""
        subtracted = b"" if mean is None else mean.cpu().numpy().tobytes()
        name = fingerprint(network, self.deciding, self.version, subtracted)[:20]
        return EmbeddingFile(self.folder / f"{name}.npz")


class EmbeddingFile:
    """Embeddings of any recordings by one network in one way; the file grows with each run.

    If two runs write at the same time, each may lose what the other added; it is then computed again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read()

    def _read(self) -> None:
        self.rows = dict[str, int]()
        self.vectors = torch.empty(0)
        self.measures = np.empty((0, len(MEASURES)))
        try:
            with np.load(self.path, allow_pickle=False) as content:
                names = list(Paths(content["text"], content["ends"]))
                vectors, measures = torch.from_numpy(content["vectors"]), content["measures"]
            if (
                vectors.ndim != 3
                or measures.shape != (len(names), len(MEASURES))
                or len(vectors) != len(names)
            ):
                return
            if not (vectors.isfinite().all() and np.isfinite(measures).all()):
                return
        except FileNotFoundError:
            return
        except OSError as error:
            raise OSError(
                f"{self.path}: cannot be read: {error.strerror or error}; delete it, or give "
                "--reuse_embeddings False"
            ) from None
        except Exception as error:  # damaged in one of many ways: everything is computed again
            if runtime.is_out_of_memory(error) or distributed.is_dead_worker(error):
                raise
            return
        self.rows = {name: row for row, name in enumerate(names)}
        self.vectors = vectors
        self.measures = measures

    def fill(self, embeddings: Embeddings, identities: Sequence[str]) -> None:
        """Put the stored embeddings of the recordings with these identities (U,)."""
        numbers = [i for i, identity in enumerate(identities) if identity in self.rows]
        if numbers:
            rows = [self.rows[identities[i]] for i in numbers]
            embeddings.put(numbers, self.vectors[rows], self.measures[rows])
        embeddings.num_stored = len(numbers)

    def add(self, embeddings: Embeddings, identities: Sequence[str]) -> None:
        """Write the stored embeddings and those that are new; another run may have written meanwhile."""
        present = np.flatnonzero(embeddings.present).tolist()
        if all(identities[i] in self.rows for i in present):
            return
        self._read()
        new = [i for i in present if identities[i] not in self.rows]
        names = Paths.of([*self.rows, *(identities[i] for i in new)])
        vectors = embeddings.vectors[new]
        if self.rows:
            vectors = torch.cat([self.vectors, vectors])
        measures = np.concatenate([self.measures, embeddings.measures[new]])
        with written_whole(self.path) as stream:
            np.savez(stream, text=names.text, ends=names.ends, vectors=vectors.numpy(), measures=measures)
