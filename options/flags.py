"""The flags of training and evaluation, each declared once, and their older spellings.

A declaration holds everything that must be known of a flag: its type and default, what the help says, which
commands use it, and whether a resumed run may change it.
"""

import argparse
import enum
import math
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from options.parser import Parser, boolean
from options.plugins import choices

# of --augment_chain
AUGMENTATIONS = ("noise", "music", "babble", "reverb", "speed", "band", "eq", "mulaw", "gain")
EXACT = "fp32"
PRECISIONS = (EXACT, "tf32", "bf16", "fp16")
# as in audio/vad.py and audio/utterances.py, which would slow down --help
DETECTORS = ("none", "energy", "webrtc", "silero")
ALL_CHANNELS = -1
ORIGINS = (
    "wespeaker",
    "3dspeaker",
    "speechbrain",
    "voxblink2",
)  # toolkits with the same networks, as in storage/toolkits.py


class Role(enum.Flag):
    """What else must be known of a flag.

    The flags that choose plug-ins, and these plug-ins' options, need none: a model file keeps those of its
    network, and a resumed run keeps all but those of testing (see fixed_options).
    """

    TRAINING_ONLY = 0
    EVALUATION = enum.auto()  # used by --eval, --prepare and --test
    FIXED = enum.auto()  # a resumed run must keep the value that it started with
    TRIALS = enum.auto()  # which trials are scored
    SCORING = enum.auto()  # how recordings are embedded and compared; stored in the model file
    COHORT = enum.auto()  # which cohort normalises the scores


TEST = Role.TRIALS | Role.SCORING | Role.COHORT  # what error rates depend on, besides the model


class Flag(NamedTuple):
    """A command-line flag; `names` are its spellings, the first one decides the option's name."""

    names: str
    help: str
    default: Any = None
    type: Callable[[str], Any] = str  # bool: takes True or False, or nothing for True
    choices: tuple[str, ...] | None = None
    nargs: str | None = None
    const: Any = None  # the value where `nargs` is "?" and the flag stands alone
    metavar: str | None = None
    roles: Role = Role.TRAINING_ONLY
    augmentations: tuple[str, ...] = ()  # the kinds of augmentation that use it; () if it isn't about them

    @property
    def option(self) -> str:
        """The name of the option that the flag sets."""
        return self.names.split()[0].removeprefix("--")


def at_least(minimum: int) -> Callable[[str], int]:
    """Minimum -> type of a flag that takes whole numbers from there on."""

    def whole(text: str) -> int:
        number = int(text)
        if number < minimum:
            raise argparse.ArgumentTypeError(f"must be at least {minimum}, got {number}")
        return number

    whole.__name__ = "int"  # argparse shows it where the text is not a number
    return whole


def within(low: float, high: float) -> Callable[[str], float]:
    """Limits -> type of a flag that takes numbers in [low, high)."""

    def number(text: str) -> float:
        value = float(text)
        if not low <= value < high:
            raise argparse.ArgumentTypeError(f"must be in [{low:g}, {high:g}), got {text}")
        return value

    number.__name__ = "float"
    return number


def share_or_count(text: str) -> float:
    """A share in [0, 1), or a whole number from 2 on."""
    value = float(text)
    if 0.0 <= value < 1.0:
        return value
    if not 2 <= value < math.inf or value % 1:
        raise argparse.ArgumentTypeError(
            f"must be a share in [0, 1) or a whole number of at least 2, got {text}"
        )
    return int(value)


share_or_count.__name__ = "float"


def threads(text: str) -> int:
    """`auto` -> 0, a number -> itself."""
    if text != "auto" and not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a number or auto, got {text!r}")
    return 0 if text == "auto" else at_least(1)(text)


def auto_or_boolean(text: str) -> bool | str:
    """`auto` -> itself, other words as boolean takes them."""
    return text if text == "auto" else boolean(text)


