"""What an optimizer step is made of, what becomes of bad ones, and averages of weights."""

import json
import math
import re
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy

import pytest
import torch
from conftest import assert_refused, run_here
from forked import Command
from random_batches import Batches
from torch import nn

import options
import runtime
import trainSpeakerNet
from SpeakerNet import ModelTrainer, SpeakerNet
from storage import checkpoint
from storage.run_folder import RunFolder
from storage.run_log import RunLog
from training.averaging import average
from training.memory import largest_batch
from training.nonfinite import NonFiniteError
from training.sync_batchnorm import SyncBatchNorm, convert_sync_batchnorm
from training.update import Update

SCRIPT = "trainSpeakerNet.py"
CLASSES = 7


def trainer(*words, reported=None, device=runtime.CPU, num_batches=20):
    given = [
        "--model=ResNetSE34L",
        "--n_mels=16",
        "--trainfunc=softmax",
        "--optimizer=sgd",
        "--momentum=0",
        "--precision=fp32",
    ]
    args = options.resolve(trainSpeakerNet.make_parser, [*given, *words]).options
    runtime.seed_everything(1)
    network = SpeakerNet.build(args, CLASSES).to(device)
    report = (lambda *told: reported.append(told)) if reported is not None else (lambda *_: None)
    return ModelTrainer(
        network, args, device, num_batches=num_batches, num_classes=CLASSES, report_nonfinite=report
    )


def train(made, pause=lambda: None, num_batches=20):
    return made.train_epoch(Batches(num_batches), "Epoch 1", (1, 1), pause)


def test_accumulated_gradients_are_the_mean_over_the_batches():
    """8 batches by threes: two steps over three, one over the last two; each the mean of its losses."""
    made, by_hand = trainer("--accumulate=3", "--lr=1e-4", num_batches=8), trainer().network.train()
    start = [parameter.detach().clone() for parameter in by_hand.parameters()]
    rates = []
    train(made, lambda: rates.append(made.optimizer.param_groups[0]["lr"]), num_batches=8)
    assert len(rates) == made.steps_per_epoch == 3
    waiting = []
    for step, batch in enumerate(Batches(8)):
        waiting.append(by_hand(batch.crops, batch.labels, batch.masks)[0])
        if len(waiting) == 3 or step == 7:
            by_hand.zero_grad()
            torch.stack(waiting).mean().backward()
            with torch.no_grad():
                for parameter in by_hand.parameters():
                    parameter -= 1e-4 * parameter.grad
            waiting = []
    compared = 0
    for first, own, other in zip(start, made.network.parameters(), by_hand.parameters(), strict=True):
        way = (other - first).norm()
        if way > 1e-5:  # else it is lost in rounding errors
            assert (own - other).norm() < 0.05 * way
            compared += 1
    assert compared > 20


@pytest.mark.parametrize("clip_norm", [0.0, 2.0, 100.0])
def test_clipping_by_hand(clip_norm):
    """Gradient (3, 4), norm 5: clipped to 2 it is (1.2, 1.6); a larger bound leaves it."""
    network = nn.Linear(2, 1, bias=False)
    nn.init.zeros_(network.weight)
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    update = Update(network, optimizer, runtime.Precision("fp32", runtime.CPU), clip_norm)
    update.begin()
    network(torch.tensor([[3.0, 4.0]])).sum().backward()
    assert update()
    expected = [[-1.2, -1.6]] if clip_norm == 2.0 else [[-3.0, -4.0]]
    torch.testing.assert_close(network.weight.detach(), torch.tensor(expected), rtol=1e-5, atol=0)
    assert network.weight.grad is None


class Poisoned(nn.Module):
    """A network whose loss is NaN at certain calls."""

    def __init__(self, network, calls):
        super().__init__()
        self.network, self.calls, self.count = network, calls, 0

    def forward(self, *batch):
        """As the network's."""
        loss, accuracy = self.network(*batch)
        self.count += 1
        return loss * (math.nan if self.count in self.calls else 1.0), accuracy


def test_a_step_that_is_not_finite_changes_nothing_and_is_named():
    reported = []
    made = trainer("--lr=0.01", reported=reported)
    made.parallel = Poisoned(made.network, {3, 5, 6})
    seen = []
    figures = train(made, lambda: seen.append({k: t.clone() for k, t in made.network.state_dict().items()}))
    assert reported == [(3, [0], 1), (5, [0], 1), (6, [0], 2)]
    for name, tensor in seen[2].items():
        same = torch.equal(tensor, seen[3][name])
        assert same or name.endswith("num_batches_tracked"), name
    assert not torch.equal(seen[3]["loss.fc.weight"], seen[4]["loss.fc.weight"])
    assert math.isfinite(figures.loss) and made.state.sums[2] == 17 and made.state.watch.streak == 0


