"""The server under load on this machine: latencies, refusals, and whether its memory stays the same.

    python benchmarks/server_load.py --recordings D --seconds 120 --clients 6

Starts `inferSpeakerNet.py serve` on the loopback address; clients send WAV files of a folder and compare them
for a bounded time, then the server is stopped. A client waits where it is told to (429, Retry-After).
"""

import argparse
import io
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import requests
import soundfile

ROOT = Path(__file__).parent.parent


def wav_of(path: Path) -> bytes:
    """A recording -> a WAV file of 16-bit samples."""
    samples, rate = soundfile.read(path)
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, format="WAV", subtype="PCM_16")
    return stream.getvalue()


class Load:
    """What the clients ask, and what they are told."""

    def __init__(self, address: str, files: list[bytes], end: float) -> None:
        """The server, WAV files, until when to ask on the monotonic clock."""
        self.address = address
        self.files = files
        self.end = end
        self.statuses = Counter[int]()
        self.latencies_s = list[float]()

    def ask(self, path: str, **body: object) -> dict[str, object] | None:
        """One request -> its answer; None if it was refused."""
        start = time.monotonic()
        response = requests.post(self.address + path, timeout=60, **body)  # type: ignore[arg-type]
        self.statuses[response.status_code] += 1
        if response.status_code == 429:
            time.sleep(float(response.headers["Retry-After"]))
            return None
        self.latencies_s.append(time.monotonic() - start)
        return dict(response.json()) if response.ok else None

    def client(self, number: int) -> None:
        """Embed two recordings, compare them, again and again."""
        names = list[object]()
        while time.monotonic() < self.end:
            data = self.files[number % len(self.files)]
            known = self.ask("api/recordings", data=data, headers={"Content-Type": "audio/wav"})
            number += 1
            names = [*names, known["recording"]][-2:] if known else names
            if len(names) == 2:
                self.ask("api/compare", json={"first": names[0], "second": names[1]})


def resident_mb(process: int) -> float:
    """Process id -> its memory."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recordings", required=True, help="folder of recordings")
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--initial_model", default="campplus-zh-en")
    args = parser.parse_args()
    files = [wav_of(path) for path in sorted(Path(args.recordings).rglob("*.flac"))[:20]]
    with tempfile.TemporaryDirectory() as folder:
        words = ["serve", "--port=0", f"--db={folder}/people.db", f"--initial_model={args.initial_model}"]
        command = [sys.executable, str(ROOT / "inferSpeakerNet.py"), *words]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ))
        assert server.stdout is not None
        address = server.stdout.readline().split()[1]
        load = Load(address, files, time.monotonic() + args.seconds)
        threads = [threading.Thread(target=load.client, args=(number,)) for number in range(args.clients)]
        for thread in threads:
            thread.start()
        memory = list[float]()
        while any(thread.is_alive() for thread in threads):
            time.sleep(args.seconds / 12)
            memory.append(resident_mb(server.pid))
        server.terminate()
        server.wait()
    cuts = statistics.quantiles(load.latencies_s, n=20)
    print(f"statuses: {dict(load.statuses)}")
    print(f"latency: p50 {cuts[9]:.3f} s, p95 {cuts[18]:.3f} s, of {len(load.latencies_s)} answers")
    print(f"memory: {', '.join(f'{size:.0f}' for size in memory)} MB")


if __name__ == "__main__":
    main()
