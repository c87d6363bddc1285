"""Trainings in several processes: the same figures, the same end after a stop, one message when one fails."""

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time

import pytest
import torch
from conftest import ROOT, assert_refused, run_here, run_script, wait_for
from test_ranks import free_port

from distributed import launch, signals
from storage import checkpoint

SCRIPT = "trainSpeakerNet.py"
TWO = {"batch_size": 4, "nproc": 2, "test_list": "", "test_interval": 100}


def start(words, **environment):
    command = [sys.executable, str(ROOT / SCRIPT), *words]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | environment
    )


def children(process):
    """Ids of a process's children, in the order of their starts."""
    return descendants(process.pid)


def descendants(pid):
    """Ids of the children of a process and of theirs."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    own = [int(line) for line in found.stdout.split()]
    return [*own, *(other for child in own for other in descendants(child))]


def command_of(pid):
    found = subprocess.run(["ps", "-o", "args=", "-p", str(pid)], capture_output=True, text=True)
    return found.stdout


def losses(folder):
    lines = (folder / "result" / "results.jsonl").read_text().splitlines()
    return [line["loss"] for line in map(json.loads, lines) if line["event"] == "train"]


def final_state(folder):
    return checkpoint.load_state(folder / "state" / "last.state")["trainer"]


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


def test_two_processes_train_as_one_and_test_together(corpus, tmp_path):
    settings = {"batch_size": 4, "max_epoch": 2, "optimizer": "sgd", "lr": 1e-4, "sync_bn": True}
    for count in (1, 2):
        result = run_script(SCRIPT, *corpus.options(tmp_path / str(count), **settings, nproc=count))
        assert result.returncode == 0 and result.stderr == "", result.stderr
    assert "optimizer steps an epoch: 3, of 1 x 2 processes x 2 x 2 = 8 utterances" in result.stdout
    assert result.stdout.count("Epoch 2, VEER") == 1
    assert losses(tmp_path / "2") == pytest.approx(losses(tmp_path / "1"), abs=1e-5)
    scores = []
    for count in "12":
        text = (tmp_path / count / "result" / "eval" / "test.scores.txt").read_text()
        scores.append([float(line.split()[0]) for line in text.splitlines() if line[0] != "#"])
    assert scores[1] == pytest.approx(scores[0], abs=1e-3)
    assert json.loads((tmp_path / "2" / "result" / "run.json").read_text())["processes"] == 2


@pytest.mark.parametrize(
    "settings",
    [
        {"trainfunc": "aamsoftmax", "shard_head": True, "sample_classes": 0.5, "ema_decay": 0.9},
        {"accumulate": 2, "clip_norm": 1.0, "trainfunc": "triplet", "optimizer": "sgd"},
    ],
    ids=["sharded", "accumulated"],
)
def test_a_stop_in_two_processes_goes_on_to_the_same_weights(corpus, tmp_path, settings):
    settings = TWO | settings | {"max_epoch": 12}
    whole = run_script(SCRIPT, *corpus.options(tmp_path / "whole", **settings))
    assert whole.returncode == 0, whole.stderr
    words = corpus.options(tmp_path / "parts", **settings)
    process = start(words)
    wait_for(tmp_path / "parts" / "result" / "scores.txt", "Epoch 2,", process)
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM and errors == "", errors
    assert output.count("stopped by SIGTERM") == 1
    again = run_script(SCRIPT, *words)
    assert again.returncode == 0 and again.stdout.count("resumed ") == 1, again.stderr
    states = [final_state(tmp_path / name) for name in ("whole", "parts")]
    assert_same(states[0]["network"], states[1]["network"])
    if "shard_head" in settings:
        assert states[0]["network"]["loss.weight"].shape == (6, 512)
        assert states[0]["optimizer"]["state"][len(states[0]["optimizer"]["state"]) - 1]["exp_avg"].shape
        assert_same(states[0]["average"]["network"], states[1]["average"]["network"])
        alone = run_script(
            SCRIPT, *[w for w in words if "nproc" not in w and "max_epoch" not in w], "--max_epoch=13"
        )
        assert alone.returncode == 0 and "resumed after epoch 12" in alone.stdout, alone.stderr


def one_message(errors, *words):
    lines = [line for line in errors.splitlines() if line]
    assert len(lines) == 1, errors
    for word in words:
        assert re.search(word, lines[0]), lines[0]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_all(corpus, tmp_path, rank):
    process = start(corpus.options(tmp_path, **TWO, max_epoch=1000))
    wait_for(tmp_path / "result" / "scores.txt", "Epoch 2,", process)
    ranks = children(process)
    os.kill(ranks[rank], signal.SIGKILL)
    began = time.monotonic()
    _, errors = process.communicate(timeout=90)
    assert time.monotonic() - began < 15
    assert process.returncode not in (0, None)
    one_message(errors, f"rank {rank}: ended by SIGKILL$")
    for pid in ranks:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert checkpoint.load_state(tmp_path / "state" / "last.state")


def test_a_dead_launcher_stops_its_processes(corpus, tmp_path):
    process = start(corpus.options(tmp_path, **TWO, max_epoch=1000))
    wait_for(tmp_path / "result" / "scores.txt", "Epoch 2,", process)
    ranks = children(process)
    process.kill()
    for _ in range(300):
        if not any(os.path.exists(f"/proc/{pid}/stat") for pid in ranks):  # noqa: PTH110
            break
        time.sleep(0.1)
    else:
        raise AssertionError("they go on")
    assert checkpoint.load_state(tmp_path / "state" / "last.state")


def test_a_process_whose_launcher_died_at_once_ends(corpus, tmp_path):
    """It looks for the others where there is nobody any more, without hearing signals."""
    place = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    place |= {"TORCHELASTIC_USE_AGENT_STORE": "True", launch.LAUNCHED: "1", "PYTHONPATH": str(ROOT)}
    program = (
        "import sys, trainSpeakerNet; from distributed import launch; launch.GRACE_S = 1; "
        "trainSpeakerNet.main(sys.argv)"
    )
    command = [sys.executable, "-c", program, *corpus.options(tmp_path)]
    done = subprocess.run(command, env=os.environ | place, stdin=subprocess.DEVNULL, timeout=60)
    assert done.returncode == 128 + signal.SIGTERM


def test_what_one_process_finds_is_told_once(corpus, tmp_path):
    words = corpus.options(tmp_path / "a", **TWO | {"train_list": tmp_path / "none.txt"})
    refused = run_script(SCRIPT, *words)
    assert refused.returncode == 2
    one_message(refused.stderr, "none.txt")
    odd = run_script(SCRIPT, *corpus.options(tmp_path / "b", **TWO | {"batch_size": 5}))
    assert odd.returncode == 2
    one_message(odd.stderr, "batches of 5 speakers can't be split over 2 processes")
    head = run_script(SCRIPT, *corpus.options(tmp_path / "c", **TWO, shard_head=True))
    assert head.returncode == 2
    one_message(head.stderr, "--shard_head: angleproto has no classes to split")


def test_a_full_disk_in_two_processes(corpus, tmp_path):
    """A limit on the size of files stands for the disk that is full."""
    result = run_script(
        SCRIPT,
        *corpus.options(tmp_path, **TWO, max_epoch=3),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)),
    )
    assert result.returncode == 2
    one_message(result.stderr, "rank [01]: .*last.state")
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_dead_data_worker_of_one_process(corpus, tmp_path):
    process = start(corpus.options(tmp_path, **TWO | {"nDataLoaderThread": 1}, max_epoch=1000))
    wait_for(tmp_path / "result" / "scores.txt", "Epoch 2,", process)
    workers = [pid for pid in descendants(children(process)[1]) if "multiprocessing" not in command_of(pid)]
    os.kill(workers[-1], signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    one_message(errors, r"rank 1: a data worker died.*its last file was spk")


def test_a_process_without_a_device_says_so(corpus, tmp_path):
    words = corpus.options(tmp_path, **TWO | {"device": "cuda"})
    result = run_script(SCRIPT, *words)
    assert result.returncode == 2
    one_message(result.stderr, "GPU")


def torchrun(words, *flags):
    command = [sys.executable, "-m", "torch.distributed.run", *flags, str(ROOT / SCRIPT), *words]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def test_two_nodes_train_are_killed_and_go_on_by_themselves(corpus, tmp_path):
    """Two agents on loopback; one worker is killed, torchrun starts all anew, which resume."""
    settings = {name: value for name, value in TWO.items() if name != "nproc"} | {"max_epoch": 40}
    whole = run_script(SCRIPT, *corpus.options(tmp_path / "whole", **settings | {"nproc": 2}))
    assert whole.returncode == 0, whole.stderr
    words = corpus.options(tmp_path / "nodes", **settings)
    flags = ["--nnodes=2", "--nproc_per_node=1", "--max_restarts=5", "--rdzv_backend=c10d"]
    flags += [f"--rdzv_endpoint=127.0.0.1:{free_port()}", "--rdzv_id=1", "--monitor_interval=0.1"]
    agents = [torchrun(words, *flags) for _ in range(2)]
    wait_for(tmp_path / "nodes" / "result" / "scores.txt", "Epoch 3,", agents[0])
    worker = children(agents[1])[0]
    os.kill(worker, signal.SIGKILL)
    outputs = [agent.communicate(timeout=600)[0] for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], "\n".join(outputs)
    assert sum(output.count("resumed ") for output in outputs) == 1, "\n".join(outputs)
    states = [final_state(tmp_path / name) for name in ("whole", "nodes")]
    assert_same(states[0]["network"], states[1]["network"])


def test_a_killed_process_under_torchrun_is_named(corpus, tmp_path):
    """Torchrun tells the others to end at the same time."""
    settings = {name: value for name, value in TWO.items() if name != "nproc"} | {"max_epoch": 1000}
    agent = torchrun(corpus.options(tmp_path, **settings), "--standalone", "--nproc_per_node=2")
    wait_for(tmp_path / "result" / "scores.txt", "Epoch 2,", agent)
    os.kill(children(agent)[1], signal.SIGKILL)
    output = agent.communicate(timeout=90)[0]
    own = "\n".join(line for line in output.splitlines() if "trainSpeakerNet.py: error:" in line)
    one_message(own, "rank 1: no sign of life: killed, frozen or cut off")
    assert agent.returncode == 1


def test_after_a_stop_only_what_it_caused_is_excused():
    stop = signals.StopSignal()
    stop.signum = signal.SIGTERM
    with pytest.raises(OSError, match="disk"), stop.guard():
        raise OSError("the disk is full")
    with pytest.raises(RuntimeError, match="anything"), stop.guard():
        raise RuntimeError("anything")
    for caused in (RuntimeError("DataLoader worker (pid 17) exited"), ConnectionResetError(), EOFError()):
        with pytest.raises(signals.Stopped), stop.guard():
            raise caused


def test_ctrl_c_while_processes_start_is_no_error(corpus, tmp_path):
    process = start(corpus.options(tmp_path, **TWO, max_epoch=1000))
    while len(children(process)) < 2:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT and errors == "", errors


def test_a_second_signal_ends_at_once_even_those_that_wait(corpus, tmp_path):
    process = start(corpus.options(tmp_path, **TWO, max_epoch=1000))
    wait_for(tmp_path / "result" / "scores.txt", "Epoch 2,", process)
    os.kill(children(process)[1], signal.SIGSTOP)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=5)
    assert process.returncode == 128 + signal.SIGINT and errors == "", errors
    assert checkpoint.load_state(tmp_path / "state" / "last.state")


WRAPPER = """import os, sys
sys.path.insert(0, {root!r})
import trainSpeakerNet
from distributed import launch, signals
{fault}
words = [word.replace("@", os.environ.get("RANK", "")) for word in sys.argv[1:]]
if "RANK" in os.environ:
    sys.exit(trainSpeakerNet.main(words))
