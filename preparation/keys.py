"""VoxCeleb's key, from a file, the environment or a prompt; never sent unencrypted or to a mirror unasked."""

import getpass
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

VARIABLE = "VOXCELEB_KEY"
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


def find_key(key_file: Path | None, base_url: str) -> str:
    """--key_file, --base_url -> the key; "" for a mirror, unless a file was given for it.

    Raises:
        OSError, ValueError: no key, an empty one, or a mirror without encryption.
    """
    if base_url:
        if key_file is None:
            return ""
        address = urlsplit(base_url)
        if address.scheme != "https" and address.hostname not in LOCAL_HOSTS:
            raise ValueError(
                f"--key_file: the connection to {address.hostname} isn't encrypted; use https in --base_url"
            )
    if key_file is not None:
        return _from_file(key_file)
    if VARIABLE in os.environ:
        return _not_empty(os.environ[VARIABLE], f"the environment variable {VARIABLE}")
    if not sys.stdin.isatty():
        raise ValueError(f"VoxCeleb's server requires a key: set {VARIABLE}, or give --key_file FILE")
    try:
        return _not_empty(getpass.getpass("VoxCeleb key (not shown): "), "the key that was typed")
    except EOFError:
        raise ValueError(f"no key was typed; set {VARIABLE}, or give --key_file FILE") from None


def _from_file(path: Path) -> str:
    try:
        return _not_empty(path.read_text(encoding="utf-8"), f"--key_file {path}")
    except UnicodeDecodeError:
        raise ValueError(f"--key_file {path}: not a text file in UTF-8") from None
    except OSError as error:
        raise OSError(error.errno, error.strerror, f"--key_file {path}") from None


def _not_empty(text: str, source: str) -> str:
    if not text.strip():
        raise ValueError(f"{source} is empty; it should hold VoxCeleb's key")
    return text.strip()