def test_too_many_of_them_end_the_epoch():
    made = trainer("--nonfinite_patience=4")
    made.parallel = Poisoned(made.network, set(range(3, 40)))
    with pytest.raises(NonFiniteError):
        train(made)
    assert made.state.step == 10  # when it looks first


@pytest.mark.requires_cuda
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_gpu_is_not_waited_for_between_looks(precision):
    """Also where a step is left out: the third one's loss is NaN."""
    gpu = runtime.choose_device("cuda")
    made = trainer(f"--precision={precision}", "--lr=0.01", device=gpu)
    made.parallel = Poisoned(made.network, {3})
    ready = [batch.moved(gpu) for batch in Batches()]
    made.network.train()
    for step, batch in enumerate(ready[: made.state.watch.CHECK_INTERVAL - 1]):
        torch.cuda.set_sync_debug_mode("error" if step > 0 else "default")  # the first step sets things up
        made.update.begin()
        made.state.watch.begin_step(made.device)
        made._train_on(batch)
    torch.cuda.set_sync_debug_mode("default")
    assert torch.stack(made.state.watch.updated).tolist()[2] is False
    assert all(tensor.isfinite().all() for tensor in made.network.state_dict().values())


def events(folder, kind):
    lines = (folder / "result" / "results.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, lines) if line["event"] == kind]


def test_a_run_goes_back_to_its_last_state_at_a_lower_rate(corpus, tmp_path, monkeypatch):
    """Of 6 batches an epoch the 8th to 20th are NaN: 5 of the second epoch, and all of the third."""
    calls, plain = [], SpeakerNet.forward

    def forward(self, *batch):
        loss, accuracy = plain(self, *batch)
        calls.append(1)
        return loss * (math.nan if 7 < len(calls) <= 20 else 1.0), accuracy

    monkeypatch.setattr(SpeakerNet, "forward", forward)
    words = corpus.options(tmp_path, max_epoch=4, test_list="", batch_size=2)
    result = run_here(SCRIPT, *words, "--lr=0.001", "--lr_decay=1", "--nonfinite_patience=10")
    assert result.returncode == 0, result.stderr
    assert re.search(r"11 steps in a row had infinite or NaN gradients: back to epoch", result.stdout)
    assert "LR 0.000500" in result.stdout
    named = events(tmp_path, "nonfinite")
    assert len(named) >= 11 and all(len(event["utterances"]) == 4 for event in named)
    assert events(tmp_path, "train")[-1]["lr"] == 0.0005
    state = checkpoint.load_state(tmp_path / "state" / "last.state")
    assert state["progress"]["roll_backs"] == 1
    assert all(tensor.isfinite().all() for tensor in state["trainer"]["network"].values())


def test_a_run_without_an_update_in_its_last_epoch_is_an_error(corpus, tmp_path, monkeypatch):
    """Fewer steps than the patience."""
    plain = SpeakerNet.forward

    def forward(self, *batch):
        loss, accuracy = plain(self, *batch)
        return loss * math.nan, accuracy

    monkeypatch.setattr(SpeakerNet, "forward", forward)
    result = run_here(SCRIPT, *corpus.options(tmp_path, max_epoch=1, test_list=""))
    assert_refused(result, "the last 4 steps had infinite or NaN gradients", "lower --lr")


@pytest.mark.slow
def test_a_hopeless_run_ends_with_a_reason(corpus, tmp_path):
    words = corpus.options(tmp_path, max_epoch=500, test_list="", optimizer="sgd", lr=1e30)
    result = run_here(SCRIPT, *words, "--nonfinite_patience=10")
    assert_refused(result, " steps in a row had infinite or NaN gradients, after 3 returns", "lower --lr")


@pytest.mark.slow
def test_an_average_over_time_is_tested_and_kept(corpus, tmp_path):
    words = corpus.options(tmp_path / "whole", max_epoch=2, ema_decay=0.9)
    assert run_here(SCRIPT, *words).returncode == 0
    for epochs in (1, 2):
        words = corpus.options(tmp_path / "parts", max_epoch=epochs, ema_decay=0.9)
        assert run_here(SCRIPT, *words).returncode == 0
    states = [
        checkpoint.load_state(tmp_path / name / "state" / "last.state")["trainer"]
        for name in ("whole", "parts")
    ]
    kept = checkpoint.load_model(str(tmp_path / "whole" / "model" / "model000000002.model")).weights
    for name, tensor in states[0]["average"]["network"].items():
        assert torch.equal(tensor, states[1]["average"]["network"][name]), name
        assert torch.equal(tensor, kept[name]), name
    assert not torch.equal(kept["loss.w"], states[0]["network"]["loss.w"])


def test_the_moving_average_by_hand():
    made = trainer("--ema_decay=0.5", "--lr=0.01", num_batches=5)
    seen = []
    train(made, lambda: seen.append(made.network.model.fc.weight.detach().clone()), num_batches=5)
    expected = seen[1]  # after the first step the weights themselves
    for weight in [*seen[2:], made.network.model.fc.weight.detach()]:
        expected = 0.5 * expected + 0.5 * weight
    torch.testing.assert_close(made.tested().model.fc.weight.detach(), expected)


@pytest.mark.slow
def test_the_average_of_the_last_models(corpus, tmp_path):
    words = corpus.options(tmp_path, max_epoch=3, average_last=2)
    result = run_here(SCRIPT, *words)
    assert result.returncode == 0 and "Average of 2, VEER" in result.stdout, result.stderr
    names = ("model000000002", "model000000003", "average")
    files = [checkpoint.load_model(str(tmp_path / "model" / f"{name}.model")) for name in names]
    second, third, both = (file.weights for file in files)
    name, figure = "model.conv1.weight", "model.bn1.running_mean"
    torch.testing.assert_close(both[name], (second[name] + third[name]) / 2)
    assert not torch.allclose(both[figure], third[figure])  # estimated anew
    assert "eer" in files[2].metrics
    words = [f"--initial_model={tmp_path}/model/average.model", f"--test_list={corpus.test_list}"]
    words += [
        f"--test_path={corpus.root}",
        f"--save_path={tmp_path}/e",
        "--nDataLoaderThread=0",
        "--report=False",
    ]
    scored = run_here(SCRIPT, "--eval", *words, "--device=cpu")
    assert scored.returncode == 0, scored.stderr
    both_ways = corpus.options(tmp_path, average_last=2, ema_decay=0.9)
    assert_refused(run_here(SCRIPT, *both_ways), "--average_last and --ema_decay both average")


def test_averages_keep_whole_numbers():
    weights = [{"w": torch.tensor([w]), "n": torch.tensor(n)} for w, n in ((1.0, 3), (2.0, 5))]
    assert average(weights) == {"w": torch.tensor([1.5]), "n": torch.tensor(5)}


@pytest.mark.parametrize(
    ("plain", "shape"),
    [
        (nn.BatchNorm1d(5), (4, 5)),
        (nn.BatchNorm1d(5), (4, 5, 7)),
        (nn.BatchNorm2d(5, affine=False), (4, 5, 3, 2)),
    ],
    ids=str,
)
def test_synchronized_batch_norm_is_batch_norm_alone(plain, shape):
    torch.manual_seed(0)
    holder = nn.Sequential(deepcopy(plain))
    convert_sync_batchnorm(holder, runtime.CPU)
    assert isinstance(holder[0], SyncBatchNorm)
    for training in (True, True, False):
        plain.train(training), holder.train(training)
        inputs, weights = (3.0 + torch.randn(shape)).requires_grad_(), torch.randn(shape)
        outputs = [module(inputs) for module in (plain, holder)]
        torch.testing.assert_close(*outputs, rtol=1e-5, atol=1e-5)
        gradients = [torch.autograd.grad((out * weights).sum(), inputs)[0] for out in outputs]
        torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)
    assert plain.state_dict().keys() == holder[0].state_dict().keys()
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(tensor, holder[0].state_dict()[name])


