"""Recordings through a network to embeddings, and a trial list to scores, normalised by a cohort or not."""

import argparse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

import options
import runtime
import tuneThreshold
from audio import AudioError, Recordings, Remark, num_samples
from DatasetLoader import EvaluationDataset, EvaluationItem, evaluation_loader
from files import read_train_list
from flags import TEST_OPTIONS
from normalization._cohort import Ids, speaker_means
from report import RunFolder
from scoring._rates import error_rates
from scoring._trials import Trials, read_trials, score_trials, write_scores
from SpeakerNet import SpeakerNet

FILES_PER_BATCH = 8  # each with --num_eval crops


class Embedder:
    """Some recordings, to be embedded by any number of networks."""

    def __init__(
        self,
        recordings: Recordings,
        args: argparse.Namespace,
        device: torch.device,
        remark: Callable[[Iterable[Remark]], None],
    ) -> None:
        """Options: eval_frames, num_eval, scoring, nDataLoaderThread, skip_bad_audio."""
        self.recordings, self.device, self.remark = recordings, device, remark
        self.skip_bad = args.skip_bad_audio
        length = num_samples(args.eval_frames) if args.eval_frames else 0
        self.scoring = options.build("scoring", args, length, args.num_eval)
        dataset = EvaluationDataset(recordings, self.scoring)
        self.loader = evaluation_loader(dataset, FILES_PER_BATCH, args.nDataLoaderThread)

    @torch.inference_mode()
    def embed(
        self, network: SpeakerNet, normalize: bool, stop: runtime.StopSignal, what: str = "embedding"
    ) -> tuple[Tensor, set[int]]:
        """Every recording -> its summary (U, 1 or K, D), zeros for the missing ones, and their numbers.

        Raises:
            AudioError: a recording can't be used, unless skip_bad_audio; or none can.
            runtime.Stopped: a stop was asked for.
        """
        network.eval()
        vectors, missing, total = torch.empty(0), set[int](), len(self.recordings)
        with tqdm(total=total, desc=what, unit="file", disable=None, leave=False) as progress:
            for items in self.loader:
                stop.check()
                missing.update(item.number for item in items if self._unusable(item))
                for group in _by_length(item for item in items if item.error is None):
                    embeddings = [
                        network.embed(torch.cat(parts).to(self.device)).float().unflatten(0, (len(group), -1))
                        for parts in zip(*(item.crops for item in group), strict=True)  # (n*k, T)
                    ]
                    summaries = self.scoring.summarise(embeddings, normalize).cpu()
                    if not len(vectors):
                        vectors = torch.zeros(total, *summaries.shape[1:])
                    vectors[[item.number for item in group]] = summaries
                progress.update(len(items))
        if len(missing) == total:
            raise AudioError(f"none of the {total} files could be read")
        return vectors, missing

    def _unusable(self, item: EvaluationItem) -> bool:
        if item.error is not None and not self.skip_bad:
            raise item.error
        self.remark(item.remarks)
        return item.error is not None


def _by_length(items: Iterable[EvaluationItem]) -> list[list[EvaluationItem]]:
    """Files -> groups whose crops can go through the network together."""
    groups: dict[tuple[int, ...], list[EvaluationItem]] = {}
    for item in items:
        groups.setdefault(tuple(crops.shape[1] for crops in item.crops), []).append(item)
    return list(groups.values())


