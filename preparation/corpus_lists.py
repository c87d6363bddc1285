"""--generate for corpora: train lists, official trials, and others drawn where there are none."""

import os
from collections.abc import Sequence
from pathlib import Path

from corpora._corpus import Corpora, Corpus, Listing
from preparation.archives import missing_recordings
from preparation.generate import (
    NewLists,
    SavedLists,
    Split,
    make_lists,
    read_genders,
    read_speakers,
    save_lists,
)
from preparation.lists import Utterances
from preparation.protocols import Official, official_lists, write_official
from preparation.tree import find_tree, read_recordings, require_one_root

MAIN = "voxceleb2"  # its lists have the names that trainSpeakerNet.py looks for


def generate(
    corpora: Corpora,
    save_path: Path,
    source: Path | None,
    split: Split,
    *,
    kaldi: Path | None = None,
    exclude_speakers: Path | None = None,
) -> list[SavedLists]:
    """Lists of every corpus; a corpus's trials are its official ones, where it has any.

    Raises:
        FileNotFoundError, ValueError: a corpus's recordings aren't there, or are too few.
    """
    saved = []
    for name, corpus in corpora.items():
        messages = write_official(name, corpus, save_path, source)
        official = official_lists(name, corpus, save_path, source)
        lists = SavedLists(None, save_path, None, save_path, [])
        if corpus.train is not None:
            root = find_tree(corpus.train, save_path, source)
            if root is None:
                raise missing_recordings(name, corpus, save_path, source)
            if exclude_speakers:
                split = split._replace(left_out=read_speakers(exclude_speakers, corpus.genders, root))
            if isinstance(corpus.train, Listing) and source and root.is_relative_to(source):
                require_one_root(corpus.train, source)
            draws = not corpus.lists and not any(map(_has_trials_of_recordings, official))
            new = _new_lists(corpus, root, split, draws=draws)
            lists = save_lists(new, save_path, list_name(name, ""), root, kaldi / name if kaldi else None)
            lists = lists._replace(messages=[*lists.messages, f"their paths start at {root}"])
        elif not official:
            raise FileNotFoundError(f"{'; '.join(messages)}; give --from DIR. {corpus.access}")
        if corpus.lists:
            messages += link_all_speakers(save_path, source, corpus)
        lists = _with_official_trials(lists, save_path, source, corpus, official)
        saved.append(lists._replace(messages=[*lists.messages, *messages]))
    return saved


def _new_lists(corpus: Corpus, root: Path, split: Split, *, draws: bool) -> NewLists:
    """Corpus, folder of its recordings -> its train list, and drawn trials of its test part."""
    assert corpus.train is not None
    train = read_recordings(root, corpus.train)
    test = read_recordings(root, corpus.test) if corpus.test and draws else None
    genders = read_genders(corpus.genders, root) if corpus.genders else None
    new = make_lists(train, test if test and test.paths else None, split, genders)
    return new._replace(messages=[*new.messages, *_size_remarks(train, corpus)])


def _with_official_trials(
    lists: SavedLists, save_path: Path, source: Path | None, corpus: Corpus, official: Sequence[Official]
) -> SavedLists:
    """Lists of a corpus -> the same, with its first official trials of recordings if they lack trials."""
    if lists.test_list:
        return lists
    if protocol := next(filter(_has_trials_of_recordings, official), None):
        return lists._replace(test_list=protocol.lists["test_list"], test_path=protocol.root)
    first = next((path for part in corpus.lists if (path := save_path / part.name).exists()), None)
    everyone = find_tree(corpus.test, save_path, source) if corpus.test and first else None
    return lists if everyone is None else lists._replace(test_list=first, test_path=everyone)


def _has_trials_of_recordings(official: Official) -> bool:
    """Whether its trials need no enrolment list, so that the trainer can use them while it trains."""
    return set(official.lists) == {"test_list"}


def list_name(corpus: str, kind: str) -> str:
    """train_list.txt of a corpus -> its name; VoxCeleb2's is the one that the trainer looks for."""
    return kind if corpus == MAIN else f"{corpus}_{kind}"


def _size_remarks(train: Utterances, corpus: Corpus) -> list[str]:
    """Recordings to train on -> a remark if the corpus is known to have others."""
    num_speakers = len(set(train.speakers))
    known = corpus.known or {}
    if not known or (num_speakers, len(train.paths)) == (known["speakers"], known["utterances"]):
        return []
    if num_speakers == known.get("mirror_speakers"):
        num_missing = known["speakers"] - num_speakers
        return [f"note: {num_speakers} speakers: a mirror that is known to lack {num_missing}"]
    size = f"{known['speakers']} speakers, {known['utterances']} utterances"
    return [f"note: {corpus.title} is known to have {size}"]


def link_all_speakers(save_path: Path, source: Path | None, corpus: Corpus) -> list[str]:
    """Link the speakers of both parts in one folder, which the trial lists E and H need -> messages."""
    assert corpus.train is not None and corpus.test is not None
    folder = save_path / Path(corpus.test.root).parts[0] / "all" / "wav"
    for tree in (corpus.train, corpus.test):
        root = find_tree(tree, save_path, source)
        if root is None:
            continue
        for speaker in sorted(set(read_recordings(root, tree).speakers)):
            folder.mkdir(parents=True, exist_ok=True)
            _link(folder / speaker, root / speaker)
    messages = [f"{folder}: all speakers of {corpus.title}, where the paths of these lists start:"]
    for part in corpus.lists:
        path = save_path / part.name
        messages.append(f"  {path}" + ("" if path.exists() else " (missing: use --download)"))
    return messages


def _link(link: Path, folder: Path) -> None:
    """Link to a folder, relatively; a link to another folder is replaced, a folder in its place stays."""
    target = os.path.relpath(folder.resolve(), link.parent.resolve())
    if link.is_symlink() and str(link.readlink()) != target:
        link.unlink()
    if not link.is_symlink() and not link.exists():
        link.symlink_to(target, target_is_directory=True)
