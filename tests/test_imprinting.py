"""--init_head mean: class weights that start as the speakers' mean embeddings."""

import json

import pytest
import soundfile
import torch
from rank_processes import train
from torch.nn import functional as F

import options
import runtime
import trainSpeakerNet
from audio.held_out import set_aside
from audio.lists import read_train_list
from distributed.signals import StopSignal
from evaluation.imprinting import UTTERANCES, imprinted_heads, speaker_directions
from SpeakerNet import SpeakerNet
from storage import checkpoint


def test_each_speeds_class_starts_as_the_speaker_and_unknown_ones_as_before():
    """Speakers 0 and 2 of three are known, at two speeds; a fourth class is reserved by --nClasses."""
    head = options.plugin("loss", "aamsoftmax+ge2e")(2, 8).parts[0]
    before = head.weight.detach().clone()
    head.imprint(torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, -1.0]]), 4, seed=1)
    lengths = before.norm(dim=1)
    for row in (0, 4):
        torch.testing.assert_close(head.weight[row].detach(), lengths[row] * torch.tensor([1.0, 0.0]))
        torch.testing.assert_close(
            head.weight[row + 2].detach(), lengths[row + 2] * torch.tensor([0.0, -1.0])
        )
    assert torch.equal(head.weight[[1, 3, 5, 7]], before[[1, 3, 5, 7]])


def test_several_vectors_of_a_speaker_differ_a_little_and_always_the_same_way():
    heads = [options.plugin("loss", "amsoftmax")(16, 6, sub_centers=3) for _ in range(2)]
    directions = F.normalize(torch.randn(6, 16))
    for head in heads:
        head.imprint(directions, 6, seed=5)
    vectors = F.normalize(heads[0].weight.detach(), dim=2)
    torch.testing.assert_close(vectors[:, 0], directions)
    cosines = (vectors * directions[:, None]).sum(dim=2)[:, 1:]
    assert (cosines > 0.99).all() and (cosines < 0.99999).all()
    assert not torch.allclose(vectors[:, 1], vectors[:, 2])
    torch.testing.assert_close(vectors, F.normalize(heads[1].weight.detach(), dim=2))


def test_a_sharded_head_starts_as_the_whole_one(monkeypatch):
    directions = F.normalize(torch.randn(5, 4))
    make = options.plugin("loss", "sphereface2")
    whole, part = make(4, 5), make(4, 5)
    part.load_state_dict(whole.state_dict())
    whole.imprint(directions, 5, seed=1)
    monkeypatch.setattr("distributed.world_size", lambda: 2)
    monkeypatch.setattr("distributed.rank", lambda: 1)
    part.shard()
    part.imprint(directions, 5, seed=1)
    assert torch.equal(part.weight, whole.weight[3:])


def test_only_losses_with_cosines_are_imprinted():
    for name in ("softmax", "angleproto", "softmaxproto"):
        with pytest.raises(ValueError, match=f"--init_head mean: {name} compares embeddings with no weights"):
            imprinted_heads(
                options.plugin("loss", name)(4, 3),
                options.Options({"init_head": "mean", "teacher": "", "trainfunc": name}),
            )
    with pytest.raises(ValueError, match="--teacher: softmax compares embeddings with no weights"):
        imprinted_heads(
            options.plugin("loss", "softmax")(4, 3),
            options.Options({"init_head": "random", "teacher": "x", "trainfunc": "softmax"}),
        )
    with pytest.raises(ValueError, match="--init_head mean takes embeddings of a trained network"):
        trainSpeakerNet.parse(["--model=GE2E", "--trainfunc=aamsoftmax", "--init_head=mean"])


def test_directions_are_mean_embeddings_of_whole_recordings_whatever_the_tests_are(corpus, tmp_path):
    words = corpus.options(
        tmp_path, trainfunc="aamsoftmax", scoring="distance", eval_frames=100, vad="energy"
    )
    words += ["--cohort_names=False", "--validation_speakers=2", "--cohort_entries=utterances"]
    values = trainSpeakerNet.parse(words).options
    runtime.seed_everything(1)
    network = SpeakerNet.build(values, 6).eval()
    listed = read_train_list(values.train_list)
    speakers = set_aside(listed, values.validation_speakers, values.seed).training.speakers
    found = speaker_directions(network, values, runtime.CPU, StopSignal())
    assert len(found) == len(speakers) == 4
    for row, speaker in ((0, speakers[0]), (3, speakers[3])):
        paths = [corpus.root / speaker / f"{take}.wav" for take in range(UTTERANCES)]
        audio = [torch.from_numpy(soundfile.read(path, dtype="float32")[0]) for path in paths]
        with torch.no_grad():
            embeddings = torch.cat([F.normalize(network.embed(each[None])) for each in audio])
        torch.testing.assert_close(found[row], F.normalize(embeddings.mean(0), dim=0), rtol=1e-4, atol=1e-5)


def test_a_network_learns_from_a_teacher(trained, corpus, tmp_path, capsys):
    """The targets are the teacher's means, and training brings the embeddings nearer to them."""
    settings = {"trainfunc": "distill", "teacher": trained[0], "test_list": "", "max_epoch": 3}
    words = corpus.options(tmp_path / "run", **settings, lr=0.01)
    assert trainSpeakerNet.main([*words, "--nOut=16"]) == 2
    assert "has embeddings of 512 values; give --nOut 512" in capsys.readouterr().err
    assert trainSpeakerNet.main(words) == 0, capsys.readouterr().err
    stored = checkpoint.load_model(str(tmp_path / "run" / "model" / "model000000003.model"))
    teacher = SpeakerNet.from_model_file(str(trained[0] / "model" / "best.model")).eval()
    directions = speaker_directions(teacher, options.Options(stored.options), runtime.CPU, StopSignal())
    torch.testing.assert_close(stored.weights["loss.targets"], directions)
    lines = (tmp_path / "run/result/results.jsonl").read_text().splitlines()
    losses = [record["loss"] for record in map(json.loads, lines) if record["event"] == "train"]
    assert losses[2] < 0.9 * losses[0]
    settings = {"trainfunc": "distill", "augment": True, "augment_chain": "speed:1/2", "teacher": trained[0]}
    assert trainSpeakerNet.main(corpus.options(tmp_path / "other", **settings)) == 2
    assert "leave speed out of --augment_chain" in capsys.readouterr().err
    assert trainSpeakerNet.main(corpus.options(tmp_path / "other", trainfunc="distill")) == 2
    assert "learns the embeddings of another network; give it: --teacher" in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_start_from_the_means(trained, corpus, tmp_path):
    source = trained[0] / "model" / "best.model"
    words = corpus.options(
        tmp_path, trainfunc="amsoftmax+angleproto", initial_model=source, max_epoch=1, lr=0
    )
    more = ["--init_head=mean", "--batch_size=4", "--ema_decay=0.9", "--trunk_lr=0"]
    with train(tmp_path / "ranks", [*words, *more]) as ranks:
        assert ranks.wait() == [0, 0], ranks.errors()
    stored = checkpoint.load_model(str(tmp_path / "model" / "best.model"))
    values = options.Options(stored.options)
    network = SpeakerNet.from_model_file(str(source), values)
    directions = speaker_directions(network, values, runtime.CPU, StopSignal())
    torch.testing.assert_close(F.normalize(stored.weights["loss.parts.0.weight"]), directions)
