"""Recordings through a network to what scores need, kept on disk for later runs; cohorts made of them."""

import argparse
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

import options
import processes
import ranks
from audio import AudioError, Recordings, Remark, num_samples
from DatasetLoader import EvaluationDataset, EvaluationItem, evaluation_loader
from files import Paths, read_train_list, written_whole
from flags import SCORING_OPTIONS
from normalization._cohort import Ids, speaker_means, subtract_mean
from SpeakerNet import SpeakerNet

Floats = NDArray[np.float64]

FILES_PER_BATCH = 8  # each with --num_eval crops
MOST_PADDED = 16_000 * 600  # samples of a padded batch: ten minutes
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


class Embedder:
    """Some recordings, to be embedded by any number of networks."""

    def __init__(
        self,
        recordings: Recordings,
        args: argparse.Namespace,
        device: torch.device,
        remark: Callable[[Iterable[Remark]], None],
        store: Path | None = None,
    ) -> None:
        """Options: those of scoring, nDataLoaderThread, skip_bad_audio; store: where embeddings are kept."""
        self.recordings, self.args, self.device = recordings, args, device
        self.remark, self.store = remark, store
        self.remarks = list[Remark]()
        self.pads = device.type != "cpu"  # a CPU is at work with one recording
        length = num_samples(args.eval_frames) if args.eval_frames else 0
        self.scoring = options.build("scoring", args, length, args.num_eval)

    @torch.inference_mode()
    def embed(
        self,
        network: SpeakerNet,
        normalize: bool,
        stop: processes.StopSignal,
        what: str = "embedding",
        mean: Tensor | None = None,
    ) -> Embedded:
        """Every recording -> what its scores need; a mean (D,) is taken off the embeddings first.

        Of several processes each embeds its share; the first one gets all, the others only their own.

        Raises:
            AudioError: a recording can't be used, unless skip_bad_audio; or none can.
            ValueError: an embedding isn't finite.
            processes.Stopped: a stop was asked for; what was embedded so far stays in the store.
        """
        embedded, store, identities = Embedded(len(self.recordings)), None, list[str]()
        if self.store is not None and ranks.is_first():
            way = fingerprint(network, self.args, normalize)
            store, identities = Store(self.store, way, self.device, mean), self.recordings.identities()
            store.fill(embedded, identities)
            embedded.num_known = int(embedded.there.sum())
        new = np.flatnonzero(~embedded.there).tolist()
        if self.pads:
            sizes = self.recordings.sizes()  # so that a batch needs little padding
            new.sort(key=lambda number: sizes[number])
        own = Embedded(len(self.recordings))
        error = None
        try:
            for items, groups in self._batches(network, ranks.share(ranks.broadcast(new)), stop, what):
                norms = torch.cat(groups, dim=1).norm(dim=2).mean(dim=1).cpu().numpy()  # (n,)
                if not np.isfinite(norms).all():
                    path = self.recordings.paths[items[int(np.argmin(np.isfinite(norms)))].number]
                    raise ValueError(f"{path}: the network's embedding is not finite; is the model damaged?")
                if mean is not None:
                    groups = [subtract_mean(group, mean) for group in groups]
                measures = np.stack([[item.duration_s for item in items], norms], axis=1)
                vectors = self.scoring.summarise(groups, normalize).cpu()
                own.put([item.number for item in items], vectors, measures)
        except (ValueError, OSError, RuntimeError, MemoryError, processes.Stopped) as caught:
            error = caught  # told to the other processes first, who would wait for this one
        self._gather(embedded, own)
        if store is not None:
            self._keep(store, embedded, identities)
        ranks.raise_anyones(error)
        if ranks.is_first() and not embedded.there.any():
            raise AudioError(f"none of the {len(self.recordings)} files could be read")
        return embedded

    def _gather(self, embedded: Embedded, own: Embedded) -> None:
        """Put what every process embedded, in the first one."""
        numbers = np.flatnonzero(own.there)
        told = numbers, own.vectors[torch.from_numpy(numbers)], own.measures[numbers], self.remarks
        for i, (numbers, vectors, measures, remarks) in enumerate(ranks.gather(told)):
            self.remark(remarks if i else [])  # its own it has told already
            if len(numbers):
                embedded.put(numbers.tolist(), vectors, measures)
        self.remarks = []

    def _keep(self, store: Store, embedded: Embedded, identities: Sequence[str]) -> None:
        try:
            store.add(embedded, identities)
        except OSError as error:
            self.remark([Remark(f"embeddings aren't kept: {error.strerror}", str(store.path))])

    @torch.inference_mode()
    def mean(self, network: SpeakerNet, stop: processes.StopSignal) -> Tensor:
        """The mean (D,) of the embeddings of all crops, as the network gives them."""
        total, count, error = torch.zeros(()), 0, None
        try:
            for _, groups in self._batches(network, ranks.share(range(len(self.recordings))), stop, "mean"):
                crops = torch.cat(groups, dim=1).flatten(0, 1)  # (n*K, D)
                total, count = total + crops.double().sum(dim=0).cpu(), count + len(crops)
        except (ValueError, OSError, RuntimeError, MemoryError, processes.Stopped) as caught:
            error = caught
        ranks.raise_anyones(error)
        parts = ranks.gather_everywhere((total, count))
        if not any(count for _, count in parts):
            raise AudioError(f"none of the {len(self.recordings)} files could be read")
        return (sum(part for part, _ in parts) / sum(count for _, count in parts)).float()

    def _batches(
        self, network: SpeakerNet, numbers: Sequence[int], stop: processes.StopSignal, what: str
    ) -> Iterator[tuple[list[EvaluationItem], list[Tensor]]]:
        """Numbers of recordings -> some that can be used, the embeddings of their groups [(n, k, D), ...]."""
        network.eval()
        dataset = EvaluationDataset(self.recordings, self.scoring, numbers)
        loader = evaluation_loader(dataset, FILES_PER_BATCH, self.args.nDataLoaderThread)
        with tqdm(total=len(numbers), desc=what, unit="file", disable=None, leave=False) as progress:
            for items in loader:
                stop.check()
                usable = [item for item in items if self._usable(item)]
                for group in self._groups(network, usable):
                    parts = zip(*(item.crops for item in group), strict=True)
                    yield group, [self._embed(network, crops) for crops in parts]
                progress.update(len(items))

    def _groups(self, network: SpeakerNet, items: list[EvaluationItem]) -> list[list[EvaluationItem]]:
        """Files -> those whose crops go through the network together."""
        if self.pads and network.embeds_unequal:
            longest = max((crops.numel() for item in items for crops in item.crops), default=0)
            alone = longest * len(items) > MOST_PADDED
            return [[item] for item in items] if alone else [items] if items else []
        groups: dict[tuple[int, ...], list[EvaluationItem]] = {}
        for item in items:
            groups.setdefault(tuple(crops.shape[1] for crops in item.crops), []).append(item)
        return list(groups.values())

    def _embed(self, network: SpeakerNet, crops: Sequence[Tensor]) -> Tensor:
        """Crops of n files [(k, T), ...], or n whole files [(1, T_i), ...] -> embeddings (n, k, D)."""
        if len({each.shape[1] for each in crops}) > 1:
            waveforms = [each[0].to(self.device) for each in crops]
            return network.embed_unequal(waveforms).float()[:, None]
        return network.embed(torch.cat(list(crops)).to(self.device)).float().unflatten(0, (len(crops), -1))

    def _usable(self, item: EvaluationItem) -> bool:
        if item.error is not None and not (self.args.skip_bad_audio and isinstance(item.error, AudioError)):
            raise item.error
        self.remarks += item.remarks
        self.remark(item.remarks)
        return item.error is None


