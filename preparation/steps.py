"""The steps of dataprep.py for corpora; each does what isn't done yet and returns messages to print."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from corpora._corpus import Archive, Corpus, Part
from metrics.fields import text_of
from preparation.archives import ArchiveIndex, has_recordings
from preparation.checksums import has_checksum, is_present
from preparation.convert import Job, channel_warnings, convert_files
from preparation.download import download_parts
from preparation.extract import extract_archive
from preparation.generate import SavedLists, Split, make_lists, read_genders, save_lists
from preparation.joined import check_joined
from preparation.lists import Utterances
from preparation.tree import find_tree, read_tree, unreadable
from storage.files import walk, write_text

Corpora = dict[str, Corpus]
MAIN = "voxceleb2"  # its lists have the names that trainSpeakerNet.py looks for


def download(
    corpora: Corpora,
    save_path: Path,
    source: Path | None,
    *,
    base_url: str,
    find_key: Callable[[], str],  # called only if a file is missing that needs the key
    jobs: int,
) -> list[str]:
    """--download: the archives and lists that aren't on the disk yet."""
    index = ArchiveIndex(save_path, source)
    messages: list[str] = []
    with_key: list[Part] = []
    without_key: list[Part] = []
    lists: list[Part] = []
    for corpus in corpora.values():
        lists += corpus.lists
        for archive in corpus.archives:
            parts = index.parts_to_download(archive)
            if corpus.key:
                with_key += parts
            else:
                without_key += parts
            messages += _why_not_downloaded(index, archive, parts)
    archive_parts = [*with_key, *without_key]
    num_files = len(archive_parts) + len(lists)
    num_present = sum(is_present(part, index.folder) for part in archive_parts)
    num_present += sum(is_present(part, save_path) for part in lists)
    key = "" if all(is_present(part, index.folder) for part in with_key) else find_key()
    download_parts(with_key, index.folder, base_url=base_url, key=key, jobs=jobs)
    download_parts(without_key, index.folder, base_url=base_url, jobs=jobs)
    download_parts(lists, save_path, base_url=base_url, jobs=jobs)
    return [*messages, f"downloaded: {num_files - num_present} files, {num_present} were there already"]


def _why_not_downloaded(index: ArchiveIndex, archive: Archive, parts: Sequence[Part]) -> list[str]:
    """Parts of an archive that are downloaded -> why the others aren't."""
    num_present = len(archive.parts) - len(parts)
    if num_present == 0:
        return []
    if root := index.extracted_root(archive):
        return [f"{archive.name}: not downloaded, its recordings are in {root}"]
    folder = next(iter(index.files(archive) or index.available_parts(archive).values())).parent
    count = f"{num_present} of {len(archive.parts)} files" if parts else "all files"
    return [f"{archive.name}: {count} there already, in {folder}"]


def concatenate(corpora: Corpora, save_path: Path, source: Path | None) -> list[str]:
    """--concatenate: the checksums of archives in parts, of the joined bytes or of each part.

    Raises:
        ValueError: a wrong checksum.
    """
    index = ArchiveIndex(save_path, source)
    messages: list[str] = []
    for archive in (a for corpus in corpora.values() for a in corpus.archives if len(a.parts) > 1):
        files = index.files(archive)
        available = index.available_parts(archive)
        if files and archive.md5 is not None:
            check_joined(files, archive.md5)
        else:
            for part, path in available.items():
                checksum = part.checksum
                if checksum and not has_checksum(path, checksum, index.folder):
                    raise ValueError(f"{path}: expected {checksum}, got another; download it again")
        if files:
            messages.append(f"{archive.name}: {len(files)} files, whole; --extract reads them as they are")
        elif available:
            missing = ", ".join(part.name for part in archive.parts if part not in available)
            count = f"{len(available)} of {len(archive.parts)} parts"
            messages.append(f"{archive.name}: {count}; missing: {missing}")
    return messages or ["no archive in parts is there; use --download"]


def extract(corpora: Corpora, save_path: Path, source: Path | None) -> list[str]:
    """--extract: every archive that is there; the messages name those that are missing.

    Raises:
        FileNotFoundError: a corpus has neither an archive nor recordings.
    """
    index = ArchiveIndex(save_path, source)
    messages: list[str] = []
    for name, corpus in corpora.items():
        num_extracted = 0
        for archive in corpus.archives:
            files = index.files(archive)
            if files:
                count = extract_archive(
                    files,
                    save_path / archive.target,
                    name=archive.name,
                    only=_starts_with(archive.only),
                )
                result = f"{count} files in {save_path / archive.target}"
            elif root := index.extracted_root(archive):
                result = f"extracted already, in {root}"
            else:
                missing = ", ".join(part.name for part in index.missing_parts(archive))
                messages.append(f"{name}: {archive.name} is missing ({missing})")
                continue
            messages.append(f"{name}: {archive.name}: {result}")
            num_extracted += 1
        if not num_extracted and not has_recordings(corpus, save_path, source):
            raise _missing(name, corpus, "archive", folder=index.folder, source=source, steps="--download")
    return messages


def _starts_with(prefixes: tuple[str, ...]) -> Callable[[str], bool] | None:
    return (lambda path: path.startswith(prefixes)) if prefixes else None


