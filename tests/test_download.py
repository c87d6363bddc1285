"""download.py: resumed, verified and interrupted downloads from a faulty server, and no key in any output."""

import hashlib
import io
import json
import logging
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from email.utils import formatdate
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, quote_plus, urlsplit

import numpy as np
import pytest
from conftest import ROOT, heed_ctrl_c

from corpora._corpus import Checksum, Part
from preparation import checksums, http, partial_file, progress, redaction, transfer
from preparation.checksums import has_checksum
from preparation.download import download_parts

KEY = "s3cr/t+k %&y"
DATA = np.random.default_rng(0).bytes(300_000)
OTHER = np.random.default_rng(1).bytes(300_000)


def md5(data):
    return hashlib.md5(data).hexdigest()


def serve(
    handler, data, *, cut=None, promised=None, ranges=True, if_range=True, etag='"1"', piece=None, pause_s=0.0
):
    """Send a file as a good server does, or cut off, with another length, or bit by bit."""
    begin, asked = 0, handler.headers.get("Range")
    if asked and ranges and (not if_range or handler.headers.get("If-Range", etag) == etag):
        begin = int(asked.removeprefix("bytes=").removesuffix("-"))
    if begin and begin >= len(data):
        handler.start(416, {"Content-Range": f"bytes */{len(data)}", "Content-Length": 0})
        return
    length = len(data) - begin if promised is None else promised
    headers = {"Content-Length": length, "Content-Type": "application/zip"} | ({"ETag": etag} if etag else {})
    if begin:
        headers["Content-Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
    handler.start(206 if begin else 200, headers)
    if handler.command == "GET":
        body = data[begin:cut]
        for start in range(0, len(body), piece or len(data)):
            handler.wfile.write(body[start : start + (piece or len(data))])
            handler.server.num_sent += piece or len(body)
            time.sleep(pause_s)


def answer(handler, data, *, status, headers=None, body=b""):
    handler.start(status, {"Content-Length": len(body)} | (headers or {}))
    handler.wfile.write(body)


class Handler(BaseHTTPRequestHandler):
    """Answers each GET of a file as the next entry of its script does, and correctly after the last one."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        """The next entry of the script."""
        url = urlsplit(self.path)
        name = url.path.removeprefix("/")
        self.server.requests.append((self.command, name, parse_qs(url.query), dict(self.headers)))
        self.close_connection = True
        script = self.server.scripts.get(name, [])
        act = script.pop(0) if script and self.command == "GET" else serve
        if name in self.server.files:
            act(self, self.server.files[name])
        else:
            self.start(404, {"Content-Length": 0})

    do_HEAD = do_GET  # noqa: N815

    def start(self, status, headers):
        """Status line and headers."""
        self.send_response(status)
        for name, value in ({"Connection": "close"} | headers).items():
            self.send_header(name, str(value))
        self.end_headers()

    def log_message(self, *arguments):
        """Silent."""


class Server(ThreadingHTTPServer):
    """Files by name, and what is to go wrong with them."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.scripts = {"a.zip": DATA, "b.zip": OTHER}, {}
        self.requests, self.num_sent = [], 0
        self.url = f"http://127.0.0.1:{self.server_port}"

    def gets(self, name="a.zip"):
        """Headers of the GET requests for a file."""
        return [headers for command, file, _, headers in self.requests if (command, file) == ("GET", name)]

    def handle_error(self, request, client_address):
        """Silent: clients that disconnect are what is tested."""


@pytest.fixture
def server():
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def short_waits_and_no_secrets(monkeypatch):
    monkeypatch.setattr(transfer, "BACKOFF_S", 0.01)
    set_timeout(monkeypatch, 2.0)
    monkeypatch.setattr(redaction, "_secrets", set())


def set_timeout(monkeypatch, duration_s):
    monkeypatch.setattr(http, "CONNECT_TIMEOUT_S", duration_s)
    monkeypatch.setattr(http, "READ_TIMEOUT_S", duration_s)


def part(server, name="a.zip", **changes):
    return Part(name, f"{server.url}/{name}", md5(server.files[name]))._replace(**changes)


def listing(folder):
    """Names in a folder, without the temporary files that SIGKILL leaves."""
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".tmp"))