class Cohort(NamedTuple):
    """What scores are normalised by: vectors of speakers or utterances, and whose are which recordings."""

    entries: Tensor  # (K, D)
    labels: Tensor  # (K,) speakers of the entries, as indices of `speakers`
    speakers: list[str]
    paths: list[str]  # of the recordings that the entries were made of
    path_labels: Tensor
    mean: Tensor | None  # (D,) of all embeddings, to be taken off before scoring; None if it isn't
    way: str  # fingerprint of what embedded it

    @classmethod
    def of(cls, content: Any, source: str) -> Self:
        """What a file holds -> the cohort; raises ValueError with the file's path if it isn't one."""
        kinds: dict[str, Any] = {
            "entries": Tensor,
            "labels": Tensor,
            "speakers": list,
            "paths": list,
            "path_labels": Tensor,
        }
        kinds |= {"mean": Tensor | None, "way": str}
        found = content if isinstance(content, dict) else {}
        if found.keys() != kinds.keys() or not all(isinstance(found[k], t) for k, t in kinds.items()):
            raise ValueError(f"{source}: its cohort is damaged; make it anew with --prepare")
        return cls(**found)

    def speakers_of(self, paths: Sequence[str]) -> Ids:
        """Paths -> labels of their speakers, by path or by a folder's name; -1 where the cohort has none."""
        labels = {speaker: label for label, speaker in enumerate(self.speakers)}
        numbers = dict(zip(self.paths, self.path_labels.tolist(), strict=True))
        found = np.full(len(paths), -1)
        for i, path in enumerate(paths):
            own = (labels[part] for part in path.split("/")[:-1] if part in labels)
            found[i] = numbers.get(path, next(own, -1))
        return found


