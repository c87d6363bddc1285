"""Train lists, the sampler's promises, and epochs that don't depend on the number of workers."""

import io
import itertools
import re
import signal
import tarfile
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import Corpus, remarks_of, voice

import distributed
import runtime
import trainSpeakerNet
from audio.augment import Augmenter, Ranges, kinds_of, read_chain
from audio.crops import Draws
from audio.lists import read_train_list
from audio.noise import Material
from audio.recording import AudioError, AudioFile
from audio.recordings import Recordings
from DatasetLoader import TrainData, TrainDataset, train_loader
from options import fixed_options
from preparation.index import index_tars
from preparation.pack import write_pack
from sampler._batches import Key
from sampler.random import Sampler


def test_train_list(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("b  b/my file.wav\n\na\ta/1.wav\nb b/my file.wav\r\nb b/2.wav\n")
    utterances = read_train_list(str(path))
    assert utterances.speakers == ["a", "b"]
    assert utterances.paths == ["b/my file.wav", "a/1.wav", "b/2.wav"]
    assert utterances.labels.tolist() == [1, 0, 1]
    assert utterances.num_repeated == 1


def test_excluded_paths_are_left_out_and_counted(tmp_path):
    (tmp_path / "list.txt").write_text("a a/1.wav\nb b/1.wav\nb b/2 x.wav\nc c/1.wav\n")
    (tmp_path / "excluded.txt").write_text("b/2 x.wav\nc/1.wav\nnot/there.wav\n")
    utterances = read_train_list(str(tmp_path / "list.txt"), str(tmp_path / "excluded.txt"))
    assert utterances.paths == ["a/1.wav", "b/1.wav"] and utterances.speakers == ["a", "b"]
    assert utterances.num_excluded == 2 and utterances.num_to_exclude == 3
    (tmp_path / "excluded.txt").write_text("a/1.wav\nb/1.wav\nb/2 x.wav\nc/1.wav\n")
    with pytest.raises(ValueError, match="leaves nothing of it"):
        read_train_list(str(tmp_path / "list.txt"), str(tmp_path / "excluded.txt"))


@pytest.mark.parametrize(
    "spelling",
    ["{root}/b/2 x.wav", "./b/2 x.wav", "b//2 x.wav", "b b/2 x.wav", "b/../b/2 x.wav", "b c\tb/2 x.wav"],
)
def test_an_excluded_path_may_be_spelled_otherwise(tmp_path, spelling):
    (tmp_path / "list.txt").write_text("a a/1.wav\nb b/1.wav\nb b/2 x.wav\n")
    (tmp_path / "excluded.txt").write_text(spelling.format(root=tmp_path) + "\n")
    utterances = read_train_list(
        str(tmp_path / "list.txt"), str(tmp_path / "excluded.txt"), root=str(tmp_path)
    )
    assert list(utterances.paths) == ["a/1.wav", "b/1.wav"] and utterances.num_excluded == 1
    (tmp_path / "list.txt").write_text("a a_1.wav\nb b_1.wav\n")  # without folders
    (tmp_path / "excluded.txt").write_text("b b_1.wav\n")
    flat = read_train_list(str(tmp_path / "list.txt"), str(tmp_path / "excluded.txt"), root=str(tmp_path))
    assert list(flat.paths) == ["a_1.wav"]


def test_an_exclude_list_of_other_recordings_is_an_error(corpus, tmp_path):
    (tmp_path / "x.txt").write_text("other/1.wav\nother/2.wav\n")
    changes = {"exclude": tmp_path / "x.txt", "test_list": "", "trainfunc": "softmax"}
    values = trainSpeakerNet.parse(corpus.options(tmp_path, **changes)).options
    with pytest.raises(ValueError, match=r"x\.txt: none of its 2 paths is in .*, such as spk0/0\.wav"):
        TrainData.read(values, runtime.CPU)
    assert TrainData.read(values.replaced(exclude_may_miss=True), runtime.CPU)
    # recordings of the trial list, as dataprep.py --check excludes them
    (tmp_path / "list.txt").write_text("a spk0/0.wav\nb spk1/0.wav\n")
    (tmp_path / "x.txt").write_text("spk2/0.wav\n")
    assert TrainData.read(values.replaced(train_list=str(tmp_path / "list.txt")), runtime.CPU)


def test_an_epoch_that_draws_little_of_the_list_says_so(tmp_path):
    """Speakers with 4, 4 and 40 files: 4 batches of all three draw 12 of 48."""
    lines = [
        f"s{speaker} s{speaker}/{take}.wav"
        for speaker, count in ((0, 4), (1, 4), (2, 40))
        for take in range(count)
    ]
    (tmp_path / "list.txt").write_text("\n".join(lines) + "\n")
    for line in lines:
        (tmp_path / line.split()[1]).parent.mkdir(exist_ok=True)
        (tmp_path / line.split()[1]).touch()
    words = ["--model=VGGVox", "--trainfunc=softmax", f"--train_list={tmp_path / 'list.txt'}", "--test_list="]
    values = trainSpeakerNet.parse([*words, f"--train_path={tmp_path}"]).options
    [note] = [line for line in TrainData.read(values, runtime.CPU).describe() if "draws" in line]
    assert note.startswith("note: an epoch draws 12 of the 48 utterances") and "smaller --batch_size" in note
    smaller = TrainData.read(values.replaced(batch_size=2), runtime.CPU)
    assert len(np.unique(smaller.sampler.plan(1))) == 16
    capped = TrainData.read(values.replaced(batch_size=2, max_seg_per_spk=4), runtime.CPU)
    [note] = [line for line in capped.describe() if "draws" in line]
    assert "draws 12 of the 48 utterances: at most 4 of a speaker; a larger --max_seg_per_spk" in note


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({}, "--nPerSpeaker 5 gives batches of 30 utterances"),  # all that they have; 32 / 6 is 5.3
        ({"batch_size": 19}, "--nPerSpeaker 3 gives batches of 18 utterances"),  # 19 / 6 is 3.2
        ({"batch_size": 11}, ""),
        ({"max_seg_per_spk": 4}, "--nPerSpeaker 4 gives batches of 24 utterances"),
        ({"sampler": "balanced"}, "--nPerSpeaker 5 gives batches of 30 utterances"),
        ({"trainfunc": "angleproto", "sampler": "dynamic"}, "--nPerSpeaker 5 gives batches of 30 utterances"),
        ({"trainfunc": "triplet"}, ""),  # of two utterances of each speaker
        ({"nPerSpeaker": 5}, ""),
    ],
)
def test_few_speakers_are_told_how_to_get_larger_batches(corpus, tmp_path, changes, advice):
    """Six speakers with five utterances each, and one with a single one that pairs leave out."""
    single = "spk7 spk0/../spk0/4.wav\n" if "trainfunc" in changes else ""
    (tmp_path / "list.txt").write_text(corpus.train_list.read_text() + single)
    changes = {"trainfunc": "softmax", "batch_size": 32, "train_list": tmp_path / "list.txt"} | changes
    values = trainSpeakerNet.parse(corpus.options(tmp_path, test_list="", **changes)).options
    size = changes["batch_size"]
    lines = list(TrainData.read(values, runtime.CPU).describe())
    [note] = [line for line in lines if "batches of 6 instead" in line]
    end = f"; {advice}" if advice else ""
    assert note == f"note: batches of 6 instead of {size}: no more speakers{end}"
    if advice:
        per_speaker, utterances = map(int, re.findall(r"\d+", advice))
        data = TrainData.read(values.replaced(nPerSpeaker=per_speaker), runtime.CPU)
        assert data.sampler.plan(1)[0].size == utterances
        assert f"note: batches of 6 instead of {size}: no more speakers" in data.describe()  # no more advice


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a a/1.wav\nb\n", r"list\.txt:2: expected \"speaker path\", got 1 field"),
        ("a x.wav\nb x.wav\n", r"list\.txt:2: x\.wav is listed under a and b"),
        ("\n\n", "the list is empty"),
    ],
)
def test_wrong_train_lists_are_refused(tmp_path, text, words):
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(ValueError, match=words):
        read_train_list(str(tmp_path / "list.txt"))


