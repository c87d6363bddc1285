"""Kaldi directories: segments in training, evaluation, checks and packs; what --kaldi writes is read."""

import math
import shutil

import numpy as np
import pytest
import soundfile
from conftest import assert_refused, run_here, voice

from audio.errors import AudioError
from audio.lists import read_train_list
from audio.named import recordings_of_names
from audio.recordings import Recordings
from audio.utterances import Paths, Utterance
from evaluation.cohort import Cohort
from metrics.score_files import read_score_file
from preparation.kaldi import write_kaldi
from preparation.lists import Utterances
from preparation.pack import write_pack
from storage import checkpoint


@pytest.fixture(scope="module")
def meeting(tmp_path_factory):
    """Folder with one recording of three speakers in turn, a Kaldi directory, and the segments as files."""
    root = tmp_path_factory.mktemp("meeting")
    parts = [(f"spk{i % 3}", voice(i % 3, i, 0.9 + 0.05 * i)) for i in range(9)]
    whole = np.concatenate([audio for _, audio in parts])
    soundfile.write(root / "all.wav", whole, 16_000)
    segments, utt2spk, cut = [], [], []
    start = 0
    for i, (speaker, audio) in enumerate(parts):
        end = start + len(audio)
        segments.append(f"{speaker}-{i} meeting {start / 16_000:.4f} {end / 16_000:.4f}")
        utt2spk.append(f"{speaker}-{i} {speaker}")
        (root / speaker).mkdir(exist_ok=True)
        soundfile.write(
            root / speaker / f"{i}.wav", soundfile.read(root / "all.wav", dtype="int16")[0][start:end], 16_000
        )
        cut.append(f"{speaker} {speaker}/{i}.wav")
        start = end
    kaldi = root / "kaldi"
    kaldi.mkdir()
    (kaldi / "wav.scp").write_text(f"meeting {root}/all.wav\n")
    (kaldi / "utt2spk").write_text("\n".join(utt2spk))
    (kaldi / "segments").write_text("\n".join(segments))
    (root / "train.txt").write_text("\n".join(cut))
    return root


def train(meeting, save_path, train_list, train_path, *more):
    """A short training run -> loss and accuracy in its log."""
    words = ["--model", "ResNetSE34L", "--n_mels", 16, "--trainfunc", "softmax", "--batch_size", 3]
    words += ["--max_frames", 60, "--max_epoch", 1, "--test_interval", 1, "--nDataLoaderThread", 0]
    words += [
        "--precision",
        "fp32",
        "--train_list",
        train_list,
        "--train_path",
        train_path,
        "--test_list",
        "",
    ]
    done = run_here("trainSpeakerNet.py", *words, "--save_path", save_path, *more)
    assert done.returncode == 0, done.stderr
    return (save_path / "result" / "scores.txt").read_text().split(", LR")[0], done.stdout


def test_training_on_segments_is_training_on_the_files_cut_out(meeting, tmp_path):
    of_files, _ = train(meeting, tmp_path / "files", meeting / "train.txt", meeting)
    of_segments, printed = train(meeting, tmp_path / "segments", meeting / "kaldi", "/")
    assert of_segments == of_files and "9 utterances of 3 speakers" in printed
    assert write_pack(meeting, [f"{meeting}/all.wav"], tmp_path / "pack") == 1
    _, printed = train(
        meeting, tmp_path / "packed", meeting / "kaldi", tmp_path / "pack", "--sampler", "duration"
    )
    assert "9 utterances of 3 speakers" in printed


