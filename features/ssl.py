"""Hidden states of a self-supervised network, weighted over its layers: WavLM, HuBERT, wav2vec 2.0, w2v-BERT.

Chen et al. 2022 (WavLM, arXiv:2110.13900, section V); the learned weights of the layers are those of Yang et
al. 2021 (SUPERB, arXiv:2105.01051, section 2.3). The networks are those of the package transformers.
"""

import json
from typing import Annotated, Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import features._torchaudio  # noqa: F401  (transformers imports torchaudio, which may not load as it is)
import runtime
from features._spectrum import FrontEnd
from features._steps import NORM_HELP, Norm, normalise
from features.fbank import Features as Fbank

WAVEFORM_IN = ("wavlm", "hubert", "wav2vec2", "unispeech-sat")  # model_type in config.json
FBANK_IN = "wav2vec2-bert"
SHORTEST = 5040  # samples; shorter waveforms are padded, so that there are 15 frames, which all models embed
VARIANCE_FLOOR = 1e-7  # added to variances, as in transformers
STACKED = 2  # frames of filterbanks that are one input of w2v-BERT


class Features(FrontEnd):
    """Waveforms (B, T) in [-1, 1] at 16 kHz -> weighted hidden states (B, F, L), 50 frames a second.

    Gradients reach the weights of the layers, and the network unless it is frozen.
    """

    def __init__(
        self,
        *,
        ssl_config: Annotated[str, "description of the network as JSON; --ssl_weights gives it"] = "",
        feature_norm: Annotated[Norm, NORM_HELP] = "instance",
    ) -> None:
        super().__init__()
        config = parse_config(ssl_config)
        network: Any = build_network(config)
        self.network = network
        self.takes_waveform = config["model_type"] != FBANK_IN
        self.is_normalised = bool(config["do_normalize"])
        self.feature_norm = feature_norm
        sizes = network.config
        self.num_features = sizes.hidden_size
        if self.takes_waveform:
            self.windows = list(zip(sizes.conv_kernel, sizes.conv_stride, strict=True))
        self.fbank = Fbank(use_energy=False, feature_norm="none")
        self.layer_weights = nn.Parameter(torch.zeros(1 + sizes.num_hidden_layers))

    def num_frames(self, num_samples: int) -> int:
        """T samples -> L frames, of 25 ms every 20 ms in the published networks."""
        length = max(num_samples, SHORTEST)
        if not self.takes_waveform:
            return Fbank.num_frames(length) // STACKED
        for width, stride in self.windows:
            length = 1 + (length - width) // stride
        return length

    def forward(self, waveform: Tensor) -> Tensor:
        """(B, T) -> (B, F, L)."""
        padded = F.pad(waveform, (0, max(0, SHORTEST - waveform.shape[1])))
        outputs = self.network(self._inputs(padded), output_hidden_states=True)
        states = (*outputs.hidden_states[:-1], outputs.last_hidden_state)  # the last one after its norm
        weights = self.layer_weights.softmax(dim=0)
        weighted = sum(weight * state for weight, state in zip(weights, states, strict=True))  # (B, L, F)
        return normalise(weighted.transpose(1, 2), self.feature_norm)

    @runtime.float32
    @torch.no_grad()
    def _inputs(self, waveform: Tensor) -> Tensor:
        """Waveforms (B, T) -> what the network takes: (B, T), or stacked log energies (B, L, 160)."""
        if self.takes_waveform:
            return standardised(waveform, correction=0) if self.is_normalised else waveform
        bands = self.fbank(waveform)  # (B, 80, frames)
        bands = standardised(bands, correction=1)[:, :, : bands.shape[2] // STACKED * STACKED]
        return bands.unflatten(2, (-1, STACKED)).permute(0, 2, 3, 1).flatten(2)

    def as_convolution(self) -> Self:
        """A copy without FFT."""
        copy = super().as_convolution()
        copy.fbank = self.fbank.as_convolution()
        return copy


def standardised(values: Tensor, correction: int) -> Tensor:
    """(..., T) -> (..., T) with zero mean and unit variance."""
    variance, mean = torch.var_mean(values, dim=-1, correction=correction, keepdim=True)
    return (values - mean) / (variance + VARIANCE_FLOOR).sqrt()


def parse_config(text: str) -> dict[str, Any]:
    """--ssl_config -> the network's description; raises ValueError if it is none of a known network."""
    if not text:
        raise ValueError("--features ssl: give --ssl_weights FOLDER, with config.json and the weights")
    try:
        config = json.loads(text)
        kind = config["model_type"]
    except (ValueError, TypeError, KeyError):
        raise ValueError("--ssl_config: expected the contents of transformers' config.json") from None
    known = (*WAVEFORM_IN, FBANK_IN)
    if kind not in known:
        raise ValueError(f"--ssl_config: model_type {kind}; known are {', '.join(known)}")
    if "do_normalize" not in config:
        raise ValueError("--ssl_config: do_normalize of preprocessor_config.json is missing")
    return dict(config)


def build_network(config: dict[str, Any]) -> nn.Module:
    """Description -> network with random weights, in which nothing is drawn at random in training.

    A resumed run would draw something else.

    Raises:
        ValueError: transformers isn't installed, or can't build it.
    """
    try:
        from transformers import AutoConfig, AutoModel
    except ModuleNotFoundError:
        raise ValueError("--features ssl: pip install transformers") from None
    try:
        names = AutoConfig.for_model(**config).to_dict()
        random = {name: 0.0 for name in names if "dropout" in name or name == "layerdrop"}
        settings = AutoConfig.for_model(**config | random | {"apply_spec_augment": False})
        network: nn.Module = AutoModel.from_config(settings)
    except Exception as error:  # whatever a wrong description leads to
        raise ValueError(f"--ssl_config: {type(error).__name__}: {error}") from None
    for name, parameter in network.named_parameters():
        if name.endswith("masked_spec_embed"):
            parameter.requires_grad_(False)  # unused without masks
    return network
