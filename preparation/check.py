"""--check: decode every listed file once and report the damaged, unusable, duplicate and leaking ones."""

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import soundfile
from numpy.typing import NDArray

from audio.containers import require_one_flac
from audio.errors import AudioError
from audio.lists import Utterance
from audio.recording import FORMATS, MAX_OVERSHOOT_S, SAMPLE_RATE, AudioFile
from metrics.fields import shown, text_of
from preparation.workers import in_processes
from storage.files import walk, write_text

MEANINGS = {  # kind -> meaning; first the kinds that training should exclude, in each part the worst first
    "unreadable": "cannot be opened, or is empty",
    "truncated": "shorter than its header says, without an end of stream, or decoding fails",
    "not finite": "contains NaN or infinite samples",
    "missing": "in a list, not on the disk",
    "silent": "its RMS is below -80 dBFS",
    "constant": "varies by less than -80 dBFS around a value that isn't zero",
    "too short": "shorter than the least duration",
    "duplicate of another speaker": "the same samples under two speakers, so that its label is unknown",
    "duplicate": "the same samples as another file",
    "leak": "in a train list and in the trials",
    "segment": "a segment ends after its recording, or is too short; mend it in the file of segments",
    "counts": "not the published numbers of this corpus",
    "clipped": "1 % of its samples at full scale, or in flat tops at its own extremes",
    "wrong rate": "not 16 kHz; training resamples it",
    "several channels": "training mixes them down",
    "shared speakers": "in the trials and in a train list; expected where files of each were held out",
    "unlisted": "under the folder, in no list; not read",
}
KINDS = tuple(MEANINGS)
UNUSABLE = KINDS[: KINDS.index("silent")]
EXCLUDED = KINDS[: KINDS.index("leak")]  # from training
BLOCK = 1 << 17  # samples decoded at a time: most utterances whole, 0.5 MiB
MAX_LINES = 1000  # of a kind in check.txt; check.json has all
QUIET = 10.0 ** (-80 / 20)
FULL_SCALE = 32_767 / 32_768  # the largest 16-bit sample
LOUD = 0.1  # quieter extremes are flat because few levels remain, not because of clipping
FLAT_TOP = 5  # equal samples in a row; the top of a 100 Hz wave at -20 dBFS has one
CLIPPED_SHARE = 0.01


class Listed(NamedTuple):
    """Contents of the lists; paths are relative to a folder."""

    train: dict[str, str]  # path -> speaker
    trials: list[str]  # distinct paths
    trial_speakers: dict[str, str]  # path -> speaker, where known
    segments: Mapping[str, Sequence[Utterance]] = MappingProxyType(
        {}
    )  # path -> segments of it that are listed


class Finding(NamedTuple):
    """A fault of a file, in one line; `counts` have no path."""

    kind: str
    path: str
    detail: str


Result = tuple[bytes, list[Finding]]  # hash of a file (empty: no duplicates are searched), findings


def check_recordings(
    root: Path,
    listed: Listed,
    *,
    known: dict[str, int] | None = None,
    workers: int = 0,
    min_duration_s: float = 0.5,
) -> list[Finding]:
    """Folder that the lists' paths are relative to, contents of the lists -> findings, the worst kind first.

    known: expected numbers of `speakers` and `utterances`, and `mirror_speakers` of a known incomplete copy.
    workers: processes, 0 = one per core.

    Raises:
        OSError, ValueError: no such folder, none of the files in it, no file listed, or a process was killed.
    """
    paths = list(dict.fromkeys([*listed.train, *listed.trials]))
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder")
    if not paths:
        raise ValueError(f"{root}: no list names a file in it")
    findings: list[Finding] = []
    first: dict[bytes, str] = {}  # digest -> the first file that has it
    copies: dict[str, list[str]] = {}  # first file -> all files with its samples
    files = [(path, listed.segments.get(path, ())) for path in paths]
    results = in_processes(partial(map, partial(_examine, root, min_duration_s)), files, workers, "checking")
    for path, (digest, faults) in zip(paths, results, strict=True):
        findings += faults
        if digest and first.setdefault(digest, path) != path:
            copies.setdefault(first[digest], [first[digest]]).append(path)
    missing = {finding.path for finding in findings if finding.kind == "missing"}
    if len(missing) == len(paths):
        raise FileNotFoundError(f"{root / paths[0]}: no such file, nor any other listed; is {root} right?")
    findings += [*_duplicates(copies, listed), *_leaks(copies, listed), *_unlisted(root, paths)]
    findings += _counts([s for path, s in listed.train.items() if path not in missing], known or {})
    return sorted(findings, key=by_kind)


def by_kind(finding: Finding) -> tuple[int, str, str]:
    """Finding -> sort key of reports: the worst kind first."""
    return KINDS.index(finding.kind), finding.path, finding.detail


