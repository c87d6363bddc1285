"""The steps of dataprep.py for corpora; each does what isn't done yet and returns messages to print."""

from collections.abc import Callable, Sequence
from pathlib import Path

from corpora._corpus import Archive, Corpora, Part
from metrics.fields import text_of
from preparation.archives import ArchiveIndex, has_recordings, missing_files, missing_recordings
from preparation.checksums import has_checksum, is_present
from preparation.convert import Job, channel_warnings, convert_files
from preparation.download import download_parts
from preparation.extract import extract_archive
from preparation.joined import check_joined
from preparation.tree import find_tree, read_recordings, read_tree
from storage.files import write_text


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
    for name, corpus in corpora.items():
        lists += [*corpus.lists, *corpus.tables]
        if not corpus.archives:
            messages.append(f"{name}: can't be downloaded here; {corpus.access}")
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
            if not corpus.archives:
                raise missing_recordings(name, corpus, save_path, source)
            raise missing_files(
                name, corpus, "archive", folder=index.folder, source=source, steps="--download"
            )
    return messages


def _starts_with(prefixes: tuple[str, ...]) -> Callable[[str], bool] | None:
    return (lambda path: path.startswith(prefixes)) if prefixes else None


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
            raise missing_recordings(name, corpus, save_path, source)
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
        recordings = read_recordings(root, corpus.train)
        categories = zip(recordings.speakers, recordings.paths, strict=True)
        list_path = save_path / f"{name}_list.txt"
        write_text(list_path, text_of(categories))
        messages.append(f"{list_path}: {len(recordings.paths)} files under {root}")
    return messages
