"""Precedence, plug-in options, config files, old spellings, and what is refused."""

from contextlib import nullcontext
from pathlib import Path

import pytest
from conftest import ROOT, assert_refused, run_here

import metrics.flags
import options
import preparation.flags
import trainSpeakerNet
from options import flags
from options.config import tokens
from options.parser import Parser
from options.resolve import resolve
from storage.run_state import RunIdentity

NEEDED = ["--model", "ResNetSE34L", "--trainfunc", "angleproto"]


def parse(*argv):
    """Words of a command line -> resolved options and warnings."""
    args, _, warnings = trainSpeakerNet.parse([*NEEDED, *map(str, argv)])
    return args, warnings


def with_config(tmp_path, text, *argv):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    return parse("--config", path, *argv)


def test_the_later_source_wins(tmp_path, monkeypatch):
    assert parse()[0].n_mels == 40 and parse()[0].encoder_type == "SAP"
    args, _ = with_config(tmp_path, "n_mels: 64\nlr: 0.01\nencoder_type: ASP\n")
    assert (args.n_mels, args.lr, args.encoder_type) == (64, 0.01, "ASP")
    args, _ = with_config(tmp_path, "n_mels: 64\nlr: 1e-2\n", "--n_mels", 32)
    assert (args.n_mels, args.lr) == (32, 0.01)
    monkeypatch.setattr("models.ResNetSE34L.DEFAULTS", {"n_mels": 50, "nOut": 100, "window": "hann"})
    args, _ = with_config(tmp_path, "nOut: 200\n")
    assert (args.n_mels, args.nOut, args.window) == (50, 200, "hann")

    def core(add_help):
        return flags.training_parser("", add_help)

    stored = {"n_mels": 60, "nOut": 300, "model": "ResNetSE34L"}
    args = resolve(core, ["--nOut", "400"], stored).options
    assert (args.n_mels, args.nOut, args.window) == (60, 400, "hann")


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ([], True),
        (["--log_input"], True),
        (["--log_input", "True"], True),
        (["--log_input", "1"], True),
        (["--log_input", "False"], False),
        (["--log_input=0"], False),
    ],
)
def test_boolean_options_stand_bare_or_with_a_value(words, value):
    assert parse(*words)[0].log_input is value


@pytest.mark.parametrize("words", [["--depth", 50], ["--config", "depth.yaml"]])
def test_integers_to_choose_from_are_integers(tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "depth.yaml").write_text("depth: 50\n")
    assert parse("--model", "ResNet", *words)[0].depth == 50
    with pytest.raises(ValueError, match=r"argument --depth: invalid int value: 'deep'"):
        parse("--model", "ResNet", "--depth", "deep")


