"""The steps of dataprep.py over corpora: each finds what is there, does what is missing and tells it."""

import os
from collections.abc import Callable
from pathlib import Path

from corpora import _convert, _download, _extract, _generate, _tree
from corpora._corpus import Archive, Corpus
from corpora._lists import Utterances, write_lists
from corpora._verified import Part
from files import write_text

Corpora = dict[str, Corpus]
MAIN = "voxceleb2"  # its lists have the names that trainSpeakerNet.py looks for


class Shelf:
    """Where archives may lie: under --save_path, or anywhere under --from."""

    def __init__(self, save_path: Path, source: Path | None) -> None:
        self.folder = save_path / "archives"
        self.known: dict[str, Path] = {}
        roots = [source] if source is not None and source.is_dir() else []
        for root in (*roots, save_path, self.folder):  # the later wins
            paths = _tree.walk(root) if root is source else (e.name for e in _files_of(root))
            self.known |= {path.rpartition("/")[2]: root / path for path in paths}

    def pieces(self, archive: Archive) -> list[Path]:
        """The archive's file, or its pieces in order; [] unless all are there."""
        if archive.name in self.known:
            return [self.known[archive.name]]
        found = [self.known.get(part.name) for part in archive.parts]
        return [path for path in found if path is not None] if all(found) else []

    def missing(self, archive: Archive) -> list[str]:
        """Names of what is lacking of the archive."""
        return [] if self.pieces(archive) else [p.name for p in archive.parts if p.name not in self.known]


def _files_of(folder: Path) -> list["os.DirEntry[str]"]:
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return [entry for entry in entries if entry.is_file()]


def download(
    names: Corpora, save_path: Path, source: Path | None, base_url: str, key: str, parallel: int
) -> list[str]:
    """--download: archives and lists that aren't there yet."""
    shelf = Shelf(save_path, source)
    wanted = [a for c in names.values() for a in c.archives if not a.is_extracted(save_path)]
    elsewhere = [a for a in wanted if any(p.parent != shelf.folder for p in shelf.pieces(a))]
    with_key = {a.name for c in names.values() if c.key for a in c.archives}
    lists = [part for corpus in names.values() for part in corpus.lists]
    secret, plain = list[Part](), list[Part]()
    for archive in wanted:
        if archive not in elsewhere:
            (secret if archive.name in with_key else plain).extend(archive.parts)
    for parts, folder, sent in (
        (secret, shelf.folder, key),
        (plain, shelf.folder, ""),
        (lists, save_path, ""),
    ):
        _download.download(parts, folder, base_url=base_url, key=sent, jobs=parallel)
    told = [f"{a.name}: there already, in {shelf.pieces(a)[0].parent}" for a in elsewhere]
    return [
        *told,
        f"downloaded: {len(secret) + len(plain)} archive files, {len(lists)} lists; next: --extract",
    ]


def concatenate(names: Corpora, save_path: Path, source: Path | None) -> list[str]:
    """--concatenate: the checksum of every archive in pieces, read one after the other."""
    shelf, told = Shelf(save_path, source), []
    for corpus in names.values():
        for archive in corpus.archives:
            pieces = shelf.pieces(archive)
            if len(archive.parts) == 1 or not pieces or archive.md5 is None:
                continue
            _extract.check_joined(pieces, archive.md5)
            told.append(f"{archive.name}: {len(pieces)} files, whole; --extract reads them as they are")
    return told or ["no archive in pieces is there; next: --download"]


def extract(names: Corpora, save_path: Path, source: Path | None) -> list[str]:
    """--extract: every archive that is there; says which are missing.

    Raises:
        FileNotFoundError: a corpus has no archive at all, and no recordings either.
    """
    shelf, told = Shelf(save_path, source), []
    for name, corpus in names.items():
        done = 0
        for archive in corpus.archives:
            if archive.is_extracted(save_path) and not shelf.pieces(archive):
                done += 1  # the archive was deleted after it was unpacked
                continue
            pieces = shelf.pieces(archive)
            if not pieces:
                told.append(f"{name}: {archive.name} is missing ({', '.join(shelf.missing(archive))})")
                continue
            count = _extract.extract(
                pieces[0] if len(pieces) == 1 else pieces,
                save_path / archive.target,
                name=archive.name,
                only=_beginning_with(archive.only),
            )
            told.append(f"{name}: {archive.name}: {count} files in {save_path / archive.target}")
            done += 1
        if not done and not _located(corpus, save_path, source):
            raise FileNotFoundError(
                f"{name}: no archive in {shelf.folder}"
                + (f" or {source}" if source else "")
                + "; use --download, "
                f"or --from DIR if you have them elsewhere. {corpus.access}"
            )
    return told


def _beginning_with(names: tuple[str, ...]) -> Callable[[str], bool] | None:
    return (lambda member: member.startswith(names)) if names else None


