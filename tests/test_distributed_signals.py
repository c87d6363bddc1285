"""Stop signals are requests, and so are the errors of data workers that they cause."""

import signal

import pytest

from distributed.signals import Stopped, StopSignal


@pytest.fixture
def stop():
    """A StopSignal that has received SIGTERM."""
    stop = StopSignal()
    stop.signum = signal.SIGTERM
    return stop


def test_check_raises_only_after_a_signal(stop):
    StopSignal().check()
    with pytest.raises(Stopped, match="SIGTERM") as raised:
        stop.check()
    assert raised.value.exit_code == 128 + 15


@pytest.mark.parametrize("error", [OSError("the disk is full"), RuntimeError("anything")])
def test_errors_that_a_signal_does_not_cause_stay_errors(stop, error):
    with pytest.raises(type(error), match=str(error)), stop.guard():
        raise error


@pytest.mark.parametrize(
    "error", [RuntimeError("DataLoader worker (pid 17) exited"), ConnectionResetError(), EOFError()]
)
def test_a_dead_worker_is_an_error_only_without_a_signal(stop, error):
    with pytest.raises(Stopped), stop.guard():
        raise error
    with pytest.raises(type(error)), StopSignal().guard():
        raise error