def dataset_of(root, utterances, **settings):
    return TrainDataset(utterances.labels, Recordings(str(root), utterances.paths), 4000, seed=1, **settings)


def epoch_of(root, utterances, num_workers, epoch=3, **settings):
    sampler = Sampler(utterances.labels, 4, 2, 500, seed=1)
    sampler.set_epoch(epoch)
    return list(
        train_loader(dataset_of(root, utterances, **settings), sampler, num_workers, pin_memory=False)
    )


def augmenter_of(root, chain):
    """The corpus's own recordings as babble and as rooms."""
    (root / "musan" / "speech").mkdir(parents=True)
    for path in root.glob("spk0/*.wav"):
        (root / "musan" / "speech" / path.name).write_bytes(path.read_bytes())
    ranges = Ranges({"babble": (0.0, 5.0)}, (2.0, 3.0), (-6.0, 6.0), (-6.0, 6.0))
    stages = read_chain(chain)
    material = Material(kinds_of(stages), str(root / "musan"), str(root / "spk0"))
    return Augmenter(stages, material, ranges, (0.9, 1.1))


def write_tars(folder, utterances, target):
    """Recordings of a list -> the same in two tars."""
    target.mkdir()
    for number in range(2):
        with tarfile.open(target / f"{number}.tar", "w") as archive:
            for path, label in list(zip(utterances.paths, utterances.labels, strict=True))[number * 17 :][
                :17
            ]:
                archive.add(folder / path, path)
                speaker = tarfile.TarInfo(path.replace(".wav", ".spk"))
                name = utterances.speakers[label].encode()
                speaker.size = len(name)
                archive.addfile(speaker, io.BytesIO(name))


