"""The server as a process: hostile requests, requests made from its description, the page in a browser.

The pictures of the page in docs/ are made by

    SCREENSHOTS=docs/images python -m pytest -m slow tests/test_server_live.py -k page
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import requests
import soundfile
from browser import chromium, open_page
from conftest import ROOT, voice

pytest.importorskip("starlette")

pytestmark = pytest.mark.slow
SCREENSHOTS = os.environ.get("SCREENSHOTS", "")  # folder for pictures with real voices and the public model
PICTURES = {"compare": "light", "turns": "dark"}  # what is in docs/
WAV_HEAD = b"POST /api/recordings HTTP/1.1\r\nHost: %HOST%\r\nContent-Type: audio/wav\r\n"
JSON_HEAD = b"POST /api/compare HTTP/1.1\r\nHost: %HOST%\r\nContent-Type: application/json\r\n"
GET = b"GET %s HTTP/1.1\r\nHost: %%HOST%%\r\n\r\n"
NESTED = b"[" * 60_000
PARTS = b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n\r\n" * 1000
HOSTILE = {  # bytes -> statuses; 0: the connection is closed without one
    b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n": {421},
    b"GET / HTTP/1.1\r\n\r\n": {400},
    GET % b"/../../etc/passwd": {404},
    GET % b"/%2e%2e/%2e%2e/etc/passwd": {404},
    GET % b"//etc/passwd": {404},
    GET % b"/page.js%00.html": {404},
    GET % b"/%0d%0aINFO:%20forged": {404},
    GET % b"http://evil.example/": {400, 404},
    GET % (b"/" + b"a" * 70_000): {400, 404},
    b"BREW / HTTP/1.1\r\nHost: %HOST%\r\n\r\n": {405},
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03": {0, 400},
    b"\x00" * 100 + b"\r\n\r\n": {400},
    b"GET / HTTP/1.1\r\nHost: %HOST%\r\nX: " + b"a" * 100_000 + b"\r\n\r\n": {0, 200, 400},
    b"GET / HTTP/1.1\r\nHost: %HOST%\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n": {200},
    WAV_HEAD + b"Content-Length: 99999999999\r\n\r\n": {413},
    WAV_HEAD + b"Content-Length: -1\r\n\r\n": {400},
    WAV_HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello": {400},
    WAV_HEAD + b"Content-Length: 5\r\n\r\nhello": {415},
    WAV_HEAD + b"Content-Length: 1000\r\n\r\nRIFF": {0},  # and then the client goes away
    WAV_HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffffffffff\r\n": {400},
    WAV_HEAD + b"Origin: http://evil.example\r\nContent-Length: 0\r\n\r\n": {403},
    JSON_HEAD + b"Content-Length: 60000\r\n\r\n" + NESTED: {400},
    JSON_HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"8000\r\n" + b" " * 32768 + b"\r\n" * 1: {0},
    JSON_HEAD + b"Content-Length: 70000\r\n\r\n" + b" " * 70_000: {413},
    b"POST /api/recordings HTTP/1.1\r\nHost: %HOST%\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    b"Content-Length: " + str(len(PARTS)).encode() + b"\r\n\r\n" + PARTS: {415},
}


class Server:
    """A running server, its address, and its folder."""

    def __init__(self, folder, *more):
        self.folder = folder
        words = ["inferSpeakerNet.py", "serve", "--port=0", f"--db={folder / 'people.db'}"]
        words += ["--device=cpu", "--threads=1", *more]
        self.log = (folder / "log").open("wb")
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / words[0]), *words[1:]],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        line = self.process.stdout.readline()
        self.address = re.fullmatch(r"open (http://127\.0\.0\.1:\d+/) \(Ctrl-C ends it\)\n", line)[1]
        self.host = self.address.removeprefix("http://").rstrip("/")

    def resident(self):
        """Memory in MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024

    def send(self, content, leaves):
        """Raw bytes, whether the client leaves then -> status of the answer; 0 if there is none."""
        name, port = self.host.split(":")
        with socket.create_connection((name, int(port)), timeout=5.0) as connection:
            try:
                connection.sendall(content.replace(b"%HOST%", self.host.encode()))
                if leaves:
                    connection.shutdown(socket.SHUT_WR)
                answer = connection.recv(1000)
            except OSError:  # it was closed before all was sent
                answer = b""
        found = re.match(rb"HTTP/1\.1 (\d+)", answer)
        return int(found[1]) if found else 0


@pytest.fixture(scope="module")
def server(trained, tmp_path_factory):
    own = [f"--initial_model={trained[0] / 'model' / 'best.model'}", "--vad=none", "--threshold=0.9"]
    running = Server(tmp_path_factory.mktemp("server"), *(() if SCREENSHOTS else own))
    yield running
    running.process.terminate()
    assert running.process.wait(20) in (0, -signal.SIGTERM)
    running.log.close()
    assert (running.folder / "log").read_text() == ""  # nothing that a client chose, and no traceback


