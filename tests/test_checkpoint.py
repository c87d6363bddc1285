"""Model files: whole or absent, never executed, never partly loaded."""

import errno
import io
import os
import pickle
from pathlib import Path

import pytest
import torch
from conftest import full_disk
from torch import nn

from storage.checkpoint import (
    ModelFile,
    load_last_state,
    load_model,
    load_state,
    load_weights,
    save_model,
    save_state,
)


def model_file():
    return ModelFile({"w": torch.arange(6.0)}, {"model": "X", "n_mels": 40}, ["a", "b"], True, {"eer": 0.1})


def test_round_trip(tmp_path):
    save_model(tmp_path / "sub" / "a.model", model_file())
    loaded = load_model(str(tmp_path / "sub" / "a.model"))
    assert torch.equal(loaded.weights["w"], torch.arange(6.0))
    assert loaded.path == str(tmp_path / "sub" / "a.model")
    assert loaded._replace(path="")[1:] == model_file()[1:]
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["a.model"]
    save_state(tmp_path / "last.state", {"epoch": 3})
    assert load_state(tmp_path / "last.state") == {"epoch": 3}


class Exploit:
    """Runs a command when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def test_code_in_a_file_is_refused_and_not_run(tmp_path):
    for name, save in {
        "zip.model": lambda path: torch.save({"format": Exploit(tmp_path / "ran")}, path),
        "old.model": lambda path: path.write_bytes(pickle.dumps(Exploit(tmp_path / "ran"))),
    }.items():
        save(tmp_path / name)
        with pytest.raises(ValueError, match=r"refused|damaged") as caught:
            load_model(str(tmp_path / name))
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_damaged_files_are_refused(tmp_path):
    save_model(tmp_path / "a.model", model_file())
    content = (tmp_path / "a.model").read_bytes()
    for part in (0, 1, 10, *range(20, len(content) - 1, 97), len(content) - 10):
        (tmp_path / "cut.model").write_bytes(content[:part])
        with pytest.raises(ValueError, match=r"cut\.model: damaged, or not a model file"):
            load_model(str(tmp_path / "cut.model"))
    torch.save({"w": torch.arange(6.0)}, tmp_path / "old.model", _use_new_zipfile_serialization=False)
    old = (tmp_path / "old.model").read_bytes()
    for part in range(1, len(old), 7):
        (tmp_path / "cut.model").write_bytes(old[:part])
        with pytest.raises(ValueError, match=r"cut\.model"):
            load_model(str(tmp_path / "cut.model"))
    (tmp_path / "text.model").write_text("hello")
    with pytest.raises(ValueError, match=r"text\.model"):
        load_model(str(tmp_path / "text.model"))
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_model(str(tmp_path / "absent.model"))
    torch.save(torch.zeros(3), tmp_path / "tensor.model")
    with pytest.raises(ValueError, match="not a model file"):
        load_model(str(tmp_path / "tensor.model"))
    (tmp_path / "cut.state").write_bytes(content[:100])
    with pytest.raises(ValueError, match=r"cut\.state: damaged, give another --save_path"):
        load_state(tmp_path / "cut.state")
    with pytest.raises(ValueError, match="not a training state"):
        load_state(tmp_path / "a.model")


class FailingStream(io.FileIO):
    """A file of which the disk gives only the first bytes."""

    GIVEN = 1000

    def read(self, size=-1):  # noqa: D102
        return self._checked(super().read(size))

    def readinto(self, buffer):  # noqa: D102
        read = super().readinto(buffer)
        self._checked(b"")
        return read

    def _checked(self, content):
        if self.tell() > self.GIVEN:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return content


@pytest.mark.parametrize("load", [load_model, load_state, load_last_state])
def test_a_failing_disk_is_not_called_damage(tmp_path, monkeypatch, load):
    """Nor does a run fall back to the state before, which would lose what may be whole."""
    for name in ("a.file", "a.file.before"):
        torch.save({"x": torch.zeros(10_000)}, tmp_path / name)
    monkeypatch.setattr(Path, "open", lambda path, mode: FailingStream(path, mode))
    path = tmp_path / "a.file"
    with pytest.raises(OSError, match=r"a\.file: cannot be read: Input/output error"):
        load(str(path) if load is load_model else path)


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("[enforce] DefaultCPUAllocator: can't allocate memory")]
)
def test_too_little_memory_is_not_called_damage(tmp_path, monkeypatch, error):
    save_state(tmp_path / "last.state", {"epoch": 1})
    save_state(tmp_path / "last.state", {"epoch": 2})
    monkeypatch.setattr(torch, "load", lambda *_, **__: (_ for _ in ()).throw(error))
    with pytest.raises(type(error)):
        load_last_state(tmp_path / "last.state")


def test_weights_fit_wholly_or_not_at_all():
    network = nn.Linear(2, 2)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(ValueError, match=r"missing bias; unexpected b; weight is \(3, 2\), not \(2, 2\)"):
        load_weights(network, {"weight": torch.ones(3, 2), "b": torch.ones(2)}, "x.model")
    with pytest.raises(ValueError, match="missing bias"):
        load_weights(network, {"weight": torch.ones(2, 2)}, "x.model")
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_a_full_disk_leaves_the_file_before(tmp_path):
    save_state(tmp_path / "last.state", {"epoch": 1})
    with pytest.raises(OSError) as caught, full_disk(100_000):
        save_state(tmp_path / "last.state", {"x": torch.zeros(1_000_000)})
    assert len(str(caught.value).splitlines()) == 1
    assert load_state(tmp_path / "last.state") == {"epoch": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["last.state"]
