"""Every file of every plug-in folder fulfils the contract of its folder, see the folder's __init__.py."""

import importlib
import inspect
import sys
from copy import deepcopy
from functools import partial

import pytest
import torch
from test_models import FRONT_ENDS, NETWORKS, resolve
from torch import nn

import options
import runtime
from options.plugins import KINDS
from pooling._statistics import moments_over_time, weighted_mean_and_deviation

ATTENTIONS = ("scalar", "channelwise", "rawnet3", "ecapa", "wespeaker", "speechbrain", "nemo")


def every(*kinds):
    return [(kind, name) for kind in kinds for name in options.available(kind)]


@pytest.mark.parametrize(("kind", "name"), every(*KINDS))
def test_options_are_typed_explained_and_documented(kind, name):
    factory = options.plugin(kind, name)
    hints = inspect.get_annotations(factory.__init__ if inspect.isclass(factory) else factory)
    for option, parameter in options.plugin_options(factory).items():
        assert parameter.default is not inspect.Parameter.empty, option
        assert len(hints[option].__metadata__[0]) > 3, f"{option} has no help"
    assert inspect.getdoc(factory) and inspect.getmodule(factory).__doc__


@pytest.mark.parametrize(("kind", "name"), every(*KINDS))
def test_added_options_are_options(kind, name):
    added = getattr(importlib.import_module(f"{kind}.{name}"), "ADDED", ())
    defaults = {option: p.default for option, p in options.plugin_options(options.plugin(kind, name)).items()}
    chosen = options.added_options({KINDS[kind].flag: name}, (kind,))
    assert chosen == {option: defaults[option] for option in added}


@pytest.mark.parametrize("name", FRONT_ENDS)
@pytest.mark.parametrize("autocast", [False, True])
def test_features(name, autocast):
    features = options.plugin("features", name)()
    waveform = torch.randn(2, 16_123) * 0.1
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        maps = features(waveform)
    assert maps.shape == (2, features.num_features, features.num_frames(16_123))
    assert maps.dtype == torch.float32 and maps.isfinite().all()
    torch.testing.assert_close(features(waveform), maps, rtol=0, atol=0)
    assert features(torch.zeros(1, 8000)).isfinite().all()  # digital silence


def mean_pooling(channels, attention="scalar"):
    pooling = nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten())
    pooling.out_channels = channels
    return pooling


