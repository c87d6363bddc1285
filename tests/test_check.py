"""--check reports the planted faults and no others; --suspects the planted label errors."""

import json
import os
import shutil
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import soundfile
from conftest import ROOT, assert_refused, run_here, voice

from audio.pack import Pack
from audio.recording import AudioFile
from preparation import check, suspects, tally
from preparation.check import KINDS, Finding, Listed, check_recordings, write_report
from preparation.inspect import ListedPaths, overlaps
from preparation.suspects import Suspect, label_errors, same_speakers

SUFFIXES = ("wav", "flac", "ogg", "opus")
TRAIN_SPEAKERS = 7  # of 10
KNOWN = {"speakers": 7, "utterances": 56}


def write(path, audio, rate=16_000, **settings):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".opus":
        settings = {"format": "OGG", "subtype": "OPUS"} | settings
    soundfile.write(path, audio, rate, **settings)


def lists(paths):
    speakers = {path: path.split("/")[0] for path in paths}
    train = {path: speaker for path, speaker in speakers.items() if int(speaker[3:]) < TRAIN_SPEAKERS}
    trials = [path for path in paths if path not in train]
    return Listed(train, trials, {path: speakers[path] for path in trials})


@pytest.fixture(scope="session")
def clean(tmp_path_factory):
    """Ten speakers with two files of each format, and their lists."""
    root = tmp_path_factory.mktemp("clean")
    paths = [f"spk{s}/session/{take}.{SUFFIXES[take % 4]}" for s in range(10) for take in range(8)]
    for number, path in enumerate(paths):
        write(root / path, voice(number // 8, number % 8, 0.6))
    return root, lists(paths)


@pytest.fixture
def copy(clean, tmp_path):
    """A copy of it, which tests may damage."""
    shutil.copytree(clean[0], tmp_path / "copy")
    return tmp_path / "copy", clean[1]


def findings_of(root, listed, **settings):
    return [(f.kind, f.path) for f in check_recordings(root, listed, workers=1, **settings)]


def alone(path):
    """Kinds of the findings for a single file."""
    return [kind for kind, _ in findings_of(path.parent, Listed({path.name: "spk"}, [], {}))]


def test_a_clean_corpus_has_no_findings(clean):
    assert check_recordings(*clean, known=KNOWN, workers=2) == []


def contents(text):
    return lambda path: path.write_bytes(text)


def sound(audio, rate=16_000, **settings):
    return lambda path: write(path, audio, rate, **settings)


def cut(share, **settings):
    def spoil(path):
        if settings:
            write(path, voice(0, 99), **settings)
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])

    return spoil


def without_end(path):
    write(path, voice(0, 84, 5.0))
    content = path.read_bytes()
    path.write_bytes(content[: content.rfind(b"OggS")])


def broken_by(value):
    audio = voice(0, 98)
    audio[5000] = value
    return audio


TIME = np.arange(16_000) / 16_000
LOUD = np.clip(20.0 * voice(0, 97), -1.0, 1.0)
LEAST_BIT = np.random.default_rng(0).integers(-1, 2, 16_000) / 32_768
FAULTS = {
    "unreadable": [
        ("wav", contents(b"this is no audio")), ("flac", contents(b"")), ("wav", sound(np.zeros(0))),
        ("opus", contents(b"text as well")), ("wav", cut(0.001)), ("flac", cut(0.001)),
    ],
    "truncated": [
        ("wav", cut(0.5)), ("flac", cut(0.5)), ("ogg", cut(0.6)), ("opus", cut(0.6)),
        ("wav", cut(0.97)), ("flac", cut(0.97)), ("ogg", cut(0.99)), ("opus", cut(0.99)),
        ("ogg", cut(0.01)), ("opus", cut(0.01)), ("wav", cut(0.7, format="WAVEX")),
    ],
    "not finite": [
        ("wav", sound(broken_by(np.nan), subtype="FLOAT")),
        ("wav", sound(broken_by(np.inf), subtype="DOUBLE")),
        ("wav", sound(np.stack([voice(0, 0), -broken_by(np.inf)]).T, subtype="FLOAT")),
    ],
    "silent": [
        ("wav", sound(np.zeros(16_000))), ("flac", sound(LEAST_BIT)), ("opus", sound(np.zeros(16_000))),
        ("wav", sound(np.eye(1, 16_000, 9000)[0] * 0.01)),  # one click: 0.01 / sqrt(16000) = 8e-5
    ],
    "constant": [
        ("wav", sound(np.full(16_000, 0.25))), ("flac", sound(0.1 + LEAST_BIT)),
        ("wav", sound(np.full(16_000, -1.0), subtype="FLOAT")),
    ],
    "too short": [
        ("wav", sound(voice(0, 96, 0.49))), ("flac", sound(voice(0, 95, 0.3))),
        ("ogg", sound(voice(0, 94, 0.2))),
    ],
    "clipped": [
        ("wav", sound(LOUD)), ("flac", sound(-LOUD)), ("wav", sound(0.3 * LOUD)),
        ("wav", sound(20_000.0 * voice(0, 93), subtype="FLOAT")),
        ("wav", sound(np.maximum(voice(0, 86), -0.12))), ("flac", sound(np.minimum(voice(0, 85), 0.12))),
    ],
    "no end": [("ogg", without_end), ("opus", without_end)],
    "wrong rate": [
        ("wav", sound(voice(0, 92, 1.0, 8000), 8000)), ("flac", sound(voice(0, 91, 1.0, 44_100), 44_100)),
        ("opus", sound(voice(0, 90, 1.0, 48_000), 48_000)),
    ],
    "several channels": [
        ("wav", sound(np.stack([voice(0, 89), voice(1, 89)]).T)),
        ("flac", sound(np.stack([voice(0, 88)] * 2).T)), ("ogg", sound(np.stack([voice(0, 87)] * 3).T)),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "number"), [(kind, number) for kind, faults in FAULTS.items() for number in range(len(faults))]
)
def test_each_fault_alone(kind, number, tmp_path):
    suffix, spoil = FAULTS[kind][number]
    path = tmp_path / f"a.{suffix}"
    write(path, voice(0, 0))
    assert alone(path) == []
    spoil(path)
    assert alone(path) == [kind]


