"""Trials between recordings of four speakers, with random scores, and the report about them."""

import itertools

import numpy as np
import soundfile
from conftest import voice

from audio.recording import AudioFile
from metrics.score_files import read_score_file
from metrics.speakers import units_of
from metrics.summary import FigureOptions, Resampling, measure
from report import page

UNSAFE_NAME = "spk0/<script>alert(1)</script> & 'x' \"y\" #1?%20.wav"
RUN = {
    "time": "2026-01-02T03:04:05+0000",
    "command": ["trainSpeakerNet.py", "--save_path", "a b", "--hf_token", "hush1", "--api_key=hush2"],
    "options": {"margin": 0.2, "password": "hush3", "url": "https://me:hush4@example.org/x", "name": "<b>"},
    "packages": {"torch": "2.0", "absent": None},
}
TRAINING = [
    {"event": "train", "epoch": epoch, "loss": 3.0 / epoch, "accuracy": 0.1 * epoch, "lr": 0.001}
    for epoch in (1, 2, 3)
]
TESTS = [
    {"event": "test", "epoch": epoch, "eer": 0.3 / epoch, "test_list": "lists/_a.txt"} for epoch in (1, 3)
]
RESULTS = TRAINING + TESTS
NUM_PLAYERS = 2 * (12 + 50 + 5 + 5)  # 12 target trials, the 50 worst nontarget trials, 5 typical ones of each


class SyntheticTrials:
    """All pairs of 12 recordings, in a score file."""

    def __init__(self, root):
        self.root = root
        self.paths = [f"spk{speaker}/{take}.wav" for speaker in range(4) for take in range(3)]
        self.paths[1] = UNSAFE_NAME
        for i, path in enumerate(self.paths):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(root / path, voice(i // 3, i % 3, duration_s=0.5), 16_000)
        self.score_file = root / "scores.txt"
        generator = np.random.default_rng(0)
        lines = []
        for i, j in itertools.combinations(range(12), 2):
            label = int(i // 3 == j // 3)
            score = generator.normal(1.5 * label)
            lines.append(f"{score:.6f}\t{self.paths[i]}\t{self.paths[j]}\t{label}\n")
        self.score_file.write_text("".join(lines))

    def measure(self, name="a", conditions=None, **options):
        """Figures of the score file, with a bootstrap over the speakers."""
        trials = read_score_file(str(self.score_file))
        bootstrap = Resampling(units_of(trials, "speakers", 0, ""), "speakers", 60)
        return measure(name, trials, FigureOptions(**options), bootstrap, conditions)

    def read_audio(self, path):
        """Path in the trials -> samples."""
        return AudioFile(str(self.root / path)).whole()

    def write_report(self, folder, systems, **changes):
        """Folder, systems -> path of their report."""
        arguments = {
            "read_audio": self.read_audio,
            "link": page.linker(folder, lambda path: str(self.root / path)),
            "run": RUN,
            "results": RESULTS,
        }
        return page.write(folder, systems, **(arguments | changes))