def one_line(error):
    assert "\n" not in str(error) and len(str(error)) > 30
    return str(error)


# Connections


def test_a_dropped_connection_is_resumed_where_it_broke(server, tmp_path):
    server.scripts["a.zip"] = [partial(serve, cut=100_000), partial(serve, cut=200_000)]
    said = []
    download_parts([part(server)], tmp_path, say=said.append)
    assert (tmp_path / "a.zip").read_bytes() == DATA
    asked = [(headers.get("Range"), headers.get("If-Range")) for headers in server.gets()]
    assert asked == [(None, None), ("bytes=100000-", '"1"'), ("bytes=200000-", '"1"')]
    assert len(said) == 3 and "broke off" in said[0] and "a.zip: complete" in said[-1]
    assert listing(tmp_path) == ["a.zip", "verified.json"]


def test_progress_resets_the_retries(server, tmp_path):
    server.scripts["a.zip"] = [partial(serve, cut=50_000 * n) for n in range(1, 6)]
    download_parts([part(server)], tmp_path, retries=1)
    assert (tmp_path / "a.zip").read_bytes() == DATA


def test_a_later_call_resumes_and_hashes_what_is_there(server, tmp_path):
    server.scripts["a.zip"] = [partial(serve, cut=100_000)]
    with pytest.raises(
        OSError, match=r"a\.zip from 127\.0\.0\.1:\d+: the connection broke off; given up at try 1"
    ):
        download_parts([part(server)], tmp_path, retries=0)
    assert listing(tmp_path) == ["a.zip.part", "a.zip.part.json"]
    download_parts([part(server)], tmp_path)
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert server.gets()[-1]["Range"] == "bytes=100000-"


@pytest.mark.parametrize("known", [{}, {"md5": None}])
def test_a_server_without_ranges_starts_again(server, tmp_path, known):
    server.scripts["a.zip"] = [partial(serve, cut=100_000), partial(serve, ranges=False)]
    download_parts([part(server, **known)], tmp_path)
    assert "Range" in server.gets()[1]
    assert (tmp_path / "a.zip").read_bytes() == DATA


def test_without_version_and_md5_nothing_is_resumed(server, tmp_path):
    server.scripts["a.zip"] = [partial(serve, cut=100_000, etag=""), partial(serve, etag="")]
    download_parts([part(server, md5=None)], tmp_path)
    assert "Range" not in server.gets()[1]
    assert (tmp_path / "a.zip").read_bytes() == DATA


def test_a_promised_length_that_is_too_long(server, tmp_path):
    server.scripts["a.zip"] = [partial(serve, promised=len(DATA) + 500)]
    download_parts([part(server)], tmp_path)
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert server.gets()[1]["Range"] == f"bytes={len(DATA)}-"


@pytest.mark.parametrize("known", [{}, {"md5": None, "size": len(DATA)}])
def test_a_promised_length_that_is_too_short(server, tmp_path, known):
    server.scripts["a.zip"] = [partial(serve, promised=len(DATA) - 500)]
    download_parts([part(server, **known)], tmp_path)
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert (tmp_path / "a.zip.bad").read_bytes() == DATA[:-500]


def test_a_server_with_a_wrong_length_at_every_try_is_given_up(server, tmp_path):
    server.scripts["a.zip"] = [partial(serve, promised=len(DATA) + 500, ranges=False)] * 20
    with pytest.raises(OSError, match="given up at try 3"):
        download_parts([part(server)], tmp_path, retries=2)
    assert len(server.gets()) == 3


def test_a_body_of_unknown_length(server, tmp_path):
    def no_length(handler, data):
        handler.start(200, {})
        handler.wfile.write(data)

    server.scripts["a.zip"] = [no_length]
    download_parts([part(server)], tmp_path)
    assert (tmp_path / "a.zip").read_bytes() == DATA and len(server.gets()) == 1


def test_bytes_are_kept_as_sent_whatever_their_encoding(server, tmp_path):
    def encoded(handler, data):
        answer(handler, data, status=200, headers={"Content-Encoding": "gzip"}, body=data)

    server.scripts["a.zip"] = [encoded]
    download_parts([part(server)], tmp_path)
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert server.gets()[0]["Accept-Encoding"] == "identity"


