"""--trunk_lr: the trunk moves by the factor, or not at all."""

from copy import deepcopy

import pytest
import torch
from conftest import assert_refused, run_here
from random_batches import Batches
from test_engine import SCRIPT, trainer

import trainSpeakerNet
from SpeakerNet import SpeakerNet
from storage import checkpoint
from training import profile
from training.averaging import update_batchnorm


def train(made, epoch=1, num_batches=2):
    return made.train_epoch(Batches(num_batches), "", (1, epoch), lambda: None)


def weights_of(made):
    return {name: tensor.clone() for name, tensor in made.network.state_dict().items()}


def is_trunk(name):
    return name.startswith(("features.", "model."))


def test_the_trunk_moves_by_the_factor():
    """One step of plain SGD: a weight moves by rate x (gradient + decay x weight), so 1/4 as far at 1/4."""
    moves = []
    for factor in (1.0, 0.25):
        made = trainer("--lr=1", "--weight_decay=0.1", f"--trunk_lr={factor}")
        before = weights_of(made)
        assert train(made, num_batches=1).lr == 1.0
        moves.append({name: (p.detach() - before[name]) for name, p in made.network.named_parameters()})
    full, quarter = moves
    assert any(map(is_trunk, full)) and not all(map(is_trunk, full))
    for name, move in full.items():
        expected = 0.25 * move if is_trunk(name) else move
        # the weights themselves, about 1, are rounded at 1e-7
        torch.testing.assert_close(quarter[name], expected, rtol=1e-4, atol=3e-7)


def test_a_frozen_trunk_stays_bit_for_bit():
    words = ["--weight_decay=0.1", "--momentum=0.9", "--ema_decay=0.5", "--clip_norm=1"]
    made = trainer("--lr=0.1", "--trunk_lr=0", *words)
    crops = 0.1 * torch.randn(2, 5_000)
    before, embeddings = weights_of(made), made.network.eval().embed(crops)
    train(made)
    for network in (made.network, made.tested()):
        for name, tensor in network.state_dict().items():
            assert torch.equal(tensor, before[name]) == is_trunk(name), name
        assert torch.equal(network.eval().embed(crops), embeddings)
    assert {"model.bn1.running_mean", "model.bn1.num_batches_tracked"} <= before.keys()


def test_a_learned_front_end_belongs_to_the_trunk():
    """It isn't trained here, which takes seconds."""
    for factor in (0.0, 0.25):
        made = trainer("--features=sinc", "--lr=1", f"--trunk_lr={factor}")
        made.trunk.begin_training()
        assert made.network.training and made.network.loss.training
        learned = list(made.network.features.parameters())
        rates = [
            group["lr"] for group in made.optimizer.param_groups for p in group["params"] if p is learned[0]
        ]
        assert rates == ([factor] if factor else [])
        for part in (made.network.features, made.network.model):
            assert all(parameter.requires_grad == (factor > 0) for parameter in part.parameters())
            assert all(module.training == (factor > 0) for module in part.modules())


@pytest.mark.parametrize(
    "schedule", [["steplr", "--lr_decay=0.5", "--test_interval=1"], ["cosine", "--warmup_epochs=1"]]
)
def test_the_rates_keep_their_ratio(schedule):
    made = trainer("--lr=0.1", "--trunk_lr=0.25", "--max_epoch=3", "--scheduler", *schedule)
    rates = []
    for step in range(3 * made.steps_per_epoch - 1):
        if step == made.steps_per_epoch:  # as after steps that weren't finite
            made.state.lower_rate(0.5)
        rates.append([group["lr"] for group in made.optimizer.param_groups])
        made.scheduler.step()
    assert len({head for head, _ in rates}) > 2
    for head, trunk in rates:
        assert trunk == pytest.approx(0.25 * head, rel=1e-12)


@pytest.mark.parametrize("factor", [0.0, 0.25])
def test_a_resumed_run_keeps_the_factor_bit_for_bit(factor):
    words = ("--optimizer=adam", "--lr=0.01", f"--trunk_lr={factor}")
    whole, parts = trainer(*words[1:], words[0]), trainer(*words[1:], words[0])
    train(whole)
    whole.state.begin_epoch()
    state = deepcopy(whole.state.state_dict())
    parts.load_state_dict(state)
    for made in (whole, parts):
        train(made, epoch=2)
    resumed = weights_of(parts)
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in weights_of(whole).items())
    assert len(parts.optimizer.param_groups) == (2 if factor else 1)


def test_a_frozen_trunk_and_a_loss_without_weights(trained, corpus, tmp_path):
    """Either no parameters, or a scale and an offset."""
    for loss in ("proto", "triplet", "contrastive", "angleproto", "ge2e"):
        with pytest.raises(ValueError, match=f"--trunk_lr 0 .* {loss} has no weights"):
            trainer(f"--trainfunc={loss}", "--trunk_lr=0")
    words = corpus.options(tmp_path / "exp", trainfunc="ge2e", trunk_lr=0, initial_model=trained[0])
    assert_refused(run_here(SCRIPT, *words), "--trunk_lr 0", "ge2e has no weights", "another --trainfunc")
    assert not (tmp_path / "exp").exists()


