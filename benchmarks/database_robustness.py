"""Whether a database of speakers survives killed processes and power cuts.

python benchmarks/database_robustness.py                 a minute of ten processes, three of which are killed
python benchmarks/database_robustness.py --seconds 5

First ten processes enrol and identify at once. Three are killed by SIGKILL. Afterwards every speaker whose
enrolment was confirmed must be there, and the check must find nothing. Then a writer is stopped (SIGSTOP),
and its database is copied with its write-ahead log cut off at every frame and within every frame, as a power
cut leaves it. Each copy must be whole and hold exactly the enrolments that were committed before the cut.
Exits with 1 if anything was lost or damaged.
"""

import argparse
import multiprocessing
import os
import random
import shutil
import signal
import struct
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from inference.speakers.database import Enrolment, SpeakerDatabase
from inference.speakers.database_file import Model
from inference.speakers.search import SpeakerSearch
from inference.speakers.upkeep import findings

PROCESSES, KILLED = 10, 3
SIZE = 192
MODEL = Model("noise", "0" * 64, SIZE)
WAL_HEADER, FRAME_HEADER = 32, 24  # bytes; https://www.sqlite.org/fileformat2.html#walformat
CHECKPOINT_FRAMES = 1000  # from which on SQLite moves the log into the database
fork = multiprocessing.get_context("fork")


def vector_of(number: int) -> np.ndarray:
    """A vector of length 1 that belongs to a number."""
    vector = np.random.default_rng(number).normal(size=SIZE)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def work(path: Path, worker: int, end_s: float) -> None:
    """Enrol speakers and look each one up, until the time is over; confirmed names go into a file."""
    with (
        SpeakerDatabase(path) as database,
        path.with_name(f"{worker}.confirmed").open("a", buffering=1) as log,
    ):
        search = SpeakerSearch(database)
        count = 0
        while time.time() < end_s:
            number = worker * 1_000_000 + count
            name = f"{worker}-{count}"
            recording = str(path.with_name("recording.wav"))
            database.enrol(name, [Enrolment(recording, vector_of(number), 3.0, 2.0)])
            log.write(f"+{name}\n")
            if search.identify(vector_of(number), top=1)[0].name != name:
                raise ValueError(f"{name} was enrolled but isn't found")
            if count % 10 == 9:
                old = f"{worker}-{count - 5}"
                log.write(f"?{old}\n")  # from here on it may be gone
                database.remove(old)
                log.write(f"-{old}\n")
            count += 1


def contend(folder: Path, seconds: float) -> list[str]:
    """Ten processes for so many seconds, three of them killed -> what went wrong."""
    path = folder / "s.db"
    (folder / "recording.wav").touch()
    SpeakerDatabase.create(path, MODEL).close()
    end_s = time.time() + seconds
    workers = [fork.Process(target=work, args=(path, number, end_s)) for number in range(PROCESSES)]
    for worker in workers:
        worker.start()
    generator = random.Random(0)
    for number in range(KILLED):
        time.sleep(seconds * generator.uniform(0.5, 1.0) / (KILLED + 1))
        os.kill(workers[number].pid or 0, signal.SIGKILL)
    for worker in workers:
        worker.join()
    wrong = [f"a process ended with {worker.exitcode}" for worker in workers[KILLED:] if worker.exitcode]
    lines = [line for log in folder.glob("*.confirmed") for line in log.read_text().splitlines()]
    enrolled, leaving, removed = ({line[1:] for line in lines if line[0] == mark} for mark in "+?-")
    with SpeakerDatabase(path) as database:
        present = {speaker.name for speaker in database.speakers()}
        wrong += findings(database)
    lost = enrolled - leaving - present
    counts = f"{len(enrolled)} enrolments and {len(removed)} removals"
    print(f"{counts} confirmed in {seconds:g} s, {len(lost)} lost")
    wrong += [f"{name} is lost" for name in lost]
    wrong += [f"{name} was removed but is there" for name in removed & present]
    if len(present - enrolled) > KILLED:  # each killed process may have been about to confirm one
        wrong.append(f"{len(present - enrolled)} enrolments weren't confirmed")
    return wrong