CHAIN = "reverb:0.4|babble:0.4 eq:0.3 gain:0.5"


@pytest.mark.filterwarnings("ignore:This DataLoader will create 5 worker processes")
@pytest.mark.parametrize(
    ("place", "chain"),
    [
        *itertools.product(("files", "pack"), ("", CHAIN, f"speed:0.5 {CHAIN}")),
        ("tars", f"speed:0.5 {CHAIN}"),  # which are read as files are
    ],
)
def test_an_epoch_is_the_same_for_any_number_of_workers_and_from_packs_and_tars(tmp_path, place, chain):
    corpus = Corpus(tmp_path / "corpus")
    utterances, root = read_train_list(str(corpus.train_list)), corpus.root
    settings = {"augmenter": augmenter_of(corpus.root, chain) if chain else None, "speed_classes": 6}
    settings["masks"] = bool(chain)
    alone = epoch_of(root, utterances, 0, **settings)
    if place == "pack":
        root = tmp_path / "pack"
        write_pack(corpus.root, utterances.paths, root)
    elif place == "tars":
        root = tmp_path / "tars"
        write_tars(corpus.root, utterances, root)
        index_tars(root, tmp_path, 1)
        utterances = read_train_list(str(tmp_path / "train_list.txt"))
    for num_workers in (0, 1, 2, 5):
        shared = epoch_of(root, utterances, num_workers, **settings)
        assert len(alone) == len(shared) == 3
        for a, b in zip(alone, shared, strict=True):
            assert b.crops.dtype == (torch.int16 if place == "pack" and not chain else torch.float32)
            assert not b.effects
            assert torch.equal(a.crops, b.finished().crops) and torch.equal(a.labels, b.labels)
            assert torch.equal(a.masks, b.masks) and a.masks.shape == (8, 2, 2)
            assert (a.masks > 0).all() == bool(chain)
            assert a.crops.shape == (4, 2, 4000)
    assert (alone[0].labels >= 6).any() == chain.startswith("speed")
    later = epoch_of(root, utterances, 0, epoch=4, **settings)
    assert not torch.equal(alone[0].crops, later[0].finished().crops)


