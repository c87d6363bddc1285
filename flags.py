"""The flags of training and evaluation, their old spellings, and what must hold between their values."""

import argparse
import math
import os
from typing import Any

import options
import runtime
from audio import SAMPLE_RATE, SHORTEST, num_samples
from augment import KINDS as AUGMENTATIONS
from augment import kinds_of, read_chain
from options import BOOLEAN, Parser

NSPEAKERS_OF_METRIC_LOSSES = ("proto", "ge2e", "angleproto")  # where --nSpeakers meant --nPerSpeaker ...
LARGEST_NPERSPEAKER = 100  # ... up to this value; all else are classes
# Flags of voxceleb_trainer for parts that this version doesn't have: refused, never ignored.
NOT_YET = dict.fromkeys(("distributed", "port"), "training on several GPUs")
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
HEEDED_BY_EVAL = (  # beside what is stored with a model
    *("eval", "prepare", "test", "initial_model", "config", "save_path", "seed", "device", "gpu_id"),
    *("nDataLoaderThread", "skip_bad_audio", "test_list", "enrol_list", "test_path", "reuse_embeddings"),
    *("dcf_p_target", "dcf_c_miss", "dcf_c_fa", "prior", "report", "calibrate"),
    *(*COHORT_OPTIONS, "train_list", "train_path", "exclude"),
)
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
AUGMENTATION_OF = {  # flag -> the kinds of augmentation that heed it
    "snr_noise": {"noise"},
    "snr_music": {"music"},
    "snr_babble": {"babble"},
    "babble_voices": {"babble"},
    "gain_db": {"gain"},
    "speeds": {"speed"},
    "speed_classes": {"speed"},
}
MODELS = {"VGGVox40": "VGGVox", "ECAPA_TDNN": "ECAPA"}  # other names of models


def network_flags(parser: Parser) -> None:
    """Add the options that decide what the network computes."""
    group = parser.add_argument_group("network")
    group.add_argument("--model", type=lambda name: MODELS.get(name, name), help=options.choices("models"))
    group.add_argument("--features", default="logmel", help=options.choices("features"))
    group.add_argument("--encoder_type", "--encoder", default="SAP", help=options.choices("pooling"))
    group.add_argument("--nOut", type=int, default=512, help="embedding size D")
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
    group.add_argument("--num_eval", type=int, default=10, help="crops, spread evenly over each file")
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
    group.add_argument("--cohort_utterances", type=int, default=10, help="of each speaker, the first")
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
    group.add_argument("--seed", type=int, default=10, help="decides every draw: weights, batches, crops")
    group.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="auto: GPU if any")
    group.add_argument("--gpu_id", "--gpu", type=int, default=0, help="which GPU")
    network_flags(parser)
    _data_flags(parser)
    _augmentation_flags(parser)
    _schedule_flags(parser)
    evaluation_flags(parser)
    group = parser.add_argument_group("known from voxceleb_trainer, not in this version yet")
    for name, what in NOT_YET.items():
        group.add_argument(f"--{name}", nargs="?", const="True", default="", help=what)
    return parser


def _data_flags(parser: Parser) -> None:
    group = parser.add_argument_group("training data")
    group.add_argument("--train_list", default="data/train_list.txt", help="lines of `speaker path`")
    group.add_argument("--exclude", default="", help="file of paths to leave out, from dataprep.py --check")
    group.add_argument("--train_path", default="data/voxceleb2/dev/wav", help="where its paths start")
    group.add_argument("--nClasses", type=int, help="speakers of a softmax loss; default: as many as listed")
    group.add_argument("--nSpeakers", type=int, help="old name of --nPerSpeaker or --nClasses")
    group.add_argument("--max_frames", type=int, default=200, help="training crop, in frames of 10 ms")
    group.add_argument("--batch_size", type=int, default=200, help="speakers in a batch, all different")
    group.add_argument("--nPerSpeaker", type=int, help="utterances of each; default: what the loss needs")
    group.add_argument("--max_seg_per_spk", type=int, default=500, help="most of a speaker an epoch")
    group.add_argument("--sampler", default="random", help=options.choices("sampler"))
    workers = min(5, os.cpu_count() or 1)
    group.add_argument("--nDataLoaderThread", type=int, default=workers, help="processes that read audio")
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
            f"--mask_{name}", type=int, default=0, help=f"SpecAugment: mask up to so many {name}, also alone"
        )


