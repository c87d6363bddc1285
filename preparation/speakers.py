"""Which part of a path names the speaker: a folder, by its number, or what a regular expression matches."""

import argparse
import re
from collections.abc import Iterable
from typing import NamedTuple

Place = int | re.Pattern[str]  # folder (0 = the first, -1 = the file's own), or expression for a whole path

MAX_NAMED = 5  # names in a message
PART_WORDS = re.compile(  # folders with several speakers are called so
    r"train(ing)?|dev(el|elopment)?|test(ing|s)?|val(id|idation)?|eval(uation)?|enrol(l|ment|lment)?"
    r"|wavs?|waves?|flac|mp3|ogg|opus|m4a|aac|pcm|raw|clean|noisy|noise|other|converted|original|processed"
    r"|data(set)?s?|corpus|corpora|audios?|recordings?|speech|sounds?|speakers|voices|clips|files|folder|dr"
)
UNCLEAR_WORDS = re.compile("part|set|split|subset|batch|disc|cd|male|female|men|women")  # speakers are, too
FURTHER_WORDS = re.compile(r"silence|trimmed|v|k|khz|\d+")  # may follow a part's
PATTERN_ADVICE = (
    "where the names of the files begin with the speaker's, as in anna_01.wav, give a regular expression for "
    "whole paths, --speaker_folder '(.*/)?(?P<speaker>[^/_]+)_[^/]*'"
)


class Named(NamedTuple):
    """A speaker's name in a path, and the index of the part between slashes that holds it."""

    speaker: str
    part: int


def parse_place(text: str) -> Place:
    """--speaker_folder: an integer or a regular expression -> the place; for argparse."""
    try:
        return int(text)
    except ValueError:
        pass
    expected = "expected the number of a folder or a regular expression"
    try:
        pattern = re.compile(text, re.DOTALL)
    except (re.error, OverflowError) as error:
        raise argparse.ArgumentTypeError(f"{expected}, got {text!r}: {error}") from None
    if not pattern.groups:
        raise argparse.ArgumentTypeError(f"{expected} with a group, (?P<speaker>...), got {text!r}")
    return pattern


def speaker_in(path: str, place: Place) -> Named | None:
    """Path -> its speaker; None if it has no such folder, or the expression does not match it.

    Of an expression, the group `speaker` is the name, or the first group if none is called so.

    Raises:
        ValueError: the group matches more than one part of the path.
    """
    if isinstance(place, int):
        folders = path.split("/")[:-1]
        part = place if place >= 0 else place + len(folders)
        return Named(folders[part], part) if 0 <= part < len(folders) else None
    match = place.fullmatch(path)
    group = "speaker" if "speaker" in place.groupindex else 1
    if match is None or not match[group]:
        return None
    if "/" in match[group]:
        raise ValueError(
            f"--speaker_folder {place.pattern}: the speaker of {path} would be {match[group]}; a name can't "
            "hold a slash: let the group match [^/] only"
        )
    return Named(match[group], path.count("/", 0, match.start(group)))


def is_part_of_corpus(name: str) -> bool:
    """Whether a folder of this name holds several speakers: train-clean-100, wav48_silence_trimmed, DR1."""
    first, *others = _words(name)
    known = (PART_WORDS, UNCLEAR_WORDS, FURTHER_WORDS)
    return bool(PART_WORDS.fullmatch(first)) and all(
        any(words.fullmatch(word) for words in known) for word in others
    )


def may_be_part_of_corpus(name: str) -> bool:
    """Whether it may hold several speakers, but may also be one: set1, male_00, test_anna."""
    first = _words(name)[0]
    return bool(PART_WORDS.fullmatch(first) or UNCLEAR_WORDS.fullmatch(first))


def _words(name: str) -> list[str]:
    """Name -> its words and numbers, in lower case; at least one, which may be empty."""
    return re.findall(r"mp3|m4a|[^\W\d_]+|\d+", name.casefold()) or [""]


