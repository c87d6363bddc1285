"""The house and its rules: import order, sizes, names only where they belong."""

import ast
import re

import pytest
from conftest import ROOT

PLUGINS = ["features", "pooling", "loss", "sampler", "optimizer", "scheduler", "models"]
LAYERS = [
    ["files"],
    ["runtime", "tuneThreshold", "options", "audio"],
    ["corpora", *PLUGINS, "augment", "report", "checkpoint", "scoring"],
    ["flags"],
    ["DatasetLoader"],
    ["SpeakerNet"],
    ["trainSpeakerNet", "inferSpeakerNet", "dataprep"],
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
MODULE_LIMITS = {
    "augment.py": 400,  # every kind of augmentation, drawn and computed; by design one module
    "DatasetLoader.py": 400,  # lists, data sets and loaders, of training and of evaluation
    "SpeakerNet.py": 350,  # network, trainer and evaluation
    "options.py": 350,  # sources, plug-ins and errors of options belong together
    "tuneThreshold.py": 620,  # figures, bootstrap, command over score files; imports NumPy alone
    "trainSpeakerNet.py": 350,  # an epoch's life cycle and the two commands
}
SOURCES = sorted(
    path
    for path in ROOT.rglob("*.py")
    if path.relative_to(ROOT).parts[0] not in ("tests", "benchmarks", ".venv", "exps", "data")
)


def name(path):
    return path.relative_to(ROOT).as_posix()


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            folder = (ROOT / node.module).is_dir()  # `from corpora import _lists` imports a file
            yield from (f"{node.module}.{a.name}" if folder else node.module for a in node.names)


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_imports_only_from_lines_above(path):
    own = path.relative_to(ROOT).parts[0].removesuffix(".py")
    assert own in LEVEL, f"{own} has no place in the import order"
    for module in imports(path):
        top, _, rest = module.partition(".")
        if top in LEVEL and not (top == own and rest.startswith("_")):
            assert LEVEL[top] < LEVEL[own], f"{name(path)} imports {module}"


def test_tunethreshold_needs_numpy_only():
    known = {"argparse", "sys", "pathlib", "typing", "numpy", "numpy.typing"}
    assert set(imports(ROOT / "tuneThreshold.py")) <= known


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_sizes(path):
    lines = path.read_text().splitlines()
    folder = path.relative_to(ROOT).parts[0]
    assert len(lines) <= MODULE_LIMITS.get(name(path), 400 if folder == "models" else 300)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            length = node.end_lineno - node.lineno + 1
            assert length <= 60, f"{name(path)}: {node.name} has {length} lines"


def test_few_files_at_the_root():
    assert len(list(ROOT.glob("*.py"))) <= 15  # the design's 12, and audio, files, flags


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_words_that_belong_to_one_file(path):
    code = path.read_text()
    if name(path) != "runtime.py":
        assert not re.search(r"torch\.cuda|autocast\(|nccl|gloo", code)
    if name(path) != "features/_torchaudio.py":
        assert not re.search(r"^\s*(import|from) torchaudio", code, re.MULTILINE)
    loads = re.findall(r"torch\.load\(.*", code)
    assert all(name(path) == "checkpoint.py" and "weights_only=True" in load for load in loads)
    assert "shell=True" not in code