class Cohort:
    """Utterances of many speakers that scores are normalised by."""

    def __init__(
        self, args: argparse.Namespace, device: torch.device, remark: Callable[[Iterable[Remark]], None]
    ) -> None:
        """Reads --cohort_list, of each speaker its first --cohort_utterances."""
        self.args = args
        listed = read_train_list(args.cohort_list or args.train_list, args.exclude, "--cohort_list")
        order = np.argsort(listed.labels, kind="stable")
        first = np.searchsorted(listed.labels[order], np.arange(len(listed.speakers)))
        place = np.arange(len(order)) - first[listed.labels[order]]
        kept = order[place < args.cohort_utterances]
        root = args.cohort_path or args.train_path
        recordings = Recordings(root, [listed.paths[i] for i in kept])
        if not args.skip_bad_audio:
            recordings.require(range(len(recordings)), "--cohort_path")
        self.labels, self.speakers = listed.labels[kept], listed.speakers
        self.numbers = {path: int(label) for path, label in zip(recordings.paths, self.labels, strict=True)}
        self.embedder = Embedder(recordings, args, device, remark)

    def normalization(self, network: SpeakerNet, normalize: bool, stop: runtime.StopSignal) -> Any:
        """Network -> the --score_norm by this cohort."""
        vectors, missing = self.embedder.embed(network, normalize, stop, "cohort")
        kept = np.array([i for i in range(len(vectors)) if i not in missing])
        entries, labels = vectors[kept, 0], self.labels[kept]
        if self.args.cohort_entries == "speakers":
            entries, labels = speaker_means(entries, labels)
        return options.build("normalization", self.args, entries, labels)

    def speakers_of(self, paths: Sequence[str]) -> Ids:
        """Paths -> labels of their speakers, by path or by a folder's name; -1 where the cohort has none."""
        labels = {speaker: label for label, speaker in enumerate(self.speakers)}
        found = np.full(len(paths), -1)
        for i, path in enumerate(paths):
            own = (labels[part] for part in path.split("/")[:-1] if part in labels)
            found[i] = self.numbers.get(path, next(own, -1))
        return found


class TrialTest:
    """A trial list with its files checked, ready to be scored by any number of networks."""

    def __init__(self, args: argparse.Namespace, folder: RunFolder, device: torch.device) -> None:
        """Reads the lists; raises ValueError or FileNotFoundError if one of them or of the files is wrong."""
        self.args, self.folder = args, folder
        self.trials = read_trials(args.test_list, args.test_path)
        recordings = Recordings(args.test_path, self.trials.files)
        if not args.skip_bad_audio:
            recordings.require(range(len(recordings)), "--test_path")
        self.has_labels = self.trials.labels is not None
        self.embedder = Embedder(recordings, args, device, folder.remark)
        self.cohort = Cohort(args, device, folder.remark) if args.score_norm != "none" else None

    def scores(
        self, network: SpeakerNet, normalize: bool, stop: runtime.StopSignal
    ) -> tuple[Trials, NDArray[np.float64]]:
        """Network -> the trials whose files could be used, and their scores (N,)."""
        vectors, missing = self.embedder.embed(network, normalize, stop)
        trials = self.trials.without(missing)
        scores = score_trials(vectors, trials, self.embedder.scoring)
        if self.cohort is None:
            return trials, scores
        by_cohort = self.cohort.normalization(network, normalize, stop)
        statistics = by_cohort.statistics(vectors[:, 0], self.cohort.speakers_of(trials.files))
        return trials, by_cohort.apply(scores, statistics, trials.enrol, trials.test)

    def run(
        self, network: SpeakerNet, normalize: bool, stop: runtime.StopSignal, name: str, **event: Any
    ) -> dict[str, float]:
        """Score, write the score file, log -> EER and minDCF as fractions; empty without labels."""
        args, folder = self.args, self.folder
        trials, scores = self.scores(network, normalize, stop)
        left_out = len(self.trials.enrol) - len(scores)
        figures = dict[str, float]()
        if trials.labels is not None:
            rates = error_rates(scores, trials.labels)
            priors = list(dict.fromkeys((args.dcf_p_target, 0.01)))
            figures = tuneThreshold.figures(rates, priors, args.dcf_c_miss, args.dcf_c_fa)
        path = folder.evaluation / f"{Path(args.test_list).stem}.scores.txt"
        write_scores(path, trials, scores)
        if left_out:
            folder.say(f"note: {left_out} trials left out with the skipped files")
        if figures:
            folder.log_test(name, figures, args.dcf_p_target)
        folder.say(f"{len(scores)} scores in {path}" + ("" if figures else "; no error rates without labels"))
        settings = {key: getattr(args, key) for key in TEST_OPTIONS}
        counts = {"trials": len(scores), "trials_left_out": left_out}
        folder.record(**event, **settings, **counts, **figures)
        return figures