def listing(names: Iterable[str]) -> str:
    """Names -> the first of them in their order, separated by commas."""
    first = sorted(names)
    return ", ".join(first[:MAX_NAMED]) + (", ..." if len(first) > MAX_NAMED else "")


def name_speakers(paths: list[str], place: Place | None) -> tuple[dict[str, Named], list[str]]:
    """Paths of recordings, --speaker_folder -> the speaker of each path, messages about doubts.

    Without --speaker_folder the first folder is the speaker's, unless its names look like parts of a corpus.

    Raises:
        ValueError: a path without the folder, an expression that matches no path, no path with a folder, or
            first folders that look like parts of a corpus.
    """
    speakers = {path: named for path in paths if (named := speaker_in(path, place or 0))}
    others = [path for path in paths if path not in speakers]
    count = f"{len(others)} of {len(paths)} recordings, such as {others[0]}," if others else ""
    if place is None:
        if not speakers:
            raise ValueError(f"{count} are not in folders of speakers (speaker/.../file); {PATTERN_ADVICE}")
        messages = _doubts(speakers)
        if others:
            messages.append(f"warning: skipped: {count} are in no folder; {PATTERN_ADVICE}")
        return speakers, messages
    if isinstance(place, int):
        if others:
            raise ValueError(
                f"{others[0]} has no folder {place}, which --speaker_folder names; move the file, or give a "
                "regular expression instead, which leaves out the paths that it does not match"
            )
        return speakers, []
    if not speakers:
        raise ValueError(
            f"--speaker_folder {place.pattern} matches no recording; {others[0]} is one of {len(others)} "
            "paths, which it must match from the first to the last character"
        )
    return speakers, [f"warning: skipped: {count} don't match --speaker_folder"] if others else []


def _doubts(paths: Iterable[str]) -> list[str]:
    """Paths whose first folders are taken for speakers -> a warning if they may be something else.

    Raises:
        ValueError: all of these folders are called like parts of a corpus, and there are others below them.
    """
    levels = _folders(paths)
    if len(levels[0]) > 2 and not all(map(may_be_part_of_corpus, levels[0])):
        return []
    below, is_likely = _next_level(levels)
    advice = PATTERN_ADVICE
    if below:
        names = f"folder {below} of the paths has {_counted(levels[below])}"
        advice = f"{names}; if these are the speakers, give --speaker_folder {below}"
    first = f"the first folders of the paths, {_counted(levels[0])},"
    confirmed = "if the first folders are, give --speaker_folder 0"
    if is_likely and all(map(is_part_of_corpus, levels[0])):
        raise ValueError(f"{first} look like parts of a corpus, not like speakers; {advice}; {confirmed}")
    return [f"warning: {first} are taken for speakers; {advice}; {confirmed}"]


def _counted(names: set[str]) -> str:
    return f"{len(names)} name{'s' if len(names) > 1 else ''} ({listing(names)})"


def _folders(paths: Iterable[str]) -> list[set[str]]:
    """Paths -> the names of their folders on each level, the first level first."""
    levels: list[set[str]] = []
    for path in paths:
        for level, name in enumerate(path.split("/")[:-1]):
            if level == len(levels):
                levels.append(set())
            levels[level].add(name)
    return levels


def _next_level(levels: list[set[str]]) -> tuple[int, bool]:
    """Names of folders on each level -> a level below the first that may be the speakers', and is it likely.

    Likely are levels whose names can't all be parts of a corpus; the first with several names comes before
    those with one. Without a likely one it is level 1, or 0 if no folder is so deep.
    """
    below = range(1, len(levels))
    likely = [level for level in below if not all(map(may_be_part_of_corpus, levels[level]))]
    best = [level for level in likely if len(levels[level]) > 1] or likely
    return (best[0], True) if best else (min(1, len(levels) - 1), False)