def test_hostile_requests_are_refused_and_leave_nothing(server):
    files = {path.name for path in server.folder.iterdir()}
    before = server.resident()
    for content, statuses in list(HOSTILE.items()) * 10:
        status = server.send(content, leaves=statuses == {0})
        assert status in statuses, (content[:200], status)
    assert requests.get(f"{server.address}api/model", timeout=10).json()["threshold"] == 0.9
    assert {path.name for path in server.folder.iterdir()} == files
    assert server.resident() < before + 50


def test_connections_that_send_no_request_are_ended(server):
    name, port = server.host.split(":")
    with socket.create_connection((name, int(port)), timeout=30) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: ")
        start = time.monotonic()
        assert connection.recv(1000) == b""
        assert 5 < time.monotonic() - start < 20


def test_the_description_holds_for_any_requests(server, tmp_path):
    pytest.importorskip("schemathesis")
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    command = [str(Path(sys.executable).parent / "schemathesis"), "run", f"{server.address}openapi.json"]
    command += [f"--checks={checks}", "--max-examples=15", "--seed=1", "--phases=coverage,fuzzing"]
    command += ["--exclude-path=/api/recordings", "--exclude-path=/api/turns"]  # it makes no recordings
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert result.returncode == 0, result.stdout[-6000:]


@pytest.fixture
def recordings(tmp_path, request):
    """What the microphone hears, and a recording of somebody else, and both in turn."""
    if SCREENSHOTS:
        speakers = [sorted(folder.rglob("*.flac")) for folder in real_speakers(request)[:2]]
        (one, *more), (other, *_) = ([soundfile.read(path)[0] for path in paths[:3]] for paths in speakers)
    else:
        one, other, more = voice(0, 0, 4.0), voice(3, 0, 3.0), [voice(0, 1, 3.0)]
    both = np.concatenate([one, other, *more])
    for name, samples in (("one", one), ("other", other), ("both", both)):
        soundfile.write(tmp_path / f"{name}.wav", samples, 16_000)
    return tmp_path


def real_speakers(request):
    return sorted((request.getfixturevalue("real_data") / "test").glob("ls*"))


@pytest.fixture
def browser(recordings):
    """Its microphone hears a file."""
    hearing = f"--use-file-for-fake-audio-capture={recordings / 'one.wav'}"
    with chromium("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", hearing) as running:
        yield running


@pytest.mark.parametrize(("width", "scheme"), [(1000, "light"), (390, "dark")])
def test_the_page_records_compares_enrols_and_identifies(server, browser, recordings, width, scheme):
    page, said = open_page(browser, server.address, width, scheme)

    def shows(selector, text):
        page.locator(selector, has_text=text).first.wait_for(timeout=30_000)

    def picture(name):
        if SCREENSHOTS and PICTURES[name] == scheme:
            page.screenshot(path=Path(SCREENSHOTS, f"page_{name}.png"), full_page=True)

    shows("#model", "threshold 0.")
    page.click("#first button")
    page.wait_for_timeout(4000)
    page.click("#first button")
    shows("#first [role=status]", "s of speech in")
    page.set_input_files("#second input", recordings / "other.wav")
    shows("#compare-answer", "Score")
    picture("compare")
    page.press("#tab-compare", "ArrowLeft")  # to the last tab
    page.fill("#name", "Ann <b>&")
    page.set_input_files("#sample input", recordings / "one.wav")
    shows("#sample [role=status]", "s of speech in")
    page.press("#enrolment button[type=submit]", "Enter")
    shows("#people-answer", "Ann <b>& is enrolled")
    shows("#speakers", "Ann <b>&")
    page.click("#tab-identify")
    page.set_input_files("#unknown input", recordings / "one.wav")
    shows("#identify-answer .verdict", "Ann <b>&")
    page.click("#tab-turns")
    page.set_input_files("#conversation input", recordings / "both.wav")
    shows("#turns-answer .verdict", "speaker")
    page.click("#turns-answer li button >> nth=0")  # plays from there
    picture("turns")
    page.click("#tab-people")
    page.click("#speakers button")
    shows("#speakers", "Nobody yet.")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert said == []  # no error, and nothing that the page's policy refused


def test_what_the_browser_cannot_decode_is_said(server, browser, tmp_path):
    (tmp_path / "text.wav").write_text("no recording")
    page, _ = open_page(browser, server.address)
    page.set_input_files("#second input", tmp_path / "text.wav")
    page.locator("#second", has_text="The browser can't decode this file").wait_for()
    unlabelled = page.evaluate(
        "[...document.querySelectorAll('input, button')].filter(each =>"
        "!each.textContent && !each.labels?.length && !each.ariaLabel).length"
    )
    assert unlabelled == 0
