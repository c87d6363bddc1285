"""The steps of dataprep.py over corpora: each finds what is there, does what is missing and tells it."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from corpora._corpus import Archive, Corpus, Part
from preparation.convert import Job, convert_files, shard
from preparation.download import download_parts
from preparation.extract import check_joined, extract_archive
from preparation.generate import Lists, Split, make_lists, read_genders, write_made
from preparation.lists import Utterances
from preparation.shelf import Shelf, located
from preparation.tree import find_tree, read_tree, unreadable
from preparation.verified import is_there, verify
from storage.files import walk, write_text

Corpora = dict[str, Corpus]
MAIN = "voxceleb2"  # its lists have the names that trainSpeakerNet.py looks for


def download(
    names: Corpora, save_path: Path, source: Path | None, base_url: str, key: Callable[[], str], parallel: int
) -> list[str]:
    """--download: archives and lists that aren't there yet; the key is asked for if a server wants it."""
    shelf, told = Shelf(save_path, source), list[str]()
    secret, plain = list[Part](), list[Part]()
    for corpus in names.values():
        for archive in corpus.archives:
            parts = shelf.to_download(archive)
            (secret if corpus.key else plain).extend(parts)
            told += _kept(shelf, archive, parts)
    lists = [part for corpus in names.values() for part in corpus.lists]
    archives = shelf.folder
    places = [(part, archives) for part in (*secret, *plain)] + [(part, save_path) for part in lists]
    there = sum(is_there(part, folder) for part, folder in places)
    found_key = key() if not all(is_there(part, archives) for part in secret) else ""
    for parts, folder, sent in ((secret, archives, found_key), (plain, archives, ""), (lists, save_path, "")):
        download_parts(parts, folder, base_url=base_url, key=sent, jobs=parallel)
    return [*told, f"downloaded: {len(places) - there} files, {there} were there already"]


def _kept(shelf: Shelf, archive: Archive, parts: Sequence[Part]) -> list[str]:
    """Parts of an archive that are downloaded -> why the others aren't."""
    if len(parts) == len(archive.parts):
        return []
    if root := shelf.unpacked(archive):
        return [f"{archive.name}: not fetched, its recordings are in {root}"]
    place = [*shelf.pieces(archive), *shelf.some(archive).values()][0].parent
    count = f"{len(archive.parts) - len(parts)} of {len(archive.parts)} files"
    return [f"{archive.name}: {count if parts else 'all'} there already, in {place}"]


def concatenate(names: Corpora, save_path: Path, source: Path | None) -> list[str]:
    """--concatenate: the checksums of archives in pieces, of the joined bytes or of each piece.

    Raises:
        ValueError: a wrong checksum.
    """
    shelf, told = Shelf(save_path, source), []
    for archive in (a for corpus in names.values() for a in corpus.archives if len(a.parts) > 1):
        pieces, some = shelf.pieces(archive), shelf.some(archive)
        if pieces and archive.md5 is not None:
            check_joined(pieces, archive.md5)
        else:
            for part, path in some.items():
                if part.md5 and not verify(path, part.md5, shelf.folder):
                    raise ValueError(f"{path}: expected md5 {part.md5}, got another; download it again")
        if pieces:
            told.append(f"{archive.name}: {len(pieces)} files, whole; --extract reads them as they are")
        elif some:
            lacking = ", ".join(part.name for part in archive.parts if part not in some)
            told.append(f"{archive.name}: {len(some)} of {len(archive.parts)} pieces; missing: {lacking}")
    return told or ["no archive in pieces is there; use --download"]


