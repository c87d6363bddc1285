"""The log of a run: the terminal, scores.txt for people, results.jsonl and TensorBoard."""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

import distributed
from metrics.fields import shown
from storage.files import write_text
from storage.run_folder import RunFolder

CURVES = {"loss", "accuracy", "lr", "utterances_per_s", "data_wait", "eer"}  # for TensorBoard
SKIPPED = "skipped"  # the kind of remark whose recordings are all shown and listed
LOGGER = logging.getLogger("speakernet")


def now() -> str:
    """The time, for records."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


class Remarks(logging.Handler):
    """Collects remarks on recordings; shows the first of each kind, and each skipped recording."""

    def __init__(self) -> None:
        super().__init__()
        self.recordings: dict[str, set[str]] = {}  # by kind

    def emit(self, record: logging.LogRecord) -> None:
        """Take a remark; records of other kinds are ignored."""
        if hasattr(record, "kind") and hasattr(record, "recording"):
            self.add(record.kind, record.recording)

    def add(self, kind: str, recording: str) -> None:
        """Take a remark of some kind on a recording."""
        known = self.recordings.setdefault(kind, set())
        if distributed.is_first() and recording not in known and (kind == SKIPPED or not known):
            print(f"note: {kind}: {shown(recording)}", flush=True)
        known.add(recording)

    def gather(self) -> None:
        """Pass the other processes' remarks to the first one; to be called by all of them."""
        new = {} if distributed.is_first() else self.recordings
        for recordings in distributed.gather(new)[1:]:
            for kind in recordings:
                for recording in sorted(recordings[kind]):
                    self.add(kind, recording)
        if not distributed.is_first():
            self.recordings = {}


class RunLog:
    """The log of a run; of several processes only the first one prints and writes."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.remarks = Remarks()
        self._board: Any = None

    def __enter__(self) -> Self:
        """Take the log records of this process from here on."""
        LOGGER.addHandler(self.remarks)
        return self

    def __exit__(self, *_: object) -> None:
        """Print how many recordings each remark is about, and list the skipped ones in skipped.txt."""
        LOGGER.removeHandler(self.remarks)
        if self._board is not None:
            self._board.close()
        for kind, recordings in self.remarks.recordings.items():
            location = ""
            if kind == SKIPPED:
                path = self.folder.result / "skipped.txt"
                if distributed.is_first():
                    write_text(path, "".join(f"{shown(recording)}\n" for recording in sorted(recordings)))
                location = f", listed in {path}"
            self.say(f"note: {kind}: {len(recordings)} files in all{location}")

    def open_board(self) -> None:
        """Write curves for TensorBoard too, from now on.

        Raises:
            ValueError: the package is not installed.
        """
        if not distributed.is_first():
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError:
            raise ValueError("--tensorboard needs a package: pip install tensorboard") from None
        self._board = SummaryWriter(str(self.folder.result / "tensorboard"))

    def say(self, text: str) -> None:
        """Print a line."""
        if distributed.is_first():
            print(text, flush=True)

    def log(self, text: str) -> None:
        """Print a line and append it to scores.txt."""
        self.say(text)
        self._append("scores.txt", text)

    def log_test(self, name: str, figures: Mapping[str, float], p_target: float) -> None:
        """Log EER in percent and minDCF with voxceleb_trainer's tokens, then further figures."""
        line = f"{name}, VEER {100 * figures['eer']:2.4f}, MinDCF {figures[f'min_dcf_{p_target:g}']:2.5f}"
        if p_target != 0.01:
            line += f", MinDCF(0.01) {figures['min_dcf_0.01']:.5f}"
        self.log(f"{line}, threshold {figures['threshold']:.12g}")

    def log_nonfinite(self, epoch: int, step: int, paths: Sequence[str], *, is_first: bool) -> None:
        """Record a skipped step and the recordings of its batches; log it if it is the first in a row."""
        self.record(event="nonfinite", epoch=epoch, step=step, utterances=paths)
        if is_first:
            more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
            self.log(
                f"warning: epoch {epoch}, step {step} left out: infinite or NaN gradients with "
                f"{', '.join(paths[:3])}{more} (all are in results.jsonl)"
            )

    def record(self, **figures: Any) -> None:
        """Append one object to results.jsonl; figures of an epoch are also logged to TensorBoard."""
        # JSON has no NaN
        valid = {name: None if value != value else value for name, value in figures.items()}
        self._append("results.jsonl", json.dumps({"time": now(), **valid}))
        if self._board is not None and "epoch" in figures:
            curve = f"{figures['event']} {figures['list']}" if "list" in figures else figures["event"]
            for name in CURVES & figures.keys():
                self._board.add_scalar(f"{name}/{curve}", figures[name], figures["epoch"])
            self._board.flush()

    def records(self) -> list[dict[str, Any]]:
        """The objects in results.jsonl, without a line that a full disk cut off."""
        path, records = self.folder.result / "results.jsonl", []
        for line in path.read_text(encoding="utf-8").split("\n") if path.exists() else []:
            with suppress(json.JSONDecodeError):
                records.append(json.loads(line))
        return [record for record in records if isinstance(record, dict)]

    def _append(self, name: str, line: str) -> None:
        if not distributed.is_first():
            return
        self.folder.require_present()
        path = self.folder.result / name
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("a", encoding="utf-8", errors="backslashreplace") as stream:
                stream.write(line + "\n")
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from None
