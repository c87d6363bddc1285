"""The demo corpus and lists for any tree of recordings."""

import re
from collections import Counter

import numpy as np
import pytest
import soundfile
from conftest import assert_refused, run_here, run_script, voice

import dataprep
from audio.lists import read_train_list
from audio.trials import read_trials
from preparation import folder, kaldi, keys, synthesiser, synthetic
from preparation.generate import Split, hold_out
from preparation.lists import Utterances, draw_trials
from preparation.source import read_source
from preparation.speakers import is_part_of_corpus, may_be_part_of_corpus, parse_place


@pytest.fixture
def few_voices(monkeypatch):
    for name, value in {
        "TRAIN_SPEAKERS": 3, "TRAIN_UTTERANCES": 2, "TEST_SPEAKERS": 3, "TEST_UTTERANCES": 3,
        "DURATIONS_S": {"train": (0.3, 0.5), "test": (0.3, 0.5)},
    }.items():  # fmt: skip
        monkeypatch.setattr(synthetic, name, value)


def test_synthetic_voices(few_voices, tmp_path):
    first = synthetic.prepare(tmp_path / "a", seed=3)
    synthetic.prepare(tmp_path / "b", seed=3)
    synthetic.prepare(tmp_path / "c", seed=4)
    utterances = read_train_list(str(tmp_path / "a" / "train_list.txt"))
    [trials] = read_trials([str(tmp_path / "a" / "test_list.txt")])
    assert len(utterances.speakers) == 3 and len(utterances.paths) == 6
    assert Counter(trials.labels.tolist()) == {0: 9, 1: 9}
    assert not set(utterances.paths) & set(trials.names)
    assert "6 utterances of 3 voices" in first.messages[0]
    for path in [*utterances.paths, *trials.names]:
        audio, rate = soundfile.read(tmp_path / "a" / path)
        assert rate == 16_000 and 0.25 < len(audio) / rate < 0.55
        assert 0.003 < np.sqrt(np.mean(audio**2)) < 0.2
        same, other = ((tmp_path / x / path).read_bytes() for x in "bc")
        assert (tmp_path / "a" / path).read_bytes() == same != other
    synthetic.prepare(tmp_path / "a", seed=3)  # the same again is no loss
    with pytest.raises(ValueError, match="exists and differs"):
        synthetic.prepare(tmp_path / "a", seed=4)
    assert (tmp_path / "a" / path).read_bytes() == same  # no sound was overwritten


def spectrum_peak(audio, low, high):
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio))))
    frequency = np.fft.rfftfreq(len(audio), 1 / 16_000)
    inside = (frequency > low) & (frequency < high)
    return frequency[inside][np.argmax(spectrum[inside])]


