"""On a simulated GPU training never waits, mixes no devices, and computes what it does on the CPU."""

import itertools

import numpy as np
import pytest
import simulated_gpu
import torch
from random_batches import CLASSES, Batches
from simulated_gpu import GpuError, without_waits
from test_models import FRONT_ENDS, NETWORKS, resolve
from test_normalization import case, normalization
from torch import nn
from torch.nn import functional as F
from torch.utils._pytree import tree_map_only

import options
import runtime
import trainSpeakerNet
from audio import effects
from audio.effects import Drawn
from distributed.signals import StopSignal
from evaluation.backends import FittedBackend
from evaluation.trial_test import TrialTest
from features._steps import spec_augment
from loss._sharded import ShardedHead
from SpeakerNet import ModelTrainer, SpeakerNet
from training.averaging import update_batchnorm
from training.speaker_accuracy import SpeakerAccuracy


@pytest.fixture
def gpu():
    with simulated_gpu.simulated() as device:
        yield device


OPERATIONS = {
    "item": (lambda x: x[0].item(), "_local_scalar_dense"),
    "if": (lambda x: 1 if x[0] > 0 else 2, "_local_scalar_dense"),
    "cpu": (lambda x: x.cpu(), "_to_copy"),
    "tolist": (lambda x: x.tolist(), "_to_copy"),
    "copy to the CPU": (lambda x: torch.zeros(3).copy_(x, non_blocking=True), "copy_"),
    "copy from the CPU": (lambda x: torch.zeros(3).to(x.device), "copy_"),
    "new tensor": (lambda x: torch.tensor([1.0, 2.0], device=x.device), "copy_"),
    "nonzero": (lambda x: x.nonzero(), "nonzero"),
    "unique": (lambda x: x.unique(), "unique"),
    "index by booleans": (lambda x: x[x > 0.0], "index.Tensor"),
    "set by booleans": (lambda x: x.index_put_((x > 0.0,), x), "index_put_"),
    "index by a number": (lambda x: x[x.argmax()], "_local_scalar_dense"),
    "multinomial": (lambda x: torch.multinomial(x, 1), "multinomial"),
    "float64": (lambda x: x.double(), "float64"),
    "vector of the CPU": (lambda x: x + torch.zeros(3), "beside those of the GPU"),
    "list as index": (lambda x: x[[0, 2]], "copy_"),
    "index of the CPU": (lambda x: x[torch.tensor([0, 2])], "beside those of the GPU"),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_simulation_refuses_what_a_gpu_is_slow_at(gpu, name):
    operation, words = OPERATIONS[name]
    values = torch.tensor([1.0, 2.0, 4.0]).to(gpu)
    with pytest.raises(GpuError, match=words):
        for x in without_waits([values]):
            operation(x)


def test_outside_of_a_step_it_may_be_waited_for(gpu):
    values = torch.tensor([1.0, 2.0, 4.0]).to(gpu)
    before = simulated_gpu.num_waits()
    assert values[values > 1.0].tolist() == [2.0, 4.0] and values.argmax().item() == 2
    assert simulated_gpu.num_waits() == before + 3
    with pytest.raises(GpuError, match="float64"):
        values.double()[:, None] @ values.double()[None]
    for x in without_waits([values]):
        moved = torch.zeros(3).to(x.device, non_blocking=True) + x * torch.tensor(2.0)
        assert moved.device == gpu
    assert moved.tolist() == [2.0, 4.0, 8.0]


LOSSES = [
    *((name, {}) for name in options.available("loss")),
    ("softmax", {"sample_classes": 0.8}),
    ("softmax", {"sample_classes": 0.1}),  # fewer than the batch has
    ("amsoftmax", {"sub_centers": 2}),
    ("aamsoftmax", {"inter_topk": 3, "easy_margin": True}),
    ("sphereface2", {"margin_type": "A"}),
    ("triplet", {"hard_rank": -1}),
    ("aamsoftmax+0.5*angleproto", {}),
]
SHARDED = [  # where a sharded head draws few classes, the host waits
    (name, settings)
    for name, settings in LOSSES
    if hasattr(options.plugin("loss", name), "shard") and settings != {"sample_classes": 0.1}
]


@pytest.mark.parametrize(
    ("name", "settings", "is_sharded"),
    [(*loss, False) for loss in LOSSES] + [(*loss, True) for loss in SHARDED],
)
def test_losses(gpu, name, settings, is_sharded):
    """Also those of a head that is sharded, over one process."""
    results = []
    for device in (runtime.CPU, gpu):
        torch.manual_seed(5)
        loss_fn = options.plugin("loss", name)(8, CLASSES, **settings)
        if is_sharded:
            loss_fn.sharded = ShardedHead(loss_fn, loss_fn.per_class, CLASSES)
        loss_fn.to(device)
        embeddings = torch.randn(4, 2, 8).to(device).requires_grad_()
        for labels in without_waits([torch.tensor([4, 0, 6, 1]).to(device)]):
            with runtime.Precision("bf16", device).context():  # changes nothing
                loss, accuracy = loss_fn(embeddings, labels)
            loss.backward()
        gradients = [tensor.grad.cpu() for tensor in (embeddings, *loss_fn.parameters())]
        results.append([loss.detach().cpu(), accuracy.cpu(), *gradients])
    assert all(torch.equal(*pair) for pair in zip(*results, strict=True))


class Tiny(nn.Module):
    """A model of few operations, with batch norm."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv1d(16, 8, 3), nn.BatchNorm1d(8), nn.ReLU())
        self.embedding = nn.Linear(8, 8)

    def forward(self, features):
        """As every model's."""
        return self.embedding(self.layers(features).mean(dim=2))


def tiny_network(values):
    """Resolved options -> a network with their front end and loss."""
    runtime.seed_everything(1)
    features, loss = options.build("features", values), options.build("loss", values, 8, CLASSES)
    return SpeakerNet(features, Tiny(), loss, widest_masks=(4, 4))


class DamagedBatches(Batches):
    """Four; the first one has effects that are still to be applied, the third one isn't finite."""

    def __init__(self):
        super().__init__(4)

    def __iter__(self):
        generator = np.random.default_rng(0)
        noise = generator.normal(size=4_000).astype(np.float32)
        drawn = [
            Drawn((0, 0), "reverb", (np.r_[0.0, 1.0, noise[:50]].astype(np.float32), 1)),
            Drawn((1, 0), "noise", (noise, 10.0)),
            Drawn((2, 0), "band", (300.0, 3400.0)),
            Drawn((3, 0), "mulaw", ()),
            Drawn((3, 1), "eq", (3.0, -2.0, 1.0, 0.0, 5.0, -4.0, 2.0)),
            Drawn((4, 0), "gain", (3.0,)),
        ]
        for step, batch in enumerate(super().__iter__()):
            masks = torch.from_numpy(generator.random((len(batch.masks), 2, 2), dtype=np.float32))
            made = effects.gather([drawn[row % 3 :] for row in range(len(masks))]) if step == 0 else []
            crops = batch.crops * (float("nan") if step == 2 else 1.0)
            yield batch._replace(crops=crops, effects=made, masks=masks)


def learnt(device, words, resumes):
    """Two epochs -> the state after them, and the steps that were left out."""
    values = resolve("--model", "ResNetSE34L", "--n_mels", 16, "--trainfunc", "softmax", *words)
    left_out, state = [], None
    for epoch in (1, 2):
        if epoch == 1 or resumes:
            made = ModelTrainer(
                tiny_network(values).to(device),
                values,
                device,
                num_batches=4,
                num_classes=CLASSES,
                report_nonfinite=lambda step, *_: left_out.append(step),
                speaker_accuracy=SpeakerAccuracy(CLASSES, device),
            )
        if epoch == 2 and resumes:
            made.load_state_dict(state)
            made.state.begin_epoch()
        batches = without_waits(DamagedBatches())
        made.train_epoch(batches, f"Epoch {epoch}", (1, epoch), lambda: None)
        # a file holds tensors of the CPU
        state = tree_map_only(torch.Tensor, lambda tensor: tensor.cpu().clone(), made.state.state_dict())
        made.state.begin_epoch()
    return state, left_out


def all_weights(state):
    """A state of training -> weights and statistics of the network and of its average."""
    return [*state["network"].values(), *state["average"]["network"].values()]


PRECISIONS = runtime.Precision.NAMES
RUNS = [
    (name, precision)
    for name in options.available("optimizer")
    for precision in PRECISIONS
    if precision != "tf32" or name == "adam"  # which is fp32 but for a GPU's own rounding
]
QUICK_RUNS = [("adagrad", "fp32"), ("adam", "fp16")]  # without and with PyTorch's fused kernels


@pytest.mark.parametrize(
    ("optimizer", "precision"),
    [run if run in QUICK_RUNS else pytest.param(*run, marks=pytest.mark.slow) for run in RUNS],
)
def test_a_run_and_its_resume(gpu, monkeypatch, optimizer, precision):
    """Accumulated gradients, clipped; augmentation on the device; an average; steps that are left out."""
    monkeypatch.setattr(effects, "_spectrum", torch.fft.rfft)  # SciPy's, on the CPU, rounds otherwise
    monkeypatch.setattr(effects, "_inverse", torch.fft.irfft)
    words = ["--optimizer", optimizer, "--precision", precision, "--accumulate", 2, "--clip_norm", 1.0]
    words += ["--ema_decay", 0.9]
    on_gpu, left_out = learnt(gpu, words, resumes=True)
    on_cpu, left_out_on_cpu = learnt(runtime.CPU, words, resumes=False)
    assert left_out == left_out_on_cpu == [2, 2]
    pairs = zip(all_weights(on_gpu), all_weights(on_cpu), strict=True)
    if precision in ("fp32", "tf32"):  # with the others a GPU casts more than a CPU
        assert all(torch.equal(*pair) for pair in pairs) and torch.equal(on_gpu["tally"], on_cpu["tally"])
    assert all(tensor.isfinite().all() for tensor in all_weights(on_gpu))


IMPRINTED = [name for name in options.available("loss") if hasattr(options.plugin("loss", name), "imprint")]


@pytest.mark.parametrize("name", IMPRINTED)
def test_imprinted_heads(gpu, name):
    weights = []
    for device in (runtime.CPU, gpu):
        torch.manual_seed(7)
        head = options.plugin("loss", name)(8, CLASSES).to(device)
        head.imprint(torch.randn(CLASSES - 1, 8).to(device), CLASSES, 1)
        weights.append({name: tensor.cpu() for name, tensor in head.state_dict().items()})
    torch.testing.assert_close(weights[1], weights[0])


def test_statistics_for_averaged_weights(gpu):
    values = resolve("--model", "ResNetSE34L", "--n_mels", 16, "--trainfunc", "softmax")
    statistics = []
    for device in (runtime.CPU, gpu):
        network = tiny_network(values).to(device).train()
        update_batchnorm(network, Batches(2), device, lambda: None)
        statistics.append([tensor.cpu() for tensor in network.buffers()])
    assert all(torch.equal(*pair) for pair in zip(*statistics, strict=True))


def step_on(device, words, precision):
    """A step of a network that the words choose, and an evaluation -> gradients and embeddings."""
    values = resolve("--model", *words.split(), "--trainfunc", "softmax", "--precision", precision)
    runtime.seed_everything(1)
    network = SpeakerNet.build(values, CLASSES).to(device)
    computed = runtime.Precision(precision, device)
    batch = next(iter(Batches(1))).moved(device)
    for crops, labels in without_waits([(batch.crops[:2], batch.labels[:2])]):
        with computed.context():
            loss, _ = network(crops, labels)
        computed.backward(loss)
    network.eval()
    with torch.inference_mode(), computed.context():
        embeddings = network.embed(crops[0])
        if network.embeds_unequal:
            embeddings = network.embed_unequal([crops[0, 0], crops[0, 1, :3_600]])
    return [tensor.cpu() for tensor in (*(p.grad for p in network.parameters()), embeddings)]


HALVES = itertools.cycle(("bf16", "fp16"))
MODELS = [(words, "fp32") for words in NETWORKS] + [(words, next(HALVES)) for words in NETWORKS[::2]]


@pytest.mark.parametrize(
    ("words", "precision"),
    [
        pytest.param(*model, marks=[] if model == ("ResNetSE34L --n_mels 16", "fp32") else pytest.mark.slow)
        for model in MODELS
    ],
)
@pytest.mark.usefixtures("small_models")
def test_models(gpu, words, precision):
    """A step, and a batch of unequal lengths if the model can; recurrent cells round otherwise."""
    on_gpu = step_on(gpu, words, precision)
    assert all(tensor.isfinite().all() for tensor in on_gpu) or precision == "fp16"
    if precision == "fp32":
        for tensor, expected in zip(on_gpu, step_on(runtime.CPU, words, precision), strict=True):
            torch.testing.assert_close(tensor, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_front_ends(gpu, name):
    front_end = options.plugin("features", name)()
    torch.manual_seed(2)
    inputs = torch.randn(2, 4_000), torch.rand(2, 2, 2)
    computed = []
    for device in (runtime.CPU, gpu):
        front_end.to(device)
        for waveforms, drawn in without_waits([[tensor.to(device) for tensor in inputs]]):
            with runtime.Precision("bf16", device).context():  # changes nothing
                features = front_end(waveforms)
            computed.append(spec_augment(features, (4, 4), drawn))
    assert torch.equal(computed[1].cpu(), computed[0])


@pytest.mark.parametrize("name", options.available("pooling"))
def test_poolings(gpu, name):
    pooled = []
    for device in (runtime.CPU, gpu):
        torch.manual_seed(3)
        pooling = options.plugin("pooling", name)(8, "ecapa").to(device)
        for frames in without_waits([torch.randn(3, 8, 20).to(device)]):
            pooled.append(pooling(frames))
    assert torch.equal(pooled[1].cpu(), pooled[0])


@pytest.mark.parametrize(
    "name",
    [
        name if name == "cosine" else pytest.param(name, marks=pytest.mark.slow)
        for name in options.available("scoring")
    ],
)
def test_an_evaluation(gpu, corpus, tmp_path, name):
    """Recordings, a cohort and trials are compared on the GPU, which is waited for a few times a batch."""
    words = corpus.options(tmp_path, scoring=name, num_eval=2, trainfunc="softmax")
    if options.plugin("scoring", name).is_vector:
        words += ["--score_norm", "asnorm", "--top_n", "4"]
    values = trainSpeakerNet.parse(words).options
    scores = []
    for device in (runtime.CPU, gpu):
        network = tiny_network(values).to(device)
        before = simulated_gpu.num_waits()
        (scored,) = TrialTest(values, device).score(network, StopSignal()).lists
        scores.append(scored.scores)
    num_waits = simulated_gpu.num_waits() - before
    assert 0 < num_waits < 2 * (30 + 12)  # fewer than two for a recording of the cohort or the trials
    np.testing.assert_allclose(scores[1], scores[0], rtol=0.05)  # the cohort scores lie close together


@pytest.mark.parametrize("name", options.available("normalization"))
@pytest.mark.parametrize("top_n", [2, 7, 300])
def test_normalisations(gpu, name, top_n):
    scores, enrol, test, vectors, cohort, speakers, cohort_speakers = case()
    known = options.plugin_options(options.plugin("normalization", name))
    settings = {"top_n": top_n} if "top_n" in known else {}
    normalised = []
    for device in (runtime.CPU, gpu):
        method = normalization(name, cohort.to(device), cohort_speakers, **settings)
        statistics = method.statistics(vectors.to(device), speakers)
        normalised.append(method.apply(scores, statistics, enrol, test))
    np.testing.assert_allclose(normalised[1], normalised[0], rtol=0, atol=1e-7)


@pytest.mark.parametrize("name", [name for name in options.available("backend") if name != "none"])
def test_backends(gpu, name):
    torch.manual_seed(4)
    speakers = torch.arange(20).repeat_interleave(6)
    vectors = F.normalize(torch.randn(20, 8)[speakers] + torch.randn(120, 8))
    backend = options.build("backend", resolve("--model", "ResNetSE34L", "--backend", name))
    fitted = FittedBackend({"backend": name}, backend.fit(vectors, speakers))
    scores = []
    for device in (runtime.CPU, gpu):
        with simulated_gpu.allowing_float64():
            projected = fitted.project(vectors[:5].to(device))
        scores.append(projected @ fitted.mirror(projected).T)
    torch.testing.assert_close(scores[1].cpu(), scores[0])