def _schedule_flags(parser: Parser) -> None:
    group = parser.add_argument_group("training")
    group.add_argument("--max_epoch", type=int, default=500, help="passes over the training data")
    group.add_argument("--test_interval", type=int, default=10, help="epochs between tests and saved models")
    group.add_argument(
        "--save_interval",
        type=float,
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
    group.add_argument("--es_patience", type=int, default=15, help="tests without a better EER to wait for")
    group.add_argument(
        "--tensorboard", **BOOLEAN, default=False, help="write curves of loss, EER, rate and speed for it"
    )
    group.add_argument(
        "--precision",
        choices=runtime.Precision.NAMES,
        default="fp32",
        help="of the network in training; front end, margins and losses stay in float32",
    )
    group.add_argument("--mixedprec", **BOOLEAN, default=False, help="the same as --precision fp16")
    group.add_argument("--optimizer", default="adam", help=options.choices("optimizer"))
    group.add_argument("--scheduler", default="steplr", help=options.choices("scheduler"))


def needs_cohort(args: argparse.Namespace) -> bool:
    """Whether trials are scored with the help of a cohort."""
    return bool(args.subtract_mean or options.plugin("normalization", args.score_norm).needs_cohort)


def complete_evaluation_options(resolved: options.Resolved, stored: dict[str, Any], older: bool) -> None:
    """What --eval takes from the command line, which flags it doesn't heed; older: a file of an ancestor."""
    args, heeded = resolved.args, {*stored, *HEEDED_BY_EVAL, *SCORING_OPTIONS}
    heeded |= options.chosen_options(args, options.TESTING_KINDS).keys()
    if not needs_cohort(args) and not args.prepare:
        heeded -= {*COHORT_OPTIONS} - {"score_norm", "subtract_mean"}
    if older:
        if not args.model:
            raise ValueError(f"{args.initial_model} doesn't show its model; give --model")
        heeded |= {"trainfunc", "max_frames", *options.network_options(args)}
        if "max_frames" in resolved.given and "eval_frames" not in resolved.given and not args.config:
            args.eval_frames = args.max_frames  # what --max_frames meant with --eval until 2020-07
            resolved.warnings.append(f"--max_frames {args.max_frames} is taken as --eval_frames, as in 2020")
    idle = [f"--{name}" for name in sorted(resolved.given - heeded)]
    if idle:
        resolved.warnings.append(f"no effect with --eval: {', '.join(idle)}")


def complete_training_options(args: argparse.Namespace, given: set[str]) -> None:
    """What training needs beyond single options; resolves --nSpeakers and the default of --nPerSpeaker."""
    for kind in ("models", "loss"):
        if not getattr(args, options.KINDS[kind].flag):
            raise ValueError(f"--{options.KINDS[kind].flag} is needed: {options.choices(kind)}")
    if args.cohort:
        raise ValueError("--cohort is for --eval; training makes a cohort of --cohort_list for each test")
    if args.mixedprec:
        if "precision" in given and args.precision != "fp16":
            raise ValueError(f"--mixedprec is --precision fp16, not {args.precision}; give one of them")
        args.precision = "fp16"
    del args.mixedprec
    needed = options.plugin("loss", args.trainfunc).min_utterances
    if args.nSpeakers is not None:
        per_speaker = args.trainfunc in NSPEAKERS_OF_METRIC_LOSSES and args.nSpeakers <= LARGEST_NPERSPEAKER
        per_speaker = per_speaker and "nPerSpeaker" not in given
        if not per_speaker and "nClasses" in given:
            raise ValueError("--nSpeakers is the old name of --nClasses here; give one of them")
        setattr(args, "nPerSpeaker" if per_speaker else "nClasses", args.nSpeakers)
    if args.nPerSpeaker is None:
        args.nPerSpeaker = needed
    if args.nPerSpeaker < needed:
        raise ValueError(
            f"--nPerSpeaker {args.nPerSpeaker}: {args.trainfunc} needs at least {needed} utterances of a "
            "speaker in a batch"
        )
    del args.nSpeakers


def idle_augmentation(args: argparse.Namespace, given: set[str]) -> list[str]:
    """Warnings for given flags of augmentation that have no effect; the chain is read in any case."""
    kinds = kinds_of(read_chain(args.augment_chain)) if args.augment else set[str]()
    idle = [name for name, users in AUGMENTATION_OF.items() if name in given and not users & kinds]
    if not args.augment and "augment_chain" in given:
        read_chain(args.augment_chain)
        idle.append("augment_chain")
    why = f"--augment_chain {args.augment_chain}" if args.augment else "training without --augment"
    return [f"--{name} has no effect with {why}" for name in idle]


def check_network_ranges(args: argparse.Namespace) -> None:
    """Raises ValueError for numbers of network_flags and evaluation_flags that can't be."""
    _at_least_one(args, "nOut", "num_eval", "cohort_utterances")
    if args.score_norm != "none" and not options.plugin("scoring", args.scoring).is_vector:
        raise ValueError(f"--score_norm {args.score_norm} is not for --scoring {args.scoring}")
    if not 0.0 < args.input_scale < float("inf"):
        raise ValueError(f"--input_scale must be positive, got {args.input_scale}")
    if args.eval_frames:
        _long_enough(args, "eval_frames")
    if args.cohort and args.cohort_list:
        raise ValueError("--cohort is made already, --cohort_list is to make one of; give one of them")
    if not 0.0 < args.prior < 1.0:
        raise ValueError(f"--prior must lie between 0 and 1, got {args.prior}")
    if not 0.0 < args.dcf_p_target < 1.0 or not all(
        0.0 < cost < math.inf for cost in (args.dcf_c_miss, args.dcf_c_fa)
    ):
        raise ValueError("expected 0 < --dcf_p_target < 1 and --dcf_c_miss, --dcf_c_fa > 0")


def check_ranges(args: argparse.Namespace) -> None:
    """Raises ValueError for numbers that can't be."""
    check_network_ranges(args)
    _at_least_one(args, "batch_size", "max_seg_per_spk", "max_epoch", "test_interval", "es_patience")
    _long_enough(args, "max_frames")
    if args.nClasses is not None:
        _at_least_one(args, "nClasses")
    _check_augmentation(args)
    if not 0.0 <= args.save_interval < math.inf:
        raise ValueError(f"--save_interval must not be negative, got {args.save_interval}")
    if not args.save_path:
        raise ValueError("--save_path needs the name of a folder")
    if args.seed >= 1 << 63:
        raise ValueError(f"--seed must be below 2**63, got {args.seed}")
    for name in ("seed", "nDataLoaderThread"):
        if getattr(args, name) < 0:
            raise ValueError(f"--{name} must not be negative, got {getattr(args, name)}")


def _check_augmentation(args: argparse.Namespace) -> None:
    for name in ("snr_noise", "snr_music", "snr_babble", "babble_voices", "gain_db"):
        span = getattr(args, name)
        if len(span) != 2 or not -math.inf < span[0] <= span[1] < math.inf:
            raise ValueError(f"--{name}: expected LOW,HIGH, got {','.join(f'{value:g}' for value in span)}")
    if args.babble_voices[0] < 1 or any(voices % 1 for voices in args.babble_voices):
        raise ValueError("--babble_voices: expected whole numbers of at least 1")
    rates = {round(SAMPLE_RATE * speed) for speed in args.speeds if 0.5 <= speed <= 2.0}
    if len(rates - {SAMPLE_RATE}) < len(args.speeds):
        raise ValueError("--speeds: expected different factors between 0.5 and 2, none of them 1")
    if min(args.mask_bands, args.mask_frames) < 0:
        raise ValueError("--mask_bands and --mask_frames must not be negative")


def _at_least_one(args: argparse.Namespace, *names: str) -> None:
    for name in names:
        if getattr(args, name) < 1:
            raise ValueError(f"--{name} must be at least 1, got {getattr(args, name)}")


def _long_enough(args: argparse.Namespace, name: str) -> None:
    frames = getattr(args, name)
    if num_samples(frames) < SHORTEST:
        least = -(-(SHORTEST - num_samples(0)) // (num_samples(1) - num_samples(0)))
        raise ValueError(f"--{name} must be at least {least}, what every network can embed, got {frames}")
