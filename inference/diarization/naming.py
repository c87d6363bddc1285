"""Names of a diarization's speakers: those of a database where it knows them, `speaker 1` ... otherwise."""

from typing import NamedTuple

import numpy as np

from audio.recording import SAMPLE_RATE, Audio
from inference.diarization.turns import Overlap, Timeline, Turn, joined
from inference.speakers.identification import SpeakerBook

NAMED_BY_S = 30.0  # of a speaker's turns, the longest first, that are compared with the database


class NamedSpeaker(NamedTuple):
    """A speaker of a recording."""

    name: str
    is_enrolled: bool
    score: float | None  # of the enrolled speaker it is most like, accepted or not; None without a database
    speech_s: float  # of the turns


def with_names(
    timeline: Timeline, audio: Audio, book: SpeakerBook | None
) -> tuple[Timeline, list[NamedSpeaker]]:
    """Turns of unnamed speakers, the recording (T,) at 16 kHz, a database or None -> the same with names.

    Two speakers who are taken for the same enrolled one become one.
    """
    labels = list(dict.fromkeys(turn.speaker for turn in timeline.turns))
    enrolled = dict[str, str]()
    scores = dict[str, float]()
    for label in labels if book is not None else ():
        assert book is not None
        identification = book.identify((_speech_of(label, timeline.turns, audio), SAMPLE_RATE))
        if identification.ranked:
            scores[label] = identification.ranked[0].score
        if identification.answer.name is not None:
            enrolled[label] = identification.answer.name
    names = {**_numbered([label for label in labels if label not in enrolled], enrolled), **enrolled}
    named = renamed(timeline, names)
    speakers = dict[str, NamedSpeaker]()
    for label in labels:
        name = names[label]
        known = speakers.get(name)
        score = max((s for s in (scores.get(label), known and known.score) if s is not None), default=None)
        speech_s = sum(turn.end_s - turn.start_s for turn in named.turns if turn.speaker == name)
        speakers[name] = NamedSpeaker(name, label in enrolled, score, speech_s)
    return named, list(speakers.values())


def renamed(timeline: Timeline, names: dict[str, str]) -> Timeline:
    """Turns and overlaps, new names of their speakers -> the same with these; joined where they are alike."""
    turns = [turn._replace(speaker=names[turn.speaker]) for turn in timeline.turns]
    overlaps = [
        Overlap(each.start_s, each.end_s, names[each.speaker], names[each.other])
        for each in timeline.overlaps
        if names[each.speaker] != names[each.other]
    ]
    return Timeline(joined(turns), overlaps)


def _numbered(labels: list[str], enrolled: dict[str, str]) -> dict[str, str]:
    """Speakers whom no database knows, names of the others -> `speaker 1` ..., none of which is taken."""
    names = dict[str, str]()
    number = 0
    for label in labels:
        number += 1
        while f"speaker {number}" in enrolled.values():
            number += 1
        names[label] = f"speaker {number}"
    return names


def _speech_of(label: str, turns: list[Turn], audio: Audio) -> Audio:
    """A speaker -> samples of its longest turns, up to NAMED_BY_S and in their order."""
    longest = sorted((turn.start_s - turn.end_s, turn) for turn in turns if turn.speaker == label)
    chosen = list[Turn]()
    total_s = 0.0
    for _, turn in longest:
        end_s = min(turn.end_s, turn.start_s + NAMED_BY_S - total_s)
        chosen.append(turn._replace(end_s=end_s))
        total_s += end_s - turn.start_s
        if total_s >= NAMED_BY_S:
            break
    pieces = [audio[round(t.start_s * SAMPLE_RATE) : round(t.end_s * SAMPLE_RATE)] for t in sorted(chosen)]
    return np.concatenate(pieces)
