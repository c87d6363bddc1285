"""The run folder: what is printed, written to the human log and recorded for machines."""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import distributed
from storage.files import lock, write_text

SKIPPED = "skipped"  # kind of a remark: the recording could not be used
CURVES = {"loss", "accuracy", "lr", "utterances_per_s", "data_wait", "eer"}  # for TensorBoard
PACKAGES = ("torch", "torchaudio", "numpy", "scipy", "soundfile")


class Remark(NamedTuple):
    """Something about a file that the user should hear of: a kind to be counted, and where."""

    kind: str
    path: str


class RunFolder:
    """Paths under --save_path, and the logs in it; a folder is made when the first file needs it."""

    def __init__(self, save_path: str) -> None:
        root = Path(save_path)
        self.models, self.state = root / "model", root / "state" / "last.state"
        self.result = root / "result"
        self.evaluation = self.result / "eval"
        self.embeddings, self.cohort = self.result / "embeddings", self.result / "cohort.pt"
        self.best, self.average = self.models / "best.model", self.models / "average.model"
        self._remarks: dict[str, set[str]] = {}
        self._board: Any = None
        self._lock: TextIO | None = None

    def model(self, epoch: int) -> Path:
        """Epoch -> the model file's path, as voxceleb_trainer names it."""
        return self.models / f"model{epoch:09d}.model"

    def latest_model(self) -> str:
        """Path of best.model, or of the last epoch's.

        Raises:
            ValueError: there is neither.
        """
        candidates = [*sorted(self.models.glob("model*.model")), self.best]
        found = [path for path in candidates if path.exists()]
        if not found:
            raise ValueError(f"--eval needs --initial_model FILE; {self.models} has no model either")
        return str(found[-1])

    def last_models(self, count: int) -> list[Path]:
        """Paths of the models of the last so many tested epochs, or of as many as there are."""
        return sorted(self.models.glob("model*.model"))[-count:]

    def forget_average(self) -> None:
        """There is a newer model, so the average isn't that of the last ones any more."""
        if distributed.is_first():
            self.average.unlink(missing_ok=True)

    def hold(self) -> None:
        """Keep other runs out of this folder until the process ends.

        Raises:
            ValueError: another run is at work in it.
        """
        error: ValueError | OSError | None = None
        if distributed.is_first():
            try:
                self._lock = lock(self.state.with_name("lock"))
                self._clear()
            except ValueError as held:
                error = ValueError(f"another run trains in this --save_path: {held}")
            except OSError as caught:
                error = caught
        distributed.raise_anyones(error)

    def _clear(self) -> None:
        """Remove what runs that were killed had begun to write here."""
        for folder in (self.models, self.state.parent):
            for path in [*folder.glob(".*.tmp"), *folder.glob("*.state.new")]:
                path.unlink(missing_ok=True)

    def require_held(self) -> None:
        """Raises OSError if the folder that hold has locked isn't there any more; only the first may ask."""
        assert self._lock is not None
        path, held = self.state.with_name("lock"), os.fstat(self._lock.fileno())
        if not path.exists() or not os.path.samestat(path.stat(), held):
            raise OSError(f"{self.state.parents[1]} has disappeared, with all that was saved in it")

    def require_writable(self) -> None:
        """Raises OSError with the path if files can't be written here."""
        probe = self.result / ".probe"
        if distributed.is_first():
            write_text(probe, "x")
            probe.unlink()

    def open_board(self) -> None:
        """Write curves for TensorBoard too, from now on, beside results.jsonl.

        Raises:
            ValueError: the package isn't there.
        """
        if not distributed.is_first():
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError:
            raise ValueError("--tensorboard needs a package: pip install tensorboard") from None
        self._board = SummaryWriter(str(self.result / "tensorboard"))

    def say(self, text: str) -> None:
        """Print one line; of several processes the first one does."""
        if distributed.is_first():
            print(text, flush=True)

    def log(self, text: str) -> None:
        """Print one line and keep it in scores.txt."""
        self.say(text)
        self._append("scores.txt", text)

    def log_test(self, name: str, figures: dict[str, float], p_target: float) -> None:
        """Log EER in percent and minDCF with voxceleb_trainer's tokens, then what it didn't have."""
        line = f"{name}, VEER {100 * figures['eer']:2.4f}, MinDCF {figures[f'min_dcf_{p_target:g}']:2.5f}"
        if p_target != 0.01:
            line += f", MinDCF(0.01) {figures['min_dcf_0.01']:.5f}"
        self.log(f"{line}, threshold {figures['threshold']:.9g}")

    def record(self, **figures: Any) -> None:
        """Append one object to results.jsonl; figures of an epoch are points of TensorBoard's curves."""
        known = {name: None if value != value else value for name, value in figures.items()}  # no NaN in JSON
        self._append("results.jsonl", json.dumps({"time": _now(), **known}))
        if self._board is not None and "epoch" in figures:
            curve = f"{figures['event']} {figures['list']}" if "list" in figures else figures["event"]
            for name in CURVES & figures.keys():
                self._board.add_scalar(f"{name}/{curve}", figures[name], figures["epoch"])
            self._board.flush()

    def remark(self, remarks: Iterable[Remark]) -> None:
        """Say the first remark of a kind and count the others; of skipped files each is said once."""
        for kind, path in remarks:
            known = self._remarks.setdefault(kind, set())
            if path not in known and (kind == SKIPPED or not known):
                self.say(f"note: {kind}: {path}")
            known.add(path)

    def close(self) -> None:
        """Say of how many files each remark was made, and list the skipped ones in skipped.txt."""
        if self._board is not None:
            self._board.close()
        for kind, paths in self._remarks.items():
            listed = ""
            if kind == SKIPPED:
                if distributed.is_first():
                    write_text(self.result / "skipped.txt", "".join(f"{path}\n" for path in sorted(paths)))
                listed = f", listed in {self.result / 'skipped.txt'}"
            self.say(f"note: {kind}: {len(paths)} files in all{listed}")
        if self._lock is not None:
            self._lock.close()

    def describe_run(self, options: dict[str, Any], device: str) -> dict[str, Any]:
        """What is needed to do the same again."""
        return {
            "time": _now(),
            "command": sys.argv,
            "options": options,
            "device": device,
            "git_commit": _git_commit(),
            "processes": distributed.place()[1],
            "python": platform.python_version(),
            "platform": platform.platform(),
            "packages": {name: _version(name) for name in PACKAGES},
        }

    def write_run(self, options: dict[str, Any], device: str) -> None:
        """run.json: what is needed to train the same again."""
        if not distributed.is_first():
            return
        text = json.dumps(self.describe_run(options, device), indent=2)
        write_text(self.result / "run.json", text + "\n")

    def earlier(self, name: str) -> Any:
        """An option of the run whose state lies here, None if there is no state."""
        path = self.result / "run.json"
        if not self.state.exists() or not path.exists():
            return None
        with suppress(json.JSONDecodeError, KeyError):
            return json.loads(path.read_text(encoding="utf-8"))["options"].get(name)
        return None

    def records(self) -> list[dict[str, Any]]:
        """What results.jsonl holds, but for a line that a full disk cut off."""
        path, found = self.result / "results.jsonl", []
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
            with suppress(json.JSONDecodeError):
                found.append(json.loads(line))
        return [record for record in found if isinstance(record, dict)]

    def _append(self, name: str, line: str) -> None:
        if not distributed.is_first():
            return
        if self._lock is not None:
            self.require_held()
        path = self.result / name
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("a", encoding="utf-8") as stream:
                stream.write(line + "\n")
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from None


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """Commit of the code that runs, "+changes" where it was edited since; None outside git."""
    here = str(Path(__file__).parent)
    try:
        commit = _git(here, "rev-parse", "HEAD")
        return commit + ("+changes" if _git(here, "status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: str, *words: str) -> str:
    command = ["git", "-C", folder, *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
