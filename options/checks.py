"""What must hold between the values of flags, and the values that follow from others."""

import math
from collections.abc import Mapping
from typing import Any

from audio.augment import kinds_of, read_chain
from audio.recording import SAMPLE_RATE, SHORTEST, num_samples
from options.flags import EXACT, FLAGS, Role, names_of
from options.plugins import (
    KINDS,
    NETWORK_KINDS,
    TESTING_KINDS,
    added_options,
    choices,
    chosen_options,
    network_options,
    plugin,
)
from options.resolve import Options, Resolved

# With these losses --nSpeakers was --nPerSpeaker up to the largest value, otherwise it was --nClasses.
NSPEAKERS_IS_PER_SPEAKER = ("proto", "ge2e", "angleproto")
LARGEST_NPERSPEAKER = 100
LEVELS = ("gain_db", "eq_db")
LARGEST_DB = 60.0  # more is silence, or an overflow
SPANS = ("snr_noise", "snr_music", "snr_babble", "babble_voices", *LEVELS)


def needs_cohort(options: Options) -> bool:
    """Whether a cohort takes part in the scores."""
    return bool(options.subtract_mean or plugin("normalization", options.score_norm).needs_cohort)


def stored_network_options(stored: Mapping[str, Any], origin: str) -> Mapping[str, Any]:
    """The options in a model file -> those that decide its network; other programs' files have no others."""
    return stored if origin else added_options(stored, NETWORK_KINDS) | network_options(stored)


def for_evaluation(resolved: Resolved, stored: Mapping[str, Any], older: bool) -> Resolved:
    """Options of --eval, --prepare and --test, with warnings about flags that have no effect there.

    Args:
        resolved: options of the command.
        stored: the options in the model file.
        older: whether the file was written by another program.

    Raises:
        ValueError: an older file whose model isn't known, or a cohort that would be empty.
    """
    options = resolved.options
    if options.precision == "auto":
        options = options.replaced(precision=EXACT)
        resolved = resolved._replace(options=options)
    if options.prepare and not (options.subtract_mean or plugin("scoring", options.scoring).is_vector):
        raise ValueError(
            f"--prepare: --scoring {options.scoring} needs nothing but a mean; add --subtract_mean"
        )
    if bool(options.gallery) != bool(options.probe):
        raise ValueError("--gallery and --probe belong together; give both")
    if options.gallery:
        others = ["test_list"] * ("test_list" in resolved.own and any(options.test_list))
        others += [name for name in ("enrol_list", "calibrate", "prepare", "test") if options[name]]
        if others:
            raise ValueError(f"--gallery is an evaluation of its own; leave out --{' and --'.join(others)}")
    used = {*stored, *names_of(Role.EVALUATION), *chosen_options(options, TESTING_KINDS)}
    if not needs_cohort(options) and not options.prepare:
        used -= set(names_of(Role.COHORT)) - {"score_norm", "subtract_mean"}
    if older:
        if not options.model:
            raise ValueError(f"{options.initial_model} doesn't show which model it is; give --model")
        used |= {"trainfunc", "max_frames", *network_options(options)}
        if "max_frames" in resolved.given and "eval_frames" not in resolved.given and not options.config:
            # the meaning of --max_frames with --eval until July 2020
            resolved = resolved._replace(options=options.replaced(eval_frames=options.max_frames))
            resolved = resolved.warn(
                f"--max_frames {options.max_frames} is taken as --eval_frames, as in 2020"
            )
    unused = [f"--{name}" for name in sorted(resolved.own - used)]
    return resolved.warn(f"no effect with --eval: {', '.join(unused)}") if unused else resolved


