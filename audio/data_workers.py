"""The worker processes that read training data: what to do where they are slow, short of memory or dead."""

import multiprocessing
import re
import time
from contextlib import suppress
from typing import NamedTuple

import runtime
from audio.crops import Crops

PREFETCHED = 2  # batches that PyTorch's loader keeps ready for each worker


class DataWorkers(NamedTuple):
    """The workers of a loader: their number, what they read, and the size of a batch in MB."""

    num_workers: int
    crops: Crops
    batch_mb: float

    def batches_mb(self) -> float:
        """Size of the batches that they may have in shared memory at a time, MB."""
        return self.batch_mb * PREFETCHED * self.num_workers

    def memory_warning(self) -> str:
        """A warning if the batches may not fit into shared memory, else ""."""
        return f"warning: {self._memory_advice()}" if self.batches_mb() > runtime.free_shared_mb() else ""

    def _memory_advice(self) -> str:
        return (
            f"shared memory is small: {runtime.free_shared_mb():.0f} MB are free in "
            f"{runtime.SHARED_MEMORY}, the workers' batches may take {self.batches_mb():.0f} MB; give a "
            "container more (docker run --shm-size=8g), or lower --nDataLoaderThread or --batch_size"
        )

    def death_reason(self, error: Exception) -> str:
        """PyTorch's error for a dead worker process -> what happened, in one line; "" for any other error."""
        text = str(error)
        if isinstance(error, ConnectionError | EOFError):  # it died while it handed over a batch
            with suppress(RuntimeError):  # PyTorch reports its end a little later
                time.sleep(1.0)
            alive = {child.pid for child in multiprocessing.active_children()}
            dead = self.crops.worker_pids() - alive
            last_files = self.crops.last_files(dead)
            return f"a data worker died; its last file was {last_files}" if dead else ""
        if "Bus error" in text or "unable to write to file </torch" in text:
            return f"a data worker ran out of memory; {self._memory_advice()}"
        message = re.search(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (?:exited|is killed)", text)
        if message is None:
            return ""
        files = self.crops.last_files({int(pid) for pid in message[1].split(",")}) or "none yet"
        return f"{text.splitlines()[0].rstrip('. ')}; its last file was {files}"

    def waiting_advice(self) -> str:
        """What to change where training waits for data."""
        cores = runtime.cores_of_rank()
        if self.num_workers != cores:
            change = "raise" if self.num_workers < cores else "lower"
            return f"{change} --nDataLoaderThread: {self.num_workers} for {cores} cores"
        if self.crops.recordings.pack is None:
            return "read from a pack (dataprep.py --pack), or WAV files instead of compressed ones"
        return "all of the processor's cores are busy; augment less"
