"""Benchmarks that run from end to end."""

import re

import pytest
from forked import Command


def output_of(script, *words):
    process = Command(script, *words)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, output + errors
    return output


@pytest.mark.slow
def test_training_steps_have_a_rate_and_a_share_of_the_peak():
    output = output_of("benchmarks/train_step.py", "--quick", "--cases", "ResNetSE34L", "--device", "cpu")
    rows = [line.split() for line in output.splitlines() if line.startswith("ResNetSE34L")]
    assert [words[2] for words in rows] == ["before", "fp32", "bf16"]
    for words in rows:
        rate, ratio, work, speed, share = map(float, words[3:8])
        assert words[1] == "4" and rate > 0.0 and ratio > 0.0 and share > 0.0
        assert abs(speed - rate * work) < 0.1 * speed  # all rounded
    assert float(rows[0][4]) == 1.0


@pytest.mark.slow
def test_databases_survive_killed_processes_and_power_cuts():
    output = output_of("benchmarks/database_robustness.py", "--seconds", "5", "--stops", "1")
    assert output.splitlines()[-1] == "nothing lost", output


@pytest.mark.slow
def test_evaluation_gives_the_scores_of_the_loop(corpus):
    words = ["--test_list", corpus.test_list, "--test_path", corpus.root, "--files=4", "--workers=0"]
    output = output_of("benchmarks/evaluation_loop.py", *words, "--threads=1")
    found = re.search(r"(\d+) trials: .*\nscores at most (\S+) apart, standard deviation (\S+)", output)
    num_trials, distance, deviation = map(float, found.groups())
    assert num_trials == 3 and distance < 1e-4 < deviation