def _located(corpus: Corpus, save_path: Path, source: Path | None) -> bool:
    return any(tree and _tree.find_tree(tree, save_path, source) for tree in (corpus.train, corpus.encoded))


def convert(
    names: Corpora, save_path: Path, source: Path | None, suffix: str, part: str, workers: int
) -> list[str]:
    """--convert: encoded recordings of the corpora, or those of the user's own tree."""
    jobs, found = list[_convert.Job](), [c.encoded for c in names.values() if c.encoded]
    for tree in found:
        root = _tree.find_tree(tree, save_path, source)
        if root is not None:
            paths = _tree.read_tree(root, tree.pattern).paths
            jobs += [
                _convert.Job(
                    root / p,
                    save_path / tree.root / Path(p.replace("/aac/", "/wav/")).with_suffix(f".{suffix}"),
                )
                for p in paths
            ]
    if not names and source is not None:
        paths = sorted(path for path in _tree.walk(source) if _tree.AUDIO.fullmatch(path))
        jobs = [_convert.Job(source / p, (save_path / p).with_suffix(f".{suffix}")) for p in paths]
    if not jobs:
        return ["nothing to convert" if found or names else "nothing to convert; give --corpus or --from"]
    report = _convert.convert(_convert.shard(jobs, part), workers=workers)
    counts = f"{report.converted} files, {report.skipped} were there already, {len(report.failed)} failed"
    told = [f"converted: {counts}"]
    if report.failed:
        failures = save_path / "convert_failures.txt"
        write_text(failures, "".join(f"{path}\t{reason}\n" for path, reason in report.failed))
        told.append(f"{failures} names the failed ones and why")
    return told


def augment(names: Corpora, save_path: Path, source: Path | None) -> list[str]:
    """--augment: noises and room responses unpacked and listed, `category path`, for partial reads."""
    told = extract(names, save_path, source)
    for name, corpus in names.items():
        assert corpus.train is not None
        root = _tree.find_tree(corpus.train, save_path, source)
        if root is None:
            raise FileNotFoundError(
                f"{name}: unpacked, but no recordings lie in {save_path / corpus.train.root}"
            )
        found = _tree.read_tree(root, corpus.train.pattern)
        lines = (f"{kind} {path}\n" for kind, path in zip(found.speakers, found.paths, strict=True))
        write_text(save_path / f"{name}_list.txt", "".join(lines))
        told.append(f"{save_path}/{name}_list.txt: {len(found.paths)} files under {root}")
    return told


def generate(
    names: Corpora, save_path: Path, source: Path | None, split: _generate.Split, kaldi: Path | None
) -> list[str]:
    """--generate: lists of every corpus whose recordings are there."""
    told = []
    for name, corpus in names.items():
        root = _tree.find_tree(corpus.train, save_path, source) if corpus.train else None
        if corpus.train is None or root is None:
            raise FileNotFoundError(
                f"{name}: no recordings in {save_path / (corpus.train.root if corpus.train else name)}; use "
                "--download, --extract" + (" and --convert" if corpus.encoded else "") + f". {corpus.access}"
            )
        train, test = _tree.read_tree(root, corpus.train.pattern), None
        if corpus.test and not corpus.lists:
            test = _tree.read_tree(root, corpus.test.pattern)
            test = test if test.paths else None
        genders = root / corpus.genders if corpus.genders else None
        known = _generate.read_genders(genders) if genders and genders.exists() else None
        made, lines = _generate.lists(train, test, split, known)
        write_lists(save_path, {list_name(name, kind): text for kind, text in made.items()})
        told += [f"{save_path}/{list_name(name, line)}" if ".txt" in line else line for line in lines]
        told += [*_against_known(train, corpus), f"their paths start at {root}"]
        if corpus.lists:
            told += view(save_path, source, corpus)
        if kaldi is not None:
            told += write_kaldi(save_path / list_name(name, "train_list.txt"), root, kaldi / name)
    return told


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
        root = _tree.find_tree(tree, save_path, source)
        for speaker in sorted(
            {p.split("/")[0] for p in _tree.read_tree(root, tree.pattern).paths} if root else ()
        ):
            everyone.mkdir(parents=True, exist_ok=True)
            link = everyone / speaker
            if root is not None and not link.is_symlink():
                link.symlink_to(os.path.relpath(root / speaker, everyone), target_is_directory=True)
    return [f"{everyone}: all speakers of {corpus.title}, where the paths of these lists start:"] + [
        f"  {save_path / part.name}"
        + ("" if (save_path / part.name).exists() else " (missing: use --download)")
        for part in corpus.lists
    ]


def write_kaldi(train_list: Path, root: Path, folder: Path) -> list[str]:
    """Train list -> Kaldi's files in folder."""
    _, utterances = _tree.read_source(train_list)
    for name, text in _tree.kaldi_files(utterances, root).items():
        write_text(folder / name, text)
    return [f"{folder}: wav.scp, utt2spk and spk2utt of {len(utterances.paths)} utterances"]
