"""Processes connect, notice who does not, and start again beside a store that remembers dead ones."""

import os
import re
import signal
import time

import forked
import pytest
import torch
from rank_processes import Ranks, free_port

import distributed
import runtime


def connect(rank, seconds, folder):
    """Connect and wait for a loss; writes what there is to report."""
    path = folder / f"{rank}.report"

    def on_loss(reason):
        path.write_text(reason)
        os._exit(0)

    timeouts = distributed.Timeouts(rendezvous_s=seconds, heartbeat_interval_s=0.1, report_s=0.5)
    os.environ["LOCAL_RANK"] = "0"  # as if each were on a machine of its own
    try:
        distributed.rendezvous(on_loss, timeouts)
    except OSError as error:
        is_lost = bool(distributed.lost_process_reason(error))
        on_loss(distributed.error_to_report(str(error), is_lost_process=is_lost))
    (folder / f"{rank}.connected").touch()
    time.sleep(60)


def reports(ranks):
    assert not any(ranks.wait(30)), ranks.errors()
    return {rank: (ranks.folder / f"{rank}.report").read_text() for rank in ranks.processes}


@pytest.mark.parametrize(
    ("started", "expected"),
    [
        ((0, 1), {0: "rank 0: rank 2 did not connect within 1 s", 1: ""}),
        ((1, 2), {1: "rank 0 did not connect within 1 s", 2: ""}),
    ],
)
def test_a_process_that_does_not_connect_is_named_once(tmp_path, started, expected):
    with Ranks(tmp_path, started, connect, 1, tmp_path, world_size=3) as ranks:
        assert reports(ranks) == expected


def keep_store(port):
    store = torch.distributed.TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False)
    time.sleep(100)
    del store


@pytest.mark.slow
def test_a_store_that_does_not_answer_is_reported_by_each_machine(tmp_path):
    """As where torchrun's first machine is cut off."""
    port = free_port()
    keeper = forked.start(keep_store, port, daemon=True)
    try:
        with Ranks(tmp_path, range(2), connect, 30, tmp_path, port=port) as ranks:
            for rank in range(2):
                ranks.wait_for(tmp_path / f"{rank}.connected", "")
            time.sleep(2)  # longer than the store may be silent
            assert not list(tmp_path.glob("*.report"))
            os.kill(keeper.pid, signal.SIGSTOP)
            for report in reports(ranks).values():
                assert re.match(
                    r"no answer from the rendezvous host 127.0.0.1 for 1 s: killed, frozen", report
                )
    finally:
        keeper.kill()


def restart(rank, attempt):
    os.environ["TORCHELASTIC_RESTART_COUNT"] = str(attempt * rank)
    distributed.rendezvous()
    distributed.join(runtime.CPU, 60.0)
    return distributed.all_gather((rank, attempt)), distributed.error_to_report("failed")  # then it is gone


def test_restarted_processes_do_not_see_what_dead_ones_left(tmp_path):
    """As under torchrun, whose store stays and whose agents count restarts independently."""
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    for attempt in range(3):
        with Ranks(tmp_path / str(attempt), range(2), restart, attempt, port=store.port) as ranks:
            results = ranks.results()
        assert [gathered for gathered, _ in results] == [[(0, attempt), (1, attempt)]] * 2
        assert sorted(report.split(": ")[-1] for _, report in results) == ["", "failed"]