sys.exit(launch.launch(sys.argv, 2, 0, signals.StopSignal()))
"""


def run_wrapped(tmp_path, words, fault=""):
    """Two processes with something done to them before they begin; @ in words is the rank."""
    path = tmp_path / "wrapper.py"
    path.write_text(WRAPPER.format(root=str(ROOT), fault=fault))
    command = [sys.executable, str(path), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_an_unforeseen_error_of_one_process_is_told_alone(corpus, tmp_path):
    fault = """if os.environ.get("RANK") == "1":
    import SpeakerNet
    def forward(*_): raise KeyError("unforeseen")
    SpeakerNet.SpeakerNet.forward = forward
"""
    result = run_wrapped(tmp_path, corpus.options(tmp_path / "exp", **TWO, max_epoch=5), fault)
    assert result.returncode == 1
    assert result.stderr.count("Traceback") == 1 and "unforeseen" in result.stderr.splitlines()[-1]


SHORT = """from distributed import heartbeat, launch
heartbeat.BEAT_S, heartbeat.SILENCE_S, launch.GRACE_S = 0.3, 2.0, 4.0"""


@pytest.mark.parametrize(
    ("place", "fault", "settings", "told"),
    [
        ("forward", "os.kill(os.getpid(), 19)", {}, "no sign of life for 4 s: killed, frozen or cut off$"),
        ("embed", "os.kill(os.getpid(), 19)", {"test_interval": 1, "max_epoch": 1}, "no sign of life for"),
        (
            "forward",
            "__import__('time').sleep(1000)",
            {"rank_timeout": 4},
            r"no answer: alive, but hung \(rank 0 was told: Timed out waiting",
        ),
    ],
    ids=["frozen in a step", "frozen in a test", "hung in a step"],
)
def test_a_frozen_or_hung_process_ends_all(corpus, tmp_path, place, fault, settings, told):
    fault = f"""{SHORT}