@pytest.mark.parametrize("words", NETWORKS)
@pytest.mark.usefixtures("small_models")
def test_models(words):
    values = resolve("--model", *words.split())
    trained = set()
    for seed in range(5):  # a gate of two units can be dead for one draw of the weights
        torch.manual_seed(seed)
        network = options.build("models", values, 16, 24, mean_pooling)
        embeddings = network(torch.randn(4, 16, 61))
        assert embeddings.shape == (4, 24)
        (embeddings * torch.randn(4, 24)).sum().backward()
        gradients = {parameter: p.grad for parameter, p in network.named_parameters()}
        assert all(gradient is not None for gradient in gradients.values())
        trained |= {parameter for parameter, gradient in gradients.items() if gradient.abs().sum() > 0}
        if trained == gradients.keys():
            break
    assert trained == gradients.keys()
    network.eval()
    with torch.no_grad():
        for frames in (30, 61, 100):
            batch = torch.randn(3, 16, frames)
            torch.testing.assert_close(network(batch)[1], network(batch[1:2])[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", options.available("models"))
def test_published_defaults_are_options_that_exist(name):
    values = resolve("--model", name)
    for option, value in importlib.import_module(f"models.{name}").DEFAULTS.items():
        assert values[option] == value


@pytest.mark.parametrize("name", options.available("pooling"))
@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("frames", [1, 7])
def test_poolings(name, attention, frames):
    torch.manual_seed(1)
    pooling = options.plugin("pooling", name)(8, attention)
    constant = 100.0 + torch.randn(2, 8, 1).expand(2, 8, frames)
    pooled = pooling(constant)
    assert pooled.shape == (2, pooling.out_channels)
    means = pooled if pooling.out_channels == 8 else pooled[:, : pooling.out_channels // 2]
    torch.testing.assert_close(means, constant[:, :, 0].repeat(1, means.shape[1] // 8))
    assert (pooled[:, means.shape[1] :].abs() < 0.0101).all()  # the root of the floor, 1e-4 at most
    varying = torch.randn(2, 8, frames, requires_grad=True)
    pooling(varying).sum().backward()
    assert varying.grad.isfinite().all()


@pytest.mark.parametrize("name", options.available("pooling"))
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_padded_utterances_are_pooled_as_each_alone(name, attention):
    torch.manual_seed(1)
    pooling = options.plugin("pooling", name)(8, attention)
    pooling(torch.randn(4, 8, 50))  # updates the running statistics of batch norms
    pooling.eval()
    lengths = torch.tensor([1, 2, 13, 40])
    frames = 3.0 * torch.randn(4, 8, 40) + 10.0  # the padding is as large as the frames
    together = pooling(frames, torch.arange(40) < lengths[:, None])
    alone = torch.cat([pooling(frames[i : i + 1, :, :n]) for i, n in enumerate(lengths.tolist())])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
    assert (together - pooling(frames))[:3].abs().max() > 1e-2  # without the mask they differ


@pytest.mark.slow
@pytest.mark.parametrize("name", options.available("pooling"))
def test_exported_poolings_take_any_number_of_frames(name):
    pooling = options.plugin("pooling", name)(8, "wespeaker").eval()
    num_frames = torch.export.Dim("num_frames", min=2)
    with torch.no_grad():
        exported = torch.export.export(pooling, (torch.randn(2, 8, 20),), dynamic_shapes=({2: num_frames},))
        frames = torch.randn(2, 8, 33)
        torch.testing.assert_close(exported.module()(frames), pooling(frames))


def test_tstp_gives_the_unbiased_deviation():
    """Of 1, 2, 6: mean 3, squares of the differences 4 + 1 + 9 = 14, over n - 1 = 2."""
    pooling = options.plugin("pooling", "TSTP")(1)
    frames = torch.tensor([[[1.0, 2.0, 6.0, 50.0]]])
    torch.testing.assert_close(pooling(frames[..., :3]), torch.tensor([[3.0, 7.0**0.5]]))
    torch.testing.assert_close(pooling(frames, frames[:, 0] < 50.0), torch.tensor([[3.0, 7.0**0.5]]))
    torch.testing.assert_close(pooling(frames[..., :1]), torch.tensor([[1.0, 1e-7**0.5]]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_statistics_are_those_of_float32_in_mixed_precision(dtype):
    torch.manual_seed(1)
    frames = (1000.0 * torch.randn(2, 8, 50)).to(dtype)  # beyond 256 the squares overflow in fp16
    weights = torch.randn(2, 8, 50).softmax(dim=2)
    with torch.autocast("cpu", dtype=dtype):
        found = [
            *moments_over_time(frames, None),
            weighted_mean_and_deviation(frames, weights, (1e-5, None), None),
        ]
    expected = [
        *moments_over_time(frames.float(), None),
        weighted_mean_and_deviation(frames.float(), weights, (1e-5, None), None),
    ]
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("form", "hidden", "context_variance", "floor"),
    [  # of the variance of the pooled statistics
        ("wespeaker", 128, lambda frames: frames.var(dim=2) + 1e-7, 1e-7),  # torch's default is unbiased
        ("speechbrain", 128, lambda frames: frames.var(dim=2, correction=0).clamp(min=1e-12), 1e-12),
    ],
)
def test_statistics_pooling_with_context(form, hidden, context_variance, floor):
    torch.manual_seed(1)
    pooling = options.plugin("pooling", "ECA")(6, form).eval()
    frames = torch.randn(2, 6, 9)
    frames[:, 0] = 3.0  # no variance
    context = torch.cat([frames.mean(dim=2), context_variance(frames).sqrt()], dim=1)
    joined = torch.cat([frames, context[:, :, None].expand(-1, -1, 9)], dim=1)  # (2, 18, 9)
    first, *norms, tanh, second = pooling.attention.layers
    assert (first.weight.shape, second.weight.shape) == ((hidden, 18, 1), (6, hidden, 1))
    assert [type(layer) for layer in norms] == ([] if form == "wespeaker" else [nn.ReLU, nn.BatchNorm1d])
    weights = second(tanh(nn.Sequential(*norms)(first(joined)))).softmax(dim=2).double()
    mean = (weights * frames).sum(dim=2)
    variance = (weights * (frames - mean[:, :, None]).square()).sum(dim=2)
    expected = torch.cat([mean, variance.clamp(min=floor).sqrt()], dim=1)
    torch.testing.assert_close(pooling(frames).double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", options.available("loss"))
@pytest.mark.parametrize("autocast", [False, True])
def test_losses(name, autocast):
    torch.manual_seed(2)
    loss_fn = options.plugin("loss", name)(16, 5)
    assert loss_fn.min_utterances in (1, 2) and isinstance(loss_fn.normalize, bool)
    embeddings = torch.randn(4, 2, 16, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        loss, accuracy = loss_fn(embeddings, torch.tensor([0, 1, 2, 4]))
    loss.backward()
    assert loss.shape == () and loss.dtype == torch.float32 and loss.isfinite()
    assert accuracy.shape == ((4,) if getattr(loss_fn, "per_speaker", False) else ())
    assert ((accuracy >= 0.0) & (accuracy <= 1.0)).all()
    assert embeddings.grad.isfinite().all() and embeddings.grad.abs().sum() > 0
    assert all(p.grad is not None and p.grad.isfinite().all() for p in loss_fn.parameters())


@pytest.mark.parametrize("name", options.available("loss"))
def test_losses_use_more_utterances_of_a_speaker_or_say_that_they_do_not(name):
    torch.manual_seed(2)
    loss_fn = options.plugin("loss", name)(16, 5)
    if hasattr(loss_fn, "set_epoch"):
        loss_fn.set_epoch(3)  # when softmaxtriplet is a triplet loss
    embeddings = torch.randn(4, 3, 16, requires_grad=True)
    loss_fn(embeddings, torch.tensor([0, 1, 2, 4]))[0].backward()
    assert embeddings.grad.isfinite().all() and embeddings.grad[:, :2].abs().sum() > 0
    uses_third = bool(embeddings.grad[:, 2].abs().sum() > 0)
    assert uses_third == (getattr(loss_fn, "max_utterances", 3) > 2)


@pytest.mark.parametrize("name", options.available("loss"))
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_losses_have_finite_gradients_at_cosines_of_one(name, sign):
    loss_fn = options.plugin("loss", name)(4, 2)
    for parameter in loss_fn.parameters():
        if parameter.ndim == 2:
            parameter.data = torch.eye(2, 4)
    utterances = torch.eye(2, 4)
    embeddings = torch.stack([utterances, sign * utterances], dim=1).requires_grad_()  # (S, M, D)
    loss_fn(embeddings, torch.tensor([0, 1]))[0].backward()
    assert embeddings.grad.isfinite().all()


@pytest.mark.parametrize("name", options.available("optimizer"))
def test_optimizers(name):
    def step(optimizer, weight):
        optimizer.zero_grad()
        weight.square().sum().backward()
        optimizer.step()

    optimizer_class = options.plugin("optimizer", name)
    weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = optimizer_class([weight], lr=0.01, weight_decay=0.0)
    before = weight.square().sum().item()
    step(optimizer, weight)
    assert weight.square().sum().item() < before
    other = nn.Parameter(weight.detach().clone())
    twin = optimizer_class([other], lr=0.01, weight_decay=0.0)
    twin.load_state_dict(deepcopy(optimizer.state_dict()))
    step(optimizer, weight)
    step(twin, other)
    assert torch.equal(weight, other)


@pytest.mark.parametrize("name", options.available("optimizer"))
def test_optimizers_take_groups_with_rates_of_their_own(name):
    """Of equal weights the one with 1/4 of the rate moves 1/4 as far; a group may be empty."""
    weights = [nn.Parameter(torch.tensor([3.0, -2.0])) for _ in range(2)]
    groups = [{"params": [], "lr": 0.5}, {"params": weights[:1], "lr": 0.1}]
    groups.append({"params": weights[1:], "lr": 0.025})
    optimizer = options.plugin("optimizer", name)(groups, lr=0.5, weight_decay=0.0)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.1, 0.025]
    if name == "sgd":  # where fp16 overflows in the first step, nothing else would set them
        assert [optimizer.state[w]["momentum_buffer"].tolist() for w in weights] == [[0.0, 0.0]] * 2
    for weight in weights:
        weight.square().sum().backward()
    optimizer.step()
    moves = [(w.detach() - torch.tensor([3.0, -2.0])) for w in weights]
    assert (moves[0].abs() > 0.05).all()
    torch.testing.assert_close(moves[1], 0.25 * moves[0], rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_fused_optimizers_step_as_torch_does_and_not_where_gradients_overflow(name):
    torch.manual_seed(3)
    start = torch.randn(4, 3, 2, 5)
    weights = [nn.Parameter(start.contiguous(memory_format=torch.channels_last)) for _ in range(2)]
    plain = {
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "sgd": partial(torch.optim.SGD, momentum=0.9),
    }[name]
    plain_optimizer = plain([weights[0]], lr=0.1, weight_decay=0.01)
    fused_optimizer = options.plugin("optimizer", name)([weights[1]], lr=0.1, weight_decay=0.01)
    precision = runtime.Precision("fp16", runtime.CPU)
    for scale in (float("inf"), 1.0, 2.0):  # the first overflows: no step
        gradient = scale * torch.randn(4, 3, 2, 5)
        for weight, optimizer in zip(weights, (plain_optimizer, fused_optimizer), strict=True):
            optimizer.zero_grad()
            if weight is weights[1]:
                precision.backward((weight * gradient).sum())
                precision.unscale(optimizer)  # then as training.update.Update does on a GPU
                optimizer.found_inf = (~weight.grad.isfinite().all()).float()
                optimizer.step()
                precision.update()
            elif scale < float("inf"):
                (weight * gradient).sum().backward()
                optimizer.step()
        torch.testing.assert_close(weights[1], weights[0])
        assert torch.equal(weights[0], start) == (scale == float("inf"))


@pytest.mark.parametrize("name", options.available("scheduler"))
def test_schedulers(name):
    def make():
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
        return optimizer, options.plugin("scheduler", name)(optimizer, 10, 6)

    def rates(optimizer, scheduler, steps):
        learning_rates = []
        for _ in range(steps):
            learning_rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        return learning_rates

    whole = rates(*make(), 65)  # five steps more than planned
    assert all(0.0 <= rate <= 1.0 for rate in whole) and whole[0] > 0.0
    optimizer, scheduler = make()
    first = rates(optimizer, scheduler, 23)
    resumed_optimizer, resumed = make()
    resumed_optimizer.load_state_dict(optimizer.state_dict())
    resumed.load_state_dict(scheduler.state_dict())
    assert first + rates(resumed_optimizer, resumed, 42) == whole


def test_steplr_decays_at_test_intervals_by_default():
    for settings, rates in {
        (): [1, 1, 0.5, 0.5, 0.25],
        (("lr_decay_epochs", 1),): [1, 0.5, 0.25, 0.125, 0.0625],
    }.items():
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
        scheduler = options.plugin("scheduler", "steplr")(
            optimizer, 1, 9, lr_decay=0.5, test_interval=2, **dict(settings)
        )
        learning_rates = []
        for _ in rates:
            learning_rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        assert learning_rates == rates


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("DEFAULTS = {}\nINIT width=3): pass", r"models/New\.py: width has no type"),
        ("DEFAULTS = {}\nINIT items: int = 3): pass", r"models/New\.py: an option can't be called items"),
        ("INIT width: int = 3): pass", r"models/New\.py defines no DEFAULTS"),
    ],
)
def test_a_plugin_that_breaks_the_contract_is_rejected_with_advice(tmp_path, monkeypatch, code, message):
    init = "class MainModel:\n    def __init__(self, num_features, embedding_dim, pooling, *,"
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "New.py").write_text(code.replace("INIT", init))
    monkeypatch.setattr(options.plugins, "ROOT", tmp_path)
    monkeypatch.setattr(importlib.import_module("models"), "__path__", [str(tmp_path / "models")])
    monkeypatch.delitem(sys.modules, "models.New", raising=False)
    with pytest.raises(ValueError, match=message):
        resolve("--model", "New")


def test_an_old_plugin_is_rejected_with_advice(tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "Old.py").write_text("class MainModel:\n    def __init__(self, **kwargs): pass\n")
    monkeypatch.setattr("options.plugins.ROOT", tmp_path)
    monkeypatch.setattr("models.__path__", [str(tmp_path / "models")])
    with pytest.raises(ValueError, match=r"models/Old\.py: MainModel takes \*\*kwargs; name each option"):
        options.plugin("models", "Old")