def extract(names: Corpora, save_path: Path, source: Path | None) -> list[str]:
    """--extract: every archive that is there; says which are missing.

    Raises:
        FileNotFoundError: a corpus has no archive at all, and no recordings either.
    """
    shelf, told = Shelf(save_path, source), []
    for name, corpus in names.items():
        done = 0
        for archive in corpus.archives:
            pieces = shelf.pieces(archive)
            if pieces:
                count = extract_archive(
                    pieces[0] if len(pieces) == 1 else pieces,
                    save_path / archive.target,
                    name=archive.name,
                    only=_beginning_with(archive.only),
                )
                told.append(f"{name}: {archive.name}: {count} files in {save_path / archive.target}")
            elif root := shelf.unpacked(archive):
                told.append(f"{name}: {archive.name}: unpacked already, in {root}")
            else:
                lacking = ", ".join(part.name for part in shelf.lacking(archive))
                told.append(f"{name}: {archive.name} is missing ({lacking})")
                continue
            done += 1
        if not done and not located(corpus, save_path, source):
            raise _absent(name, corpus, "archive", shelf.folder, source, "--download")
    return told


def _beginning_with(names: tuple[str, ...]) -> Callable[[str], bool] | None:
    return (lambda member: member.startswith(names)) if names else None


def _absent(
    name: str, corpus: Corpus, what: str, folder: Path, source: Path | None, steps: str
) -> FileNotFoundError:
    """The error that a corpus isn't there, where it was looked for, and what to do."""
    locked = list[str]()
    for _ in walk(source, locked) if source is not None else ():
        pass
    places = f"{folder} or {source}" if source is not None else str(folder)
    remark = f" ({unreadable(locked)})" if locked else ""
    advice = f"use {steps}, or --from DIR if you have them elsewhere"
    return FileNotFoundError(f"{name}: no {what} in {places}{remark}; {advice}. {corpus.access}")


def to_convert(names: Corpora, save_path: Path, source: Path | None, suffix: str) -> list[Job]:
    """Encoded recordings of the corpora, what they become under --save_path.

    Raises:
        FileNotFoundError: of a corpus there are neither encoded nor other recordings.
    """
    jobs = list[Job]()
    for name, corpus in names.items():
        tree = corpus.encoded
        root = find_tree(tree, save_path, source) if tree else None
        if tree and root:
            for path in read_tree(root, tree.pattern).paths:
                target = save_path / tree.root / in_wav(path)
                jobs.append(Job(root / path, target.with_suffix(f".{suffix}")))
        elif not located(corpus, save_path, source):
            folder = save_path / Path((tree or corpus.archives[0].trees[0]).root)
            raise _absent(name, corpus, "recordings", folder, source, "--download, --extract")
    return jobs


def in_wav(path: str) -> str:
    """Path of an encoded recording -> that of the converted one, but for its ending."""
    return path.replace("/aac/", "/wav/")


def convert(jobs: Sequence[Job], save_path: Path, part: str, workers: int) -> list[str]:
    """--convert: the part i/n of the jobs; those that failed are listed in a file."""
    report = convert_files(shard(jobs, part), workers=workers)
    counts = f"{report.converted} files, {report.skipped} were there already, {len(report.failed)} failed"
    told = [f"converted: {counts}"]
    suffix = "" if part == "1/1" else f".{part.replace('/', 'of')}"
    failures = save_path / f"convert_failures{suffix}.txt"
    failures.unlink(missing_ok=True)  # of a run before
    if report.failed:
        write_text(failures, "".join(f"{path}\t{reason}\n" for path, reason in report.failed))
        told.append(f"warning: {failures} names the files that failed, and why; the lists won't have them")
    return told


def augment(names: Corpora, save_path: Path, source: Path | None) -> list[str]:
    """--augment: noises and room responses unpacked and listed, `category path`, for partial reads."""
    told = extract(names, save_path, source)
    for name, corpus in names.items():
        assert corpus.train is not None
        root = find_tree(corpus.train, save_path, source)
        if root is None:
            folder = save_path / corpus.train.root
            raise FileNotFoundError(f"{name}: unpacked, but no recordings lie in {folder}")
        found = read_tree(root, corpus.train.pattern)
        lines = (f"{kind} {path}\n" for kind, path in zip(found.speakers, found.paths, strict=True))
        write_text(save_path / f"{name}_list.txt", "".join(lines))
        told.append(f"{save_path}/{name}_list.txt: {len(found.paths)} files under {root}")
    return told