def test_a_network_that_is_frozen_was_trained(corpus, tmp_path):
    result = run_here(SCRIPT, *corpus.options(tmp_path / "exp", trainfunc="softmax", trunk_lr=0))
    assert_refused(result, "--trunk_lr 0 freezes a network that isn't trained; give --initial_model")
    assert not (tmp_path / "exp").exists()
    for wrong in ("-0.1", "nan", "inf"):
        assert_refused(run_here(SCRIPT, f"--trunk_lr={wrong}"), "--trunk_lr: must be in [0, inf)")


def test_a_loss_without_parameters_takes_a_factor():
    made = trainer("--trainfunc=proto", "--lr=0.1", "--trunk_lr=0.25")
    before = weights_of(made)
    assert train(made, num_batches=1).lr == 0.1
    assert not torch.equal(before["model.fc.weight"], made.network.model.fc.weight)


def test_only_the_head_of_a_trained_model_is_tuned(trained, corpus, tmp_path, monkeypatch):
    """Also its average, and the profile knows the frozen parts; a batch of one is no fault."""
    monkeypatch.setattr(profile.Profile, "WARM_UP", 1)
    source = trained[0] / "model" / "model000000004.model"
    words = corpus.options(tmp_path, trainfunc="softmax", initial_model=source, batch_size=1, max_epoch=1)
    result = run_here(SCRIPT, *words, "--trunk_lr=0", "--average_last=1", "--profile", "--sync_bn")
    assert result.returncode == 0, result.stderr
    assert "front end" in result.stdout and "trunk" in result.stdout
    old = checkpoint.load_model(str(source))
    for name in ("model000000001", "average"):
        new = checkpoint.load_model(str(tmp_path / "model" / f"{name}.model"))
        shared = [key for key in old.weights if is_trunk(key)]
        assert shared and all(torch.equal(old.weights[key], new.weights[key]) for key in shared)
        assert new.metrics["eer"] == old.metrics["eer"]


def is_frozen(name):
    return name.startswith(("model.layer1.", "model.bn1."))


def test_named_modules_stay_bit_for_bit():
    words = ["--lr=0.1", "--weight_decay=0.1", "--momentum=0.9", "--ema_decay=0.5"]
    made = trainer(*words, "--freeze=model.layer1,model.bn1")
    before = weights_of(made)
    train(made)
    for network in (made.network, made.tested()):
        changed = {name for name, t in network.state_dict().items() if not torch.equal(t, before[name])}
        assert changed and not any(map(is_frozen, changed))
    assert {"model.layer2.0.conv1.weight", "model.layer2.0.bn1.running_mean", "loss.fc.weight"} <= changed
    assert not made.network.model.layer1.training and made.network.model.layer2.training


def test_batch_norm_keeps_its_statistics_but_not_its_weights():
    made = trainer("--lr=0.1", "--freeze_batchnorm")
    before = weights_of(made)
    train(made)
    statistics = {name for name in before if name.endswith(("running_mean", "running_var"))}
    unchanged = {name for name, t in weights_of(made).items() if torch.equal(t, before[name])}
    assert statistics < unchanged and "model.bn1.running_mean" in statistics
    assert not {name for name, _ in made.network.named_parameters()} & unchanged
    assert made.network.training and not made.network.model.bn1.training


def test_an_averages_batch_norm_is_estimated_again_unless_it_is_frozen():
    made = trainer("--freeze=model.layer1,model.bn1")
    before = weights_of(made)
    made.trunk.begin_training()
    update_batchnorm(made.network, Batches(3), torch.device("cpu"), lambda: None)
    changed = {name for name, t in weights_of(made).items() if not torch.equal(t, before[name])}
    norms = {name for name in before if name.endswith("running_mean") and name.startswith("model.")}
    assert {name for name in norms if not is_frozen(name)} <= changed
    assert all(name.endswith(("running_mean", "running_var", "num_batches_tracked")) for name in changed)
    assert not any(map(is_frozen, changed))
    assert made.network.model.layer2[0].bn1.momentum == 0.1
    reference = trainer()  # as PyTorch's update_bn does without anything frozen
    other = trainer()
    crops = [batch.crops.flatten(0, 1) for batch in Batches(3)]
    reference.network.forward = reference.network.embed
    torch.optim.swa_utils.update_bn(crops, reference.network)
    other.trunk.begin_training()
    update_batchnorm(other.network, Batches(3), torch.device("cpu"), lambda: None)
    expected = weights_of(reference)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights_of(other).items())


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--freeze=model.layr1", "--freeze model.layr1: .* did you mean model.layer1"),
        ("--freeze=model,loss", "--freeze model,loss leaves nothing to train"),
    ],
)
def test_what_cannot_be_frozen_is_refused(flag, message):
    with pytest.raises(ValueError, match=message):
        trainer(flag)


@pytest.mark.parametrize("flag", ["--freeze=model.layer1", "--freeze_batchnorm"])
def test_only_a_trained_network_is_frozen(flag):
    with pytest.raises(ValueError, match="freezes a network that isn't trained; give --initial_model"):
        trainSpeakerNet.parse(["--model=ResNetSE34L", "--trainfunc=softmax", flag])


def test_a_frozen_loss_is_no_fault_of_an_average_that_has_none():
    made = trainer("--freeze=loss")
    assert not made.network.loss.fc.weight.requires_grad
    averaged = SpeakerNet(made.network.features, made.network.model)
    made.trunk.freezing.begin_training(averaged)
    assert averaged.training and averaged.model.training