def test_slow_servers_are_waited_for_and_silent_ones_retried(server, tmp_path, monkeypatch):
    monkeypatch.setattr(http, "READ_TIMEOUT_S", 0.4)
    server.scripts["a.zip"] = [partial(serve, piece=100_000, pause_s=0.2)]
    server.scripts["b.zip"] = [partial(serve, piece=100_000, pause_s=1.0)]
    download_parts([part(server), part(server, "b.zip")], tmp_path)
    assert (tmp_path / "a.zip").read_bytes() == DATA and len(server.gets("a.zip")) == 1
    assert (tmp_path / "b.zip").read_bytes() == OTHER and len(server.gets("b.zip")) > 1


# Responses


def test_a_file_that_is_wrong_once_is_downloaded_again(server, tmp_path):
    server.scripts["a.zip"] = [lambda handler, data: serve(handler, OTHER)]
    said = []
    download_parts([part(server, md5=md5(DATA).upper())], tmp_path, say=said.append)
    assert (tmp_path / "a.zip").read_bytes() == DATA and (tmp_path / "a.zip.bad").read_bytes() == OTHER
    assert md5(DATA) in said[0] and md5(OTHER) in said[0] and "a.zip.bad" in said[0] and "\n" not in said[0]


def test_a_sha256_is_verified_in_place_of_the_md5(server, tmp_path):
    right, wrong = (hashlib.sha256(data).hexdigest() for data in (DATA, OTHER))
    server.scripts["a.zip"] = [partial(serve, cut=100_000)]
    said = []
    download_parts([part(server, md5=None, sha256=right.upper())], tmp_path, say=said.append)
    assert (tmp_path / "a.zip").read_bytes() == DATA and "its sha256 is right" in said[-1]
    assert server.gets()[-1]["Range"] == "bytes=100000-"
    assert json.loads((tmp_path / "verified.json").read_text())["a.zip"]["sha256"] == right
    with pytest.raises(ValueError, match=f"expected sha256 {wrong}, got {right}, .* for the second time"):
        download_parts([part(server, md5=md5(DATA), sha256=wrong)], tmp_path)


def test_a_file_that_is_wrong_twice_is_an_error(server, tmp_path):
    server.files["a.zip"] = OTHER
    with pytest.raises(ValueError) as caught:
        download_parts([part(server, md5=md5(DATA))], tmp_path)
    message = one_line(caught.value)
    assert all(text in message for text in ("a.zip", md5(DATA), md5(OTHER), "a.zip.bad", "mirror"))
    assert len(server.gets()) == 2 and listing(tmp_path) == ["a.zip.bad"]


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    ("if_range", "etag", "size"),
    [(True, '"2"', 250_000), (False, '"2"', 300_000), (False, "", 250_000)],
    ids=["If-Range kept", "ignored, other ETag", "ignored, other size"],
)
def test_a_file_that_changes_meanwhile_starts_again(server, tmp_path, known, if_range, etag, size):
    server.scripts["a.zip"] = [partial(serve, cut=100_000)]
    with pytest.raises(OSError, match=r"a\.zip"):
        download_parts([part(server)], tmp_path, retries=0)
    server.files["a.zip"] = OTHER[:size]
    server.scripts["a.zip"] = [partial(serve, etag=etag, if_range=if_range)] * 2
    download_parts([part(server) if known else part(server, md5=None)], tmp_path)
    assert (tmp_path / "a.zip").read_bytes() == OTHER[:size]
    assert listing(tmp_path) == ["a.zip"] + ["verified.json"] * known
    assert server.gets()[1]["If-Range"] == '"1"'


def test_bytes_from_another_offset_are_rejected(server, tmp_path):
    def shifted(handler, data):
        headers = {"Content-Range": f"bytes 50000-249999/{len(data)}", "ETag": '"1"'}
        answer(handler, data, status=206, headers=headers, body=data[50_000:250_000])

    server.scripts["a.zip"] = [partial(serve, cut=100_000), shifted]
    download_parts([part(server, md5=None)], tmp_path)
    assert (tmp_path / "a.zip").read_bytes() == DATA