if os.environ.get("RANK") == "1":
    import SpeakerNet
    def stay(*_, **__): {fault}
    SpeakerNet.SpeakerNet.{place} = stay
"""
    settings = {name: value for name, value in TWO.items() if name != "test_list"} | settings
    words = [word for word in corpus.options(tmp_path / "exp", **settings) if "nproc" not in word]
    result = run_wrapped(tmp_path, words, fault)
    assert result.returncode == launch.TRY_AGAIN
    one_message(result.stderr, f"rank 1: {told}")


def test_processes_that_see_different_folders_are_refused(corpus, tmp_path):
    words = [word for word in corpus.options(tmp_path / "exp@", **TWO, max_epoch=3) if "nproc" not in word]
    alone = [word.replace("exp@", "exp0") for word in words]
    assert run_here(SCRIPT, *alone, "--max_epoch=1").returncode == 0
    result = run_wrapped(tmp_path, words)
    assert result.returncode == 2
    one_message(result.stderr, "processes found different states: .* must be one for all")


def test_a_stop_before_the_processes_are_started_reaches_them(monkeypatch):
    stop = signals.StopSignal()
    stop.signum = signal.SIGTERM
    before = {signum: signal.getsignal(signum) for signum in signals.STOPS}
    try:
        program = (
            f"import sys, time; sys.path.insert(0, {str(ROOT)!r}); from distributed import signals; "
            + ("stop = signals.StopSignal(); stop.install(); time.sleep(0.5); sys.exit(128 + stop.asked())")
        )
        code = launch.launch(["-c", program], 2, 0, stop)
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
    assert code == 128 + signal.SIGTERM


def test_an_occupied_port_is_named(corpus, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = run_here(SCRIPT, *corpus.options(tmp_path, **TWO), f"--port={port}")
    assert_refused(result, f"--port {port}: Address already in use")


def test_states_are_saved_once_where_processes_agree(corpus, tmp_path):
    fault = """import time
