"""The flags of training and evaluation, and their old spellings."""

import argparse
import math
import os
from collections.abc import Callable

import options
import runtime
from audio.augment import KINDS as AUGMENTATIONS
from options.parser import BOOLEAN, Parser

SCORING_OPTIONS = ("eval_frames", "num_eval", "scoring")  # stored with a model: how it was tested
COHORT_OPTIONS = (
    *("score_norm", "subtract_mean", "cohort", "cohort_list", "cohort_path", "cohort_entries"),
    "cohort_utterances",
)
TEST_OPTIONS = (
    "test_list",
    "enrol_list",
    *SCORING_OPTIONS,
    *COHORT_OPTIONS,
)  # what error rates depend on beside a model
# What the ancestors' flags are called here (see docs/migrating.md).
SPELLINGS = {
    # TaoRuijie's ECAPA-TDNN
    "num_frames": "max_frames",
    "n_cpu": "nDataLoaderThread",
    "test_step": "test_interval",
    "eval_list": "test_list",
    "eval_path": "test_path",
    "n_class": "nClasses",
    "C": "channels",
    "m": "margin",
    "s": "scale",
    # the Voice Verification fork
    "criterion": "trainfunc",
    "callbacks": "scheduler",
    "early_stop": "early_stopping",
    "number_of_epochs": "max_epoch",
    "initial_model_infer": "initial_model",
    "cohorts_path": "cohort",
    # DeepSpeaker-pytorch
    "epochs": "max_epoch",
    "embedding-size": "nOut",
    "test-pairs-path": "test_list",
    "log-dir": "save_path",
    "min-softmax-epoch": "min_softmax_epoch",
    "loss-ratio": "loss_ratio",
    "wd": "weight_decay",
    "lr-decay": "rate_decay",
    "batch-size": "batch_size",
    "gpu-id": "gpu_id",
    "resume": "initial_model",
}
MODELS = {"VGGVox40": "VGGVox", "ECAPA_TDNN": "ECAPA"}  # other names of models


def network_flags(parser: Parser) -> None:
    """Add the options that decide what the network computes."""
    group = parser.add_argument_group("network")
    group.add_argument("--model", type=lambda name: MODELS.get(name, name), help=options.choices("models"))
    group.add_argument("--features", default="logmel", help=options.choices("features"))
    group.add_argument("--encoder_type", "--encoder", default="SAP", help=options.choices("pooling"))
    group.add_argument("--nOut", type=at_least(1), default=512, help="embedding size D")
    group.add_argument(
        "--input_scale",
        type=float,
        default=1.0,
        help="factor on the waveform; 32768 for files that voxceleb_trainer made before 2021-04-24",
    )
    group.add_argument("--trainfunc", help=options.choices("loss"))


def evaluation_flags(parser: Parser) -> None:
    """Add the options that decide how a trial list is scored."""
    group = parser.add_argument_group("evaluation")
    group.add_argument(
        "--test_list",
        nargs="+",
        default=["data/veri_test.txt"],
        metavar="LIST",
        help='lines of `label enrol test`; several lists are embedded at once, the first decides; "": none',
    )
    group.add_argument("--test_path", default="data/voxceleb1/test/wav", help="where their paths start")
    group.add_argument(
        "--enrol_list",
        default="",
        help="lines of `model path path ...`: enrolments of several files, averaged",
    )
    group.add_argument(
        "--reuse_embeddings", **BOOLEAN, default=True, help="with --eval: keep them in result/embeddings"
    )
    group.add_argument("--eval_frames", type=int, default=300, help="crop, frames of 10 ms; 0 = whole file")
    group.add_argument("--num_eval", type=at_least(1), default=10, help="crops, spread evenly over each file")
    group.add_argument("--scoring", default="cosine", help=options.choices("scoring"))
    group.add_argument("--score_norm", default="none", help=options.choices("normalization"))
    group.add_argument(
        "--subtract_mean", **BOOLEAN, default=False, help="take the cohort's mean off all embeddings"
    )
    group.add_argument("--cohort", default="", help="the cohort's file, from --prepare or --eval, not a list")
    group.add_argument("--cohort_list", default="", help="whom --score_norm goes by; default: --train_list")
    group.add_argument("--cohort_path", default="", help="where its paths start; default: --train_path")
    group.add_argument(
        "--cohort_entries", default="speakers", choices=("speakers", "utterances"), help="means, or all"
    )
    group.add_argument("--cohort_utterances", type=at_least(1), default=10, help="of each speaker, the first")
    group.add_argument(
        "--dcf_p_target", type=float, default=0.05, help="prior of minDCF; 0.01 comes beside it"
    )
    group.add_argument("--dcf_c_miss", type=float, default=1.0, help="cost of a miss")
    group.add_argument("--dcf_c_fa", type=float, default=1.0, help="cost of a false alarm")
    group.add_argument(
        "--calibrate",
        **BOOLEAN,
        default=False,
        help="with --eval: also log-likelihood ratios, each by a calibration on other speakers' trials",
    )
    group.add_argument(
        "--report", **BOOLEAN, default=True, help="with --eval: det.png and report.html beside the scores"
    )
    group.add_argument("--prior", type=float, default=0.5, help="of the same speaker, for --test")