@pytest.mark.parametrize("rate", [16_000, 8_000])
def test_a_segment_is_read_as_a_recording_of_its_own(rate, tmp_path):
    audio = voice(0, 0, 2.0, rate)
    soundfile.write(tmp_path / "a.wav", audio, rate)
    soundfile.write(
        tmp_path / "part.wav", soundfile.read(tmp_path / "a.wav", dtype="int16")[0][rate // 2 :], rate
    )
    recordings = Recordings(
        str(tmp_path), ["a.wav", "part.wav"], spans=np.array([[0.5, math.inf], [0.0, math.inf]])
    )
    segment, part = recordings
    np.testing.assert_array_equal(segment.whole(), part.whole())
    for length in (4_000, 100_000):
        crops = [recordings[i].crop(length, np.random.default_rng(3)) for i in range(2)]
        np.testing.assert_array_equal(*crops)
    late = Recordings(str(tmp_path), ["a.wav"], spans=np.array([[1.5, 2.4]]))[0]
    assert len(late.whole()) == 8_000  # to the end
    for span in ((2.0, 3.0), (1.0, 2.6)):
        with pytest.raises(
            AudioError, match=rf"a\.wav from {span[0]:g} to {span[1]:g} s: the recording lasts 2 s"
        ):
            Recordings(str(tmp_path), ["a.wav"], spans=np.array([span]))[0]


def test_durations_and_identities_are_those_of_segments(meeting, tmp_path):
    write_pack(meeting, ["all.wav"], tmp_path / "pack")
    spans = np.array([[0.5, 1.25], [9.0, math.inf]])
    whole = Recordings(str(tmp_path / "pack"), ["all.wav"]).durations()[0]
    recordings = Recordings(str(tmp_path / "pack"), ["all.wav", "all.wav"], spans=spans)
    assert recordings.durations().tolist() == [12_000, whole - 144_000]
    assert [len(recordings[i].whole()) for i in range(2)] == recordings.durations().tolist()
    assert len(set(recordings.identities())) == 2


def test_a_directory_without_segments_names_whole_recordings(tmp_path):
    (tmp_path / "wav.scp").write_text("u1 /x/a b.wav\nu2 y.wav\n")
    (tmp_path / "utt2spk").write_text("u1 s\nu2 t\n")
    listed = read_train_list(str(tmp_path))
    assert listed.spans is None and list(listed.paths) == ["/x/a b.wav", "y.wav"]


@pytest.mark.parametrize(
    ("segments", "words"),
    [
        ("a meeting 0\n", 'segments:1: expected "utterance recording start end", got 3 fields'),
        ("a meeting 0 x\n", "segments:1: expected a start and an end in seconds, got 0 x"),
        ("a meeting 2 1\n", "segments:1: a must start before it ends, got 2 1"),
        ("a meeting nan 1\n", "a must start before it ends"),
        ("a other 0 1\n", "segments:1: no recording other in wav.scp"),
        ("b meeting 0 1\n", "segments:1: no speaker for b in utt2spk"),
        ("a meeting 0 1\nc meeting 0 1\n", "is listed under s and t"),
    ],
)
def test_wrong_segments_are_refused(segments, words, tmp_path):
    (tmp_path / "wav.scp").write_text("meeting a.wav\n")
    (tmp_path / "utt2spk").write_text("a s\nc t\n")
    (tmp_path / "segments").write_text(segments)
    with pytest.raises(ValueError, match=words):
        read_train_list(str(tmp_path))


def test_a_segment_of_minus_one_lasts_to_the_end(tmp_path):
    (tmp_path / "wav.scp").write_text("meeting a.wav\n")
    (tmp_path / "utt2spk").write_text("a s\n")
    (tmp_path / "segments").write_text("a meeting 1.5 -1\n")
    assert read_train_list(str(tmp_path)).spans.tolist() == [[1.5, math.inf]]
    assert str(Utterance("a.wav", 1.5, 2.0)) == "a.wav from 1.5 to 2 s"


def test_check_pack_and_generate_of_segments(meeting, tmp_path):
    kaldi = tmp_path / "kaldi"
    kaldi.mkdir()
    for name in ("wav.scp", "utt2spk"):
        (kaldi / name).write_text((meeting / "kaldi" / name).read_text())
    segments = (meeting / "kaldi" / "segments").read_text().splitlines()
    segments[0] = segments[0].rpartition(" ")[0] + " 1000"
    segments[1] = "spk1-1 meeting 1 1.1"
    (kaldi / "segments").write_text("\n".join(segments))
    words = ("--train_list", kaldi, "--save_path", tmp_path / "out")
    assert run_here("dataprep.py", "--check", "--pack", *words).returncode == 0
    text = (tmp_path / "out" / "check" / "own" / "check.txt").read_text()
    assert "2 segment:" in text and "all.wav from 0 to 1000 s: the recording lasts" in text
    assert "all.wav from 1 to 1.1 s: less than 0.5 s" in text
    assert len(Recordings(str(tmp_path / "out" / "pack" / "own"), Paths.of([f"{meeting}/all.wav"]))) == 1
    assert_refused(
        run_here("dataprep.py", "--generate", "--from", kaldi, "--save_path", tmp_path / "lists"),
        "segments:1: lists of paths can't hold segments",
        f"--train_list {kaldi}",
    )


def scores(model, save_path, test_list, test_path, report=False):
    """Evaluation of a model -> scored trials."""
    words = ("--initial_model", model, "--nDataLoaderThread", 0, "--save_path", save_path, "--report", report)
    done = run_here(
        "trainSpeakerNet.py", "--eval", *words, "--test_list", test_list, "--test_path", test_path
    )
    assert done.returncode == 0, done.stderr
    return read_score_file(str(save_path / "result" / "eval" / f"{test_list.stem}.scores.txt"))


def test_segments_are_scored_as_the_files_cut_out(meeting, trained, tmp_path):
    model = trained[0] / "model" / "best.model"
    (tmp_path / "by_name.txt").write_text("spk0-0 spk0-3 target\nspk0-0 spk1-1 nontarget\n")
    (tmp_path / "by_path.txt").write_text("1 spk0/0.wav spk0/3.wav\n0 spk0/0.wav spk1/1.wav\n")
    by_path = scores(model, tmp_path, tmp_path / "by_path.txt", meeting)
    by_name = scores(model, tmp_path, tmp_path / "by_name.txt", meeting / "kaldi", report=True)
    assert by_name.files == ["spk0-0", "spk0-3", "spk1-1"]
    np.testing.assert_array_equal(by_name.scores, by_path.scores)
    assert "data:audio" in (tmp_path / "result" / "eval" / "report.html").read_text()


def test_the_directory_that_generate_writes_can_be_evaluated(corpus, trained, tmp_path):
    words = ("--generate", "--from", corpus.root, "--save_path", tmp_path, "--kaldi", tmp_path / "kaldi")
    assert run_here("dataprep.py", *words, "--num_trials", 20).returncode == 0
    model, kaldi = trained[0] / "model" / "best.model", tmp_path / "kaldi" / "test"
    by_path = scores(model, tmp_path, tmp_path / "test_list.txt", corpus.root)
    by_name = scores(model, tmp_path, kaldi / "trials", kaldi)
    np.testing.assert_array_equal(np.sort(by_name.scores), np.sort(by_path.scores))


def test_names_in_a_directory_have_no_blanks_and_are_distinct(tmp_path):
    paths = ["John S/a b.wav", "John S/a_b.wav", "John-S/a b.wav", "John/v.wav"]
    speakers = [path.split("/")[0] for path in paths]
    trials = [("1", paths[0], paths[1]), ("0", paths[0], paths[2])]
    write_kaldi(Utterances(paths, speakers, [""] * 4), tmp_path, tmp_path / "kaldi", trials)
    names = ("wav.scp", "utt2spk", "trials")
    read = {name: (tmp_path / "kaldi" / name).read_text().splitlines() for name in names}
    assert read["utt2spk"] == [
        "John-v John",
        "John_S-a_b John_S",
        "John_S-a_b_2 John_S",
        "John_S_2-a_b John_S_2",
    ]
    assert sorted(read["utt2spk"], key=lambda line: line.split()[1]) == sorted(read["utt2spk"])
    assert read["wav.scp"][1] == f"John_S-a_b {tmp_path}/John S/a b.wav"
    assert read["trials"] == ["John_S-a_b John_S-a_b_2 target", "John_S-a_b John_S_2-a_b nontarget"]
    for name in ("a\n.wav", "a\tb.wav", "a.wav|", "\udcff.wav", "a.wav "):
        with pytest.raises(ValueError, match=r"--kaldi: wav\.scp can't hold the path"):
            write_kaldi(Utterances([name], ["s"], [""]), tmp_path, tmp_path / "k2")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"utt2spk": "a s\na t\n"}, r"utt2spk:2: a is also in line 1, otherwise"),
        ({"wav.scp": "m /a.wav\nm /b.wav\n"}, r"wav\.scp:2: m is also in line 1, otherwise"),
        ({"utt2spk": "a s\nz q\nz2 q\n"}, r"utt2spk:2: no recording or segment for z, one of 2 such"),
        ({"wav.scp": "m sph2pipe x |\n"}, r"wav\.scp:1: m is a command"),
    ],
)
def test_contradictions_and_gaps_are_refused(files, words, tmp_path):
    content = {"wav.scp": "m\t/a.wav\n", "utt2spk": "a\ts\n", "segments": "a\tm 0 1\n"}
    for name, text in (content | files).items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=words):
        read_train_list(str(tmp_path))
    if "wav.scp" not in files:
        (tmp_path / "utt2spk").write_text(content["utt2spk"])
        assert read_train_list(str(tmp_path)).spans.tolist() == [[0.0, 1.0]]


