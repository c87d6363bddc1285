"""Recordings through a network to embeddings."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

import distributed
import options
from audio.errors import AudioError
from audio.evaluation_crops import LONGEST
from audio.recording import SAMPLE_RATE, num_samples
from audio.recordings import Recordings
from audio.remarks import SKIPPED, log_remark
from audio.vad import require_package
from DatasetLoader import EvaluationDataset, EvaluationItem, evaluation_loader
from distributed.signals import StopSignal
from evaluation.store import Embeddings, EmbeddingStore, StoredEmbeddings
from normalization._cohort import subtract_mean
from options import Options
from options.flags import embedding_precision
from runtime import Precision, map_in_threads
from scoring._crops import Windows
from SpeakerNet import SpeakerNet

FILES_PER_BATCH = 8  # of the loader, each with --num_eval crops
BATCH_SAMPLES = 600 * SAMPLE_RATE  # of a batch on a GPU, with the padding; on a CPU LONGEST


def build_scoring(values: Options) -> Any:
    """Resolved options -> the chosen scoring."""
    length = num_samples(values.eval_frames) if values.eval_frames else 0
    return options.build("scoring", values, length, values.num_eval)


class Embedder:
    """Some recordings, to be embedded by any number of networks."""

    def __init__(
        self,
        recordings: Recordings,
        *,
        scoring: Any,
        device: torch.device,
        num_workers: int,
        skip_bad: bool,
        vad: str = "none",
        precision: str = "fp32",
        store: EmbeddingStore | None = None,
    ) -> None:
        """How recordings are embedded.

        Args:
            recordings: what is embedded.
            device: where networks are.
            scoring: cuts recordings into crops and summarises their embeddings; see scoring/__init__.py.
            num_workers: processes that read recordings.
            skip_bad: leave out recordings that can't be used.
            vad: the voice activity detector whose speech is embedded, or none.
            precision: how the network computes, see runtime.Precision.
            store: where embeddings are kept for later runs.
        """
        self.recordings = recordings
        self.scoring = scoring
        self.device = device
        self.num_workers = num_workers
        self.skip_bad = skip_bad
        self.vad = vad
        self.precision = Precision(precision, device)
        self.store = store
        # On a CPU each recording goes through the network alone: faster there, and then no last digit of an
        # embedding depends on the other recordings.
        self.shares_batches = device.type != "cpu"

    @torch.inference_mode()
    def embed(
        self,
        network: SpeakerNet,
        stop: StopSignal,
        *,
        description: str = "embedding",
        mean: Tensor | None = None,
    ) -> Embeddings:
        """Network -> the embeddings of all recordings; a mean (D,) is subtracted from those of crops first.

        Of several processes each embeds its part; the first one gets all, the others none.

        Raises:
            AudioError: a recording can't be used, unless skip_bad; or none can.
            ValueError: an embedding isn't finite.
            OSError: embeddings can't be written into the store, unless that is a cache.
            Stopped: a stop was requested; what was embedded until then is in the store.
        """
        embeddings = Embeddings(len(self.recordings))
        kept, identities = None, list[str]()
        if self.store is not None and distributed.is_first():
            kept, identities = self.store.open(network, mean), self.recordings.identities()
            kept.fill(embeddings, identities)
        missing = self._in_order(np.flatnonzero(~embeddings.present).tolist())
        local = Embeddings(len(self.recordings))
        with distributed.errors_on_all_ranks():
            try:
                numbers = distributed.broadcast(missing)
                for items, groups in self._batches(network, numbers, stop, description):
                    self._put(local, items, groups, network.normalize, mean)
            finally:  # what was embedded before an error or a stop is kept
                _gather(embeddings, local)
                if self.store is not None and kept is not None:
                    _keep(embeddings, kept, identities, self.store.is_cache)
        if distributed.is_first() and not embeddings.present.any():
            raise AudioError(f"none of the {len(self.recordings)} files could be read")
        return embeddings

    @torch.inference_mode()
    def mean(self, network: SpeakerNet, stop: StopSignal) -> Tensor:
        """Network -> the mean (D,) of the embeddings of all crops, as the network returns them."""
        total, count = torch.zeros(()), 0
        with distributed.errors_on_all_ranks():
            numbers = self._in_order(list(range(len(self.recordings))))
            for _, groups in self._batches(network, numbers, stop, "mean"):
                crops = torch.cat(groups, dim=1).flatten(0, 1)  # (n*K, D)
                total = total + crops.double().sum(dim=0).cpu()
                count += len(crops)
        parts = distributed.all_gather((total, count))
        if not any(count for _, count in parts):
            raise AudioError(f"none of the {len(self.recordings)} files could be read")
        return (sum(total for total, _ in parts) / sum(count for _, count in parts)).float()

    def _in_order(self, numbers: list[int]) -> list[int]:
        """Numbers of recordings in the order of embedding: padded batches need similar lengths."""
        if not self.shares_batches:
            return numbers
        sizes = self.recordings.sizes()
        return sorted(numbers, key=lambda number: sizes[number])

    def _put(
        self,
        embeddings: Embeddings,
        items: list[EvaluationItem],
        groups: list[Tensor],
        normalize: bool,
        mean: Tensor | None,
    ) -> None:
        """Put the summaries of n recordings, from the embeddings of their crops [(n, k, D), ...]."""
        norms = torch.cat(groups, dim=1).norm(dim=2).mean(dim=1).cpu().numpy()  # (n,)
        if not np.isfinite(norms).all():
            path = self.recordings.paths[items[int(np.argmin(np.isfinite(norms)))].number]
            raise ValueError(f"{path}: the network's embedding is not finite; is the model damaged?")
        if mean is not None:
            groups = [subtract_mean(group, mean) for group in groups]
        durations, speech = zip(*((item.duration_s, item.speech_s) for item in items), strict=True)
        measures = np.stack([durations, norms, speech], axis=1)
        vectors = self.scoring.summarise(groups, normalize).cpu()
        embeddings.put([item.number for item in items], vectors, measures)

    def _batches(
        self, network: SpeakerNet, numbers: Sequence[int], stop: StopSignal, description: str
    ) -> Iterator[tuple[list[EvaluationItem], list[Tensor]]]:
        """Numbers of recordings, of which this process embeds its part.

        Yields some that can be used, and the embeddings of their groups [(n, k, D), ...]. The first process
        shows the progress of all, as if the others were as fast.
        """
        network.eval()
        dataset = EvaluationDataset(self.recordings, self.scoring, self.vad, distributed.shard(numbers))
        files_per_batch = FILES_PER_BATCH if self.shares_batches else 1  # hours of audio stay in memory
        loader = evaluation_loader(dataset, files_per_batch, self.num_workers)
        is_hidden = None if distributed.is_first() else True  # None: unless stderr is a terminal
        embed = partial(self._embed, network)
        with tqdm(
            total=len(numbers), desc=description, unit="file", disable=is_hidden, leave=False
        ) as progress:

            def batches() -> Iterator[list[EvaluationItem]]:
                for items in loader:
                    stop.check()
                    yield from self._in_batches(network, [item for item in items if self._is_usable(item)])
                    progress.update(min(len(items) * distributed.world_size(), len(numbers) - progress.n))

            yield from map(embed, batches()) if self.shares_batches else map_in_threads(embed, batches())

    def _in_batches(self, network: SpeakerNet, items: list[EvaluationItem]) -> list[list[EvaluationItem]]:
        """Recordings -> those that go through the network together."""
        if not self.shares_batches:
            return [[item] for item in items]
        if self.scoring.windows is not None:  # they all have one length
            return [items] if items else []
        batches: dict[tuple[Any, ...], list[EvaluationItem]] = {}
        for item in items:  # recordings longer than LONGEST have other numbers of crops
            alike = tuple(len(crops) if network.embeds_unequal else crops.shape for crops in item.crops)
            batches.setdefault(alike, []).append(item)
        return [part for batch in batches.values() for part in _bounded(batch)]

    @torch.inference_mode()
    def _embed(
        self, network: SpeakerNet, items: list[EvaluationItem]
    ) -> tuple[list[EvaluationItem], list[Tensor]]:
        """Batch of n recordings -> itself, and embeddings of their groups of crops [(n, k, D), ...]."""
        groups = zip(*(item.crops for item in items), strict=True)
        with self.precision.context():
            return items, [embed_crops(network, crops, self.scoring.windows, self.device) for crops in groups]

    def _is_usable(self, item: EvaluationItem) -> bool:
        if item.error is None:
            return True
        if not (self.skip_bad and isinstance(item.error, AudioError)):
            raise item.error
        log_remark(SKIPPED, str(item.error))
        return False


def _bounded(items: list[EvaluationItem]) -> list[list[EvaluationItem]]:
    """A batch -> itself, or each recording alone if it would be too large."""
    longest = max(crops.numel() for item in items for crops in item.crops)
    return [items] if longest * len(items) <= BATCH_SAMPLES else [[item] for item in items]


def embed_crops(
    network: SpeakerNet, crops: Sequence[Tensor], windows: Windows | None, device: torch.device
) -> Tensor:
    """Crops of n recordings [(k, T_i), ...] -> embeddings (n, k, D), float32.

    Equal crops in succession go through the network once: those of a recording no longer than a crop.

    Args:
        network: in evaluation mode.
        crops: of one length T, or of unequal ones, in one batch, if the network embeds these together.
        windows: None, or the windows of the features of whole recordings (1, T_i) that are embedded.
        device: where the network is.
    """
    if windows is not None:
        return embed_windows(network, [each[0].to(device) for each in crops], windows)
    if len({each.shape[1] for each in crops}) > 1:
        waveforms = [row.to(device) for each in crops for row in each]
        embeddings = network.embed_unequal(waveforms).float()
    else:
        rows = torch.cat(list(crops)).to(device)
        embeddings = _embed_distinct(network.embed, rows, rows.shape[1])
    return embeddings.unflatten(0, (len(crops), -1))


def embed_windows(network: SpeakerNet, waveforms: Sequence[Tensor], windows: Windows) -> Tensor:
    """Waveforms (T_i,) of any lengths, none shorter than a window -> embeddings of K windows each (B, K, D).

    The front end, and its normalisation, get each waveform as a whole; windows are cut out of its features.
    """
    front_end: Any = network.features
    num_frames = front_end.num_frames(windows.length)
    cut = [windows.cut(front_end(each[None] * network.input_scale), num_frames) for each in waveforms]
    embeddings = _embed_distinct(network.model, torch.cat(cut), windows.length)
    return embeddings.unflatten(0, (len(waveforms), -1))


def _embed_distinct(embed: Callable[[Tensor], Tensor], inputs: Tensor, num_samples: int) -> Tensor:
    """Inputs (N, ...), each of a number of samples -> embeddings (N, D) in batches of bounded size.

    An input that equals the one before it has its embedding.
    """
    is_new = torch.ones(len(inputs), dtype=torch.bool, device=inputs.device)
    is_new[1:] = (inputs[1:] != inputs[:-1]).flatten(1).any(dim=1)
    most = LONGEST if inputs.device.type == "cpu" else BATCH_SAMPLES
    size = max(1, most // num_samples)
    embeddings = [embed(batch).float() for batch in inputs[is_new].split(size)]
    return torch.cat(embeddings)[is_new.cumsum(0) - 1]


def build_embedder(
    recordings: Recordings,
    values: Options,
    device: torch.device,
    flag: str,
    store: EmbeddingStore | None = None,
) -> Embedder:
    """Recordings, resolved options -> their embedder; without --skip_bad_audio all of them must exist.

    Raises:
        FileNotFoundError: one doesn't; the error names the flag that says where they are.
        ValueError: the package of the voice activity detector is missing.
    """
    require_package(values.vad)
    if not values.skip_bad_audio:
        recordings.require(range(len(recordings)), flag)
    return Embedder(
        recordings,
        scoring=build_scoring(values),
        device=device,
        num_workers=values.nDataLoaderThread,
        skip_bad=values.skip_bad_audio,
        vad=values.vad,
        precision=embedding_precision(values),
        store=store,
    )


def _gather(embeddings: Embeddings, local: Embeddings) -> None:
    """Put what every process embedded into the embeddings of the first one."""
    present = np.flatnonzero(local.present)
    part = present, local.vectors[torch.from_numpy(present)], local.measures[present]
    for numbers, vectors, measures in distributed.gather(part):
        if len(numbers):
            embeddings.put(numbers.tolist(), vectors, measures)


def _keep(embeddings: Embeddings, kept: StoredEmbeddings, identities: Sequence[str], is_cache: bool) -> None:
    try:
        kept.add(embeddings, identities)
    except OSError as error:
        if not is_cache:
            raise
        log_remark(f"embeddings aren't kept: {error.strerror}", str(kept.folder))