def test_planted_faults_are_reported_and_no_others(copy):
    root, listed = copy
    planted, paths = set(), [*listed.train, *listed.trials]
    free = {suffix: [path for path in paths if path.endswith(suffix)] for suffix in SUFFIXES}
    for kind, faults in FAULTS.items():
        for suffix, spoil in faults[:3]:
            path = free[suffix].pop()
            spoil(root / path)
            planted.add((kind, path))
    for speaker in range(3):
        source, target = (free[suffix].pop(0) for suffix in ("wav", "flac"))
        write(root / target, soundfile.read(root / source)[0])
        assert source.startswith(f"spk{speaker // 2}/") and source[:4] == target[:4]
        planted.add(("duplicate", target))
    findings = check_recordings(root, listed, known=KNOWN, workers=2)
    assert len(planted) == len(findings) == 32 and len({kind for kind, _ in planted}) == 11
    assert {(finding.kind, finding.path) for finding in findings} == planted
    assert all(finding.detail and "\n" not in finding.detail for finding in findings)
    assert check_recordings(root, listed, known=KNOWN, workers=1) == findings
    backwards = Listed(listed.train, listed.trials[::-1], listed.trial_speakers)
    assert check_recordings(root, backwards, known=KNOWN, workers=1) == findings


SPEECH = voice(0, 0) / np.abs(voice(0, 0)).max()
HARMLESS = {
    "normalised": SPEECH,
    "compressed": np.tanh(1.5 * SPEECH),
    "padded": np.pad(SPEECH, 32_000),
    "offset": 0.2 * SPEECH + 0.3,
    "least duration": SPEECH[:8000],
    "one side": np.abs(SPEECH),
    "quiet": 0.0005 * SPEECH,
    "faint hum": 1.6e-4 * np.sin(2 * np.pi * 100 * TIME),  # 5 levels, and so long runs at its extremes
    "loud tone": 0.999 * np.sin(2 * np.pi * 100 * TIME),
}


@pytest.mark.parametrize(
    ("name", "subtype"),
    [(name, "PCM_16") for name in HARMLESS]
    + [(name, coarse) for name in list(HARMLESS)[:6] for coarse in ("ULAW", "PCM_U8")],
)
def test_harmless_recordings_have_no_findings(name, subtype, tmp_path):
    write(tmp_path / "a.wav", HARMLESS[name], subtype=subtype)
    assert alone(tmp_path / "a.wav") == []


def test_channels_are_mixed_down_before_the_checks(tmp_path):
    for name, channels in {"dead.wav": [0.0 * SPEECH, SPEECH], "against.wav": [SPEECH, -SPEECH]}.items():
        write(tmp_path / name, np.stack(channels).T)
    listed = Listed({"dead.wav": "s", "against.wav": "s"}, [], {})
    findings = check_recordings(tmp_path, listed, workers=1)
    assert findings == [
        Finding("several channels", "against.wav", "2 channels in opposite phase"),
        Finding("several channels", "dead.wav", "2 channels"),
    ]
    write_report(findings, tmp_path, listed)
    assert (tmp_path / "excluded.txt").read_text() == ""


