"""extract.py, members.py, joined.py: archives in parts, interrupted extractions, hostile archives."""

import gzip
import hashlib
import io
import json
import os
import random
import re
import signal
import stat
import struct
import subprocess
import sys
import tarfile
import warnings
import zipfile
from collections import namedtuple

import pytest
from conftest import ROOT

from preparation import extract, members
from preparation.extract import extract_archive
from preparation.joined import JoinedFile, check_joined
from storage.files import write_text

RANDOM = random.Random(1)
GOOD = {
    "corpus/readme.txt": b"two speakers",
    "corpus/id1/one.wav": RANDOM.randbytes(3_000),
    "corpus/id1/empty.wav": b"",
    "corpus/id2/größe 説話.wav": RANDOM.randbytes(70_000),
    "corpus/id2/deep/er/two.wav": RANDOM.randbytes(2 * 2**20 + 17),  # longer than a chunk
}


@pytest.fixture(autouse=True)
def synced(monkeypatch):
    """Calls of os.sync, which waits for all of the machine's files."""
    calls = []
    monkeypatch.setattr(os, "sync", lambda: calls.append("sync"))
    return calls


def tar_of(path, members=GOOD, infos=(), mode="w:gz", **settings):
    """Contents by name, then headers without contents -> archive."""
    with tarfile.open(path, mode, **settings) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for info in infos:
            archive.addfile(info)
    return path


