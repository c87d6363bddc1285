"""The model card: its front matter, figures and commands follow from the facts; nothing of the machine."""

import re
from dataclasses import replace

import pytest
import yaml

from report.model_card import ModelFacts, model_card

TEST = {
    "time": "2026-11-30T10:00:00+0000",
    "event": "test",
    "epoch": 20,
    "scoring": "cosine",
    "eval_frames": 0,
    "trials": 2000,
    "list": "test_list",
    "eer": 0.091234,
    "min_dcf_0.05": 0.5,
    "min_dcf_0.01": 0.625,
    "threshold": 0.31,
}
FACTS = ModelFacts(
    title="demo",
    file="best.model",
    epoch=20,
    num_parameters=1437080,
    embedding_dim=512,
    network={"model": "ResNetSE34L", "encoder_type": "ASP", "weights": "/home/me/w.pt"},
    training={"augment_chain": "noise:0.3|music:0.3", "hub_token": "s3cret"},
    train_list="/home/me/data/train_list.txt",
    num_speakers=100,
    num_utterances=800,
    hours=None,
    augmentation="",
    started_from="",
    tests=[TEST, {"list": "unlabelled", "trials": 7}],
    is_best=True,
    run={"git_commit": "abc123", "python": "3.11.9", "packages": {"torch": "2.13.0", "scipy": None}},
)


def front_matter(card):
    assert card.startswith("---\n")
    return yaml.safe_load(card.split("---\n")[1])


def test_the_front_matter_holds_the_figures_of_labelled_lists():
    front = front_matter(model_card(FACTS))
    assert front["library_name"] == "speakernet" and "speaker-verification" in front["tags"]
    assert "license" not in front
    (model,) = front["model-index"]
    (result,) = model["results"]
    assert model["name"] == "demo" and result["dataset"]["name"] == "test_list"
    assert {metric["name"]: metric["value"] for metric in result["metrics"]} == {
        "EER (%)": 9.1234,
        "minDCF(0.05)": 0.5,
        "minDCF(0.01)": 0.625,
    }


def test_tables_hold_the_facts():
    card = model_card(FACTS)
    for line in (
        "| test_list | 2,000 | 9.12 % | 0.5000 | 0.6250 | 0.31 | 2026-11-30 |",
        "Scored with `scoring cosine`, `eval_frames 0`. The epoch was chosen by the EER on test_list",
        "`ResNetSE34L` with 1,437,080 parameters",
        "| list | train_list.txt |",
        "| hours | not known |",
        "| started from | random weights |",
        r"| `--augment_chain` | noise:0.3\|music:0.3 |",
        "Python 3.11.9, torch 2.13.0; git commit abc123.",
    ):
        assert line in card
    assert "| hours | 2.5 |" in model_card(replace(FACTS, hours=2.5))


def test_nothing_of_the_machine_and_no_secret_is_in_it():
    for folder in ("/home/me/", "home/me/", "../me/"):
        paths = {"train_list": f"{folder}train.txt", "started_from": f"{folder}old/best.model"}
        card = model_card(replace(FACTS, **paths))
        assert "me/" not in card and "s3cret" not in card
        assert "| list | train.txt |" in card and "| started from | best.model |" in card
        assert "| `--weights` | w.pt |" in card
    assert "| started from | ge2e |" in model_card(replace(FACTS, started_from="ge2e"))


def test_lists_may_have_been_tested_with_different_costs():
    other = {name: value for name, value in TEST.items() if not name.startswith("min_dcf")}
    card = model_card(replace(FACTS, tests=[TEST, other | {"list": "second", "min_dcf_0.1": 0.75}]))
    assert "| test_list | 2,000 | 9.12 % | 0.5000 | 0.6250 | - | 0.31 |" in card
    assert "| second | 2,000 | 9.12 % | - | - | 0.7500 | 0.31 |" in card


def test_without_labelled_trials_it_says_so():
    card = model_card(replace(FACTS, tests=[], is_best=False))
    assert "There are no figures of labelled trials." in card and "model-index" not in front_matter(card)


@pytest.mark.parametrize("name", ["a: b # c", "-", "é\udcff|"])
def test_any_name_keeps_the_front_matter_valid(name):
    card = model_card(replace(FACTS, title=name, tests=[TEST | {"list": name}]))
    (model,) = front_matter(card)["model-index"]
    assert model["name"] == model["results"][0]["dataset"]["name"] == name.replace("\udcff", r"\xff")


def test_its_commands_and_python_lines_are_valid():
    card = model_card(FACTS)
    (python,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    compile(python, "card", "exec")
    assert "inferSpeakerNet.py compare a.wav b.wav --initial_model best.model" in card
