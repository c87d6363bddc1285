"""Time, memory and file sizes of a search among many enrolled speakers, on one core.

OMP_NUM_THREADS=1 python benchmarks/speaker_search.py
OMP_NUM_THREADS=1 python benchmarks/speaker_search.py --speakers 10000 --prototypes max --recordings 3

Speakers are random vectors, enrolled in one transaction. A warm search is compared with a product of a matrix
in memory and the vector, in the same process; a cold one with a process that only imports NumPy and SQLite.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from inference.speakers.database import Enrolment, SpeakerDatabase
from inference.speakers.database_file import Model, now
from inference.speakers.search import SpeakerSearch, index_path

ROOT = Path(__file__).parent.parent
COLD = """
import sys; sys.path.insert(0, {root!r})
import numpy as np
from inference.speakers.database import SpeakerDatabase
from inference.speakers.search import SpeakerSearch
with SpeakerDatabase({path!r}, "0") as database:
    SpeakerSearch(database).identify(np.ones({size}))
"""


def unit_vectors(count: int, size: int, seed: int) -> np.ndarray:
    """Random vectors of length 1 (count, size)."""
    vectors = np.random.default_rng(seed).standard_normal((count, size), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def fill(database: SpeakerDatabase, vectors: np.ndarray, recordings: int) -> None:
    """Enrol speakers with so many recordings each."""
    with database.writing() as connection:
        names = ((f"speaker {number}",) for number in range(len(vectors) // recordings))
        connection.executemany("INSERT INTO speakers (name) VALUES (?)", names)
        connection.executemany(
            "INSERT INTO recordings (speaker, path, vector, duration_s, speech_s, date) "
            "VALUES (?, ?, ?, 3, 2, ?)",
            (
                (row // recordings + 1, f"/data/{row}.wav", vector.tobytes(), now())
                for row, vector in enumerate(vectors)
            ),
        )


def median_ms(work: Callable[[], object], runs: int) -> float:
    """Call work so many times -> median of its milliseconds."""
    durations_s = []
    for _ in range(runs):
        start_s = time.perf_counter()
        work()
        durations_s.append(time.perf_counter() - start_s)
    return 1000 * statistics.median(durations_s)


def process_ms(code: str, runs: int) -> float:
    """Python code -> median milliseconds of a process that runs it."""
    command = [sys.executable, "-c", code]
    return median_ms(lambda: subprocess.run(command, check=True, cwd=ROOT), runs)


def peak_mb() -> float:
    """Peak resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3  # KB on Linux


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--speakers", type=int, default=100_000)
    parser.add_argument("--recordings", type=int, default=1, help="of each speaker")
    parser.add_argument("--dim", type=int, default=192)
    parser.add_argument("--prototypes", choices=("mean", "max"), default="mean")
    parser.add_argument("--runs", type=int, default=20)
    args = parser.parse_args()
    vectors = unit_vectors(args.speakers * args.recordings, args.dim, seed=0)
    test = unit_vectors(1, args.dim, seed=1)[0]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s.db"
        with SpeakerDatabase.create(path, Model("noise", "0", args.dim), args.prototypes) as database:
            fill(database, vectors, args.recordings)
            search = SpeakerSearch(database)
            first_ms = median_ms(lambda: search.identify(test), 1)
            search_ms = median_ms(lambda: search.identify(test), args.runs)
            product_ms = median_ms(lambda: vectors @ test, args.runs)
            database.enrol("new", [Enrolment("/new.wav", test, 3.0, 2.0)])
            after_ms = median_ms(lambda: search.identify(test), 1)
            assert search.identify(test)[0].name == "new"
        code = COLD.format(root=str(ROOT), path=str(path), size=args.dim)
        cold_ms = process_ms(code, 5)
        bare_ms = process_ms("import numpy, sqlite3", 5)
        sizes = [file.stat().st_size / 1e6 for file in (path, index_path(path))]
    print(f"{args.speakers:,} speakers, {len(vectors):,} recordings of {args.dim} values, {args.prototypes}")
    print(
        f"files: database {sizes[0]:.0f} MB, index {sizes[1]:.0f} MB; vectors {vectors.nbytes / 1e6:.0f} MB"
    )
    print(f"first search, which makes the index: {first_ms / 1000:.2f} s")
    print(
        f"warm search: {search_ms:.1f} ms, {search_ms / product_ms:.2f} times a product ({product_ms:.1f} ms)"
    )
    print(f"search after an enrolment: {after_ms:.1f} ms")
    print(f"process with one search: {cold_ms:.0f} ms, {cold_ms / bare_ms:.2f} times one that only imports")
    print(f"peak memory of this process, which also holds the vectors: {peak_mb():.0f} MB")


if __name__ == "__main__":
    main()
