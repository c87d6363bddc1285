"""Trial lists to scores, normalised by a cohort or not, to error rates and files."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

import distributed
import options
import runtime
from audio.lists import Trials, read_enrolments, read_trials
from audio.recording import Audio, AudioError
from audio.recordings import Recordings
from distributed import signals
from evaluation import decisions
from evaluation.cohort import Cohort, CohortList, save_cohort
from evaluation.embedder import Embedder
from evaluation.store import Embedded, fingerprint
from evaluation.trials import score_trials, write_scores
from metrics import fusion
from metrics.figures import figures
from metrics.rates import error_rates
from metrics.score_files import read_conditions, read_score_file, score_text
from metrics.summary import Wanted, measure_freely
from options.checks import needs_cohort
from options.flags import SCORING_OPTIONS, TEST_OPTIONS
from SpeakerNet import SpeakerNet
from storage.files import write_text
from storage.run_folder import RunFolder

Scores = NDArray[np.float64]
MEASURES = ("duration_s", "norm")  # of what a trial compares


class Scored(NamedTuple):
    """A trial list's trials whose files could be used, their scores (N,), how many were left out."""

    trials: Trials
    scores: Scores
    left_out: int


class Sides(NamedTuple):
    """What the names of trials stand for: vectors (U, V, D), measures (U,) by name, those without any."""

    vectors: Tensor
    measures: dict[str, Scores]
    missing: NDArray[np.int64]


class Outcome(NamedTuple):
    """Scores of every list, and what they come from."""

    cohort: Cohort | None
    sides: Sides
    found: list[Scored]


