"""Recordings by the thousand to a file of embeddings: in blocks, by any number of processes, resumable."""

import shutil
from pathlib import Path

import numpy as np

import distributed
from audio.errors import AudioError
from audio.recordings import Recordings
from audio.remarks import SKIPPED, log_remark
from audio.vad import LEAST_SPEECH_S
from distributed.signals import StopSignal
from evaluation.embedder import Embedder
from evaluation.store import MEASURES, Embeddings, EmbeddingStore
from inference.audio_files import AudioFiles
from inference.audio_input import open_input
from inference.embedding_files import Extracted, parts_folder, write_embeddings
from inference.network_voice import NetworkVoice
from storage.files import lock

BLOCK = 1024  # recordings; as many are lost where the process is killed


class Extraction:
    """Embeddings of many recordings on their way into a file; those that are done are kept beside it."""

    def __init__(self, voice: NetworkVoice, files: AudioFiles, path: Path, num_workers: int) -> None:
        """How recordings are embedded.

        Args:
            voice: embeds them.
            files: the recordings; those of the first process count, as what is in a folder may change.
            path: of the file of embeddings; its suffix chooses the format.
            num_workers: processes that read recordings, for each process that embeds.

        Raises:
            ValueError: the model has no vector for each recording, or another process writes this file.
            OSError: the folder of the file can't be written.
        """
        voice.require_vectors()
        self.voice = voice
        self.files = files
        self.path = path
        self.num_workers = num_workers
        self.store = EmbeddingStore(parts_folder(path), voice.values, voice.precision.device, is_cache=False)
        self.mean = None if voice.cohort is None else voice.cohort.mean
        self.num_blocks = distributed.broadcast(-(-len(files.paths) // BLOCK))
        self.is_embedded = np.zeros(len(files.paths), bool)
        with distributed.errors_on_all_ranks():  # a second command would take the parts away from this one
            self._lock = lock(parts_folder(path) / "lock") if distributed.is_first() else None

    def embed(self, stop: StopSignal) -> None:
        """Embed what isn't stored yet.

        Raises:
            Stopped: a stop was requested; what was embedded until then is kept.
            OSError: the disk is full.
        """
        for number in range(self.num_blocks):
            recordings = self._recordings(distributed.broadcast(self._paths(number)))
            description = f"block {number + 1} of {self.num_blocks}" if self.num_blocks > 1 else "embedding"
            try:
                embeddings = self._embedder(recordings).embed(
                    self.voice.network, stop, description=description, mean=self.mean
                )
            except AudioError:  # not one of them can be used, which was logged for each
                continue
            if distributed.is_first():
                self.is_embedded[number * BLOCK :][: len(recordings)] = embeddings.present

    def write(self, stop: StopSignal) -> Extracted | None:
        """Write the file, remove the parts; None but in the first process.

        Raises:
            ValueError: there is nothing to be written.
            Stopped: a stop was requested; the parts are kept.
            OSError: the file can't be written.
        """
        extracted = None
        with distributed.errors_on_all_ranks():
            if distributed.is_first():
                extracted = self._write(stop)
                self._remove_parts()
        return extracted

    def _remove_parts(self) -> None:
        shutil.rmtree(parts_folder(self.path), ignore_errors=True)

    def _paths(self, number: int) -> list[str]:
        """Number of a block -> the paths of its recordings."""
        paths: list[str] = self.files.paths[number * BLOCK : (number + 1) * BLOCK]
        return paths

    def _recordings(self, paths: list[str]) -> Recordings:
        return Recordings("", paths, self.voice.values.channel, open_file=open_input)

    def _embedder(self, recordings: Recordings) -> Embedder:
        return Embedder(
            recordings,
            scoring=self.voice.scoring,
            device=self.voice.precision.device,
            num_workers=self.num_workers,
            skip_bad=True,
            vad=self.voice.values.vad,
            precision=self.voice.precision.name,
            store=self.store,
        )

    def _write(self, stop: StopSignal) -> Extracted:
        """Write all stored embeddings in the order of the files."""
        stored = self.store.open(self.voice.network, self.mean)
        num_written = 0
        with write_embeddings(self.path, self.voice.fingerprint) as write:
            for number in range(self.num_blocks):
                stop.check()
                recordings = self._recordings(self._paths(number))
                embeddings = Embeddings(len(recordings))
                stored.fill(embeddings, recordings.identities())
                rows = self._rows(embeddings, number * BLOCK)
                if len(rows):
                    names = [self.files.names[number * BLOCK + row] for row in rows]
                    write(names, embeddings.vectors[rows, 0].numpy())
                num_written += len(rows)
            if not num_written:
                self._remove_parts()
                raise ValueError(
                    f"none of the {len(self.files.paths)} recordings has an embedding; {self.path} isn't "
                    "written"
                )
        return Extracted(num_written, len(self.files.paths) - num_written)

    def _rows(self, embeddings: Embeddings, first: int) -> list[int]:
        """Embeddings of a block, the place of its first recording -> the rows to be written."""
        speech, duration = MEASURES.index("speech_s"), MEASURES.index("duration_s")
        has_speech = embeddings.measures[:, speech] >= LEAST_SPEECH_S
        for row in np.flatnonzero(embeddings.present & ~has_speech).tolist():
            seconds = embeddings.measures[row, duration]
            log_remark(SKIPPED, f"{self.files.paths[first + row]}: no speech in {seconds:.1f} s")
        was_embedded = self.is_embedded[first:][: len(has_speech)]
        for row in np.flatnonzero(was_embedded & ~embeddings.present).tolist():
            log_remark(SKIPPED, f"{self.files.paths[first + row]}: changed after it was embedded")
        rows: list[int] = np.flatnonzero(embeddings.present & has_speech).tolist()
        return rows