def test_options_of_a_plugin_that_was_not_chosen_warn():
    args, warnings = parse("--margin", 0.2, "--lr_decay", 0.9, "--momentum=0.8")
    assert list(warnings) == [
        "--margin has no effect with --trainfunc angleproto",
        "--momentum has no effect with --optimizer adam",
    ]
    assert args.lr_decay == 0.9 and not hasattr(args, "margin")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nclases", 5], r"--nclases: unknown; did you mean nClasses"),
        (["--marign", 0.1], r"--marign: unknown; did you mean margin"),
        (["--trainfunc", "angelproto"], r"--trainfunc angelproto: unknown; did you mean angleproto"),
        (["--model", "ResNetSE34M"], r"--model ResNetSE34M: unknown; did you mean ResNetSE34"),
        (["--input_scale", 0], r"--input_scale must be positive"),
        (["--n_mels", "many"], r"argument --n_mels: invalid int value: 'many'"),
        (["--log_input", "perhaps"], r"expected True or False, got 'perhaps'"),
        (["--window", "kaiser"], r"invalid choice: 'kaiser'"),
        (["stray"], r"unexpected argument 'stray'"),
        (["--batch_size", 0], r"--batch_size: must be at least 1"),
        (["--nPerSpeaker", 1], r"--nPerSpeaker 1: angleproto needs at least 2"),
        (["--max_frames", 1], r"--max_frames must be at least 29"),
        (["--eval_frames", 28], r"--eval_frames must be at least 29"),
        (["--dcf_p_target", 5], r"0 < --dcf_p_target < 1"),
        (
            ["--eval", "--save_path", "absent"],
            r"--eval needs --initial_model FILE; absent/model has no model",
        ),
        (["--config", "absent.yaml"], r"--config absent\.yaml: no such file"),
    ],
)
def test_refused(words, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        parse(*words)


PATHS = ("train_list", "train_path", "exclude", "musan_path", "rir_path", "test_path", "enrol_list")
PATHS += ("enrol_path", "cohort_list", "cohort_path", "save_path")


@pytest.mark.parametrize("name", PATHS)
def test_a_tilde_is_the_home_directory_in_a_config_and_after_an_equals_sign(tmp_path, monkeypatch, name):
    monkeypatch.setenv("HOME", "/home/anna")
    (tmp_path / "c.yaml").write_text(f"{name}: ~/x y\ntest_list: [~/a.txt, ~/b.txt]\n")
    config = parse(f"--config={tmp_path / 'c.yaml'}")[0]
    assert config[name] == "/home/anna/x y" and config.test_list == ["/home/anna/a.txt", "/home/anna/b.txt"]
    typed = parse(f"--{name}=~/x", "--test_list=~/a.txt")[0]
    assert typed[name] == "/home/anna/x" and typed.test_list == ["/home/anna/a.txt"]


def test_a_tilde_is_the_home_directory_for_the_other_commands_too(monkeypatch):
    monkeypatch.setenv("HOME", "/home/anna")
    parser = Parser(None)
    preparation.flags.add_flags(parser, [])
    prepared = parser.parse_args(["--from=~/x", "--save_path=~/y"])
    assert (prepared.source, prepared.save_path) == (Path("/home/anna/x"), Path("/home/anna/y"))
    figures = metrics.flags.figures_parser().parse_args(["~/s.txt", "--store=~/m", "--conditions=~/c"])
    assert (figures.scores, figures.store, figures.conditions) == (
        ["/home/anna/s.txt"],
        "/home/anna/m",
        "/home/anna/c",
    )


@pytest.mark.parametrize("value", ["010", "1:30", "2024-01-01", "1_000", "no", "0x1F", "1e3", ".5"])
def test_yaml_reads_values_as_they_are_written(tmp_path, value):
    """Not as an octal number, 90 seconds, a date, 1000, False, 31, a float."""
    assert with_config(tmp_path, f"save_path: {value}\n")[0].save_path == value


def test_yaml_may_share_mappings_and_name_types(tmp_path):
    text = "save_path: !!str 010\nnOut: !!int 64\ntest_list: ['a.txt', b.txt]\n"
    values = with_config(tmp_path, text)[0]
    assert (values.save_path, values.nOut, values.test_list) == ("010", 64, ["a.txt", "b.txt"])
    lists = {"freeze": ["model.a", "model.b"], "speeds": ["0.8", "1.1"], "eval_list": ["a.txt", "b.txt"]}
    assert tokens(lists) == [
        "--freeze=model.a,model.b", "--speeds=0.8,1.1", "--eval_list", "a.txt", "b.txt"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nLcasses: 5994\n", r"--config .*c\.yaml: --nLcasses: unknown; did you mean nClasses"),
        ("n_mels: many\n", r"--config .*c\.yaml: argument --n_mels: invalid int"),
        ("batch_size: 1.5\n", r"c\.yaml: argument --batch_size: invalid int"),
        ("- a\n", r"expected lines of `option: value`"),
        ("n_mels: [1, 2]\n", "argument --n_mels: invalid int value: '1,2'"),
        ("n_mels:\n", r"n_mels: expected a value or a list of them, got None"),
        ("a: b: c\n", r"not YAML"),
    ],
)
def test_refused_config_files(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        with_config(tmp_path, text)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--encoder", "ASP"], {"encoder_type": "ASP"}),
        (["--gpu", 0], {"gpu_id": 0}),
        (["--nSpeakers", 3], {"nPerSpeaker": 3, "nClasses": None}),
        (["--nSpeakers", 5994], {"nPerSpeaker": 2, "nClasses": 5994}),
        (["--nSpeakers", 50, "--nPerSpeaker", 2], {"nPerSpeaker": 2, "nClasses": 50}),
        (["--trainfunc", "triplet", "--nSpeakers", 50], {"nPerSpeaker": 2, "nClasses": 50}),
        (["--model", "VGGVox40"], {"model": "VGGVox"}),
        (["--trainfunc", "softmax", "--nSpeakers", 50], {"nPerSpeaker": 1, "nClasses": 50}),
        (["--trainfunc", "amsoftmax", "--margin", 0.3, "--scale", 30], {"margin": 0.3, "scale": 30.0}),
        ([], {"nPerSpeaker": 2}),
        (["--augment", "False", "--distributed", 0], {}),
    ],
)
def test_old_spellings(words, expected):
    args, _ = parse(*words)
    for name, value in expected.items():
        assert getattr(args, name) == value


