"""What killed runs leave behind; that they end with the same weights is shown by benchmarks/kill_test.py."""

from conftest import run_here


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