def test_training_crops_are_of_the_chosen_channel(corpus, tmp_path):
    for path in corpus.root.glob("spk*/*.wav"):
        samples = soundfile.read(path, dtype="int16")[0]
        (tmp_path / path.parent.name).mkdir(exist_ok=True)
        both = np.stack([samples[::-1], samples], axis=1)
        soundfile.write(tmp_path / path.parent.name / path.name, both, 16_000)
    found = []
    for changes in ({}, {"train_path": tmp_path, "channel": 1}, {"train_path": tmp_path, "channel": 0}):
        values = trainSpeakerNet.parse(corpus.options(tmp_path / "exp", **changes))[0]
        data = TrainData.read(values, runtime.CPU)
        data.sampler.set_epoch(1)
        found.append(next(iter(data.loader)).crops)
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])
    assert fixed_options(values)["channel"] == 0  # a resumed run keeps it


def test_effects_applied_on_the_device_are_those_of_the_worker(tmp_path):
    corpus = Corpus(tmp_path)
    utterances = read_train_list(str(corpus.train_list))
    settings = {"augmenter": augmenter_of(corpus.root, CHAIN)}
    here = epoch_of(corpus.root, utterances, 0, **settings)
    there = epoch_of(corpus.root, utterances, 1, **settings, finish=False)
    for a, b in zip(here, there, strict=True):
        assert b.effects and torch.equal(a.crops, b.finished().crops)


def test_an_utterance_draws_the_same_whatever_was_drawn_before():
    draws, other = Draws(7), Draws(7)
    expected = np.random.Generator(np.random.Philox(key=[7, 3], counter=[0, 2, 1, 5])).random(4)
    other.of(1, 2).integers(5, size=3, dtype=np.uint32)  # leaves half a word behind
    assert draws.of(3, 5, 2, 1).random(4).tolist() == expected.tolist()
    assert other.of(3, 5, 2, 1).random(4).tolist() == expected.tolist()
    keys = [(3, 5, 2, 0), (3, 5, 0, 1), (3, 6, 2, 1), (4, 5, 2, 1)]
    assert len({tuple(draws.of(*key).random(2)) for key in keys} | {tuple(expected[:2])}) == 5


def batch_of(*rows, occurrence=0):
    return Key(0, np.array(rows), np.full(np.shape(rows), occurrence))


@pytest.mark.parametrize("chain", ["", f"speed:1 {CHAIN}"])
def test_an_utterance_that_occurs_again_is_drawn_anew(tmp_path, chain):
    """Another crop, another speed for some, and other masks and effects."""
    corpus = Corpus(tmp_path)
    utterances = read_train_list(str(corpus.train_list))
    augmenter = augmenter_of(corpus.root, chain) if chain else None
    dataset = dataset_of(corpus.root, utterances, augmenter=augmenter, speed_classes=6, masks=True)
    batches = [dataset[batch_of((0, 1), (5, 8), (20, 21), occurrence=n)] for n in range(4)]
    for a, b in itertools.combinations(batches, 2):
        assert not (a.crops == b.crops).flatten(2).all(dim=2).any()
        assert not (a.masks == b.masks).any()
    assert (len({tuple(batch.labels.tolist()) for batch in batches}) > 1) == bool(chain)


@pytest.fixture
def damaged(tmp_path):
    corpus = Corpus(tmp_path)
    (corpus.root / "spk2" / "3.wav").write_text("no audio")
    return corpus