def test_untidy_headers_of_whole_files(tmp_path):
    write(tmp_path / "piped.wav", voice(0, 0))
    content = bytearray((tmp_path / "piped.wav").read_bytes())
    content[40:44] = b"\xff" * 4
    (tmp_path / "piped.wav").write_bytes(content)
    write(tmp_path / "tagged.ogg", voice(0, 0))
    with (tmp_path / "tagged.ogg").open("ab") as stream:
        stream.write(b"TAG" + bytes(125))
    write(tmp_path / "streamed.mp3", voice(2, 0), bitrate_mode="CONSTANT")
    content = (tmp_path / "streamed.mp3").read_bytes()
    first = content.index(content[:2], 64)  # without the first frame, whose header says the length
    (tmp_path / "streamed.mp3").write_bytes(content[first:])
    listed = {"piped.wav": "s", "tagged.ogg": "t", "streamed.mp3": "u"}
    assert findings_of(tmp_path, Listed(listed, [], {})) == []


def test_flac_files_in_succession_are_not_called_whole(tmp_path):
    write(tmp_path / "a.flac", voice(0, 0))
    (tmp_path / "a.flac").write_bytes((tmp_path / "a.flac").read_bytes() * 2)
    assert alone(tmp_path / "a.flac") == ["unreadable"]


def pair(root, first, second, speakers=("s", "s")):
    """Kinds and paths of the findings for a train list of two files."""
    return findings_of(root, Listed(dict(zip((first, second), speakers, strict=True)), [], {}))


def test_duplicates_have_the_same_samples(tmp_path):
    audio = soundfile.read(write(tmp_path / "a.wav", voice(0, 0)) or tmp_path / "a.wav")[0]
    write(tmp_path / "b.flac", audio)
    write(tmp_path / "c.wav", audio, subtype="FLOAT")
    write(tmp_path / "minus_zero.wav", np.where(audio == 0.0, -0.0, audio), subtype="FLOAT")
    write(tmp_path / "stereo.wav", np.stack([audio, audio]).T)
    write(tmp_path / "faster.wav", audio, 16_001)
    write(tmp_path / "longer.wav", np.append(audio, 0.0))
    assert (audio == 0.0).any()
    for other in ("b.flac", "c.wav", "minus_zero.wav"):
        assert pair(tmp_path, "a.wav", other)[:1] == [("duplicate", other)]
        both = [("duplicate of another speaker", path) for path in ("a.wav", other)]
        assert pair(tmp_path, "a.wav", other, "st")[:2] == both
    assert ("duplicate", "stereo.wav") in pair(tmp_path, "a.wav", "stereo.wav")
    for other in ("faster.wav", "longer.wav"):
        assert "duplicate" not in dict(pair(tmp_path, "a.wav", other))


def test_duplicates_say_whose_they_are(tmp_path):
    for name in "abcd":
        write(tmp_path / f"{name}.wav", voice(0, 0))
    listed = Listed({"a.wav": "s", "b.wav": "s", "c.wav": "t"}, ["d.wav"], {})
    details = {f.path: f.detail for f in check_recordings(tmp_path, listed, workers=1) if f.kind != "leak"}
    assert details["a.wav"] == "s's, the same samples as c.wav of ANOTHER speaker, t"
    assert details["b.wav"] == "s's, the same samples as c.wav of ANOTHER speaker, t"
    assert details["c.wav"] == "t's, the same samples as a.wav of ANOTHER speaker, s"
    assert details["d.wav"] == "the same samples as a.wav (a speaker isn't known)"
    (finding,) = check_recordings(tmp_path, Listed({"a.wav": "s", "b.wav": "s"}, ["c.wav"], {}), workers=1)[
        :1
    ]
    assert finding == ("duplicate", "b.wav", "the same samples as a.wav (the same speaker)")


def test_silence_is_no_duplicate(tmp_path):
    for name, audio in {"a.wav": np.zeros(16_000), "b.flac": np.zeros(16_000)}.items():
        write(tmp_path / name, audio)
    assert pair(tmp_path, "a.wav", "b.flac", "st") == [("silent", "a.wav"), ("silent", "b.flac")]


def test_missing_and_unlisted(copy):
    root, listed = copy
    gone = [next(iter(listed.train)), listed.trials[-1]]
    for path in gone:
        (root / path).unlink()
    write(root / "new" / "a.FLAC", voice(20, 0))
    write(root / "b\n.wav", voice(20, 1))
    (root / "spk0" / "notes.txt").write_text("no audio")
    (root / "spk0" / "._0.wav").write_text("left by macOS")
    (root / "spk0" / ".hidden").mkdir()
    write(root / "spk0" / ".hidden" / "a.wav", voice(20, 2))
    (root / "spk0" / "up").symlink_to(root)
    expected = [("missing", path) for path in gone] + [("unlisted", "b\n.wav"), ("unlisted", "new/a.FLAC")]
    assert findings_of(root, listed) == expected
    assert findings_of(root, listed, known=KNOWN) == [*expected[:2], ("counts", ""), *expected[2:]]


