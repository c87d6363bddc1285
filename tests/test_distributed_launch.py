"""Several processes as users start them: by --nproc, by torchrun, by SLURM."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest
import torch
from conftest import ROOT, assert_refused, run_here, run_script, wait_for
from forked import TORCHRUN, Command
from rank_processes import free_port, train

from distributed import launch
from distributed.signals import STOP_SIGNALS, StopSignal
from storage import checkpoint

SCRIPT = "trainSpeakerNet.py"
TRAINING = {"batch_size": 4, "test_list": "", "test_interval": 100}
TWO = TRAINING | {"nproc": 2, "max_epoch": 1000}


@pytest.fixture
def launch_program():
    """Runs a program in two processes; launch changes the handlers of this process."""
    handlers = {signum: signal.getsignal(signum) for signum in STOP_SIGNALS}

    def run(program, stop=None, **settings):
        program = "import os, signal, sys, time; rank = os.environ['RANK']; " + program
        return launch.launch(["-c", program], 2, 0, stop or StopSignal(), **settings)

    yield run
    for signum, handler in handlers.items():
        signal.signal(signum, handler)


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("", 0),
        ("sys.exit({'0': 75, '1': 2}[rank])", 2),
        ("sys.exit({'0': 75, '1': 75}[rank])", launch.TEMPORARY_FAILURE),
        ("os.kill(os.getpid(), signal.SIGKILL if rank == '1' else 0)", 128 + signal.SIGKILL),
        ("rank == '1' and os.kill(os.getpid(), signal.SIGSTOP); sys.exit(75)", launch.TEMPORARY_FAILURE),
    ],
    ids=["success", "mistake", "lost process", "killed", "frozen"],
)
def test_the_exit_code_is_that_of_the_first_cause(launch_program, capsys, program, expected):
    """Of a process that lost another one (75) it is only if there is no other; a frozen one is killed."""
    assert launch_program(program, grace_s=0.5) == expected
    killed = "-c: error: rank 1: ended by SIGKILL\n"
    assert capsys.readouterr().err == (killed if expected == 128 + signal.SIGKILL else "")


@pytest.mark.slow
def test_a_signal_before_the_processes_are_started_is_forwarded(launch_program):
    stop = StopSignal()
    stop.signum = signal.SIGTERM
    program = (
        f"sys.path.insert(0, {str(ROOT)!r}); from distributed.signals import StopSignal; "
        "stop = StopSignal(); stop.install(); time.sleep(0.5); sys.exit(128 + stop.requested())"
    )
    assert launch_program(program, stop) == 128 + signal.SIGTERM


@pytest.mark.slow
def test_a_process_whose_launcher_is_gone_ends():
    """It waits in the rendezvous, where it does not react to the SIGTERM that it sends to itself."""
    variables = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    variables |= {"TORCHELASTIC_USE_AGENT_STORE": "True", launch.LAUNCHED: "1", "PYTHONPATH": str(ROOT)}
    program = (
        "import distributed; from distributed import launch, signals; signals.StopSignal().install(); "
        "launch.exit_with_launcher(grace_s=0.5); distributed.rendezvous()"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=os.environ | variables, stdin=subprocess.DEVNULL, timeout=60)
    assert done.returncode == 128 + signal.SIGTERM


def test_an_occupied_port_is_refused(corpus, tmp_path):
    with socket.socket() as occupied:
        occupied.bind(("127.0.0.1", 0))
        occupied.listen()
        port = occupied.getsockname()[1]
        result = run_here(SCRIPT, *corpus.options(tmp_path, **TWO), f"--port={port}")
    assert_refused(result, f"--port {port}: Address already in use")


def test_flags_of_processes(corpus, tmp_path):
    assert_refused(run_here(SCRIPT, *corpus.options(tmp_path), "--nproc=-1"), "--nproc: must be at least 0")
    words = corpus.options(tmp_path, max_epoch=1, test_list="")
    alone = run_here(SCRIPT, *words, "--distributed", "--port=8888")
    assert alone.returncode == 0, alone.stderr  # no GPU here: one process


def losses(folder):
    lines = (folder / "result" / "results.jsonl").read_text().splitlines()
    return [line["loss"] for line in map(json.loads, lines) if line["event"] == "train"]


def scores(folder):
    text = (folder / "result" / "eval" / "test.scores.txt").read_text()
    return [float(line.split()[0]) for line in text.splitlines() if line[0] != "#"]


@pytest.mark.slow
def test_two_processes_train_as_one_and_test_together(corpus, tmp_path):
    settings = {"batch_size": 4, "max_epoch": 2, "optimizer": "sgd", "lr": 1e-4, "sync_bn": True}
    alone = run_here(SCRIPT, *corpus.options(tmp_path / "1", **settings))
    assert alone.returncode == 0, alone.stderr
    result = run_script(SCRIPT, *corpus.options(tmp_path / "2", **settings, nproc=2))
    assert result.returncode == 0 and result.stderr == "", result.stderr
    assert "optimizer steps an epoch: 3, of 1 x 2 processes x 2 x 2 = 8 utterances" in result.stdout
    assert result.stdout.count("Epoch 2, VEER") == 1
    assert losses(tmp_path / "2") == pytest.approx(losses(tmp_path / "1"), abs=1e-5)
    assert scores(tmp_path / "2") == pytest.approx(scores(tmp_path / "1"), abs=1e-3)
    assert json.loads((tmp_path / "2" / "result" / "run.json").read_text())["processes"] == 2


def start_training(corpus, folder):
    """A long training by two processes in its third epoch, and the ids of these."""
    process = Command(SCRIPT, *corpus.options(folder, **TWO))
    wait_for(folder / "result" / "scores.txt", "Epoch 2,", process)
    return process, children(process)


def children(process):
    """Process ids of a process's children, in the order of their starts."""
    listing = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True)
    return [int(line) for line in listing.stdout.split()]