class Small(nn.Module):
    """Memory for so many utterances."""

    def __init__(self, fits):
        super().__init__()
        self.fits, self.layer = fits, nn.Linear(4, 1)

    def embed(self, waveforms):
        """(B, T) -> (B, 1)."""
        if len(waveforms) > self.fits:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return self.layer(waveforms)


@pytest.mark.parametrize(("fits", "speakers"), [(0, 0), (1, 0), (2, 1), (50, 25), (63, 31)])
def test_the_largest_batch_that_fits(fits, speakers, monkeypatch):
    monkeypatch.setattr(runtime, "free_memory", lambda: None)  # there is none to free, and it takes a while
    precision = runtime.Precision("bf16", runtime.CPU)
    for frozen in (False, True):
        network = Small(fits).requires_grad_(not frozen)
        assert largest_batch(network, precision, torch.zeros(32, 2, 4)) == speakers


def test_a_batch_too_large_names_one_that_fits(corpus, tmp_path, monkeypatch):
    plain = SpeakerNet.embed

    def embed(self, waveforms, masks=None):
        if len(waveforms) > 8:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return plain(self, waveforms, masks)

    monkeypatch.setattr(SpeakerNet, "embed", embed)
    result = run_here(SCRIPT, *corpus.options(tmp_path, batch_size=6))
    assert_refused(result, "out of memory on cpu with 6 x 2 utterances of 0.3 s; --batch_size 4 should fit")


