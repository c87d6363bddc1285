"""Train lists and lists of what to leave out."""

import hashlib
import os
import os.path
from collections.abc import Collection, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from audio.columns import Columns
from audio.kaldi import is_kaldi_directory, read_with_speakers, segment_of
from audio.pack import Pack
from audio.tables import Table
from audio.utterances import LONGEST_LINE, Paths, Utterance, read_lines, read_texts, wrong_line
from metrics.fields import Line, blocks_of, lines_of, numbered, plain_fields

# Columns of train lists that are tables with a header, such as Common Voice's; further ones are ignored.
COLUMNS = {
    "speaker": ("client_id", "speaker_id", "speakerid", "spk_id", "speaker", "spk"),
    "path": ("path", "filename", "file", "wav"),
    "start": ("start", "start_s"),
    "end": ("end", "end_s"),
}


def read_utterances(path: str, flag: str) -> Iterator[tuple[str, int, str, str, Utterance | None]]:
    """Train list, table, or Kaldi directory -> (file, line number, speaker, path, segment; None if whole).

    Raises:
        FileNotFoundError, ValueError: as read_lines; a line of one field; a folder of another kind, or one
            that kaldi.read_with_speakers refuses.
    """
    if is_kaldi_directory(path):
        for source, number, speaker, utterance in read_with_speakers(path, flag):
            yield source, number, speaker, utterance.path, None if utterance.is_whole else utterance
        return
    if Path(path).is_dir():
        raise ValueError(f"{flag} {path}: {_kind_of_folder(Path(path), flag)}")
    texts = read_texts(path, flag)
    first = next(texts, "")
    table = Table.of(first, COLUMNS, ("speaker", "path"), f"{path}:1")
    number = 0
    if table is not None:
        for number, speaker, file, segment in _of_table(table, texts, path):
            yield path, number, speaker, file, segment
    else:
        for number, speaker, file in _of_lines(chain((first,), texts), path):
            yield path, number, speaker, file, None
    if not number:
        raise ValueError(f"{flag} {path}: the list is empty")


def _of_lines(texts: Iterator[str], path: str) -> Iterator[tuple[int, str, str]]:
    """Lines of a train list -> line number, speaker, path."""
    head = next(lines_of(texts), None)  # the first that isn't blank
    if head is None:
        return
    yield _pair(head, path)
    for number, block in blocks_of(texts, head.number + 1):
        fields = None if head.is_escaped else plain_fields(block, 2)
        if (
            fields is None
            or any(name[0] == "#" for name in fields[::2])
            or max(map(len, block)) > LONGEST_LINE
        ):
            for line in numbered(block, number, is_escaped=head.is_escaped):
                yield _pair(line, path)
        else:
            yield from zip(range(number, number + len(block)), fields[::2], fields[1::2], strict=True)


def _pair(line: Line, path: str) -> tuple[int, str, str]:
    speaker, file = line.pair()
    if not file or (speaker[0] == "#" and line.is_comment) or len(line.text) > LONGEST_LINE:
        raise wrong_line(line, path, '"speaker path"')
    return line.number, speaker, file


def _of_table(
    table: Table, texts: Iterable[str], path: str
) -> Iterator[tuple[int, str, str, Utterance | None]]:
    """A table behind its header -> line number, speaker, path, segment or None if it is whole."""
    if ("start" in table.places) != ("end" in table.places):
        raise ValueError(f"{path}:1: expected both of the columns start and end, in seconds, or neither")
    for number, (speaker, file, *times) in table.rows(texts, path):
        segment = segment_of(Utterance(file), times, f"{path}:{number}", file) if times else None
        yield number, speaker, file, segment if segment and segment.is_segment else None


def _kind_of_folder(folder: Path, flag: str) -> str:
    """What a folder without Kaldi's files is, and what to give instead."""
    if (folder / Pack.INDEX).exists():
        path_flag = flag.replace("_list", "_path") if flag in ("--train_list", "--cohort_list") else "--root"
        return (
            "this is a pack of recordings, not a list; "
            f"give the pack to {path_flag} and the list file to {flag}"
        )
    return (
        "this is a folder of recordings, not a list; make the list with "
        f"python dataprep.py --generate --from {folder} --save_path FOLDER"
    )


class TrainList(NamedTuple):
    """Utterances of a train list: speaker names (sorted), label and path of each, repeated lines left out."""

    speakers: list[str]
    labels: NDArray[np.int64]
    paths: Paths
    spans: NDArray[np.float64] | None  # of segments, see spans_of
    num_repeated: int
    num_excluded: int = 0
    num_to_exclude: int = 0  # paths in the file of --exclude

    def digest(self) -> str:
        """Hash of speakers and paths in list order, on which the draws of an epoch depend."""
        names = Paths.of(self.speakers)
        digest = hashlib.sha256()
        for part in (names.text, names.ends, self.labels, self.paths.text, self.paths.ends):
            digest.update(part.data)
        if self.spans is not None:
            digest.update(self.spans.data)
        return digest.hexdigest()

    def of_speakers(self, labels: NDArray[np.int64]) -> "TrainList":
        """The utterances of some speakers (their labels, ascending), whose labels are their places there."""
        kept = np.isin(self.labels, labels)
        return self._replace(
            speakers=[self.speakers[label] for label in labels],
            labels=np.searchsorted(labels, self.labels[kept]),
            paths=self.paths.where(kept),
            spans=None if self.spans is None else self.spans[kept],
        )


