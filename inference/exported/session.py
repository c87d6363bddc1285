"""Runs an exported network in ONNX Runtime."""

import importlib
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audio.evaluation_crops import LONGEST
from inference.exported.contents import KEY, Contents

Floats = NDArray[np.float32]
WAVEFORM, EMBEDDING = "waveform", "embedding"  # input (B, T) and output (B, D) of the graph
ERRORS_ONLY = 3  # of ONNX Runtime's levels of messages
PACKAGE = 'pip install onnxruntime, or -e ".[onnxruntime]"'


def session_of(path: str, threads: int | None) -> Any:
    """ONNX file, threads (None or 0: the cores of this process) -> ONNX Runtime's session on the CPU.

    Raises:
        FileNotFoundError, ValueError: the file is missing or damaged, or the package isn't installed.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file")
    runtime = onnxruntime()
    settings = runtime.SessionOptions()
    settings.intra_op_num_threads = threads or cores()
    settings.inter_op_num_threads = 1
    settings.log_severity_level = ERRORS_ONLY
    try:
        return runtime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    except Exception as error:  # one of a dozen classes without a public base
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: ONNX Runtime can't use it: {reason[:200]}") from None


def onnxruntime() -> Any:
    """The optional package; raises ValueError if it isn't installed."""
    try:
        return importlib.import_module("onnxruntime")
    except ImportError:
        raise ValueError(f"an exported file needs a package: {PACKAGE}") from None


def cores() -> int:
    """Number of cores of this process, or OMP_NUM_THREADS if that is less."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, int(limit)) if limit.isdigit() and int(limit) else cores


class ExportedNetwork:
    """Waveforms at 16 kHz -> embeddings, by a file that `export` wrote; threads may share it."""

    def __init__(self, path: str, threads: int | None = None) -> None:
        """Path of the file, threads on the CPU.

        Raises:
            FileNotFoundError, ValueError: it can't be used.
        """
        self.session = session_of(path, threads)
        metadata = self.session.get_modelmeta().custom_metadata_map
        if KEY not in metadata:
            raise ValueError(
                f"{path}: not a network from waveforms to embeddings that `inferSpeakerNet.py export` wrote"
            )
        self.contents = Contents.from_text(metadata[KEY], path)

    def embed(self, waveforms: Floats) -> Floats:
        """(B, T) -> (B, D), in batches of bounded size; a waveform that equals the one before has its."""
        is_new = np.append(True, (waveforms[1:] != waveforms[:-1]).any(axis=1))
        distinct = np.ascontiguousarray(waveforms[is_new])
        size = max(1, LONGEST // waveforms.shape[1])
        batches = [distinct[start : start + size] for start in range(0, len(distinct), size)]
        embeddings = [self.session.run([EMBEDDING], {WAVEFORM: batch})[0] for batch in batches]
        result: Floats = np.concatenate(embeddings)[is_new.cumsum() - 1]
        return result