def training_flags(description: str, add_help: bool) -> Parser:
    """The options of training and evaluation; those of the chosen plug-ins are added by resolve."""
    parser = Parser(description, add_help, SPELLINGS)
    group = parser.add_argument_group("what to do")
    group.add_argument("--config", help="YAML file of `option: value` lines; the command line wins over it")
    group.add_argument("--eval", **BOOLEAN, default=False, help="score --test_list, don't train")
    group.add_argument(
        "--prepare", **BOOLEAN, default=False, help="make the file of a cohort for --cohort, don't train"
    )
    group.add_argument(
        "--test",
        **BOOLEAN,
        default=False,
        help="decide on --test_list by what tuneThreshold.py --store put into the model file, don't train",
    )
    group.add_argument(
        "--initial_model",
        default="",
        help="model file to score with or to train on from, also of the ancestors; --eval takes the best one "
        "of --save_path by default",
    )
    group.add_argument(
        "--allow_partial", **BOOLEAN, default=False, help="train on from what fits of --initial_model"
    )
    group.add_argument("--save_path", default="exps/exp1", help="run folder; the same command resumes it")
    group.add_argument(
        "--seed", type=at_least(0), default=10, help="decides every draw: weights, batches, crops"
    )
    group.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="auto: GPU if any")
    group.add_argument("--gpu_id", "--gpu", type=int, default=0, help="which GPU")
    network_flags(parser)
    _data_flags(parser)
    _augmentation_flags(parser)
    _schedule_flags(parser)
    evaluation_flags(parser)
    _process_flags(parser)
    return parser


def at_least(least: int) -> Callable[[str], int]:
    """Type of a flag: a whole number that isn't below."""

    def whole(text: str) -> int:
        number = int(text)
        if number < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}, got {number}")
        return number

    whole.__name__ = "int"  # what argparse calls it where the text is no number
    return whole


def within(low: float, high: float) -> Callable[[str], float]:
    """Type of a flag: a number in [low, high)."""

    def number(text: str) -> float:
        value = float(text)
        if not low <= value < high:
            raise argparse.ArgumentTypeError(f"must lie in [{low:g}, {high:g}), got {text}")
        return value

    number.__name__ = "float"
    return number


def _process_flags(parser: Parser) -> None:
    group = parser.add_argument_group("processes and memory")
    group.add_argument(
        "--distributed",
        **BOOLEAN,
        default=False,
        help="one process for each GPU of this machine; across machines, and on any: torchrun "
        "(docs/scaling.md). --batch_size is that of all together",
    )
    group.add_argument("--nproc", type=at_least(0), default=0, help="processes of --distributed; 0: the GPUs")
    group.add_argument("--port", type=port, default=0, help="where they find one another; 0: any free")
    group.add_argument(
        "--rank_timeout",
        type=within(1.0, math.inf),
        default=120.0,
        help="seconds that a step waits for another process before all end; frozen ones are found sooner",
    )
    group.add_argument(
        "--gather_negatives",
        **BOOLEAN,
        default=True,
        help="losses that compare the batch's utterances see those of all processes",
    )
    group.add_argument(
        "--sync_bn", **BOOLEAN, default=False, help="batch norm over the batch of all processes"
    )
    group.add_argument(
        "--shard_head",
        **BOOLEAN,
        default=False,
        help="split the classes of a softmax loss over the processes: for many speakers",
    )
    group.add_argument(
        "--threads",
        type=threads,
        default=0,
        metavar="N|auto",
        help="of the CPU; auto: this process's cores",
    )
    group.add_argument(
        "--compile",
        **BOOLEAN,
        default=False,
        help="compile the network for training: a minute at the start, then faster steps",
    )


def threads(text: str) -> int:
    """`auto` -> 0, else the number."""
    if text != "auto" and not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a number or auto, got {text!r}")
    return 0 if text == "auto" else at_least(1)(text)


def port(text: str) -> int:
    """A TCP port, or 0."""
    number = at_least(0)(text)
    if number > 65535:
        raise argparse.ArgumentTypeError(f"must be at most 65535, got {number}")
    return number


