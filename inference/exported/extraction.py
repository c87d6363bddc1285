"""Recordings by the thousand to a file of embeddings, by an exported network; resumable, without PyTorch."""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from audio.errors import AudioError
from inference.audio_files import AudioFiles
from inference.embedding_files import Extracted, Vectors, parts_folder, write_embeddings
from inference.exported.voice import ExportedVoice
from metrics.fields import shown
from storage.files import lock, written_whole

BLOCK = 1024  # recordings; as many are embedded again where the process is killed


def extract(voice: ExportedVoice, files: AudioFiles, path: Path, at_once: int) -> Extracted:
    """A voice, recordings, the file to be written, how many are embedded at once -> how many were.

    What is done lies in a folder beside the file until that is written.

    Raises:
        ValueError: no recording has an embedding, or another process writes this file.
        OSError: the file can't be written.
    """
    folder = parts_folder(path)
    held = lock(folder / "lock")
    num_written = 0
    total = len(files.paths)
    with (
        held,
        ThreadPoolExecutor(at_once) as pool,
        tqdm(total=total, desc="embedding", unit="file", disable=None, leave=False) as progress,
        write_embeddings(path, voice.fingerprint) as write,
    ):
        for start in range(0, total, BLOCK):
            vectors = _block(voice, files.paths[start : start + BLOCK], folder, pool)
            progress.update(len(vectors))
            kept = np.flatnonzero(np.isfinite(vectors[:, 0]))
            if len(kept):
                write([files.names[start + row] for row in kept.tolist()], vectors[kept])
            num_written += len(kept)
        if not num_written:
            raise ValueError(f"none of the {total} recordings has an embedding; {path} isn't written")
    shutil.rmtree(folder, ignore_errors=True)
    return Extracted(num_written, total - num_written)


def _block(voice: ExportedVoice, paths: Sequence[str], folder: Path, pool: ThreadPoolExecutor) -> Vectors:
    """Paths of n recordings -> embeddings (n, D), NaN for what has none; they are read if they are stored."""
    part = folder / f"{_key(voice, paths)}.npy"
    if part.is_file():
        stored: Vectors = np.load(part)
        return stored
    embeddings = np.full((len(paths), voice.dim), np.nan, np.float32)
    try:
        for row, vector in enumerate(pool.map(lambda path: _embedded(voice, path), paths)):
            if vector is not None:
                embeddings[row] = vector
    except BaseException:  # Ctrl-C: what waits for a thread isn't begun any more
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    with written_whole(part) as stream:
        np.save(stream, embeddings)
    return embeddings


def _embedded(voice: ExportedVoice, path: str) -> Vectors | None:
    """Path -> embedding (D,); None for a recording without one, which is named."""
    try:
        return voice.listen(path).vector
    except AudioError as error:
        print(f"note: skipped: {shown(str(error))}", flush=True)
        return None


def _key(voice: ExportedVoice, paths: Sequence[str]) -> str:
    """A hash of recordings, as they are now, and the way of embedding."""
    states = [(path, *_state(path)) for path in paths]
    return hashlib.sha256(json.dumps([voice.fingerprint, states]).encode()).hexdigest()


def _state(path: str) -> tuple[int, int]:
    """Path -> size and time of the last change; zeros where there is no such file."""
    try:
        status = os.stat(path)  # noqa: PTH116  (Path is 4 times as slow)
    except (OSError, ValueError):
        return 0, 0
    return status.st_size, status.st_mtime_ns