def test_the_glottal_source_has_the_pitch_and_the_resonators_the_formants():
    generator = np.random.default_rng(0)
    speaker = synthesiser.draw_speaker(generator)._replace(pitch=125.0, pitch_range=0.0, breath=0.0)
    frames = 100
    tracks = synthesiser.Tracks(
        np.tile([500.0, 1500.0, 2500.0, 3500.0, 4500.0], (frames, 1)),
        np.ones(frames), np.zeros(frames), np.ones((frames, 2)),
    )  # fmt: skip
    source = synthesiser._source(speaker, tracks, generator)
    assert spectrum_peak(source, 60, 200) == pytest.approx(125, rel=0.12)
    noise = generator.normal(size=frames * synthesiser.FRAME)
    speech = synthesiser._vocal_tract(speaker, tracks, noise, generator)
    for formant in (500, 1500, 2500):
        blocks = speech[: len(speech) // 512 * 512].reshape(-1, 512) * np.hanning(512)
        power = (np.abs(np.fft.rfft(blocks)) ** 2).mean(axis=0)
        frequency = np.fft.rfftfreq(512, 1 / 16_000)
        near = abs(frequency - formant) < 400
        assert frequency[near][np.argmax(power[near])] == pytest.approx(formant, abs=120)


def tree(root, counts, suffix="wav"):
    for speaker, count in enumerate(counts):
        for take in range(count):
            path = root / f"spk{speaker}" / "session 1" / f"{take}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, voice(speaker, take, 0.1), 16_000)
    return root


def test_lists_for_a_tree(tmp_path):
    source = tree(tmp_path / "audio", [8, 8, 4, 1], "flac")
    (source / "spk0" / "notes.txt").write_text("no audio")
    (source / "spk0" / "._0.flac").write_text("left by macOS")
    (source / "spk1").rename(tmp_path / "elsewhere")
    (source / "spk1").symlink_to(tmp_path / "elsewhere")
    result = run_script("dataprep.py", "--generate", "--from", source, "--save_path", tmp_path / "lists")
    assert result.returncode == 0, result.stderr
    train = read_train_list(str(tmp_path / "lists" / "train_list.txt"))
    [trials] = read_trials([str(tmp_path / "lists" / "test_list.txt")])
    assert Counter(np.array(train.speakers)[train.labels].tolist()) == {
        "spk0": 5, "spk1": 5, "spk2": 2, "spk3": 1,
    }  # fmt: skip
    assert len(trials.names) == 8 and not set(trials.names) & set(train.paths)
    assert Counter(trials.labels.tolist()) == {1: 7, 0: 7}  # 3 pairs of each of two speakers, and 1
    for enrol, test, label in zip(trials.enrol, trials.test, trials.labels, strict=True):
        speakers = {trials.names[i].split("/")[0] for i in (enrol, test)}
        assert len(speakers) == 2 - label and enrol != test
    assert "next: python trainSpeakerNet.py" in result.stdout


@pytest.mark.parametrize(("files", "held_out"), [(3, 0), (4, 2), (5, 3), (9, 3)])
def test_speakers_with_few_files_hold_out_fewer(files, held_out):
    speakers = [speaker for speaker in "abc" for _ in range(files)]
    utterances = Utterances([f"{i}.wav" for i in range(3 * files)], speakers, [""] * 3 * files)
    train, test = hold_out(utterances, -1.0, np.random.default_rng(0))
    assert (len(train.paths), len(test.paths)) == (3 * (files - held_out), 3 * held_out)


def test_one_speaker_is_not_enough(tmp_path):
    for take in range(4):
        path = tmp_path / "voices" / "anna" / f"{take}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, voice(0, take), 16_000)
    result = run_here(
        "dataprep.py", "--generate", "--from", tmp_path / "voices", "--save_path", tmp_path / "l"
    )
    assert_refused(result, "all 4 files are of one speaker, anna")


def test_split_ratio_and_seed(tmp_path):
    source = tree(tmp_path / "audio", [10, 10])

    def lists(name, **options):
        folder.prepare(tmp_path / name, source, Split(**options))
        return (tmp_path / name / "train_list.txt").read_text()

    assert len(lists("a", split_ratio=0.4, seed=1).splitlines()) == 12
    assert lists("b", split_ratio=0.4, seed=1) == lists("a", split_ratio=0.4, seed=1)
    assert lists("c", split_ratio=0.4, seed=2) != lists("a", split_ratio=0.4, seed=1)


def some(rows):
    """(speaker, session, number of files) -> utterances."""
    every = [(f"{s}/{session}/{k}.wav", s, session) for s, session, count in rows for k in range(count)]
    return Utterances(*(list(column) for column in zip(*every, strict=True)))


def trials_of(trials):
    return [(int(label), a, b) for label, a, b in trials]


def test_target_trials_cross_sessions_where_there_are_any():
    utterances = some([("a", "x", 5), ("a", "y", 5), ("b", "x", 6), ("c", "x", 1)])
    trials = trials_of(draw_trials(utterances, 60, np.random.default_rng(0)))
    targets = [(a, b) for label, a, b in trials if label]
    assert len(targets) == 30
    for a, b in targets:
        assert a.split("/")[0] == b.split("/")[0]
        assert a.startswith("b") or a.split("/")[1] != b.split("/")[1]
    assert {a[0] for a, _ in targets} == {"a", "b"}


def test_nontarget_trials_stay_within_a_gender():
    genders = {"a": "f", "b": "f", "c": "m", "d": "m", "e": "m"}
    utterances = some([(name, "", 6) for name in genders])
    trials = trials_of(draw_trials(utterances, 120, np.random.default_rng(0), genders))
    others = [(a[0], b[0]) for label, a, b in trials if not label]
    assert len(others) == 60 and all(a != b and genders[a] == genders[b] for a, b in others)
    assert {frozenset(pair) for pair in others} == {frozenset(pair) for pair in ("ab", "cd", "ce", "de")}
    alone = {"a": "f", "b": "m"}  # no two of one gender: then any
    trials = trials_of(draw_trials(some([("a", "", 4), ("b", "", 4)]), 8, np.random.default_rng(0), alone))
    assert sum(1 - label for label, _, _ in trials) == 4


def test_trials_are_balanced_and_different():
    utterances = some([(f"s{i}", "", 500) for i in range(3)])
    lines = draw_trials(utterances, 1000, np.random.default_rng(0))
    assert len(set(lines)) == 1000
    assert Counter(line[0] for line in lines) == {"0": 500, "1": 500}


def test_wrong_input_is_one_line(tmp_path):
    few = tree(tmp_path / "few", [4, 3])
    (tmp_path / "empty").mkdir()
    words_only = tmp_path / "words.txt"
    words_only.write_text("alone\n")
    for words, expected in {
        ("--generate", "--from", few): "too few files",
        ("--generate", "--from", tmp_path / "empty"): "no wav, flac, ogg, opus or mp3 files",
        ("--generate", "--from", tmp_path / "absent"): "absent: no such file or folder",
        ("--generate", "--corpus", "musan", "--from", tmp_path / "absent"): "absent: no such file or folder",
        ("--generate",): "out; give --corpus NAME or --from DIR",
        ("--convert",): "give --corpus NAME or --from DIR",
        (
            "--generate",
            "--from",
            few,
            "--shard",
            "1/2",
        ): "--shard has no effect with --generate; it is for --conv",
        ("--generate", "--from", few, "--key_file", few): "--key_file has no effect",
        (
            "--check",
            "--corpus",
            "cnceleb",
            "--train_list",
            words_only,
        ): "--train_list is for your own recordings",
        ("--extract", "--check", "--root", few): "--root is for your own recordings",
        ("--generate", "--from", few, "--root", tmp_path): "start at it",
        ("--demo", "--status"): "--demo cannot be combined",
        ("--convert", "--generate", "--from", few, "--split_ratio", 2): "--split_ratio must be in",
        ("--convert", "--from", few, "--shard", "3/2"): "--shard 3/2: expected i/n",
        ("--convert", "--from", words_only): "--convert takes a folder of recordings",
        ("--convert", "--from", tmp_path / "empty"): "no recordings to convert",
        ("--convert", "--from", tmp_path): "is inside --from",
        ("--convert", "--corpus", "voxceleb2"): "voxceleb2: no recordings in",
        (
            "--generate",
            "--check",
            "--from",
            few,
            "--suspects",
            "nope.model",
        ): "--suspects nope.model: no such file",
        ("--generate", "--from", words_only): 'words.txt:1: expected "speaker path", got 1 field',
        ("--generate", "--from", few, "--split_ratio", 2): "--split_ratio",
        ("--generate", "--from", few, "--num_trials", 1): "--num_trials must be at least 2",
        (): "nothing to do; give one or more of --demo, --synthetic",
        ("--demo", "--generate"): "--demo cannot be combined with other steps",
        ("--demos",): "--demos: unknown; did you mean demo",
        ("--generate", "--from", few, "--min_utterances", 0): "--min_utterances must be at least 1",
        ("--generate", "--from", few, "--min_utterances", 9): "no speaker has 9 utterances",
        ("--generate", "--corpus", "voxceleb3"): "--corpus voxceleb3: unknown; there are cnceleb",
        ("--generate", "--corpus", "cnceleb"): "cnceleb: no recordings in",
        ("--extract", "--corpus", "musan"): "musan: no archive in",
        ("--download", "--key", "s3cret"): "--key: put the key into the environment variable VOXCELEB_KEY",
        ("--download", "--user", "a", "--password", "b"): "by a key since 2022",
        ("--download", "--key_file", tmp_path / "absent"): "--key_file",
        ("--check",): "give --corpus NAME or --from DIR, or --train_list or --test_list",
        ("--check", "--root", few): "no list in",
        ("--pack", "--train_list", "absent.txt", "--root", few): "absent.txt: no such file",
        ("--demo", "--seed", 3): "--seed has no effect with --demo; it is for --synthetic, --generate",
        ("--synthetic", "--seed", -1): "--seed",
    }.items():
        out = tmp_path / "out"
        result = run_here("dataprep.py", *words, "--save_path", out)
        assert_refused(result, expected)
        assert not out.exists() and "s3cret" not in result.stderr


def test_speakers_with_few_files_are_left_out_and_counted(tmp_path):
    source = tree(tmp_path / "audio", [8, 8, 4, 1])
    words = ("--generate", "--from", source, "--save_path", tmp_path / "lists", "--min_utterances", 5)
    result = run_here("dataprep.py", *words)
    assert result.returncode == 0 and "left out: 2 speakers with fewer than 5" in result.stdout
    assert read_train_list(str(tmp_path / "lists" / "train_list.txt")).speakers == ["spk0", "spk1"]


def test_kaldi_directories_out_and_in(tmp_path):
    source = tree(tmp_path / "audio", [6, 6])
    words = ("--generate", "--from", source, "--save_path", tmp_path / "a", "--kaldi", tmp_path / "kaldi")
    assert run_here("dataprep.py", *words).returncode == 0
    scp = (tmp_path / "kaldi" / "train" / "wav.scp").read_text().splitlines()
    assert len(scp) == 6 and scp == sorted(scp)
    name, path = scp[0].split(" ", 1)
    assert name.startswith("spk0-") and path.startswith(str(source)) and path.endswith(".wav")
    assert (tmp_path / "kaldi" / "train" / "utt2spk").read_text().splitlines()[0] == f"{name} spk0"
    assert len((tmp_path / "kaldi" / "train" / "spk2utt").read_text().splitlines()) == 2
    back = run_here(
        "dataprep.py",
        "--generate",
        "--from",
        tmp_path / "kaldi" / "train",
        "--split_ratio",
        0,
        "--save_path",
        tmp_path / "b",
    )
    assert back.returncode == 0, back.stderr
    train = read_train_list(str(tmp_path / "b" / "train_list.txt"))
    assert sorted(train.paths) == sorted(line.split(" ", 1)[1] for line in scp)
    (tmp_path / "kaldi" / "wav.scp").write_text("u1 sox a.wav -t wav - |\n")
    (tmp_path / "kaldi" / "utt2spk").write_text("u1 s\n")
    refused = run_here(
        "dataprep.py", "--generate", "--from", tmp_path / "kaldi", "--save_path", tmp_path / "c"
    )
    assert_refused(refused, "u1 is a command; expected a path")


def test_lists_from_a_list(tmp_path):
    lines = [f"s{i} s{i}/v{k % 2}/{k}.wav" for i in range(4) for k in range(8)]
    (tmp_path / "all.txt").write_text("\n".join(lines) + "\n")
    words = (
        "--generate",
        "--from",
        tmp_path / "all.txt",
        "--save_path",
        tmp_path / "out",
        "--split_ratio",
        0.5,
    )
    assert run_here("dataprep.py", *words).returncode == 0
    train = read_train_list(str(tmp_path / "out" / "train_list.txt"))
    trials = [line.split() for line in (tmp_path / "out" / "test_list.txt").read_text().splitlines()]
    assert len(train.paths) == 16 and not set(train.paths) & {path for trial in trials for path in trial}
    for label, a, b in trials_of(trials):
        assert not label or a.split("/")[1] != b.split("/")[1]  # across sessions


def test_repeated_lines_count_once_and_a_file_has_one_speaker(tmp_path):
    lines = [f"s{i} s{i}/{k}.wav" for i in range(3) for k in range(8)]
    (tmp_path / "twice.txt").write_text("\n".join([*lines, *lines, "s0 ./s0/0.wav"]) + "\n")
    words = ("--generate", "--from", tmp_path / "twice.txt", "--save_path", tmp_path / "out")
    assert run_here("dataprep.py", *words).returncode == 0
    train = read_train_list(str(tmp_path / "out" / "train_list.txt"))
    trials = (tmp_path / "out" / "test_list.txt").read_text()
    assert len(train.paths) == 15 and not set(train.paths) & set(trials.split())
    (tmp_path / "twice.txt").write_text("\n".join([*lines, "s1 s0/0.wav"]) + "\n")
    assert_refused(run_here("dataprep.py", *words), "twice.txt:25: s0/0.wav is listed under s1, and under s0")


@pytest.mark.parametrize(
    ("path", "session"),
    [("a/1.wav", ""), ("a/x/1.wav", "x"), ("a/x/y/1.wav", "x"), ("wav/a/x/y/1.wav", "x"), ("v/1.wav", "v")],
)
def test_a_list_and_a_tree_have_the_same_sessions(path, session, tmp_path):
    (tmp_path / "list.txt").write_text(f"a {path}\n")
    assert read_source(tmp_path / "list.txt").utterances.sessions == [session]
    if path.startswith("a/"):
        soundfile.write(_parent(tmp_path / "tree" / path), voice(1, 1, 0.1), 16_000)
        assert read_source(tmp_path / "tree").utterances.sessions == [session]


def _parent(path):
    path.parent.mkdir(parents=True)
    return path


def files(root, *paths):
    """Write empty files, which --generate lists, because it reads no samples."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def test_names_of_parts_of_corpora_and_of_people():
    parts = (
        "train dev TEST val wav wav48 FLAC mp3 m4a_16k clean noisy other data audio recordings test2 dr3 DR1 "
    )
    parts += "train-clean-100 train-other-500 wav48_silence_trimmed dev_other test-other Train.v2 test_set"
    unclear = "male_00 women Women1 set1 part1 data_anna test_carl clean_bob test2_x train-anna-100"
    people = "spk0 p225 id10001 19 19-198 _ speaker1 anna Devika valerie testa Partha wavell otherwise malena"
    assert [name for name in parts.split() if not is_part_of_corpus(name)] == []
    assert [name for name in parts.split() if not may_be_part_of_corpus(name)] == []
    assert [name for name in f"{unclear} {people}".split() if is_part_of_corpus(name)] == []
    assert [name for name in unclear.split() if not may_be_part_of_corpus(name)] == []
    assert [name for name in people.split() if may_be_part_of_corpus(name)] == []


def test_parts_of_a_corpus_are_no_speakers(tmp_path):
    speakers = ("train/spk0", "train/spk1", "test/spk2", "test/spk3")
    source = files(tmp_path / "d", *(f"{speaker}/{k}.wav" for speaker in speakers for k in range(5)))
    words = ("dataprep.py", "--generate", "--from", source, "--save_path")
    refused = run_here(*words, tmp_path / "a")
    assert_refused(
        refused, "2 names (test, train)", "folder 1 of the paths has 4 names (spk0, spk1, spk2, spk3)"
    )
    assert_refused(refused, "give --speaker_folder 1;", "give --speaker_folder 0")
    assert not (tmp_path / "a").exists()
    for number in (1, -1):
        out = tmp_path / f"folder {number}"
        result = run_here(*words, out, "--speaker_folder", number)
        assert result.returncode == 0 and "warning" not in result.stdout
        trials = trials_of(line.split() for line in (out / "test_list.txt").read_text().splitlines())
        assert len(trials) == 24  # 4 speakers, 3 pairs of each
        assert all(label == (a.split("/")[1] == b.split("/")[1]) for label, a, b in trials)
    assert run_here(*words, tmp_path / "b", "--speaker_folder", 0).returncode == 0
    assert read_train_list(str(tmp_path / "b" / "train_list.txt")).speakers == ["test", "train"]


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (
            ["V/wav48/p1", "V/wav48/p2"],
            "1 name (V), are taken for speakers; folder 2 of the paths has 2 names",
        ),
        (["anna/s1", "anna/s2", "bob/s1"], "2 names (anna, bob), are taken for speakers; folder 1"),
        (["anna", "bob"], "2 names (anna, bob), are taken for speakers; where the names of the files"),
        (["data/clean", "data/noisy"], "1 name (data), are taken for speakers; folder 1 of the paths has 2"),
        (["dev", "test", "train"], "3 names (dev, test, train), are taken for speakers; where the names"),
        (
            ["male_00/s1", "male_01/s1", "Women1/s2"],
            "3 names (Women1, male_00, male_01), are taken for speakers; folder 1 of the paths has 2 names",
        ),
        (["data_anna/s1", "test_carl/s1", "set1/s1"], "3 names (data_anna, set1, test_carl), are taken for"),
        (["data_anna/s1", "test_carl/s1", "bob/s1"], None),
        (["anna", "bob/s1", "carl/s2"], None),
        (["train", "bob", "carl"], None),
    ],
)
def test_doubts_about_the_first_folders(folders, expected, tmp_path):
    warnings = read_source(files(tmp_path, *(f"{folder}/a_1.wav" for folder in folders))).messages
    assert len(warnings) == (expected is not None)
    assert all(line.startswith("warning: the first folders of the paths, " + expected) for line in warnings)


@pytest.mark.parametrize(
    ("folders", "number"),
    [
        (["train/anna", "dev/anna"], 1),  # else a trial of anna with herself would be nontarget
        (["data/VCTK/wav48/p1", "data/VCTK/wav48/p2"], 3),
        (["TEST/DR1/FAKS0", "TRAIN/DR1/FCJF0", "TRAIN/DR2/FAEM0"], 2),
    ],
)
def test_the_likely_level_below_parts_of_a_corpus_is_named(folders, number, tmp_path):
    with pytest.raises(ValueError, match=f"if these are the speakers, give --speaker_folder {number};"):
        read_source(files(tmp_path, *(f"{folder}/1.wav" for folder in folders)))


def test_an_error_about_speakers_keeps_the_advice(tmp_path):
    source = files(tmp_path / "d", *(f"VCTK/wav48/{s}/{k}.wav" for s in ("p1", "p2") for k in range(5)))
    result = run_here("dataprep.py", "--generate", "--from", source, "--save_path", tmp_path / "out")
    assert_refused(result, "all 10 files are of one speaker, VCTK", "give --speaker_folder 2")


@pytest.mark.parametrize(
    ("path", "place", "speaker", "session"),
    [
        ("part/a/s1/1.wav", "1", "a", "s1"),
        ("a/a/1.wav", "1", "a", ""),
        ("a/s1/s2/1.wav", "0", "a", "s1"),
        ("part/x/a/1.wav", "-1", "a", ""),
        ("part/a/s1/1.wav", "-2", "a", "s1"),
        ("anna_01.wav", "(?P<speaker>[^_]+)_.*", "anna", ""),
        ("monday/anna_01.wav", ".*/([^_]+)_.*", "anna", "monday"),
        ("x/spk-a/s1/1.wav", "(x|y)/spk-(?P<speaker>[^/]+)/.*", "a", "s1"),
    ],
)
def test_a_folder_or_an_expression_names_the_speaker(path, place, speaker, session, tmp_path):
    found = read_source(files(tmp_path, path), speaker_folder=parse_place(place)).utterances
    assert found == ([path], [speaker], [session])


def test_what_no_speaker_is_found_for_is_said(tmp_path):
    flat = files(tmp_path / "flat", "anna_1.wav", "bob_1.wav", "notes.wav", "b.m4a")
    mixed = files(tmp_path / "mixed", "a/1.wav", "b/1.wav", "c/1.wav", "loose.wav", "wav/d_1.wav")
    for source, place, expected in (
        (flat, None, "flat: 3 of 3 recordings, such as anna_1.wav, are not in folders of speakers"),
        (flat, None, "--speaker_folder '(.*/)?(?P<speaker>[^/_]+)_[^/]*'; skipped: 1 m4a files"),
        (flat, "0", "anna_1.wav has no folder 0"),
        (mixed, "-1", "loose.wav has no folder -1"),
        (mixed, "1", "loose.wav has no folder 1"),
        (flat, "(x.*)", "matches no recording; anna_1.wav is one of 3 paths"),
        (flat, "(x?).*", "matches no recording"),  # a name is never empty
        (mixed, "([^_]+)_.*", "the speaker of wav/d_1.wav would be wav/d; a name can't hold a slash"),
    ):
        with pytest.raises(ValueError, match=re.escape(expected)):
            read_source(source, speaker_folder=place and parse_place(place))
    [message, _] = read_source(flat, speaker_folder=parse_place("([^_]+)_.*")).messages
    assert message == "warning: skipped: 1 of 3 recordings, such as notes.wav, don't match --speaker_folder"
    [message] = read_source(mixed).messages
    assert message.startswith(
        "warning: skipped: 1 of 5 recordings, such as loose.wav, are in no folder; where"
    )


def test_speaker_folder_is_for_folders_of_recordings(tmp_path):
    source = files(tmp_path / "d", "a/1.wav")
    (tmp_path / "list.txt").write_text("a a/1.wav\n")
    generate = ("--generate", "--save_path", tmp_path / "out")
    for words, expected in (
        (("--from", source, "--speaker_folder", "(a"), "missing ), unterminated subpattern"),
        (
            ("--from", source, "--speaker_folder", "a.*"),
            "expected the number of a folder or a regular expression",
        ),
        (("--from", source, "--speaker_folder", "(a{99999999999})"), "repetition number is too large"),
        (("--from", tmp_path / "list.txt", "--speaker_folder", 0), "list.txt names its speakers"),
        (("--corpus", "cnceleb", "--speaker_folder", 0), "--speaker_folder is for your own recordings"),
        (("--speaker_folder", 0), "give --corpus NAME or --from DIR"),
    ):
        assert_refused(run_here("dataprep.py", *generate, *words), expected)
    assert_refused(run_here("dataprep.py", "--check", "--speaker_folder", 0), "it is for --generate")
    assert not (tmp_path / "out").exists()


def test_all_formats_that_training_reads_are_listed_and_others_reported(tmp_path):
    source = tree(tmp_path / "audio", [6, 6])
    for number, suffix in enumerate(("flac", "ogg", "mp3")):
        soundfile.write(source / "spk0" / f"{suffix}.{suffix}", voice(0, number, 0.2), 16_000)
    for name in ("a.m4a", "b.M4A", "c.aac"):
        (source / "spk1" / name).write_text("x")
    words = ("--generate", "--from", source, "--save_path", tmp_path / "out", "--split_ratio", 0)
    result = run_here("dataprep.py", *words)
    assert len(read_train_list(str(tmp_path / "out" / "train_list.txt")).paths) == 15
    assert "skipped: 2 m4a files; --convert takes them" in result.stdout
    assert "next: python trainSpeakerNet.py" in result.stdout and "--test_list ''" in result.stdout
    soundfile.write(source / "spk0" / "ogg.flac", voice(0, 1, 0.2), 16_000)
    assert_refused(run_here("dataprep.py", *words), "spk0/ogg.flac and spk0/ogg.ogg look like one recording")


def test_kaldi_names_are_different_and_the_held_out_files_are_there(tmp_path):
    paths = ["a/x y.wav", "a/x-y.wav", "a/x-y-2.wav", "a/x-y.flac"]
    kaldi.write_kaldi(Utterances(paths, ["a"] * 4, [""] * 4), tmp_path, tmp_path / "k")
    names = [line.split(" ", 1)[0] for line in (tmp_path / "k" / "wav.scp").read_text().splitlines()]
    assert names == sorted(set(names)) and len(names) == 4
    source = tree(tmp_path / "audio", [6, 6])
    words = ("--generate", "--from", source, "--save_path", tmp_path / "out", "--kaldi", tmp_path / "both")
    assert run_here("dataprep.py", *words).returncode == 0
    parts = [
        {line.split(" ", 1)[1] for line in (tmp_path / "both" / part / "wav.scp").read_text().splitlines()}
        for part in ("train", "test")
    ]
    assert [len(part) for part in parts] == [6, 6] and not parts[0] & parts[1]


def test_root_says_where_a_lists_paths_start(tmp_path):
    source = tree(tmp_path / "my audio", [6, 6])
    lines = [f"{p.parts[-3]} {p.relative_to(source)}" for p in sorted(source.rglob("*.wav"))]
    (tmp_path / "list.txt").write_text("\n".join(lines) + "\n")
    words = ["--from", tmp_path / "list.txt", "--root", source, "--save_path", tmp_path / "out"]
    result = run_here("dataprep.py", "--generate", "--check", *words, "--kaldi", tmp_path / "k")
    assert result.returncode == 0, result.stderr
    path = (tmp_path / "k" / "train" / "wav.scp").read_text().splitlines()[0].split(" ", 1)[1]
    assert path.startswith(str(source)) and "12 files checked" in result.stdout
    assert f"--train_path '{source}' --test_list" in result.stdout.splitlines()[-1]


def test_after_convert_the_converted_files_are_listed(tmp_path):
    source = tree(tmp_path / "audio", [6, 6], "ogg")
    (source / "spk0" / "broken.wav").write_text("x")
    words = ["--from", source, "--save_path", tmp_path / "out", "--workers", 1]
    result = run_here("dataprep.py", "--convert", "--generate", "--check", *words)
    assert result.returncode == 0, result.stderr
    train = read_train_list(str(tmp_path / "out" / "train_list.txt"))
    assert all((tmp_path / "out" / "converted" / p).is_file() and p.endswith(".wav") for p in train.paths)
    assert "12 files checked" in result.stdout and f"--train_path {tmp_path}/out/converted" in result.stdout
    assert "1 failed\nwarning:" in result.stdout
    failures = tmp_path / "out" / "convert_failures.txt"
    assert "broken.wav" in failures.read_text()
    run_here("dataprep.py", "--convert", *words, "--shard", "1/2")
    assert (tmp_path / "out" / "convert_failures.1of2.txt").exists()
    (source / "spk0" / "broken.wav").unlink()
    printed = run_here("dataprep.py", "--convert", *words).stdout
    assert not failures.exists() and "warning" not in printed
    assert f"next: python dataprep.py --generate --from {tmp_path}/out/converted" in printed


def test_the_same_flags_mean_the_same_recordings(tmp_path):
    """Without --corpus and --from: VoxCeleb, if it is under --save_path, and never --save_path itself."""
    source = tree(tmp_path / "data" / "voxceleb1" / "dev" / "wav", [1])
    words = ("--generate", "--save_path", tmp_path / "data")
    assert_refused(run_here("dataprep.py", *words), "give --corpus NAME or --from DIR")
    (source / "spk0").rename(source / "id10001")
    result = run_here("dataprep.py", *words)
    train = (tmp_path / "data" / "voxceleb1_train_list.txt").read_text()
    assert result.returncode == 0 and train == "id10001\tid10001/session 1/0.wav\n"
    assert "--train_path " + str(source) in result.stdout.splitlines()[-1]
    assert not (tmp_path / "data" / "train_list.txt").exists()


def test_augment_changes_nothing_for_the_other_steps(tmp_path):
    for path in ("musan/noise/free/a.wav", "RIRS_NOISES/simulated_rirs/smallroom/Room001/b.wav"):
        soundfile.write(_parent(tmp_path / "out" / path), voice(1, 1, 0.1), 16_000)
    source = tree(tmp_path / "audio", [6, 6])
    result = run_here(
        "dataprep.py",
        "--augment",
        "--generate",
        "--status",
        "--from",
        source,
        "--save_path",
        tmp_path / "out",
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out" / "musan_list.txt").read_text() == "noise noise/free/a.wav\n"
    assert read_train_list(str(tmp_path / "out" / "train_list.txt")).speakers == ["spk0", "spk1"]
    args = dataprep.parser().parse_args(["--augment", "--download"])
    assert list(dataprep.chosen(args)) == ["voxceleb1", "voxceleb2"]


def test_the_key_comes_from_where_the_user_says_and_goes_only_there(tmp_path, monkeypatch):
    key_file, empty = tmp_path / "key", tmp_path / "empty"
    key_file.write_text("from-file\n")
    empty.write_text(" \n")
    monkeypatch.setenv("VOXCELEB_KEY", "from-environment")
    assert keys.find_key(None, "") == "from-environment"
    assert keys.find_key(key_file, "") == "from-file"
    assert keys.find_key(None, "https://mirror.org/vox") == ""
    for address in ("https://mirror.org/vox", "http://localhost:8000", "http://127.0.0.1"):
        assert keys.find_key(key_file, address) == "from-file"
    with pytest.raises(ValueError, match=r"the connection to mirror\.org isn't encrypted"):
        keys.find_key(key_file, "http://mirror.org/vox")
    with pytest.raises(ValueError, match="empty is empty; it should hold"):
        keys.find_key(empty, "")
    monkeypatch.setenv("VOXCELEB_KEY", "")
    with pytest.raises(ValueError, match="VOXCELEB_KEY is empty"):
        keys.find_key(None, "")
    monkeypatch.delenv("VOXCELEB_KEY")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("getpass.getpass", lambda prompt: exec("raise EOFError"))
    with pytest.raises(ValueError, match="no key was typed"):
        keys.find_key(None, "")
