"""The states of a run: how far it has come, whether a state belongs to it, saving and resuming."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import distributed
from storage import checkpoint
from storage.run_folder import RunFolder
from storage.run_log import RunLog

SCHEDULES_OF_ANY_LENGTH = ("steplr", "plateau")  # their rates don't depend on --max_epoch


class Progress(NamedTuple):
    """How far a run has come; part of its state."""

    epoch: int = 0
    tested: bool = False  # whether the network of that epoch has been
    best_eer: float = float("inf")
    tests_since_best: int = 0
    roll_backs: int = 0  # returns to an earlier state because of gradients that weren't finite
    start_eer: float = float("inf")  # of the network before the first step, where that was tested
    best_epoch: int = 0  # 0: none yet; earlier states don't say
    final_tested: bool = False  # whether the trial lists have been that are scored once, at the end


@dataclass(frozen=True)
class RunIdentity:
    """What a state and the run that resumes it must have in common; a state holds it under these names."""

    utterances: str  # digest of the train list
    material: str  # digest of the noises and rooms of augmentation
    fixed: dict[str, Any]  # the options that a resume can't change
    added: dict[str, Any]  # defaults of those that earlier states lack
    test: dict[str, Any]  # what EERs must have in common to be compared; may differ
    max_epoch: int  # may differ

    def require_same_run(self, state: Mapping[str, Any], path: Path) -> None:
        """Raises ValueError unless the state at that path belongs to this run."""
        if state["utterances"] != self.utterances:
            raise ValueError(f"{path} belongs to another train list; give another --save_path")
        lacking = {name: value for name, value in self.added.items() if name not in state["fixed"]}
        for name, value in (state["fixed"] | lacking).items():
            if self.fixed.get(name) != value:
                raise ValueError(
                    f"{path} belongs to a run with --{name} {value}, not {self.fixed.get(name)}; give "
                    "another --save_path, or the old value to resume it"
                )
        if state["material"] != self.material:
            raise ValueError(
                f"{path} belongs to a run with other noises or rooms than --musan_path and --rir_path have "
                "now; restore them to resume it, or give another --save_path"
            )

    def differences(self, state: Mapping[str, Any]) -> Iterator[str]:
        """Notes for the log on what may differ and does."""
        if state["test"] != self.test:
            yield "note: the test differs from before; the search for the best model starts again"
        if state["max_epoch"] != self.max_epoch and self.fixed["scheduler"] not in SCHEDULES_OF_ANY_LENGTH:
            yield (
                f"note: --max_epoch was {state['max_epoch']}; the rest of the schedule is that of a run of "
                f"{self.max_epoch} epochs"
            )


class States:
    """Saves the states of a run, and resumes it from the last one."""

    def __init__(
        self, folder: RunFolder, identity: RunIdentity, *, log: RunLog, trainer: Any, sampler: Any
    ) -> None:
        """The run folder, what a state must belong to, the log, and the two whose state is saved."""
        self.folder = folder
        self.identity = identity
        self.log = log
        self.trainer = trainer
        self.sampler = sampler
        self.last_s = time.monotonic()  # when the last state was saved
        self.saving_s = 0.0  # spent on saving, see take_saving_s

    def save(self, progress: Progress) -> None:
        """Write the state; to be called by all processes, which all wait until it is written."""
        state = {
            "trainer": self.trainer.state.state_dict(),
            "sampler": self.sampler.state_dict(),
            "progress": progress._asdict(),
            **asdict(self.identity),
        }
        start_s = time.monotonic()
        with distributed.wait_for_stragglers(), distributed.errors_on_all_ranks():
            if distributed.is_first():
                self.folder.require_present()
                checkpoint.save_state(self.folder.state, state)
        self.last_s = time.monotonic()
        self.saving_s += self.last_s - start_s

    def take_saving_s(self) -> float:
        """Seconds spent on saving since the last call."""
        seconds = self.saving_s
        self.saving_s = 0.0
        return seconds

    def resume(self) -> Progress | None:
        """Continue from the last state -> how far the run had come; None if there is no state.

        Raises:
            ValueError: the processes see different states, or the state, or models without a state, belong to
                another run.
        """
        state, note = checkpoint.load_last_state(self.folder.state)
        is_new = distributed.broadcast(state is None)
        if state and Progress(**state["progress"]) == Progress() and not state["trainer"]["step"]:
            state = None  # from before the first step: nothing depends on it
        position = (*state["progress"].values(), state["trainer"]["step"]) if state else None
        if len({*distributed.all_gather(position)}) > 1:
            raise ValueError(f"processes found different states: all must see the same {self.folder.state}")
        if note:
            self.log.say(f"note: {note}")
        if is_new:
            self.folder.require_no_models()
        if state is None:
            return None
        self.identity.require_same_run(state, self.folder.state)
        progress = self._restore(state)
        for difference in self.identity.differences(state):
            self.log.say(difference)
        if state["test"] != self.identity.test:
            unknown = float("inf")
            progress = progress._replace(
                best_eer=unknown, start_eer=unknown, best_epoch=0, tests_since_best=0
            )
        step = self.trainer.state.step
        batches = f"in epoch {progress.epoch + 1} after {step} of {len(self.sampler)} batches"
        where = batches if step else f"after epoch {progress.epoch}"
        self.log.say(f"resumed {where} from {self.folder.state}")
        return progress

    def restore_last(self) -> Progress:
        """Go back to the last state of this run -> how far it had come."""
        state, _ = checkpoint.load_last_state(self.folder.state)
        assert state is not None  # a run saves one before its first step
        return self._restore(state)

    def _restore(self, state: Mapping[str, Any]) -> Progress:
        self.trainer.load_state_dict(state["trainer"])
        self.sampler.load_state_dict(state["sampler"])
        return Progress(**state["progress"])
