"""The house and its rules: import order, sizes, names only where they belong."""

import ast
import re
import subprocess
import sys

import pytest
from conftest import ROOT

PLUGINS = [
    "features",
    "pooling",
    "loss",
    "sampler",
    "scoring",
    "normalization",
    "optimizer",
    "scheduler",
    "models",
]
LAYERS = [
    ["files", "processes"],
    ["ranks", "runtime", "options", "audio"],
    ["corpora", *PLUGINS, "material", "report", "checkpoint"],
    ["augment", "plots"],
    ["page"],
    ["tuneThreshold"],
    ["flags"],
    ["settings"],
    ["DatasetLoader"],
    ["SpeakerNet"],
    ["embedding"],
    ["evaluation"],
    ["training"],
    ["trainSpeakerNet", "inferSpeakerNet", "dataprep"],
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
MODULE_LIMITS = {
    "audio.py": 350,  # every way to read a recording, behind one interface
    "augment.py": 350,  # how effects are drawn and how they are computed
    "checkpoint.py": 340,  # model files, states and cohorts, and model files of the ancestors
    "DatasetLoader.py": 390,  # data sets and loaders, of training and of evaluation
    "embedding.py": 340,  # recordings to embeddings, and cohorts of them
    "evaluation.py": 330,  # scores of lists, and what is written of them
    "SpeakerNet.py": 390,  # the network and its trainer, whose home was given
    "training.py": 375,  # a run: its parts, its epochs, tests, states and averages
    "flags.py": 400,  # every flag of training and evaluation
    "scoring/_calibration.py": 350,  # one regression: its solver, stored form, measures and cross-validation
    "options.py": 350,  # sources, plug-ins and errors of options belong together
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


def test_tunethreshold_starts_without_torch():
    code = "import sys, tuneThreshold; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "numpy" in done.stdout.split() and not {"torch", "scipy"} & {*done.stdout.split()}


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
    # the design's 12 without scoring; audio, embedding, evaluation, files, flags, material, page, plots,
    # processes, settings, training
    assert len(list(ROOT.glob("*.py"))) <= 22


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_words_that_belong_to_one_file(path):
    code = path.read_text()
    if name(path) != "runtime.py":
        assert not re.search(r"torch\.cuda|autocast\(", code)
    if not name(path).startswith("ranks/"):
        assert not re.search(r"nccl|gloo|init_process_group", code)
    if name(path) != "features/_torchaudio.py":
        assert not re.search(r"^\s*(import|from) torchaudio", code, re.MULTILINE)
    loads = re.findall(r"torch\.load\(.*", code)
    assert all(name(path) == "checkpoint.py" and "weights_only=True" in load for load in loads)
    assert "shell=True" not in code
