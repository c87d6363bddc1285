"""--trainfunc aamsoftmax+0.5*angleproto: several losses under one name."""

import pytest
import torch
from test_engine import CLASSES, trainer
from test_trunk import train

import options
import trainSpeakerNet
from loss._sharded import shard_head, sharded_parameters
from options import ROOT
from storage.checkpoint import ModelFile
from storage.initial_weights import load_initial_weights

BOTH = "aamsoftmax+0.5*angleproto"


def resolve(*words):
    return options.resolve(trainSpeakerNet.make_parser, ["--model=ResNetSE34L", *words])


def test_a_combined_loss_is_the_weighted_sum_of_its_parts():
    values = resolve(f"--trainfunc={BOTH}", "--margin=0.3", "--init_w=2").options
    loss_fn = options.build("loss", values, 6, 5)
    aam = options.plugin("loss", "aamsoftmax")(6, 5, margin=0.3)
    aam.load_state_dict(loss_fn.parts[0].state_dict())
    angleproto = options.plugin("loss", "angleproto")(6, 5, init_w=2.0)
    batch = torch.randn(3, 2, 6), torch.tensor([0, 3, 4])
    loss, accuracy = loss_fn(*batch)
    torch.testing.assert_close(loss, aam(*batch)[0] + 0.5 * angleproto(*batch)[0])
    assert torch.equal(accuracy, aam(*batch)[1])


def test_its_attributes_follow_from_the_parts():
    loss = options.plugin("loss", "amsoftmax+softmaxtriplet")
    assert (loss.min_utterances, loss.max_utterances, loss.normalize, loss.per_speaker) == (2, 2, True, True)
    assert options.plugin("loss", "softmax+amsoftmax").min_utterances == 1
    assert options.plugin("loss", "triplet+2*softmax").per_speaker is False
    built = options.plugin("loss", "softmax+softmaxtriplet")(4, 3)
    built.set_epoch(7)
    assert built.parts[1].epoch == 7


def test_an_option_of_several_parts_is_one_with_the_default_of_the_first():
    values = resolve("--trainfunc=sphereface2+amsoftmax").options
    assert (values.margin, values.scale) == (0.2, 32.0)  # of amsoftmax 0.1 and 30
    parts = options.build("loss", values, 4, 3).parts
    assert [part.margin for part in parts] == [0.2, 0.2]
    assert options.added_options(values, ("loss",)) == {"inter_topk": 0, "inter_topk_penalty": 0.06}
    code = options.sources(values, ("loss",)).decode()
    assert all((ROOT / "loss" / f"{name}.py").read_text() in code for name in ("sphereface2", "amsoftmax"))
    assert options.plugin_options(options.plugin("loss", BOTH)).keys() >= {"easy_margin", "init_b"}
    assert {"margin", "init_w"} <= options.network_options(
        resolve(f"--trainfunc={BOTH}").options, ["loss"]
    ).keys()


def test_help_and_warnings_know_the_parts(capsys):
    with pytest.raises(SystemExit):
        resolve(f"--trainfunc={BOTH}", "--help")
    text = capsys.readouterr().out
    assert text.index("loss/aamsoftmax.py") < text.index("--margin ") < text.index("loss/angleproto.py")
    assert resolve(f"--trainfunc={BOTH}", "--hard_rank=3", "--margin=0.2").warnings == (
        f"--hard_rank has no effect with --trainfunc {BOTH}",
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("aamsoftmax+angelproto", r"aamsoftmax\+angelproto: angelproto: unknown; did you mean angleproto"),
        ("aamsoftmax+", r"expected NAME or WEIGHT\*NAME with a positive weight, got ''"),
        ("aamsoftmax+x*proto", r"with a positive weight, got 'x\*proto'"),
        ("-1*aamsoftmax", r"with a positive weight, got '-1\*aamsoftmax'"),
        ("nan*proto", "with a positive weight"),
        ("*proto", r"with a positive weight, got '\*proto'"),
        ("angelproto", r"--trainfunc angelproto: unknown; did you mean angleproto"),
    ],
)
def test_names_that_cannot_be_combined_are_rejected(name, message):
    with pytest.raises(ValueError, match=message):
        resolve(f"--trainfunc={name}")


def test_only_losses_are_combined():
    with pytest.raises(ValueError, match=r"--optimizer adam\+sgd: unknown"):
        options.plugin("optimizer", "adam+sgd")


def test_a_combined_loss_trains_and_its_file_initialises_one_with_other_weights():
    made = trainer(f"--trainfunc={BOTH}", "--lr=0.01", "--margin_schedule=linear", "--margin_epochs=1,2")
    assert train(made, epoch=2).margin == 0.0
    assert made.network.loss.parts[0].margin == pytest.approx(
        0.1 / 20
    )  # set before the last of 2 steps of 20
    speakers = [str(number) for number in range(CLASSES)]
    stored = ModelFile(made.network.state_dict(), {"trainfunc": BOTH}, speakers, True, {})
    for name, is_kept in (("aamsoftmax+2*angleproto", True), ("amsoftmax+angleproto", False)):
        fresh = trainer(f"--trainfunc={name}").network
        notes = load_initial_weights(fresh, stored, trainfunc=name, speakers=speakers, allow_partial=False)
        weight = made.network.loss.parts[0].weight
        assert torch.equal(fresh.loss.parts[0].weight, weight) == is_kept == (not notes)


def test_a_part_with_classes_is_sharded_unless_the_loss_gathers_utterances(monkeypatch):
    monkeypatch.setattr("distributed.world_size", lambda: 2)
    monkeypatch.setattr("distributed.rank", lambda: 1)
    loss_fn = options.plugin("loss", BOTH)(6, 5)
    shard_head(loss_fn, BOTH, gathers=False)
    assert sharded_parameters(loss_fn) == ["parts.0.weight"] and loss_fn.parts[0].weight.shape == (2, 6)
    with pytest.raises(
        ValueError, match=r"a part of aamsoftmax\+0.5\*angleproto, .* --gather_negatives False"
    ):
        shard_head(options.plugin("loss", BOTH)(6, 5), BOTH, gathers=True)
    with pytest.raises(ValueError, match="angleproto has no classes to split"):
        shard_head(options.plugin("loss", "angleproto")(6, 5), "angleproto", gathers=True)
