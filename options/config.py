"""Config files: YAML of `option: value` lines, and `stages:`, a list of such mappings."""

import re
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from options.flags import FLAGS, SPELLINGS
from options.parser import Parser, nearest

YAML_RULES = ("tag:yaml.org,2002:null", "tag:yaml.org,2002:merge")  # for plain values, as they are kept
SEVERAL = {flag.option for flag in FLAGS if flag.nargs}  # flags that take several words
MODES = ("eval", "prepare", "test")
START = (
    "initial_model",
    "origin",
    "head_speakers",
    "allow_partial",
    "init_head",
    "teacher",
    "ssl_weights",
)  # what a training starts from
# What all stages have in common: where the run is, and its processes.
OF_RUN = ("save_path", "device", "gpu_id", "gpu", "distributed", "nproc", "port", "rank_timeout", "threads")


class PlainLoader(yaml.SafeLoader):
    """Leaves plain values as they are written: YAML would read 010 as 8, 1:30 as 90 and a date as a date."""

    yaml_implicit_resolvers: typing.ClassVar = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag in YAML_RULES]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class Config(NamedTuple):
    """A config file: where it is, its options, and those of each stage by the stage's name."""

    path: str
    entries: dict[str, Any]
    stages: dict[str, dict[str, Any]]

    def sources(self, stage: str = "") -> dict[str, list[str]]:
        """Name of a stage, "" for none -> argv tokens by what is said of a mistake in them, in their order.

        A stage has the values of the file and of the stages before it, unless it has its own. What a training
        starts from is the first stage's only, what is done instead of training each stage's own.

        Raises:
            ValueError: the file has no such stage.
        """
        if not stage:
            return {f"--config {self.path}: ": tokens(self.entries)}
        if stage not in self.stages:
            among = (
                f"{nearest(stage, self.stages)} ({', '.join(self.stages)})" if self.stages else "no stages"
            )
            raise ValueError(f"--stage {stage}: {among} in --config {self.path}")
        names = list(self.stages)
        earlier = names[: names.index(stage)]
        inherited = {f"--config {self.path}: ": self.entries if not earlier else _without(self.entries)}
        inherited |= {self._place(name): _without(self.stages[name]) for name in earlier}
        inherited[self._place(stage)] = self.stages[stage]
        return {place: tokens(entries) for place, entries in inherited.items()}

    def _place(self, stage: str) -> str:
        return f"--config {self.path}, stage {stage}: "


def _without(entries: Mapping[str, Any]) -> dict[str, Any]:
    """Options that hold for one stage only are left out."""
    return {key: value for key, value in entries.items() if _option(key) not in (*START, *MODES)}


def _option(key: str) -> str:
    return SPELLINGS.get(key, key)


def read_config(path: str) -> Config:
    """YAML file of `option: value` -> its options and stages.

    Raises:
        FileNotFoundError, ValueError: it is missing or has another form.
    """
    try:
        content = yaml.load(Path(path).read_text(encoding="utf-8"), PlainLoader) or {}
    except FileNotFoundError:
        raise FileNotFoundError(f"--config {path}: no such file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"--config {path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ValueError(f"--config {path}: expected lines of `option: value`")
    listed = content.pop("stages", None)
    _check_entries(content, f"--config {path}: ", ("config", "stage"))
    if listed is None:
        return Config(path, content, {})
    for mode in MODES:
        if mode in content:
            raise ValueError(f"--config {path}: {mode} is for one stage; write it into that one")
    return Config(path, content, _read_stages(listed, path))


def _read_stages(listed: Any, path: str) -> dict[str, dict[str, Any]]:
    """The list under `stages:` -> the options of each stage by its name."""
    if not isinstance(listed, list) or not listed or not all(isinstance(each, dict) for each in listed):
        raise ValueError(f"--config {path}: stages: expected a list of `option: value` lines for each stage")
    stages = dict[str, dict[str, Any]]()
    for number, entries in enumerate(listed, 1):
        name = str(entries.pop("stage", number))
        place = f"--config {path}, stage {name}: "
        if not re.fullmatch(r"[a-z0-9_-]+", name):
            raise ValueError(f"{place}a name has small letters, digits, - and _ only")
        if name in stages:
            raise ValueError(f"{place}another stage has this name")
        _check_entries(entries, place, ("config", "stages"))
        for key in entries:
            if _option(key) in OF_RUN:
                raise ValueError(f"{place}{key} is for the whole run; write it above the stages")
        stages[name] = entries
    return stages


def _check_entries(entries: Mapping[str, Any], place: str, refused: tuple[str, ...]) -> None:
    """Raises ValueError for a key that is refused, or a value that is neither plain nor a list."""
    for key, value in entries.items():
        parts = value if isinstance(value, list) else [value]
        if key in refused or not parts or not all(isinstance(part, str | int | float) for part in parts):
            raise ValueError(f"{place}{key}: expected a value or a list of them, got {value!r}")


def tokens(entries: Mapping[str, Any]) -> list[str]:
    """Options -> the argv tokens that say the same."""
    return [token for key, value in entries.items() for token in _tokens(key, value)]


def _tokens(key: str, value: Any) -> list[str]:
    """`key: value` -> its tokens; a list is one token, `a,b`, but for flags that take several words."""
    words = [str(part) for part in value] if isinstance(value, list) else [str(value)]
    if isinstance(value, list) and _option(key) in SEVERAL:
        return [f"--{key}", *words]
    return [f"--{key}={','.join(words)}"]


def stage_lines(parser: Parser, argv: list[str]) -> dict[str, list[str]]:
    """Command line -> that of each stage by its name; {} where --config has none, or --stage chooses one.

    --initial_model and what belongs to it are about the first stage.

    Raises:
        FileNotFoundError, ValueError: the config file can't be read; --eval, --prepare or --test is given.
    """
    values = parser.parse_known_args(argv)[0]
    if not values.config or values.stage:
        return {}
    stages = list(read_config(values.config).stages)
    for mode in MODES:
        if stages and getattr(values, mode):
            raise ValueError(
                f"--{mode}: the stages of --config {values.config} say what is evaluated; leave out "
                "--config, or choose one with --stage"
            )
    starting = Parser(None, add_help=False, spellings=SPELLINGS)
    starting.add_flags("", [flag for flag in FLAGS if flag.option in START])
    rest = starting.parse_known_args(argv)[1]
    return {name: [*(rest if number else argv), f"--stage={name}"] for number, name in enumerate(stages)}
