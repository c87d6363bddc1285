"""Lists of every form: trials, enrolments, tables to train on; errors that name file and line."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio import trial_forms
from audio.errors import AudioError
from audio.lists import read_train_list
from audio.named import NamedRecordings, recordings_of_names
from audio.recording import AudioFile
from audio.recordings import Recordings
from audio.trials import Trials, read_trials
from evaluation.trial_lists import TrialLists
from metrics import fields
from metrics.fields import text_of
from preparation import inspect
from preparation.parts import WHOLE


def trials_of(tmp_path, text):
    (tmp_path / "list.txt").write_text(text)
    return read_trials([str(tmp_path / "list.txt")], NamedRecordings(str(tmp_path), "--test_path").known)[0]


def test_labelled_trials(tmp_path):
    trials = trials_of(tmp_path, "1 a.wav b.wav\n0 a.wav c.wav\n\n1\tc.wav\tb.wav\n0 a.wav c.wav\n")
    assert trials.names == ["a.wav", "b.wav", "c.wav"]
    assert trials.enrol.tolist() == [0, 0, 2, 0] and trials.test.tolist() == [1, 2, 1, 2]
    assert trials.labels.tolist() == [1, 0, 1, 0]


def test_trials_without_labels(tmp_path):
    (tmp_path / "0").touch()
    trials = trials_of(tmp_path, "a.wav b.wav\n0 1\n")
    assert trials.labels is None and trials.names == ["a.wav", "b.wav", "0", "1"]


def test_paths_with_blanks_are_split_where_two_files_are_or_at_tabs(tmp_path):
    for name in ("my voice.wav", "b.wav"):
        (tmp_path / name).touch()
    trials = trials_of(tmp_path, "1 my voice.wav b.wav\n0\tx y.wav\tb.wav\n")
    assert trials.names == ["my voice.wav", "b.wav", "x y.wav"]
    assert trials_of(tmp_path, "my voice.wav b.wav\n").labels is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1 a.wav\n0 a b\n", r"list\.txt:1: expected .* got 2 fields"),
        ("1 a b\n0\n", r"list\.txt:2: expected .* got 1 field"),
        ("1 a b\n0 a b c\n", r"list\.txt:2: expected .* got 4 fields"),
        ("1 a b\n2 a b\n", r"list\.txt:2: expected"),
        ("1 a b\na b\n", r'list\.txt:2: expected "label enrol test" as in line 1, got 2 fields: a b'),
        ("1 a b\n1 a c\n", r"all 2 trials are of one class; it has no nontarget"),
        ("0 a b\n", r"it has no target"),
        ("\n", "the list is empty"),
    ],
)
def test_wrong_lists_are_rejected(tmp_path, text, words):
    with pytest.raises(ValueError, match=words):
        trials_of(tmp_path, text)


def test_trials_of_missing_files_are_removed():
    trials = Trials(["a", "b", "c"], np.array([0, 1, 2]), np.array([1, 2, 0]), np.array([1, 0, 1]))
    kept = trials.without(np.array([1]))
    assert (kept.enrol.tolist(), kept.test.tolist(), kept.labels.tolist()) == ([2], [0], [1])
    assert trials.without(np.array([], int)).enrol.tolist() == [0, 1, 2]


def test_blocks_of_plain_lines_are_read_as_single_lines_are(tmp_path, monkeypatch):
    monkeypatch.setattr(trial_forms, "SAMPLE", 2)
    monkeypatch.setattr(fields, "BLOCK_LINES", 3)
    head = "1 a b\n0 a c\n"
    plain, mixed = "0 b c\nimp d a\n1 a d.wav\n", "0 b c\n\n1\tx y\td\n"
    trials = trials_of(tmp_path, f"{head}{plain}{mixed}1 é d\n0 b a2")
    assert trials.names == ["a", "b", "c", "d", "d.wav", "x y", "é", "a2"]
    assert trials.enrol.tolist() == [0, 0, 1, 3, 0, 1, 5, 6, 1]
    assert trials.test.tolist() == [1, 2, 2, 0, 4, 2, 3, 3, 7]
    assert trials.labels.tolist() == [1, 0, 0, 0, 1, 0, 1, 1, 0] and trials.num_repeated == 1
    for text, words in [
        (f"{plain}0 b c\n2 b d\n", "list.txt:7: expected"),
        (f"{plain}0 b c d\n0 b\n", "list.txt:6: expected .* got 4 fields"),
        (f"{plain}1 b d\n0 c a\n0 c d\n1 x y\n1 d c\n1 a d\n", "the trial d c is listed with both"),
    ]:
        with pytest.raises(ValueError, match=words):
            trials_of(tmp_path, head + text)
    unlabelled = trials_of(tmp_path, "a b\na c\nb c\nd a\nb d\n")
    assert unlabelled.labels is None and unlabelled.enrol.tolist() == [0, 0, 1, 3, 1]
    for line in ("1 b", "#a b"):
        with pytest.raises(ValueError, match=f"list.txt:4: expected .* got 2 fields: {line}"):
            trials_of(tmp_path, f"a b\na c\nb c\n{line}\nb d\n")


TREE = ("a.flac", "b.flac", "x y.flac", "other/b.flac")
KEY = "modelid\tsegmentid\tside\ttargettype\tsource\n"
SCP = "u-a {root}/a.flac\nu-b flac -c -d -s {root}/b.flac |\nu-x {root}/x y.flac\n"
TRIALS = "u-a u-b target\nu-a u-x nontarget\n"
SPH = "/opt/sph2pipe_v2.5/sph2pipe -f wav"
MODELS = {"trials": "m b.flac tgt\nm x y.flac imp\n"}
A, B, X = "a.flac", "b.flac", "x y.flac"
PLAIN = [(1, [A], B), (0, [A], X)]
PART = [(1, [f"{A} from 0.5 to 2 s"], B), (0, [f"{A} from 0.5 to 2 s"], X)]
BOTH = [(1, [A, "other/b.flac"], B), (0, [A, "other/b.flac"], X)]
FORMS = {  # files by name, arguments of `read`, what the trials are
    "label first": ({"trials": "1 a.flac b.flac\n\n0 a.flac x y.flac\n"}, {}, PLAIN),
    "label last": ({"trials": "a.flac b.flac 1\na.flac\tx y.flac\t0\n"}, {}, PLAIN),
    "nontarget": ({"trials": "a.flac b.flac target\na.flac x y.flac nontarget\n"}, {}, PLAIN),
    "imp": ({"trials": "tgt a.flac b.flac\nimp a.flac x y.flac\n"}, {}, PLAIN),
    "false": ({"trials": "a.flac b.flac True\r\na.flac x y.flac False\r\n"}, {}, PLAIN),
    "FALSE, BOM": ({"trials": "\ufeffTRUE a.flac b.flac\nFALSE a.flac x y.flac\n"}, {}, PLAIN),
    "no label": ({"trials": "a.flac b.flac\na.flac x y.flac\n"}, {}, [(None, [A], B), (None, [A], X)]),
    "key": ({"trials": f"{KEY}a\tb\ta\ttarget\tafv\na\tx y\ta\tnontarget\tafv\n"}, {}, PLAIN),
    "key without labels": ({"trials": "modelid segment\na b\n"}, {}, [(None, [A], B)]),
    "key by commas": ({"trials": 'label,"enrol",test\n1,"a.flac",b.flac\n0,a.flac,x y.flac\n'}, {}, PLAIN),
    "other suffix": ({"trials": "1 a.wav b.m4a\n0 a x y.WAV\n"}, {}, PLAIN),
    "a recording called 1": (
        {"trials": "1 a.flac\n1 b.flac\n", "1": ""},
        {},
        [(None, ["1"], A), (None, ["1"], B)],
    ),
    "labels on both sides": (
        {"trials": "0 a.flac 1\n1 a.flac 0\n", "enrol": "0 b.flac\n1\tx y.flac\n"},
        {"enrol_list": "enrol"},
        [(1, [B], A), (0, [X], A)],
    ),
    "wav.scp": ({"trials": TRIALS, "wav.scp": SCP}, {"root": "wav.scp"}, PLAIN),
    "wav.scp of relative paths": (
        {"trials": "i j 1\ni k 0\n", "files/w.scp": "i a.flac\nj b.flac\nk x y.flac\n"},
        {"root": "files/w.scp"},
        PLAIN,
    ),
    "Kaldi directory": ({"k/trials": TRIALS, "k/wav.scp": SCP}, {"paths": ["k"]}, PLAIN),
    "Kaldi directory as the folder": (
        {"k/trials": TRIALS, "k/wav.scp": SCP},
        {"paths": ["k/trials"], "root": "k"},
        PLAIN,
    ),
    "segments": (
        {
            "k/trials": "s u-b 1\ns u-x 0\n",
            "k/wav.scp": SCP,
            "k/segments": "s u-a 0.5 2\nu-b u-b 0 -1\nu-x u-x 0 -1\n",
        },
        {"paths": ["k"]},
        PART,
    ),
    "channel": (
        {
            "k/trials": "l r 1\nl u-x 0\n",
            "k/wav.scp": f"l {SPH} -p -c 1 {{root}}/a.flac |\nr {SPH} {{root}}/b.flac |\n{SCP}",
        },
        {"paths": ["k"]},
        [(1, ["a.flac channel 0"], B), (0, ["a.flac channel 0"], X)],
    ),
    "two lists": (
        {"trials": "1 a.flac b.flac\n0 a.flac x y.flac\n", "k/trials": TRIALS, "k/wav.scp": SCP},
        {"paths": ["trials", "k"]},
        PLAIN,
    ),
    "enroll.map": (MODELS | {"enrol": "m a.flac other/b.flac\n"}, {"enrol_list": "enrol"}, BOTH),
    "enrolments in lines": (MODELS | {"enrol": "m a.wav\nm other/b.wav\n"}, {"enrol_list": "enrol"}, BOTH),
    "model key": (
        MODELS | {"enrol": "modelid\tsegmentid\nm\ta\nm\tother/b\n"},
        {"enrol_list": "enrol"},
        BOTH,
    ),
    "assist": (MODELS | {"enrol": "m a.flac 0.5 2\n"}, {"enrol_list": "enrol"}, PART),
    "segments in a table": (
        MODELS | {"enrol": "modelid,segmentid,end,start\nm,a.flac,2,0.5\n"},
        {"enrol_list": "enrol"},
        PART,
    ),
    "spk2utt": (MODELS | {"e/spk2utt": "m u-a\n", "e/wav.scp": SCP}, {"enrol_list": "e"}, PLAIN),
    "two Kaldi directories": (
        {
            "k/trials": "m u-b target\nm u-x nontarget\n",
            "k/wav.scp": SCP.replace("u-a", "u-c"),
            "e/spk2utt": "m u-a\n",
            "e/wav.scp": SCP,
        },
        {"paths": ["k"], "enrol_list": "e"},
        PLAIN,
    ),
    "utt2spk": (MODELS | {"e/utt2spk": "u-a m\n", "e/wav.scp": SCP}, {"enrol_list": "e"}, PLAIN),
    "two roots": (
        {"trials": "m b.flac 1\nm x y.flac 0\n", "enrol": "m b.flac\n"},
        {"enrol_list": "enrol", "enrol_root": "other"},
        [(1, ["other/b.flac"], B), (0, ["other/b.flac"], X)],
    ),
}


def placed(tmp_path, files):
    """Files of some lists, written beside the recordings that they name."""
    for name in TREE:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        text = text.replace("{root}", str(tmp_path)).replace("{long}", 10_000_000 * "x")
        (tmp_path / name).write_text(text, newline="")


def read(tmp_path, files, root="", enrol_list="", enrol_root="", paths=("trials",)):
    """Files of some lists, where they are -> the trials, written beside the recordings that they name."""
    placed(tmp_path, files)
    enrol_list, enrol_root = (str(tmp_path / path) if path else "" for path in (enrol_list, enrol_root))
    lists = [str(tmp_path / path) for path in paths]
    return TrialLists.read(lists, str(tmp_path / root), enrol_list, enrol_root)


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_lists(form, tmp_path):
    files, arguments, expected = FORMS[form]
    lists = read(tmp_path, files, **arguments)

    def utterances(number):
        found = [lists.utterances[row] for row in lists.rows[number]]
        paths = [os.path.relpath(Path(lists.named.root, each.path), tmp_path) for each in found]
        return [str(each._replace(path=path)) for each, path in zip(found, paths, strict=True)]

    for trials in lists.lists.values():
        labels = [None] * len(trials.enrol) if trials.labels is None else trials.labels.tolist()
        sides = [
            (utterances(enrol), *utterances(test))
            for enrol, test in zip(trials.enrol, trials.test, strict=True)
        ]
        assert [(label, *side) for label, side in zip(labels, sides, strict=True)] == expected


WRONG = {  # files by name, arguments of `read`, the error
    "comment": (
        {"trials": "# enrol test label\n1 a b\n"},
        {},
        r"trials:1: expected .*lists have no comments, delete the",
    ),
    "comment later": (
        {"trials": "a b\n# b\n"},
        {},
        r'trials:2: expected "enrol test" .*got 2 fields: # b; lists have no comments',
    ),
    "quotes": (
        {"trials": '1 "a.flac" b.flac\n'},
        {},
        r'trials:1: .* got 3 fields: 1 "a\.flac" b\.flac; quotes would be parts of names, leave them out',
    ),
    "blanks": (
        {"trials": "1 x z.flac b.flac\n"},
        {},
        r"trials:1: .*got 4 fields: 1 x z\.flac b\.flac \(separate them by tabs if paths contain blanks\)",
    ),
    "folder": (
        {"trials/a": ""},
        {},
        r"--test_list .*trials: a folder without Kaldi's lists; expected a list",
    ),
    "mixed": (
        {"trials": "1 a b\na b target\n"},
        {},
        r'trials:2: expected "label enrol test" as in line 1, got 3',
    ),
    "mixed late": (
        {"trials": "1 a b\n" * 1000 + "a b 0\n"},
        {},
        r'trials:1001: expected "label enrol test" as in the',
    ),
    "zero byte": ({"trials": "1 a b\n0 a\0 b\n"}, {}, r"trials:2: holds a zero byte"),
    "long": ({"trials": "1 a b\n0 a {long}\n"}, {}, r"trials:2: expected .* got 10000004 characters"),
    "long, of many words": (
        {"trials": "1 a b\n0" + 100_000 * " x" + "\n"},
        {},
        r"trials:2: .* got 200001 characters",
    ),
    "two readings": (
        {"trials": "0 a.flac 1\n1 a.flac 0\n", "0": "", "1": ""},
        {},
        r"trials:1: is this a\.flac against 1 or 0 against a\.flac\? All lines fit "
        '"label enrol test" and "enrol test label"',
    ),
    "two columns": (
        {"trials": "modelid\tenrol\tsegmentid\n"},
        {},
        r"trials:1: modelid and enrol are both the enrolment",
    ),
    "a label of a table": (
        {"trials": "modelid\tsegmentid\ttargettype\na\tb\tmaybe\n"},
        {},
        r"trials:2: expected target or nontarget, got maybe",
    ),
    "columns": (
        {"trials": "modelid\tsegmentid\na\tb\ta\n"},
        {},
        r"trials:2: expected 2 columns as in line 1, got 3",
    ),
    "empty column": ({"trials": "modelid\tsegmentid\n\tb\n"}, {}, r"trials:2: no modelid"),
    "side": ({"trials": "modelid segmentid side\na b b\n"}, {}, r"trials:2: side b; expected a"),
    "quotes in a table": (
        {"trials": 'modelid,segmentid\na,b\na,"b\n'},
        {},
        r"trials:3: unexpected end of data",
    ),
    "a long table": (
        {"trials": "modelid\tsegmentid\na\t{long}\n"},
        {},
        r"trials:2: expected names, got 10000001 characters",
    ),
    "only a header": ({"trials": "modelid segmentid\n"}, {}, r"trials: the list is empty"),
    "two suffixes": (
        {"trials": "1 a b.mp3\n0 a x.mp3\n", "x.wav": "", "x.ogg": ""},
        {},
        r"x\.mp3 isn't there, but .*x\.wav and .*x\.ogg are",
    ),
    "no trials": (
        {"k/wav.scp": SCP},
        {"paths": ["k"]},
        r"--test_list .*k: no file `trials` in this Kaldi directory",
    ),
    "unknown utterance": (
        {"k/trials": "u-a q\n", "k/wav.scp": SCP},
        {"paths": ["k"]},
        r"q is neither a file in it nor an utterance in",
    ),
    "contradiction": (
        {"k/trials": TRIALS, "k/wav.scp": SCP, "e/spk2utt": "m u-a\n", "e/wav.scp": "u-a {root}/b.flac\n"},
        {"paths": ["k"], "enrol_list": "e"},
        r"u-a is .*, and .* in another directory",
    ),
    "sox": (
        {"trials": TRIALS, "w.scp": "u-a sox a.wav -t wav - |\n"},
        {"root": "w.scp"},
        r"w\.scp:1: u-a is a command; expected a path, `sph2pipe",
    ),
    "several commands": (
        {"trials": TRIALS, "w.scp": "a b\nu-a sph2pipe -f wav a.sph | sox - - |\n"},
        {"root": "w.scp"},
        r"w\.scp:2: u-a is a command",
    ),
    "raw samples": (
        {"trials": TRIALS, "w.scp": "u-a sph2pipe -f raw a.sph |\n"},
        {"root": "w.scp"},
        r"w\.scp:1: u-a is a command",
    ),
    "both sides": (
        {"trials": "1 b.flac b.flac\n0 b.flac a.flac\n"},
        {"enrol_root": "other"},
        r"b\.flac is on both sides of trials, but --enrol_path and --test_path",
    ),
    "enrolment of nothing": (
        MODELS | {"enrol": "m a\nn\n"},
        {"enrol_list": "enrol"},
        r'enrol:2: expected "model path path \.\.\.", got 1 field',
    ),
    "comment among enrolments": (
        MODELS | {"enrol": "# m a\n"},
        {"enrol_list": "enrol"},
        r"enrol:1: .*no comments",
    ),
    "parts or files": (
        MODELS | {"enrol": "m a.flac 0 1\n", "0": "", "1": ""},
        {"enrol_list": "enrol"},
        r"enrol:1: is this a\.flac from 0 to 1 s, or three recordings\? All lines fit "
        r'"model path path \.\.\." and "model path start end"',
    ),
    "files and parts": (
        MODELS | {"enrol": "m a b\nm a 0.5 2\n"},
        {"enrol_list": "enrol"},
        r'enrol:2: expected "model path path \.\.\." as in other lines, got 4 fields: m a 0\.5 2',
    ),
    "mixed enrolments": (
        MODELS | {"enrol": 1000 * "m a 0.5 2\n" + "m b\n"},
        {"enrol_list": "enrol"},
        r'enrol:1001: expected "model path start end" as in the lines before, got 2 fields',
    ),
    "backwards": (
        MODELS | {"enrol": "m a 2 1.5\n"},
        {"enrol_list": "enrol"},
        r"enrol:1: m must start before it ends, got 2 1\.5",
    ),
    "no end": (
        MODELS | {"enrol": "modelid segmentid start\nm a 1\n"},
        {"enrol_list": "enrol"},
        r"enrol:1: expected both of the columns start and end",
    ),
}


@pytest.mark.parametrize("form", WRONG)
def test_wrong_lists_have_one_line_that_names_file_and_line(form, tmp_path):
    files, arguments, words = WRONG[form]
    with pytest.raises((ValueError, FileNotFoundError), match=words) as caught:
        read(tmp_path, files, **arguments)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_the_file_and_the_channel_of_a_command_are_read(tmp_path):
    left, right = np.full((2, 8000), 0.25, np.float32) * [[1], [-1]]
    soundfile.write(tmp_path / "a b.sph", np.stack([left, right], 1), 16_000, format="NIST", subtype="PCM_16")
    command = f"sph2pipe -f wav -p -c {{}} '{tmp_path}/a b.sph' |"
    lines = [f"l {command.format(1)}", f"r {command.format(2)}", f"both {command.replace('-c {}', '')}"]
    (tmp_path / "wav.scp").write_text("\n".join(lines))
    recordings = recordings_of_names(str(tmp_path), ["l", "r", "both"], "--test_path")
    assert [recordings[i].whole().mean() for i in range(2)] == [0.25, -0.25]
    assert recordings[2].num_channels == 2 and len(set(recordings.identities())) == 3
    assert recordings.description(1) == f"{tmp_path}/a b.sph channel 1"
    (tmp_path / "utt2spk").write_text("l anna\nr ben\nboth both\n")
    assert read_train_list(str(tmp_path)).spans[:, 2].tolist() == [0, 1, -1]
    with pytest.raises(ValueError, match=r"own: .* has /.*a b\.sph channel 0; recordings in a pack have one"):
        inspect.pack([inspect.Target("own", tmp_path, tmp_path)], tmp_path, 1, exclude=None, part=WHOLE)
    header = (
        (tmp_path / "a b.sph").read_bytes()[:1024].replace(b"-s3 pcm", b"-s26 pcm,embedded-shorten-v2.00")
    )
    (tmp_path / "s.sph").write_bytes(header[:1024] + bytes(9000))
    with pytest.raises(AudioError, match=r"s\.sph: cannot be read: SPHERE that shorten compressed"):
        AudioFile(str(tmp_path / "s.sph"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            'client_id\tpath\tsentence\nanna\ta.mp3\tShe said "no\nben\tb.mp3\t\n',
            [("anna", "a.mp3"), ("ben", "b.mp3")],
        ),
        ('ID,duration,wav,spk_id\n1,2.5,"a, b.wav",anna\n', [("anna", "a, b.wav")]),
        ("speaker path\nanna a.wav\n", [("anna", "a.wav")]),
        (
            "path,speaker,start,end\na.wav,anna,0,2.5\na.wav,ben,2.5,-1\n",
            [("anna", "a.wav from 0 to 2.5 s"), ("ben", "a.wav from 2.5 to inf s")],
        ),
    ],
)
def test_tables_to_train_on(text, expected, tmp_path):
    (tmp_path / "t").write_text(text)
    listed = read_train_list(str(tmp_path / "t"))
    recordings = Recordings("", listed.paths, spans=listed.spans)
    found = [(listed.speakers[label], recordings.description(i)) for i, label in enumerate(listed.labels)]
    assert found == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("client_id\tpath\nanna\n", "t:2: expected 2 columns as in line 1, got 1"),
        ("client_id,path\n\nanna,\n", "t:3: no path"),
        (
            "ID,wav,start,stop,spk_id\n",
            "t:1: expected both of the columns start and end, in seconds, or neither",
        ),
        ("client_id,path,speaker\n", "t:1: client_id and speaker are both the speaker"),
        ("client_id,path\n", "t: the list is empty"),
        (
            "anna a.wav\n# ben b.wav\n",
            't:2: expected "speaker path", got 3 fields: # ben b.wav; lists have no',
        ),
        ("anna {long}\n", "t:1: .*got 10000005 characters"),
        ("anna a.wav\nben b\0.wav\n", "t:2: holds a zero byte"),
    ],
)
def test_wrong_tables_and_lists_to_train_on(text, words, tmp_path):
    (tmp_path / "t").write_text(text.replace("{long}", 10_000_000 * "x"))
    with pytest.raises(ValueError, match=words) as caught:
        read_train_list(str(tmp_path / "t"))
    assert len(str(caught.value)) < 400


def test_names_that_look_like_comments_or_quoted_are_written_between_tabs(tmp_path):
    assert text_of([('"a"', "b")]) == '"a"\tb\n'
    text = text_of([("#1", "a"), ("b", "c")])
    assert text == "#1\ta\nb\tc\n"
    (tmp_path / "t").write_text(text)
    assert read_train_list(str(tmp_path / "t")).speakers == ["#1", "b"]


def test_blocks_of_plain_lines_to_train_on_are_read_as_single_lines_are(tmp_path, monkeypatch):
    monkeypatch.setattr(fields, "BLOCK_LINES", 3)
    path = tmp_path / "list.txt"
    path.write_text("\nz a.wav\nb x\nz y\nb a b.wav\n\n\nb\té.wav\nz x/1\nz a.wav\nb x\nc c")
    listed = read_train_list(str(path))
    assert list(listed.paths) == ["a.wav", "x", "y", "a b.wav", "é.wav", "x/1", "c"]
    assert listed.speakers == ["b", "c", "z"] and listed.labels.tolist() == [2, 0, 2, 0, 0, 2, 1]
    assert listed.num_repeated == 2 and listed.spans is None
    kept = listed.of_speakers(np.array([0, 1]))
    assert list(kept.paths) == ["x", "a b.wav", "é.wav", "c"] and kept.labels.tolist() == [0, 0, 0, 1]
    for text, words in [
        ("a 1\na 2\na 3\nb 4\na 2\nb 3\nb 1\n", "list.txt:6: 3 is listed under a and b"),
        ("a 1\na 2\na 3\n#b 4\na 5\n", "list.txt:4: expected .*; lists have no comments"),
        ("a 1\na 2\na 3\na 4\na 5\na\n", 'list.txt:6: expected "speaker path", got 1 field'),
    ]:
        path.write_text(text)
        with pytest.raises(ValueError, match=words):
            read_train_list(str(path))


def test_of_a_pipe_the_utterance_of_two_speakers_is_told_without_its_line():
    receiver, sender = os.pipe()
    os.write(sender, b"a x.wav\nb x.wav\n")
    os.close(sender)
    with pytest.raises(ValueError, match="utterance 2 is also listed under a"):
        read_train_list(f"/dev/fd/{receiver}")
    os.close(receiver)
