"""README and docs: every command parses, every named file and flag exists, the example is a plug-in."""

import re
import shlex
from unittest import mock

import pytest
import torch
from conftest import ROOT

import dataprep
import inferSpeakerNet
import options
import trainSpeakerNet
import tuneThreshold
from inference import conversion
from inference.network_voice import NetworkVoice
from inference.public_models import MODELS

README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text() for path in [README, *DOCS]}
RECIPE = "configs/ECAPA_AAM.yaml"  # for R.yaml, which the docs use for any recipe
OTHER_SYSTEMS = (
    "main.py",
    "trainECAPAModel.py",
    "train_triplet.py",
    "infer_sv.py",
    "config.yaml",
    "hyperparams.yaml",
)
OTHER_PROGRAMS = {  # flags of pip and torchrun
    "--index-url",
    "--no-deps",
    "--nnodes",
    "--nproc_per_node",
    "--max_restarts",
    "--rdzv_backend",
    "--rdzv_endpoint",
    "--rdzv_id",
}
WRITTEN_BY_COMMANDS = (
    "data/",
    "exps/",
    "result/",
    "model/",
    "state/",
    "archives/",
    "converted/",
    "pack/",
    "check/",
    "voxceleb1/",
    "DIR/",
)
WRITTEN_BY_USERS = (
    "recordings/",
    "embeddings.npz",
    "loss/cosface.py",
    "speaker/any/depth/file.wav",
    "R.yaml",
)
REQUIREMENTS = (ROOT / "requirements.txt").read_text().splitlines()


def commands():
    """The lines of bash blocks, and commands within sentences that aren't abbreviated with `...`."""
    lines = []
    for text in TEXTS.values():
        for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL):
            lines += [line for line in block.splitlines() if line]
        inline = re.findall(r"`((?:python|torchrun|sbatch|make) [^`]*)`", text)
        lines += [re.sub(r"\s+", " ", command) for command in inline if "..." not in command]
    return list(dict.fromkeys(lines))


def parse_training(words):
    if "--help" in words:
        with pytest.raises(SystemExit, match="0"):
            trainSpeakerNet.parse(words)
        return
    resolved = options.resolve(trainSpeakerNet.make_parser, words)
    assert resolved.options.initial_model or not resolved.warnings
    if not resolved.options.initial_model:
        with mock.patch("trainSpeakerNet.ssl_options", return_value={}):  # which opens --ssl_weights
            trainSpeakerNet.parse(words)


def parse_dataprep(words):
    args, rest = dataprep.parser().parse_known_args(words)
    assert not rest
    dataprep.check_arguments(args)


def parse_inference(words):
    verb, *rest = words
    if verb == "convert":
        old, new, *rest = rest
        assert old != new and not options.resolve(conversion.make_parser, rest).warnings
        return
    args = inferSpeakerNet.module_of(verb).make_parser().parse_words(rest)
    if verb == "fetch":
        assert args.list or args.name in MODELS


PARSERS = {
    "inferSpeakerNet.py": parse_inference,
    "trainSpeakerNet.py": parse_training,
    "dataprep.py": parse_dataprep,
    "tuneThreshold.py": tuneThreshold.parse,
}


def check_benchmark(script, words):
    """A benchmark parses within its main(), so its source is searched for the flags."""
    source = (ROOT / script).read_text()
    assert all(f'"{word}"' in source for word in words if word.startswith("--"))


def check_make(targets):
    makefile = (ROOT / "Makefile").read_text()
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def check_pip(words):
    assert words[0] == "install"
    if words[1:] == ["-e", "."]:
        assert (ROOT / "pyproject.toml").exists()
    elif words[1] == "-r":
        assert (ROOT / words[2]).exists()
    else:
        assert words[1] in REQUIREMENTS  # the same version, so that the next command keeps it


@pytest.mark.parametrize("command", commands())
def test_commands(command):
    program, *words = shlex.split(command.replace("R.yaml", RECIPE))
    if program == "make":
        check_make(words)
    elif program == "pip":
        check_pip(words)
    elif program == "torchrun":
        parse_training(words[words.index("trainSpeakerNet.py") + 1 :])
    elif program == "sbatch":
        assert (ROOT / words[0]).exists()
        parse_training(words[1:])
    elif program == "python" and words[0].startswith("benchmarks/"):
        check_benchmark(words[0], words[1:])
    elif program == "python" and words[0] not in OTHER_SYSTEMS:
        PARSERS[words[0]](words[1:])
    elif program != "python":
        assert command in ("python3 -m venv .venv", "source .venv/bin/activate")