def _data_flags(parser: Parser) -> None:
    group = parser.add_argument_group("training data")
    group.add_argument("--train_list", default="data/train_list.txt", help="lines of `speaker path`")
    group.add_argument("--exclude", default="", help="file of paths to leave out, from dataprep.py --check")
    group.add_argument("--train_path", default="data/voxceleb2/dev/wav", help="where its paths start")
    group.add_argument(
        "--nClasses", type=at_least(1), help="speakers of a softmax loss; default: as many as listed"
    )
    group.add_argument("--nSpeakers", type=int, help="old name of --nPerSpeaker or --nClasses")
    group.add_argument("--max_frames", type=int, default=200, help="training crop, in frames of 10 ms")
    group.add_argument(
        "--batch_size", type=at_least(1), default=200, help="speakers in a batch, all different"
    )
    group.add_argument("--nPerSpeaker", type=int, help="utterances of each; default: what the loss needs")
    group.add_argument("--max_seg_per_spk", type=at_least(1), default=500, help="most of a speaker an epoch")
    group.add_argument("--sampler", default="random", help=options.choices("sampler"))
    workers = min(5, os.cpu_count() or 1)
    group.add_argument(
        "--nDataLoaderThread", type=at_least(0), default=workers, help="processes that read audio"
    )
    group.add_argument(
        "--profile",
        **BOOLEAN,
        default=False,
        help="say after 50 steps where the time goes and what to change",
    )
    group.add_argument("--skip_bad_audio", **BOOLEAN, default=False, help="go on without unusable files")


def numbers(text: str) -> tuple[float, ...]:
    """`0,15` -> (0.0, 15.0)."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers with commas, got {text!r}") from None


def _augmentation_flags(parser: Parser) -> None:
    group = parser.add_argument_group("augmentation of the training data")
    group.add_argument("--augment", **BOOLEAN, default=False, help="do what --augment_chain says")
    group.add_argument(
        "--augment_chain",
        default="reverb:0.2|music:0.2|babble:0.2|noise:0.2",
        help="stages in order, one of each stage's choices with these probabilities; + does several. Kinds: "
        f"{', '.join(AUGMENTATIONS)}. 'speed:2/3 reverb:0.5 noise:0.3|babble+music:0.3 band+mulaw:0.1'",
    )
    group.add_argument("--musan_path", help="folders noise, music, speech; default: data/musan, or ..._split")
    group.add_argument("--rir_path", default="data/RIRS_NOISES/simulated_rirs", help="room responses")
    for name, snr in {"noise": (0.0, 15.0), "music": (5.0, 15.0), "babble": (13.0, 20.0)}.items():
        group.add_argument(f"--snr_{name}", type=numbers, default=snr, metavar="LOW,HIGH", help="dB")
    group.add_argument("--babble_voices", type=numbers, default=(3.0, 7.0), metavar="LOW,HIGH", help="voices")
    group.add_argument("--gain_db", type=numbers, default=(-10.0, 10.0), metavar="LOW,HIGH", help="of gain")
    group.add_argument("--speeds", type=numbers, default=(0.9, 1.1), metavar="A,B,...", help="of speed")
    group.add_argument(
        "--speed_classes", **BOOLEAN, default=True, help="a speaker at another speed is another speaker"
    )
    for name in ("bands", "frames"):
        group.add_argument(
            f"--mask_{name}",
            type=at_least(0),
            default=0,
            help=f"SpecAugment: mask up to so many {name}, also alone",
        )


def _schedule_flags(parser: Parser) -> None:
    group = parser.add_argument_group("training")
    group.add_argument("--max_epoch", type=at_least(1), default=500, help="passes over the training data")
    group.add_argument(
        "--test_interval", type=at_least(1), default=10, help="epochs between tests and saved models"
    )
    group.add_argument(
        "--save_interval",
        type=within(0.0, math.inf),
        default=10.0,
        help="minutes between saved states; 0: after epochs only",
    )
    group.add_argument("--test_at_start", **BOOLEAN, default=False, help="also test the untrained network")
    group.add_argument(
        "--early_stopping",
        **BOOLEAN,
        default=False,
        help="stop when --es_patience tests brought no better EER",
    )
    group.add_argument(
        "--es_patience", type=at_least(1), default=15, help="tests without a better EER to wait for"
    )
    group.add_argument(
        "--tensorboard", **BOOLEAN, default=False, help="write curves of loss, EER, rate and speed for it"
    )
    group.add_argument(
        "--precision",
        choices=("auto", *runtime.Precision.NAMES),
        default="auto",
        help="of the network in training, not of front end, margins and losses; auto: bf16 on CPUs that have "
        "it, else fp32",
    )
    group.add_argument("--mixedprec", **BOOLEAN, default=False, help="the same as --precision fp16")
    group.add_argument("--optimizer", default="adam", help=options.choices("optimizer"))
    group.add_argument("--scheduler", default="steplr", help=options.choices("scheduler"))
    group.add_argument(
        "--accumulate", type=at_least(1), default=1, help="batches whose gradients make one optimizer step"
    )
    group.add_argument(
        "--clip_norm", type=within(0.0, math.inf), default=0.0, help="largest gradient norm; 0: any"
    )
    group.add_argument(
        "--ema_decay",
        type=within(0.0, 1.0),
        default=0.0,
        help="test and keep an exponential moving average of the weights, such as 0.999; 0: the weights",
    )
    group.add_argument(
        "--average_last",
        type=at_least(0),
        default=0,
        help="at the end also make average.model of so many last models",
    )
    group.add_argument(
        "--nonfinite_patience",
        type=at_least(1),
        default=20,
        help="steps in a row with infinite or NaN gradients, each left out, until the last state is taken up "
        "again at half the rate",
    )
