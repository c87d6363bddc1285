"""Files that nobody should give as recordings, and a few odd ones that are right: about 900, from one voice.

PYTHONPATH=. python tests/malformed_audio.py FOLDER writes them, for commands to be tried on.
"""

import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

RATE = 16_000
DAY = 24 * 3600
PIECES = 12  # lengths to which each file is cut
FORMATS = {  # suffix -> format and subtype of libsndfile
    "wav": ("WAV", "PCM_16"),
    "float.wav": ("WAV", "FLOAT"),
    "w64": ("W64", "PCM_16"),
    "rf64": ("RF64", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"),
    "caf": ("CAF", "PCM_16"),
    "sph": ("NIST", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}
HEADER = {"flac": 42, "ogg": 58, "opus": 47, "mp3": 48}  # bytes in which bits are turned; otherwise 44
ENCODED = {  # suffix -> words for ffmpeg
    "m4a": (),
    "fast.m4a": ("-movflags", "+faststart"),
    "webm": (),
    "aac": (),
    "wma": (),
    "mkv": ("-c:a", "aac"),
}


class Case(NamedTuple):
    """A path that is given as a recording, and what must come of it."""

    path: str
    may_fail: bool
    may_be_read: bool
    expected: np.ndarray | None = None  # the samples (T,) at 16 kHz; NaN where filters reach beyond them

    @classmethod
    def refused(cls, path: object) -> "Case":
        """What must end in an error."""
        return cls(str(path), may_fail=True, may_be_read=False)

    @classmethod
    def read(cls, path: object, expected: np.ndarray) -> "Case":
        """What is odd, or whole, and must be read."""
        return cls(str(path), may_fail=False, may_be_read=True, expected=expected)

    @classmethod
    def cut(cls, path: object, whole: np.ndarray) -> "Case":
        """A file that ends early: refused, or read as far as it goes."""
        return cls(str(path), may_fail=True, may_be_read=True, expected=whole)

    @classmethod
    def changed(cls, path: object) -> "Case":
        """A file with another header: refused, or read as the header says."""
        return cls(str(path), may_fail=True, may_be_read=True)


def malformed(folder: Path, speech: np.ndarray, ffmpeg: str = "", *, step: int = 1) -> Iterator[Case]:
    """Folder, a voice (T,) -> what is written there.

    ffmpeg: path of the program; "" = without files that only it reads.
    step: one bit is turned in every so many bytes of a header, and files are cut at fewer places.
    """
    pcm = np.rint(speech * 32767).astype(np.int16)
    for suffix, (kind, subtype) in FORMATS.items():
        path = folder / f"whole.{suffix}"
        soundfile.write(path, speech if subtype == "FLOAT" else pcm, RATE, subtype, format=kind)
        samples = soundfile.read(path, dtype="float32")[0]
        yield Case.read(path, samples)
        yield from truncated(path, samples, PIECES // step)
        yield from with_turned_bits(path, step)
    for suffix, words in ENCODED.items() if ffmpeg else ():
        path = folder / f"whole.{suffix}"
        subprocess.run([ffmpeg, "-v", "error", "-i", folder / "whole.wav", *words, path], check=True)
        command = [ffmpeg, "-v", "error", "-i", path, "-ar", str(RATE), "-f", "f32le", "-"]
        decoded = subprocess.run(command, check=True, capture_output=True).stdout
        yield Case.read(path, samples := np.frombuffer(decoded, np.float32))
        yield from truncated(path, samples, 5)
    yield from no_audio(folder)
    yield from odd_headers(folder, pcm)
    yield from odd_samples(folder, speech)
    yield from no_files(folder)
    yield from odd_names(folder, pcm)
    yield from sparse(folder)


def truncated(path: Path, samples: np.ndarray, pieces: int) -> Iterator[Case]:
    """A file -> the same cut at so many places; those that say how long they are must be refused."""
    content = path.read_bytes()
    suffix = path.name.removeprefix("whole.")
    for length in sorted({*np.linspace(1, len(content) - 1, pieces, dtype=int), 4, 12}):
        cut = path.with_name(f"cut{length}.{suffix}")
        cut.write_bytes(content[:length])
        yield Case.cut(cut, samples) if suffix in ENCODED or suffix == "mp3" else Case.refused(cut)


def with_turned_bits(path: Path, step: int) -> Iterator[Case]:
    """A file -> the same with one bit of its header turned, in every so many bytes of it."""
    content = path.read_bytes()
    suffix = path.name.removeprefix("whole.")
    for place in range(0, HEADER.get(suffix, 44), step):
        turned = bytearray(content)
        turned[place] ^= 1 << (place * 5 + 3) % 8
        changed = path.with_name(f"turned{place}.{suffix}")
        changed.write_bytes(turned)
        yield Case.changed(changed)


def no_audio(folder: Path) -> Iterator[Case]:
    """Files that hold something else than their names say."""
    contents = {
        "empty": b"",
        "text": b"this is no recording\n" * 50,
        "page": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        "zeros": bytes(5000),
        "noise": np.random.default_rng(0).bytes(5000),
        "picture": b"\x89PNG\r\n\x1a\n" + bytes(500),
        "archive": b"PK\x03\x04" + bytes(500),
        "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 100\n",
        "tag": b"ID3\x04\0\0\0\0\x07\x76" + bytes(1014),
        "long tag": b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + bytes(100),
        "page of Ogg": b"OggS\0\x02" + bytes(200),
    }
    for name, content in contents.items():
        for suffix in ("wav", "flac", "mp3", "ogg"):
            path = folder / f"{name}.{suffix}"
            path.write_bytes(content)
            yield Case.refused(path)


def wav(samples: bytes, rate: int = RATE, channels: int = 1, claimed: int | None = None) -> bytes:
    """A WAV file of 16 bits, whose header may name another number of bytes than there are."""
    size = len(samples) if claimed is None else claimed
    block = 2 * channels
    head = struct.pack("<4sI8sI", b"RIFF", 36 + size, b"WAVEfmt ", 16)
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * block & 0xFFFFFFFF, block & 0xFFFF, 16)
    return head + form + struct.pack("<4sI", b"data", size) + samples


def odd_headers(folder: Path, pcm: np.ndarray) -> Iterator[Case]:
    """Sample rates, numbers of channels and lengths at the limits and beyond them."""
    second, speech = bytes(2 * RATE), pcm.tobytes()
    for rate in (0, 1, 10, 100, 999, 768_001, 10_000_000, 0xFFFFFFFF):
        path = folder / f"rate{rate}.wav"
        path.write_bytes(wav(speech, rate))
        yield Case.refused(path)
    steady = np.full(40_000, 8192, np.int16)
    for rate in (1000, 384_000, 768_000):
        path = folder / f"rate{rate}.wav"
        count = len(steady) if rate > RATE else 100
        path.write_bytes(wav(steady[:count].tobytes(), rate))
        expected = np.full(-(-count * RATE // rate), 0.25, np.float32)
        expected[:200] = expected[-200:] = np.nan
        yield Case.read(path, expected)
    yield from odd_channels(folder, pcm)
    lengths = {"wav": (40, "<I", 2 * DAY * RATE), "au": (8, ">I", 2 * DAY * RATE)}
    for suffix, (place, form, size) in lengths.items():
        for name, claimed in (("day", size), ("hours", size // 8)):
            content = bytearray((folder / f"whole.{suffix}").read_bytes())
            struct.pack_into(form, content, place, claimed)
            path = folder / f"{name}.{suffix}"
            path.write_bytes(content)
            yield Case.refused(path)
    content = bytearray((folder / "whole.flac").read_bytes())
    for name, duration_s in (("day", DAY), ("hours", DAY // 8)):
        content[21:26] = (int.from_bytes(content[21:26]) >> 36 << 36 | duration_s * RATE).to_bytes(5)
        path = folder / f"{name}.flac"
        path.write_bytes(content)
        yield Case.refused(path)
    for name, claimed in {"half": len(second) // 2, "one": 10, "odd": len(second) - 1}.items():
        path = folder / f"{name}.wav"
        path.write_bytes(wav(second + second, claimed=claimed))
        yield Case.refused(path)
    for name, chunk in {"chunk": b"LIST\xff\xff\xff\xff", "names": b"\x01\x02\x03\x04\xff\0\0\0"}.items():
        path = folder / f"{name}.wav"
        path.write_bytes(wav(speech)[:36] + chunk + wav(speech)[36:])
        yield Case.refused(path)


def odd_channels(folder: Path, pcm: np.ndarray) -> Iterator[Case]:
    """More channels than are read, none, and 64, which are mixed down."""
    for channels in (0, 65, 1000, 65_535):
        path = folder / f"channels{channels}.wav"
        path.write_bytes(wav(bytes(2 * 65_535 * 10), RATE, channels))
        yield Case.refused(path)
    path = folder / "channels64.wav"
    path.write_bytes(wav(np.repeat(pcm[:1600], 64).tobytes(), RATE, 64))
    yield Case.read(path, pcm[:1600] / np.float32(32768))
    content = bytearray((folder / "whole.flac").read_bytes())
    content[20] |= 0b1110  # 8 channels in the header, one in each frame
    path = folder / "channels.flac"
    path.write_bytes(content)
    yield Case.refused(path)


def odd_samples(folder: Path, speech: np.ndarray) -> Iterator[Case]:
    """Samples that aren't finite, in other units, or none; a recording with a sample."""
    for subtype in ("FLOAT", "DOUBLE"):
        for value in (np.nan, np.inf, -np.inf, 1e30, 30_000.0):
            for place in (0, len(speech) // 2, -1):
                samples = speech.astype(np.float64)
                samples[place] = value
                path = folder / f"{value}{place}{subtype}.wav"
                soundfile.write(path, samples, RATE, subtype)
                yield Case.refused(path)
    soundfile.write(folder / "huge.wav", np.full(1000, 1e300), RATE, "DOUBLE")
    yield Case.refused(folder / "huge.wav")
    for suffix in ("wav", "flac", "ogg", "aiff"):
        path = folder / f"none.{suffix}"
        soundfile.write(path, np.zeros(0), RATE)
        yield Case.refused(path)
    soundfile.write(folder / "one.flac", np.array([8192], np.int16), RATE)
    yield Case.read(folder / "one.flac", np.array([0.25], np.float32))


def no_files(folder: Path) -> Iterator[Case]:
    """Folders, links in circles, FIFOs, sockets, devices, what the kernel shows as files, and nothing."""
    (folder / "folder.wav").mkdir()
    os.mkfifo(folder / "fifo.wav")
    os.mkfifo(folder / "fifo.m4a")
    with socket.socket(socket.AF_UNIX) as listener:
        place = Path.cwd()
        os.chdir(folder)  # the name of a socket has at most 107 bytes
        listener.bind("socket.wav")
        os.chdir(place)
    links = {"self": "self.wav", "circle": "back.wav", "back": "circle.wav", "dangling": "nowhere"}
    links |= {"to a folder": "folder.wav", "to a FIFO": "fifo.wav", "zero": "/dev/zero"}
    for name, target in links.items():
        (folder / f"{name}.wav").symlink_to(target)
        yield Case.refused(folder / f"{name}.wav")
    names = (
        "folder.wav",
        "fifo.wav",
        "fifo.m4a",
        "socket.wav",
        "absent.wav",
        "absent.m4a",
        "whole.wav/a.wav",
    )
    for name in names:
        yield Case.refused(folder / name)
    kernel = ("/dev/zero", "/dev/null", "/dev/random", "/dev/tty", "/dev/stdin", "/proc/self/status")
    for path in (*kernel, "/proc/self/mem", "/proc/kmsg", "/proc/kcore", "/proc/self/fd", "/", "", "."):
        yield Case.refused(path)
    locked = folder / "locked.wav"
    locked.write_bytes(wav(bytes(1000)))
    locked.chmod(0)
    if not os.access(locked, os.R_OK):  # the superuser reads it
        yield Case.refused(locked)


def odd_names(folder: Path, pcm: np.ndarray) -> Iterator[Case]:
    """Names that no terminal shows, of good and of bad files, and names that no file can have."""
    names = ["a\nb", "a\tb", "\x1b[2Ja", "\r", "a\udcff", "\u202ea", " ", "-rf", "--help", "%s{}", "a" * 240]
    for name in names:
        path = folder / f"{name}.wav"
        path.write_bytes(wav(pcm.tobytes()))
        yield Case.read(path, pcm / np.float32(32768))
        for suffix, content in (("wav", b"no recording"), ("flac", b"fLaC")):
            path = folder / f"{name} bad.{suffix}"
            path.write_bytes(content)
            yield Case.refused(path)
    for name in ("a\0b.wav", "\ud800.wav", "n" * 300 + ".wav", "n/" * 3000 + "a.wav"):
        yield Case.refused(folder / name)


def sparse(folder: Path) -> Iterator[Case]:
    """Files of a terabyte that take no space on the disk."""
    heads = {
        suffix: (folder / f"whole.{suffix}").read_bytes()[:3000] for suffix in ("wav", "flac", "mp3", "ogg")
    }
    for suffix, head in heads.items():
        path = folder / f"sparse.{suffix}"
        path.write_bytes(head)
        os.truncate(path, 1 << 40)
        yield Case.refused(path)


if __name__ == "__main__":
    from conftest import find_ffmpeg, voice

    target = Path(sys.argv[1])
    target.mkdir(parents=True)
    for case in malformed(target, voice(0, 0), find_ffmpeg()):
        print(ascii(case.path))