def test_samples_that_are_trained_on_leak(copy):
    root, listed = copy
    train = next(path for path in listed.train if path.endswith("flac"))
    shutil.copy(root / train, root / listed.trials[0])
    kinds = [kind for kind, path in findings_of(root, listed) if path == listed.trials[0]]
    assert kinds == ["duplicate of another speaker", "leak"]
    assert findings_of(root, listed._replace(trials=[*listed.trials, train])) == findings_of(root, listed)


def test_files_and_speakers_of_two_lists():
    train = {f"{s}/v/{take}.wav": s for s in "abcdefg" for take in range(2)}
    held_out = [f"{speaker}/v/2.wav" for speaker in "abcdefgh"]
    trials = {"own.txt": held_out, "hard.txt": ["a/v/0.wav", "x/v/0.wav"], "all.txt": ["a/v/0.wav"]}
    # another h: the lists' speakers are first folders
    others = {"part/h/v/0.wav": "h", "part/i/v/0.wav": "i"}
    trained = {"train.txt": ListedPaths(train, {}, {}), "others.txt": ListedPaths(others, {}, {})}
    assert list(overlaps(trials, trained)) == [
        ("shared speakers", "", "7 of 8 in own.txt are in train.txt: a, b, c, d, e, ..."),
        ("shared speakers", "", "1 of 2 in hard.txt are in train.txt: a"),
        ("shared speakers", "", "1 of 1 in all.txt are in train.txt: a"),
        ("leak", "a/v/0.wav", "this file is in train.txt and in hard.txt, all.txt"),
    ]


def test_speakers_of_trials_that_only_the_file_folder_or_no_folder_names():
    """The folder is counted from the last where that fits more paths; other speakers stay unknown."""
    train = {f"{folder}/1.wav": folder[-1] for folder in ("x/a", "y/z/b", "y/z/c")}
    assert ListedPaths(train, {}, {"t": ["x/d/1.wav", "y/z/a/1.wav"]}).listed().trial_speakers == {
        "x/d/1.wav": "d", "y/z/a/1.wav": "a",
    }  # fmt: skip
    flat = {"wav/a_1.wav": "a", "wav/b_1.wav": "b"}
    assert ListedPaths(flat, {}, {"t": ["wav/a_2.wav"]}).listed().trial_speakers == {}
    assert list(overlaps({"t": ["wav/a_2.wav"]}, {"train.txt": ListedPaths(flat, {}, {})})) == []


def test_check_says_where_speakers_of_trials_are_unknown(tmp_path):
    """A held-out copy of a training file isn't called another speaker's."""
    for name in ("a_1", "a_2", "b_1"):
        write(tmp_path / f"wav/{name}.wav", voice(ord(name[0]), 1, 0.6))
    (tmp_path / "train.txt").write_text("a wav/a_1.wav\nb wav/b_1.wav\n")
    (tmp_path / "test.txt").write_text("0 wav/a_2.wav wav/b_1.wav\n")
    lists = ("--train_list", tmp_path / "train.txt", "--test_list", tmp_path / "test.txt", "--root", tmp_path)
    result = run_here("dataprep.py", "--check", *lists, "--save_path", tmp_path / "out", "--workers", 1)
    assert result.returncode == 0 and "own: the speakers of the trials are unknown" in result.stdout
    report = (tmp_path / "out" / "check" / "own" / "check.txt").read_text()
    assert (
        "another speaker" not in report.lower() and "wav/a_2.wav: the same samples as wav/a_1.wav" in report
    )


@pytest.fixture
def voxceleb1(tmp_path):
    """Folder with a development and a test speaker of VoxCeleb1, unpacked -> words of a command for them."""
    for part, speaker in (("dev", "id10001"), ("test", "id10270")):
        for take in range(3):
            path = tmp_path / "voxceleb1" / part / "wav" / speaker / "video" / f"{take}.wav"
            write(path, voice(int(speaker[2:]) % 7, take, 0.6))
    return tmp_path, ("--corpus", "voxceleb2", "voxceleb1", "--save_path", tmp_path)


