"""Recordings by the thousand to a file of embeddings: in blocks, by any number of processes, resumable."""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

import distributed
from audio.errors import AudioError
from audio.recordings import Recordings
from audio.remarks import SKIPPED, log_remark
from audio.vad import LEAST_SPEECH_S
from distributed.signals import StopSignal
from evaluation.embedder import Embedder
from evaluation.store import MEASURES, EmbeddingStore
from inference.audio_files import AudioFiles
from inference.audio_input import open_input
from inference.embedding_files import write_embeddings
from inference.voices import Voice

BLOCK = 1024  # recordings; as many are lost where the process is killed


class Extracted(NamedTuple):
    """How many recordings are in the file, and how many are not."""

    num_written: int
    num_left_out: int


class Extraction:
    """Embeddings of many recordings on their way into a file; those that are done are kept beside it."""

    def __init__(self, voice: Voice, files: AudioFiles, path: Path, num_workers: int) -> None:
        """How recordings are embedded.

        Args:
            voice: embeds them.
            files: the recordings.
            path: of the file of embeddings; its suffix chooses the format.
            num_workers: processes that read recordings, for each process that embeds.

        Raises:
            ValueError: the model has no vector for each recording.
        """
        voice.require_vectors()
        self.voice = voice
        self.files = files
        self.path = path
        self.num_workers = num_workers
        self.store = EmbeddingStore(parts_folder(path), voice.values, voice.precision.device)
        self.mean = None if voice.cohort is None else voice.cohort.mean

    def run(self, stop: StopSignal) -> Extracted | None:
        """Embed what isn't stored yet, write the file, remove the parts; None but in the first process.

        Raises:
            Stopped: a stop was requested; what was embedded until then is kept.
            OSError: the file can't be written.
        """
        blocks = list(self._blocks())
        for number, recordings in enumerate(blocks, 1):
            description = f"block {number} of {len(blocks)}" if len(blocks) > 1 else "embedding"
            with suppress(AudioError):  # not one of them can be used, which was logged for each
                self._embedder(recordings).embed(
                    self.voice.network, stop, description=description, mean=self.mean
                )
        if not distributed.is_first():
            return None
        extracted = self._write(blocks)
        shutil.rmtree(parts_folder(self.path), ignore_errors=True)
        return extracted

    def _blocks(self) -> Iterator[Recordings]:
        channel = self.voice.values.channel
        for start in range(0, len(self.files.paths), BLOCK):
            yield Recordings("", self.files.paths[start : start + BLOCK], channel, open_file=open_input)

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

    def _write(self, blocks: list[Recordings]) -> Extracted:
        """Write all stored embeddings in the order of the files."""
        stored = self.store.open(self.voice.network, self.mean)
        identities = (identity for recordings in blocks for identity in recordings.identities())
        speech, duration = MEASURES.index("speech_s"), MEASURES.index("duration_s")
        done, num_written = 0, 0
        with write_embeddings(self.path, self.voice.fingerprint) as write:
            for embeddings in stored.blocks(list(identities)):
                has_speech = embeddings.measures[:, speech] >= LEAST_SPEECH_S
                for number in np.flatnonzero(embeddings.present & ~has_speech).tolist():
                    seconds = embeddings.measures[number, duration]
                    log_remark(SKIPPED, f"{self.files.paths[done + number]}: no speech in {seconds:.1f} s")
                rows = np.flatnonzero(embeddings.present & has_speech)
                if len(rows):
                    names = [self.files.names[done + row] for row in rows.tolist()]
                    write(names, embeddings.vectors[rows, 0].numpy())
                done += len(embeddings.present)
                num_written += len(rows)
            if not num_written:
                raise AudioError(f"none of the {done} recordings has an embedding; {self.path} isn't written")
        return Extracted(num_written, done - num_written)


def parts_folder(path: Path) -> Path:
    """File of embeddings -> folder of those that are done, until the file is written."""
    return path.with_name(f"{path.name}.parts")