def for_training(resolved: Resolved) -> Resolved:
    """Options of training; --nSpeakers, --mixedprec and --nPerSpeaker are replaced by what they stand for.

    Raises:
        ValueError: an option is missing, or two of them contradict each other.
    """
    options, given = resolved.options, resolved.given
    for kind in ("models", "loss"):
        if not options[KINDS[kind].flag]:
            raise ValueError(f"--{KINDS[kind].flag} is needed: {choices(kind)}")
    if options.cohort:
        raise ValueError("--cohort is for --eval; training makes a cohort from --cohort_list for each test")
    if options.gallery or options.probe:
        raise ValueError("--gallery and --probe are for --eval")
    if options.backend != "none":
        raise ValueError(f"--backend {options.backend} is fitted by --prepare; training needs none")
    if options.ssl_weights and (options.initial_model or options.features != "ssl"):
        raise ValueError(
            "--ssl_weights is what --features ssl starts from; leave it out with other --features and with "
            "--initial_model, whose file has the weights"
        )
    if not options.initial_model:
        _refuse_freezing(options)
        if options.init_head == "mean" and not options.teacher:
            raise ValueError("--init_head mean takes embeddings of a trained network; give --initial_model")
    for name in ("origin", "head_speakers"):
        if options[name] and not options.initial_model:
            raise ValueError(f"--{name} is about the file of --initial_model, which isn't given")
    if options.average_last and options.ema_decay:
        raise ValueError("--average_last and --ema_decay both average weights; give one of them")
    if options.mixedprec:
        if "precision" in given and options.precision not in ("fp16", "auto"):
            raise ValueError(f"--mixedprec is --precision fp16, not {options.precision}; give one of them")
        options = options.replaced(precision="fp16")
    options = _with_utterances_per_speaker(options, given)
    resolved = resolved._replace(options=options.without("nSpeakers", "mixedprec"))
    if "margin_epochs" in resolved.own and options.margin_schedule == "constant":
        resolved = resolved.warn("--margin_epochs has no effect with --margin_schedule constant")
    return resolved.warn(*_unused_augmentation(resolved.options, resolved.own))


def _refuse_freezing(options: Options) -> None:
    """Raises ValueError where a network that isn't trained would be frozen."""
    is_pretrained = {name: options.ssl_weights and name.startswith("features.") for name in options.freeze}
    flags = {
        "--trunk_lr 0": not options.trunk_lr,
        "--freeze": not all(is_pretrained.values()),
        "--freeze_batchnorm": options.freeze_batchnorm,
    }
    for flag, is_given in flags.items():
        if is_given:
            raise ValueError(f"{flag} freezes a network that isn't trained; give --initial_model")


def _with_utterances_per_speaker(options: Options, given: frozenset[str]) -> Options:
    """Options with the meaning of --nSpeakers and the default of --nPerSpeaker."""
    if options.nSpeakers is not None:
        was_per_speaker = options.trainfunc in NSPEAKERS_IS_PER_SPEAKER and "nPerSpeaker" not in given
        if was_per_speaker and options.nSpeakers <= LARGEST_NPERSPEAKER:
            options = options.replaced(nPerSpeaker=options.nSpeakers)
        elif "nClasses" in given:
            raise ValueError("--nSpeakers is the old name of --nClasses here; give one of them")
        else:
            options = options.replaced(nClasses=options.nSpeakers)
    needed = plugin("loss", options.trainfunc).min_utterances
    if options.nPerSpeaker is None:
        return options.replaced(nPerSpeaker=needed)
    if options.nPerSpeaker < needed:
        raise ValueError(
            f"--nPerSpeaker {options.nPerSpeaker}: {options.trainfunc} needs at least {needed} utterances "
            "of a speaker in a batch"
        )
    return options


def _unused_augmentation(options: Options, given: frozenset[str]) -> list[str]:
    """Warnings for flags of augmentation without effect; a given chain is checked even without --augment."""
    if options.augment or "augment_chain" in given:
        kinds = kinds_of(read_chain(options.augment_chain))
    reason = f"--augment_chain {options.augment_chain}" if options.augment else "training without --augment"
    return [
        f"--{flag.option} has no effect with {reason}"
        for flag in FLAGS
        if flag.option in given
        and flag.augmentations
        and not (options.augment and kinds & set(flag.augmentations))
    ]


def check_evaluation_values(options: Options) -> None:
    """Raises ValueError for values that no command accepts."""
    if options.score_norm != "none" and not plugin("scoring", options.scoring).is_vector:
        raise ValueError(f"--score_norm {options.score_norm} is not for --scoring {options.scoring}")
    if options.backend != "none" and not plugin("scoring", options.scoring).is_vector:
        raise ValueError(
            f"--backend {options.backend} is not for --scoring {options.scoring}; give --backend none"
        )
    if not 0.0 < options.input_scale < math.inf:
        raise ValueError(f"--input_scale must be positive, got {options.input_scale}")
    if options.eval_frames:
        _require_long_enough("eval_frames", options.eval_frames)
    if options.cohort and options.cohort_list:
        raise ValueError("--cohort is a finished cohort, --cohort_list is for making one; give one of them")
    if not 0.0 < options.prior < 1.0:
        raise ValueError(f"--prior must lie between 0 and 1, got {options.prior}")
    costs = (options.dcf_c_miss, options.dcf_c_fa)
    if not 0.0 < options.dcf_p_target < 1.0 or not all(0.0 < cost < math.inf for cost in costs):
        raise ValueError("expected 0 < --dcf_p_target < 1 and --dcf_c_miss, --dcf_c_fa > 0")


