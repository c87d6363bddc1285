"""What an evaluation writes: score files, log lines and records, calibrated scores, decisions, the report."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from evaluation.cohort import save_cohort
from evaluation.decisions import IN_MODEL, VERSION, write_decisions, write_origin
from evaluation.trial_test import Outcome, ScoredList, TrialTest
from evaluation.trials import write_scores
from metrics import fusion
from metrics.fields import text_of
from metrics.figures import figures
from metrics.rates import ErrorRates, error_rates
from metrics.score_files import score_texts
from metrics.summary import FigureOptions, measure_with_default_intervals
from metrics.trials import ScoredTrials
from options import TESTING_KINDS, chosen_options
from options.flags import TEST, embedding_precision, names_of, scoring_options
from storage.files import digest, write_text, write_texts
from storage.run_folder import RunFolder
from storage.run_log import RunLog
from storage.run_record import describe_run


class Origin(NamedTuple):
    """The model that made scores: its file, and a hash of its weights."""

    model: str
    weights_digest: str


class System(NamedTuple):
    """A labelled list as the report shows it."""

    name: str
    trials: ScoredTrials
    rates: ErrorRates | None  # if they have been computed already
    is_llr: bool


class Results:
    """Writes what comes out of a trial test into the run folder and its log."""

    def __init__(self, test: TrialTest, folder: RunFolder, log: RunLog) -> None:
        self.test = test
        self.folder = folder
        self.log = log
        self.values = test.values

    def write_scores(self, outcome: Outcome, name: str, event: Mapping[str, Any]) -> dict[str, float]:
        """Write score files and log all figures -> those of the first list; {} where it has none."""
        all_figures = []
        for scored in outcome.lists:
            title = name if len(outcome.lists) == 1 else f"{name} on {scored.name}"
            all_figures.append(self._write_list(scored, _rates(scored), title, event))
        return all_figures[0]

    def _write_list(
        self, scored: ScoredList, rates: ErrorRates | None, title: str, event: Mapping[str, Any]
    ) -> dict[str, float]:
        """Write a list's score file and log its figures -> these; {} without rates."""
        path = self._scores_path(scored)
        write_scores(path, scored.trials, scored.scores)
        self._say_left_out(scored)
        if scored.trials.num_repeated:
            repeated = scored.trials.num_repeated
            self.log.say(
                f"note: {repeated} trials of {scored.name} are duplicates; every occurrence is counted"
            )
        list_figures = {} if rates is None else self._figures(rates)
        if list_figures:
            self.log.log_test(title, list_figures, self.values.dcf_p_target)
        reason = "without labels" if scored.trials.labels is None else "for trials of one class"
        remark = "" if list_figures else f"; no error rates {reason}"
        self.log.say(f"{len(scored.scores)} scores in {path}{remark}")
        settings = {name: self.values[name] for name in names_of(TEST)}
        counts = {"trials": len(scored.scores), "trials_left_out": scored.num_left_out}
        self.log.record(
            **event,
            **settings,
            **counts,
            precision=embedding_precision(self.values),
            list=scored.name,
            **list_figures,
        )
        return list_figures

    def _figures(self, rates: ErrorRates) -> dict[str, float]:
        priors = list(dict.fromkeys((self.values.dcf_p_target, 0.01)))
        return figures(rates, priors, self.values.dcf_c_miss, self.values.dcf_c_fa)

    def _say_left_out(self, scored: ScoredList) -> None:
        if scored.num_left_out:
            self.log.say(f"note: {scored.num_left_out} trials left out with the skipped files")

    def _scores_path(self, scored: ScoredList) -> Path:
        return self.folder.evaluation / f"{scored.name}.scores.txt"

    def write_evaluation(self, outcome: Outcome, origin: Origin, device: str) -> None:
        """Write all of --eval: scores, cohort, a table of the utterances, calibrated scores, the report."""
        self._say_stored(outcome)
        rates = dict[str, ErrorRates | None]()
        for scored in outcome.lists:
            rates[scored.name] = _rates(scored)
            on_list = self.values.test_list[0] if len(outcome.lists) == 1 else scored.name
            title = f"{origin.model} on {on_list}"
            event = {"event": "eval", "model": origin.model}
            self._write_list(scored, rates[scored.name], title, event)
        if self.test.cohort is None:
            save_cohort(self.folder, self.log, outcome.cohort)
        self._write_utterances(outcome)
        systems = list[System]()
        for scored in outcome.lists:
            self._write_origin(self._scores_path(scored), origin)
            if rates[scored.name] is None or not (self.values.calibrate or self.values.report):
                continue
            system = System(scored.name, self._as_scored_trials(scored), rates[scored.name], is_llr=False)
            calibrated = self._calibrate(system) if self.values.calibrate else None
            systems.append(calibrated or system)
        if self.values.report and systems:
            self._write_report(systems, outcome, device)

    def _as_scored_trials(self, scored: ScoredList) -> ScoredTrials:
        trials = scored.trials
        sides = np.stack([trials.enrol, trials.test], axis=1)
        path = str(self._scores_path(scored))  # names the list in messages
        return ScoredTrials.from_arrays(path, scored.scores, trials.labels, trials.names, sides)

    def write_decisions(self, outcome: Outcome, decision: Mapping[str, Any]) -> None:
        """Write each trial's LLR, probability and decision, by what a model file holds."""
        self._say_stored(outcome)
        for scored in outcome.lists:
            path = self.folder.evaluation / f"{scored.name}.decisions.csv"
            decided = write_decisions(
                path,
                scored.trials,
                scored.scores,
                decision,
                prior=self.values.prior,
                silent=outcome.sides.silent,
            )
            self._say_left_out(scored)
            self.log.say(f"{decided.describe(decision['rule'])}: {path}")

    def _say_stored(self, outcome: Outcome) -> None:
        if outcome.num_stored:
            stored = f"{outcome.num_stored} of {len(self.test.lists.utterances)} recordings"
            self.log.say(f"embeddings of {stored} are from earlier runs: {self.folder.embeddings}")

    def _write_utterances(self, outcome: Outcome) -> None:
        """A table of the names in the trials with their measures, for conditions and quality measures."""
        measures = outcome.sides.measures
        columns = [[f"{value:.4f}" for value in values] for values in measures.values()]
        rows = [("path", *measures), *zip(self.test.lists.names, *columns, strict=True)]
        write_text(self._utterances_path, text_of(rows, by_tabs=True))

    @property
    def _utterances_path(self) -> Path:
        return self.folder.evaluation / "utterances.tsv"

    def _write_origin(self, scores: Path, origin: Origin) -> None:
        """Write beside a score file what made it, for tuneThreshold.py --store."""
        cohort, cohort_digest = _cohort_of(self.test, self.folder)
        deciding = scoring_options(self.values) | chosen_options(self.values, TESTING_KINDS)
        deciding["subtract_mean"] = self.values.subtract_mean
        deciding[VERSION] = self.test.embedder.scoring.version
        write_origin(
            scores,
            origin.model,
            origin.weights_digest,
            cohort=cohort,
            cohort_digest=cohort_digest,
            deciding=deciding,
        )

    def _calibrate(self, system: System) -> System | None:
        """Write LLRs, each by models of other speakers -> the list with these; None if too small."""
        try:
            calibrated = fusion.cross_validated([system.trials])
        except ValueError as error:
            self.log.say(f"note: not calibrated: {error}")
            return None
        path = self.folder.evaluation / f"{system.name}.llr.txt"
        trials = calibrated.systems[0]._replace(name=str(path), scores=calibrated.llr)
        sides = trials.sides[:, 0], trials.sides[:, 1]
        write_texts(path, score_texts(trials.files, sides, trials.scores, trials.labels))
        options = self._figure_options((self.values.dcf_p_target,), is_llr=True)
        for line in fusion.gain(calibrated, str(path), options)[1:]:
            self.log.say(line)
        return System(system.name, trials, None, is_llr=True)

    def _figure_options(self, priors: tuple[float, ...], is_llr: bool) -> FigureOptions:
        return FigureOptions(priors, self.values.dcf_c_miss, self.values.dcf_c_fa, llr=is_llr)

    def _write_report(self, systems: Sequence[System], outcome: Outcome, device: str) -> None:
        """Write report.html and det.png."""
        try:
            from report import page  # draws with Matplotlib
        except ModuleNotFoundError as error:
            self.log.say(f"note: no report without {error.name}: pip install -r requirements.txt")
            return
        priors = tuple(dict.fromkeys((self.values.dcf_p_target, *FigureOptions().p_targets)))
        durations = dict(zip(self.test.lists.names, outcome.sides.measures["duration_s"], strict=True))
        measured = []
        for name, trials, rates, is_llr in systems:
            conditions = {"duration_s": [f"{durations[file]:.4f}" for file in trials.files]}
            options = self._figure_options(priors, is_llr)
            measured.append(measure_with_default_intervals(name, trials, options, conditions, rates=rates))
        folder = self.folder.evaluation
        written = page.write(
            folder,
            measured,
            read_audio=self.test.audio,
            link=page.linker(folder, self.test.file),
            run=describe_run(self.values, device),
            results=self.log.records(),
        )
        self.log.say(f"report: {written}")


def _rates(scored: ScoredList) -> ErrorRates | None:
    """A scored list -> its operating points; None without labels or where files left out leave one class."""
    labels = scored.trials.labels
    if labels is None or (scored.num_left_out and len(np.unique(labels)) < 2):
        return None
    return error_rates(scored.scores, labels)


def _cohort_of(test: TrialTest, folder: RunFolder) -> tuple[str, str]:
    """What scored the trials -> where the cohort is, as write_origin takes it, and its digest."""
    if test.cohort is not None and not test.values.cohort:
        return IN_MODEL, test.cohort.digest
    if test.cohort is None and test.cohort_list is None:
        return "", ""
    path = folder.cohort if test.cohort is None else Path(test.values.cohort)
    return str(path.absolute()), digest(path)
