"""Kaldi directories: wav.scp, utt2spk and spk2utt of utterances."""

import re
from pathlib import Path

from preparation.lists import Utterances
from storage.files import write_text


def write_kaldi(utterances: Utterances, root: Path, folder: Path) -> str:
    """Write utterances, whose paths start at root, as Kaldi's files, sorted as Kaldi expects -> a message."""
    names = _names(utterances)
    rows = sorted(zip(names, utterances.speakers, utterances.paths, strict=True))
    by_speaker: dict[str, list[str]] = {}
    for name, speaker, _ in rows:
        by_speaker.setdefault(speaker, []).append(name)
    for file, lines in {
        "wav.scp": (f"{name} {(root / path).absolute()}\n" for name, _, path in rows),
        "utt2spk": (f"{name} {speaker}\n" for name, speaker, _ in rows),
        "spk2utt": (
            f"{speaker} {' '.join(its_names)}\n" for speaker, its_names in sorted(by_speaker.items())
        ),
    }.items():
        write_text(folder / file, "".join(lines))
    return f"{folder}: wav.scp, utt2spk and spk2utt of {len(rows)} utterances"


def _names(utterances: Utterances) -> list[str]:
    """Utterances -> a distinct name for each, which begins with the speaker; equal ones are numbered."""
    names: dict[str, None] = {}
    for path, speaker in zip(utterances.paths, utterances.speakers, strict=True):
        stem = re.sub(r"[^\w.-]+", "-", path.rpartition(".")[0].removeprefix(f"{speaker}/"))
        name, number = f"{speaker}-{stem}", 1
        while name in names:
            number += 1
            name = f"{speaker}-{stem}-{number}"
        names[name] = None
    return list(names)