def port(text: str) -> int:
    """Text -> TCP port, or 0."""
    number = at_least(0)(text)
    if number > 65535:
        raise argparse.ArgumentTypeError(f"must be at most 65535, got {number}")
    return number


def numbers(text: str) -> tuple[float, ...]:
    """`0,15` -> (0.0, 15.0)."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers separated by commas, got {text!r}") from None


def names(text: str) -> tuple[str, ...]:
    """`a,b` -> ("a", "b")."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def path(text: str) -> str:
    """`~/x` -> the path in the home directory, which shells expand only at the start of a word."""
    return os.path.expanduser(text)  # noqa: PTH111  (a Path would turn "" into ".")


def model_name(name: str) -> str:
    """A model's name, or what another program calls it -> the name of the file in models/."""
    return {"VGGVox40": "VGGVox", "ECAPA_TDNN": "ECAPA"}.get(name, name)


CONFIG = Flag(
    "--config",
    "YAML file of `option: value` lines; the command line has priority",
    roles=Role.EVALUATION,
    type=path,
)
ORIGIN = Flag(
    "--origin",
    "toolkit that wrote the model file, where neither its tensors nor a configuration file beside it tell",
    "",
    choices=ORIGINS,
    roles=Role.EVALUATION | Role.FIXED,
)
COMMAND = [
    CONFIG,
    Flag(
        "--stage",
        "the one of the stages of --config (docs/training.md) to do alone; default: all, one after the other",
        "",
        metavar="NAME",
        roles=Role.EVALUATION,
    ),
    Flag("--eval", "score --test_list instead of training", False, bool, roles=Role.EVALUATION),
    Flag(
        "--prepare",
        "compute a cohort from --cohort_list or --train_list, and fit --backend on it, instead of training: "
        "both are saved in the model file, and the cohort also for --cohort",
        False,
        bool,
        roles=Role.EVALUATION,
    ),
    Flag(
        "--test",
        "accept or reject the trials of --test_list by the threshold that tuneThreshold.py --store saved "
        "in the model file, instead of training",
        False,
        bool,
        roles=Role.EVALUATION,
    ),
    Flag(
        "--initial_model",
        "model to evaluate or to start training from: a file, a run folder, a file or folder of another "
        "program, or the name of a public model (inferSpeakerNet.py fetch --list); by default --eval takes "
        "the best model of --save_path",
        "",
        roles=Role.EVALUATION | Role.FIXED,
        type=path,
    ),
    ORIGIN,
    Flag(
        "--ssl_weights",
        "folder of a WavLM, HuBERT, wav2vec 2.0 or w2v-BERT as transformers writes it (config.json, "
        "preprocessor_config.json and the weights), which --features ssl starts from",
        "",
        path,
        metavar="FOLDER",
    ),
    Flag(
        "--head_speakers",
        "file of the speakers of the loss head in --initial_model of a toolkit, one a line in the order of "
        "its rows; without it the head is left out",
        "",
        roles=Role.FIXED,
        type=path,
    ),
    Flag(
        "--allow_partial",
        "load only those weights of --initial_model whose names and shapes match",
        False,
        bool,
        roles=Role.FIXED,
    ),
    Flag(
        "--save_path",
        "run folder; the same command resumes the run",
        "exps/exp1",
        roles=Role.EVALUATION,
        type=path,
    ),
    Flag(
        "--seed",
        "seed of all random draws: weights, batches, crops",
        10,
        at_least(0),
        roles=Role.EVALUATION | Role.FIXED,
    ),
    Flag(
        "--device",
        "auto: the GPU if there is one",
        "auto",
        choices=("auto", "cpu", "cuda"),
        roles=Role.EVALUATION,
    ),
    Flag("--gpu_id --gpu", "index of the GPU", 0, int, roles=Role.EVALUATION),
]
NETWORK = [
    Flag("--model", choices("models"), type=model_name),
    Flag("--features", choices("features"), "logmel"),
    Flag("--encoder_type --encoder", choices("pooling"), "SAP"),
    Flag("--nOut", "embedding size D", 512, at_least(1)),
    Flag(
        "--input_scale",
        "factor on the waveform; 32768 for model files that voxceleb_trainer wrote before 2021-04-24",
        1.0,
        float,
    ),
    Flag(
        "--trainfunc",
        f"{choices('loss')}; or a sum of them, such as aamsoftmax+0.5*angleproto, in which an option that "
        "several have is given once and has the default of the first",
    ),
]
DATA = [
    Flag(
        "--train_list",
        "lines of `speaker path`, a table with a header (client_id, path), or a Kaldi directory",
        "data/train_list.txt",
        roles=Role.EVALUATION,
        type=path,
    ),
    Flag(
        "--exclude",
        "file of paths to leave out, as dataprep.py --check writes it",
        "",
        roles=Role.EVALUATION,
        type=path,
    ),
    Flag("--exclude_may_miss", "accept a file of --exclude with no path of --train_list in it", False, bool),
    Flag(
        "--train_path",
        "folder or pack of the recordings of --train_list",
        "data/voxceleb2/dev/wav",
        roles=Role.EVALUATION,
        type=path,
    ),
    Flag(
        "--validation_speakers",
        "speakers of --train_list that are set aside, of those with at least 4 files: a share in [0, 1), or "
        "their number. Trials made from them choose best.model instead of --test_list, which is scored once, "
        "at the end",
        0,
        share_or_count,
        metavar="SHARE|N",
        roles=Role.EVALUATION | Role.FIXED,
    ),
    Flag(
        "--nClasses",
        "number of classes of a softmax loss; default: the speakers to train on",
        type=at_least(1),
        roles=Role.FIXED,
    ),
    Flag("--nSpeakers", "old name of --nPerSpeaker or --nClasses", type=at_least(1)),
    Flag("--max_frames", "length of a training crop, in frames of 10 ms", 200, int, roles=Role.FIXED),
    Flag(
        "--batch_size",
        "speakers of a batch, all different, over all processes; it has --nPerSpeaker utterances of each",
        200,
        at_least(1),
        roles=Role.FIXED,
    ),
    Flag(
        "--nPerSpeaker",
        "utterances of each speaker in a batch; default: what the loss needs",
        type=int,
        roles=Role.FIXED,
    ),
    Flag(
        "--max_seg_per_spk",
        "maximum number of utterances of a speaker in an epoch",
        500,
        at_least(1),
        roles=Role.FIXED,
    ),
    Flag("--sampler", choices("sampler"), "random"),
    Flag(
        "--nDataLoaderThread",
        "worker processes that read audio",
        min(5, os.cpu_count() or 1),
        at_least(0),
        roles=Role.EVALUATION,
    ),
    Flag("--profile", "after 50 steps, print where the time goes and what would help", False, bool),
    Flag(
        "--skip_bad_audio",
        "leave out recordings that can't be used instead of stopping",
        False,
        bool,
        roles=Role.EVALUATION,
    ),
]
AUGMENTATION = [
    Flag("--augment", "augment the crops as --augment_chain says", False, bool, roles=Role.FIXED),
    Flag(
        "--augment_chain",
        "stages in their order; each applies at most one of its choices, with the given probability; + "
        f"combines kinds. Kinds: {', '.join(AUGMENTATIONS)}. Example: 'speed:2/3 reverb:0.5 "
        "noise:0.3|babble+music:0.3 band+mulaw:0.1'",
        "reverb:0.2|music:0.2|babble:0.2|noise:0.2",
        roles=Role.FIXED,
        augmentations=AUGMENTATIONS,
    ),
    Flag(
        "--musan_path",
        "folder with noise, music and speech in it, or a pack; default: data/musan, or data/musan_split",
        type=path,
    ),
    Flag(
        "--rir_path", "folder or pack of room impulse responses", "data/RIRS_NOISES/simulated_rirs", type=path
    ),
    *(
        Flag(
            f"--snr_{kind}",
            f"range of the signal-to-noise ratio of {kind}, dB",
            snr_db,
            numbers,
            metavar="LOW,HIGH",
            roles=Role.FIXED,
            augmentations=(kind,),
        )
        for kind, snr_db in (("noise", (0.0, 15.0)), ("music", (5.0, 15.0)), ("babble", (13.0, 20.0)))
    ),
    Flag(
        "--babble_voices",
        "number of voices of babble",
        (3.0, 7.0),
        numbers,
        metavar="LOW,HIGH",
        roles=Role.FIXED,
        augmentations=("babble",),
    ),
    Flag(
        "--gain_db",
        "change of level by gain, dB",
        (-10.0, 10.0),
        numbers,
        metavar="LOW,HIGH",
        roles=Role.FIXED,
        augmentations=("gain",),
    ),
    Flag(
        "--eq_db",
        "gain of each octave by eq, dB",
        (-10.0, 10.0),
        numbers,
        metavar="LOW,HIGH",
        roles=Role.FIXED,
        augmentations=("eq",),
    ),
    Flag(
        "--speeds",
        "factors of speed",
        (0.9, 1.1),
        numbers,
        metavar="A,B,...",
        roles=Role.FIXED,
        augmentations=("speed",),
    ),
    Flag(
        "--speed_classes",
        "treat each speed of a speaker as a class of its own",
        True,
        bool,
        roles=Role.FIXED,
        augmentations=("speed",),
    ),
    *(
        Flag(
            f"--mask_{dimension}",
            f"SpecAugment: maximum number of masked {dimension}, also without --augment",
            0,
            at_least(0),
            roles=Role.FIXED,
        )
        for dimension in ("bands", "frames")
    ),
]
SCHEDULE = [
    Flag("--max_epoch", "passes over the training data", 500, at_least(1)),
    Flag("--test_interval", "epochs between tests and saved models", 10, at_least(1)),
    Flag(
        "--save_interval", "minutes between saved states; 0: only after epochs", 10.0, within(0.0, math.inf)
    ),
    Flag("--test_at_start", "also test the untrained network", False, bool),
    Flag("--early_stopping", "stop after --es_patience tests without a lower EER", False, bool),
    Flag("--es_patience", "tests without a lower EER until the run stops", 15, at_least(1)),
    Flag("--tensorboard", "write curves of loss, EER, learning rate and speed for TensorBoard", False, bool),
    Flag(
        "--precision",
        "precision of the network; front end, margins, losses and scores are always float32. auto: with "
        "--eval, --prepare and --test fp32; in training bf16 on CPUs with instructions for it, else fp32. "
        "Tests during training are in fp32",
        "auto",
        choices=("auto", *PRECISIONS),
        roles=Role.EVALUATION | Role.FIXED,
    ),
    Flag("--mixedprec", "the same as --precision fp16", False, bool),
    Flag("--optimizer", choices("optimizer"), "adam"),
    Flag("--scheduler", choices("scheduler"), "steplr"),
    Flag(
        "--trunk_lr",
        "learning rate of front end and model, relative to that of the loss head, which is --lr; 0: they are "
        "frozen, also batch norm's statistics, for which --initial_model is needed",
        1.0,
        within(0.0, math.inf),
        metavar="FACTOR",
        roles=Role.FIXED,
    ),
    Flag(
        "--init_head",
        "what the speakers' vectors of a loss with cosines start as. mean: the mean embeddings of up to 4 "
        "recordings of each by --initial_model; random: random vectors, unless the loss of --initial_model "
        "is kept",
        "random",
        choices=("random", "mean"),
        roles=Role.FIXED,
    ),
    Flag(
        "--teacher",
        "model file, folder or public model; the speakers' vectors of the loss start as its mean embeddings, "
        "instead of those by --initial_model; with --trainfunc distill they are what the network learns",
        "",
        path,
        metavar="MODEL",
    ),
    Flag(
        "--freeze",
        "modules of the network, such as model.layer1,model.conv1, that aren't trained; their batch norm and "
        "dropout work as in evaluation",
        (),
        names,
        metavar="NAME,...",
        roles=Role.FIXED,
    ),
    Flag(
        "--freeze_batchnorm",
        "batch norm keeps the running statistics of --initial_model, and normalises by them; its weights are "
        "trained",
        False,
        bool,
        roles=Role.FIXED,
    ),
    Flag(
        "--margin_schedule",
        "how the margin of the loss rises from 0 to --margin within --margin_epochs; exponential: fast at "
        "first, by 1 - 0.001 ** t",
        "constant",
        choices=("constant", "linear", "exponential"),
        roles=Role.FIXED,
    ),
    Flag(
        "--margin_epochs",
        "numbers of epochs, such as 2.5,5: after A of them the margin begins to rise from 0, after B it is "
        "--margin",
        type=numbers,
        metavar="A,B",
        roles=Role.FIXED,
    ),
    Flag(
        "--accumulate",
        "batches whose gradients are summed for one optimizer step",
        1,
        at_least(1),
        roles=Role.FIXED,
    ),
    Flag("--clip_norm", "largest gradient norm; 0: no limit", 0.0, within(0.0, math.inf), roles=Role.FIXED),
    Flag(
        "--ema_decay",
        "test and save an exponential moving average of the weights with this decay, such as 0.999; 0: the "
        "weights themselves",
        0.0,
        within(0.0, 1.0),
        roles=Role.FIXED,
    ),
    Flag(
        "--average_last",
        "number of last saved models to average into average.model at the end; 0: none",
        0,
        at_least(0),
    ),
    Flag(
        "--nonfinite_patience",
        "consecutive steps skipped for infinite or NaN gradients before training reloads the last state and "
        "halves the learning rate",
        20,
        at_least(1),
    ),
]
EVALUATION = [
    Flag(
        "--test_list",
        "lines of `label enrol test`, `enrol test label` or `enrol test` (labels: 1/0, target/nontarget, "
        "tgt/imp, true/false), a table with the columns modelid, segmentid and targettype, or a Kaldi "
        "directory with the file `trials`; several lists are embedded together, and the first one selects "
        'best.model; "": none',
        ["data/veri_test.txt"],
        nargs="+",
        metavar="LIST",
        roles=Role.EVALUATION | Role.TRIALS,
        type=path,
    ),
    Flag(
        "--test_path",
        "folder or pack of the recordings of --test_list; or a Kaldi directory or wav.scp, if the list names "
        "utterances",
        "data/voxceleb1/test/wav",
        roles=Role.EVALUATION,
        type=path,
    ),
    Flag(
        "--enrol_list",
        "enrolments of several recordings, which are averaged: lines of `model path path ...` (spk2utt and "
        "enroll.map too) or `model path start end`, a table of `modelid segmentid`, or a Kaldi directory",
        "",
        roles=Role.EVALUATION | Role.TRIALS,
        type=path,
    ),
    Flag(
        "--enrol_path",
        "folder of the recordings of the enrolment side, if it isn't --test_path",
        "",
        roles=Role.EVALUATION,
        type=path,
    ),
    Flag(
        "--gallery",
        "with --eval: open-set identification instead of trials; a list of `speaker path` lines, a speaker's "
        "recordings averaged, under --test_path",
        "",
        roles=Role.EVALUATION,
        type=path,
    ),
    Flag(
        "--probe",
        "recordings to find in --gallery, `speaker path` lines; speakers who aren't in it are strangers",
        "",
        roles=Role.EVALUATION,
        type=path,
    ),
    Flag(
        "--reuse_embeddings",
        "with --eval: keep the embeddings in result/embeddings for later runs",
        True,
        bool,
        roles=Role.EVALUATION,
    ),
    Flag(
        "--eval_frames",
        "length of a crop, with --scoring mean of a window, in frames of 10 ms; 0: the whole recording",
        300,
        int,
        roles=Role.EVALUATION | Role.SCORING,
    ),
    Flag(
        "--num_eval",
        "crops or windows of each recording, evenly spaced",
        10,
        at_least(1),
        roles=Role.EVALUATION | Role.SCORING,
    ),
    Flag(
        "--vad",
        "voice activity detector: only the speech that it finds is embedded; none: the whole recording",
        "none",
        choices=DETECTORS,
        roles=Role.EVALUATION | Role.SCORING,
    ),
    Flag(
        "--channel",
        "channel of recordings that have several, in training and evaluation, 0: the first; -1: all are "
        "mixed down, and where they cancel each other the first that is not silent is taken",
        ALL_CHANNELS,
        at_least(ALL_CHANNELS),
        metavar="N",
        roles=Role.EVALUATION | Role.SCORING | Role.FIXED,
    ),
    Flag("--scoring", choices("scoring"), "cosine", roles=Role.EVALUATION | Role.SCORING),
    Flag("--score_norm", choices("normalization"), "none", roles=Role.EVALUATION | Role.COHORT),
    Flag(
        "--backend",
        f"{choices('backend')}; --prepare fits it and saves it in the model file, which then uses it",
        "none",
        roles=Role.EVALUATION,
    ),
    Flag(
        "--subtract_mean",
        "subtract the cohort's mean from all embeddings",
        False,
        bool,
        roles=Role.EVALUATION | Role.COHORT,
    ),
    Flag(
        "--cohort",
        "cohort file that --prepare or --eval wrote, not a list; default: that in the model file or "
        "of a public model",
        "",
        roles=Role.EVALUATION | Role.COHORT,
        type=path,
    ),
    Flag(
        "--cohort_list",
        "list of the cohort's recordings; default: --train_list",
        "",
        roles=Role.EVALUATION | Role.COHORT,
        type=path,
    ),
    Flag(
        "--cohort_path",
        "folder or pack of the recordings of --cohort_list; default: --train_path",
        "",
        roles=Role.EVALUATION | Role.COHORT,
        type=path,
    ),
    Flag(
        "--cohort_entries",
        "speakers: the mean embedding of each; utterances: all embeddings",
        "speakers",
        choices=("speakers", "utterances"),
        roles=Role.EVALUATION | Role.COHORT,
    ),
    Flag(
        "--cohort_utterances",
        "recordings of each speaker, the first ones of the list",
        10,
        at_least(1),
        roles=Role.EVALUATION | Role.COHORT,
    ),
    Flag(
        "--cohort_names",
        "False: save the cohort without names of speakers and recordings and in half precision, to be given "
        "away with a model; it then serves with any --vad, --channel and --precision",
        True,
        bool,
        roles=Role.EVALUATION,
    ),
    Flag(
        "--dcf_p_target",
        "prior of minDCF; figures for 0.01 are always given too",
        0.05,
        float,
        roles=Role.EVALUATION,
    ),
    Flag("--dcf_c_miss", "cost of a miss", 1.0, float, roles=Role.EVALUATION),
    Flag("--dcf_c_fa", "cost of a false alarm", 1.0, float, roles=Role.EVALUATION),
    Flag(
        "--calibrate",
        "with --eval: also write log-likelihood ratios, calibrated on the trials of other speakers",
        False,
        bool,
        roles=Role.EVALUATION,
    ),
    Flag(
        "--report",
        "with --eval: also write det.png and report.html",
        True,
        bool,
        roles=Role.EVALUATION,
    ),
    Flag("--prior", "probability of a target trial, for --test", 0.5, float, roles=Role.EVALUATION),
]
PROCESSES = [
    Flag(
        "--distributed",
        "one process for each GPU of this machine; several machines: torchrun (docs/scaling.md). "
        "--batch_size is that of all processes together",
        False,
        bool,
        roles=Role.EVALUATION,
    ),
    Flag("--nproc", "processes of --distributed; 0: one for each GPU", 0, at_least(0), roles=Role.EVALUATION),
    Flag(
        "--port",
        "TCP port where the processes of --distributed meet; 0: any free one",
        0,
        port,
        roles=Role.EVALUATION,
    ),
    Flag(
        "--rank_timeout",
        "seconds that a step waits for another process before the command ends; frozen processes are noticed "
        "sooner",
        120.0,
        within(1.0, math.inf),
        roles=Role.EVALUATION,
    ),
    Flag(
        "--gather_negatives",
        "losses that compare the utterances of a batch see those of all processes",
        True,
        bool,
        roles=Role.FIXED,
    ),
    Flag("--sync_bn", "batch norm over the batch of all processes", False, bool, roles=Role.FIXED),
    Flag("--shard_head", "split the classes of a softmax loss over the processes", False, bool),
    Flag(
        "--threads",
        "threads on the CPU; auto: the cores of this process",
        0,
        threads,
        metavar="N|auto",
        roles=Role.EVALUATION,
    ),
    Flag(
        "--compile",
        "compile the network for training: a minute slower to start, then a tenth to a fifth faster; needs a "
        "C++ compiler. auto: where there is one and the training is long enough; a resumed run keeps it",
        False,
        auto_or_boolean,
        nargs="?",
        const=True,
        metavar="True|False|auto",
    ),
]
GROUPS = {
    "command": COMMAND,
    "network": NETWORK,
    "training data": DATA,
    "augmentation of the training data": AUGMENTATION,
    "training": SCHEDULE,
    "evaluation": EVALUATION,
    "processes and memory": PROCESSES,
}
FLAGS = [flag for flags in GROUPS.values() for flag in flags]
# What other programs call the flags (docs/migrating.md).
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