def write_report(findings: Sequence[Finding], folder: Path, listed: Listed) -> list[str]:
    """Write findings, in any order, into check.txt, check.json and excluded.txt in folder -> lines to print.

    Unusable files are excluded; of the train list also those that training should leave out.
    """
    findings = sorted(findings, key=by_kind)
    num_files = len({*listed.train, *listed.trials})
    counts = {kind: sum(finding.kind == kind for finding in findings) for kind in KINDS}
    unfit = (f for f in findings if f.kind in (EXCLUDED if f.path in listed.train else UNUSABLE))
    excluded = sorted({finding.path for finding in unfit})
    counted = "1 finding" if len(findings) == 1 else f"{len(findings):,} findings"
    lines = [f"{num_files:,} files checked: {counted}, {len(excluded):,} files to leave out"]
    lines += [f"{counts[kind]:>9,} {kind}: {MEANINGS[kind]}" for kind in KINDS if counts[kind]]
    text = list(lines)
    for kind in (kind for kind in KINDS if counts[kind]):
        entries = [f"{f.path}: {f.detail}" if f.path else f.detail for f in findings if f.kind == kind]
        text += ["", kind, *(f"  {shown(entry)}" for entry in entries[:MAX_LINES])]
        if len(entries) > MAX_LINES:
            text.append(f"  and {len(entries) - MAX_LINES:,} more, in check.json")
    figures = {"num_files": num_files, "counts": counts, "excluded": excluded}
    machine = figures | {"findings": [finding._asdict() for finding in findings]}
    write_text(folder / "check.txt", "".join(f"{line}\n" for line in text))
    write_text(folder / "check.json", json.dumps(machine, indent=1, ensure_ascii=False) + "\n")
    write_text(folder / "excluded.txt", text_of([path] for path in excluded))
    return [*lines, f"{folder}/check.txt lists the findings, excluded.txt the files to leave out"]


def _examine(root: Path, min_duration_s: float, listed: tuple[str, Sequence[Utterance]]) -> Result:
    """Path of a file, its segments -> its hash and findings, from one pass over it."""
    path, segments = listed
    file = str(root / path)
    if not os.path.isfile(file):  # noqa: PTH113  (Path is 4 times as slow)
        return b"", [Finding("missing", path, "no such file")]
    try:
        require_one_flac(file)
        audio = AudioFile(file)
        with audio.file:
            tally = _Tally(audio)
        if tally.num_frames < audio.num_frames:
            raise AudioError(f"{file}: truncated: {tally.num_frames} of {audio.num_frames} samples are there")
    except (AudioError, OSError) as error:  # the message contains the kind
        reason = str(error).removeprefix(f"{file}: ")
        kind = next((kind for kind in ("truncated", "not finite") if kind in reason), "unreadable")
        return b"", [Finding(kind, path, reason)]
    faults = tally.faults(min_duration_s)
    # two silent files are equal without being the same recording
    digest = b"" if "silent" in faults or "constant" in faults else tally.hash.digest()
    findings = [Finding(kind, path, detail) for kind, detail in faults.items()]
    return digest, findings + list(_bad_segments(segments, tally.num_frames / tally.rate, min_duration_s))


def _bad_segments(
    segments: Sequence[Utterance], duration_s: float, min_duration_s: float
) -> Iterator[Finding]:
    """Segments of a recording, its duration -> findings on those that end after it or are too short."""
    for segment in segments:
        end_s = min(segment.end_s, duration_s)
        if duration_s + MAX_OVERSHOOT_S < segment.end_s < math.inf or segment.start_s >= duration_s:
            yield Finding("segment", segment.path, f"{segment}: the recording lasts {duration_s:g} s")
        elif end_s - segment.start_s < min_duration_s:
            yield Finding("segment", segment.path, f"{segment}: less than {min_duration_s:g} s")