import checkpoint
plain = checkpoint.save_state
def save(path, state):
    print("SAVED", state["trainer"]["step"], state["progress"]["epoch"], flush=True)
    plain(path, state)
checkpoint.save_state = save
"""
    words = corpus.options(tmp_path / "exp", **TWO | {"batch_size": 2, "save_interval": 0.002}, max_epoch=6)
    result = run_wrapped(tmp_path, [word for word in words if "nproc" not in word], fault)
    assert result.returncode == 0, result.stderr
    saved = re.findall(r"SAVED (\d+ \d+)", result.stdout)
    repeated = [place for place in set(saved) if saved.count(place) > 1]
    assert len(saved) > 6 and repeated in ([], ["0 6"]), saved  # the last: before and after its model


def test_flags_of_processes(corpus, tmp_path):
    assert_refused(run_here(SCRIPT, *corpus.options(tmp_path), "--nproc=-1"), "--nproc: must be at least 0")
    alone = run_here(
        SCRIPT, *corpus.options(tmp_path, max_epoch=1, test_list=""), "--distributed", "--port=8888"
    )
    assert alone.returncode == 0, alone.stderr  # no GPU here: one process


def test_the_slurm_script_saves_and_asks_for_its_next_turn(tmp_path):
    """With stand-ins for SLURM's commands and torchrun."""
    told = tmp_path / "told"
    for name, body in {
        "srun": 'exec "$@"',
        "scontrol": f'[ "$1" = requeue ] && echo "requeue $2" >> {told} || echo node1',
        "torchrun": f"trap 'echo saved $* >> {told}; exit 143' TERM; touch {told}.on\n"
        "while :; do sleep 0.1; done",
    }.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "17"}
    environment |= {"SLURM_NNODES": "2", "SLURM_JOB_NODELIST": "node[1-2]"}
    script = ["bash", ROOT / "configs" / "slurm.sbatch", "--save_path", "exps/e"]
    process = subprocess.Popen(script, env=environment, cwd=tmp_path)
    while not (tmp_path / "told.on").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(timeout=20) is not None
    saved, requeued = told.read_text().splitlines()
    assert saved.startswith("saved --nnodes 2") and saved.endswith("trainSpeakerNet.py --save_path exps/e")
    assert "--rdzv_endpoint node1:29400" in saved and requeued == "requeue 17"
