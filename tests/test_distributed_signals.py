"""Stop signals are requests, and so are the errors of data workers that they cause."""

import io
import signal
import threading
from contextlib import redirect_stderr

import pytest
from conftest import assert_refused, run_here

import trainSpeakerNet
from distributed.signals import STOP_SIGNALS, Stopped, StopSignal


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


def test_a_command_leaves_the_handlers_as_they_were_and_runs_in_a_thread():
    """As in a notebook: called twice, and off the main thread, where Python installs no handlers."""
    before = {signum: signal.getsignal(signum) for signum in STOP_SIGNALS}
    for _ in range(2):
        assert_refused(run_here("trainSpeakerNet.py"), "--model is needed")
        assert {signum: signal.getsignal(signum) for signum in STOP_SIGNALS} == before
    codes = []
    with redirect_stderr(io.StringIO()):
        thread = threading.Thread(target=lambda: codes.append(trainSpeakerNet.main([])))
        thread.start()
        thread.join()
    assert codes == [2]


def test_handlers_return_after_a_signal_too():
    before = {signum: signal.getsignal(signum) for signum in STOP_SIGNALS}
    with StopSignal().installed() as stop:
        signal.raise_signal(signal.SIGTERM)
        assert stop.requested() == signal.SIGTERM
    assert {signum: signal.getsignal(signum) for signum in STOP_SIGNALS} == before