def test_a_bad_file_is_an_error_or_is_replaced_by_another_of_its_speaker(damaged):
    utterances = read_train_list(str(damaged.train_list))
    bad = list(utterances.paths).index("spk2/3.wav")
    strict = dataset_of(damaged.root, utterances)
    error = strict[batch_of((0, 1), (bad, bad + 1))]
    assert isinstance(error, AudioError) and "spk2/3.wav" in str(error)
    lenient = dataset_of(damaged.root, utterances, skip_bad=True)
    with remarks_of() as remarks:
        item = lenient[batch_of((0, 1), (bad, bad + 1))]
    assert [kind for kind, _ in remarks] == ["skipped"]
    plain = strict[batch_of((0, 1), (bad + 1, bad + 1))]
    assert item.labels.tolist() == [0, 2] and item.utterances.tolist() == [[0, 1], [bad - 3, bad + 1]]
    assert torch.equal(item.crops[0], plain.crops[0]) and torch.equal(item.crops[1, 1], plain.crops[1, 1])
    # what replaces a recording is drawn as that would be, so that it differs from its own occurrence
    recording = AudioFile(str(damaged.root / utterances.paths[bad - 3]))
    assert torch.equal(item.crops[1, 0], torch.from_numpy(recording.crop(4000, Draws(1).of(0, bad))))
    for take in (0, 1, 2):
        (damaged.root / "spk2" / f"{take}.wav").unlink()
    with remarks_of() as remarks:
        alone = lenient[batch_of((bad, bad + 1))]
    assert len(remarks) == 4 and alone.crops.shape == (1, 2, 4000)
    assert alone.utterances.tolist() == [[bad + 1, bad + 1]]
    assert torch.equal(alone.crops[0, 1], item.crops[1, 1])  # the one good file, and another crop of it
    assert not torch.equal(alone.crops[0, 0], alone.crops[0, 1])


def test_a_file_of_which_only_some_crops_are_good_is_not_tried_for_ever(tmp_path):
    """Two files of a speaker, one unreadable, one NaN in its second half: a batch or an error, soon."""
    corpus = Corpus(tmp_path)
    for take in (2, 3, 4):
        (corpus.root / "spk2" / f"{take}.wav").unlink()
    (corpus.root / "spk2" / "0.wav").write_text("no audio")
    samples = voice(2, 1)
    samples[8000:] = np.nan
    soundfile.write(corpus.root / "spk2" / "1.wav", samples, 16_000, subtype="FLOAT")
    utterances = read_train_list(str(corpus.train_list))
    first = list(utterances.paths).index("spk2/0.wav")
    dataset, outcomes = dataset_of(corpus.root, utterances, skip_bad=True), set()
    for occurrence in range(60):
        item = dataset[batch_of((first, first + 1), occurrence=occurrence)]
        outcomes.add(type(item))
        if isinstance(item, AudioError):
            assert "no readable utterance of its speaker is left" in str(item)
        else:
            assert item.crops.isfinite().all() and item.utterances.tolist() == [[first + 1, first + 1]]
    assert len(outcomes) == 2


def test_workers_leave_stops_to_the_main_process(corpus):
    utterances = read_train_list(str(corpus.train_list))
    loader = train_loader(
        dataset_of(corpus.root, utterances), Sampler(utterances.labels, 4, 2, 500, 1), 1, False
    )
    batches = iter(loader.loader)
    next(batches)
    (worker,) = batches._workers
    status = Path(f"/proc/{worker.pid}/status").read_text()
    ignored = int(re.search(r"SigIgn:\s*(\w+)", status)[1], 16)
    assert all(ignored >> (signum - 1) & 1 for signum in (signal.SIGINT, signal.SIGTERM))
    assert loader.loader.dataset.dataset.crops.reading[0, 0] == worker.pid
    assert loader.loader.dataset.dataset.crops.reading[0, 1] > 0


