"""Embeddings of recordings, and the folders that keep them for later runs."""

import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import distributed
import options
import runtime
from options import Options
from options.flags import scoring_options
from SpeakerNet import SpeakerNet
from storage.files import written_whole

Floats = NDArray[np.float64]
Keys = NDArray[np.uint64]
BLOCK = 1024  # recordings of a part
CODE = ("audio/*.py", "DatasetLoader.py", "SpeakerNet.py", "evaluation/embedder.py")  # besides plug-ins
MEASURES = ("duration_s", "norm", "speech_s")  # of a recording and what it was embedded from


class Embeddings:
    """Vectors (U, V, D) of U recordings, their MEASURES (U, 3), and which are present (U,)."""

    def __init__(self, count: int) -> None:
        """No embedding is present; the values of those that aren't are zeros."""
        self.vectors = torch.zeros(count, 0, 0)
        self.measures = np.zeros((count, len(MEASURES)))
        self.present = np.zeros(count, dtype=bool)
        self.stored = np.zeros(count, dtype=bool)  # which come from earlier runs

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


def fingerprint(
    network: SpeakerNet, deciding: Mapping[str, Any], mean: Tensor | None = None, *, more: bytes = b""
) -> str:
    """A hash of the network's weights, the options that decide an embedding, and the mean taken off it (D,).

    Neither PyTorch's version nor the code takes part, so that it lasts, but the scoring's own version does.
    `more` is hashed too.
    """
    settings = dict(deciding) | {"normalize": network.normalize}
    way = f"embeddings-{options.plugin('scoring', deciding['scoring']).version}"
    digest = hashlib.sha256(json.dumps([way, settings], sort_keys=True, default=str).encode())
    digest.update(more)
    if mean is not None:
        digest.update(mean.cpu().numpy().tobytes())
    for name, tensor in network.state_dict().items():
        if not name.startswith("loss."):
            digest.update(f"{name} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


class EmbeddingStore:
    """A folder with a folder of embeddings for each network and way of embedding."""

    def __init__(self, folder: Path, values: Options, device: torch.device, *, is_cache: bool = True) -> None:
        """Where embeddings are kept; a cache does without those that can't be written."""
        self.folder = folder
        self.is_cache = is_cache
        self._opened: StoredEmbeddings | None = None
        self.deciding = embedding_options(values)
        # a cache: other code or another PyTorch may round differently
        code = options.sources(values, (*options.NETWORK_KINDS, "scoring"), CODE)
        self.version = f"{torch.__version__} {device.type}".encode() + code

    def open(self, network: SpeakerNet, mean: Tensor | None) -> "StoredEmbeddings":
        """Network, mean that is subtracted from its embeddings (D,) -> what is stored of it.

        The parts are looked through once for successive calls with one network.
        """
        folder = self.folder / fingerprint(network, self.deciding, mean, more=self.version)[:20]
        if self._opened is None or self._opened.folder != folder:
            self._opened = StoredEmbeddings(folder)
        return self._opened


class DamagedPartError(Exception):
    """A part can't be used."""


class StoredEmbeddings:
    """A folder of embeddings of any recordings, computed by one network in one way, in parts.

    A part is a file that is written whole, under a name that no other writer has, and never changed; so any
    number of processes may add to the folder. Each sees the parts that were there when it opened the folder,
    and its own. Memory: 24 bytes a recording; vectors are only read where they are asked for.
    """

    def __init__(self, folder: Path) -> None:
        """Reads which recordings the parts hold; a damaged part holds none."""
        self.folder = folder
        self._parts = list[Path]()
        self._index = Index()
        for path in sorted(folder.glob("*.npz")):
            try:
                with _reading(path) as content:
                    keys = content["keys"]
            except DamagedPartError:
                continue
            if keys.dtype == np.uint64 and keys.shape[1:] == (2,):
                self._add_part(path, keys)

    def fill(self, embeddings: Embeddings, identities: Sequence[str]) -> None:
        """Put the stored embeddings of the recordings with these identities (U,)."""
        parts, rows = self._index.find(_keys(identities))
        for part in np.unique(parts[parts >= 0]).tolist():
            numbers = np.flatnonzero(parts == part)
            try:
                vectors, measures = _read_part(self._parts[part])
            except DamagedPartError:  # computed again; the file would only be read in vain each time
                with suppress(OSError):
                    self._parts[part].unlink()
                continue
            embeddings.put(numbers.tolist(), vectors[rows[numbers]], measures[rows[numbers]])
            embeddings.stored[numbers] = True

    def add(self, embeddings: Embeddings, identities: Sequence[str]) -> None:
        """Write those embeddings of recordings with these identities (U,) that aren't from earlier runs."""
        new = np.flatnonzero(embeddings.present & ~embeddings.stored)
        for start in range(0, len(new), BLOCK):
            numbers = new[start : start + BLOCK]
            path = self.folder / f"{uuid.uuid4().hex}.npz"
            keys = _keys([identities[i] for i in numbers])
            vectors = embeddings.vectors[torch.from_numpy(numbers)].numpy()
            with written_whole(path) as stream:
                np.savez(stream, keys=keys, vectors=vectors, measures=embeddings.measures[numbers])
            self._add_part(path, keys)

    def _add_part(self, path: Path, keys: Keys) -> None:
        self._index.add(keys, len(self._parts))
        self._parts.append(path)


class Run(NamedTuple):
    """Keys (n, 2) in the order of their first halves, and the part and row of each (n, 2)."""

    keys: Keys
    places: NDArray[np.int32]

    @classmethod
    def sorted(cls, keys: Keys, places: NDArray[np.int32]) -> "Run":
        """Keys in any order, their places; of equal keys the first stays the first."""
        order = np.argsort(keys[:, 0], kind="stable")
        return cls(keys[order], places[order])


class Index:
    """Where embeddings are stored: key -> part and row in it. Arrays, since objects take 10 times as much.

    Sorted runs, each at least twice as long as the next: a new part is sorted into the short ones only, so
    that ten thousand parts, added one after the other, don't sort all keys ten thousand times.
    """

    def __init__(self) -> None:
        self._runs: list[Run] = []

    def add(self, keys: Keys, part: int) -> None:
        """Keys (n, 2) of the rows of a part, the part's number."""
        places = np.stack([np.full(len(keys), part), np.arange(len(keys))], 1).astype(np.int32)
        run = Run.sorted(keys, places)
        while self._runs and len(self._runs[-1].keys) < 2 * len(run.keys):
            before = self._runs.pop()
            run = Run.sorted(
                np.concatenate([before.keys, run.keys]), np.concatenate([before.places, run.places])
            )
        self._runs.append(run)

    def find(self, keys: Keys) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Keys (U, 2) -> parts (U,), -1 for unknown keys, and rows in these (U,)."""
        places = np.full((len(keys), 2), -1, np.int32)
        for run in reversed(self._runs):  # of equal keys the first one counts
            if len(run.keys):
                at = np.searchsorted(run.keys[:, 0], keys[:, 0]).clip(max=len(run.keys) - 1)
                # a key whose first half another one shares may not be found; it is computed again
                is_known = (run.keys[at] == keys).all(axis=1)
                places[is_known] = run.places[at[is_known]]
        return places[:, 0], places[:, 1]


def _keys(identities: Sequence[str]) -> Keys:
    """Identities (U,) -> hashes of 128 bits (U, 2)."""
    texts = (identity.encode(errors="surrogateescape") for identity in identities)
    digests = b"".join(hashlib.blake2b(text, digest_size=16).digest() for text in texts)
    return np.frombuffer(digests, "<u8").astype(np.uint64).reshape(-1, 2)


def _read_part(path: Path) -> tuple[Tensor, Floats]:
    """Part -> its vectors (n, V, D) and measures (n, 3)."""
    with _reading(path) as content:
        vectors, measures = torch.from_numpy(content["vectors"]), content["measures"]
        has_form = vectors.ndim == 3 and measures.shape == (len(content["keys"]), len(MEASURES))
        has_form &= len(vectors) == len(measures)
        if not (has_form and vectors.isfinite().all() and np.isfinite(measures).all()):
            raise DamagedPartError
    return vectors, measures


@contextmanager
def _reading(path: Path) -> Iterator[Any]:
    """The arrays of a part, read when they are asked for.

    Raises:
        DamagedPartError: it is damaged, or gone.
        OSError: it can't be read for another reason.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            yield content
    except FileNotFoundError:
        raise DamagedPartError from None
    except OSError as error:
        raise OSError(
            f"{path}: cannot be read: {error.strerror or error}; delete it, or give --reuse_embeddings False"
        ) from None
    except Exception as error:  # damaged in one of many ways
        if runtime.is_out_of_memory(error) or distributed.is_dead_worker(error):
            raise
        raise DamagedPartError from None
