"""Every command of the README is run or parsed, every file it names exists, its example is a plug-in."""

import re
import shlex

import pytest
from conftest import ROOT

import dataprep
import inferSpeakerNet
import options
import trainSpeakerNet
import tuneThreshold

README = (ROOT / "README.md").read_text()
EVALUATION = (ROOT / "docs" / "evaluation.md").read_text()
MIGRATING = (ROOT / "docs" / "migrating.md").read_text()
SCALING = (ROOT / "docs" / "scaling.md").read_text()
COMMANDS = [
    line
    for block in re.findall(r"```bash\n(.*?)```", README + EVALUATION + MIGRATING, re.DOTALL)
    for line in block.splitlines()
    if line
]
INLINE = re.findall(
    r"`(python \w+\.py [^`]*)`", MIGRATING + SCALING.replace("R.yaml", "configs/ECAPA_AAM.yaml")
)
COMMANDS += [command for command in INLINE if "trainECAPAModel" not in command]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(command):
    program, *words = shlex.split(command)
    if program == "make":
        assert all(
            re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE) for target in words
        )
    elif program == "python":
        script, *words = words
        PARSERS[script](words)
    else:
        assert command == "source .venv/bin/activate"


def parse_training(words):
    if "--help" in words:
        with pytest.raises(SystemExit, match="0"):
            trainSpeakerNet.parse(words)
        return
    resolved = options.resolve(trainSpeakerNet.core, words)
    assert resolved.args.initial_model or not resolved.warnings
    if not resolved.args.initial_model:
        trainSpeakerNet.parse(words)


def parse_dataprep(words):
    args, rest = dataprep.parser().parse_known_args(words)
    assert not rest
    dataprep.check_arguments(args)


def parse_inference(words):
    command, old, new, *rest = words
    assert command == "convert" and old != new
    assert not options.resolve(inferSpeakerNet.core, rest).warnings


PARSERS = {
    "inferSpeakerNet.py": parse_inference,
    "trainSpeakerNet.py": parse_training,
    "dataprep.py": parse_dataprep,
    "tuneThreshold.py": tuneThreshold.parse,
}


def test_there_are_commands():
    assert len(COMMANDS) >= 10 and COMMANDS[:2] == ["make demo", "make test"]


def test_the_example_is_a_loss_that_keeps_the_contract(tmp_path, monkeypatch):
    import torch

    (tmp_path / "loss").mkdir()
    (tmp_path / "loss" / "cosface.py").write_text(re.search(r"```python\n(.*?)```", README, re.DOTALL)[1])
    monkeypatch.setattr(options, "ROOT", tmp_path)
    monkeypatch.setattr("loss.__path__", [str(tmp_path / "loss")])
    assert options.available("loss") == ["cosface"]
    factory = options.plugin("loss", "cosface")
    assert list(options.plugin_options(factory)) == ["margin"]
    loss, accuracy = factory(8, 3)(torch.randn(2, 2, 8), torch.tensor([0, 2]))
    assert loss.isfinite() and 0.0 <= accuracy <= 1.0


def test_files_and_folders_exist():
    for name in re.findall(r"`([\w/.]+(?:\.py|\.md|\.yaml|/))`", README):
        if not name.startswith(("data/", "exps/", "loss/cosface")):
            assert (ROOT / name).exists(), name


def test_tables_name_every_choice():
    for kind, (flag, _) in options.KINDS.items():
        row = next(line for line in README.splitlines() if f"| `--{flag}` |" in line)
        assert all(name in row for name in options.available(kind))
