"""A training that is killed goes on to the same weights: benchmarks/kill_test.py, cut short."""

import re

from conftest import run_here, run_script


def test_killed_trainings_end_with_the_same_weights():
    result = run_script("benchmarks/kill_test.py", "--kills", 2, "--epochs", 30)
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"^[12] kills.*\n.*equal bit for bit", result.stdout)


def test_what_killed_runs_left_half_written_is_removed(corpus, tmp_path):
    left = [tmp_path / name for name in ("state/.last.state.1.tmp", "state/last.state.new", "model/.x.2.tmp")]
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.write_text("half")
    assert (
        run_here("trainSpeakerNet.py", *corpus.options(tmp_path, max_epoch=1, test_list="")).returncode == 0
    )
    assert not any(path.exists() for path in left)