def zip_of(path, members=GOOD, method=zipfile.ZIP_DEFLATED):
    """Contents by name, or (name, contents) pairs -> archive."""
    with zipfile.ZipFile(path, "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of duplicates
        for name, data in members.items() if isinstance(members, dict) else members:
            archive.writestr(zipfile.ZipInfo(name) if name.endswith("/") else name, data)
    return path


def patch(path, which, offset, kind, value):
    """Overwrite a field of a zip's entry in its table of contents."""
    data = bytearray(path.read_bytes())
    start = [match.start() for match in re.finditer(b"PK\1\2", data)][which]
    struct.pack_into(kind, data, start + offset, value)
    path.write_bytes(data)


FLAGS, METHOD, PACKED_SIZE, SIZE, HEADER_OFFSET = (8, "<H"), (10, "<H"), (20, "<I"), (24, "<I"), (42, "<I")


def header(name, kind, **fields):
    """A tar header of any kind."""
    info = tarfile.TarInfo(name)
    info.type = kind
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def tree(folder):
    """Folder -> contents of its files and targets of its links, by relative path."""
    paths = sorted(folder.rglob("*")) if folder.exists() else []
    return {
        path.relative_to(folder).as_posix(): path.readlink() if path.is_symlink() else path.read_bytes()
        for path in paths
        if path.is_symlink() or not path.is_dir()
    }


def files_of(folder):
    """The same without the marker."""
    return {name: data for name, data in tree(folder).items() if not name.startswith(".extracted-")}


def split(path, count):
    """Archive -> parts of it in place of it."""
    data, parts = path.read_bytes(), []
    for number in range(count):
        parts.append(path.with_name(f"{path.name}_part{number}"))
        parts[-1].write_bytes(data[len(data) * number // count : len(data) * (number + 1) // count])
    path.unlink()
    return parts


# Parts


def test_joined_reads_as_the_concatenated_bytes(tmp_path):
    chunks = [RANDOM.randbytes(size) for size in (1000, 0, 1, 4096, 0, 333, 0)]
    whole = b"".join(chunks)
    parts = [tmp_path / str(number) for number in range(len(chunks))]
    for part, chunk in zip(parts, chunks, strict=True):
        part.write_bytes(chunk)
    joined, oracle = JoinedFile(parts), io.BytesIO(whole)
    assert joined.read() == whole and joined.read(5) == b"" and joined.size == len(whole)
    for _ in range(500):
        whence = RANDOM.randrange(3)
        offset = RANDOM.randrange(-len(whole), len(whole) + 50)
        if offset + (0, oracle.tell(), len(whole))[whence] < 0:
            with pytest.raises(OSError):
                joined.seek(offset, whence)
            continue
        expected = oracle.seek(offset + (0, oracle.tell(), len(whole))[whence])
        assert joined.seek(offset, whence) == expected == joined.tell()
        size = RANDOM.choice([0, 1, 7, 1500, 9000])
        buffer = bytearray(size)
        expected = oracle.read(size)
        count = joined.readinto(buffer)
        assert bytes(buffer[:count]) == expected and joined.tell() == oracle.tell()


def test_joined_beyond_4_gigabytes_and_beyond_a_part_that_shrinks(tmp_path):
    parts = [tmp_path / "a", tmp_path / "b"]
    with parts[0].open("wb") as file:
        file.truncate(5 * 2**30)  # takes no room
    parts[1].write_bytes(b"0123456789")
    joined = JoinedFile(parts)
    joined.seek(5 * 2**30 - 2)
    assert joined.read(5) == b"\0\x00012"
    parts[1].write_bytes(b"01")
    with pytest.raises(OSError, match="became shorter"):
        joined.read(2)


def test_zipfile_reads_joined_parts(tmp_path):
    parts = split(zip_of(tmp_path / "a.zip"), 7)
    with zipfile.ZipFile(JoinedFile(parts)) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == GOOD


def test_check_joined(tmp_path):
    path = zip_of(tmp_path / "a.zip")
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    parts = split(path, 3)
    check_joined(parts, md5.upper())
    with pytest.raises(ValueError, match=f"expected md5 {md5} of the joined parts, got ") as error:
        check_joined([parts[1], parts[0], parts[2]], md5)
    assert "\n" not in str(error.value)


# Honest archives

MAKE = {
    "zip": zip_of,
    "stored zip": lambda path: zip_of(path, method=zipfile.ZIP_STORED),
    "tar": lambda path: tar_of(path, mode="w"),
    "tar.gz": tar_of,
    "tar.gz with extended headers": lambda path: tar_of(path, format=tarfile.PAX_FORMAT),
}


@pytest.mark.parametrize("kind", MAKE)
@pytest.mark.parametrize("count", [1, 4])
def test_archives_are_extracted_whole(tmp_path, kind, count):
    archive = MAKE[kind](tmp_path / "a.data")  # recognised by its contents: the name says nothing
    parts = split(archive, count) if count > 1 else archive
    before = set(tmp_path.iterdir())
    assert extract_archive(parts, tmp_path / "x" / "target", name="a.zip") == len(GOOD)
    assert files_of(tmp_path / "x" / "target") == GOOD
    assert set(tmp_path.iterdir()) - before == {tmp_path / "x"}  # no joined copy


def test_folders_dots_and_empty_folders_in_archives(tmp_path):
    folder = header("./corpus", tarfile.DIRTYPE, mode=0o700)
    tar_of(tmp_path / "a.tgz", {"./corpus/./x": b"1"}, [folder, header(".", tarfile.DIRTYPE)])
    zip_of(tmp_path / "b.zip", {"./": b"", "corpus/": b"", "corpus//y": b"2"})
    assert (
        extract_archive(tmp_path / "a.tgz", tmp_path / "t")
        == extract_archive(tmp_path / "b.zip", tmp_path / "t")
        == 1
    )
    assert files_of(tmp_path / "t") == {"corpus/x": b"1", "corpus/y": b"2"}


def test_modes_are_plain_whatever_the_archive_and_the_umask_say(tmp_path):
    info = header("a/b/run", tarfile.REGTYPE, mode=0o6777, uid=1234)
    tar_of(tmp_path / "a.tar.gz", {}, [info, header("a/b", tarfile.DIRTYPE, mode=0o7777)])
    old = os.umask(0o077)
    try:
        extract_archive(tmp_path / "a.tar.gz", tmp_path / "t")
    finally:
        assert os.umask(old) == 0o077  # as it was
    modes = {path: stat.S_IMODE((tmp_path / "t" / path).stat().st_mode) for path in ("a", "a/b", "a/b/run")}
    assert modes == {"a": 0o755, "a/b": 0o755, "a/b/run": 0o644}
    assert (tmp_path / "t/a/b/run").stat().st_uid == os.getuid()


def test_only_some(tmp_path, synced, monkeypatch):
    archive = zip_of(tmp_path / "a.zip")
    first = lambda path: path.startswith("corpus/id1/")  # noqa: E731
    assert extract_archive(archive, tmp_path / "t", only=first) == 2
    assert set(files_of(tmp_path / "t")) == {"corpus/id1/one.wav", "corpus/id1/empty.wav"}
    (tmp_path / "t/corpus/id1/one.wav").write_bytes(bytes(3_000))
    with monkeypatch.context() as patched:
        patched.setattr(extract.hashlib, "file_digest", None)  # the marker is trusted: no file is compared
        assert extract_archive(archive, tmp_path / "t", only=first) == 2 and synced == ["sync"]
    (tmp_path / "t/corpus/id1/one.wav").write_bytes(GOOD["corpus/id1/one.wav"])
    assert (
        extract_archive(archive, tmp_path / "t", only=lambda path: path.endswith(".txt")) == 1
    )  # another choice
    assert len(files_of(tmp_path / "t")) == 3
    assert extract_archive(archive, tmp_path / "t") == 5
    assert files_of(tmp_path / "t") == GOOD
    hostile = zip_of(tmp_path / "b.zip", {"good": b"1", "../bad": b"2"})
    with pytest.raises(ValueError, match="leads elsewhere"):
        extract_archive(hostile, tmp_path / "t", only=lambda path: path == "good")


def test_free_space_is_checked_first(tmp_path, monkeypatch):
    usage = namedtuple("usage", "free")
    archive = tar_of(tmp_path / "a.tar.gz")
    monkeypatch.setattr(extract.shutil, "disk_usage", lambda path: usage(1_000_000))
    with pytest.raises(OSError, match=r"2,\d+,\d+ bytes needed, 1,000,000 free") as error:
        extract_archive(archive, tmp_path / "t")
    assert "\n" not in str(error.value) and not (tmp_path / "t").exists()
    assert (
        extract_archive(archive, tmp_path / "t", only=lambda path: "id1" in path) == 2
    )  # for these there is room


# Runs that were interrupted

KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from preparation.extract import extract_archive
count = int(sys.argv[4])
def killing(function):
    def wrapped(*args):
        global count
        count -= 1
        if count < 0:
            if function is copy:
                args[1].write(args[0].read(args[2] // 2))
                args[1].flush()
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args)
    return wrapped
copy = shutil.copyfileobj
os.sync = lambda: None
if sys.argv[3] == "within a file":
    shutil.copyfileobj = killing(copy)
elif sys.argv[3] == "before a name":
    Path.replace = killing(Path.replace)
elif sys.argv[3] == "before the sync":
    os.sync = killing(os.sync)
extract_archive(Path(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.mark.parametrize(
    ("kind", "point", "count"),
    [
        ("zip", "within a file", 0),
        ("tar.gz", "within a file", 4),
        ("tar.gz", "before a name", 2),
        ("zip", "before a name", 2),
        ("zip", "before the sync", 0),
        ("zip", "before a name", len(GOOD)),  # the marker's
    ],
)
def test_a_killed_run_is_continued(tmp_path, kind, point, count):
    archive, target = MAKE[kind](tmp_path / "a.data"), tmp_path / "t"
    arguments = [str(archive), str(target), point, str(count)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], env=environment)
    assert killed.returncode == -signal.SIGKILL
    there = {name: data for name, data in tree(target).items() if not name.startswith(".")}
    assert there.items() <= GOOD.items() and len(there) == (
        count if count or "sync" not in point else len(GOOD)
    )
    assert not (target / ".extracted-a.data.json").exists()
    stamps = {name: (target / name).stat().st_ino for name in there}
    assert extract_archive(archive, target) == len(GOOD)
    assert {name: (target / name).stat().st_ino for name in there} == stamps  # not written again
    extract_archive(archive, tmp_path / "uninterrupted")
    assert tree(target) == tree(tmp_path / "uninterrupted")


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_file_with_other_contents_is_replaced(tmp_path, kind):
    archive = MAKE[kind](tmp_path / "a.data")
    (tmp_path / "t/corpus").mkdir(parents=True)
    (tmp_path / "t/corpus/readme.txt").write_bytes(
        bytes(len(GOOD["corpus/readme.txt"]))
    )  # a power cut's zeros
    (tmp_path / "t/corpus/other.txt").write_bytes(b"the user's")
    extract_archive(archive, tmp_path / "t")
    assert files_of(tmp_path / "t") == {**GOOD, "corpus/other.txt": b"the user's"}


def test_the_marker_is_trusted_as_long_as_the_archive_is_the_same(tmp_path, monkeypatch, synced):
    archive, target = zip_of(tmp_path / "a.zip"), tmp_path / "t"
    monkeypatch.setattr(extract, "write_text", lambda *args: (synced.append("marker"), write_text(*args)))
    extract_archive(archive, target)
    assert synced == ["sync", "marker"]  # or a power cut could leave the marker without the files
    marker = json.loads((target / ".extracted-a.zip.json").read_text())
    status = archive.stat()
    assert marker == {
        "archive": "a.zip",
        "parts": [["a.zip", status.st_size, status.st_mtime_ns]],
        "only": None,
        "count": 5,
    }
    (target / "corpus/readme.txt").write_text("changed")
    assert extract_archive(archive, target) == 5 and synced == [
        "sync",
        "marker",
    ]  # at once: no file is compared
    assert (target / "corpus/readme.txt").read_text() == "changed"
    os.utime(archive, ns=(0, 12345))
    assert extract_archive(archive, target) == 5 and files_of(target) == GOOD
    (target / ".extracted-a.zip.json").write_text("{")
    (target / "corpus/readme.txt").unlink()
    assert extract_archive(archive, target) == 5 and files_of(target) == GOOD


def test_archives_share_a_target_and_keep_each_others_markers(tmp_path):
    target = tmp_path / "t"
    extract_archive(zip_of(tmp_path / "train-clean", {"a": b"1"}), target)
    (target / ".extracting-train-clean-77").write_bytes(b"another run's")
    extract_archive(zip_of(tmp_path / "train", {"b": b"2"}), target)
    (target / ".extracting-train-77").write_bytes(b"left over")
    (target / "..extracted-train.json.77.tmp").write_bytes(b"left over")
    os.utime(tmp_path / "train", ns=(0, 1))
    extract_archive(tmp_path / "train", target)
    markers = {".extracted-train-clean.json", ".extracted-train.json"}
    assert set(tree(target)) == {"a", "b", ".extracting-train-clean-77", *markers}


# Hostile archives: (function of the paths of the archive and the target that writes it, text of the error)

OUT = "../outside/evil"


def zip_with_link(path, target):
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(link, "../outside")


def tar_with_link(path, target):
    tar_of(path, {"a": b"1"}, [header("link", tarfile.SYMTYPE, linkname="../outside")])


def tar_through_link(path, target):
    link = header("link", tarfile.SYMTYPE, linkname="../outside")
    tar_of(path, {}, [link, header("link/evil", tarfile.REGTYPE)])


def tar_raw(path, *blocks):
    path.write_bytes(gzip.compress(b"".join(blocks)))


def block(info, format=tarfile.GNU_FORMAT):
    return info.tobuf(format)


def zip_of_names(*names):
    return lambda path, target: zip_of(path, [(name, b"12") for name in names])


def tar_of_names(*names):
    return lambda path, target: tar_of(path, {name: b"12" for name in names})


def tar_of_kind(kind, **fields):
    return lambda path, target: tar_of(path, {"a": b"1"}, [header("b", kind, **fields)])


def patched(members, which, field, value):
    def write(path, target):
        patch(zip_of(path, members), which, field[0], field[1], value)

    return write


def cut(make, keep):
    """The first bytes of an archive; a fraction or a number."""

    def write(path, target):
        data = make(path).read_bytes()
        path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])

    return write


def zip_with_nul(path, target):
    data = zip_of(path, {"good.wavX.exe": b"1"}).read_bytes()
    path.write_bytes(data.replace(b"good.wavX", b"good.wav\0"))


def overlapping(path, target):
    """Two entries of one deflated kernel, as in zip bombs that overlap."""
    patch(zip_of(path, {"a": bytes(5000), "b": bytes(5000)}), 1, *HEADER_OFFSET, 0)


def swallowing(path, target):
    """A first entry whose data hold the second entry."""
    zip_of(path, {"a": b"1" * 50, "b": b"2" * 50}, zipfile.ZIP_STORED)
    patch(path, 0, *SIZE, 60)
    patch(path, 0, *PACKED_SIZE, 60)


def existing_link(path, target):
    target.mkdir()
    (target / "link").symlink_to("../outside")
    zip_of(path, {"a": b"1", "link/evil": b"2"})


def existing_link_of_a_file(path, target):
    target.mkdir()
    (target / "a").symlink_to("../outside/secret")
    zip_of(path, {"a": b"1"})


def existing_folder(path, target):
    (target / "a").mkdir(parents=True)
    zip_of(path, {"a": b"1"})


def existing_file(path, target):
    target.mkdir()
    (target / "a").write_text("the user's")
    tar_of(path, {"a/b": b"1"})


def over_itself(path, target):
    """An archive inside the target, with a member of the archive's name."""
    zip_of(path, {path.name: b"1"})
    target.symlink_to(path.parent)


HOSTILE = {
    "zip upwards": (zip_of_names("good", OUT), "leads elsewhere"),
    "zip upwards at the end": (zip_of_names("a/.."), "leads elsewhere"),
    "zip upwards from a folder": (zip_of_names("a/../../outside/evil"), "leads elsewhere"),
    "zip absolute": (
        lambda path, target: zip_of(path, {f"{target.parent}/outside/evil": b"1"}),
        "leads elsewh",
    ),
    "zip drive": (zip_of_names("C:/evil"), "leads elsewhere"),
    "zip drive and backslash": (zip_of_names("C:\\evil"), "leads elsewhere"),
    "zip backslash": (zip_of_names("..\\outside\\evil"), "leads elsewhere"),
    "zip marker": (zip_of_names("./.extracted-other.zip.json"), "leads elsewhere"),
    "zip link": (zip_with_link, "neither file nor folder"),
    "zip bomb": (lambda path, target: zip_of(path, {"a": bytes(10 * 2**20)}), "meant to fill the disk"),
    "zip overlapping entries": (overlapping, "overlaps the next"),
    "zip swallowing entries": (swallowing, "overlaps the next"),
    "zip encrypted": (patched({"a": b"1", "b": b"2"}, 1, FLAGS, 1), "is encrypted, not"),
    "zip other method": (lambda path, target: zip_of(path, {"a": b"1"}, zipfile.ZIP_LZMA), "not deflated"),
    "zip unknown method": (patched({"a": b"1", "b": b"2"}, 1, METHOD, 98), "not deflated"),
    "zip twice": (zip_of_names("a/b", "a/b"), "appears twice"),
    "zip twice with dots": (zip_of_names("a/b", "./a/./b"), "appears twice"),
    "zip twice with slashes": (zip_of_names("a/b", "a//b"), "appears twice"),
    "zip file and folder": (zip_of_names("a", "a/b"), "a file is in the place of a folder"),
    "zip folder and file": (zip_of_names("a/b", "a"), "appears twice"),
    "zip folder entry and file": (zip_of_names("a/", "a"), "appears twice"),
    "zip long name": (zip_of_names("n" * 10_000), "too long"),
    "zip long component": (zip_of_names("a/" + "é" * 128), "too long"),  # 256 bytes
    "zip long path": (zip_of_names("/".join(["n" * 100] * 60)[1:]), "too long"),
    "zip deep": (zip_of_names("a", "b/" * 999 + "c"), "too long"),
    "zip NUL": (zip_with_nul, "control characters"),
    "zip escape": (zip_of_names("a\x1b[2Jb"), "control characters"),
    "zip lines": (zip_of_names("a\nb"), "control characters"),
    "zip cut": (cut(zip_of, 0.6), "broken or cut short"),
    "zip without its last byte": (cut(zip_of, -1), "broken or cut short"),
    "text as zip": (lambda path, target: path.write_text("no archive\n" * 99), "begins with b'no archive"),
    "page as tar.gz": (
        lambda path, target: path.write_text("<!DOCTYPE html>\n<html>"),
        "begins with b'<!DOC",
    ),
    "nothing": (lambda path, target: path.write_bytes(b""), "begins with b''"),
    "gzip of text": (lambda path, target: tar_raw(path, b"hello" * 1000), "broken or cut short"),
    "tar upwards": (tar_of_names("good", OUT), "leads elsewhere"),
    "tar upwards from a folder": (tar_of_names("a/../../outside/evil"), "leads elsewhere"),
    "tar absolute": (
        lambda path, target: tar_of(path, {f"{target.parent}/outside/evil": b"1"}),
        "leads elsewh",
    ),
    "tar drive": (tar_of_names("c:evil"), "leads elsewhere"),
    "tar backslash": (tar_of_names("a\\..\\b"), "leads elsewhere"),
    "tar link": (tar_with_link, "neither a file nor a folder"),
    "tar file through a link": (tar_through_link, "neither a file nor a folder"),
    "tar hard link": (
        tar_of_kind(tarfile.LNKTYPE, linkname="../outside/secret"),
        "neither a file nor a folder",
    ),
    "tar device": (tar_of_kind(tarfile.CHRTYPE, devmajor=1, devminor=3), "neither a file nor a folder"),
    "tar block device": (tar_of_kind(tarfile.BLKTYPE, devmajor=8), "neither a file nor a folder"),
    "tar FIFO": (tar_of_kind(tarfile.FIFOTYPE), "neither a file nor a folder"),
    "tar sparse": (tar_of_kind(tarfile.GNUTYPE_SPARSE), "neither a file nor a folder"),
    "tar sparse by extension": (
        tar_of_kind(tarfile.REGTYPE, pax_headers={"GNU.sparse.size": "9" * 12, "GNU.sparse.numblocks": "0"}),
        "neither a file nor a folder",
    ),
    "tar unknown kind": (tar_of_kind(b"Z"), "neither a file nor a folder"),
    "tar.gz bomb": (lambda path, target: tar_of(path, {"a": bytes(10 * 2**20)}), "meant to fill the disk"),
    "tar negative size": (
        lambda path, target: tar_raw(path, block(header("a", tarfile.REGTYPE, size=-512)), bytes(1024)),
        "neither a file nor a folder",
    ),
    "tar negative size by extension": (
        tar_of_kind(tarfile.REGTYPE, pax_headers={"size": "-1024"}),
        "neither a file nor a folder",
    ),
    "tar huge extension": (
        lambda path, target: tar_raw(path, block(header("a", tarfile.XHDTYPE, size=2**40)), bytes(1024)),
        "name too long",
    ),
    "tar extension of negative size": (
        lambda path, target: tar_raw(path, block(header("a", tarfile.XHDTYPE, size=-512)), bytes(1024)),
        "name too long",
    ),
    "tar endless extensions": (
        lambda path, target: tar_raw(path, block(header("a", tarfile.XHDTYPE)) * 3000, bytes(1024)),
        "broken or cut short",
    ),
    "tar twice": (tar_of_names("a/b", "./a//b"), "appears twice"),
    "tar file and folder": (tar_of_names("a", "a/b"), "a file is in the place of a folder"),
    "tar long name": (tar_of_names("n" * 10_000), "too long"),
    "tar very long name": (tar_of_names("n" * 20_000), "too long"),
    "tar NUL": (tar_of_kind(tarfile.REGTYPE, pax_headers={"path": "a\0b"}), "control characters"),
    "tar lines": (tar_of_names("a\nb"), "control characters"),
    "tar not UTF-8": (tar_of_names("gr\udcf6\udcdfe"), "control characters"),
    "tar.gz cut": (cut(tar_of, 0.6), "broken or cut short"),
    "tar.gz without its last byte": (cut(tar_of, -1), "broken or cut short"),
    "tar cut within a file": (cut(MAKE["tar"], 8_000), "broken or cut short"),
    "tar cut between files": (
        cut(lambda path: tar_of(path, {"a": b"1", "b": b"2"}, mode="w"), 1024),
        "cut short",
    ),
    "link in the target": (existing_link, "remove .*link/evil"),
    "link in the place of a file": (existing_link_of_a_file, "remove .*/a'"),
    "folder in the place of a file": (existing_folder, "remove .*/a'"),
    "file in the place of a folder": (existing_file, "a file is in the place of a folder"),
    "archive in the place of a file": (over_itself, "remove .*/archive.tar.gz'"),
}


def damaged_header(path, target):
    """A second header with a wrong checksum, which tarfile takes for the end."""
    data = bytearray(tar_of(path, {"a": b"1", "b": b"2"}, mode="w").read_bytes())
    data[1024] = ord("X")
    path.write_bytes(data)


def damaged_gzip(path, target):
    data = bytearray(tar_of(path).read_bytes())
    data[-8] ^= 1  # the checksum
    path.write_bytes(data)


HOSTILE["tar damaged header"] = (damaged_header, "bad checksum")
HOSTILE["tar.gz damaged"] = (damaged_gzip, "CRC check failed")


@pytest.fixture
def place(tmp_path):
    """A target, and beside it what mustn't change."""
    (tmp_path / "place/outside").mkdir(parents=True)
    (tmp_path / "place/outside/secret").write_text("as it was")
    return tmp_path / "place"


def refused(archive, target, words, **limits):
    with pytest.raises((ValueError, OSError), match=words) as error:
        extract_archive(archive, target, **limits)
    assert "\n" not in str(error.value) and str(error.value).isprintable() and len(str(error.value)) < 600
    assert str(error.value).startswith("archive.tar.gz: ")


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives_are_refused_before_anything_is_written(place, name):
    make, words = HOSTILE[name]
    (place.parent / "archives").mkdir()
    archive = place.parent / "archives" / "archive.tar.gz"
    make(archive, place / "target")
    before = tree(place.parent)
    refused(archive, place / "target", words)
    assert tree(place.parent) == before


@pytest.mark.skipif(not hasattr(tarfile, "data_filter"), reason="since Python 3.11.4")
def test_tarfiles_filter_is_a_second_check(place, monkeypatch):
    monkeypatch.setattr(members, "UNSAFE_NAME", re.compile("(?!)"))  # matches no name
    tar_of(place.parent / "archive.tar.gz", {OUT: b"1"})
    refused(place.parent / "archive.tar.gz", place / "target", "outside the destination")
    assert tree(place) == {"outside/secret": b"as it was"}


@pytest.mark.parametrize("make", [zip_of, tar_of])
@pytest.mark.parametrize("limit", [{"max_files": 9}, {"max_bytes": 2_170_180}])
def test_archives_that_hold_too_much_are_refused(place, make, limit):
    archive = make(place.parent / "archive.tar.gz")  # 5 files in 5 folders
    num_bytes = sum(len(data) for data in GOOD.values())
    assert num_bytes == 12 + 3_000 + 70_000 + 2 * 2**20 + 17 == 2_170_181
    assert extract_archive(archive, place / "enough", max_files=10, max_bytes=num_bytes) == 5
    refused(archive, place / "target", "over .* files", **limit)
    assert not (place / "target").exists()


WRONG = {
    "more than it says": (SIZE, 10),
    "less than it says": (SIZE, 5_000),
    "another checksum": ((16, "<I"), 12345),
    "another name": ((46, "<B"), ord("x")),
}


@pytest.mark.parametrize("name", WRONG)
def test_zip_entries_with_wrong_headers_leave_whole_files_only(place, name):
    field, value = WRONG[name]
    members = {"a": b"first", "bad": RANDOM.randbytes(100) * 10, "c": b"last"}
    archive = zip_of(place.parent / "archive.tar.gz", members)
    patch(archive, 1, *field, value)
    refused(archive, place / "target", "broken or cut short|shorter than the archive says")
    assert tree(place) == {"outside/secret": b"as it was", "target/a": b"first"}


def test_damage_within_a_zip_leaves_whole_files_only(place):
    archive = zip_of(place.parent / "archive.tar.gz", {"a": b"first", "bad": RANDOM.randbytes(9000)})
    data = bytearray(archive.read_bytes())
    data[5000] ^= 1
    archive.write_bytes(data)
    refused(archive, place / "target", "broken or cut short")
    assert tree(place / "target") == {"a": b"first"}


def test_missing_archives_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No such file.*nowhere\.zip"):
        extract_archive(tmp_path / "nowhere.zip", tmp_path / "t")
    assert list(tmp_path.iterdir()) == []
