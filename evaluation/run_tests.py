"""The tests of a training run: what chooses its best model, and the trial lists scored at its end."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import torch

import distributed
from audio.lists import TrainList
from distributed.signals import StopSignal
from evaluation.results import Results
from evaluation.trial_test import TrialTest
from evaluation.validation import NAME, validation_test, write_validation_list
from options import Options
from options.flags import TEST, names_of
from SpeakerNet import SpeakerNet
from storage.run_folder import RunFolder
from storage.run_log import RunLog


@dataclass(frozen=True)
class RunTests:
    """What the networks of a run are tested on.

    With validation speakers their trials choose the best model, and the trial lists are scored once, at the
    end; otherwise the first trial list chooses it.
    """

    choosing: TrialTest | None  # scored at every --test_interval
    final: TrialTest | None  # scored at the end, with the best model
    comparable: dict[str, Any]  # what the EERs of `choosing` must have in common to be compared
    folder: RunFolder
    log: RunLog

    @classmethod
    def build(
        cls,
        values: Options,
        validation: TrainList | None,
        device: torch.device,
        *,
        folder: RunFolder,
        log: RunLog,
    ) -> Self:
        """Resolved options, speakers that are set aside, device -> the tests; reads the trial lists.

        Raises:
            ValueError, FileNotFoundError: a list or a recording can't be used, or there are no labels for
                --early_stopping.
        """
        choosing = TrialTest(values, device) if values.test_list else None
        final = None
        comparable = dict[str, Any]()
        if validation is not None:
            final = choosing
            if final is not None and NAME in final.lists.lists:
                raise ValueError(
                    f"--test_list: no list can have the name {NAME}, which is that of the trials of "
                    "--validation_speakers; rename it"
                )
            choosing = validation_test(validation, values, device)
            comparable["validation"] = validation.digest()
        tested = values if choosing is None else choosing.values
        comparable |= {name: tested[name] for name in ("test_path", *names_of(TEST))}
        if tested.enrol_path:  # states of earlier versions don't have it
            comparable["enrol_path"] = tested.enrol_path
        tests = cls(choosing, final, comparable, folder, log)
        if values.early_stopping:
            tests.require_labels("--early_stopping")
        return tests

    def require_labels(self, flag: str) -> None:
        """Raises ValueError for a flag that needs error rates unless there are trials with labels."""
        if not (self.choosing and self.choosing.lists.has_labels):
            raise ValueError(f"{flag} needs a --test_list with labels, or --validation_speakers")

    @property
    def validation(self) -> TrialTest | None:
        """The trials of the speakers that are set aside; None without any."""
        return self.choosing if "validation" in self.comparable else None

    def begin(self) -> None:
        """Write the list of the validation trials."""
        if self.validation is not None and distributed.is_first():
            write_validation_list(self.folder, self.validation)

    def describe(self) -> Iterator[str]:
        """Lines for the log."""
        if self.validation is None:
            return
        num_trials = len(self.validation.lists.lists[NAME].enrol)
        yield (
            f"validation: {num_trials} trials of speakers that are set aside, in "
            f"{self.folder.validation_list}; they choose the best model"
        )
        if self.final is not None:
            yield f"{', '.join(self.final.lists.lists)}: scored once, at the end, with the best model"

    def score(self, network: SpeakerNet, stop: StopSignal, *, name: str, epoch: int) -> dict[str, float]:
        """Score a network, which the log calls `name`, after an epoch -> the figures that choose the best.

        They are those of the first list, in every process; {} without a list or labels.
        """
        return self._score(self.choosing, network, stop, name, epoch)

    def score_at_end(self, device: torch.device, stop: StopSignal, epoch: int) -> SpeakerNet:
        """Score the trial lists that wait for the end with the best model, which is that epoch's -> it."""
        path = distributed.broadcast(self.folder.latest_model())
        with distributed.errors_on_all_ranks():
            network = SpeakerNet.from_model_file(path).to(device)
        assert self.final is not None  # else there is nothing to score
        names = list(self.final.lists.lists)
        on_list = f" on {names[0]}" if len(names) == 1 else ""  # of several, each is named
        self._score(self.final, network, stop, f"{path} of epoch {epoch}{on_list}", epoch)
        return network

    def _score(
        self, test: TrialTest | None, network: SpeakerNet, stop: StopSignal, name: str, epoch: int
    ) -> dict[str, float]:
        if test is None:
            return {}
        figures_of_first = dict[str, float]()
        with distributed.wait_for_stragglers():
            outcome = test.score(network, stop)
            self.log.remarks.gather()
            if outcome is not None:
                results = Results(test, self.folder, self.log)
                figures_of_first = results.write_scores(outcome, name, {"event": "test", "epoch": epoch})
            return dict(distributed.broadcast(figures_of_first))
