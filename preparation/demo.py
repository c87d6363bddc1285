"""--demo: real recordings of examples/demo, to train on and to test on speakers that aren't in training.

Each Ogg Opus file there holds the recordings of a corpus and part one after another; clips.tsv says where
each is. They are written as WAV files, which training reads fastest.
"""

import io
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import soundfile
from numpy.typing import NDArray

from audio.recording import SAMPLE_RATE
from corpora._corpus import Checksum
from metrics.fields import lines_of, text_of
from options.plugins import ROOT
from preparation.checksums import file_checksum
from preparation.generate import TEST, TRAIN, SavedLists
from preparation.lists import require_no_others, write_lists
from preparation.workers import in_processes
from storage.files import written_whole

SOURCE = ROOT / "examples" / "demo"
CLIPS, CHECKSUMS = "clips.tsv", "sha256sums.txt"
WAV_HEADER = 44  # bytes


class Clip(NamedTuple):
    """A recording, and where it is in a file of several."""

    path: str  # part/speaker/session/name.wav
    file: str
    start: int  # samples
    num_samples: int

    @property
    def speaker(self) -> str:
        """Folder below the part."""
        return PurePosixPath(self.path).parts[1]


def prepare(root: Path, source: Path = SOURCE) -> SavedLists:
    """Write audio, train_list.txt and test_list.txt under root; no test speaker is in the train list.

    Raises:
        ValueError: a file of `source` is damaged, or root has other lists.
    """
    require_checksums(source)
    clips = read_clips(source)
    train = [clip for clip in clips if clip.path.startswith("train/")]
    test = [clip for clip in clips if clip.path.startswith("test/")]
    trials = (source / TEST).read_text(encoding="utf-8")
    lists = {TRAIN: text_of((clip.speaker, clip.path) for clip in train), TEST: trials}
    require_no_others(root, lists)
    files = dict.fromkeys(clip.file for clip in clips if not _is_written(root, clip))
    jobs = [[clip for clip in clips if clip.file == file] for file in files]
    jobs.sort(key=lambda job: -sum(clip.num_samples for clip in job))  # the longest first
    in_processes(partial(map, partial(_decode, source, root)), jobs, 0, "decoding")
    write_lists(root, lists)
    messages = [
        f"{root}/{TRAIN}: {len(train)} recordings of {len({clip.speaker for clip in train})} speakers",
        f"{root}/{TEST}: {len(trials.splitlines())} trials over {len(test)} recordings of "
        f"{len({clip.speaker for clip in test})} other speakers",
    ]
    return SavedLists(root / TRAIN, root, root / TEST, root, messages)


def require_checksums(source: Path) -> None:
    """Raises ValueError for a file of the demo's recordings that isn't as it was made."""
    for line in lines_of((source / CHECKSUMS).read_text(encoding="utf-8").splitlines()):
        value, name = line.fields()
        path = source / name
        if not path.is_file() or file_checksum(path, "sha256") != Checksum("sha256", value):
            what = "differs from" if path.is_file() else "is missing, and is in"
            raise ValueError(f"{path} {what} {CHECKSUMS}; take it from the repository again")


def read_clips(source: Path) -> list[Clip]:
    """Folder of the demo's recordings -> all of them, file by file in the order of their starts."""
    header, *lines = lines_of((source / CLIPS).read_text(encoding="utf-8").splitlines())
    assert header.columns() == ["path", "file", "start", "samples"]
    rows = (line.columns() for line in lines)
    return [Clip(path, file, int(start), int(num_samples)) for path, file, start, num_samples in rows]


def _is_written(root: Path, clip: Clip) -> bool:
    path = root / clip.path
    return path.is_file() and path.stat().st_size == WAV_HEADER + 2 * clip.num_samples


def _decode(source: Path, root: Path, clips: list[Clip]) -> None:
    """Clips of one file -> WAV files under root."""
    with soundfile.SoundFile(source / clips[0].file) as stream:
        for clip in clips:
            stream.read(clip.start - stream.tell())  # seeking would decode anew
            _write_wav(root / clip.path, stream.read(clip.num_samples, dtype="float32"))


def _write_wav(path: Path, samples: NDArray[np.float32]) -> None:
    encoded = io.BytesIO()  # encoded in memory, so that the write below reports a full disk
    limited = np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)
    soundfile.write(encoded, limited, SAMPLE_RATE, format="WAV")
    with written_whole(path) as file:
        file.write(encoded.getvalue())
