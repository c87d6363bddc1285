"""Train lists and trial lists from the files of each speaker."""

from itertools import combinations
from pathlib import Path

import numpy as np

from files import write_text

Speakers = dict[str, list[str]]  # speaker -> paths of the utterances
MAX_PAIRS = 50_000  # of one speaker that are considered; more is more than any list takes


def train_list(speakers: Speakers) -> str:
    """Files of each speaker -> `speaker path` lines."""
    return "".join(f"{name} {path}\n" for name, paths in speakers.items() for path in paths)


def trial_list(speakers: Speakers, num_trials: int, generator: np.random.Generator) -> str:
    """Files of each speaker -> `label enrol test` lines, tab-separated where a path holds a blank.

    Half of at most num_trials are target trials; no pair occurs twice.

    Raises:
        ValueError: fewer than two speakers, or no speaker with two files.
    """
    pairs = [pair for paths in speakers.values() for pair in _some_pairs(paths, generator)]
    if len(speakers) < 2 or not pairs:
        raise ValueError("trials need two speakers, and one of them with two files")
    owners = [name for name, paths in speakers.items() for _ in paths]
    paths = [path for each in speakers.values() for path in each]
    num_nontargets = (len(paths) ** 2 - sum(len(each) ** 2 for each in speakers.values())) // 2
    count = min(num_trials // 2, len(pairs), num_nontargets)
    targets = [pairs[i] for i in generator.permutation(len(pairs))[:count]]
    nontargets: dict[tuple[str, str], None] = {}
    while len(nontargets) < count:
        i, j = sorted(generator.integers(len(paths), size=2).tolist())
        if owners[i] != owners[j]:
            nontargets[paths[i], paths[j]] = None
    trials = [(1, *pair) for pair in targets] + [(0, *pair) for pair in nontargets]
    gap = "\t" if any(" " in path for path in paths) else " "
    return "".join(gap.join(map(str, trials[i])) + "\n" for i in generator.permutation(len(trials)))


def _some_pairs(paths: list[str], generator: np.random.Generator) -> list[tuple[str, str]]:
    """Pairs of one speaker's files: all of them, or of a random part where there are very many."""
    most = int((2 * MAX_PAIRS) ** 0.5)
    if len(paths) > most:
        paths = [paths[i] for i in sorted(generator.permutation(len(paths))[:most])]
    return list(combinations(paths, 2))


def require_no_others(root: Path, lists: dict[str, str]) -> None:
    """Raises ValueError if a list of one of these names has other contents: nothing is overwritten."""
    for name, text in lists.items():
        path = root / name
        if path.exists() and path.read_text(encoding="utf-8") != text:
            raise ValueError(f"{path} exists and differs; move it away or give another --save_path")


def write_lists(root: Path, lists: dict[str, str]) -> None:
    """Names and contents -> files under root, all of them or, where one would be overwritten, none."""
    require_no_others(root, lists)
    for name, text in lists.items():
        write_text(root / name, text)
