"""Kaldi directories: wav.scp, utt2spk, spk2utt and trials of utterances."""

import re
from collections.abc import Sequence
from pathlib import Path

from audio.tars import TarIndex, index_in
from metrics.fields import text_of
from preparation.lists import Trial, Utterances
from storage.files import write_text

LABELS = {"1": "target", "0": "nontarget"}
# A hyphen stands between the names of speaker and utterance only: it sorts before all other characters, so
# that utterances sorted by their names are also sorted by their speakers'.
NOT_IN_A_NAME = re.compile(r"[^\w.]+")


def write_kaldi(utterances: Utterances, root: Path, folder: Path, trials: Sequence[Trial] = ()) -> str:
    """Write utterances, whose paths start at root, as Kaldi's files, sorted as Kaldi expects -> a message.

    Names are made of letters, digits and `_.`; those of utterances begin with the speaker's and a hyphen.

    Raises:
        ValueError: wav.scp can't hold a path, or the recordings are in tar files.
    """
    if isinstance(index_in(str(root)), TarIndex):
        raise ValueError(f"--kaldi: wav.scp can't name recordings in the tar files of {root}; unpack them")
    pairs = list(zip(utterances.paths, utterances.speakers, strict=True))
    speakers = _distinct({speaker: speaker for speaker in utterances.speakers})
    stems: dict[str, dict[str, str]] = {}  # speaker -> path -> the rest of the path
    for path, speaker in pairs:
        stems.setdefault(speaker, {})[path] = path.rpartition(".")[0].removeprefix(f"{speaker}/")
    names = dict[str, str]()  # path -> name of the utterance
    for speaker, rests in stems.items():
        names |= {path: f"{speakers[speaker]}-{rest}" for path, rest in _distinct(rests).items()}
    rows = sorted((names[path], speakers[speaker], path) for path, speaker in pairs)
    by_speaker: dict[str, list[str]] = {}
    for name, speaker, _ in rows:
        by_speaker.setdefault(speaker, []).append(name)
    files = {
        "wav.scp": "".join(f"{name} {_wav_scp_path(root / path)}\n" for name, _, path in rows),
        "utt2spk": text_of((name, speaker) for name, speaker, _ in rows),
        "spk2utt": text_of((speaker, *its_names) for speaker, its_names in sorted(by_speaker.items())),
    }
    if trials:
        files["trials"] = text_of((names[enrol], names[test], LABELS[label]) for label, enrol, test in trials)
    for file, text in files.items():
        write_text(folder / file, text)
    *first, last = files
    return f"{folder}: {', '.join(first)} and {last} of {len(rows)} utterances"


def _distinct(texts: dict[str, str]) -> dict[str, str]:
    """Texts by key -> names made of them, by key; equal ones are numbered."""
    names = dict[str, str]()  # name -> key
    for key, text in texts.items():
        wanted = NOT_IN_A_NAME.sub("_", text)
        name, number = wanted, 1
        while name in names:
            number += 1
            name = f"{wanted}_{number}"
        names[name] = key
    return {key: name for name, key in names.items()}


def _wav_scp_path(path: Path) -> str:
    """A path -> as wav.scp holds it: to the end of the line, without the blanks around it."""
    text = str(path.absolute())
    is_one_line = text == text.strip() and len(text.splitlines()) == 1
    if not is_one_line or "\t" in text or text.endswith("|") or not _is_utf8(text):
        raise ValueError(f"--kaldi: wav.scp can't hold the path {text!r}; rename the file")
    return text


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
