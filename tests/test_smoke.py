"""Every model, loss, pooling and front end once through the command line: an epoch, then --eval of its file.

Not in all combinations: a model sees of a pooling, a loss or a front end only its interface, and
test_plugins.py checks both sides of each interface, for every file and every form of attention.
"""

from importlib import import_module
from itertools import cycle, islice

import pytest
from test_models import FRONT_ENDS, SMALL

import options
import trainSpeakerNet

MODELS = options.available("models")
LOSSES = [name for name in options.available("loss") if name != "distill"]  # see test_imprinting.py
POOLINGS = options.available("pooling")
MOST = max(len(MODELS), len(LOSSES), len(POOLINGS))
ROWS = list(zip(*(islice(cycle(names), MOST) for names in (MODELS, LOSSES, POOLINGS)), strict=True))


OF_VARIANTS = {"ECAPA": "dbmel", "ReDimNet": "tfmel"}  # of other variants of these models


def test_every_front_end_is_in_a_row():
    front_ends = {import_module(f"models.{model}").DEFAULTS["features"] for model in MODELS}
    assert front_ends | set(OF_VARIANTS.values()) == set(FRONT_ENDS)


@pytest.mark.parametrize(("model", "loss", "pooling"), ROWS)
@pytest.mark.usefixtures("small_models")
def test_an_epoch_and_an_evaluation(model, loss, pooling, corpus, tmp_path, capsys):
    trials = tmp_path / "test.txt"
    trials.write_text("1 spk0/0.wav spk0/1.wav\n0 spk0/0.wav spk1/1.wav\n")
    settings = {"max_epoch": 1, "max_seg_per_spk": 2, "num_eval": 1, "optimizer": "sgd", "lr": 1e-3}
    settings |= {"model": model, "trainfunc": loss, "encoder_type": pooling, "test_list": trials}
    if model in OF_VARIANTS:
        settings["features"] = OF_VARIANTS[model]
    words = corpus.options(tmp_path / "run", **settings) + SMALL[model].split()
    assert trainSpeakerNet.main(words) == 0, capsys.readouterr().err
    scores = (tmp_path / "run/result/eval/test.scores.txt").read_text()

    words = ["--eval", f"--initial_model={tmp_path / 'run/model/model000000001.model'}"]
    words += [f"--test_list={trials}", f"--test_path={corpus.root}"]
    words += [f"--save_path={tmp_path / 'eval'}", "--nDataLoaderThread=0", "--report=False"]
    assert trainSpeakerNet.main(words) == 0, capsys.readouterr().err
    assert (tmp_path / "eval/result/eval/test.scores.txt").read_text() == scores
