"""The local page and its API: answers, and requests that are refused."""

import asyncio
import io
import json
import wave

import numpy as np
import pytest
from conftest import voice as speech

from inference import load

pytest.importorskip("starlette")

from inference.server.app import FILES, make_app
from inference.server.guard import SECURITY_HEADERS
from inference.server.limits import Limits, RefusedError
from inference.server.recent import RecentEmbeddings
from inference.server.service import PEAKS, Service, peaks
from inference.server.serving import hosts_of, listen_on
from inference.server.worker import Worker

HOST = "127.0.0.1:8000"
WAV = {"content-type": "audio/wav"}
JSON = {"content-type": "application/json"}


def wav(samples, rate=16_000, width=2, channels=1, promised=None):
    """Samples -> a WAV file; `promised` frames in its header instead of those that it has."""
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(np.round(np.asarray(samples) * 32767).astype("<i2").tobytes())
    content = bytearray(stream.getvalue())
    if promised is not None:
        content[40:44] = (2 * promised).to_bytes(4, "little")
    return bytes(content)


class Client:
    """Sends requests to an application, without a network."""

    def __init__(self, app):
        self.app = app

    def __call__(self, method, path, body=b"", headers=None, host=HOST, delay_s=0.0):
        """Body as bytes, as a list of parts, or as values for JSON -> status, headers, content."""
        if isinstance(body, dict):
            body, headers = json.dumps(body).encode(), JSON | (headers or {})
        parts = body if isinstance(body, list) else [body]
        hosts = [host] if isinstance(host, str) else host
        fields = [("host", each) for each in hosts] + [*(headers or {}).items()]
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in fields],
        }
        messages, sent = [], iter(enumerate(parts, 1))

        async def receive():
            await asyncio.sleep(delay_s)
            number, part = next(sent, (0, None))
            if part is None:
                await asyncio.Event().wait()  # the client stays
            return {"type": "http.request", "body": part, "more_body": number < len(parts)}

        async def send(message):
            messages.append(message)

        asyncio.run(self.app(scope, receive, send))
        found = {name.decode(): value.decode() for name, value in messages[0]["headers"]}
        content = b"".join(message.get("body", b"") for message in messages[1:])
        is_json = found["content-type"] == "application/json"
        return messages[0]["status"], found, json.loads(content) if is_json else content


@pytest.fixture(scope="module")
def answering(trained):
    return load(trained[0], vad="none", threshold=0.9, device="cpu")


@pytest.fixture
def make_client(answering, tmp_path):
    """Limits, token -> client of an application with an empty database."""

    def make(token="", **limits):
        limits = Limits(**limits)
        service = Service(answering, str(tmp_path / "people.db"), limits)
        return Client(make_app(service, limits, frozenset({HOST}), token))

    return make


def sent(client, speaker, take):
    status, _, known = client("POST", "/api/recordings", wav(speech(speaker, take)), WAV)
    assert status == 200, known
    return known


def test_recordings_are_compared_as_by_the_voice(make_client, answering):
    client = make_client()
    one, same, other = (sent(client, *each) for each in ((0, 0), (0, 1), (3, 0)))
    assert one["has_speech"] and one["duration_s"] == 1.0 and len(one["peaks"]) == PEAKS
    for second, take in ((same, (0, 1)), (other, (3, 0))):
        pair = {"first": one["recording"], "second": second["recording"], "prior": 0.2}
        status, _, answer = client("POST", "/api/compare", pair)
        sides = [np.round(speech(*each) * 32767).astype(np.int16) for each in ((0, 0), take)]
        expected = answering.compare(*((side, 16_000) for side in sides), prior=0.2)
        decision = {True: "one speaker", False: "two speakers"}[expected.accepted]
        assert status == 200 and answer["decision"] == decision
        assert answer["score"] == pytest.approx(expected.score, abs=1e-6)
    assert client("GET", "/api/model")[2]["threshold"] == 0.9


def test_people_are_enrolled_identified_and_removed(make_client):
    client = make_client()
    ann, bob, unknown = (sent(client, *each)["recording"] for each in ((0, 0), (4, 0), (0, 2)))
    assert client("POST", "/api/identify", {"recording": unknown})[2]["reason"] == "no speaker is enrolled"
    for name, recording in (("Ann", ann), ("Bob", bob)):
        status, _, answer = client("POST", "/api/speakers", {"name": name, "recordings": [recording]})
        assert status == 200 and "2 s or more are advised" in answer["remarks"][0]
    answer = client("POST", "/api/identify", {"recording": unknown, "top": 1})[2]
    assert [match["name"] for match in answer["ranked"]] == ["Ann"]
    people = client("GET", "/api/speakers")[2]["speakers"]
    assert [(person["name"], person["num_recordings"]) for person in people] == [("Ann", 1), ("Bob", 1)]
    assert client("DELETE", "/api/speakers", {"name": "Ann"})[0] == 200
    status, _, answer = client("DELETE", "/api/speakers", {"name": "Ann"})
    assert status == 422 and "Ann" in answer["error"]


