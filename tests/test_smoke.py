"""Every model with every loss through the command line: an epoch, then --eval of the written file alone."""

import pytest

import options
import trainSpeakerNet

NARROW = {"ECAPA": {"channels": 64}, "RawNet3": {"channels": 64, "sinc_stride": 16}}  # for speed only


@pytest.mark.parametrize("loss", options.available("loss"))
@pytest.mark.parametrize("model", options.available("models"))
def test_an_epoch_and_an_evaluation(model, loss, corpus, tmp_path, capsys):
    settings = {
        "model": model,
        "trainfunc": loss,
        "max_epoch": 1,
        "num_eval": 1,
        "optimizer": "sgd",
        "lr": 1e-3,
    }
    words = corpus.options(tmp_path / "run", **settings, **NARROW.get(model, {}))
    assert trainSpeakerNet.main(words) == 0, capsys.readouterr().err
    during = (tmp_path / "run/result/eval/test.scores.txt").read_text()
    model_file = tmp_path / "run/model/model000000001.model"
    words = ["--eval", f"--initial_model={model_file}", f"--test_list={corpus.test_list}"]
    words += [f"--test_path={corpus.root}", f"--save_path={tmp_path / 'alone'}", "--nDataLoaderThread=0"]
    assert trainSpeakerNet.main(words) == 0, capsys.readouterr().err
    assert (tmp_path / "alone/result/eval/test.scores.txt").read_text() == during