def generate(
    names: Corpora, save_path: Path, source: Path | None, split: Split, kaldi: Path | None
) -> list[Lists]:
    """--generate: lists of every corpus; a corpus's trials are its official ones, where it has any.

    Raises:
        FileNotFoundError, ValueError: a corpus's recordings aren't there, or are too few.
    """
    written = []
    for name, corpus in names.items():
        assert corpus.train is not None
        root = find_tree(corpus.train, save_path, source)
        if root is None:
            steps = "--download, --extract" + (", --convert" if corpus.encoded else "")
            raise _absent(name, corpus, "recordings", save_path / corpus.train.root, source, steps)
        train = read_tree(root, corpus.train.pattern)
        test = read_tree(root, corpus.test.pattern) if corpus.test and not corpus.lists else None
        genders = read_genders(corpus.genders, root) if corpus.genders else None
        made = make_lists(train, test if test and test.paths else None, split, genders)
        lists = write_made(made, save_path, list_name(name, ""), root, kaldi / name if kaldi else None)
        told = [*lists.told, *_against_known(train, corpus), f"their paths start at {root}"]
        told += view(save_path, source, corpus) if corpus.lists else []
        written.append(_with_official(lists, save_path, source, corpus)._replace(told=told))
    return written


def _with_official(lists: Lists, save_path: Path, source: Path | None, corpus: Corpus) -> Lists:
    """Lists of a corpus -> the same, with the first official trial list that is there if they lack one."""
    official = next((path for part in corpus.lists if (path := save_path / part.name).exists()), None)
    root = find_tree(corpus.test, save_path, source) if corpus.test and official else None
    if lists.test_list or root is None:
        return lists
    return lists._replace(test_list=official, test_path=root)


def list_name(corpus: str, kind: str) -> str:
    """train_list.txt of a corpus -> its name; VoxCeleb2's is the one that the trainer looks for."""
    return kind if corpus == MAIN else f"{corpus}_{kind}"


def _against_known(train: Utterances, corpus: Corpus) -> list[str]:
    known, speakers = corpus.known or {}, len(set(train.speakers))
    if not known or (speakers, len(train.paths)) == (known["speakers"], known["utterances"]):
        return []
    if speakers == known.get("mirror_speakers"):
        return [f"note: {speakers} speakers: a mirror that is known to lack {known['speakers'] - speakers}"]
    whole = f"{known['speakers']} speakers, {known['utterances']} utterances"
    return [f"note: {corpus.title} is known to have {whole}"]


def view(save_path: Path, source: Path | None, corpus: Corpus) -> list[str]:
    """One folder that holds the speakers of both parts as links, which the lists E and H need."""
    assert corpus.train is not None and corpus.test is not None
    everyone = save_path / Path(corpus.test.root).parts[0] / "all" / "wav"
    for tree in (corpus.train, corpus.test):
        root = find_tree(tree, save_path, source)
        for speaker in sorted(set(read_tree(root, tree.pattern).speakers)) if root else ():
            everyone.mkdir(parents=True, exist_ok=True)
            _link(everyone / speaker, (root or everyone) / speaker)
    missing = {
        part: "" if (save_path / part.name).exists() else " (missing: use --download)"
        for part in corpus.lists
    }
    return [
        f"{everyone}: all speakers of {corpus.title}, where the paths of these lists start:",
        *(f"  {save_path / part.name}{remark}" for part, remark in missing.items()),
    ]


def _link(link: Path, folder: Path) -> None:
    """Make a relative link to a folder; one to another folder is replaced, a folder in its place stays."""
    target = os.path.relpath(folder.resolve(), link.parent.resolve())
    if link.is_symlink() and str(link.readlink()) != target:
        link.unlink()
    if not link.is_symlink() and not link.exists():
        link.symlink_to(target, target_is_directory=True)
