"""Train lists, the sampler's promises, and epochs that don't depend on the number of workers."""

import pytest
import soundfile
import torch
from conftest import Corpus, voice

from audio import AudioError
from DatasetLoader import TrainDataset, collate, read_train_list, train_loader
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
    assert utterances.num_excluded == 2
    (tmp_path / "excluded.txt").write_text("a/1.wav\nb/1.wav\nb/2 x.wav\nc/1.wav\n")
    with pytest.raises(ValueError, match="leaves nothing of it"):
        read_train_list(str(tmp_path / "list.txt"), str(tmp_path / "excluded.txt"))


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


def epoch_of(corpus, num_workers, epoch=3):
    utterances = read_train_list(str(corpus.train_list))
    sampler = Sampler(utterances.labels, 4, 2, 500, seed=1)
    sampler.set_epoch(epoch)
    dataset = TrainDataset(utterances, str(corpus.root), 4000, seed=1)
    return list(train_loader(dataset, sampler, num_workers, pin_memory=False))


@pytest.mark.parametrize("num_workers", [1, 2, 3])
def test_an_epoch_is_the_same_for_any_number_of_workers(corpus, num_workers):
    alone, shared = epoch_of(corpus, 0), epoch_of(corpus, num_workers)
    assert len(alone) == len(shared) == 3
    for a, b in zip(alone, shared, strict=True):
        assert torch.equal(a.crops, b.crops) and torch.equal(a.labels, b.labels)
        assert a.crops.shape == (4, 2, 4000) and a.crops.dtype == torch.float32
    assert not torch.equal(alone[0].crops, epoch_of(corpus, 0, epoch=4)[0].crops)


@pytest.fixture
def damaged(tmp_path):
    corpus = Corpus(tmp_path)
    (corpus.root / "spk2" / "3.wav").write_text("no audio")
    return corpus


def test_a_bad_file_is_an_error_or_is_replaced_by_another_of_its_speaker(damaged):
    utterances = read_train_list(str(damaged.train_list))
    bad = utterances.paths.index("spk2/3.wav")
    used = (bad, bad + 1)
    strict = TrainDataset(utterances, str(damaged.root), 4000, seed=1)
    error = strict[0, used]
    assert isinstance(error, AudioError) and "spk2/3.wav" in str(error)
    assert collate([strict[0, (0, 1)], error]) is error
    item = TrainDataset(utterances, str(damaged.root), 4000, seed=1, skip_bad=True)[0, used]
    assert [remark.kind for remark in item.remarks] == ["skipped"]
    instead = TrainDataset(utterances, str(damaged.root), 4000, seed=1)[0, (bad + 1, bad - 3)]
    assert item.label == 2 and torch.equal(item.crops, instead.crops)
    for take in (0, 1, 2):
        (damaged.root / "spk2" / f"{take}.wav").unlink()
    alone = TrainDataset(utterances, str(damaged.root), 4000, seed=1, skip_bad=True)[0, used]
    assert len(alone.remarks) == 4 and alone.crops.shape == (2, 4000)
    assert torch.equal(alone.crops[0], item.crops[0])  # the one good file, and another crop of it
    assert not torch.equal(alone.crops[0], alone.crops[1])


def test_a_speaker_without_a_good_file_is_an_error(damaged):
    for take in range(5):
        (damaged.root / "spk2" / f"{take}.wav").write_text("no audio")
    utterances = read_train_list(str(damaged.train_list))
    first = utterances.paths.index("spk2/0.wav")
    item = TrainDataset(utterances, str(damaged.root), 4000, seed=1, skip_bad=True)[0, (first, first + 1)]
    assert isinstance(item, AudioError) and "no readable utterance" in str(item)


def test_resampling_is_remarked(tmp_path):
    soundfile.write(tmp_path / "a.wav", voice(0, 0, 1.0, 8000), 8000)
    (tmp_path / "list.txt").write_text("a a.wav\n")
    utterances = read_train_list(str(tmp_path / "list.txt"))
    item = TrainDataset(utterances, str(tmp_path), 4000, seed=1)[0, (0,)]
    assert [remark.kind for remark in item.remarks] == ["resampled from 8000 to 16000 Hz"]