class CohortList:
    """Utterances of many speakers, to make a cohort of by any number of networks."""

    def __init__(
        self,
        args: argparse.Namespace,
        device: torch.device,
        remark: Callable[[Iterable[Remark]], None],
        store: Path | None = None,
    ) -> None:
        """Reads --cohort_list, of each speaker its first --cohort_utterances."""
        self.args = args
        listed = read_train_list(args.cohort_list or args.train_list, args.exclude, "--cohort_list")
        order = np.argsort(listed.labels, kind="stable")
        first = np.searchsorted(listed.labels[order], np.arange(len(listed.speakers)))
        place = np.arange(len(order)) - first[listed.labels[order]]
        kept = order[place < args.cohort_utterances]
        self.paths = [listed.paths[i] for i in kept]
        recordings = Recordings(args.cohort_path or args.train_path, self.paths)
        if not args.skip_bad_audio:
            recordings.require(range(len(recordings)), "--cohort_path")
        self.labels, self.speakers = listed.labels[kept], listed.speakers
        self.embedder = Embedder(recordings, args, device, remark, store)

    def mean(self, network: SpeakerNet, stop: processes.StopSignal) -> Tensor | None:
        """Network -> the mean embedding of the cohort (D,); None without --subtract_mean."""
        return self.embedder.mean(network, stop) if self.args.subtract_mean else None

    def prepare(
        self, network: SpeakerNet, normalize: bool, stop: processes.StopSignal, mean: Tensor | None
    ) -> Cohort | None:
        """Network, mean to be taken off -> the cohort; of several processes only the first one has it."""
        embedded = None  # where scores aren't products, there is only a mean
        if self.embedder.scoring.is_vector:
            embedded = self.embedder.embed(network, normalize, stop, "cohort", mean)
        if not ranks.is_first():
            return None
        entries, labels = torch.zeros(0, 0), self.labels[:0]
        if embedded is not None:
            kept = np.flatnonzero(embedded.there)
            entries, labels = embedded.vectors[torch.from_numpy(kept), 0], self.labels[kept]
            if self.args.cohort_entries == "speakers":
                entries, labels = speaker_means(entries, labels)
        owners = torch.from_numpy(self.labels)
        way = fingerprint(network, self.args, normalize)
        return Cohort(entries, torch.from_numpy(labels), self.speakers, self.paths, owners, mean, way)
