"""The house and its rules: import order, sizes, names only where they belong."""

import ast
import re
import subprocess
import sys

import pytest
from conftest import ROOT

LAYERS = [  # a file imports from lines above its own, and from its own folder
    ["runtime", "metrics", "models", "sampler", "corpora", "pooling", "optimizer", "scheduler"],
    ["distributed", "normalization"],
    ["storage", "training", "loss"],
    ["audio"],
    ["features", "scoring", "options", "report"],
    ["DatasetLoader", "preparation"],
    ["SpeakerNet"],
    ["evaluation"],
    ["run"],
    ["trainSpeakerNet", "inferSpeakerNet", "dataprep", "tuneThreshold"],
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
COMMANDS = LAYERS[-1]
AT_THE_ROOT = {f"{name}.py" for name in (*COMMANDS, "run", "SpeakerNet", "DatasetLoader", "runtime")}
CHOICES = [
    *("models", "loss", "features", "pooling", "sampler", "optimizer", "scheduler", "scoring"),
    *("normalization", "corpora"),
]
MOST_STATEMENTS, MOST_IN_A_CLASS, MOST_LINES_OF_A_FUNCTION = 260, 230, 60
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
            yield node.module


def statements(node):
    """Statements within, without docstrings: packing several into a line gains nothing."""
    within = (n for n in ast.walk(node) if isinstance(n, ast.stmt) and n is not node)
    return sum(not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)) for n in within)


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_imports_only_from_lines_above(path):
    here = path.relative_to(ROOT).parts[0].removesuffix(".py")
    assert here in LEVEL, f"{here} has no place in the import order"
    for module in imports(path):
        top = module.partition(".")[0]
        if top in LEVEL and top != here:
            assert LEVEL[top] < LEVEL[here], f"{name(path)} imports {module}"
        assert not (top == here and here in COMMANDS), f"{name(path)} imports a command"


def test_tunethreshold_starts_without_torch():
    code = "import sys, tuneThreshold; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "numpy" in done.stdout.split() and not {"torch", "scipy"} & {*done.stdout.split()}


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_sizes(path):
    tree = ast.parse(path.read_text())
    assert statements(tree) <= MOST_STATEMENTS
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            length = node.end_lineno - node.lineno + 1
            assert length <= MOST_LINES_OF_A_FUNCTION, f"{name(path)}: {node.name} has {length} lines"
        if isinstance(node, ast.ClassDef):
            assert statements(node) <= MOST_IN_A_CLASS, f"{name(path)}: {node.name}"


def test_the_root_holds_the_commands_and_what_ties_the_packages_together():
    assert {path.name for path in ROOT.glob("*.py")} == AT_THE_ROOT


@pytest.mark.parametrize("folder", CHOICES)
def test_a_choice_folders_init_holds_the_contract_only(folder):
    tree = ast.parse((ROOT / folder / "__init__.py").read_text())
    assert ast.get_docstring(tree) and len(tree.body) == 1


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_words_that_belong_to_one_file(path):
    code = path.read_text()
    if name(path) != "runtime.py":
        assert not re.search(r"torch\.cuda|autocast\(", code)
    if not name(path).startswith("distributed/"):
        assert not re.search(r"nccl|gloo|init_process_group", code)
    if name(path) != "features/_torchaudio.py":
        assert not re.search(r"^\s*(import|from) torchaudio", code, re.MULTILINE)
    loads = re.findall(r"torch\.load\(.*", code)
    assert all(name(path) == "storage/checkpoint.py" and "weights_only=True" in load for load in loads)
    assert "shell=True" not in code
