"""Which recordings the names in trial lists and enrolment lists stand for."""

import os.path
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from audio.kaldi import read_directory, read_scp
from audio.lists import is_file
from audio.pack import Pack
from audio.recordings import Recordings
from audio.tars import index_in
from audio.utterances import ALL_CHANNELS, Utterance, spans_of

SCP = "wav.scp"
SUFFIXES = ("wav", "flac", "ogg", "opus", "mp3", "sph")  # of the recordings that an evaluation reads
SUFFIX = re.compile(r"\.(wav|flac|ogg|opus|mp3|sph|m4a|aac)$", re.IGNORECASE)


class NamedRecordings:
    """Names -> utterances: those of Kaldi's lists by their names, others by their paths.

    Names are paths under a folder, which for enrolments may be another one, or in a pack or indexed tars. If
    a name isn't a file there, it stands for the file that has another suffix: lists of CN-Celeb say .wav
    where .flac files are, and keys of NIST SRE have no suffixes. If the first name that is asked for isn't a
    file in a folder with a wav.scp, all names are those of its utterances.
    """

    def __init__(
        self, root: str, flag: str, *, enrol_root: str = "", lists: Mapping[str, str] | None = None
    ) -> None:
        """Where recordings are.

        Args:
            root: folder of the recordings or of indexed tars, a pack, a Kaldi directory or a wav.scp.
            flag: the flag that root is from, for errors.
            enrol_root: the same for the enrolment side, unless that is a pack; "": root too.
            lists: Kaldi directories whose utterances are known as well -> the flag of each.

        Raises:
            FileNotFoundError, ValueError: a list of Kaldi's can't be read, two have different utterances of
                one name, or root is a pack that can't hold both sides.
        """
        has_two = enrol_root not in ("", root)
        self.flag = f"--enrol_path or {flag}" if has_two else flag  # that says where recordings are
        self.given = f"{flag} {root}"
        self.utterances: dict[str, Utterance] = {}
        index = index_in(root)
        self.index_paths = None if index is None else frozenset(index.paths)
        if has_two and index is not None:
            kind = "is a pack, which has" if isinstance(index, Pack) else "has an index of tars, which have"
            raise ValueError(f"--enrol_path {enrol_root}: {self.given} {kind} to hold both sides")
        is_scp = Path(root).is_file()
        self.root = "" if has_two or is_scp else root  # where paths of utterances start
        self._enrol_root = enrol_root if has_two else ""
        self._test_root = root if has_two else ""
        self._directory = root if Path(root, SCP).is_file() else ""  # whose utterances aren't known yet
        for source, its_flag in (lists or {}).items():
            self._add(source, its_flag)
        if is_scp:
            self._add(root, flag)
        if has_two and (Path(enrol_root).is_file() or Path(enrol_root, SCP).is_file()):
            self._add(enrol_root, "--enrol_path")

    def known(self, name: str) -> bool:
        """Whether a name is a recording of either side."""
        return name in self.utterances or any(
            self._found(os.path.join(root, name)) is not None  # noqa: PTH118  (Path is 4 times as slow)
            for root in dict.fromkeys((self._test_root, self._enrol_root))
        )

    def enrolment(self, name: str) -> Utterance:
        """A name on the enrolment side -> its utterance."""
        return self._utterance(name, self._enrol_root)

    def test(self, name: str) -> Utterance:
        """A name on the test side -> its utterance."""
        return self._utterance(name, self._test_root)

    def recordings(self, utterances: Sequence[Utterance], channel: int = ALL_CHANNELS) -> Recordings:
        """Utterances of these names -> their recordings."""
        paths = [utterance.path for utterance in utterances]
        return Recordings(self.root, paths, channel, spans_of(utterances))

    def _utterance(self, name: str, root: str) -> Utterance:
        """A name -> its utterance; that of a recording that isn't there has the path that was looked for."""
        if self._directory:
            self._decide(name)
        if (utterance := self.utterances.get(name)) is not None:
            return utterance
        path = os.path.join(root, name)  # noqa: PTH118
        found = self._found(path)
        if found is None and self.utterances and self.index_paths is None:
            raise ValueError(f"{self.given}: {name} is neither a file in it nor an utterance in a wav.scp")
        return Utterance(found or path)

    def _decide(self, name: str) -> None:
        """The first name that is asked for -> whether names are those of the utterances in root's wav.scp."""
        directory = self._directory
        self._directory = ""
        if name not in self.utterances and not is_file(directory, name):
            self.root = ""  # Kaldi's paths start at the working folder
            self._add(directory, self.flag)

    def _found(self, path: str) -> str | None:
        """A path -> itself, or the one with another suffix that is there; None if none is.

        Raises:
            ValueError: several are.
        """
        if self._is_there(path):
            return path
        stem = SUFFIX.sub("", path)
        others = [other for suffix in SUFFIXES if self._is_there(other := f"{stem}.{suffix}")]
        if len(others) > 1:
            raise ValueError(
                f"{self.given}: {path} isn't there, but {' and '.join(others)} are; keep one of them"
            )
        return others[0] if others else None

    def _is_there(self, path: str) -> bool:
        return is_file(self.root, path) if self.index_paths is None else path in self.index_paths

    def _add(self, source: str, flag: str) -> None:
        """Kaldi directory or wav.scp that a flag names -> its utterances are known by their names."""
        if Path(source).is_file():
            named = {name: utterance for name, (_, utterance) in read_scp(source, flag).items()}
            folder = os.path.dirname(source)  # noqa: PTH120
        else:
            named = {name: utterance for _, _, name, utterance in read_directory(source, flag)}
            folder = source
        if self.index_paths is None:
            above = os.path.join(folder, "..")  # noqa: PTH118
            # one of the first three is "", the working folder
            starts = (self.root, self._test_root, self._enrol_root, folder, above)
            named = _located(named, list(dict.fromkeys(starts)), self.root)
        for name, utterance in named.items():
            if (other := self.utterances.setdefault(name, utterance)) != utterance:
                raise ValueError(f"{flag} {source}: {name} is {utterance}, and {other} in another directory")


def _located(named: dict[str, Utterance], starts: Sequence[str], root: str) -> dict[str, Utterance]:
    """Utterances -> the same with paths that are found from root, as the first file that is there decides."""
    relative = [utterance for utterance in named.values() if not os.path.isabs(utterance.path)]  # noqa: PTH117
    found = (start for utterance in relative for start in starts if is_file(start, utterance.path))
    start = next(found, "")
    if not relative or start == root:
        return named
    prefix = os.path.abspath(start) if root else start  # noqa: PTH100
    return {
        name: utterance._replace(path=os.path.join(prefix, utterance.path))  # noqa: PTH118
        for name, utterance in named.items()
    }


def recordings_of_names(
    root: str, names: Iterable[str], flag: str, channel: int = ALL_CHANNELS
) -> Recordings:
    """Names of trials, the folder that a flag gives for them -> their recordings."""
    named = NamedRecordings(root, flag)
    return named.recordings([named.test(name) for name in names], channel)