def test_a_busy_server_is_asked_again_after_retry_after(server, tmp_path, monkeypatch):
    busy = partial(answer, status=503, headers={"Retry-After": "7"})
    server.scripts["a.zip"] = [busy, partial(answer, status=429), partial(answer, status=500)]
    waits, said = [], []
    monkeypatch.setattr(progress.Progress, "wait", lambda self, duration_s: waits.append(duration_s))
    download_parts([part(server)], tmp_path, say=said.append)
    assert waits[0] == 7.0 and all(wait_s < 1.0 for wait_s in waits[1:])
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert [number in line for number, line in zip(("503", "429", "500"), said, strict=False)] == [True] * 3


def test_retry_after_is_seconds_or_a_date_and_at_most_a_minute():
    assert http.retry_after("7") == 7.0
    assert http.retry_after("3600") == 60.0
    assert 5.0 < http.retry_after(formatdate(time.time() + 10, usegmt=True)) <= 10.0
    assert http.retry_after(formatdate(time.time() - 10, usegmt=True)) == 0.0
    assert http.retry_after("") is None and http.retry_after("soon") is None


def test_a_busy_server_is_given_up_after_the_retries(server, tmp_path):
    server.scripts["a.zip"] = [partial(answer, status=503)] * 9
    with pytest.raises(OSError, match="answered 503; given up at try 4"):
        download_parts([part(server)], tmp_path, retries=3)
    assert len(server.gets()) == 4


@pytest.mark.parametrize(
    ("status", "key", "words"),
    [
        (403, KEY, "refused the key (403)"),
        (401, "", "refused access (401)"),
        (404, "", "has no such file (404)"),
        (400, "", "answered 400"),
    ],
)
def test_refusals_are_not_retried(server, tmp_path, status, key, words):
    server.scripts["a.zip"] = [partial(answer, status=status)]
    with pytest.raises(OSError) as caught:
        download_parts([part(server)], tmp_path, key=key)
    message = one_line(caught.value)
    assert words in message and "a.zip" in message and "127.0.0.1" in message
    assert len(server.gets()) == 1
    assert ("https://mm.kaist.ac.kr" in message) == (status in (401, 403))


def test_impossible_addresses_are_not_retried(tmp_path):
    said = []
    with pytest.raises(OSError, match="check the address"):
        download_parts([Part("a.zip", "example.invalid/a.zip")], tmp_path, say=said.append)
    assert said == []


def test_a_web_page_instead_of_a_file_is_an_error(server, tmp_path):
    page = partial(answer, status=200, headers={"Content-Type": "text/html"}, body=b"<p>wrong key")
    server.scripts["a.zip"] = [page]
    with pytest.raises(OSError, match="sent a web page instead of the file"):
        download_parts([part(server)], tmp_path)
    assert not (tmp_path / "a.zip").exists()


def test_416_finishes_a_part_that_is_complete(server, tmp_path):
    (tmp_path / "a.zip.part").write_bytes(DATA)
    download_parts([part(server)], tmp_path)
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert len(server.gets()) == 1 and server.num_sent == 0


def test_416_discards_a_part_that_is_too_long(server, tmp_path):
    (tmp_path / "a.zip.part").write_bytes(DATA + b"more")
    (tmp_path / "a.zip.part.json").write_text(json.dumps({"version": '"1"', "total": len(DATA)}))
    download_parts([part(server)], tmp_path)
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert not (tmp_path / "a.zip.bad").exists()


# Files on the disk


def test_complete_files_are_not_requested_again(server, tmp_path):
    parts = [part(server), part(server, "b.zip", md5=None)]
    download_parts(parts, tmp_path)
    server.requests.clear()
    download_parts(parts, tmp_path)
    assert server.requests == []


def test_a_file_that_the_user_put_there_is_verified_once(server, tmp_path, monkeypatch):
    hashed, original = [], hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *a: hashed.append(a) or original(*a))
    path = tmp_path / "a.zip"
    path.write_bytes(DATA)
    for _ in range(3):
        download_parts([part(server)], tmp_path)
    status = path.stat()
    entry = {"size": len(DATA), "mtime_ns": status.st_mtime_ns, "md5": md5(DATA)}
    assert len(hashed) == 1 and server.gets() == []
    assert json.loads((tmp_path / "verified.json").read_text()) == {"a.zip": entry}
    path.touch()
    download_parts([part(server)], tmp_path)
    assert len(hashed) == 2 and server.gets() == []


