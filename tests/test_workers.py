"""The process pool: order, parts, errors, and Ctrl-C while processes start."""

import os
import signal

import pytest

from preparation.workers import _ctrl_c_deferred, in_processes


def square(part):
    for number in part:
        if number < 0:
            raise ValueError(f"{number} is negative")
        yield number**2


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_results_come_in_order(workers):
    assert in_processes(square, range(100), workers, "squaring") == [number**2 for number in range(100)]
    assert in_processes(square, [], workers, "squaring") == []
    with pytest.raises(ValueError, match=r"^-1 is negative$"):
        in_processes(square, [*range(99), -1], workers, "squaring")


def test_ctrl_c_comes_after_the_block():
    done, before = [], signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), _ctrl_c_deferred():
        os.kill(os.getpid(), signal.SIGINT)
        done.append(True)
    assert done and signal.getsignal(signal.SIGINT) is before
