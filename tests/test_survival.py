"""A training that is killed goes on to the same weights: benchmarks/kill_test.py, cut short."""

import re

from conftest import run_script


def test_killed_trainings_end_with_the_same_weights():
    result = run_script("benchmarks/kill_test.py", "--kills", 2, "--epochs", 30)
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"^[12] kills.*\n.*equal bit for bit", result.stdout)