def test_a_wrong_file_that_the_user_put_there_is_kept_aside(server, tmp_path):
    (tmp_path / "a.zip").write_bytes(OTHER)
    (tmp_path / "b.zip").write_bytes(b"short")
    download_parts([part(server), part(server, "b.zip", md5=None, size=len(OTHER))], tmp_path)
    assert (tmp_path / "a.zip").read_bytes() == DATA and (tmp_path / "a.zip.bad").read_bytes() == OTHER
    assert (tmp_path / "b.zip").read_bytes() == OTHER and (tmp_path / "b.zip.bad").read_bytes() == b"short"


def test_files_in_other_folders_are_recorded_in_the_same_verified_json(tmp_path, monkeypatch):
    folder, path = tmp_path / "archives", tmp_path / "mine" / "a.zip"
    for parent in (folder, path.parent):
        parent.mkdir()
    path.write_bytes(DATA)
    assert not has_checksum(path, Checksum("md5", md5(OTHER)), folder)
    assert has_checksum(path, Part("a", "", md5(DATA).upper()).checksum, folder)
    monkeypatch.setattr(hashlib, "file_digest", lambda *_: pytest.fail("computed again"))
    assert has_checksum(path, Checksum("md5", md5(DATA)), folder)
    assert list(json.loads((folder / "verified.json").read_text())) == ["../mine/a.zip"]


def test_a_damaged_verified_json_is_ignored(tmp_path):
    (tmp_path / "a.zip").write_bytes(DATA)
    for text in ("", "[]", '{"a.zip": 3}', "\xff"):
        (tmp_path / "verified.json").write_text(text, encoding="latin-1")
        assert has_checksum(tmp_path / "a.zip", Checksum("md5", md5(DATA)), tmp_path)


def test_too_little_space_is_an_error_before_anything_is_downloaded(server, tmp_path, monkeypatch):
    (tmp_path / "a.zip.part").write_bytes(DATA[:100_000])
    parts = [part(server, size=len(DATA)), part(server, "b.zip")]  # the size of b is asked for
    space = [499_999]  # 200,000 + 300,000 bytes are to come
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(0, 0, space[0]))
    with pytest.raises(OSError, match=r"0\.00 GB are still to come") as caught:
        download_parts(parts, tmp_path)
    assert str(tmp_path) in one_line(caught.value)
    assert [request[:2] for request in server.requests] == [("HEAD", "b.zip")]
    space[0] = 500_000
    download_parts(parts, tmp_path)
    assert (tmp_path / "a.zip").read_bytes() == DATA


# Several at once, interruptions


def test_parts_are_downloaded_at_the_same_time(server, tmp_path):
    meet = threading.Barrier(2, timeout=5)

    def together(handler, data):
        meet.wait()
        serve(handler, data)

    server.scripts = {name: [together] for name in server.files}
    download_parts([part(server), part(server, "b.zip"), part(server)], tmp_path, jobs=2)
    assert (tmp_path / "a.zip").read_bytes() == DATA and (tmp_path / "b.zip").read_bytes() == OTHER
    assert len(server.gets()) == len(server.gets("b.zip")) == 1


