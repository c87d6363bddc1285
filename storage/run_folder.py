"""The run folder: where its files are, and who may write in it."""

import os
from pathlib import Path
from typing import TextIO

import distributed
from storage.files import lock, write_text


class RunFolder:
    """Paths under --save_path, and the lock on it; a folder is created when its first file is written."""

    def __init__(self, save_path: str) -> None:
        self.root = Path(save_path)
        self.models = self.root / "model"
        self.best = self.models / "best.model"
        self.average = self.models / "average.model"
        self.state = self.root / "state" / "last.state"
        self.result = self.root / "result"
        self.evaluation = self.result / "eval"
        self.embeddings = self.result / "embeddings"
        self.validation_list = self.result / "validation_list.txt"
        self.cohort = self.result / "cohort.pt"
        self._lock: TextIO | None = None

    def model(self, epoch: int) -> Path:
        """Epoch -> path of its model file, named as voxceleb_trainer names it."""
        return self.models / f"model{epoch:09d}.model"

    def last_models(self, count: int) -> list[Path]:
        """Paths of the models of the last tested epochs, `count` of them or as many as there are."""
        return sorted(self.models.glob("model*.model"))[-count:]

    def latest_model(self) -> str:
        """Path of best.model, or of the last epoch's model; "" if there is neither."""
        if self.best.exists():
            return str(self.best)
        return "".join(str(path) for path in self.last_models(1))

    def require_no_models(self) -> None:
        """Raises ValueError if a run that begins here would mix its models with those of another one."""
        error = None
        if distributed.is_first() and any(self.models.glob("*.model")):
            error = ValueError(
                f"{self.models} holds the models of another run; give another --save_path (and "
                "--initial_model to start from one of them)"
            )
        distributed.raise_first_error(error)

    def forget_average(self) -> None:
        """Delete average.model: with a newer model it is no longer the average of the last ones."""
        if distributed.is_first():
            self.average.unlink(missing_ok=True)

    def acquire(self) -> None:
        """Keep other runs out of this folder until the process ends.

        Raises:
            ValueError: another run trains in it.
        """
        error: ValueError | OSError | None = None
        if distributed.is_first():
            try:
                self._lock = lock(self._lock_path)
                self._remove_unfinished()
            except ValueError as held:
                error = ValueError(f"another run trains in this --save_path: {held}")
            except OSError as caught:
                error = caught
        distributed.raise_first_error(error)

    @property
    def _lock_path(self) -> Path:
        return self.state.with_name("lock")

    def _remove_unfinished(self) -> None:
        """Delete the files that killed runs had begun to write."""
        for folder in (self.models, self.state.parent):
            for path in [*folder.glob(".*.tmp"), *folder.glob("*.state.new")]:
                path.unlink(missing_ok=True)

    def require_present(self) -> None:
        """Raises OSError if the folder was locked and doesn't exist any more; for the first process."""
        if self._lock is None:
            return
        locked = os.fstat(self._lock.fileno())
        if not self._lock_path.exists() or not os.path.samestat(self._lock_path.stat(), locked):
            raise OSError(f"{self.root} has disappeared, with all that was saved in it")

    def require_writable(self) -> None:
        """Raises OSError with the path if files can't be written here."""
        probe = self.result / ".probe"
        if distributed.is_first():
            write_text(probe, "x")
            probe.unlink()

    def release(self) -> None:
        """Give up the lock."""
        if self._lock is not None:
            self._lock.close()
