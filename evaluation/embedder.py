"""Recordings through a network to what scores need, kept on disk for later runs; cohorts made of them."""

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

import distributed
import options
from audio.recording import AudioError, num_samples
from audio.recordings import Recordings
from DatasetLoader import EvaluationDataset, EvaluationItem, evaluation_loader
from distributed import signals
from evaluation.store import Embedded, Store, fingerprint
from normalization._cohort import subtract_mean
from SpeakerNet import SpeakerNet
from storage.run_folder import Remark

FILES_PER_BATCH = 8  # each with --num_eval crops
MOST_PADDED = 16_000 * 600  # samples of a padded batch: ten minutes


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
        stop: signals.StopSignal,
        what: str = "embedding",
        mean: Tensor | None = None,
    ) -> Embedded:
        """Every recording -> what its scores need; a mean (D,) is taken off the embeddings first.

        Of several processes each embeds its share; the first one gets all, the others only their own.

        Raises:
            AudioError: a recording can't be used, unless skip_bad_audio; or none can.
            ValueError: an embedding isn't finite.
            Stopped: a stop was asked for; what was embedded so far stays in the store.
        """
        embedded, store, identities = Embedded(len(self.recordings)), None, list[str]()
        if self.store is not None and distributed.is_first():
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
            for items, groups in self._batches(
                network, distributed.share(distributed.broadcast(new)), stop, what
            ):
                norms = torch.cat(groups, dim=1).norm(dim=2).mean(dim=1).cpu().numpy()  # (n,)
                if not np.isfinite(norms).all():
                    path = self.recordings.paths[items[int(np.argmin(np.isfinite(norms)))].number]
                    raise ValueError(f"{path}: the network's embedding is not finite; is the model damaged?")
                if mean is not None:
                    groups = [subtract_mean(group, mean) for group in groups]
                measures = np.stack([[item.duration_s for item in items], norms], axis=1)
                vectors = self.scoring.summarise(groups, normalize).cpu()
                own.put([item.number for item in items], vectors, measures)
        except (ValueError, OSError, RuntimeError, MemoryError, signals.Stopped) as caught:
            error = caught  # told to the other processes first, who would wait for this one
        self._gather(embedded, own)
        if store is not None:
            self._keep(store, embedded, identities)
        distributed.raise_anyones(error)
        if distributed.is_first() and not embedded.there.any():
            raise AudioError(f"none of the {len(self.recordings)} files could be read")
        return embedded

    def _gather(self, embedded: Embedded, own: Embedded) -> None:
        """Put what every process embedded, in the first one."""
        numbers = np.flatnonzero(own.there)
        told = numbers, own.vectors[torch.from_numpy(numbers)], own.measures[numbers], self.remarks
        for i, (numbers, vectors, measures, remarks) in enumerate(distributed.gather(told)):
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
    def mean(self, network: SpeakerNet, stop: signals.StopSignal) -> Tensor:
        """The mean (D,) of the embeddings of all crops, as the network gives them."""
        total, count, error = torch.zeros(()), 0, None
        try:
            for _, groups in self._batches(
                network, distributed.share(range(len(self.recordings))), stop, "mean"
            ):
                crops = torch.cat(groups, dim=1).flatten(0, 1)  # (n*K, D)
                total, count = total + crops.double().sum(dim=0).cpu(), count + len(crops)
        except (ValueError, OSError, RuntimeError, MemoryError, signals.Stopped) as caught:
            error = caught
        distributed.raise_anyones(error)
        parts = distributed.gather_everywhere((total, count))
        if not any(count for _, count in parts):
            raise AudioError(f"none of the {len(self.recordings)} files could be read")
        return (sum(part for part, _ in parts) / sum(count for _, count in parts)).float()

    def _batches(
        self, network: SpeakerNet, numbers: Sequence[int], stop: signals.StopSignal, what: str
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
