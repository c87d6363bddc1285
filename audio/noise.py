"""What augmentation mixes in: noises, music and voices by kind, and room impulse responses."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from audio.errors import AudioError
from audio.pack import Pack
from audio.recording import FORMATS, Audio, Recording
from audio.recordings import Recordings
from audio.remarks import SKIPPED, log_remark
from storage.files import walk

MUSAN = ("data/musan", "data/musan_split")  # as dataprep.py lays it out, and as voxceleb_trainer's did
FOLDERS = {"noise": "noise", "music": "music", "babble": "speech"}  # kind of noise -> its folder in MUSAN
NOISES = tuple(FOLDERS)  # the kinds that are mixed in at an SNR
INAUDIBLE = 1e-6  # share of a room response's energy that may be cut off at either end, -60 dB
MAX_ROOMS = 256  # kept in memory by each process
TRIES = 20  # recordings drawn in place of unusable ones


def find_audio(root: str) -> list[str]:
    """Folder or pack -> paths of the recordings in it, sorted."""
    if Path(root, Pack.INDEX).exists():
        return sorted(Pack(Path(root)).paths)
    return sorted(path for path in walk(Path(root)) if FORMATS.fullmatch(path))


def find_noises(root: str) -> dict[str, Recordings]:
    """MUSAN, whole or split, or any tree with folders noise, music and speech -> recordings of each kind."""
    kinds = {folder: kind for kind, folder in FOLDERS.items()}
    paths: dict[str, list[str]] = {kind: [] for kind in FOLDERS}
    for path in find_audio(root):
        innermost = next((part for part in path.split("/")[-2::-1] if part in kinds), None)
        if innermost is not None:
            paths[kinds[innermost]].append(path)
    return {kind: Recordings(root, listed) for kind, listed in paths.items() if listed}


class Material:
    """The recordings that a chain of augmentations needs.

    With skip_bad, others are drawn in the place of unusable ones, which are logged as skipped.
    """

    def __init__(self, kinds: set[str], musan_path: str, rir_path: str, skip_bad: bool = False) -> None:
        """Raises FileNotFoundError or ValueError if there is nothing of one of the kinds."""
        self.skip_bad = skip_bad
        self.noises = find_noises(musan_path) if kinds & FOLDERS.keys() else {}
        for kind in sorted(kinds & FOLDERS.keys() - self.noises.keys()):
            raise FileNotFoundError(
                f"--musan_path {musan_path}: no recordings in folders called {FOLDERS[kind]}; get them with "
                f"dataprep.py --augment, or take {kind} out of --augment_chain"
            )
        paths = find_audio(rir_path) if "reverb" in kinds else []
        if "reverb" in kinds and not paths:
            raise FileNotFoundError(
                f"--rir_path {rir_path}: no recordings there; get them with dataprep.py --augment, or take "
                "reverb out of --augment_chain"
            )
        self.rooms = Recordings(rir_path, paths, channel=0) if paths else None
        self._responses = dict[int, tuple[Audio, int]]()  # the rooms read last

    def counts(self) -> list[str]:
        """How many recordings there are of each kind, for the log."""
        counts = [f"{len(recordings)} of {kind}" for kind, recordings in self.noises.items()]
        if self.rooms:
            counts.append(f"{len(self.rooms)} rooms")
        return counts

    def digest(self) -> str:
        """A hash of the paths that are drawn from, without their roots."""
        sources = list(self.noises.items())
        if self.rooms:
            sources.append(("rooms", self.rooms))
        lines = (f"{kind} {path}" for kind, recordings in sources for path in recordings.paths)
        return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()

    def noise(self, kind: str, generator: np.random.Generator, length: int) -> Audio:
        """A random piece (length,) of a random recording of a kind."""
        return self._usable(self.noises[kind], generator, lambda noise, _: noise.crop(length, generator))

    def room(self, generator: np.random.Generator) -> tuple[Audio, int]:
        """A random room's response (R,) without its inaudible ends, and where its direct path is."""
        assert self.rooms is not None
        return self._usable(self.rooms, generator, self._response)

    def _usable(
        self, recordings: Recordings, generator: np.random.Generator, use: Callable[[Recording, int], Any]
    ) -> Any:
        """What use makes of a random recording; raises AudioError if it can't be used."""
        for left in reversed(range(TRIES)):
            number = int(generator.integers(len(recordings)))
            try:
                return use(recordings[number], number)
            except AudioError as error:
                if not self.skip_bad or not left:
                    raise AudioError(f"augmentation: {error}") from None
                log_remark(SKIPPED, str(error))
        raise AssertionError("the last try returns or raises")

    def _response(self, recording: Recording, number: int) -> tuple[Audio, int]:
        """The largest sample is taken for the direct path; of several channels the first."""
        if number not in self._responses:
            samples = recording.whole()
            energy = np.cumsum(samples.astype(np.float64) ** 2)
            if not energy[-1]:
                raise AudioError(f"{self.rooms.paths[number]}: a room response of silence")  # type: ignore[union-attr]
            begin, end = np.searchsorted(energy, np.array([INAUDIBLE, 1.0 - INAUDIBLE]) * energy[-1])
            if len(self._responses) >= MAX_ROOMS:
                self._responses.pop(next(iter(self._responses)))
            direct = int(np.abs(samples).argmax())
            upright = samples[begin : end + 1] * np.sign(samples[direct])  # microphones differ in polarity
            self._responses[number] = upright, int(direct - begin)
        return self._responses[number]