@pytest.mark.parametrize("step", ["check", "pack"])
def test_missing_parts_of_a_corpus_are_reported_and_the_rest_processed(voxceleb1, step):
    save_path, words = voxceleb1
    nothing = (
        "voxceleb2: no recordings are there; see --status; voxceleb1: ",
        "all/wav is missing; use --gen",
    )
    assert_refused(run_here("dataprep.py", f"--{step}", *words), *nothing)
    assert run_here("dataprep.py", "--generate", "--corpus", "voxceleb1", *words[3:]).returncode == 0
    result = run_here("dataprep.py", f"--{step}", *words)
    official = "veri_test.txt, veri_test2.txt, list_test_all.txt, list_test_all2.txt, list_test_hard.txt, "
    assert result.returncode == 0 and result.stdout.splitlines()[:2] == [
        "voxceleb2: no recordings are there; see --status",
        f"voxceleb1: {official}list_test_hard2.txt: missing; use --download",
    ]
    assert "3 files checked" in result.stdout or "3 recordings added" in result.stdout
    (save_path / "veri_test.txt").write_text("1 id10270/video/0.wav id10270/video/1.wav\n")
    (save_path / "voxceleb1_train_list.txt").unlink()
    result = run_here("dataprep.py", f"--{step}", *words)
    assert "voxceleb1: voxceleb1_train_list.txt is missing; use --generate" in result.stdout
    assert "2 files checked" in result.stdout or "2 recordings added" in result.stdout


def test_every_official_list_is_compared_with_what_is_trained_on(voxceleb1):
    save_path, words = voxceleb1
    assert run_here("dataprep.py", "--generate", "--corpus", "voxceleb1", *words[3:]).returncode == 0
    (save_path / "veri_test.txt").write_text("1 id10270/video/0.wav id10270/video/1.wav\n")
    (save_path / "list_test_hard.txt").write_text("0 id10001/video/2.wav id10270/video/2.wav\n")
    assert run_here("dataprep.py", "--check", *words).returncode == 0
    report = json.loads((save_path / "check" / "voxceleb1" / "check.json").read_text())
    details = {(f["kind"], f["path"]): f["detail"] for f in report["findings"] if f["kind"] != "counts"}
    assert report["num_files"] == 6 and details == {
        ("leak", "id10001/video/2.wav"): "this file is in voxceleb1_train_list.txt and in list_test_hard.txt",
        ("shared speakers", ""): "1 of 2 in list_test_hard.txt are in voxceleb1_train_list.txt: id10001",
    }


TRIAL_FORMS = {
    "label first": "1 spk0/0.wav spk1/0.wav\n0 spk1/0.wav gone.wav\n",
    "label last": "spk0/0.wav spk1/0.wav 1\nspk1/0.wav gone.wav 0\n",
    "word last": "spk0/0.wav spk1/0.wav target\nspk1/0.wav gone.wav nontarget\n",
    "no labels": "spk0/0.wav spk1/0.wav\nspk1/0.wav gone.wav\n",
    "tabs": "1\tspk 0/a b.wav\tspk1/0.wav\n0\tspk1/0.wav\tgone away.wav\n",
    "tabs, label last": "spk 0/a b.wav\tspk1/0.wav\ttarget\nspk1/0.wav\tgone away.wav\tnontarget\n",
    "tabs, no labels": "spk 0/a b.wav\tspk1/0.wav\nspk1/0.wav\tgone away.wav\n",
    "blanks": "1 spk 0/a b.wav spk1/0.wav\n0 spk1/0.wav gone.wav\n",
    "blanks, label last": "spk 0/a b.wav spk1/0.wav target\nspk1/0.wav gone.wav nontarget\n",
    "blanks, no labels": "spk 0/a b.wav spk1/0.wav\nspk1/0.wav gone.wav\n",
}


@pytest.mark.parametrize("form", TRIAL_FORMS)
def test_leaks_and_missing_files_are_reported_in_every_form_of_trial_list(form, tmp_path):
    root = tmp_path / "audio"
    for number, path in enumerate(("spk0/0.wav", "spk 0/a b.wav", "spk1/0.wav", "spk2/0.wav")):
        write(root / path, voice(number, 0, 0.6))
    text = TRIAL_FORMS[form]
    leak = "spk 0/a b.wav" if "a b" in text else "spk0/0.wav"
    missing = "gone away.wav" if "away" in text else "gone.wav"
    (tmp_path / "train.txt").write_text(f"spk0 {leak}\nspk2 spk2/0.wav\n")
    (tmp_path / "trials.txt").write_text(text)
    lists = ("--root", root, "--train_list", tmp_path / "train.txt", "--test_list", tmp_path / "trials.txt")
    words = (*lists, "--save_path", tmp_path, "--workers", 1)
    assert_refused(run_here("dataprep.py", "--pack", *words), f"{missing}: cannot be read: no such file")
    assert run_here("dataprep.py", "--check", *words).returncode == 0
    report = json.loads((tmp_path / "check" / "own" / "check.json").read_text())
    serious = [(f["kind"], f["path"]) for f in report["findings"] if f["kind"] in ("missing", "leak")]
    assert serious == [("missing", missing), ("leak", leak)] and report["num_files"] == 4
    # without the missing file, which --check excludes, the pack holds every other one
    assert run_here("dataprep.py", "--pack", *words).returncode == 0
    assert sorted(Pack(tmp_path / "pack" / "own").paths) == sorted([leak, "spk1/0.wav", "spk2/0.wav"])