# Every flag of voxceleb_trainer's trainSpeakerNet.py with a value that its users give.
VOXCELEB_TRAINER = """config max_frames=200 eval_frames=300 batch_size=200 max_seg_per_spk=500
nDataLoaderThread=5 augment seed=10 test_interval=10 max_epoch=500 trainfunc=amsoftmax
optimizer=adam scheduler=steplr lr=.001 lr_decay=.95 weight_decay=0 hard_prob=.5 hard_rank=10 margin=.1
scale=30 nPerSpeaker=1 nClasses=5994 nSpeakers=5994 dcf_p_target=.05 dcf_c_miss=1 dcf_c_fa=1
initial_model save_path=exps/exp1 train_list=data/train_list.txt test_list=data/veri_test.txt
train_path=data/voxceleb2/dev/wav test_path=data/voxceleb1/test/wav musan_path=data/musan_split
rir_path=data/RIRS_NOISES n_mels=40 log_input model=ResNetSE34L encoder_type=SAP nOut=512
sinc_stride=10 eval port=8888 distributed mixedprec gpu_id=0"""


@pytest.mark.parametrize("word", VOXCELEB_TRAINER.split())
def test_every_flag_of_voxceleb_trainer_works(word):
    name = word.partition("=")[0]
    loss, model = {"hard_prob": "triplet", "hard_rank": "triplet"}.get(name, "amsoftmax"), "ResNetSE34L"
    words = ["--trainfunc", loss, "--model", "RawNet3" if name == "sinc_stride" else model]
    words += [] if name in ("config", "initial_model", "eval", "model", "trainfunc") else [f"--{word}"]
    _, warnings = parse(*words)
    assert not warnings


# Every command of voxceleb_trainer's README over its history (but --eval, --config and --distributed), and
# what it meant.
COMMANDS = {
    "--model ResNetSE34 --encoder SAP --trainfunc amsoftmax --optimizer adam --save_path data/exp1 "
    "--batch_size 200 --max_frames 200 --scale 30 --margin 0.3": {
        "model": "ResNetSE34", "encoder_type": "SAP", "features": "spectrogram", "log_input": False,
        "margin": 0.3, "scale": 30.0, "nPerSpeaker": 1, "optimizer": "adam",
    },
    "--model ResNetSE34L --trainfunc angleproto --batch_size 400 --nSpeakers 2": {
        "nPerSpeaker": 2, "nClasses": None, "log_input": True, "n_mels": 40, "batch_size": 400,
    },
    "--model ResNetSE34L --encoder SAP --trainfunc amsoftmax --nSpeakers 5994 --batch_size 200 --scale 30 "
    "--margin 0.3": {"nClasses": 5994, "nPerSpeaker": 1, "log_input": True, "margin": 0.3},
    "--model ResNetSE34L --trainfunc angleproto --nPerSpeaker 2 --batch_size 200": {"nPerSpeaker": 2},
    "--model ResNetSE34L --log_input --encoder_type SAP --trainfunc amsoftmax --save_path exps/exp1 "
    "--nClasses 5994 --batch_size 200 --scale 30 --margin 0.3": {"log_input": True, "nClasses": 5994},
    "--model ResNetSE34L --log_input True --encoder_type SAP --trainfunc angleproto --nPerSpeaker 2 "
    "--batch_size 400": {"log_input": True, "encoder_type": "SAP"},
    "--model VGGVox --encoder TAP --trainfunc softmax": {"model": "VGGVox", "window": "hann", "n_mels": 40},
    "--model ResNetSE34V2 --log_input True --encoder_type ASP --n_mels 64 --trainfunc softmaxproto": {
        "pre_emphasis": 0.97, "n_mels": 64, "encoder_type": "ASP", "nPerSpeaker": 2,
    },
    # TaoRuijie's ECAPA-TDNN
    "--model ECAPA_TDNN --trainfunc aamsoftmax --num_frames 300 --n_cpu 2 --test_step 1 --lr_decay .97 "
    "--C 512 --m .2 --s 30 --n_class 5994 --eval_list a --eval_path b": {
        "model": "ECAPA", "max_frames": 300, "nDataLoaderThread": 2, "test_interval": 1, "lr_decay": 0.97,
        "channels": 512, "margin": 0.2, "scale": 30.0, "nClasses": 5994, "test_list": ["a"], "test_path": "b",
        "encoder_type": "ECA", "nOut": 192, "n_mels": 80, "f_min": 20.0, "f_max": 7600.0,
    },
    # the Voice Verification fork
    "--model ResNetSE34V2 --criterion amsoftmax --callbacks steplr --early_stop True --es_patience 20": {
        "trainfunc": "amsoftmax", "scheduler": "steplr", "early_stopping": True, "es_patience": 20,
    },
    # DeepSpeaker-pytorch
    "--model DeepSpeaker --trainfunc softmaxtriplet --epochs 50 --embedding-size 512 --margin .1 --wd 0 "
    "--min-softmax-epoch 2 --loss-ratio 2 --optimizer adagrad --lr .1 --lr-decay 1e-4 --log-dir x "
    "--test-pairs-path y --batch-size 64": {
        "max_epoch": 50, "nOut": 512, "weight_decay": 0.0, "min_softmax_epoch": 2, "loss_ratio": 2.0,
        "save_path": "x", "test_list": ["y"], "features": "psf", "n_mels": 64,
        "rate_decay": 1e-4, "batch_size": 64,
    },
}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_the_ancestors_keep_their_meaning(command):
    args, _, warnings = trainSpeakerNet.parse(command.split())
    assert {name: getattr(args, name) for name in COMMANDS[command]} == COMMANDS[command]
    assert not warnings


