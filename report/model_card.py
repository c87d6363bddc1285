"""Model card: what a model file is, in Markdown with the front matter that Hugging Face reads.

After Mitchell et al. 2019, "Model cards for model reporting" (arXiv:1810.03993).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from metrics.fields import shown
from report.redaction import redacted_record

TAGS = ["speaker-verification", "speaker-recognition", "speaker-embedding", "pytorch"]
LICENCE = """\
# license: add it here, such as `license: cc-by-4.0`. It is yours to choose, within what the licences of the
# recordings and of the model that training started from allow.
"""


@dataclass(frozen=True)
class ModelFacts:
    """What the card of a model says."""

    title: str
    file: str  # name of the model file
    epoch: int  # -1: the average of several
    num_parameters: int  # without the loss
    embedding_dim: int
    network: Mapping[str, Any]  # options that decide what the network computes
    training: Mapping[str, Any]  # options that decide how it was trained
    train_list: str  # a path; the card names paths without their folders
    num_speakers: int
    num_utterances: int
    hours: float | None  # of the training recordings, where known
    augmentation: str  # "" without
    started_from: str  # path or name of the model that training started from, "" for none
    tests: Sequence[Mapping[str, Any]]  # the model's records in results.jsonl, one for each trial list
    is_best: bool  # whether the first list chose it among the epochs
    run: Mapping[str, Any]  # contents of run.json


def model_card(facts: ModelFacts) -> str:
    """Facts of a model -> its card."""
    parts = [
        _front_matter(facts),
        f"# {shown(facts.title)}\n",
        f"A speaker-verification network, `{facts.network['model']}` with {facts.num_parameters:,} "
        f"parameters. It turns a recording into an embedding of {facts.embedding_dim} numbers; the score of "
        "two embeddings tells whether one person speaks in both recordings.\n",
        f"`{facts.file}` is {_which(facts.epoch)}, with all options that it needs.\n",
        _results(facts),
        _usage(facts.file),
        _data(facts),
        "## Network\n",
        _options(facts.network),
        "## How it was trained\n",
        _options(facts.training),
        _versions(facts.run),
        LIMITS,
    ]
    return "\n".join(parts)


def _which(epoch: int) -> str:
    return f"the network after epoch {epoch}" if epoch >= 0 else "the average of the last saved networks"


LIMITS = """\
## Limits

- It doesn't detect spoofing: synthetic, converted or replayed voices are accepted if they sound alike.
- The threshold depends on the recordings: microphones, codecs, noise, length, language. Measure it on your
  own trials (`trainSpeakerNet.py --eval`) and store it in the model file (`tuneThreshold.py --store`).
- The error rates are those of the lists above. They are higher for short recordings, and may be for other
  microphones, languages and ages.
"""


def _front_matter(facts: ModelFacts) -> str:
    results = []
    for test in _labelled(facts.tests):
        name = shown(test["list"])
        values = {"EER (%)": ("eer", 100.0 * test["eer"])}
        values |= {title: ("min_dcf", test[key]) for title, key in _costs(test).items()}
        metrics = [
            {"name": title, "type": kind, "value": round(value, 4)} for title, (kind, value) in values.items()
        ]
        task = {"type": "speaker-verification", "name": "Speaker verification"}
        results.append({"task": task, "dataset": {"name": name, "type": name}, "metrics": metrics})
    content: dict[str, Any] = {"library_name": "speakernet", "tags": TAGS}
    if results:
        content["model-index"] = [{"name": shown(facts.title), "results": results}]
    return f"---\n{LICENCE}{yaml.safe_dump(content, sort_keys=False, allow_unicode=True)}---\n"


def _labelled(tests: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [test for test in tests if test.get("eer") is not None]


def _costs(test: Mapping[str, Any]) -> dict[str, str]:
    """Title of each minDCF -> its name in a record."""
    names = [name for name in test if name.startswith("min_dcf_")]
    return {f"minDCF({name.removeprefix('min_dcf_')})": name for name in names}


def _results(facts: ModelFacts) -> str:
    tests = _labelled(facts.tests)
    if not tests:
        return "## Results\n\nThere are no figures of labelled trials.\n"
    costs = dict[str, str]()
    for test in tests:  # a resumed run may have other costs than its last test before
        costs |= _costs(test)
    rows = [
        [
            shown(test["list"]),
            f"{test['trials']:,}",
            f"{100.0 * test['eer']:.2f} %",
            *(f"{test[name]:.4f}" if name in test else "-" for name in costs.values()),
            f"{test['threshold']:.4g}",
            test["time"][:10],
        ]
        for test in tests
    ]
    table = _table(["trial list", "trials", "EER", *costs, "threshold at the EER", "date"], rows)
    settings = ", ".join(
        f"`{name} {tests[0][name]}`"
        for name in ("scoring", "eval_frames", "num_eval", "vad", "score_norm")
        if name in tests[0]
    )
    note = f"Scored with {settings}."
    if facts.is_best:
        first = shown(tests[0]["list"])
        note += f" The epoch was chosen by the EER on {first}, which is therefore a little too low."
    return f"## Results\n\n{table}\n{note}\n"


def _usage(file: str) -> str:
    return f"""\
## Use

```bash
python inferSpeakerNet.py compare a.wav b.wav --initial_model {file}
```

```python
from inference import load

voice = load("{file}")
score, accepted = voice.verify_files("a.wav", "b.wav")  # accepted is None without a threshold
```
"""


def _data(facts: ModelFacts) -> str:
    rows = [
        ["list", shown(Path(facts.train_list).name)],
        ["speakers", f"{facts.num_speakers:,}"],
        ["utterances", f"{facts.num_utterances:,}"],
        ["hours", "not known" if facts.hours is None else f"{facts.hours:,.1f}"],
        ["augmentation", facts.augmentation or "none"],
        ["started from", shown(Path(facts.started_from).name) or "random weights"],
    ]
    return "## Training data\n\n" + _table(["", ""], rows)


def _options(values: Mapping[str, Any]) -> str:
    return _table(
        ["option", "value"],
        [[f"`--{name}`", _without_folders(text)] for name, text in redacted_record(values).items()],
    )


def _versions(run: Mapping[str, Any]) -> str:
    packages = {"Python": run.get("python"), **run.get("packages", {})}
    shown_packages = ", ".join(f"{name} {version}" for name, version in packages.items() if version)
    commit = run.get("git_commit") or "unknown"
    return f"Trained on {run.get('device', 'an unknown device')}; {shown_packages}; git commit {commit}.\n"


def _without_folders(text: str) -> str:
    """A value -> its last part if it is a path, which says nothing about the machine; others as they are."""
    return Path(text).name if Path(text).is_absolute() or text.startswith(("./", "../")) else text


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |\n" for line in lines)
