"""Train lists and trial lists from the files of each speaker."""

import filecmp
from collections.abc import Iterator, Sequence
from itertools import combinations, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metrics.fields import ESCAPED, style_of, text_of, texts_of
from storage.files import write_text, written_whole

Speakers = dict[str, list[str]]  # speaker -> paths of the utterances
Trial = tuple[str, str, str]  # label "1" or "0", paths of enrolment and test
Row = tuple[str, ...]  # fields of a line
LINES_AT_ONCE = 10_000
MAX_PAIRS = 50_000  # candidate target pairs of one speaker; no list needs more
DRAWS_AT_ONCE = 4  # times the number of nontarget trials that are still needed


class Utterances(NamedTuple):
    """Paths of utterances, the speaker of each, and its session (a call, a video; "" = unknown)."""

    paths: list[str]
    speakers: list[str]
    sessions: list[str]

    def take(self, indices: Sequence[int] | NDArray[np.int64]) -> "Utterances":
        """Utterances at these indices."""
        return Utterances(*([column[i] for i in indices] for column in self))


def speaker_part(path: str, speaker: str) -> int:
    """Path, name of its speaker -> which of its folders is the speaker's; without one, their number."""
    *folders, _ = path.split("/")
    return folders.index(speaker) if speaker in folders else len(folders)


def session_of(path: str, part: int) -> str:
    """Name of the folder below the speaker's folder; without a speaker's folder, the file's; "" = none."""
    *folders, _ = path.split("/")
    below = folders[part + 1 :] if part < len(folders) else folders[-1:]
    return below[0] if below else ""


def train_list(utterances: Utterances) -> str:
    """Utterances -> `speaker path` lines."""
    style = style_of(zip(utterances.speakers, utterances.paths, strict=True))
    return "".join(texts_of(zip(utterances.speakers, utterances.paths, strict=True), style))


def draw_trials(
    utterances: Utterances,
    num_trials: int,
    generator: np.random.Generator,
    genders: dict[str, str] | None = None,
) -> list[Trial]:
    """Utterances -> trials, the lines of a trial list.

    Half of at most num_trials are target trials; no pair occurs twice. A speaker with several sessions gets
    target trials across sessions only; where genders are known, nontarget trials stay within one.

    Raises:
        ValueError: fewer than two speakers, or no speaker with two files.
    """
    names = {name: number for number, name in enumerate(dict.fromkeys(utterances.speakers))}
    owners = np.array([names[name] for name in utterances.speakers], dtype=np.int64)
    kinds = {kind: number for number, kind in enumerate(dict.fromkeys((genders or {}).values()))}
    groups = np.array([kinds.get((genders or {}).get(name, ""), -1) for name in names], dtype=np.int64)
    targets = _targets(owners, utterances.sessions, num_trials // 2, generator)
    if len(names) < 2 or not targets:
        raise ValueError("trials need two speakers, and one of them with two files")
    nontargets = _nontargets(owners, groups[owners], len(targets), generator)
    targets = [targets[i] for i in generator.permutation(len(targets))[: len(nontargets)]]
    trials = [(1, *pair) for pair in targets] + [(0, *pair) for pair in nontargets]
    paths = utterances.paths
    ordered = (trials[i] for i in generator.permutation(len(trials)))
    return [(str(label), paths[a], paths[b]) for label, a, b in ordered]


def _targets(
    owners: NDArray[np.int64], sessions: list[str], count: int, generator: np.random.Generator
) -> list[tuple[int, int]]:
    """Speaker of each utterance -> at most `count` target pairs, across sessions where possible."""
    order = np.argsort(owners, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(owners[order])) + 1) if len(order) else []
    most = max(2, int((2 * min(MAX_PAIRS, 20 * count / max(len(groups), 1) + 10)) ** 0.5) + 1)
    pairs: list[tuple[int, int]] = []
    for group in groups:
        chosen = group.tolist()
        if len(chosen) > most:  # only pairs of a random subset
            chosen = sorted(generator.permutation(group)[:most].tolist())
        every = list(combinations(chosen, 2))
        across = [(a, b) for a, b in every if sessions[a] != sessions[b]]
        pairs += across or every
    return [pairs[i] for i in generator.permutation(len(pairs))[:count]]


def _nontargets(
    owners: NDArray[np.int64], groups: NDArray[np.int64], count: int, generator: np.random.Generator
) -> list[tuple[int, int]]:
    """Speaker and gender of each utterance -> at most `count` pairs of two speakers of one gender."""
    possible = sum(_pairs_between(owners[groups == group]) for group in np.unique(groups))
    if possible == 0:  # every gender has one speaker
        groups = np.zeros_like(owners)
        possible = _pairs_between(owners)
    pairs: dict[tuple[int, int], None] = {}
    while len(pairs) < min(count, possible):
        draws = generator.integers(len(owners), size=(DRAWS_AT_ONCE * (count - len(pairs)) + 16, 2))
        first, second = draws.min(axis=1), draws.max(axis=1)
        fits = (owners[first] != owners[second]) & (groups[first] == groups[second])
        for pair in zip(first[fits].tolist(), second[fits].tolist(), strict=True):
            pairs.setdefault(pair)
            if len(pairs) == min(count, possible):
                break
    return list(pairs)


def _pairs_between(owners: NDArray[np.int64]) -> int:
    """Number of pairs of utterances of different speakers."""
    counts = np.unique(owners, return_counts=True)[1].astype(object)  # Python integers, which can't overflow
    return int((len(owners) ** 2 - (counts**2).sum()) // 2) if len(owners) else 0


def require_no_others(root: Path, lists: dict[str, str]) -> None:
    """Raises ValueError if a list of one of these names exists with other contents."""
    for name, text in lists.items():
        path = root / name
        if path.exists() and path.read_text(encoding="utf-8") != text:
            raise ValueError(f"{path} exists and differs; move it away or give another --save_path")


def write_lists(root: Path, lists: dict[str, str]) -> None:
    """Write lists (name -> contents) under root; none is written if one of them would be overwritten."""
    require_no_others(root, lists)
    for name, text in lists.items():
        write_text(root / name, text)


def write_rows(path: Path, rows: Iterator[Row], nothing: str) -> int:
    """Write a list of any length whole or not at all -> the number of its lines; nothing: see Raises.

    Raises:
        ValueError: no line (`nothing` is the message), a name that no line can hold, or the file exists and
            differs.
    """
    count = 0
    with written_whole(path) as stream:
        while block := list(islice(rows, LINES_AT_ONCE)):
            text = text_of(block)
            if text.startswith(ESCAPED):
                raise ValueError(f"{path}: a name has a tab, a line end or bytes that aren't UTF-8")
            stream.write(text.encode())
            count += len(block)
        if count == 0:
            raise ValueError(nothing)
        stream.flush()
        if path.exists() and not filecmp.cmp(stream.name, path, shallow=False):
            raise ValueError(f"{path} exists and differs; move it away or give another --save_path")
    return count