def test_the_first_error_ends_the_others(server, tmp_path):
    ended = threading.Event()
    half_sent = threading.Event()

    def half_then_wait(handler, data):
        handler.start(200, {"Content-Length": len(data)})
        handler.wfile.write(data[: len(data) // 2])
        half_sent.set()
        assert ended.wait(20)  # sends the rest only once the download has ended
        handler.wfile.write(data[len(data) // 2 :])

    def refuse_after_half(handler, data):
        assert half_sent.wait(20)
        answer(handler, data, status=404)

    server.scripts = {"a.zip": [half_then_wait], "b.zip": [refuse_after_half]}
    with pytest.raises(OSError, match=r"b\.zip"):
        download_parts([part(server), part(server, "b.zip")], tmp_path)
    ended.set()
    time.sleep(0.2)
    assert (tmp_path / "a.zip.part").stat().st_size < len(DATA)
    assert len(server.gets("a.zip")) == 1


def test_the_bar_counts_the_bytes_of_the_files(server, tmp_path, monkeypatch):
    bars = []

    class Bar(progress.tqdm):
        def __init__(self, **options):
            super().__init__(**options | {"disable": False, "file": io.StringIO()})
            bars.append(self)

    monkeypatch.setattr(progress, "tqdm", Bar)
    (tmp_path / "a.zip.part").write_bytes(DATA[:1000])
    server.scripts["a.zip"] = [lambda handler, data: serve(handler, OTHER), partial(serve, cut=5000)]
    server.scripts["b.zip"] = [partial(serve, cut=5000), partial(serve, ranges=False)]
    (tmp_path / "b.zip").write_bytes(b"wrong")
    download_parts([part(server), part(server, "b.zip")], tmp_path)
    assert bars[0].initial == 1005
    assert bars[0].n == bars[0].total == len(DATA) + len(OTHER)


COMMAND = """
import sys
from pathlib import Path
from preparation.download import download_parts
from corpora._corpus import Checksum, Part
url, folder, *sums = sys.argv[1:]
download_parts([Part(n, f"{url}/{n}", m) for n, m in zip(("a.zip", "b.zip"), sums)], Path(folder))
"""


def start(server, folder):
    arguments = [server.url, str(folder), md5(DATA), md5(OTHER)]
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=heed_ctrl_c,
    )


def wait_for(condition):
    until = time.monotonic() + 10.0
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.002)


def test_killed_at_any_point_the_same_call_finishes(server, tmp_path):
    slowly = partial(serve, piece=20_000, pause_s=0.01)
    server.scripts = {name: [slowly] * 9 for name in server.files}
    for num_bytes in (1, 150_000, 450_000):  # sent since the last start
        before = server.num_sent
        with start(server, tmp_path) as process:
            wait_for(lambda before=before, num_bytes=num_bytes: server.num_sent >= before + num_bytes)
            process.kill()
        assert process.returncode == -signal.SIGKILL
    download_parts([part(server), part(server, "b.zip")], tmp_path)
    assert (tmp_path / "a.zip").read_bytes() == DATA and (tmp_path / "b.zip").read_bytes() == OTHER
    assert listing(tmp_path) == ["a.zip", "b.zip", "verified.json"]
    assert any("Range" in headers for headers in server.gets())


@pytest.mark.parametrize("known", [{}, {"md5": None}])
@pytest.mark.parametrize(
    ("place", "call"),
    [(place, call) for place in ("write_text", "os.fsync", "Path.unlink", "Path.replace") for call in (0, 1)],
)
def test_ended_between_two_steps_the_same_call_finishes(server, tmp_path, monkeypatch, known, place, call):
    calls = iter(range(99))
    target = partial_file
    *path, name = place.split(".")
    for step in path:
        target = getattr(target, step)
    original = getattr(target, name)

    def fails(*arguments, **options):
        if next(calls) == call:
            raise RuntimeError("killed here")
        return original(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(target, name, fails)
        if name == "write_text":
            patch.setattr(checksums, name, fails)
        server.scripts["a.zip"] = [partial(serve, cut=100_000)]
        try:
            download_parts([part(server, **known)], tmp_path)
        except RuntimeError as error:
            assert str(error) == "killed here"
    download_parts([part(server, **known)], tmp_path)
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert listing(tmp_path) == ["a.zip"] + ["verified.json"] * (not known)


def test_ended_while_a_changed_file_starts_again_the_same_call_finishes(server, tmp_path, monkeypatch):
    server.scripts["a.zip"] = [partial(serve, cut=100_000)]
    with pytest.raises(OSError, match=r"a\.zip"):
        download_parts([part(server, md5=None)], tmp_path, retries=0)
    server.files["a.zip"], server.scripts["a.zip"] = OTHER, [partial(serve, etag='"2"')] * 9

    def ends(path, text, original=partial_file.write_text):
        original(path, text)
        raise RuntimeError("killed here")

    with monkeypatch.context() as patch:
        patch.setattr(partial_file, "write_text", ends)
        with pytest.raises(RuntimeError, match="killed here"):
            download_parts([part(server, md5=None)], tmp_path)
    download_parts([part(server, md5=None)], tmp_path)
    assert (tmp_path / "a.zip").read_bytes() == OTHER


def test_notes_without_bytes_are_ignored(server, tmp_path):
    (tmp_path / "a.zip.part.json").write_text('{"version": "", "total": 0}')
    download_parts([part(server, md5=None)], tmp_path)
    assert (tmp_path / "a.zip").read_bytes() == DATA


def test_ctrl_c_ends_at_once_and_leaves_what_has_arrived(server, tmp_path):
    silence = threading.Event()
    server.scripts["a.zip"] = [partial(serve, piece=100_000, pause_s=0.5)]
    server.scripts["b.zip"] = [lambda handler, data: silence.wait(55)]
    with start(server, tmp_path) as process:
        wait_for(lambda: server.num_sent and server.gets("b.zip"))
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)  # the server is silent for longer
    assert b"KeyboardInterrupt" in errors
    assert (tmp_path / "a.zip.part").is_file()
    silence.set()
    download_parts([part(server), part(server, "b.zip")], tmp_path)
    assert (tmp_path / "a.zip").read_bytes() == DATA and (tmp_path / "b.zip").read_bytes() == OTHER


# The key


def odd_header(handler, data):
    """A header that urllib3 warns of, with the address."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nno header\r\nETag: 1\r\n\r\nabc")


def redirect(handler, data):
    handler.start(302, {"Location": f"ftp://127.0.0.1{handler.path}", "Content-Length": 0})


KEYED = {
    "refused": {"script": partial(answer, status=403)},
    "absent": {"script": partial(answer, status=404)},
    "busy": {"script": partial(answer, status=503)},
    "dropped": {"script": partial(serve, cut=1000, ranges=False)},
    "silent": {"script": lambda handler, data: time.sleep(0.3)},
    "no answer": {"script": lambda handler, data: None},
    "corrupt": {"script": lambda handler, data: serve(handler, OTHER)},
    "odd header": {"script": odd_header},
    "redirected": {"script": redirect},
    "reason": {
        "script": lambda handler, data: handler.wfile.write(f"HTTP/1.1{quote_plus(KEY)}\r\n\r\n".encode())
    },
    "closed port": {"base_url": "http://127.0.0.1:9"},
    "no scheme": {"base_url": "127.0.0.1"},
    "unknown scheme": {"base_url": "ftp://127.0.0.1"},
    "no such host": {"base_url": "http://[::1"},
    "no TLS": {"tls": True},
}


@pytest.mark.parametrize("kind", KEYED)
def test_the_key_is_shown_nowhere(server, tmp_path, monkeypatch, caplog, capfd, kind):
    caplog.set_level(logging.DEBUG)
    set_timeout(monkeypatch, 0.2)
    case = dict(KEYED[kind])
    server.scripts["a.zip"] = [case.pop("script", None)] * 9
    base_url = case.get("base_url", server.url.replace("http", "https") if "tls" in case else "")
    keyed = part(server)._replace(url=f"{server.url}/download?file=a.zip")
    server.files["download"], server.scripts["download"] = DATA, server.scripts["a.zip"]
    said = []
    with pytest.raises((OSError, ValueError)) as caught:
        download_parts(
            [keyed], tmp_path, base_url=base_url, key=KEY, retries=2, say=lambda x: (said.append(x), print(x))
        )
    error = caught.value
    texts = [*said, caplog.text, *capfd.readouterr()]
    while error:
        texts += [str(error), repr(error), *traceback.format_exception(error)]
        error = error.__cause__ or error.__context__
    texts += [path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file()]
    texts += [path.name for path in tmp_path.rglob("*")]
    for shown in (KEY, quote(KEY), quote(KEY, safe=""), quote_plus(KEY), "s3cr"):
        assert not [text for text in texts if shown in text]
    one_line(caught.value)
    if not base_url:
        queries = [query for command, _, query, _ in server.requests if command == "GET"]
        assert queries[0] == {"file": ["a.zip"], "key": [KEY]}


def test_a_mirror_replaces_the_server(server, tmp_path):
    elsewhere = part(server)._replace(url="https://example.invalid/download?file=a.zip")
    server.files["mirror/a.zip"] = DATA
    download_parts([elsewhere], tmp_path, base_url=f"{server.url}/mirror/")
    assert (tmp_path / "a.zip").read_bytes() == DATA
