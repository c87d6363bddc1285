"""A miniature VoxCeleb with the file names, parts and layouts of the real one, and a faulty server for it.

As a command, `python mini_voxceleb.py SERVED ...` runs dataprep.py with the checksums of the files in SERVED.
"""

import hashlib
import subprocess
import sys
import threading
import time
import zipfile
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import soundfile

sys.path.insert(0, str(Path(__file__).parent.parent))

import dataprep
from corpora._corpus import Corpus

KEY = "s3cret-k3y"
VOX1_DEV, VOX1_TEST = ("id10001", "id10002", "id11251"), ("id10270", "id10309")
VOX2_DEV, VOX2_TEST = ("id00012", "id00015", "id09272"), ("id00017",)

REAL = dataprep.corpora  # tests replace it by the miniature's


def build(folder: Path, ffmpeg: str, voice) -> None:
    """Write archives in parts and lists into folder, as VoxCeleb's servers have them."""
    sounds = folder.parent / "sounds"
    zips = {
        "vox1_dev_wav.zip": ("wav", "wav", VOX1_DEV),
        "vox1_test_wav.zip": ("wav", "wav", VOX1_TEST),
        "vox2_dev_aac.zip": ("dev/aac", "m4a", VOX2_DEV),
        "vox2_test_aac.zip": ("aac", "m4a", VOX2_TEST),
    }
    folder.mkdir()
    for number, (name, (inside, suffix, speakers)) in enumerate(zips.items()):
        with zipfile.ZipFile(folder / name, "w") as archive:
            for speaker in speakers:
                for video, take in (("aBc-_1", 1), ("aBc-_1", 2), ("zZ9", 1), ("zZ9", 2)):
                    path = f"{inside}/{speaker}/{video}/{take:05d}.{suffix}"
                    draw = take + 10 * number + 100 * len(video)
                    archive.write(_recording(sounds / path, speaker, draw, ffmpeg, voice), path)
    for corpus in ("voxceleb1", "voxceleb2"):
        for archive in dataprep.corpora()[corpus].archives:
            if len(archive.parts) > 1:
                content = (folder / archive.name).read_bytes()
                size = -(-len(content) // len(archive.parts))
                for i, part in enumerate(archive.parts):
                    (folder / part.name).write_bytes(content[i * size : (i + 1) * size])
                (folder / archive.name).rename(
                    folder.parent / archive.name
                )  # the joined archive isn't served
    pairs = [("aBc-_1/00001", "zZ9/00002"), ("zZ9/00001", "aBc-_1/00002")]
    trials = [f"1 {s}/{a}.wav {s}/{b}.wav" for s in VOX1_TEST for a, b in pairs]
    trials += [f"0 {VOX1_TEST[0]}/{a}.wav {VOX1_TEST[1]}/{b}.wav" for a, b in pairs]
    for table in dataprep.corpora()["voxceleb1"].tables:
        (folder / table.name).write_text("")
    for part in dataprep.corpora()["voxceleb1"].lists:
        extra = [f"1 id10001/{a}.wav id10001/{b}.wav" for a, b in pairs] if "list_test" in part.name else []
        (folder / part.name).write_text("\n".join(trials + extra) + "\n")


def _recording(path: Path, speaker: str, draw: int, ffmpeg: str, voice) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    wav = path.with_suffix(".wav")
    soundfile.write(wav, voice(int(speaker[2:]) % 7, draw, 0.8), 16_000)
    if path != wav:
        subprocess.run([ffmpeg, "-v", "error", "-y", "-i", wav, "-c:a", "aac", path], check=True)
    return path


def corpora(served: Path) -> dict[str, Corpus]:
    """The two corpora with the checksums of the miniature."""

    def md5(path):
        return hashlib.md5(path.read_bytes()).hexdigest()

    described = {}
    for name in ("voxceleb1", "voxceleb2"):
        corpus = REAL()[name]
        archives = tuple(
            archive._replace(
                parts=tuple(part._replace(md5=md5(served / part.name)) for part in archive.parts),
                md5=archive.md5 and md5(served.parent / archive.name),
            )
            for archive in corpus.archives
        )
        described[name] = corpus._replace(archives=archives)
    return described


@contextmanager
def server(folder: Path, misbehave: bool = True):
    """Serve a folder on this machine -> its address, and a log of (name, start of the range, status).

    If misbehave, it drops a connection in the middle of one part, sends another part corrupted the first
    time and a third one slowly. It always requires the key.
    """
    log: list[tuple[str, int, int]] = []
    seen: set[str] = set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            name, _, query = self.path.lstrip("/").partition("?")
            content = (folder / name).read_bytes() if (folder / name).is_file() else None
            if content is None:
                return self.answer(404, name, 0, b"")
            needs_key = name.startswith("vox") and not name.endswith((".csv", ".txt"))
            if (f"key={KEY}" in query) != needs_key:  # nor may it be sent with other files
                return self.answer(403, name, 0, b"")
            asked = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-")
            start, first = int(asked), name not in seen
            seen.add(name)
            if misbehave and first and name == "vox1_dev_wav_partab":
                content = bytes(len(content))
            cut = misbehave and first and name == "vox2_dev_aac_partac"
            self.answer(206 if start else 200, name, start, content, len(content) // 2 if cut else None)

        def answer(self, status, name, start, content, stop=None):
            log.append((name, start, status))
            self.send_response(status)
            self.send_header("Content-Length", str(len(content) - start))
            self.send_header("ETag", f'"{name}"')
            if status == 206:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            body = content[start:stop]
            pause = 0.05 if misbehave and name == "vox2_dev_aac_partaf" else 0.0
            for i in range(0, len(body), 4096):
                self.wfile.write(body[i : i + 4096])
                time.sleep(pause)
            if stop is not None:
                self.close_connection = True

        def log_message(self, *_):
            """Silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{serving.server_address[1]}", log
        finally:
            serving.shutdown()


if __name__ == "__main__":
    miniature = corpora(Path(sys.argv[1]))
    dataprep.corpora = lambda: miniature
    sys.exit(dataprep.main(sys.argv[2:]))
