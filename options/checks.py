"""What must hold between the values of flags, and what some of them stand for."""

import argparse
import math
from typing import Any

import options
from audio.augment import kinds_of, read_chain
from audio.recording import SAMPLE_RATE, SHORTEST, num_samples
from options.flags import COHORT_OPTIONS, SCORING_OPTIONS

NSPEAKERS_OF_METRIC_LOSSES = ("proto", "ge2e", "angleproto")  # where --nSpeakers meant --nPerSpeaker ...
LARGEST_NPERSPEAKER = 100  # ... up to this value; all else are classes
HEEDED_BY_EVAL = (  # beside what is stored with a model
    *("eval", "prepare", "test", "initial_model", "config", "save_path", "seed", "device", "gpu_id"),
    *("nDataLoaderThread", "skip_bad_audio", "test_list", "enrol_list", "test_path", "reuse_embeddings"),
    *("dcf_p_target", "dcf_c_miss", "dcf_c_fa", "prior", "report", "calibrate"),
    *(*COHORT_OPTIONS, "train_list", "train_path", "exclude"),
    *("distributed", "nproc", "port", "threads", "rank_timeout"),
)
AUGMENTATION_OF = {  # flag -> the kinds of augmentation that heed it
    "snr_noise": {"noise"},
    "snr_music": {"music"},
    "snr_babble": {"babble"},
    "babble_voices": {"babble"},
    "gain_db": {"gain"},
    "speeds": {"speed"},
    "speed_classes": {"speed"},
}


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
        if "precision" in given and args.precision not in ("fp16", "auto"):
            raise ValueError(f"--mixedprec is --precision fp16, not {args.precision}; give one of them")
        args.precision = "fp16"
    del args.mixedprec
    if args.average_last and args.ema_decay:
        raise ValueError("--average_last and --ema_decay both average weights; give one of them")
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
    _long_enough(args, "max_frames")
    _check_augmentation(args)
    if not args.save_path:
        raise ValueError("--save_path needs the name of a folder")
    if args.seed >= 1 << 63:
        raise ValueError(f"--seed must be below 2**63, got {args.seed}")


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


def _long_enough(args: argparse.Namespace, name: str) -> None:
    frames = getattr(args, name)
    if num_samples(frames) < SHORTEST:
        least = -(-(SHORTEST - num_samples(0)) // (num_samples(1) - num_samples(0)))
        raise ValueError(f"--{name} must be at least {least}, what every network can embed, got {frames}")


def stored_network_options(stored: dict[str, Any], origin: str) -> dict[str, Any]:
    """What a model file says of its network: all that decides it, or what an older file shows."""
    return stored if origin else options.network_options(argparse.Namespace(**stored))