@pytest.mark.parametrize("name", ["ResNetSE34L_AM", "ResNetSE34L_AP", "RawNet3_AAM"])
def test_recipes_of_voxceleb_trainer_have_their_values(name):
    args, _, warnings = trainSpeakerNet.parse(["--config", str(ROOT / "configs" / f"{name}.yaml")])
    assert not warnings
    expected = {
        "ResNetSE34L_AM": ("ResNetSE34L", "SAP", "amsoftmax", 200, 30.0, 0.3, 5994),
        "ResNetSE34L_AP": ("ResNetSE34L", "SAP", "angleproto", 200, None, None, None),
        "RawNet3_AAM": ("RawNet3", "ECA", "aamsoftmax", 32, 30.0, 0.1, None),
    }[name]
    found = (args.model, args.encoder_type, args.trainfunc, args.batch_size, *(
        getattr(args, option, None) for option in ("scale", "margin", "nClasses")
    ))  # fmt: skip
    assert found == expected
    if name == "RawNet3_AAM":
        assert (args.nOut, args.sinc_stride, args.max_frames, args.eval_frames) == (256, 10, 300, 400)
        assert (args.lr_decay, args.weight_decay, args.max_seg_per_spk) == (0.75, 5e-05, 500)


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_recipes_parse_and_give_their_reasons(path):
    text = path.read_text()
    if "initial_model:" in text:  # a public model, which isn't here
        assert options.resolve(trainSpeakerNet.make_parser, ["--config", str(path)]).options.initial_model
    else:
        assert not trainSpeakerNet.parse(["--config", str(path)]).warnings
    assert "#" in text


def test_help_documents_the_chosen_plugins():
    result = run_here("trainSpeakerNet.py", "--trainfunc", "amsoftmax", "--model=ResNetSE34L", "--help")
    assert result.returncode == 0
    for words in ("loss/amsoftmax.py", "from the true speaker's cosine", "features/logmel.py", "--n_mels"):
        assert words in result.stdout
    assert "--init_w" not in result.stdout
    assert all(name in result.stdout for name in options.available("loss"))


def test_a_mistake_is_one_line():
    assert_refused(run_here("trainSpeakerNet.py", *NEEDED, "--max_epochs", 3), "did you mean max_epoch")
    assert_refused(run_here("trainSpeakerNet.py"), "--model is needed", "ResNetSE34L")
    assert_refused(run_here("trainSpeakerNet.py", "--model", "ResNetSE34L"), "--trainfunc is needed")


@pytest.mark.parametrize("words", ["--origin=wespeaker", "--head_speakers=speakers.txt"])
def test_what_describes_a_model_file_needs_one(words):
    flag = words.partition("=")[0]
    with pytest.raises(ValueError, match=f"^{flag} is about the file of --initial_model, which isn't given$"):
        trainSpeakerNet.parse([*NEEDED, words])


def test_a_state_from_before_an_option_was_added_had_its_default():
    words = ["--model=GE2E", "--trainfunc=aamsoftmax"]
    then, now = (trainSpeakerNet.parse([*words, *more]).options for more in ([], ["--sync_bn"]))
    fixed = {name: value for name, value in options.fixed_options(then).items() if name != "sync_bn"}
    state = {"utterances": "u", "material": "", "fixed": fixed}
    for values in (then, now):
        identity = RunIdentity(
            utterances="u",
            material="",
            fixed=options.fixed_options(values),
            added=options.fixed_defaults(values),
            test={},
            max_epoch=1,
        )
        expected = pytest.raises(ValueError, match="a run with --sync_bn False, not True")
        with expected if values is now else nullcontext():
            identity.require_same_run(state, Path("last.state"))