@pytest.mark.slow
def test_a_save_path_that_disappears_is_told(corpus, tmp_path):
    words = corpus.options(tmp_path / "exp", max_epoch=1000, test_list="")
    process = Command(SCRIPT, *words)
    while not (tmp_path / "exp" / "state" / "last.state").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    (tmp_path / "exp").rename(tmp_path / "gone")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2 and len(errors.splitlines()) == 1, errors
    assert "exp has disappeared" in errors
    assert checkpoint.load_state(tmp_path / "gone" / "state" / "last.state")


@pytest.mark.parametrize(
    ("choice", "batches", "earlier", "expected"),
    [
        ("auto", 3999, None, False),
        ("auto", 4000, None, True),
        ("auto", 4000, False, False),
        ("auto", 1, True, True),
        (False, 4000, True, False),
        (True, 1, False, True),
    ],
)
def test_long_trainings_are_compiled_and_resumed_ones_stay_as_they_are(
    choice, batches, earlier, expected, monkeypatch
):
    monkeypatch.setattr(runtime, "has_compiler", lambda: True)
    assert runtime.compiles(choice, batches, earlier) is expected


def test_without_a_compiler_nothing_is_compiled(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert not runtime.compiles("auto", 10000, None)
    for choice, earlier in ((True, None), ("auto", True)):
        with pytest.raises(ValueError, match="install g"):
            runtime.compiles(choice, 1, earlier)


@pytest.mark.slow
def test_a_compiled_network_trains_nearly_the_same(corpus, tmp_path):
    if shutil.which("g++") is None:
        pytest.skip("no compiler")
    losses = []
    for compiled in (False, True):
        settings = {"max_epoch": 1, "test_list": "", "optimizer": "sgd", "lr": 1e-4, "model": "VGGVox"}
        words = corpus.options(tmp_path / str(compiled), **settings)
        result = run_here(SCRIPT, *words, f"--compile={compiled}")
        assert result.returncode == 0, result.stderr
        losses.append(events(tmp_path / str(compiled), "train")[0]["loss"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_products_round_to_ten_bits_in_the_network_only():
    class Loss:
        @runtime.float32
        def __call__(self, tensor):
            return torch.backends.cuda.matmul.allow_tf32

    for name in ("tf32", "bf16"):
        precision = runtime.Precision(name, runtime.CPU)
        with precision.context():
            assert (
                torch.backends.cuda.matmul.allow_tf32 == torch.backends.cudnn.allow_tf32 == (name == "tf32")
            )
            assert not Loss()(torch.zeros(1))
            assert torch.backends.cuda.matmul.allow_tf32 == (name == "tf32")
        assert not torch.backends.cuda.matmul.allow_tf32


def test_threads(monkeypatch):
    before = torch.get_num_threads()
    try:
        runtime.use_threads(2)
        assert torch.get_num_threads() == 2
        monkeypatch.setattr(runtime, "num_cores", lambda: 8)
        monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
        runtime.use_threads(0)
        assert torch.get_num_threads() == 2
        monkeypatch.setenv("LOCAL_WORLD_SIZE", "16")
        runtime.use_threads(0)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    assert_refused(run_here(SCRIPT, "--threads=x"), "--threads: expected a number or auto")


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_mapping_in_threads_keeps_the_order_and_computes_alone(three_threads):
    taken = []

    def numbers():
        for number in range(9):
            taken.append(number)
            yield number

    def slow_if_first(number):
        time.sleep(0.05 * (number % 3 == 0))
        return number, torch.get_num_threads(), threading.current_thread()

    results = []
    for result in runtime.map_in_threads(slow_if_first, numbers()):
        results.append(result)
        assert len(taken) - len(results) <= 3  # what is in memory
    assert [number for number, _, _ in results] == list(range(9))
    assert {threads for _, threads, _ in results} == {1}
    assert threading.main_thread() not in {thread for _, _, thread in results}
    with ThreadPoolExecutor(1) as pool:  # as autograd's, made later
        assert torch.get_num_threads() == pool.submit(torch.get_num_threads).result() == 3


def test_an_error_in_a_thread_comes_after_what_was_done_before(three_threads):
    results = []
    with pytest.raises(ZeroDivisionError):
        for result in runtime.map_in_threads(lambda number: 6 // number, [3, 2, 0, 1]):
            results.append(result)
    assert results == [2, 3]


def test_scores_do_not_depend_on_the_number_of_threads(trained, corpus, tmp_path, three_threads):
    scores = []
    for threads in (1, 3):
        folder = tmp_path / str(threads)
        words = ["--eval", f"--initial_model={trained[0] / 'model' / 'best.model'}", "--report=False"]
        words += [f"--test_list={corpus.test_list}", f"--test_path={corpus.root}", f"--save_path={folder}"]
        assert run_here(SCRIPT, *words, f"--threads={threads}", "--device=cpu").returncode == 0
        scores.append((folder / "result" / "eval" / "test.scores.txt").read_bytes())
    assert scores[0] == scores[1]


def test_what_a_step_is_made_of_stays_in_a_run(corpus, tmp_path):
    assert run_here(SCRIPT, *corpus.options(tmp_path, max_epoch=1, test_list="")).returncode == 0
    for change in ("accumulate=2", "ema_decay=0.9", "clip_norm=1", "sync_bn", "trunk_lr=0.5"):
        words = corpus.options(tmp_path, max_epoch=2, test_list="")
        name = change.partition("=")[0]
        assert_refused(run_here(SCRIPT, *words, f"--{change}"), f"belongs to a run with --{name}")
    path = tmp_path / "state" / "last.state"
    content = torch.load(path, weights_only=True)
    assert content["fixed"].pop("hop_length") == 160  # as before logmel had the option
    torch.save(content, path)
    words = corpus.options(tmp_path, max_epoch=1, test_list="")
    assert_refused(run_here(SCRIPT, *words, "--hop_length=240"), "a run with --hop_length 160, not 240")
    assert run_here(SCRIPT, *words).returncode == 0
    torch.save(content | {"format": "speakernet-state-1"}, path)
    path.with_name("last.state.before").unlink()
    words = corpus.options(tmp_path, max_epoch=2, test_list="")
    assert_refused(run_here(SCRIPT, *words), "was written by another version; give another --save_path")


def test_a_state_without_a_step_binds_nobody(corpus, tmp_path, monkeypatch):
    """The first state, of a run that was killed, has other weights: the next run begins with its own."""
    words = corpus.options(tmp_path, max_epoch=1, test_list="")
    monkeypatch.setattr(ModelTrainer, "train_epoch", lambda *_: (_ for _ in ()).throw(ValueError("ends")))
    assert_refused(run_here(SCRIPT, *words), "ends")
    monkeypatch.undo()
    before = checkpoint.load_state(tmp_path / "state" / "last.state")["trainer"]["network"]
    assert run_here(SCRIPT, *words, "--nOut=64").returncode == 0
    after = checkpoint.load_state(tmp_path / "state" / "last.state")["trainer"]["network"]
    assert before["model.fc.weight"].shape[0] == 512 and after["model.fc.weight"].shape[0] == 64


def test_a_run_whose_folder_became_anothers_ends(corpus, tmp_path):
    first = RunFolder(str(tmp_path / "exp"))
    first.acquire()
    log = RunLog(first)
    log.log("mine")
    shutil.rmtree(tmp_path / "exp")
    second = RunFolder(str(tmp_path / "exp"))
    second.acquire()
    RunLog(second).log("its own")
    with pytest.raises(OSError, match="has disappeared"):
        log.log("mine")
    assert (tmp_path / "exp" / "result" / "scores.txt").read_text() == "its own\n"


@pytest.mark.slow
def test_a_newer_model_makes_a_new_average(corpus, tmp_path):
    for epochs in (2, 3):
        words = corpus.options(tmp_path, max_epoch=epochs, average_last=2, test_list="")
        result = run_here(SCRIPT, *words)
        assert f"model00000000{epochs}.model" in result.stdout.splitlines()[-1]
    again = run_here(SCRIPT, *words)
    assert again.returncode == 0 and "is the average of" not in again.stdout