@pytest.mark.parametrize("step", ["check", "pack"])
def test_a_line_that_is_no_trial_is_named(step, tmp_path):
    (tmp_path / "trials.txt").write_text("1 a.wav b.wav\n1 a b c.wav\n")
    words = ("--root", tmp_path, "--test_list", tmp_path / "trials.txt", "--save_path", tmp_path)
    refused = run_here("dataprep.py", f"--{step}", *words)
    assert_refused(
        refused, 'trials.txt:2: expected "label enrol test" as in line 1, got 4 fields: 1 a b c.wav'
    )


def test_counts_of_what_is_there(copy):
    root, listed = copy
    for path in (root / "spk3" / "session").iterdir():
        path.unlink()
    mirror = KNOWN | {"mirror_speakers": 6}
    details = [
        f.detail for f in check_recordings(root, listed, known=mirror, workers=1) if f.kind == "counts"
    ]
    assert details == [
        "expected 56 utterances, found 48",
        "expected 7 speakers, found 6: this is the known mirror with 6 speakers",
    ]
    details = [f.detail for f in check_recordings(root, listed, known=KNOWN, workers=1) if f.kind == "counts"]
    assert details[1] == "expected 7 speakers, found 6"
    known = {"speakers": 5994, "utterances": 1_092_009, "mirror_speakers": 5991}
    whole = [f"id{i:05d}" for i in range(5991)]
    details = [finding.detail for finding in check._counts(whole, known)]
    assert details[0] == "expected 5,994 speakers, found 5,991: this is the known mirror with 5,991 speakers"
    assert details[1] == "expected 1,092,009 utterances, found 5,991"


def test_wrong_calls_are_one_line(clean, tmp_path):
    root, listed = clean
    for arguments, error, words in (
        ((root / "absent", listed), FileNotFoundError, "absent: no such folder"),
        ((tmp_path, listed), FileNotFoundError, f"is {tmp_path} right?"),
        ((root, Listed({}, [], {})), ValueError, "no list names a file in it"),
    ):
        with pytest.raises(error) as caught:
            check_recordings(*arguments, workers=1)
        assert words in str(caught.value) and "\n" not in str(caught.value)


def die(min_duration_s, listed):
    os._exit(1)


def test_not_finite_says_where(tmp_path, monkeypatch):
    monkeypatch.setattr(tally, "BLOCK", 1024)
    write(tmp_path / "a.wav", broken_by(np.nan), subtype="FLOAT")  # sample 5000
    (finding,) = check_recordings(tmp_path, Listed({"a.wav": "s"}, [], {}), workers=1)
    assert finding == ("not finite", "a.wav", "not finite at 0.3125 s")


def test_a_process_that_dies_is_one_line(clean, monkeypatch):
    monkeypatch.setattr(check, "_examine", die)
    with pytest.raises(OSError, match="a process was killed"):
        check_recordings(*clean, workers=2)


def test_the_command_and_its_processes_start_without_slow_imports():
    slow = {"torch", "scipy", "requests"}
    code = f"import sys, dataprep, preparation.check; assert not {slow} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_long_recording_takes_little_memory(tmp_path):
    path = tmp_path / "long.wav"
    write(path, voice(0, 0))
    content, size = bytearray(path.read_bytes()), 2 * 16_000 * 900
    content[4:8], content[40:44] = (size + 36).to_bytes(4, "little"), size.to_bytes(4, "little")
    path.write_bytes(content)
    os.truncate(path, size + 44)  # 899 s of zeros that take no space on the disk
    tracemalloc.start()
    try:
        assert alone(path) == []
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8e6  # all samples would take 58e6 bytes


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_blocks_of_any_size_give_the_same(suffix, tmp_path, monkeypatch):
    path = tmp_path / f"a.{suffix}"
    write(path, np.clip(10.0 * voice(0, 0, 2.0), -1.0, 1.0))
    whole = soundfile.read(path, dtype="float32")[0]
    tallies = []
    for size in (1 << 17, 1000, 7919):
        monkeypatch.setattr(tally, "BLOCK", size)
        tallies.append(tally.Tally(AudioFile(str(path))))
    for each in tallies:
        assert each.hash.digest() == tallies[0].hash.digest()
        assert each.num_frames == len(whole) == 32_000
        assert each.total == pytest.approx(whole.sum(dtype=float))
        assert each.squares == pytest.approx((whole.astype(float) ** 2).sum())
        assert each.peak == np.abs(whole).max()
        assert each.num_full == (np.abs(whole) >= 32_767 / 32_768).sum()
        flat = [sum(count for _, count in t.tops.values()) for t in (each, tallies[0])]
        assert flat[0] == pytest.approx(flat[1], abs=8 * 2 * 32)  # a top that a border cuts may lose 4


