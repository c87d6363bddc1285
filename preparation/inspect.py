"""--check and --pack: what the lists name, and what is wrong with it."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audio.enrolments import read_enrolments
from audio.kaldi import is_kaldi_directory, trials_in
from audio.lists import find_excluded, read_excluded, read_utterances
from audio.named import NamedRecordings
from audio.trial_forms import read_trial_lines
from audio.utterances import ALL_CHANNELS, Utterance
from metrics.fields import text_of
from preparation.check import Finding, Listed, check_recordings, write_report
from preparation.pack_parts import pack_and_verify
from preparation.parts import ListPart
from preparation.speakers import listing, speaker_in
from preparation.suspects import label_errors, same_speakers
from preparation.targets import Target, if_there
from storage.files import write_text


@dataclass(frozen=True)
class ListedPaths:
    """Contents of a target's lists; paths are relative to its folder."""

    whole: dict[str, str]  # recordings that the train list names as a whole -> speaker
    segments: dict[Utterance, str]  # its segments and single channels -> speaker
    trials: dict[str, list[str]]  # name of a trial list -> distinct paths

    @cached_property
    def train(self) -> dict[str, str]:
        """Paths of the train list -> speaker, of several the first."""
        if not self.segments:
            return self.whole
        parts = {utterance.path: speaker for utterance, speaker in reversed(self.segments.items())}
        return parts | self.whole

    @property
    def utterances(self) -> dict[Utterance, str]:
        """Utterances of the train list -> speaker."""
        return {Utterance(path): speaker for path, speaker in self.whole.items()} | self.segments

    def speakers(self) -> set[str]:
        """Those of the train list."""
        return {*self.whole.values(), *self.segments.values()}

    def tested(self) -> list[str]:
        """All distinct paths of the trials."""
        return list(dict.fromkeys(chain.from_iterable(self.trials.values())))

    def paths(self) -> list[str]:
        """All distinct paths, those of the train list first."""
        return [*self.train, *(path for path in self.tested() if path not in self.train)]

    def listed(self) -> Listed:
        """The same in the form that check_recordings takes."""
        trials = self.tested()
        place = _place_of_speakers(self.train)
        segments: dict[str, list[Utterance]] = {}
        for utterance in self.segments:
            segments.setdefault(utterance.path, []).append(utterance)
        return Listed(self.train, trials, dict(_speakers(trials, place)), segments)


def read_lists(target: Target) -> ListedPaths:
    """Target -> the paths that its lists name."""
    whole: dict[str, str] = {}
    segments: dict[Utterance, str] = {}
    if target.train_list is not None:
        names: dict[str, str] = {}  # one string object per speaker, however many lines name it
        listed = read_utterances(str(target.train_list), "--train_list")
        for _, _, speaker, path, segment in listed:
            speaker = names.setdefault(speaker, speaker)
            if segment is None:
                whole[path] = speaker
            else:
                segments[segment] = speaker
    trials = {
        file.name: _trial_paths(file, target.root, target.models.get(file)) for file in target.test_lists
    }
    for file in target.speaker_lists:
        trials[file.name] = [recording for _, _, _, recording, _ in read_utterances(str(file), "--gallery")]
    return ListedPaths(whole, segments, trials)


def _trial_paths(path: Path, root: Path, enrol_list: Path | None) -> list[str]:
    """Trial list, folder that its paths are relative to -> the distinct paths of the recordings in it."""
    is_directory = is_kaldi_directory(str(path))
    flag = "--test_list"
    named = NamedRecordings(str(root), "--root", lists={str(path): flag} if is_directory else {})
    models = read_enrolments(str(enrol_list), named.known) if enrol_list else {}
    names: dict[str, None] = {}
    file = trials_in(str(path), flag) if is_directory else str(path)
    for _, (_, enrol, test) in read_trial_lines(file, lambda name: name in models or named.known(name)):
        names[enrol] = None
        names[test] = None
    recordings = (each.path for name in names for each in models.get(name, [Utterance(name)]))
    return list(dict.fromkeys(named.test(recording).path for recording in recordings))


def _place_of_speakers(train: dict[str, str]) -> int | None:
    """Paths and speakers -> number of the folder that most often is the speaker's; None if none ever is.

    It is counted as for --speaker_folder: from the first folder, or from the file's own, whichever fits more.
    """
    places: Counter[int] = Counter()
    for path, speaker in train.items():
        folders = path.split("/")[:-1]
        if speaker in folders:
            part = folders.index(speaker)
            places.update((part, part - len(folders)))
    return places.most_common(1)[0][0] if places else None


def _speakers(paths: Iterable[str], place: int | None) -> Iterator[tuple[str, str]]:
    """Paths, number of the speaker's folder -> (path, speaker) of the paths that have this folder."""
    if place is not None:
        named = ((path, speaker_in(path, place)) for path in paths)
        yield from ((path, each.speaker) for path, each in named if each)