def write(path: Path) -> None:
    """Enrol speakers 0, 1, 2, ... until somebody stops the process."""
    with SpeakerDatabase(path) as database:
        for number in range(10**9):
            recording = str(path.with_name("recording.wav"))
            database.enrol(str(number), [Enrolment(recording, vector_of(number), 3.0, 2.0)])


def frames(log: Path) -> tuple[int, list[bool]]:
    """Write-ahead log -> bytes of a frame, of each frame of this generation whether it ends a transaction."""
    content = log.read_bytes()
    if len(content) < WAL_HEADER:
        return 0, []
    page_size = struct.unpack(">I", content[8:12])[0]
    salt, size, ends = content[16:24], FRAME_HEADER + page_size, list[bool]()
    for begin in range(WAL_HEADER, len(content) - size + 1, size):
        if content[begin + 8 : begin + 16] != salt:  # left over of an earlier generation
            break
        ends.append(content[begin + 4 : begin + 8] != b"\0\0\0\0")
    return size, ends


def names_in(path: Path) -> set[str]:
    """Path of a copy -> its speakers; ValueError if anything is wrong with it."""
    with SpeakerDatabase(path) as database:
        if found := findings(database):
            raise ValueError("; ".join(found))
        return {speaker.name for speaker in database.speakers()}


def cut_power(folder: Path, delay_s: float) -> tuple[int, list[str]]:
    """Stop a writer after some time, cut its log everywhere -> number of cuts, what went wrong."""
    path, copy = folder / "w.db", folder / "copy.db"
    (folder / "recording.wav").touch()
    SpeakerDatabase.create(path, MODEL).close()
    writer = fork.Process(target=write, args=(path,))
    writer.start()
    pid = writer.pid or 0
    try:
        while writer.is_alive() and not Path(f"{path}-wal").exists():  # a busy machine starts it late
            time.sleep(0.01)
        while True:
            time.sleep(delay_s)
            os.kill(pid, signal.SIGSTOP)
            for suffix in ("", "-wal"):
                shutil.copyfile(f"{path}{suffix}", f"{copy}{suffix}.whole")
            size, ends = frames(Path(f"{copy}-wal.whole"))
            if 0 < len(ends) < CHECKPOINT_FRAMES:  # otherwise the log may be moving into the database
                break
            os.kill(pid, signal.SIGCONT)
    finally:
        os.kill(pid, signal.SIGKILL)
        writer.join()
    return try_cuts(copy, size, ends)


def try_cuts(copy: Path, size: int, ends: list[bool]) -> tuple[int, list[str]]:
    """Path of the copies, bytes of a frame, which frames end a transaction -> see cut_power."""
    log = Path(f"{copy}-wal.whole").read_bytes()
    cuts = [
        WAL_HEADER + size * frame + part for frame in range(len(ends)) for part in (0, size // 2, size - 1)
    ]
    cuts.append(WAL_HEADER + size * len(ends))
    before, wrong = None, list[str]()
    for cut in cuts:
        shutil.copyfile(f"{copy}.whole", copy)
        Path(f"{copy}-shm").unlink(missing_ok=True)
        Path(f"{copy}-wal").write_bytes(log[:cut])
        try:
            names = names_in(copy)
        except (ValueError, OSError) as error:
            wrong.append(f"cut at byte {cut}: {error}")
            continue
        before = len(names) if before is None else before  # what the database itself holds
        count = before + sum(ends[: (cut - WAL_HEADER) // size])
        if names != {str(number) for number in range(count)}:
            wrong.append(f"cut at byte {cut}: {len(names)} speakers instead of {count}")
    return len(cuts), wrong


def main() -> int:
    """Print what was done -> exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="of the ten processes")
    parser.add_argument("--stops", type=int, default=10, help="how often a writer is stopped")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wrong = contend(Path(folder), args.seconds)
    for stop in range(args.stops):
        with tempfile.TemporaryDirectory() as folder:
            count, found = cut_power(Path(folder), 0.05 + 0.13 * stop)
        print(f"{count} cuts of the log, {len(found)} wrong")
        wrong += found
    print(*wrong, sep="\n", end="\n" if wrong else "")
    print("nothing lost" if not wrong else f"{len(wrong)} problems")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
