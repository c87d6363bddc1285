"""The structure of the repository: import order, sizes, names only where they belong."""

import ast
import re
import subprocess
import sys
from functools import cache

import pytest
from conftest import ROOT

LAYERS = [  # a file imports from lines above its own, and from its own folder
    ["runtime", "metrics", "install"],
    ["models", "sampler", "corpora", "pooling", "optimizer", "scheduler"],
    ["distributed", "normalization", "backend"],
    ["storage", "training", "loss"],
    ["audio"],
    ["features", "scoring", "options", "report"],
    ["DatasetLoader", "preparation"],
    ["SpeakerNet"],
    ["evaluation"],
    ["inference"],
    ["run"],
    ["trainSpeakerNet", "inferSpeakerNet", "dataprep", "tuneThreshold"],
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
COMMANDS = LAYERS[-1]
AT_THE_ROOT = {f"{name}.py" for name in (*COMMANDS, "run", "SpeakerNet", "DatasetLoader", "runtime")}
CHOICES = [
    *("models", "loss", "features", "pooling", "sampler", "optimizer", "scheduler", "scoring"),
    *("normalization", "backend", "corpora"),
]
MOST_STATEMENTS, MOST_IN_A_CLASS, MOST_LINES_OF_A_FUNCTION = 200, 120, 60
SOURCES = sorted(
    path
    for path in ROOT.rglob("*.py")
    if path.relative_to(ROOT).parts[0] not in ("tests", "benchmarks", ".venv", "exps", "data")
)


def name(path):
    return path.relative_to(ROOT).as_posix()


@cache
def nodes(path):
    """All nodes of a file's syntax tree, the tree first."""
    return list(ast.walk(ast.parse(path.read_text())))


def imports(path):
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def statements(node):
    """Statements within, without docstrings: packing several into a line gains nothing."""
    within = (n for n in ast.walk(node) if isinstance(n, ast.stmt) and n is not node)
    return sum(not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)) for n in within)


def test_imports_only_from_lines_above():
    wrong = []
    for path in SOURCES:
        here = path.relative_to(ROOT).parts[0].removesuffix(".py")
        assert here in LEVEL, f"{here} has no place in the import order"
        for module in imports(path):
            top = module.partition(".")[0]
            is_below = top in LEVEL and top != here and LEVEL[top] >= LEVEL[here]
            if is_below or (top == here and here in COMMANDS):
                wrong.append(f"{name(path)} imports {module}")
    assert not wrong


def test_contributing_names_the_import_order_and_every_folder():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    order = re.search(r"```\n(runtime.*?)\nthe commands\n```", text, re.DOTALL)[1]
    assert [line.split() for line in order.splitlines()] == [["runtime", "metrics"], *LAYERS[1:-1]]
    folders = {name(path).partition("/")[0] for path in SOURCES if path.parent != ROOT}
    assert not [folder for folder in folders if f"| `{folder}/`" not in text and f"` `{folder}/`" not in text]


def test_tunethreshold_starts_without_torch():
    code = "import sys, tuneThreshold; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "numpy" in done.stdout.split() and not {"torch", "scipy"} & {*done.stdout.split()}


def test_sizes():
    too_large = []
    for path in SOURCES:
        module, *inner = nodes(path)
        if statements(module) > MOST_STATEMENTS:
            too_large.append(f"{name(path)} has {statements(module)} statements")
        for node in inner:
            if isinstance(node, ast.FunctionDef):
                length = node.end_lineno - node.lineno + 1
                if length > MOST_LINES_OF_A_FUNCTION:
                    too_large.append(f"{name(path)}: {node.name} has {length} lines")
            if isinstance(node, ast.ClassDef) and statements(node) > MOST_IN_A_CLASS:
                too_large.append(f"{name(path)}: {node.name} has {statements(node)} statements")
    assert not too_large


def test_scores_can_be_analysed_where_fcntl_and_resource_are_missing(tmp_path):
    (tmp_path / "s.txt").write_text("0.9 a b 1\n0.1 a c 0\n0.8 b d 1\n")
    hidden = "import sys; sys.modules |= {'fcntl': None, 'resource': None}"
    code = f"{hidden}; import tuneThreshold; tuneThreshold.main()"
    command = [sys.executable, "-c", code, str(tmp_path / "s.txt")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "EER 0.0000 %" in done.stdout, done.stderr


def test_the_root_holds_the_commands_and_what_ties_the_packages_together():
    assert {path.name for path in ROOT.glob("*.py")} == AT_THE_ROOT


@pytest.mark.parametrize("folder", CHOICES)
def test_a_choice_folders_init_holds_the_contract_only(folder):
    tree = ast.parse((ROOT / folder / "__init__.py").read_text())
    assert ast.get_docstring(tree) and len(tree.body) == 1


# what only files of this name may contain
RESERVED = {
    r"torch\.cuda|autocast\(": "runtime.py",
    r"nccl|gloo|init_process_group": "distributed/",
    r"^\s*(import|from) torchaudio": "features/_torchaudio.py",
    r"torch\.load\(": "storage/checkpoint.py",
    r"shell=True": "nowhere",
    r"imageio_ffmpeg|_whitelist": "audio/ffmpeg.py",
    r"import ffmpeg|audio\.ffmpeg": ("preparation/convert.py", "audio/any_format.py"),
}


@pytest.mark.parametrize("pattern", RESERVED)
def test_words_that_belong_to_one_place(pattern):
    places = [name(path) for path in SOURCES if re.search(pattern, path.read_text(), re.MULTILINE)]
    assert all(place.startswith(RESERVED[pattern]) for place in places), places


def test_model_files_are_loaded_without_running_their_code():
    loads = re.findall(r"torch\.load\(.*", (ROOT / "storage" / "checkpoint.py").read_text())
    assert loads and all("weights_only=True" in load for load in loads)