def overlaps(trials: dict[str, list[str]], trained: dict[str, ListedPaths]) -> Iterator[Finding]:
    """Trial lists and contents of train lists, by name -> findings: shared files, shared speakers."""
    if not trials:
        return
    for train_list, lists in trained.items():
        train = lists.train
        place = _place_of_speakers(train)
        known = lists.speakers()
        leaks: dict[str, list[str]] = {}  # path -> trial lists that name it
        for test_list, paths in trials.items():
            for path in filter(train.__contains__, paths):
                leaks.setdefault(path, []).append(test_list)
            speakers = {speaker for _, speaker in _speakers(paths, place)}
            if shared := sorted(speakers & known):
                counts = f"{len(shared):,} of {len(speakers):,} in {test_list} are in {train_list}"
                yield Finding("shared speakers", "", f"{counts}: {listing(shared)}")
        for path, tests in leaks.items():
            yield Finding("leak", path, f"this file is in {train_list} and in {', '.join(tests)}")


def known_overlaps(target: Target, lists: ListedPaths) -> Iterator[Finding]:
    """A target -> findings: its speakers to train on who are known to be in another of the corpora."""
    speakers = lists.speakers()
    for other, known in target.overlaps.items():
        if shared := sorted(known & speakers):
            train_list = target.train_list.name if target.train_list else ""
            counts = f"{len(shared):,} of {len(speakers):,} in {train_list} are in {other}, too"
            yield Finding("shared speakers", "", f"{counts}: {listing(shared)}")


def check(targets: list[Target], save_path: Path, workers: int) -> list[str]:
    """--check: write a report for each target into save_path/check -> messages."""
    contents = [(target, read_lists(target)) for target in targets]
    trained = {target.train_list.name: lists for target, lists in contents if target.train_list}
    messages: list[str] = []
    for target, lists in contents:
        messages += target.notes()
        if not lists.paths():
            continue
        listed = lists.listed()
        findings = check_recordings(target.root, listed, known=target.known, workers=workers)
        findings += overlaps(lists.trials, trained)
        findings += known_overlaps(target, lists)
        if lists.train and lists.trials and _place_of_speakers(lists.train) is None:
            messages.append(
                f"{target.name}: the speakers of the trials are unknown, because no folder in the paths of "
                f"{target.train_list} is called like its speaker"
            )
        report = write_report(findings, save_path / "check" / target.name, listed)
        messages += [f"{target.name}: {line}" for line in report]
    return messages


def suspects(
    embeddings: NDArray[np.float32], paths: list[str], speakers: list[str], folder: Path
) -> list[str]:
    """Embeddings (N, D) of a train list -> suspects.txt: probable label errors, speakers that sound alike."""
    errors = label_errors(embeddings, speakers, paths)
    alike = same_speakers(embeddings, speakers)
    rows: list[tuple[str, ...]] = [
        ("label", s.path, s.speaker, s.other, f"{s.own_score:.3f}", f"{s.other_score:.3f}") for s in errors
    ]
    rows += [("same", first, second, f"{score:.3f}") for first, second, score in alike]
    write_text(folder / "suspects.txt", text_of(rows, by_tabs=True))
    counts = f"{len(errors)} utterances that sound like another speaker, {len(alike)} pairs of speakers alike"
    return [f"{folder}/suspects.txt: {counts}"]


def pack(
    targets: list[Target], save_path: Path, workers: int, *, exclude: Path | None, part: ListPart
) -> list[str]:
    """--pack: pack the recordings of each target's lists into save_path/pack and verify them -> messages.

    exclude: file of paths to leave out; None = the one that --check wrote for the target.
    """
    messages: list[str] = []
    for target in targets:
        messages += target.notes()
        lists = read_lists(target)
        if named := next((each for each in lists.segments if each.channel != ALL_CHANNELS), None):
            raise ValueError(
                f"{target.name}: {target.train_list} has {named}; recordings in a pack have one channel, so "
                "train from the files"
            )
        listed = lists.paths()
        if not listed:
            continue
        excluded = exclude or if_there(save_path / "check" / target.name / "excluded.txt")
        to_exclude = read_excluded(str(excluded)) if excluded else set()
        left_out = find_excluded(listed, to_exclude, str(target.root))
        if exclude and to_exclude and not left_out:
            raise ValueError(
                f"--exclude {exclude}: none of its {len(to_exclude)} paths is in the lists of {target.name}; "
                f"write them as the lists do, such as {listed[0]}"
            )
        paths = [path for path in listed if path not in left_out]
        if not paths:
            raise ValueError(f"{target.name}: {excluded} leaves nothing to pack")
        if len(paths) < len(listed):
            messages.append(
                f"{target.name}: {len(listed) - len(paths)} recordings left out by {excluded}; "
                f"train with --exclude {excluded}"
            )
        messages += pack_and_verify(target.root, paths, save_path / "pack" / target.name, workers, part)
    return messages