def test_a_database_that_cannot_be_used_is_told_in_the_terminal(make_client, monkeypatch, capsys):
    client = make_client()

    def full(path, *more):
        raise OSError(28, "No space left on device", "people.db")

    monkeypatch.setattr("inference.server.service.open_book", full)
    status, _, answer = client("GET", "/api/speakers")
    assert status == 500 and "people.db" not in answer["error"]
    assert capsys.readouterr().err.count("No space left on device: 'people.db'") == 1


def test_who_speaks_when(make_client):
    client = make_client()
    recording = np.concatenate([speech(0, 0, 3.0), np.zeros(16_000, np.float32), speech(4, 0, 3.0)])
    status, _, known = client("POST", "/api/turns", wav(recording), WAV)
    assert status == 200 and known["duration_s"] == 7.0 and len(known["peaks"]) == PEAKS
    assert all(0.0 <= turn["start"] < turn["end"] <= 7.0 for turn in known["turns"])
    assert {turn["name"] for turn in known["turns"]} <= {f"speaker {number}" for number in range(1, 4)}
    assert known["has_speech"] == bool(known["turns"])


def test_silence_is_an_answer(make_client):
    client = make_client()
    known = client("POST", "/api/recordings", wav(np.zeros(16_000)), WAV)[2]
    assert known["speech_s"] == 0.0 or known["has_speech"]  # as the detector finds


@pytest.mark.parametrize(
    ("content", "status", "reason"),
    [
        (b"", 415, "expected a WAV file"),
        (b"RIFF\xff\xff\xff\xffWAVE", 415, "expected a WAV file"),
        (b"\x1aE\xdf\xa3" + bytes(100), 415, "expected a WAV file"),  # webm
        (wav(np.zeros(8), width=1), 415, "got 8-bit ones"),
        (wav(np.zeros(100), promised=1000), 422, "promises 2000 bytes, there are 200"),
        (wav([]), 422, "promises 0 bytes"),
        (wav(np.zeros(65), channels=65), 422, "1 to 64 channels, got 65"),
        (wav(np.zeros(100), rate=999), 422, "1,000 to 768,000 Hz, got 999"),
        (wav(np.zeros(33_000)), 413, "at most 2 s, got 2"),
    ],
)
def test_recordings_that_cannot_be_used(make_client, content, status, reason):
    found, _, answer = make_client(longest_s=2.0)("POST", "/api/recordings", content, WAV)
    assert found == status and reason in answer["error"], (found, answer)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"host": []}, 421),
        ({"host": [HOST, "evil.example"]}, 421),
        ({"headers": {"origin": "http://evil.example"}}, 403),
        ({"headers": {"origin": "null"}}, 403),
        ({"headers": {"sec-fetch-site": "cross-site"}}, 403),
        ({"headers": {"content-length": "999"}}, 413),
        ({"headers": {"content-length": "-1"}}, 413),
        ({"headers": {"content-type": "text/plain"}, "body": b"{}"}, 415),
        ({"headers": {"content-type": "multipart/form-data; boundary=x"}, "body": b"--x"}, 415),
        ({"headers": JSON | {"content-encoding": "gzip"}, "body": b"{}"}, 415),
        ({"headers": JSON, "body": [b" " * 60, b" " * 60]}, 413),
        ({"headers": JSON, "body": b"[" * 90}, 400),
        ({"headers": JSON, "body": b"\xff"}, 400),
        ({"body": {"first": "a", "second": "b", "third": "c"}}, 400),
        ({"body": {"first": "a"}}, 400),
        ({"body": {"first": "a", "second": ["b"]}}, 400),
        ({"body": {"first": "a", "second": "b", "prior": 1}}, 400),
        ({"body": {"first": "a", "second": "b", "prior": True}}, 400),
        ({"headers": JSON, "body": b'{"first": "a", "second": "b", "prior": NaN}'}, 400),
        ({"body": {"first": "a", "second": "b"}}, 404),
    ],
)
def test_requests_that_are_refused(make_client, request_, status):
    client = make_client(most_bytes=100, most_json=100)
    found, headers, answer = client("POST", "/api/compare", **request_)
    assert found == status and set(answer) == {"error"}
    assert SECURITY_HEADERS.items() <= {name.title(): value for name, value in headers.items()}.items() | {
        ("X-Content-Type-Options", headers["x-content-type-options"])
    }