def wait_until_gone(pids):
    for _ in range(300):
        if not any(os.path.exists(f"/proc/{pid}/stat") for pid in pids):  # noqa: PTH110
            return
        time.sleep(0.1)
    raise AssertionError(f"{pids} are still running")


def one_error(errors, pattern):
    lines = [line for line in errors.splitlines() if line]
    assert len(lines) == 1, errors
    assert re.search(pattern, lines[0]), lines[0]


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_all(corpus, tmp_path, rank):
    process, ranks = start_training(corpus, tmp_path)
    os.kill(ranks[rank], signal.SIGKILL)
    _, errors = process.communicate(timeout=90)
    assert process.returncode == 128 + signal.SIGKILL
    one_error(errors, f"rank {rank}: ended by SIGKILL$")
    wait_until_gone(ranks)
    assert checkpoint.load_state(tmp_path / "state" / "last.state")


@pytest.mark.slow
def test_a_dead_launcher_stops_its_processes(corpus, tmp_path):
    process, ranks = start_training(corpus, tmp_path)
    process.kill()
    wait_until_gone(ranks)
    assert checkpoint.load_state(tmp_path / "state" / "last.state")


@pytest.mark.slow
def test_a_stop_is_forwarded(corpus, tmp_path):
    process, _ = start_training(corpus, tmp_path)
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM and errors == "", errors
    assert output.count("stopped by SIGTERM") == 1
    assert checkpoint.load_state(tmp_path / "state" / "last.state")


@pytest.mark.slow
def test_ctrl_c_while_processes_start_is_no_error(corpus, tmp_path):
    process = subprocess.Popen(
        [sys.executable, ROOT / SCRIPT, *corpus.options(tmp_path, **TWO)], stderr=subprocess.PIPE, text=True
    )
    while len(children(process)) < 2:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT and errors == "", errors


@pytest.mark.slow
def test_a_second_signal_ends_even_processes_that_wait(corpus, tmp_path):
    process, ranks = start_training(corpus, tmp_path)
    os.kill(ranks[1], signal.SIGSTOP)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT and errors == "", errors  # else rank 0 reports rank 1
    assert checkpoint.load_state(tmp_path / "state" / "last.state")


def torchrun(words, *flags):
    return Command(TORCHRUN, *flags, ROOT / SCRIPT, *words, start_new_session=True)


@pytest.mark.slow
def test_two_nodes_restart_after_a_kill_and_resume_to_the_same_weights(corpus, tmp_path):
    """Two agents on loopback; one worker is killed, torchrun restarts all, which resume."""
    words = corpus.options(tmp_path / "whole", **TRAINING, max_epoch=15)
    with train(tmp_path / "ranks", words) as ranks:
        assert ranks.wait() == [0, 0], ranks.errors()
    words = corpus.options(tmp_path / "nodes", **TRAINING, max_epoch=15)
    flags = ["--nnodes=2", "--nproc_per_node=1", "--max_restarts=5", "--rdzv_backend=c10d"]
    flags += [f"--rdzv_endpoint=127.0.0.1:{free_port()}", "--rdzv_id=1", "--monitor_interval=0.1"]
    agents = [torchrun(words, *flags) for _ in range(2)]
    wait_for(tmp_path / "nodes" / "result" / "scores.txt", "Epoch 3,", agents[0])
    os.kill(children(agents[1])[0], signal.SIGKILL)
    outputs = ["".join(agent.communicate(timeout=600)) for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], "\n".join(outputs)
    assert sum(output.count("resumed ") for output in outputs) == 1, "\n".join(outputs)
    weights = [
        checkpoint.load_state(tmp_path / name / "state" / "last.state")["trainer"]["network"]
        for name in ("whole", "nodes")
    ]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


@pytest.mark.slow
def test_a_killed_process_under_torchrun_is_named(corpus, tmp_path):
    """The agent tells the others to end at the same time."""
    words = corpus.options(tmp_path, **TRAINING, max_epoch=1000)
    agent = torchrun(words, "--standalone", "--nproc_per_node=2")
    wait_for(tmp_path / "result" / "scores.txt", "Epoch 2,", agent)
    os.kill(children(agent)[1], signal.SIGKILL)
    errors = [
        line for line in agent.communicate(timeout=90)[1].splitlines() if "trainSpeakerNet.py: error:" in line
    ]
    one_error("\n".join(errors), "rank 1: no heartbeat: killed, frozen or cut off")
    assert agent.returncode == 1


def test_the_slurm_script_saves_and_requeues_itself(tmp_path):
    """With stand-ins for torchrun and SLURM's commands."""
    log = tmp_path / "log"
    commands = {
        "srun": 'exec "$@"',
        "scontrol": f'[ "$1" = requeue ] && echo "requeue $2" >> {log} || echo node1',
        "torchrun": f"trap 'echo saved $* >> {log}; exit 143' TERM; touch {log}.on\n"
        "while :; do sleep 0.1; done",
    }
    for name, body in commands.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "17"}
    environment |= {"SLURM_NNODES": "2", "SLURM_JOB_NODELIST": "node[1-2]"}
    script = ["bash", ROOT / "configs" / "slurm.sbatch", "--save_path", "exps/e"]
    process = subprocess.Popen(script, env=environment, cwd=tmp_path)
    while not (tmp_path / "log.on").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(timeout=60) is not None
    saved, requeued = log.read_text().splitlines()
    assert saved.startswith("saved --nnodes 2") and saved.endswith("trainSpeakerNet.py --save_path exps/e")
    assert "--rdzv_endpoint node1:29400" in saved and requeued == "requeue 17"