def _missing(
    name: str, corpus: Corpus, what: str, *, folder: Path, source: Path | None, steps: str
) -> FileNotFoundError:
    """The error that a corpus isn't there: where it was looked for, and what to do."""
    unreadable_folders: list[str] = []
    places = str(folder)
    if source is not None:
        places += f" or {source}"
        for _ in walk(source, unreadable_folders):
            pass
    remark = f" ({unreadable(unreadable_folders)})" if unreadable_folders else ""
    advice = f"use {steps}, or --from DIR if you have them elsewhere"
    return FileNotFoundError(f"{name}: no {what} in {places}{remark}; {advice}. {corpus.access}")


def to_convert(corpora: Corpora, save_path: Path, source: Path | None, suffix: str) -> list[Job]:
    """Encoded recordings of the corpora, and the files under --save_path that they are converted to.

    Raises:
        FileNotFoundError: a corpus has neither encoded nor other recordings.
    """
    jobs: list[Job] = []
    for name, corpus in corpora.items():
        tree = corpus.encoded
        root = find_tree(tree, save_path, source) if tree else None
        if tree and root:
            for path in read_tree(root, tree.pattern).paths:
                target = save_path / tree.root / converted_path(path)
                jobs.append(Job(root / path, target.with_suffix(f".{suffix}")))
        elif not has_recordings(corpus, save_path, source):
            folder = save_path / (tree or corpus.archives[0].trees[0]).root
            steps = "--download, --extract"
            raise _missing(name, corpus, "recordings", folder=folder, source=source, steps=steps)
    return jobs


def converted_path(path: str) -> str:
    """Path of an encoded recording -> that of the converted one, apart from the suffix."""
    return path.replace("/aac/", "/wav/")


def convert(jobs: Sequence[Job], save_path: Path, part: str, workers: int, channel: int) -> list[str]:
    """--convert: the jobs of the part i/n; those that failed are listed in a file."""
    report = convert_files(jobs, workers=workers, channel=channel)
    counts = f"{report.converted} files, {report.skipped} were there already, {len(report.failed)} failed"
    messages = [f"converted: {counts}", *channel_warnings(report, channel)]
    suffix = "" if part == "1/1" else f".{part.replace('/', 'of')}"
    failures = save_path / f"convert_failures{suffix}.txt"
    failures.unlink(missing_ok=True)  # of an earlier run
    if report.failed:
        write_text(failures, text_of(report.failed, by_tabs=True))
        messages.append(
            f"warning: {failures} names the files that failed, and why; the lists won't have them"
        )
    return messages


def augment(corpora: Corpora, save_path: Path, source: Path | None) -> list[str]:
    """--augment: noises and room responses extracted, and listed as `category path`."""
    messages = extract(corpora, save_path, source)
    for name, corpus in corpora.items():
        assert corpus.train is not None
        root = find_tree(corpus.train, save_path, source)
        if root is None:
            folder = save_path / corpus.train.root
            raise FileNotFoundError(f"{name}: extracted, but there are no recordings in {folder}")
        recordings = read_tree(root, corpus.train.pattern)
        categories = zip(recordings.speakers, recordings.paths, strict=True)
        list_path = save_path / f"{name}_list.txt"
        write_text(list_path, text_of(categories))
        messages.append(f"{list_path}: {len(recordings.paths)} files under {root}")
    return messages


def generate(
    corpora: Corpora, save_path: Path, source: Path | None, split: Split, kaldi: Path | None
) -> list[SavedLists]:
    """--generate: lists of every corpus; a corpus's trials are its official ones, where it has any.

    Raises:
        FileNotFoundError, ValueError: a corpus's recordings aren't there, or are too few.
    """
    saved = []
    for name, corpus in corpora.items():
        assert corpus.train is not None
        root = find_tree(corpus.train, save_path, source)
        if root is None:
            folder = save_path / corpus.train.root
            steps = "--download, --extract" + (", --convert" if corpus.encoded else "")
            raise _missing(name, corpus, "recordings", folder=folder, source=source, steps=steps)
        train = read_tree(root, corpus.train.pattern)
        test = read_tree(root, corpus.test.pattern) if corpus.test and not corpus.lists else None
        genders = read_genders(corpus.genders, root) if corpus.genders else None
        new = make_lists(train, test if test and test.paths else None, split, genders)
        lists = save_lists(new, save_path, list_name(name, ""), root, kaldi / name if kaldi else None)
        messages = [*lists.messages, *_size_remarks(train, corpus), f"their paths start at {root}"]
        if corpus.lists:
            messages += link_all_speakers(save_path, source, corpus)
        lists = _with_official_trials(lists, save_path, source, corpus)
        saved.append(lists._replace(messages=messages))
    return saved


def _with_official_trials(
    lists: SavedLists, save_path: Path, source: Path | None, corpus: Corpus
) -> SavedLists:
    """Lists of a corpus -> the same, with the first official trial list on the disk if they lack trials."""
    official = next((path for part in corpus.lists if (path := save_path / part.name).exists()), None)
    root = find_tree(corpus.test, save_path, source) if corpus.test and official else None
    if lists.test_list or root is None:
        return lists
    return lists._replace(test_list=official, test_path=root)


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
        for speaker in sorted(set(read_tree(root, tree.pattern).speakers)):
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