class _Tally:
    """Statistics of a recording, accumulated in one pass over its blocks."""

    def __init__(self, audio: AudioFile) -> None:
        self.path = audio.path
        self.rate = audio.rate
        self.channels = audio.file.channels
        self.hash = hashlib.sha1(str(self.rate).encode(), usedforsecurity=False)
        self.num_frames = 0
        self.num_full = 0.0  # samples at full scale, averaged over channels
        self.total = 0.0
        self.squares = 0.0
        self.peak = 0.0
        self.tops = {1: (0.0, 0), -1: (0.0, 0)}  # sign -> extreme so far, samples in flat tops there
        size = max(1, BLOCK // self.channels)
        try:
            while len(block := audio.file.read(size, dtype="float32", always_2d=True)):
                self._add(block)
        except soundfile.LibsndfileError as error:
            raise AudioError(f"{self.path}: damaged or truncated: {error.error_string}") from None

    def _add(self, block: NDArray[np.float32]) -> None:
        """Accumulate samples (T, channels)."""
        if not np.isfinite(block).all():
            place = self.num_frames + int(np.argmin(np.isfinite(block).all(axis=1)))
            raise AudioError(f"{self.path}: not finite at {place / self.rate:.4f} s")
        mono = block.mean(axis=1) if self.channels > 1 else block[:, 0]
        mono = mono + np.float32(0.0)  # -0.0 becomes 0.0, so that both have one hash
        self.hash.update(mono.data)
        self.num_frames += len(mono)
        size = np.abs(block)
        self.num_full += np.count_nonzero(size >= FULL_SCALE) / self.channels
        self.peak = max(self.peak, float(size.max()))
        self.total += float(mono.sum(dtype=np.float64))
        self.squares += float(np.einsum("t,t->", mono, mono, dtype=np.float64))
        for sign, (extreme, count) in self.tops.items():
            top = sign * float(mono.max() if sign > 0 else mono.min())
            if top >= max(extreme, LOUD):
                self.tops[sign] = top, _flat(mono == sign * top) + (count if top == extreme else 0)

    def faults(self, min_duration_s: float) -> dict[str, str]:
        """Kind -> detail of each fault of the recording."""
        faults: dict[str, str] = {}
        duration_s = self.num_frames / self.rate
        mean = self.total / self.num_frames
        power = self.squares / self.num_frames
        clipped = max(self.num_full, sum(count for _, count in self.tops.values())) / self.num_frames
        if duration_s < min_duration_s:
            faults["too short"] = f"{duration_s:.3f} s, less than {min_duration_s:g} s"
        if power < QUIET**2:
            faults["silent"] = f"RMS {10.0 * math.log10(power):.0f} dBFS" if power else "all zero"
        elif power - mean**2 < QUIET**2:
            faults["constant"] = f"{mean:.4g} throughout"
        elif clipped >= CLIPPED_SHARE:
            faults["clipped"] = f"{clipped:.1%} of its samples, peak {self.peak:.3g}"
        if self.rate != SAMPLE_RATE:
            faults["wrong rate"] = f"{self.rate} Hz"
        if self.channels > 1:
            faults["several channels"] = f"{self.channels} channels"
        return faults


def _flat(at_top: NDArray[np.bool_]) -> int:
    """Mask (T,) of samples at the extreme -> how many of them are in runs of at least FLAT_TOP."""
    places = np.flatnonzero(at_top)
    lengths = np.diff(np.flatnonzero(np.diff(places, prepend=-2, append=len(at_top) + 1) != 1))
    return int(lengths[lengths >= FLAT_TOP].sum())


def _duplicates(copies: dict[str, list[str]], listed: Listed) -> Iterator[Finding]:
    """Groups of files with the same samples -> all of a group if speakers differ, else all but its first."""
    speakers = listed.trial_speakers | listed.train
    for first, group in copies.items():
        owners = {speakers[path]: path for path in reversed(group) if path in speakers}
        for path in group:
            speaker = speakers.get(path)
            other = next((owner for owner in owners if speaker not in (None, owner)), None)
            if other is not None:
                detail = f"{speaker}'s, the same samples as {owners[other]} of ANOTHER speaker, {other}"
                yield Finding("duplicate of another speaker", path, detail)
            elif path != first:
                whose = "the same speaker" if {first, path} <= speakers.keys() else "a speaker isn't known"
                yield Finding("duplicate", path, f"the same samples as {first} ({whose})")


def _leaks(copies: dict[str, list[str]], listed: Listed) -> Iterator[Finding]:
    """Groups of files with the same samples -> files of the trials whose samples are in the train list."""
    for first, *others in copies.values():  # train paths come first
        if first not in listed.train:
            continue
        for path in others:
            if path not in listed.train:
                yield Finding("leak", path, f"the same samples as {first}, which is in the train list")


def _unlisted(root: Path, paths: list[str]) -> Iterator[Finding]:
    """Findings for audio files under root that are in no list; none if no listed path starts at root."""
    if all(map(os.path.isabs, paths)):
        return
    listed = {os.path.normpath(path) for path in paths}
    for path in walk(root):
        if FORMATS.fullmatch(path) and os.path.normpath(path) not in listed:
            yield Finding("unlisted", path, "in no list")


def _counts(speakers: list[str], known: dict[str, int]) -> Iterator[Finding]:
    """Speaker of each listed utterance that exists -> differences from the known numbers."""
    for name, count in {"speakers": len(set(speakers)), "utterances": len(speakers)}.items():
        if count != known.get(name, count):
            is_mirror = count == known.get(f"mirror_{name}")
            remark = f": this is the known mirror with {count:,} {name}" if is_mirror else ""
            yield Finding("counts", "", f"expected {known[name]:,} {name}, found {count:,}{remark}")
