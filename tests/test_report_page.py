"""The report page: its numbers, escaping, secrets, recordings, and how a browser shows it."""

import re
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest
from browser import chromium, open_page
from conftest import ROOT
from synthetic_trials import NUM_PLAYERS, UNSAFE_NAME, SyntheticTrials

from metrics import summary
from metrics.score_files import read_score_file
from report import page
from report.players import Players, mp3_base64


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    return SyntheticTrials(tmp_path_factory.mktemp("synthetic"))


@pytest.fixture(scope="module")
def report(synthetic, tmp_path_factory):
    """Path of a report on two systems with everything that a page can hold, and the systems."""
    folder = tmp_path_factory.mktemp("report") / "50% of #1"
    conditions = {"<i>accent</i>": [str(i % 2) for i in range(12)]}
    systems = [
        synthetic.measure("<img src=x onerror=alert(1)> $name {{ 7 * 7 }}", conditions=conditions, llr=True),
        synthetic.measure("_other", p_miss=(0.05,), p_targets=(0.5,)),
    ]
    return synthetic.write_report(folder, systems), systems


class Elements(HTMLParser):
    """Start tags with their attributes, and the texts between tags."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.texts = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):  # noqa: D102
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):  # noqa: D102
        self.texts.append(data)


def test_the_page_shows_the_figures(report):
    path, systems = report
    shown = [
        attrs for tag, attrs in Elements(path.read_text()).tags if tag == "data" and "data-name" in attrs
    ]
    for system in systems:
        for name, value in system.figures.items():
            assert {"data-name": name, "value": repr(value)} in shown
    text = path.read_text()
    low, high = systems[0].intervals["eer"]
    assert f"{100 * low:.2f} to {100 * high:.2f} %" in text
    assert "4 speakers were drawn 60 times" in text and "too narrow" not in text


def test_names_and_values_are_escaped(report):
    text = report[0].read_text()
    elements = Elements(text)
    assert text.count("<script") == 1 and "<img" not in text and "<i>accent" not in text and "<b>" not in text
    assert not [attrs for _, attrs in elements.tags if any(name.startswith("on") for name in attrs)]
    assert UNSAFE_NAME in elements.texts
    assert "<img src=x onerror=alert(1)> $name {{ 7 * 7 }}" in elements.texts
    labels = {attrs["aria-label"] for tag, attrs in elements.tags if tag == "audio"}
    assert UNSAFE_NAME in labels


def test_secrets_do_not_appear(report):
    text = report[0].read_text()
    assert "hush" not in text
    assert "trainSpeakerNet.py --save_path 'a b' --hf_token '(not shown)' '--api_key=" in unescape(text)
    assert "(not shown)@example.org/x" in text and "margin" in text


def test_nothing_is_fetched_from_elsewhere(report):
    text = re.sub(r"<dd>.*?</dd>", "", report[0].read_text())
    text = re.sub(r' xmlns(:xlink)?="http://www.w3.org/[^"]*"', "", text)  # names, never fetched
    assert "http://" not in text and "https://" not in text and "@import" not in text
    assert {url for url in re.findall(r"url\(([^)]*)\)", text) if not url.startswith("#")} == set()
    for tag, attrs in Elements(text).tags:
        for name in ("src", "href", "xlink:href"):
            url = attrs.get(name) or "#"
            assert url.startswith(("#", "data:", "../")), (tag, url)


def test_each_recording_is_held_once(report, synthetic):
    path, systems = report
    audio = [attrs for tag, attrs in Elements(path.read_text()).tags if tag == "audio"]
    assert len(audio) == len(systems) * NUM_PLAYERS
    held = [attrs for attrs in audio if attrs["src"].startswith("data:audio/mpeg")]
    assert sorted(attrs["aria-label"] for attrs in held) == sorted(synthetic.paths)
    labels = {attrs["id"]: attrs["aria-label"] for attrs in held}
    others = [attrs for attrs in audio if attrs not in held]
    assert all(labels[attrs["data-same"]] == attrs["aria-label"] for attrs in others)


def test_the_page_holds_recordings_up_to_the_limit(synthetic):
    size = len(mp3_base64(synthetic.read_audio(synthetic.paths[0])))
    players = Players(synthetic.read_audio, str, 3.5 * size / 1e6)
    sounds = [players.player(path).sound for path in synthetic.paths]
    assert all(sounds[:3]) and not any(sounds[3:])
    assert sum(map(len, sounds)) <= 3.6 * size
    again = players.player(synthetic.paths[2])
    assert again.id and not again.sound
    on_disk = players.player(synthetic.paths[3])
    assert on_disk.can_play and not on_disk.id
    empty = Players(synthetic.read_audio, str, 0.0)
    assert not any(empty.player(path).sound for path in synthetic.paths)


def test_a_recording_that_can_not_be_read_has_no_player(synthetic, tmp_path):
    path = synthetic.write_report(tmp_path, [synthetic.measure()], read_audio=lambda path: None)
    assert "<audio" not in path.read_text() and "spk3/2.wav" in path.read_text()


def test_links_lead_to_the_file(tmp_path):
    link = page.linker(tmp_path / "a" / "b", lambda name: str(tmp_path / "data" / name))
    assert link("x/1 #?.wav") == "../../data/x/1%20%23%3F.wav"
    assert (
        page.linker(tmp_path, lambda name: str(tmp_path / name))("javascript:alert(1)")
        == "javascript%3Aalert%281%29"
    )


@pytest.mark.slow
def test_the_same_figures_give_the_same_files(synthetic, tmp_path):
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        synthetic.write_report(folder, [synthetic.measure()], link=str)
    for name in ("report.html", "det.png"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


def test_files_are_written_whole_or_not_at_all(synthetic, tmp_path):
    def broken(path):
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="gone"):
        synthetic.write_report(tmp_path / "r", [synthetic.measure()], read_audio=broken)
    assert not (tmp_path / "r").exists()
    with pytest.raises(ValueError, match="at least one"):
        synthetic.write_report(tmp_path / "r", [])


@pytest.mark.slow
def test_extremes_are_drawn(tmp_path):
    # no error at all; only errors; one score; two trials
    for i, (scores, labels) in enumerate(
        [([1, 2, 3, 4], [0, 0, 1, 1]), ([1, 2, 3, 4], [1, 1, 0, 0]), ([5, 5, 5], [0, 1, 1]), ([1, 2], [1, 0])]
    ):
        lines = [f"{s} a{k} b{k} {label}\n" for k, (s, label) in enumerate(zip(scores, labels, strict=True))]
        (tmp_path / "s.txt").write_text("".join(lines))
        trials = read_score_file(str(tmp_path / "s.txt"))
        system = summary.measure("x", trials, summary.FigureOptions())
        path = page.write(tmp_path / str(i), [system], read_audio=lambda path: None, link=str)
        text = path.read_text()
        assert text.count("<svg") == 2 and "nan" not in text and "Training and environment" not in text


def test_only_the_report_imports_matplotlib_and_jinja2():
    code = "import sys, tuneThreshold; print(*sorted({'matplotlib', 'jinja2', 'report'} & {*sys.modules}))"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == ""


def test_ids_are_unique_and_references_resolve(report):
    tags = Elements(report[0].read_text()).tags
    ids = [attrs["id"] for _, attrs in tags if "id" in attrs]
    assert len(ids) == len(set(ids)) > 100
    references = {attrs["xlink:href"].removeprefix("#") for tag, attrs in tags if tag == "use"}
    clips = [attrs["clip-path"] for _, attrs in tags if "clip-path" in attrs]
    references |= {clip.removeprefix("url(#").removesuffix(")") for clip in clips}
    assert references and references <= {*ids}


@pytest.fixture(scope="module")
def browser():
    with chromium() as running:
        yield running


OPEN = "for (const fold of document.querySelectorAll('details')) fold.open = true;"
LOAD = """
() => Promise.all([...document.querySelectorAll("audio")].map(player => new Promise(resolve => {
  player.addEventListener("loadedmetadata", () => resolve(player.duration));
  player.addEventListener("error", () => resolve(-1));
  player.preload = "metadata"; player.load();
})))
"""


@pytest.mark.slow
def test_browser_shows_the_figures_and_pictures(browser, report):
    path, systems = report
    tab, said = open_page(browser, path.absolute().as_uri())
    cells = tab.evaluate(
        "[...document.querySelectorAll('.table data')].map(e => [e.dataset.name, e.value, e.innerText])"
    )
    for system in systems:
        for name, value in system.figures.items():
            if not name.startswith("threshold"):
                shown = [text for key, exact, text in cells if key == name and float(exact) == value]
                number = float(shown[0].removesuffix(" %")) / (100 if "%" in shown[0] else 1)
                assert number == pytest.approx(value, abs=0.0006)
    tab.evaluate(OPEN)
    boxes = tab.evaluate(
        "[...document.querySelectorAll('svg, svg text, audio, table')]"
        ".map(e => e.getBoundingClientRect()).map(b => [b.width, b.height])"
    )
    assert len(boxes) > 100 and all(width > 0 and height > 0 for width, height in boxes)
    assert tab.evaluate("document.querySelectorAll('svg').length") == 1 + 2 + 4
    assert not said


@pytest.mark.slow
@pytest.mark.parametrize("limit_mb", [10.0, 0.0])
def test_browser_loads_every_player(browser, synthetic, tmp_path, limit_mb):
    path = synthetic.write_report(tmp_path / "50% of #1", [synthetic.measure()], limit_mb=limit_mb)
    tab, said = open_page(browser, path.absolute().as_uri())
    tab.evaluate(OPEN)
    durations = tab.evaluate(LOAD)
    assert len(durations) == NUM_PLAYERS and all(0.4 < seconds < 0.8 for seconds in durations)
    assert not said


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_browser_shows_it_on_a_phone(browser, report, scheme):
    tab, said = open_page(browser, report[0].absolute().as_uri(), 360, scheme)
    tab.evaluate(OPEN)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    assert tab.evaluate("window.innerWidth") == 360
    colours = tab.evaluate(
        "() => { const of = (e, key) => getComputedStyle(e)[key];"
        "const text = document.querySelector('svg text'), paper = text.closest('figure');"
        "return [of(text, 'fill'), of(paper, 'backgroundColor'), of(document.body, 'color')] }"
    )
    ink, paper, body = (np.mean([int(x) for x in re.findall(r"\d+", c)[:3]]) for c in colours)
    assert (ink > paper and body > paper) == (scheme == "dark")
    assert abs(ink - paper) > 90 and abs(body - paper) > 150
    assert not said