def read_train_list(
    list_path: str, exclude: str = "", flag: str = "--train_list", root: str = ""
) -> TrainList:
    """Train list or Kaldi directory -> utterances; a label is the index among the sorted speakers.

    Args:
        list_path: file of `speaker path` lines, table whose header names two of COLUMNS, or folder with
            wav.scp, utt2spk and, if it has any, segments.
        flag: the flag that the list came from, for errors.
        exclude: file with paths to leave out, one in a line, as dataprep.py --check writes it.
        root: folder that the paths are relative to.

    Raises:
        ValueError: a line of another form, an utterance of two speakers, or no line at all.
    """
    columns = Columns()
    columns.extend(read_utterances(list_path, flag))
    names = list(columns.names)
    repeats = columns.repeats()
    for place, first in repeats.items():
        if columns.speakers[place] != columns.speakers[first]:
            raise _two_speakers(list_path, flag, place, names[columns.speakers[first]])
    is_kept = np.ones(len(columns.speakers), bool)
    is_kept[list(repeats)] = False
    listed = len(is_kept) - len(repeats)
    to_exclude = read_excluded(exclude) if exclude else set()
    paths = columns.paths()
    if to_exclude:
        excluded = find_excluded(paths, to_exclude, root)
        is_kept &= np.fromiter((path not in excluded for path in paths), bool, len(paths))
    if not is_kept.any():
        raise ValueError(f"{list_path}: --exclude {exclude} leaves nothing of it")
    numbers = np.frombuffer(columns.speakers, np.int32)[is_kept]
    used = sorted(np.unique(numbers).tolist(), key=names.__getitem__)
    labels = np.zeros(len(names), np.int64)  # of each speaker's number
    labels[used] = np.arange(len(used))
    return TrainList(
        [names[number] for number in used],
        labels[numbers],
        paths if is_kept.all() else paths.where(is_kept),
        columns.spans_where(is_kept),
        num_repeated=len(repeats),
        num_excluded=listed - len(numbers),
        num_to_exclude=len(to_exclude),
    )


def _two_speakers(path: str, flag: str, place: int, speaker: str) -> ValueError:
    """A list, the place of an utterance in it, its speaker in a line before -> the error."""
    try:
        file, number, other, text, segment = next(islice(read_utterances(path, flag), place, None))
    except (OSError, ValueError, StopIteration):  # a pipe can't be read again
        return ValueError(f"{path}: utterance {place + 1} is also listed under {speaker}")
    return ValueError(f"{file}:{number}: {segment or text} is listed under {speaker} and {other}")


def read_excluded(path: str) -> set[str]:
    """File of paths, one in a line, as dataprep.py --check writes it -> the paths; it may be empty."""
    if os.path.isfile(path) and os.path.getsize(path) == 0:  # noqa: PTH113, PTH202
        return set()
    return {line.name() for line in read_lines(path, "--exclude")}


def find_excluded(paths: Collection[str], excluded: set[str], root: str) -> set[str]:
    """Listed paths, lines of a file of --exclude -> the listed ones that these lines mean.

    A line may spell a path otherwise: absolute, with `./`, or as a line of a train list, `speaker path`.
    """
    found = {path for path in paths if path in excluded}
    others = excluded - found
    if others:
        # full paths of a million files take seconds
        names = {os.path.basename(text) for line in others for text in _readings(line)}  # noqa: PTH119
        same_name = [path for path in paths if os.path.basename(path) in names]  # noqa: PTH119
        listed = {_full_path(root, path): path for path in same_name}
        spelled = (listed.get(_full_path(root, text)) for line in others for text in _readings(line))
        found |= {path for path in spelled if path is not None}
    return found


def names_files(exclude: str, root: str) -> bool:
    """Whether a line of a file of --exclude is a recording under root, listed or not."""
    return any(is_file(root, text) for line in read_excluded(exclude) for text in _readings(line))


def _readings(line: str) -> tuple[str, str]:
    """A line -> as a path, and as `speaker path`."""
    return line, line.partition("\t" if "\t" in line else " ")[2].strip() or line


def is_file(root: str, path: str) -> bool:
    """Whether a path under root is a file."""
    return os.path.isfile(os.path.join(root, path))  # noqa: PTH113, PTH118  (Path is 4 times as slow)


def _full_path(root: str, path: str) -> str:
    return os.path.abspath(os.path.join(root, path))  # noqa: PTH100, PTH118  (Path is 4 times as slow)
