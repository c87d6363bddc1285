"""--features ssl: tiny networks of transformers with random weights, as its own code computes them."""

import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import options
import trainSpeakerNet
from SpeakerNet import SpeakerNet
from storage import checkpoint
from storage.ssl_weights import ssl_options

TINY = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
WAVEFORM_IN = {**TINY, "conv_dim": [8] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
DESCRIPTIONS = {
    "wavlm": {**WAVEFORM_IN, "feat_extract_norm": "layer", "do_stable_layer_norm": True},
    "hubert": WAVEFORM_IN,
    "wav2vec2": WAVEFORM_IN,
    "unispeech-sat": WAVEFORM_IN,
    "wav2vec2-bert": TINY,
}


def description(kind, **changes):
    return json.dumps({"model_type": kind, **DESCRIPTIONS[kind], "do_normalize": True} | changes)


def front_end(kind, **changes):
    torch.manual_seed(1)
    return options.plugin("features", "ssl")(ssl_config=description(kind, **changes)).eval()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "give --ssl_weights FOLDER"),
        ("{", r"expected the contents of transformers' config\.json"),
        ("[]", r"expected the contents of transformers' config\.json"),
        ('{"model_type": "bert"}', "model_type bert; known are wavlm, hubert"),
        ('{"model_type": "wavlm"}', r"do_normalize of preprocessor_config\.json is missing"),
    ],
)
def test_descriptions_that_are_none(text, message):
    with pytest.raises(ValueError, match=message):
        options.plugin("features", "ssl")(ssl_config=text)


def test_folders_that_are_none(tmp_path):
    assert ssl_options("") == {}
    with pytest.raises(FileNotFoundError, match=r"config\.json: no such file; expected a folder"):
        ssl_options(str(tmp_path))
    (tmp_path / "config.json").write_text("[")
    with pytest.raises(ValueError, match=r"config\.json: not JSON"):
        ssl_options(str(tmp_path))
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ValueError, match=r"config\.json: expected a JSON object"):
        ssl_options(str(tmp_path))
    words = ["--model=XVector", "--trainfunc=softmax", f"--ssl_weights={tmp_path}"]
    (tmp_path / "config.json").write_text('{"model_type": "wavlm", "architectures": ["WavLMModel"]}')
    (tmp_path / "preprocessor_config.json").write_text('{"do_normalize": false}')
    expected = {"ssl_config": '{"do_normalize":false,"model_type":"wavlm"}'}
    assert ssl_options(str(tmp_path)) == expected
    with pytest.raises(ValueError, match="leave it out with other --features"):
        trainSpeakerNet.parse(words)
    assert trainSpeakerNet.parse([*words, "--features=ssl"]).options.ssl_config == expected["ssl_config"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", DESCRIPTIONS)
def test_features_are_weighted_hidden_states(kind):
    features = front_end(kind)
    features.layer_weights.data = torch.tensor([0.0, 1.0, -1.0])
    waveforms = 0.1 * torch.randn(2, 16_123)
    maps = features(waveforms)
    assert maps.shape == (2, features.num_features, features.num_frames(16_123)) and maps.shape[2] in (49, 50)
    with torch.no_grad():
        outputs = features.network(features._inputs(waveforms), output_hidden_states=True)
        states = (*outputs.hidden_states[:2], outputs.last_hidden_state)
    weights = np.exp([0.0, 1.0, -1.0]) / np.exp([0.0, 1.0, -1.0]).sum()
    expected = sum(weight * state for weight, state in zip(weights, states, strict=True)).transpose(1, 2)
    torch.testing.assert_close(maps.detach(), F.instance_norm(expected.float()))
    maps.square().sum().backward()
    unused = [name for name, parameter in features.named_parameters() if parameter.grad is None]
    assert unused == ["network.masked_spec_embed"]  # else processes would wait for each other's gradients
    assert not features.network.masked_spec_embed.requires_grad
    shortest = features(0.1 * torch.randn(1, 4800))
    assert shortest.shape[2] == features.num_frames(4800) == 15
    features.train()
    torch.testing.assert_close(features(waveforms), maps)  # no dropout


@pytest.mark.slow
def test_inputs_are_those_of_transformers_extractors():
    from transformers import SeamlessM4TFeatureExtractor, Wav2Vec2FeatureExtractor

    waveform = 0.1 * np.random.default_rng(1).standard_normal(16_160).astype(np.float32) + 0.05
    arguments = {"sampling_rate": 16_000, "return_tensors": "pt"}
    tensor = torch.from_numpy(waveform)[None]
    expected = Wav2Vec2FeatureExtractor(do_normalize=True)(waveform, **arguments).input_values
    torch.testing.assert_close(front_end("wavlm")._inputs(tensor), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(front_end("wavlm", do_normalize=False)._inputs(tensor), tensor)
    expected = SeamlessM4TFeatureExtractor()(waveform, **arguments).input_features
    ours = front_end("wav2vec2-bert")._inputs(tensor)
    assert ours.shape == expected[:, :49].shape  # it pads the last of 99 frames, we leave it out
    torch.testing.assert_close(ours, expected[:, :49], rtol=1e-3, atol=2e-3)


@pytest.mark.slow
def test_a_frozen_network_of_a_folder_is_trained_on_and_kept(corpus, tmp_path, capsys):
    from transformers import AutoConfig, AutoModel

    torch.manual_seed(2)
    pretrained = AutoModel.from_config(AutoConfig.for_model("wavlm", **DESCRIPTIONS["wavlm"]))
    pretrained.save_pretrained(tmp_path / "wavlm")
    (tmp_path / "wavlm" / "preprocessor_config.json").write_text('{"do_normalize": true}')
    settings = {"model": "XVector", "features": "ssl", "trainfunc": "softmax", "freeze": "features.network"}
    settings |= {"nOut": 8, "max_epoch": 1, "lr": 0.01, "optimizer": "sgd"}
    words = [word for word in corpus.options(tmp_path / "run", **settings) if "n_mels" not in word]
    assert trainSpeakerNet.main([*words, f"--ssl_weights={tmp_path / 'wavlm'}"]) == 0, capsys.readouterr().err
    path = tmp_path / "run" / "model" / "best.model"
    network = SpeakerNet.from_model_file(str(path))  # without the folder
    weights = pretrained.state_dict()
    assert all(torch.equal(weights[name], t) for name, t in network.features.network.state_dict().items())
    assert network.features.layer_weights.any()  # these were trained
    scores = (tmp_path / "run/result/eval/test.scores.txt").read_text()
    again = [
        "--eval",
        f"--initial_model={path}",
        f"--test_list={corpus.test_list}",
        f"--test_path={corpus.root}",
    ]
    assert trainSpeakerNet.main([*again, f"--save_path={tmp_path / 'eval'}", "--nDataLoaderThread=0"]) == 0
    assert (tmp_path / "eval/result/eval/test.scores.txt").read_text() == scores
    (tmp_path / "wavlm" / "model.safetensors").write_bytes(b"damaged")
    words = [*words, f"--ssl_weights={tmp_path / 'wavlm'}", f"--save_path={tmp_path / 'other'}"]
    assert trainSpeakerNet.main(words) == 2
    assert (
        "--ssl_weights" in capsys.readouterr().err and checkpoint.load_model(str(path)).options["ssl_config"]
    )
