"""--margin_schedule: the margin as a function of the steps, and where it is shown."""

import pytest
from random_batches import Batches
from test_engine import trainer

import options
import trainSpeakerNet
from training.margin import MarginSchedule

AAM = ("--trainfunc=aamsoftmax", "--margin=0.4")


def schedule(loss, kind, epochs):
    values = {"margin_schedule": kind, "margin_epochs": epochs, "max_epoch": 9, "trainfunc": "the loss"}
    return MarginSchedule(loss, values, num_batches=4)


@pytest.mark.parametrize(
    ("kind", "fractions"),
    [
        ("linear", {0.0: 0.0, 2.0: 0.0, 2.5: 0.125, 4.0: 0.5, 6.0: 1.0, 8.0: 1.0}),
        # wespeaker: 1 - exp(t ln 0.001), at t = 1/2 0.9684
        ("exponential", {0.0: 0.0, 2.0: 0.0, 3.0: 0.822172, 4.0: 0.968377, 6.0: 1.0, 8.0: 1.0}),
    ],
)
def test_the_margin_rises_between_the_epochs_and_the_penalty_with_it(kind, fractions):
    loss = options.plugin("loss", "aamsoftmax")(4, 3, margin=0.4, inter_topk=2, inter_topk_penalty=0.1)
    rise = schedule(loss, kind, (2.0, 6.0))
    for epochs, fraction in fractions.items():
        assert (
            rise.set(int(epochs) + 1, round(4 * (epochs % 1)))
            == loss.margin
            == pytest.approx(0.4 * fraction, abs=1e-6)
        )
        assert loss.inter_topk_penalty == pytest.approx(0.1 * fraction, abs=1e-6)


def test_without_a_schedule_nothing_is_set():
    loss = options.plugin("loss", "softmax")(4, 3)
    assert schedule(loss, "constant", None).set(2, 0) is None and not hasattr(loss, "margin")


def test_a_schedule_that_cannot_be_followed_is_rejected():
    loss = options.plugin("loss", "amsoftmax")(4, 3)
    for epochs in (None, (1.0,), (2.0, 2.0), (-1.0, 2.0), (1.0, 9.5), (1.0, float("nan"))):
        with pytest.raises(ValueError, match=r"--margin_epochs A,B .* <= --max_epoch, which is 9; got"):
            schedule(loss, "linear", epochs)
    with pytest.raises(ValueError, match="--margin_schedule linear: the loss has no margin"):
        schedule(options.plugin("loss", "softmax")(4, 3), "linear", (0.0, 1.0))


def test_epochs_without_a_schedule_are_warned_of():
    command = trainSpeakerNet.parse(["--model=GE2E", *AAM, "--margin_epochs=1,2"])
    assert command.warnings == ("--margin_epochs has no effect with --margin_schedule constant",)


def test_the_margin_is_set_before_each_step_and_shown(monkeypatch):
    """Epoch 2 of six batches in steps of two; the margin rises over epochs 1.5 to 2, from its second half."""
    words = ("--margin_schedule=linear", "--margin_epochs=1.5,2", "--accumulate=2", "--lr=0")
    made = trainer(*AAM, *words, num_batches=6)
    margins = []
    compute = made.network.loss.with_margin

    def watch(cosine):
        margins.append(made.network.loss.margin)
        return compute(cosine)

    monkeypatch.setattr(made.network.loss, "with_margin", watch)
    figures = made.train_epoch(Batches(6), "", (1, 2), lambda: None)
    assert margins == pytest.approx([0.0, 0.0, 0.0, 0.0, 0.4 / 3, 0.4 / 3])
    assert figures.margin == figures.known()["margin"] == 0.0
    assert "margin" not in figures._replace(margin=None).known()