def test_paths_in_a_folder_that_is_also_a_directory_of_kaldi(tmp_path):
    (tmp_path / "wav.scp").write_text("u1 sph2pipe x |\n")
    soundfile.write(tmp_path / "a.wav", voice(0, 0), 16_000)
    assert recordings_of_names(str(tmp_path), ["a.wav"], "--test_path").paths == ["a.wav"]
    (tmp_path / "wav.scp").write_text("u1 a.wav\n")
    with pytest.raises(ValueError, match=r"--test_path .*: u2 is neither a file in it nor an utterance"):
        recordings_of_names(str(tmp_path), ["u2"], "--test_path")


def test_the_own_segments_of_a_speaker_are_no_cohort(meeting, trained, tmp_path):
    """Speakers of a cohort's segments are recognised by the segments of trials."""
    model = shutil.copy(trained[0] / "model" / "best.model", tmp_path)
    words = ("--initial_model", model, "--nDataLoaderThread", 0, "--save_path", tmp_path)
    cohort = ("--cohort_list", meeting / "kaldi", "--cohort_path", "/")
    assert run_here("trainSpeakerNet.py", "--prepare", *words, *cohort).returncode == 0
    content = checkpoint.load_cohort(str(tmp_path / "result" / "cohort.pt"))
    recordings = recordings_of_names(str(meeting / "kaldi"), ["spk1-4", "spk0-0"], "--test_path")
    trial_sides = [recordings.description(number) for number in range(2)]
    assert Cohort.from_dict(content, "").speakers_of(trial_sides).tolist() == [1, 0]