# Scoring options that cohorts and thresholds of earlier versions lack, and the defaults that these were made
# with. They are left out of what is hashed and stored while they have the default, so that those stay valid.
ADDED_SCORING = {flag.option: flag.default for flag in FLAGS if flag.option in ("vad", "channel")}
ADDED_SCORING["precision"] = EXACT


def names_of(roles: Role) -> list[str]:
    """Roles -> the options whose flags have one of them."""
    return [flag.option for flag in FLAGS if flag.roles & roles]


def scoring_options(values: Mapping[str, Any]) -> dict[str, Any]:
    """Resolved options -> how recordings are embedded and compared, as it is hashed and stored."""
    deciding = {name: values[name] for name in names_of(Role.SCORING)}
    deciding["precision"] = embedding_precision(values)
    defaults = ADDED_SCORING.items()
    return {name: value for name, value in deciding.items() if (name, value) not in defaults}


def embedding_precision(values: Mapping[str, Any]) -> str:
    """Resolved options -> the precision that embeddings are computed in; in tests during training EXACT."""
    return values["precision"] if values.get("eval") else EXACT


def training_parser(description: str, add_help: bool) -> Parser:
    """The flags of trainSpeakerNet.py; `resolve` adds those of the chosen plug-ins."""
    parser = Parser(description, add_help, SPELLINGS)
    for title, flags in GROUPS.items():
        parser.add_flags(title, flags)
    return parser


def network_parser(description: str, add_help: bool) -> Parser:
    """The flags that decide what a network computes and how it is evaluated."""
    parser = Parser(description, add_help, SPELLINGS)
    parser.add_flags("command", [CONFIG, ORIGIN])
    parser.add_flags("network", NETWORK)
    parser.add_flags("evaluation", EVALUATION)
    return parser
