"""--check: decode every listed file once and report the damaged, unusable, duplicate and leaking ones."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from audio.errors import AudioError
from audio.recording import FORMATS, NO_END, AudioFile
from audio.recordings import Recordings
from audio.streams import require_one_stream
from audio.tar_member import TarMember
from audio.tars import index_in
from audio.utterances import Utterance
from metrics.fields import shown, text_of
from preparation.tally import Tally
from preparation.workers import in_processes
from storage.files import walk, write_text

MEANINGS = {  # kind -> meaning; first the kinds that training should exclude, in each part the worst first
    "unreadable": "cannot be opened, or is empty",
    "truncated": "shorter than its header says, cut off, or decoding fails",
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
    "no end": "Ogg that may lack its end; read as far as it goes",
    "wrong rate": "not 16 kHz; training resamples it",
    "several channels": "training mixes them down, or takes one where they cancel each other",
    "shared speakers": "in the trials and in a train list; expected where files of each were held out",
    "unlisted": "under the folder, in no list; not read",
}
KINDS = tuple(MEANINGS)
UNUSABLE = KINDS[: KINDS.index("silent")]
EXCLUDED = KINDS[: KINDS.index("leak")]  # from training
MAX_LINES = 1000  # of a kind in check.txt; check.json has all


class Listed(NamedTuple):
    """Contents of the lists; paths are relative to a folder."""

    train: dict[str, str]  # path -> speaker
    trials: list[str]  # distinct paths
    trial_speakers: dict[str, str]  # path -> speaker, where known
    segments: Mapping[str, Sequence[Utterance]] = {}  # path -> segments of it that are listed


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
    paths = [*listed.train, *(path for path in listed.trials if path not in listed.train)]
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder")
    if not paths:
        raise ValueError(f"{root}: no list names a file in it")
    findings: list[Finding] = []
    first: dict[bytes, str] = {}  # digest -> the first file that has it
    copies: dict[str, list[str]] = {}  # first file -> all files with its samples
    recordings = Recordings(str(root), paths)
    files = [
        (path, recordings.file(number), listed.segments.get(path, ())) for number, path in enumerate(paths)
    ]
    results = in_processes(partial(map, partial(_examine, min_duration_s)), files, workers, "checking")
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


def _examine(min_duration_s: float, listed: tuple[str, str, Sequence[Utterance]]) -> Result:
    """Path in a list, file that it names, its segments -> its hash and findings, from one pass over it."""
    path, file, segments = listed
    if not isinstance(file, TarMember) and not os.path.isfile(file):  # noqa: PTH113  (Path is 4 times as slow)
        return b"", [Finding("missing", path, "no such file")]
    try:
        audio = AudioFile(file)
        require_one_stream(file)
        with audio.file:
            tally = Tally(audio)
        if tally.num_frames < audio.num_frames:
            raise AudioError(f"{file}: truncated: {tally.num_frames} of {audio.num_frames} samples are there")
    except (AudioError, OSError) as error:  # the message contains the kind
        reason = error.reason(file) if isinstance(error, AudioError) else str(error)
        kind = next((kind for kind in ("truncated", "not finite") if kind in reason), "unreadable")
        return b"", [Finding(kind, path, reason)]
    faults = tally.faults(min_duration_s)
    # two silent files are equal without being the same recording
    digest = b"" if "silent" in faults or "constant" in faults else tally.hash.digest()
    findings = [Finding(kind, path, detail) for kind, detail in faults.items()]
    if NO_END in audio.remarks:
        findings.append(Finding("no end", path, NO_END))
    findings += _bad_segments(segments, tally.num_frames, tally.rate, min_duration_s)
    return digest, findings


def _bad_segments(
    segments: Sequence[Utterance], num_frames: int, rate: int, min_duration_s: float
) -> Iterator[Finding]:
    """Segments of a recording, its samples and their rate -> findings on those outside it or too short."""
    for segment in segments:
        samples = segment.samples(num_frames, rate)
        if samples is None:
            yield Finding("segment", segment.path, f"{segment}: the recording lasts {num_frames / rate:g} s")
        elif samples[1] - samples[0] < min_duration_s * rate:
            yield Finding("segment", segment.path, f"{segment}: less than {min_duration_s:g} s")


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
    """Findings for audio files under root that are in no list; none if root isn't a folder of recordings."""
    # paths of a Kaldi list start at the working folder, or are absolute
    if root == Path() or all(map(os.path.isabs, paths)):
        return
    listed = {os.path.normpath(path) for path in paths}
    index = index_in(str(root))
    for path in chain(walk(root), () if index is None else index.paths):
        if FORMATS.fullmatch(path) and os.path.normpath(path) not in listed:
            yield Finding("unlisted", path, "in no list")


def _counts(speakers: list[str], known: dict[str, int]) -> Iterator[Finding]:
    """Speaker of each listed utterance that exists -> differences from the known numbers."""
    for name, count in {"speakers": len(set(speakers)), "utterances": len(speakers)}.items():
        if count != known.get(name, count):
            is_mirror = count == known.get(f"mirror_{name}")
            remark = f": this is the known mirror with {count:,} {name}" if is_mirror else ""
            yield Finding("counts", "", f"expected {known[name]:,} {name}, found {count:,}{remark}")
