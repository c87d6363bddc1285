"""Open-set identification as an evaluation: every probe against every speaker of a gallery."""

import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from audio.lists import TrainList, read_train_list
from audio.named import NamedRecordings
from audio.trials import Trials
from audio.utterances import Utterance
from evaluation.trial_lists import TrialLists
from evaluation.trial_test import Comparison
from metrics.fields import text_of
from metrics.identification import FARS, RANKS, STRANGER, Probes, Rates, at_far, identified, rank_probes
from options import Options
from storage.files import write_text
from storage.run_folder import RunFolder
from storage.run_log import RunLog
from storage.run_record import describe_run

NAME = "identification"  # of the list and of the files that are written
BLOCK_TRIALS = 1 << 20  # scored at a time


class Identification(NamedTuple):
    """A gallery's speakers and probes; each probe is compared with each speaker."""

    lists: TrialLists  # with a list of trials that has every name, on its side
    speakers: list[str]
    probes: list[str]
    labels: NDArray[np.int64]  # of each probe its speaker's number, or STRANGER

    @classmethod
    def read(cls, values: Options) -> Self:
        """Options with lists of speakers' recordings -> the gallery, each speaker's averaged, and the probes.

        Raises:
            ValueError: a list has another form, a recording is in both, or a path is a speaker's name.
        """
        gallery, probe = _read(values.gallery, "--gallery"), _read(values.probe, "--probe")
        models = dict[str, list[Utterance]]()
        for label, path in zip(gallery.labels.tolist(), gallery.paths, strict=True):
            models.setdefault(gallery.speakers[label], []).append(Utterance(path))
        named = NamedRecordings(values.test_path, "--test_path", enrol_root=values.enrol_path)
        enrolled = {_place(named, named.enrolment(path)) for path in gallery.paths}
        probes = list(probe.paths)
        if both := next((path for path in probes if _place(named, named.test(path)) in enrolled), None):
            raise ValueError(f"--probe {values.probe}: {both} is also in --gallery {values.gallery}")
        if clash := next((path for path in probes if path in models), None):
            raise ValueError(f"--probe {values.probe}: {clash} is the name of a speaker in --gallery, too")
        speakers = list(models)
        numbers = {name: number for number, name in enumerate(speakers)}
        known = np.array([numbers.get(name, STRANGER) for name in probe.speakers])
        labels = known[probe.labels]
        num_strangers = int((labels == STRANGER).sum())
        if num_strangers in (0, len(labels)):
            raise ValueError(
                f"--probe {values.probe}: expected recordings of speakers in --gallery and of others, got "
                f"{len(labels) - num_strangers} and {num_strangers}"
            )
        numbers_of_trials = np.arange(max(len(speakers), len(probes)))
        enrol, test = numbers_of_trials % len(speakers), numbers_of_trials % len(probes) + len(speakers)
        trials = Trials([*speakers, *probes], enrol, test, None)
        return cls(TrialLists({NAME: trials}, models, named), speakers, probes, labels)

    def rank(self, comparison: Comparison) -> tuple[list[str], list[str], Probes]:
        """What scores trials -> speakers and probes that could be used, and what their scores come to.

        Without any recording of a speaker, its probes aren't a stranger's: they are left out too. Works in
        blocks of probes, so that memory doesn't grow with probes times speakers.
        """
        is_present = np.ones(len(self.speakers) + len(self.probes), bool)
        is_present[comparison.sides.missing] = False
        enrol = np.flatnonzero(is_present[: len(self.speakers)])
        test = np.flatnonzero(is_present[len(self.speakers) :])
        place = np.full(len(self.speakers), STRANGER)
        place[enrol] = np.arange(len(enrol))
        labels = self.labels[test]
        is_known = labels != STRANGER
        labels[is_known] = place[labels[is_known]]
        usable = ~is_known | (labels != STRANGER)
        test, labels = test[usable], labels[usable]
        if not len(test) or not len(enrol):
            raise ValueError("no speaker of --gallery or no recording of --probe is left that can be used")
        size = max(1, BLOCK_TRIALS // len(enrol))  # probes at a time
        blocks = list[Probes]()
        for start in range(0, len(test), size):
            block = test[start : start + size] + len(self.speakers)
            trials = Trials([], np.tile(enrol, len(block)), np.repeat(block, len(enrol)), None)
            scores = comparison.scores(trials).reshape(len(block), len(enrol))
            blocks.append(rank_probes(scores, labels[start : start + size]))
        probes = Probes(*map(np.concatenate, zip(*blocks, strict=True)))
        return [self.speakers[n] for n in enrol], [self.probes[n] for n in test], probes


def _place(named: NamedRecordings, utterance: Utterance) -> str:
    """Where a recording lies, the same however its path is written."""
    return os.path.normpath(os.path.join(named.root, utterance.path))  # noqa: PTH118


def _read(path: str, flag: str) -> TrainList:
    listed = read_train_list(path, flag=flag)
    if listed.spans is not None:
        raise ValueError(f"{flag} {path}: segments and channels can't be used here; give whole recordings")
    return listed


def write_identification(
    identification: Identification,
    comparison: Comparison | None,
    *,
    values: Options,
    folder: RunFolder,
    log: RunLog,
    device: str,
) -> None:
    """Log the rates, and write a table of the probes and a page with the curve of DIR against FAR.

    To be called by all processes; only the first one has a comparison.
    """
    log.remarks.gather()
    if comparison is None:
        return
    speakers, names, probes = identification.rank(comparison)
    num_known = int((probes.speakers != STRANGER).sum())
    log.say(
        f"{len(speakers)} speakers in the gallery; {num_known} probes of theirs and "
        f"{len(names) - num_known} of strangers"
    )
    if len(comparison.sides.missing):
        log.say("note: probes or speakers whose recordings can't be used are left out")
    ranks = {n: identified(probes, n) for n in RANKS if n == 1 or n < len(speakers)}
    points = {far: at_far(probes, far) for far in FARS}
    for rank, share in ranks.items():
        log.say(f"among the best {rank}: {share}")
    for far, point in points.items():
        log.say(f"DIR at FAR {100 * far:g} %: {point.dir}, threshold {point.threshold:.6g}, FAR {point.far}")
    figures = {f"rank_{rank}": share.value for rank, share in ranks.items()}
    figures |= {f"dir_at_far_{far:g}": point.dir.value for far, point in points.items()}
    figures |= {f"threshold_at_far_{far:g}": point.threshold for far, point in points.items()}
    settings = {name: values[name] for name in ("gallery", "probe", "scoring", "score_norm")}
    counts = {"speakers": len(speakers), "known": num_known, "strangers": len(names) - num_known}
    log.record(event=NAME, model=values.initial_model, **settings, **counts, **figures)
    path = folder.evaluation / f"{NAME}.tsv"
    write_text(path, text_of(_rows(probes, speakers, names), by_tabs=True))
    log.say(f"each probe's best speaker: {path}")
    if values.report:
        _write_page(
            Rates(len(speakers), ranks, points), probes, values=values, folder=folder, log=log, device=device
        )


def _rows(probes: Probes, speakers: Sequence[str], names: Sequence[str]) -> Iterator[Sequence[str]]:
    """A header, and a row for each probe."""
    yield "path", "speaker", "best", "best_score", "own_score", "rank"
    for number, name in enumerate(names):
        best = speakers[probes.best[number]], f"{probes.best_score[number]:.6f}"
        own = probes.speakers[number]
        if own == STRANGER:
            yield name, "", *best, "", ""
        else:
            yield name, speakers[own], *best, f"{probes.own_score[number]:.6f}", str(probes.rank[number])


def _write_page(
    rates: Rates, probes: Probes, *, values: Options, folder: RunFolder, log: RunLog, device: str
) -> None:
    try:
        from report import identification as page  # draws with Matplotlib
    except ModuleNotFoundError as error:
        log.say(f"note: no report without {error.name}: pip install -r requirements.txt")
        return
    title = f"{values.probe} in {values.gallery}"
    run = describe_run(values, device)
    log.say(f"report: {page.write(folder.evaluation, rates, probes, title=title, run=run)}")
