"""What the tests share: a tiny corpus, the real recordings where they are, and the commands."""

import gc
import importlib
import io
import logging
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import soundfile
import torch

from audio.ffmpeg import find_ffmpeg
from models import ResNet, SimAMResNet, _residual, _resnet

# what runs here is so small that a second thread only costs time
os.environ["OMP_NUM_THREADS"] = os.environ.get("TEST_THREADS", "1")
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
os.fsync = lambda _: None  # no test cuts the power, and a disk takes its time
gc.freeze()  # what has been imported stays: the collector need not look at it again and again
gc.set_threshold(50_000, 20, 20)
ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"


def pytest_collection_modifyitems(items):
    if torch.cuda.is_available():
        return
    for item in items:
        if "requires_cuda" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="no GPU"))


@pytest.fixture(scope="session")
def reference():
    """Folder of the vectors that the original systems computed."""
    folder = SHARED / "reference"
    if not folder.is_dir():
        pytest.skip(f"no reference vectors at {folder}")
    return folder


@pytest.fixture(scope="session")
def real_data():
    """Folder of real speech."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip(f"no recordings at {folder}")
    return folder


def voice(speaker: int, take: int, duration_s: float = 1.0, rate: int = 16_000) -> np.ndarray:
    """A buzz whose harmonics belong to the speaker, in noise that belongs to the take; in syllables."""
    generator = np.random.default_rng([speaker, take])
    time = np.arange(round(duration_s * rate)) / rate
    pitch = 100.0 + 17.0 * speaker + generator.uniform(-1.0, 1.0)
    weights = np.random.default_rng(speaker).uniform(0.0, 1.0, 12)
    buzz = sum(w * np.sin(2 * np.pi * pitch * (k + 1) * time) for k, w in enumerate(weights))
    syllables = 0.05 + np.abs(np.sin(3 * np.pi * time))  # a steady sound isn't speech
    return (syllables * (0.05 * buzz + 0.01 * generator.normal(size=len(time)))).astype(np.float32)


class Corpus:
    """Six speakers with five takes each, a train list and a trial list."""

    def __init__(self, root: Path) -> None:
        self.root, self.train_list, self.test_list = root, root / "train.txt", root / "test.txt"
        train, trials = [], []
        for speaker in range(6):
            for take in range(5):
                path = root / f"spk{speaker}" / f"{take}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, voice(speaker, take), 16_000)
                train.append(f"spk{speaker} spk{speaker}/{take}.wav")
            trials.append(f"1 spk{speaker}/0.wav spk{speaker}/1.wav")
            trials.append(f"0 spk{speaker}/0.wav spk{(speaker + 1) % 6}/1.wav")
        self.train_list.write_text("\n".join(train) + "\n")
        self.test_list.write_text("\n".join(trials) + "\n")

    def options(self, save_path: Path, **changes: object) -> list[str]:
        """Command line of a very small training run."""
        values: dict[str, object] = {
            "model": "ResNetSE34L",
            "n_mels": 16,  # fewer mels, less time
            "trainfunc": "angleproto",
            "train_list": self.train_list,
            "train_path": self.root,
            "test_list": self.test_list,
            "test_path": self.root,
            "save_path": save_path,
            "batch_size": 3,
            "max_frames": 30,
            "eval_frames": 40,
            "num_eval": 1,
            "max_epoch": 2,
            "test_interval": 1,
            "nDataLoaderThread": 0,
            "device": "cpu",
            "precision": "fp32",  # some processors have bf16, which is then the default
        }
        return [f"--{name}={value}" for name, value in (values | changes).items()]


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """Read-only: tests that damage files make their own with Corpus."""
    return Corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def ffmpeg():
    """Path of ffmpeg."""
    try:
        return find_ffmpeg()
    except ValueError:
        pytest.skip("neither ffmpeg nor imageio-ffmpeg is there")


@pytest.fixture
def no_ffmpeg(monkeypatch, tmp_path):
    """A machine without ffmpeg."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)


