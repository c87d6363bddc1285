"""The notebook: its cells run in order, with a model of the tests, and it is valid JSON of nbformat 4."""

import json

import numpy as np
import pytest
from conftest import ROOT

from metrics.calibration import Calibration
from storage import checkpoint

NOTEBOOK = json.loads((ROOT / "examples" / "voices.ipynb").read_text())
PUBLIC = 'MODEL = "campplus-zh-en"'


def code_cells():
    return ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


@pytest.fixture
def model(trained, tmp_path):
    """A model file with a threshold."""
    deciding = {"scoring": "cosine", "score_norm": "none", "vad": "energy", "eval_frames": 0}
    calibration = Calibration(("score",), (10.0,), -5.0, 0.5, num_targets=9, num_nontargets=9, ridge=0.0)
    decision = {
        "threshold": 0.5,
        "rule": "P_fa 1 %",
        "calibration": calibration.to_dict(),
        "options": deciding,
    }
    best = checkpoint.load_model(str(trained[0] / "model" / "best.model"))
    checkpoint.save_model(tmp_path / "m.model", best._replace(decision=decision))
    return tmp_path / "m.model"


def test_it_is_a_notebook_whose_outputs_are_those_of_its_cells():
    assert (NOTEBOOK["nbformat"], NOTEBOOK["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in NOTEBOOK["cells"]]
    assert len(set(ids)) == len(ids)
    cells = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == [*range(1, len(cells) + 1)]
    for cell in cells:
        source = "".join(cell["source"])
        compile(source, "cell", "exec")
        kinds = [output["output_type"] for output in cell["outputs"]]
        shown = ["stream"] * ("print(" in source) + ["display_data"] * ("plt.show()" in source)
        assert kinds == shown


@pytest.mark.slow
def test_its_cells_run_in_order(model, tmp_path, monkeypatch, capsys):
    first, *others = code_cells()
    assert PUBLIC in first
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.chdir(tmp_path)
    names = {}
    for source in (first.replace(PUBLIC, f"MODEL = {str(model)!r}"), *others):
        exec(compile(source, "cell", "exec"), names)
    assert names["embeddings"].shape == (12, 512)
    np.testing.assert_allclose(np.diag(names["scores"]), 1.0, atol=1e-5)
    assert names["comparison"].score == pytest.approx(names["scores"][0, 1], abs=1e-5)
    assert names["accepted"] == (names["score"] >= 0.5)
    out = capsys.readouterr().out
    assert "voice3 ['0.wav', '1.wav', '2.wav']" in out and "threshold 0.5 - P_fa 1 %, stored in" in out
    answers = [line for line in out.splitlines() if ": it is " in line]
    assert [line.split(":")[0] for line in answers] == ["voice0", "voice1", "voice2", "voice3"]
    # 0.5 + ln 3 / 10: three are enrolled, and the calibration has a weight of 10
    assert all(line.endswith("the threshold 0.61") for line in answers)
    names["temporary"].cleanup()