def test_names_that_cannot_be_used(make_client):
    client = make_client()
    recording = sent(client, 0, 0)["recording"]
    for name, status in (("a\nb", 422), ("  ", 422), ("", 400), ("x" * 201, 400)):
        assert client("POST", "/api/speakers", {"name": name, "recordings": [recording]})[0] == status
    for recordings in ([], "abc", [recording] * 51):
        assert client("POST", "/api/speakers", {"name": "a", "recordings": recordings})[0] == 400


def test_only_the_files_of_the_page_are_served(make_client):
    client = make_client()
    for path in FILES:
        status, headers, content = client("GET", path)
        assert status == 200 and content
        assert headers["content-security-policy"].startswith("default-src 'none'")
    for path in ("/page/index.html", "/../app.py", "/page.js/../../app.py", "/%2e%2e/app.py", "/api", "//"):
        assert client("GET", path)[0] == 404
    assert client("POST", "/")[0] == client("PUT", "/api/model")[0] == 405


def test_the_token_opens_the_api(make_client):
    client = make_client(token="secret")
    assert client("GET", "/")[0] == 200  # the page has no secrets
    for given, status in ((None, 401), ("Bearer x", 401), ("Basic secret", 401), ("Bearer secret", 200)):
        headers = {} if given is None else {"authorization": given}
        assert client("GET", "/api/model", headers=headers)[0] == status


def test_slow_bodies_are_given_up(make_client):
    client = make_client(upload_s=0.05)
    status, _, answer = client("POST", "/api/compare", [b"{", b"}"], JSON, delay_s=0.1)
    assert status == 408 and "too slowly" in answer["error"]


def test_a_full_queue_refuses_and_places_are_given_back():
    worker = Worker(1)

    async def fill():
        async with worker.place():
            with pytest.raises(RefusedError) as refused:
                async with worker.place():
                    raise AssertionError
        assert refused.value.status == 429 and refused.value.headers["Retry-After"] == "1"
        with pytest.raises(ZeroDivisionError):
            async with worker.place():
                await worker.run(lambda: 1 / 0)
        async with worker.place():
            assert await worker.run(lambda: 5) == 5

    asyncio.run(fill())
    worker.close()


def test_embeddings_are_forgotten():
    now = 0.0
    recent = RecentEmbeddings(Limits(most_recordings=2, remembered_s=10.0), lambda: now)
    first, second, third = (recent.add(number) for number in range(3))
    assert recent.get(second) == 1 and recent.get(third) == 2 and len({first, second, third}) == 3
    with pytest.raises(RefusedError, match="send it again"):
        recent.get(first)
    now = 10.5
    with pytest.raises(RefusedError, match="send it again"):
        recent.get(third)


def test_the_api_is_described(make_client):
    client = make_client()
    described = client("GET", "/openapi.json")[2]["paths"]
    routes = {(route.path, method) for route in client.app.routes for method in route.methods - {"HEAD"}}
    api = {(path, method) for path, method in routes if path.startswith("/api/")}
    assert {(path, method.upper()) for path in described for method in described[path]} == api


def test_the_largest_magnitudes_are_drawn():
    samples = np.zeros((4 * PEAKS, 2), np.int16)
    samples[5, 1] = -32768
    assert peaks(samples)[:3] == [0.0, 1.0, 0.0] and len(peaks(samples)) == PEAKS
    assert peaks(samples[:7]) == [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]


def test_the_hosts_that_are_answered():
    assert hosts_of("127.0.0.1", 8000) == {"127.0.0.1:8000", "localhost:8000", "[::1]:8000"}
    assert hosts_of("0.0.0.0", 8000) == frozenset()  # any name: the token protects
    assert "voices.example:80" in hosts_of("voices.example", 80) and "localhost" in hosts_of("::1", 80)


def test_addresses_that_cannot_be_listened_on():
    with listen_on("127.0.0.1", 0) as listening:
        used = listening.getsockname()[1]
        for host, port in (("127.0.0.1", used), ("127.0.0.1", 70_000), ("nowhere.invalid", 0), ("::zz", 0)):
            with pytest.raises(ValueError, match=f"--host {host} --port {port}: .*; choose another"):
                listen_on(host, port)
