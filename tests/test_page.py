"""The evaluation report: its numbers, what it lets in, and how a browser shows it."""

import itertools
import json
import re
import shutil
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile
from conftest import ROOT, voice

import tuneThreshold as tune
from audio.recording import AudioFile
from metrics import summary as measured
from metrics.bootstrap import interval, resampled
from metrics.rates import error_rates
from metrics.score_files import read_score_file, units_of
from report import page, plots

NASTY = "spk0/<script>alert(1)</script> & 'x' \"y\" #1?%20.wav"
RUN = {
    "time": "2026-01-02T03:04:05+0000",
    "command": ["trainSpeakerNet.py", "--save_path", "a b", "--hf_token", "hush1", "--api_key=hush2"],
    "options": {"margin": 0.2, "password": "hush3", "url": "https://me:hush4@example.org/x", "name": "<b>"},
    "packages": {"torch": "2.0", "absent": None},
}
RESULTS = [
    *({"event": "train", "epoch": e, "loss": 3.0 / e, "accuracy": 0.1 * e, "lr": 0.001} for e in (1, 2, 3)),
    *({"event": "test", "epoch": e, "eer": 0.3 / e, "test_list": "lists/_a.txt"} for e in (1, 3)),
]


class Case:
    """Recordings of four speakers, all pairs as trials, scores by chance."""

    def __init__(self, root):
        self.root = root
        self.paths = [f"spk{i}/{take}.wav" for i in range(4) for take in range(3)]
        self.paths[1] = NASTY
        for i, path in enumerate(self.paths):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(root / path, voice(i // 3, i % 3, duration_s=0.5), 16_000)
        self.scores = root / "scores.txt"
        generator = np.random.default_rng(0)
        lines = []
        for i, j in itertools.combinations(range(12), 2):
            label = int(i // 3 == j // 3)
            score = generator.normal(1.5 * label)
            lines.append(f"{score:.6f}\t{self.paths[i]}\t{self.paths[j]}\t{label}\n")
        self.scores.write_text("".join(lines))

    def measure(self, name="a", resample="speakers", **options):
        """A system by these scores."""
        trials = read_score_file(str(self.scores))
        conditions = options.pop("conditions", None)
        drawn = measured.Resampling(units_of(trials, resample, 0, ""), resample, 60)
        return measured.measure(name, trials, measured.Wanted(**options), drawn, conditions)

    def audio(self, path):
        """As the page asks for it."""
        return AudioFile(str(self.root / path)).whole()

    def write(self, folder, systems, limit_mb=10.0, **changes):
        """The report's path."""
        link = page.linker(folder, str(self.root))
        given = {"audio": self.audio, "link": link, "run": RUN, "results": RESULTS} | changes
        return page.write(folder, systems, limit_mb=limit_mb, **given)


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return Case(tmp_path_factory.mktemp("case"))


@pytest.fixture(scope="module")
def report(case, tmp_path_factory):
    """Two systems with everything that a page can hold, the folder's name a nasty one."""
    folder = tmp_path_factory.mktemp("report") / "50% of #1"
    conditions = {"<i>accent</i>": [str(i % 2) for i in range(12)]}
    systems = [
        case.measure("<img src=x onerror=alert(1)> $name", conditions=conditions, llr=True),
        case.measure("_other", p_miss=(0.05,), p_targets=(0.5,)),
    ]
    return case.write(folder, systems), systems


class Elements(HTMLParser):
    """Start tags with their attributes, and what stands between tags."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):  # noqa: D102
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):  # noqa: D102
        self.texts.append(data)


def test_a_list_worked_by_hand(tmp_path):
    # targets .2 .4 .6, nontargets .1 .3 .5 (test_tuneThreshold.py): EER 1/3 at .4. P_fa <= 0.5 first at
    # threshold .4 (P_fa 1/3, P_miss 1/3). p 0.5: (1/3 + 1/3) / 2 / 0.5 = 2/3
    lines = [f"{i / 10} a{i} b{i} {i % 2 == 0:d}\n" for i in range(1, 7)]
    (tmp_path / "s.txt").write_text("".join(lines))
    trials = read_score_file(str(tmp_path / "s.txt"))
    system = measured.measure("x", trials, measured.Wanted((0.5,), p_fa=(0.5,)))
    assert system.figures["eer"] == pytest.approx(1 / 3)
    assert system.figures["min_dcf_0.5"] == pytest.approx(2 / 3)
    assert system.figures[system.wanted.rules()["P_fa ≤ 50 %"]] == pytest.approx(0.4)
    assert measured.errors_at(system, 0.4) == pytest.approx((1 / 3, 1 / 3))
    assert measured.errors_at(system, 9.0) == (0.0, 1.0)
    assert system.intervals == {} and system.band is None
    worst = [trials.scores[measured.worst(system, label, 2)].tolist() for label in (1, 0)]
    assert worst == [[0.2, 0.4], [0.5, 0.3]]


def test_figures_and_intervals_are_those_of_tunethreshold(case, capsys):
    words = [case.scores, "--llr", "--intervals", "--replicates", "60", "--p_miss", "0.05"]
    assert tune.main([*map(str, words)]) == 0
    shown = capsys.readouterr().out
    system = case.measure(llr=True, p_miss=(0.05,))
    expected = system.figures
    low, high = system.intervals["eer"]
    assert f"EER {100 * expected['eer']:.4f} % ({100 * low:.4f} to {100 * high:.4f})" in shown
    for name in ("min_dcf_0.05", "act_dcf_0.05", "cllr", "min_cllr"):
        low, high = system.intervals[name]
        assert f"{expected[name]:.5f} ({low:.5f} to {high:.5f})" in shown
    low, high = system.intervals["threshold_p_miss_0.05"]
    assert f"({low:.6g} to {high:.6g})" in shown


def test_the_band_is_the_interval_of_p_miss_at_each_p_fa(case):
    system = case.measure()
    trials = system.trials
    grid, low, high = system.band
    units = units_of(trials, "speakers", 0, "")
    for k in (0, 40, 99):
        replicates = resampled(trials.scores, trials.labels, units, 60)
        drawn = np.array([tune.p_miss_at(rates, float(grid[k])) for rates in replicates])
        value = tune.p_miss_at(system.rates, float(grid[k]))
        assert (low[k], high[k]) == pytest.approx(interval(drawn, value, 0.0, 1.0))


def test_conditions_are_measured_within_their_groups(case):
    same = ["x"] * 6 + ["y"] * 6  # speakers 0, 1 and 2, 3
    system = case.measure(conditions={"room": same, "path": case.paths})
    alike, other, other_path = system.conditions  # nobody is compared with the same path: no line of it
    assert [row[:4] for row in system.conditions] == [
        ("room", "same", 30, 12),
        ("room", "other", 36, 0),
        ("path", "other", 66, 12),
    ]
    assert other.eer is None and other.min_dcf is None
    assert other_path.eer == system.figures["eer"]
    assert other_path.min_dcf == system.figures["min_dcf_0.05"]
    trials = system.trials
    chosen = (trials.sides[:, 0] < 6) == (trials.sides[:, 1] < 6)
    assert alike.eer == tune.eer(error_rates(trials.scores[chosen], trials.labels[chosen])).value


def test_a_thinned_curve_stays_near_the_whole_one():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 50_000)
    rates = error_rates(generator.normal(size=50_000) + 2 * labels, labels)
    thin = plots.thinned(rates)
    assert 250 < len(thin.p_fa) <= plots.POINTS
    assert {*thin.thresholds} <= {*rates.thresholds}
    x, y = plots.probit(rates.p_fa[::-1][1:-1]), plots.probit(rates.p_miss[::-1][1:-1])
    inside = (x > -3.0) & (x < 1.0)
    between = np.interp(x[inside], plots.probit(thin.p_fa[::-1]), plots.probit(thin.p_miss[::-1]))
    assert np.abs(between - y[inside]).max() < 0.05
    few = error_rates([1, 2, 3, 4], [0, 1, 0, 1])
    np.testing.assert_array_equal(plots.thinned(few).p_fa, few.p_fa)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.1595, "about 16 of 100"),
        (0.0097, "about 10 of 1,000"),
        (0.00004, "about 4 of 100,000"),
        (0.0, "none"),
        (1.0, "about 100 of 100"),
    ],
)
def test_shares_in_words(value, words):
    assert measured.share(value) == words


def test_the_page_shows_the_figures(report):
    path, systems = report
    shown = [
        attrs for tag, attrs in Elements(path.read_text()).tags if tag == "data" and "data-name" in attrs
    ]
    for system in systems:
        for name, value in system.figures.items():
            assert {
                "data-name": name,
                "value": repr(value),
            } in shown
    text = path.read_text()
    low, high = systems[0].intervals["eer"]
    assert f"{100 * low:.2f} to {100 * high:.2f} %" in text
    assert "4 speakers were drawn 60 times" in text and "too narrow" not in text


def test_what_comes_from_outside_is_text(report):
    text = report[0].read_text()
    elements = Elements(text)
    assert text.count("<script") == 1 and "<img" not in text and "<i>accent" not in text and "<b>" not in text
    assert not [attrs for _, attrs in elements.tags if any(name.startswith("on") for name in attrs)]
    assert NASTY in elements.texts and "<img src=x onerror=alert(1)> $name" in elements.texts
    labels = {attrs["aria-label"] for tag, attrs in elements.tags if tag == "audio"}
    assert NASTY in labels


def test_secrets_do_not_appear(report):
    text = report[0].read_text()
    assert "hush" not in text
    assert "trainSpeakerNet.py --save_path 'a b' --hf_token '(not shown)' '--api_key=" in unescape(text)
    assert "(not shown)@example.org/x" in text and "margin" in text


def test_nothing_is_fetched_from_elsewhere(report):
    text = re.sub(r"<dd>.*?</dd>", "", report[0].read_text())
    assert "http://" not in text and "https://" not in text and "@import" not in text
    assert {url for url in re.findall(r"url\(([^)]*)\)", text) if not url.startswith("#")} == set()
    for tag, attrs in Elements(text).tags:
        for name in ("src", "href"):
            url = attrs.get(name) or "#"
            assert url.startswith(("#", "data:", "../")), (tag, url)


def test_recordings_are_held_once_and_up_to_the_limit(case, tmp_path):
    def held(limit_mb):
        tags = Elements(case.write(tmp_path, [case.measure()], limit_mb).read_text()).tags
        players = [attrs for tag, attrs in tags if tag == "audio"]
        assert len(players) == 2 * (12 + 50)
        return [p for p in players if p["src"].startswith("data:audio/mpeg")], players

    sounds, players = held(10.0)
    assert sorted(p["aria-label"] for p in sounds) == sorted(case.paths)
    assert {p["data-same"] for p in players if p not in sounds} <= {p["id"] for p in sounds}
    size = len(sounds[0]["src"]) - len("data:audio/mpeg;base64,")
    some, players = held(3.5 * size / 1e6)
    assert len(some) == 3 and sum(len(p["src"]) for p in some) <= 3.6 * size
    assert held(0.0)[0] == []


def test_a_recording_that_is_not_there_has_no_player(case, tmp_path):
    path = case.write(tmp_path, [case.measure()], audio=lambda path: None)
    assert "<audio" not in path.read_text() and "spk3/2.wav" in path.read_text()


def test_links_lead_to_the_file(tmp_path):
    link = page.linker(tmp_path / "a" / "b", str(tmp_path / "data"))
    assert link("x/1 #?.wav") == "../../data/x/1%20%23%3F.wav"
    assert page.linker(tmp_path, str(tmp_path))("javascript:alert(1)") == "javascript%3Aalert%281%29"


def test_the_same_figures_give_the_same_files(case, tmp_path):
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        case.write(folder, [case.measure()], link=str)
    for name in ("report.html", "det.png"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


def test_files_are_written_whole_or_not_at_all(case, tmp_path):
    def broken(path):
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="gone"):
        case.write(tmp_path / "r", [case.measure()], audio=broken)
    assert not (tmp_path / "r").exists()
    with pytest.raises(ValueError, match="at least one"):
        case.write(tmp_path / "r", [])


def test_extremes_are_drawn(tmp_path):
    # no error at all; only errors; one score; two trials
    for i, (scores, labels) in enumerate(
        [([1, 2, 3, 4], [0, 0, 1, 1]), ([1, 2, 3, 4], [1, 1, 0, 0]), ([5, 5, 5], [0, 1, 1]), ([1, 2], [1, 0])]
    ):
        lines = [f"{s} a{k} b{k} {label}\n" for k, (s, label) in enumerate(zip(scores, labels, strict=True))]
        (tmp_path / "s.txt").write_text("".join(lines))
        trials = read_score_file(str(tmp_path / "s.txt"))
        system = measured.measure("x", trials, measured.Wanted())
        path = page.write(tmp_path / str(i), [system], lambda path: None, str, None, [])
        text = path.read_text()
        assert text.count("<svg") == 2 and "nan" not in text and "How it was made" not in text


def test_matplotlib_is_imported_only_to_draw():
    code = "import sys, page; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A headless Chromium; skips where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver")
    names = ("chromium", "chromium-browser", "google-chrome")
    binary, driver = next(filter(None, map(shutil.which, names)), None), shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip("no chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (
        "headless",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        f"user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    running = webdriver.Chrome(options, webdriver.ChromeService(driver))
    running.set_script_timeout(60)
    yield running
    running.quit()


def show(browser, path, width=1200, scheme="light"):
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.get(path.absolute().as_uri())


OPEN = "for (const fold of document.querySelectorAll('details')) fold.open = true;"
LOAD = """
const done = arguments[0], players = [...document.querySelectorAll("audio")];
Promise.all(players.map(player => new Promise(resolve => {
  player.addEventListener("loadedmetadata", () => resolve(player.duration));
  player.addEventListener("error", () => resolve(-1));
  player.preload = "metadata"; player.load();
}))).then(done);
"""


def test_browser_shows_the_figures_and_pictures(browser, report):
    path, systems = report
    show(browser, path)
    assert not browser.get_log("browser")
    cells = browser.execute_script(
        "return [...document.querySelectorAll('.table data')]"
        ".map(e => [e.dataset.name, e.value, e.innerText])"
    )
    for system in systems:
        for name, value in system.figures.items():
            if not name.startswith("threshold"):
                shown = [text for key, exact, text in cells if key == name and float(exact) == value]
                number = float(shown[0].removesuffix(" %")) / (100 if "%" in shown[0] else 1)
                assert number == pytest.approx(value, abs=0.0006)
    browser.execute_script(OPEN)
    boxes = browser.execute_script(
        "return [...document.querySelectorAll('svg, svg text, audio, table')]"
        ".map(e => e.getBoundingClientRect()).map(b => [b.width, b.height])"
    )
    assert len(boxes) > 100 and all(width > 0 and height > 0 for width, height in boxes)
    assert browser.execute_script("return document.querySelectorAll('svg').length") == 1 + 2 + 4


@pytest.mark.parametrize("limit_mb", [10.0, 0.0])
def test_browser_loads_every_player(browser, case, tmp_path, limit_mb):
    show(browser, case.write(tmp_path / "50% of #1", [case.measure()], limit_mb))
    browser.execute_script(OPEN)
    durations = browser.execute_async_script(LOAD)
    assert len(durations) == 2 * (12 + 50) and all(0.4 < seconds < 0.8 for seconds in durations)
    assert not browser.get_log("browser")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_browser_shows_it_on_a_phone(browser, report, scheme):
    show(browser, report[0], 360, scheme)
    browser.execute_script(OPEN)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
    assert browser.execute_script("return window.innerWidth") == 360
    colours = browser.execute_script(
        "const of = (e, key) => getComputedStyle(e)[key], text = document.querySelector('svg text');"
        "return [of(text, 'fill'), of(text.closest('figure'), 'backgroundColor'), of(document.body, 'color')]"
    )
    ink, paper, body = (np.mean([int(x) for x in re.findall(r"\d+", c)[:3]]) for c in colours)
    assert (ink > paper and body > paper) == (scheme == "dark")
    assert abs(ink - paper) > 90 and abs(body - paper) > 150
    assert not browser.get_log("browser")


def test_results_of_a_run_are_plotted_once_an_epoch():
    again = [
        *RESULTS,
        {"event": "train", "epoch": 3, "loss": 1.5},
        {"event": "train", "epoch": 4, "eer": None},
    ]
    drawn = plots.training_svgs(json.loads(json.dumps(again)))
    assert [re.search('aria-label="([^"]*)"', svg)[1] for svg in drawn] == [
        "Loss, over the epochs",
        "Accuracy, %, over the epochs",
        "Learning rate, over the epochs",
        "EER of tests, %, over the epochs",
    ]
    assert plots.training_svgs(RESULTS[:1]) == []