class TrialTest:
    """Trial lists with their files checked, ready to be scored by any number of networks."""

    def __init__(
        self,
        args: argparse.Namespace,
        folder: RunFolder,
        device: torch.device,
        store: Path | None = None,
        cohort: Cohort | None = None,
    ) -> None:
        """Reads the lists; raises ValueError or FileNotFoundError if one of them or of the files is wrong.

        A cohort is made for each network if the options ask for one and none is given; store: a folder for
        embeddings, so that later runs needn't make them.
        """
        self.args, self.folder = args, folder
        self.lists = dict(
            zip(_stems(args.test_list), read_trials(args.test_list, args.test_path), strict=True)
        )
        self.names = next(iter(self.lists.values())).names
        models = read_enrolments(args.enrol_list) if args.enrol_list else {}
        files = {file for name in self.names for file in models.get(name, [name])}
        numbers = {file: row for row, file in enumerate(sorted(files))}
        self.models = np.array([name in models for name in self.names])
        self.members = [[numbers[file] for file in models.get(name, [name])] for name in self.names]
        recordings = Recordings(args.test_path, list(numbers))
        if not args.skip_bad_audio:
            recordings.require(range(len(recordings)), "--test_path")
        self.paths, self.numbers = recordings.paths, {name: i for i, name in enumerate(self.names)}
        self.has_labels = next(iter(self.lists.values())).labels is not None
        self.embedder = Embedder(recordings, args, device, folder.remark, store)
        self.cohort, self.cohort_list = cohort, None
        if cohort is None and needs_cohort(args):
            self.cohort_list = CohortList(args, device, folder.remark, store)
        if not self.embedder.scoring.is_vector and self.models.any():
            raise ValueError(f"--enrol_list averages files, which is not for --scoring {args.scoring}")

    def score(self, network: SpeakerNet, normalize: bool, stop: signals.StopSignal) -> Outcome | None:
        """Network -> the scores of every list and what they come from; None but in the first process."""
        cohort = self.cohort
        mean = cohort.mean if cohort is not None else None
        if self.cohort_list is not None:
            mean = self.cohort_list.mean(network, stop)
            cohort = self.cohort_list.prepare(network, normalize, stop, mean)
        elif cohort is not None:
            self._check(cohort, fingerprint(network, self.args, normalize))
        embedded = self.embedder.embed(network, normalize, stop, mean=mean)
        if not distributed.is_first():
            return None
        if embedded.num_known:
            kept = f"{embedded.num_known} of {len(self.paths)} recordings"
            self.folder.say(f"embeddings of {kept} are from earlier runs: {self.folder.embeddings}")
        sides = self._sides(embedded)
        apply = self._normalization(cohort, sides)
        found = []
        for listed in self.lists.values():
            trials = listed.without(sides.missing)
            scores = apply(
                score_trials(sides.vectors, trials, self.embedder.scoring), trials.enrol, trials.test
            )
            found.append(Scored(trials, scores, len(listed.enrol) - len(scores)))
        return Outcome(cohort, sides, found)

    def _check(self, cohort: Cohort, way: str) -> None:
        """Raises ValueError unless a given cohort is one for this network and these options."""
        if cohort.way != way:
            raise ValueError(
                "the cohort was made with another network or other options of evaluation; make it anew "
                "with --prepare"
            )
        if (cohort.mean is not None) != self.args.subtract_mean:
            wrong = "has no mean; make it anew with" if cohort.mean is None else "was made with"
            raise ValueError(
                f"the cohort {wrong} --prepare --subtract_mean; give the flag to both or to none"
            )
        if self.args.score_norm != "none" and not len(cohort.entries):
            raise ValueError(
                f"the cohort has no entries for --score_norm {self.args.score_norm}, only a mean"
            )

    def _sides(self, embedded: Embedded) -> Sides:
        """Recordings -> what the names stand for: of several files the mean of their vectors."""
        members = [[row for row in rows if embedded.there[row]] for rows in self.members]
        first = np.array(
            [rows[0] if rows else own[0] for rows, own in zip(members, self.members, strict=True)]
        )
        vectors, measures = embedded.vectors[torch.from_numpy(first)], embedded.measures[first]
        for name, rows in enumerate(members):
            if self.models[name] and rows:  # of one file too, so that one threshold suits all
                vectors[name] = F.normalize(embedded.vectors[rows].mean(dim=0), dim=-1)
                measures[name] = (
                    embedded.measures[rows].sum(axis=0)[0],
                    embedded.measures[rows].mean(axis=0)[1],
                )
        missing = np.flatnonzero([not rows for rows in members])
        vectors = vectors.to(self.embedder.device)  # where trials and cohort are compared
        return Sides(vectors, dict(zip(MEASURES, measures.T, strict=True)), missing)

    def _normalization(self, cohort: Cohort | None, sides: Sides) -> Callable[..., Scores]:
        """Cohort, sides -> function of scores and both sides; the cohort's mean becomes a measure."""
        if cohort is None or self.args.score_norm == "none":
            return lambda scores, enrol, test: scores
        made = options.build("normalization", self.args, cohort.entries, cohort.labels.numpy())
        firsts = [self.paths[rows[0]] for rows in self.members]
        statistics = made.statistics(sides.vectors[:, 0], cohort.speakers_of(firsts))
        sides.measures["cohort_mean"] = statistics.mean
        return lambda scores, enrol, test: made.apply(scores, statistics, enrol, test)

    def run(
        self, network: SpeakerNet, normalize: bool, stop: signals.StopSignal, name: str, epoch: int
    ) -> dict[str, float]:
        """Score during training -> figures of the first list, fractions; none without labels."""
        outcome = self.score(network, normalize, stop)
        return self._tell(outcome.found, name, {"event": "test", "epoch": epoch}) if outcome else {}

    def evaluate(
        self, network: SpeakerNet, normalize: bool, stop: signals.StopSignal, model: str, weights: str
    ) -> None:
        """Score with a model of this path and weights' digest; write down what the scores depend on."""
        outcome = self.score(network, normalize, stop)
        if outcome is None:
            return
        cohort, sides, found = outcome
        name = model if len(found) > 1 else f"{model} on {self.args.test_list[0]}"
        self._tell(found, name, {"event": "eval", "model": model})
        if self.cohort is None:
            save_cohort(self.folder, cohort)
        columns = [self.names, *(map("{:.4f}".format, values) for values in sides.measures.values())]
        rows = ["\t".join(row) for row in [("path", *sides.measures), *zip(*columns, strict=True)]]
        folder = self.folder
        write_text(folder.evaluation / "utterances.tsv", "\n".join(rows) + "\n")
        written = {stem: folder.evaluation / f"{stem}.scores.txt" for stem in self.lists}
        for path in written.values():
            self._write_origin(path, model, weights)
        labelled = {stem: path for stem, path in written.items() if self.lists[stem].labels is not None}
        llrs = {stem: self._calibrate(path) for stem, path in labelled.items() if self.args.calibrate}
        if self.args.report and labelled:
            self._report({stem: llrs.get(stem) or path for stem, path in labelled.items()})

    def _calibrate(self, scores: Path) -> Path | None:
        """Score file -> the path of its LLRs, each by models of other speakers; None if there are too few."""
        try:
            done = fusion.cross_validated([str(scores)])
        except ValueError as error:
            self.folder.say(f"note: not calibrated: {error}")
            return None
        path = scores.with_name(scores.name.replace(".scores.", ".llr."))
        wanted = Wanted((self.args.dcf_p_target,), self.args.dcf_c_miss, self.args.dcf_c_fa)
        first = done.systems[0]
        write_text(path, score_text(first.files, first.sides, done.llr, first.labels))
        for line in fusion.gain(done, str(path), wanted)[1:]:
            self.folder.say(line)
        return path

    def _write_origin(self, scores: Path, model: str, weights: str) -> None:
        """Beside a score file: which weights, options and cohort made it, for --store."""
        args, cohort = self.args, ""
        if self.cohort_list is not None:
            cohort = str(self.folder.cohort)
        elif self.cohort is not None:
            cohort = args.cohort or decisions.IN_MODEL
        held = {name: getattr(args, name) for name in (*SCORING_OPTIONS, "subtract_mean")}
        held |= options.chosen_options(args, options.TESTING_KINDS)
        decisions.write_origin(scores, model, weights, cohort, held)

    def _report(self, labelled: dict[str, Path]) -> None:
        """Score files of lists, LLRs or not -> report.html and det.png."""
        try:
            from report import page
        except ModuleNotFoundError as error:
            self.folder.say(f"note: no report without {error.name}: pip install -r requirements.txt")
            return
        folder, measured = self.folder, []
        table = str(folder.evaluation / "utterances.tsv")
        priors = tuple(dict.fromkeys((self.args.dcf_p_target, *Wanted().p_targets)))
        for stem, path in labelled.items():
            wanted = Wanted(priors, self.args.dcf_c_miss, self.args.dcf_c_fa, llr=".llr." in path.name)
            held = read_score_file(str(path))
            durations = {"duration_s": read_conditions(table, held.files)["duration_s"]}
            measured.append(measure_freely(stem, held, wanted, durations))
        made = folder.describe_run(vars(self.args), runtime.describe(self.embedder.device))
        links = page.linker(folder.evaluation, self.args.test_path)
        written = page.write(folder.evaluation, measured, self._listen, links, made, folder.records())
        folder.say(f"report: {written}")

    def _listen(self, name: str) -> Audio | None:
        """A name of the trials -> its recording, of several the first; None if it can't be read."""
        try:
            return self.embedder.recordings[self.members[self.numbers[name]][0]].whole()
        except AudioError:
            return None

    def decide(
        self, network: SpeakerNet, normalize: bool, stop: signals.StopSignal, decision: dict[str, Any]
    ) -> None:
        """Score, and write each trial's LLR, probability and decision by what a model file holds."""
        outcome = self.score(network, normalize, stop)
        if outcome is None:
            return
        for stem, scored in zip(self.lists, outcome.found, strict=True):
            path = self.folder.evaluation / f"{stem}.decisions.csv"
            accepted = decisions.write_decisions(
                path, scored.trials, scored.scores, decision, self.args.prior
            )
            if scored.left_out:
                self.folder.say(f"note: {scored.left_out} trials left out with the skipped files")
            self.folder.say(
                f"{accepted} of {len(scored.scores)} trials accepted ({decision['rule']}): {path}"
            )

    def _tell(self, found: list[Scored], name: str, event: dict[str, Any]) -> dict[str, float]:
        """Write score files, log the figures of every list -> those of the first."""
        told = [
            self._tell_list(stem, scored, name if len(found) == 1 else f"{name} on {stem}", event)
            for stem, scored in zip(self.lists, found, strict=True)
        ]
        return told[0]

    def _tell_list(self, stem: str, scored: Scored, name: str, event: dict[str, Any]) -> dict[str, float]:
        """Write a list's score file and log its figures -> these."""
        args, folder, (trials, scores, left_out) = self.args, self.folder, scored
        found = dict[str, float]()
        if trials.labels is not None:
            rates = error_rates(scores, trials.labels)
            priors = list(dict.fromkeys((args.dcf_p_target, 0.01)))
            found = figures(rates, priors, args.dcf_c_miss, args.dcf_c_fa)
        path = folder.evaluation / f"{stem}.scores.txt"
        write_scores(path, trials, scores)
        if left_out:
            folder.say(f"note: {left_out} trials left out with the skipped files")
        if trials.num_repeated:
            folder.say(f"note: {trials.num_repeated} trials of {stem} repeat others; each counts")
        if found:
            folder.log_test(name, found, args.dcf_p_target)
        folder.say(f"{len(scores)} scores in {path}" + ("" if found else "; no error rates without labels"))
        settings = {key: getattr(args, key) for key in TEST_OPTIONS}
        counts = {"trials": len(scores), "trials_left_out": left_out, "list": stem}
        folder.record(**event, **settings, **counts, **found)
        return found


def _stems(paths: Sequence[str]) -> list[str]:
    """Paths of trial lists -> names for what is written of them."""
    stems = [Path(path).stem for path in paths]
    twice = next((stem for stem in stems if stems.count(stem) > 1), None)
    if twice:
        raise ValueError(f"--test_list: two lists have the name {twice}; their score files would be the same")
    return stems