def test_flat_tops():
    top = np.array([1] * 4 + [0] + [1] * 5 + [0, 1, 0] + [1] * 6, dtype=bool)
    assert tally._flat(top) == 11 and tally._flat(top[:10]) == 5 and tally._flat(top[5:10]) == 5
    assert tally._flat(top[:4]) == 0 and tally._flat(np.zeros(9, dtype=bool)) == 0


def test_the_report(tmp_path):
    kinds = [kind for kind in KINDS for _ in range(2)]
    findings = [
        Finding(kind, "" if kind == "counts" else f"spk/{kind} {i % 2}.wav", f"detail {i}")
        for i, kind in enumerate(kinds)
    ]
    train = {f"spk/{kind} 0.wav": "spk" for kind in KINDS} | {
        f"{i}.wav": "spk" for i in range(1234 - 2 * len(KINDS))
    }
    trials = [f"spk/{kind} 1.wav" for kind in KINDS]
    lines = write_report(findings[::-1], tmp_path / "new", Listed(train, trials, {}))
    unusable = ["unreadable", "truncated", "not finite", "missing"]
    unfit = ["silent", "constant", "too short", "duplicate of another speaker", "duplicate"]
    excluded = [f"spk/{kind} {i}.wav" for kind in unusable for i in range(2)]
    excluded = sorted([*excluded, *(f"spk/{kind} 0.wav" for kind in unfit)])
    assert (tmp_path / "new" / "excluded.txt").read_text().splitlines() == excluded
    machine = json.loads((tmp_path / "new" / "check.json").read_text())
    assert machine["num_files"] == 1234 and machine["excluded"] == excluded
    assert machine["counts"] == dict.fromkeys(KINDS, 2)
    assert [Finding(**finding) for finding in machine["findings"]] == findings
    text = (tmp_path / "new" / "check.txt").read_text().splitlines()
    assert text[0] == lines[0] == "1,234 files checked: 36 findings, 13 files to leave out"
    assert text[1:19] == lines[1:19] and text[1].split()[:2] == ["2", "unreadable:"]
    assert text[19:23] == [
        "",
        "unreadable",
        "  spk/unreadable 0.wav: detail 0",
        "  spk/unreadable 1.wav: detail 1",
    ]
    assert "  detail 22" in text and text[-1] == "  spk/unlisted 1.wav: detail 35"
    assert str(tmp_path / "new" / "check.txt") in lines[-1] and len(lines) == 20


def test_the_report_of_nothing_and_of_very_much(tmp_path, monkeypatch):
    monkeypatch.setattr(check, "MAX_LINES", 3)
    five = Listed(dict.fromkeys("abcde", "spk"), [], {})
    write_report([Finding("unlisted", f"{i}.wav", "in no list") for i in range(10)], tmp_path, five)
    text = (tmp_path / "check.txt").read_text()
    assert text.endswith("  2.wav: in no list\n  and 7 more, in check.json\n")
    assert len(json.loads((tmp_path / "check.json").read_text())["findings"]) == 10
    write_report([], tmp_path, five)
    assert (tmp_path / "excluded.txt").read_text() == ""
    assert (tmp_path / "check.txt").read_text() == "5 files checked: 0 findings, 0 files to leave out\n"


def speakers_and_embeddings(num_speakers=20, each=25, width=32):
    generator = np.random.default_rng(5)
    voices = generator.normal(size=(num_speakers, width))
    embeddings = np.repeat(voices, each, axis=0) + 0.7 * generator.normal(size=(num_speakers * each, width))
    lengths = generator.uniform(0.5, 20.0, size=(len(embeddings), 1))  # which mustn't matter
    speakers = [f"s{i // each:02d}" for i in range(len(embeddings))]
    return speakers, (lengths * embeddings).astype(np.float32), [f"{i}.wav" for i in range(len(embeddings))]


