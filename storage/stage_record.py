"""stages.json: which stages of a run are done, with what options, and which model is kept."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import distributed
from storage.files import write_text
from storage.run_folder import RunFolder

# Options that may be others in each call of the command.
MAY_DIFFER = {
    "config",
    "cohort_path",
    "compile",
    "device",
    "distributed",
    "enrol_path",
    "gpu_id",
    "musan_path",
    "nDataLoaderThread",
    "nproc",
    "port",
    "profile",
    "rank_timeout",
    "report",
    "reuse_embeddings",
    "rir_path",
    "save_interval",
    "save_path",
    "shard_head",
    "tensorboard",
    "test_path",
    "threads",
    "train_path",
}


# Options of evaluations that a training has too, because those of all stages are resolved alike.
OF_EVALUATIONS = {"calibrate", "dcf_c_fa", "dcf_c_miss", "dcf_p_target", "prior"}


@dataclass(frozen=True)
class DoneStage:
    """A stage that is done; the last two are those of a training."""

    stage: str
    options: dict[str, Any]
    kept: str = ""  # the best model so far, relative to the folder of the run
    validation: str = ""  # digest of the speakers that were set aside

    def __post_init__(self) -> None:
        """Raises TypeError for values of other types, as files can have them."""
        if not all(isinstance(text, str) for text in (self.stage, self.kept, self.validation)):
            raise TypeError("expected names")
        if not isinstance(self.options, dict):
            raise TypeError("expected options")

    def require_same(self, name: str, options: Mapping[str, Any], path: Path) -> None:
        """Raises ValueError unless a stage with that name and these options is the one that is done."""
        if name != self.stage:
            raise ValueError(
                f"{path}: stage {self.stage} is done, which is {name} now; restore it, or give another "
                "--save_path"
            )
        now = _comparable(options)
        for option, value in self.options.items():
            if option in now and now[option] != value:
                raise ValueError(
                    f"{path}: stage {name} is done, with --{option} {value}, not {now[option]}; restore the "
                    "value, or give another --save_path"
                )


@dataclass
class StageRecord:
    """The stages of a run that are done, in their order."""

    path: Path
    done: list[DoneStage] = field(default_factory=list)

    @classmethod
    def open(cls, folder: RunFolder) -> "StageRecord":
        """Read or begin the record of a run; to be called by all processes.

        Raises:
            ValueError: it is damaged, or the folder is that of a run without stages.
        """
        path = folder.root / "stages.json"
        if not distributed.broadcast(path.exists()):
            folder.require_no_models()
            if distributed.broadcast(folder.state.exists()):
                raise ValueError(f"{folder.root} has a run without stages; give another --save_path")
            record = cls(path)
            record._write()
            return record
        try:
            content = json.loads(distributed.broadcast(path.read_text(encoding="utf-8")))
            return cls(path, [DoneStage(**entry) for entry in content["stages"]])
        except (ValueError, TypeError, KeyError):
            raise ValueError(f"{path}: damaged; give another --save_path") from None

    def add(self, name: str, options: Mapping[str, Any], **kept: Any) -> None:
        """Note that a stage is done; see DoneStage."""
        self.done.append(DoneStage(name, _comparable(options), **kept))
        self._write()

    @property
    def kept(self) -> DoneStage | None:
        """The last training, which has the best model so far."""
        return next((stage for stage in reversed(self.done) if stage.kept), None)

    def _write(self) -> None:
        if distributed.is_first():
            content = {"stages": [asdict(stage) for stage in self.done]}
            write_text(self.path, json.dumps(content, indent=2) + "\n")


def _comparable(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options that a stage can't change once it is done, as JSON gives them back."""
    left_out = MAY_DIFFER if options["eval"] else MAY_DIFFER | OF_EVALUATIONS
    fixed = {name: value for name, value in options.items() if name not in left_out}
    return dict(json.loads(json.dumps(fixed)))