def test_a_pack_without_its_shard_is_one_line_from_a_worker_too(corpus, tmp_path):
    utterances = read_train_list(str(corpus.train_list))
    write_pack(corpus.root, utterances.paths, tmp_path / "pack")
    (tmp_path / "pack" / "0000.npy").unlink()
    first = epoch_of(tmp_path / "pack", utterances, 1)[0]
    assert isinstance(first, FileNotFoundError) and "0000.npy: no such file; make the pack" in str(first)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"gather_negatives": False},
            "angleproto compares the speakers of the part of a process and needs two",
        ),
        ({"gather_negatives": True}, ""),
        ({"trainfunc": "softmax"}, "batch norm needs two utterances in the part of a process"),
        ({"trainfunc": "softmax", "sync_bn": True}, ""),
        ({"trainfunc": "softmax", "nPerSpeaker": 2}, ""),
        ({"trainfunc": "softmax", "trunk_lr": 0}, ""),  # a frozen batch norm
    ],
)
def test_a_process_that_gets_too_little_is_refused(corpus, tmp_path, monkeypatch, changes, message):
    """Two speakers in a batch of two processes."""
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    words = corpus.options(tmp_path, batch_size=2, test_list="", **changes | {"trunk_lr": 1})
    # 0 on the command line would need a model
    values = trainSpeakerNet.parse(words).options.replaced(trunk_lr=changes.get("trunk_lr", 1))
    with pytest.raises(ValueError, match=message) if message else nullcontext():
        TrainData.read(values, runtime.CPU)


def test_a_speaker_without_a_good_file_is_an_error(damaged):
    for take in range(5):
        (damaged.root / "spk2" / f"{take}.wav").write_text("no audio")
    utterances = read_train_list(str(damaged.train_list))
    first = list(utterances.paths).index("spk2/0.wav")
    item = dataset_of(damaged.root, utterances, skip_bad=True)[batch_of((first, first + 1))]
    assert isinstance(item, AudioError) and "no readable utterance" in str(item)


def test_resampling_is_logged(tmp_path):
    soundfile.write(tmp_path / "a.wav", voice(0, 0, 1.0, 8000), 8000)
    (tmp_path / "list.txt").write_text("a a.wav\n")
    with remarks_of() as remarks:
        dataset_of(tmp_path, read_train_list(str(tmp_path / "list.txt")))[batch_of((0,))]
    assert remarks == [("resampled from 8000 to 16000 Hz", str(tmp_path / "a.wav"))]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_remarks_of_worker_processes_reach_the_main_process_by_the_end_of_an_epoch(tmp_path, num_workers):
    lines = []
    for number in range(8):
        soundfile.write(tmp_path / f"{number}.wav", voice(number, 0, 1.0, 8000), 8000)
        lines.append(f"speaker{number // 2} {number}.wav")
    (tmp_path / "list.txt").write_text("\n".join(lines))
    utterances = read_train_list(str(tmp_path / "list.txt"))
    with remarks_of() as remarks:
        epoch_of(tmp_path, utterances, num_workers)
        assert sorted(remarks) == [
            ("resampled from 8000 to 16000 Hz", str(tmp_path / f"{number}.wav")) for number in range(8)
        ]


def test_a_kaldi_directory_is_a_train_list(tmp_path):
    (tmp_path / "wav.scp").write_text("a-1 /x/a 1.wav\nb-1 /x/b.wav\n")
    (tmp_path / "utt2spk").write_text("a-1 a\nb-1 b\n")
    utterances = read_train_list(str(tmp_path))
    assert utterances.speakers == ["a", "b"] and utterances.paths == ["/x/a 1.wav", "/x/b.wav"]
    (tmp_path / "wav.scp").write_text("a-1 sph2pipe x.sph |\n")
    with pytest.raises(ValueError, match=r"wav\.scp:1: a-1 is a command"):
        read_train_list(str(tmp_path))
    (tmp_path / "wav.scp").write_text("c-1 /x/c.wav\n")
    with pytest.raises(ValueError, match=r"wav\.scp:1: no speaker for c-1 in utt2spk"):
        read_train_list(str(tmp_path))
