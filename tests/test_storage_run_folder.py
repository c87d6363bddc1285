"""What runs leave in their folder; that killed ones end alike is shown by benchmarks/kill_test.py."""

import pytest
from conftest import run_here

from storage.run_folder import RunFolder
from storage.run_record import earlier_option


def test_half_written_files_of_killed_runs_are_removed(corpus, tmp_path):
    paths = [
        tmp_path / name for name in ("state/.last.state.1.tmp", "state/last.state.new", "model/.x.2.tmp")
    ]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_text("half")
    result = run_here("trainSpeakerNet.py", *corpus.options(tmp_path, max_epoch=1, test_list=""))
    assert result.returncode == 0, result.stderr
    assert not any(path.exists() for path in paths)


@pytest.mark.parametrize("content", [b"\xff", b"{", b"[]", b'{"options": 1}'])
def test_a_damaged_run_record_is_as_good_as_none(content, tmp_path):
    folder = RunFolder(str(tmp_path))
    folder.state.parent.mkdir()
    folder.state.touch()
    folder.result.mkdir()
    path = folder.result / "run.json"
    path.write_bytes(content)
    assert earlier_option(folder, "precision") is None
    path.write_text('{"options": {"precision": "bf16"}}')
    assert earlier_option(folder, "precision") == "bf16"