def test_commands_are_found():
    assert {"make demo", "make test"} < set(commands())
    assert {command.split()[1] for command in commands() if command.startswith("python ")} > set(PARSERS)


def known_flags():
    """All flags of the commands, with those of every plug-in."""
    parsers = [trainSpeakerNet.make_parser(), dataprep.parser()]
    parsers += [make_parser() for make_parser, *_ in tuneThreshold.COMMANDS.values()]
    parsers += [inferSpeakerNet.module_of(verb).make_parser() for verb in inferSpeakerNet.VERBS]
    flags = {flag for parser in parsers for action in parser._actions for flag in action.option_strings}
    for kind in options.KINDS:
        for name in options.available(kind):
            flags |= {f"--{option}" for option in options.plugin_options(options.plugin(kind, name))}
    return flags


def test_flags_exist():
    known = known_flags() | OTHER_PROGRAMS
    for name, text in TEXTS.items():
        if name == "docs/migrating.md":  # also lists the flags of other systems
            continue
        text = re.sub(r"`python benchmarks/[^`]*`", "", text)
        for flag in re.findall(r"(?<![\w-])--[A-Za-z][\w-]*", text):
            assert flag in known or flag in ("--key", "--user", "--password"), f"{name}: {flag}"


def test_files_and_folders_exist():
    for name, text in TEXTS.items():
        for path in re.findall(r"`(?:python )?([\w.]+/[\w/.]*|\w+\.(?:py|md|yaml))[ `]", text):
            if path.startswith((*WRITTEN_BY_COMMANDS, *WRITTEN_BY_USERS)):
                continue
            assert (ROOT / path).exists() or path in OTHER_SYSTEMS, f"{name}: {path}"


def test_links_lead_to_files_and_headings():
    for name, text in TEXTS.items():
        for target in re.findall(r"\]\(([^)]*)\)", text):
            if target.startswith("https://"):
                continue
            file, _, heading = target.partition("#")
            linked = (ROOT / name).parent / file
            assert linked.exists(), f"{name}: {target}"
            if linked.suffix != ".md":
                continue
            headings = re.findall(r"^#+ (.*)$", linked.read_text(), re.MULTILINE)
            anchors = [re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in headings]
            assert not heading or heading in anchors, f"{name}: {target}"


def test_the_readme_is_short_and_links_every_document():
    text = TEXTS["README.md"]
    assert len(text.splitlines()) <= 150
    assert all(f"({path.relative_to(ROOT).as_posix()})" in text for path in DOCS)


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_a_document_opens_with_its_question(path):
    title, question = [line for line in path.read_text().splitlines() if line][:2]
    assert title.startswith("# ")
    assert question.endswith("?")


def test_the_example_is_a_loss_that_satisfies_the_interface(tmp_path, monkeypatch):
    (tmp_path / "loss").mkdir()
    example = re.search(r"```python\n(.*?)```", TEXTS["README.md"], re.DOTALL)[1]
    (tmp_path / "loss" / "cosface.py").write_text(example)
    monkeypatch.setattr("options.plugins.ROOT", tmp_path)
    monkeypatch.setattr("loss.__path__", [str(tmp_path / "loss")])
    assert options.available("loss") == ["cosface"]
    factory = options.plugin("loss", "cosface")
    assert list(options.plugin_options(factory)) == ["margin"]
    loss, accuracy = factory(8, 3)(torch.randn(2, 2, 8), torch.tensor([0, 2]))
    assert loss.isfinite() and 0.0 <= accuracy <= 1.0


def test_what_voices_are_asked_exists():
    names = {name for text in TEXTS.values() for name in re.findall(r"\bvoice\.(\w+)\(", text)}
    assert {"compare", "embed", "enrol"} <= names
    assert all(hasattr(NetworkVoice, name) for name in names), names


@pytest.mark.parametrize("name", TEXTS)
def test_python_blocks_are_python(name):
    for block in re.findall(r"```python\n(.*?)```", TEXTS[name], re.DOTALL):
        compile(block, name, "exec")


def test_tables_name_every_choice():
    rows = TEXTS["README.md"].splitlines()
    for kind, (flag, _) in options.KINDS.items():
        row = next(row for row in rows if f"| `--{flag}` |" in row)
        assert all(name in row for name in options.available(kind))
    models = TEXTS["docs/models.md"]
    for name in options.available("models"):
        assert re.search(rf"^\| (.*, )?{name}(, .*)? \|", models, re.MULTILINE), name