@pytest.fixture
def small_models(monkeypatch):
    """Depths and widths that no option sets, for tests of what each kind of layer does at any size."""
    sizes = {
        "CAMPPlus.LAYERS": (1, 2, 1),
        "DeepSpeaker.CHANNELS": (1, 8, 16, 32, 64),
        "DeepSpeaker.GRU_UNITS": 64,
        "ERes2NetV2.BLOCKS": (1, 2, 1, 1),
        "ERes2NetV2.CHANNELS": 16,
        "ETDNN.CHANNELS": 64,
        "ETDNN.POOLED_CHANNELS": 96,
        "ResSETDNN.CHANNELS": 64,
        "ResSETDNN.POOLED_CHANNELS": 96,
        "SimAMResNet.CHANNELS": 16,
        "TitaNet.KERNELS": (7,),
        "TitaNet.POOLED_CHANNELS": 96,
        "XVector.CHANNELS": 64,
        "XVector.POOLED_CHANNELS": 96,
    }
    for name, size in sizes.items():
        monkeypatch.setattr(f"models.{name}", size)
    blocks = (1, 2, 1, 1)  # with a stride or more channels, and with neither
    monkeypatch.setattr(_resnet.stages, "__defaults__", (_resnet.SEBasicBlock, blocks, 1))
    monkeypatch.setitem(_residual.FlatResNet.__init__.__kwdefaults__, "counts", blocks)
    for depth in (18, 50):  # with basic blocks, with bottlenecks
        monkeypatch.setitem(ResNet.COUNTS, depth, blocks)
    monkeypatch.setitem(SimAMResNet.COUNTS, 34, blocks)


def fake_program(path, body):
    """A shell script, in ffmpeg's place -> its path."""
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


@contextmanager
def remarks_of():
    """Context with the list of the remarks on recordings that are logged in it, as (kind, recording)."""
    remarks = []

    class Collector(logging.Handler):
        def emit(self, record):
            remarks.append((record.kind, record.recording))

    handler = Collector()
    logging.getLogger("speakernet").addHandler(handler)
    try:
        yield remarks
    finally:
        logging.getLogger("speakernet").removeHandler(handler)


@contextmanager
def full_disk(size: int):
    """Context in which no file can grow beyond so many bytes, which stands for a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def heed_ctrl_c() -> None:
    """For a process to begin with: shells have what they run in the background ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def run_script(script: str, *arguments: object, **settings: object) -> subprocess.CompletedProcess[str]:
    """Run a command as its user does."""
    command = [sys.executable, str(ROOT / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **settings)  # type: ignore


def run_here(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The same within this process: for the many commands whose start would take longer than they do."""
    words, out, err = [str(argument) for argument in arguments], io.StringIO(), io.StringIO()
    argv = mock.patch.object(sys, "argv", [str(ROOT / script), *words])  # what run.json records
    with argv, redirect_stdout(out), redirect_stderr(err):
        try:
            code = importlib.import_module(script.removesuffix(".py")).main(words)
        except SystemExit as end:  # of --help, and of mistakes that argparse finds
            code = end.code
    return subprocess.CompletedProcess([script, *words], code, out.getvalue(), err.getvalue())


def assert_refused(result: subprocess.CompletedProcess[str], *words: str) -> None:
    """One line on stderr that holds these words, nothing else, exit code 2."""
    assert result.returncode == 2, result.stderr + result.stdout
    lines = [line for line in result.stderr.splitlines() if not line.startswith("warning:")]
    assert len(lines) == 1, result.stderr
    for word in words:
        assert word in lines[0], lines[0]


def wait_for(path: Path, text: str, process: "subprocess.Popen[str]") -> None:
    """Return when a file holds the text; the process that writes it must not have ended."""
    for _ in range(600):
        if path.exists() and text in path.read_text():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    raise AssertionError(f"{text!r} never came")


@pytest.fixture(scope="session")
def trained(corpus, tmp_path_factory):
    """A finished run of four epochs, tested before and after; read-only."""
    save_path = tmp_path_factory.mktemp("run") / "exp"
    words = corpus.options(save_path, max_epoch=4, test_interval=2)
    result = run_here("trainSpeakerNet.py", *words, "--test_at_start")
    assert result.returncode == 0, result.stderr
    return save_path, result