def check_values(options: Options) -> None:
    """Raises ValueError for values that training or evaluation can't work with."""
    check_evaluation_values(options)
    _require_long_enough("max_frames", options.max_frames)
    _check_augmentation(options)
    if not options.save_path:
        raise ValueError("--save_path needs the name of a folder")
    if options.seed >= 1 << 63:
        raise ValueError(f"--seed must be below 2**63, got {options.seed}")


def _check_augmentation(options: Options) -> None:
    for name in SPANS:
        span = options[name]
        if len(span) != 2 or not -math.inf < span[0] <= span[1] < math.inf:
            raise ValueError(f"--{name}: expected LOW,HIGH, got {','.join(f'{value:g}' for value in span)}")
        if name in LEVELS and (largest := max(map(abs, span))) > LARGEST_DB:
            raise ValueError(f"--{name}: expected levels of at most {LARGEST_DB:g} dB, got {largest:g}")
    if options.babble_voices[0] < 1 or any(voices % 1 for voices in options.babble_voices):
        raise ValueError("--babble_voices: expected whole numbers of at least 1")
    rates = {round(SAMPLE_RATE * speed) for speed in options.speeds if 0.5 <= speed <= 2.0}
    if len(rates - {SAMPLE_RATE}) < len(options.speeds):
        raise ValueError("--speeds: expected different factors between 0.5 and 2, none of them 1")


def _require_long_enough(name: str, frames: int) -> None:
    if num_samples(frames) < SHORTEST:
        frames_of_shortest = -(-(SHORTEST - num_samples(0)) // (num_samples(1) - num_samples(0)))
        raise ValueError(
            f"--{name} must be at least {frames_of_shortest}, the shortest crop that every network can "
            f"embed, got {frames}"
        )


def check_batches(options: Options, batch_size: int, num_speakers: int, world_size: int) -> None:
    """Raises ValueError where a batch, or the part of a process, is too small to learn from.

    Args:
        options: resolved options.
        batch_size: speakers of a batch, over all processes.
        num_speakers: speakers that can be drawn.
        world_size: number of processes.
    """
    of_process = batch_size // world_size
    normalised = batch_size if options.sync_bn else of_process
    compared = batch_size if options.gather_negatives else of_process
    where = "a batch" if world_size == 1 else "the part of a process"
    is_normalised = options.trunk_lr and not options.freeze_batchnorm  # else a batch of one will do
    if is_normalised and normalised * options.nPerSpeaker < 2:
        raise ValueError(
            f"--batch_size {options.batch_size}: batch norm needs two utterances in {where}; raise it, or "
            "give --sync_bn where several processes have more together"
        )
    if compared < 2 and plugin("loss", options.trainfunc).min_utterances > 1:
        raise ValueError(
            f"--batch_size {options.batch_size}: {options.trainfunc} compares the speakers of {where} and "
            f"needs two; {options.nPerSpeaker} utterances (--nPerSpeaker) are there of {num_speakers}; "
            "raise --batch_size, or leave --gather_negatives on"
        )


def larger_batch_advice(options: Options, num_speakers: int, fewest_utterances: int) -> str:
    """What makes batches larger where there are fewer speakers than --batch_size; "" if nothing does.

    Args:
        options: resolved options.
        num_speakers: of a batch.
        fewest_utterances: the most that each of these speakers can give in an epoch.
    """
    loss = plugin("loss", options.trainfunc)
    # not times --nPerSpeaker: with the advised value there must be no further advice
    requested = options.batch_size * loss.min_utterances // num_speakers
    per_speaker = min(requested, fewest_utterances, getattr(loss, "max_utterances", requested))
    if per_speaker <= options.nPerSpeaker:
        return ""
    return f"; --nPerSpeaker {per_speaker} gives batches of {num_speakers * per_speaker} utterances"
