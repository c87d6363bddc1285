"""The learning rates of the schedules, worked by hand, and what changes them from outside."""

import pytest
import torch
from test_engine import trainer
from torch import nn

import options


def optimizer_of(lr=1.0):
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)


def rates(name, steps, steps_per_epoch=10, max_epoch=6, **settings):
    """The rates of the first steps of a schedule."""
    optimizer = optimizer_of()
    scheduler = options.plugin("scheduler", name)(optimizer, steps_per_epoch, max_epoch, **settings)
    return [step_of(optimizer, scheduler) for _ in range(steps)]


def step_of(optimizer, scheduler):
    rate = optimizer.param_groups[0]["lr"]
    optimizer.step()
    scheduler.step()
    return rate


def test_exponential_is_wespeakers():
    """last_lr ** (step / steps), times the warm-up: 60 steps, of which 10 rise by 1/11 each."""
    found = rates("exponential", 70, warmup_epochs=1.0, last_lr=0.01)
    assert found[4] == pytest.approx(5 / 11 * 0.01 ** (4 / 60))
    assert found[30] == pytest.approx(0.1)  # half way
    assert found[60] == found[69] == pytest.approx(0.01)


def test_triangular2_halves_each_cycle():
    """Three cycles of 20 steps, from 0.1 to 1, 0.55 and 0.325 and back."""
    found = rates("triangular2", 60, cycles=3.0, lowest_lr=0.1)
    assert [found[step] for step in (0, 5, 10, 15, 20)] == pytest.approx([0.1, 0.55, 1.0, 0.55, 0.1])
    assert [found[step] for step in (30, 40, 50)] == pytest.approx([0.55, 0.1, 0.325])
    assert rates("triangular2", 31, cycles=3.0, cycle_decay=1.0)[30] == pytest.approx(1.0)


@pytest.mark.parametrize("rise", [0.3, 0.5])
def test_onecycle_is_pytorchs(rise):
    optimizer = optimizer_of()
    expected = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=60, pct_start=rise)
    found = rates("onecycle", 59, rise=rise)
    assert found == pytest.approx([step_of(optimizer, expected) for _ in range(59)], rel=1e-6)


def test_plateau_lowers_the_rate_after_tests_without_a_lower_eer_and_resumes():
    optimizer = optimizer_of(0.4)
    make = options.plugin("scheduler", "plateau")
    settings = {"lr_factor": 0.1, "lr_patience": 2, "last_lr": 0.005, "warmup_epochs": 0.2}
    scheduler = make(optimizer, 10, 6, **settings)
    assert [step_of(optimizer, scheduler) for _ in range(3)] == pytest.approx([0.4 / 3, 0.8 / 3, 0.4])
    found = []
    for tests in (0, 1, 2, 3, 0, 1, 2, 3, 4):
        scheduler.after_test(tests)
        found.append(optimizer.param_groups[0]["lr"])
        assert step_of(optimizer, scheduler) == found[-1]
        if tests == 3:
            resumed = make(other := optimizer_of(0.4), 10, 6, **settings)
            other.load_state_dict(optimizer.state_dict())
            resumed.load_state_dict(scheduler.state_dict())
            optimizer, scheduler = other, resumed
    assert found == pytest.approx([0.4, 0.4, 0.04, 0.04, 0.04, 0.04, 0.004, 0.004, 0.002])


@pytest.mark.parametrize("name", options.available("scheduler"))
def test_training_can_lower_the_rates_of_every_schedule(name):
    made = trainer("--lr=0.1", f"--scheduler={name}", "--max_epoch=2", "--trunk_lr=0.5")
    twin = trainer("--lr=0.1", f"--scheduler={name}", "--max_epoch=2", "--trunk_lr=0.5")
    twin.scheduler.step()
    made.scheduler.step()
    made.state.lower_rate(0.5)
    for _ in range(3):
        lowered, full = ([g["lr"] for g in each.optimizer.param_groups] for each in (made, twin))
        assert lowered == pytest.approx([0.5 * rate for rate in full], rel=1e-9)
        made.scheduler.step()
        twin.scheduler.step()


@pytest.mark.parametrize(
    ("name", "settings", "flag"),
    [
        ("exponential", {"last_lr": 0.0}, "--last_lr"),
        ("exponential", {"warmup_epochs": 6.0}, "--warmup_epochs"),
        ("triangular2", {"cycles": 0.0}, "--cycles"),
        ("triangular2", {"cycle_decay": 1.5}, "--cycle_decay"),
        ("triangular2", {"lowest_lr": 0.0}, "--lowest_lr"),
        ("onecycle", {"rise": 1.0}, "--rise"),
        ("onecycle", {"first_lr": 0.0}, "--first_lr"),
        ("plateau", {"lr_factor": 1.0}, "--lr_factor"),
        ("plateau", {"lr_patience": 0}, "--lr_patience"),
        ("plateau", {"last_lr": -0.1}, "--last_lr"),
    ],
)
def test_values_out_of_range_are_rejected(name, settings, flag):
    with pytest.raises(ValueError, match=flag):
        rates(name, 0, **settings)


def test_nesterov_looks_ahead():
    """Gradient 1, rate 0.1, momentum 0.5: moved by 0.1 x (1 + 0.5 x 1), then by 0.1 x (1 + 0.5 x 1.5)."""
    weight = nn.Parameter(torch.zeros(1))
    make = options.plugin("optimizer", "sgd")
    optimizer = make([weight], lr=0.1, weight_decay=0.0, momentum=0.5, nesterov=True)
    for expected in (-0.15, -0.325):
        weight.grad = torch.ones(1)
        optimizer.step()
        assert weight.item() == pytest.approx(expected)
    with pytest.raises(ValueError, match="--nesterov needs a --momentum above 0"):
        make([weight], momentum=0.0, nesterov=True)