@pytest.mark.parametrize("block", [1 << 22, 300])
def test_swapped_labels_are_suspects(block, monkeypatch):
    monkeypatch.setattr(suspects, "BLOCK_VALUES", block)
    speakers, embeddings, paths = speakers_and_embeddings()
    assert label_errors(embeddings, speakers, paths) == [] == same_speakers(embeddings, speakers)
    swapped = {3: "s07", 30: "s00", 260: "s19", 499: "s02"}
    labels = [swapped.get(i, speaker) for i, speaker in enumerate(speakers)]
    suspected = label_errors(embeddings, labels, paths)
    assert {(s.path, s.speaker, s.other) for s in suspected} == {
        (f"{i}.wav", speaker, speakers[i]) for i, speaker in swapped.items()
    }
    gaps = [s.other_score - s.own_score for s in suspected]
    assert gaps == sorted(gaps, reverse=True) and gaps[-1] > 0.3
    assert label_errors(embeddings, labels, paths, most=2) == suspected[:2]
    assert same_speakers(embeddings, labels) == []


@pytest.mark.parametrize("block", [1 << 22, 50])
def test_a_speaker_under_two_names_is_a_pair(block, monkeypatch):
    monkeypatch.setattr(suspects, "BLOCK_VALUES", block)
    speakers, embeddings, paths = speakers_and_embeddings()
    split = {"s01": "again01", "s11": "s11b", "s15": "s15b"}
    labels = [split.get(s, s) if i % 2 else s for i, s in enumerate(speakers)]
    pairs = same_speakers(embeddings, labels)
    assert {(first, second) for first, second, _ in pairs} == {
        ("again01", "s01"), ("s11", "s11b"), ("s15", "s15b"),
    }  # fmt: skip
    assert 1.0 > pairs[0][2] > pairs[1][2] > pairs[2][2] > 0.8 and pairs[0][0] != "again01"
    assert same_speakers(embeddings, labels, most=1) == pairs[:1]
    assert len(label_errors(embeddings, labels, paths)) <= 1  # of 75 that have a second centre as near


def test_scores_worked_by_hand():
    # own scores: A 4/sqrt(17) = 0.970 five times and 0, B 1 six times; the median 0.985, its MAD 0.015
    embeddings = np.array([[2.0, 0.0]] * 5 + [[0.0, 3.0]] + [[0.0, 1.0]] * 6 + [[0.3, 1.0]])
    speakers, paths = ["A"] * 6 + ["B"] * 6 + ["lonely"], [f"{i}" for i in range(13)]
    suspected = label_errors(embeddings, speakers, paths)
    assert suspected == [Suspect("5", "A", "B", pytest.approx(0.0), pytest.approx(1.0))]
    # centres (5, 1) / sqrt(26), (0, 1), (0.3, 1) / sqrt(1.09): cosines 0.20, 0.47, 0.96
    assert same_speakers(embeddings, speakers) == []
    # a wrong one that is far from everybody: cosine -1 / sqrt(1.01) with its own, -0.1 / sqrt(1.01) with B
    embeddings[5:12] = [[-1.0, 0.1]] + [[0.0, -1.0]] * 6
    scores = [pytest.approx(score / np.sqrt(1.01)) for score in (-1.0, -0.1)]
    assert label_errors(embeddings[:12], speakers[:12], paths[:12]) == [Suspect("5", "A", "B", *scores)]
    twins = np.array([[1.0, 0.0], [4.0, 3.0], [0.0, 1.0], [1.0, 0.0]])
    # own scores 0.8 and 0.8, 0 and 0: the median is 0.4; cosine (9, 3).(1, 1) / sqrt(90 * 2) = 0.894
    assert same_speakers(twins, list("aabb")) == [("a", "b", pytest.approx(12 / np.sqrt(180)))]


@pytest.mark.filterwarnings("error")
def test_suspects_need_enough():
    speakers, embeddings, paths = speakers_and_embeddings(2, 3)
    with pytest.raises(ValueError, match="two utterances, got 2 with 2"):
        label_errors(embeddings[2:4], speakers[2:4], paths[2:4])
    with pytest.raises(ValueError, match="got 1 with 3"):
        same_speakers(embeddings[:3], speakers[:3])
    with pytest.raises(ValueError, match="a speaker for each of 6 embeddings, got 5"):
        same_speakers(embeddings, speakers[:5])
    with pytest.raises(ValueError, match="a path for each of 6 embeddings, got 5"):
        label_errors(embeddings, speakers, paths[:5])
    for value in (0.0, np.nan, np.inf):
        bad = embeddings.copy()
        bad[4] = value
        with pytest.raises(ValueError, match="embedding 4"):
            label_errors(bad, speakers, paths)
