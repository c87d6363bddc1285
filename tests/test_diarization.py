"""inference/diarization: windows, clusters, turns, names, files; metrics/diarization."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from inference.diarization import clustering, files, naming, turns, windows
from inference.diarization.diarizer import Diarization
from inference.diarization.naming import NamedSpeaker
from inference.diarization.turns import Overlap, Timeline, Turn
from inference.speakers.open_set import Answer
from inference.speakers.search import Match
from inference.verbs import diarize as verb
from metrics.diarization import diarization_error

REFERENCE = [(0.0, 10.0, "a"), (10.0, 20.0, "b"), (18.0, 24.0, "c")]
# a is called x, b y; 12 to 14 nobody is heard; c isn't told from b; where z is, nobody speaks
HYPOTHESIS = [(0.0, 11.0, "x"), (11.0, 12.0, "y"), (14.0, 24.0, "y"), (25.0, 26.0, "z")]


def test_diarization_errors_worked_by_hand():
    error = diarization_error(REFERENCE, HYPOTHESIS)
    # speech 10 + 10 + 6; missed 12 to 14, and one of two speakers 18 to 20; z; x for b 10 to 11, y for c 20
    # to 24
    assert error == pytest.approx((4.0, 1.0, 5.0, 26.0))
    assert error.rate == pytest.approx(10 / 26)
    # around 0, 10, 18, 20 and 24 nothing counts: 0.5 to 9.5, 10.5 to 17.5, twice 18.5 to 19.5, 20.5 to 23.5
    error = diarization_error(REFERENCE, HYPOTHESIS, collar_s=0.5)
    assert error == pytest.approx((2.0 + 1.0, 1.0, 0.5 + 3.0, 9.0 + 7.0 + 2.0 + 3.0))
    # one to one: y is b, who has 7 s in common with it, although c has 6 s in common with it
    assert diarization_error(REFERENCE, [(0.0, 24.0, "x")])[:3] == pytest.approx((2.0, 0.0, 14.0))
    assert diarization_error(REFERENCE, [])[:3] == pytest.approx((26.0, 0.0, 0.0))
    with pytest.raises(ValueError, match=r"^the reference has no speech outside of collars of 1 s$"):
        diarization_error([(0.0, 2.0, "a")], HYPOTHESIS, collar_s=1.0)


@pytest.mark.parametrize("collar_s", [0.0, 0.25])
def test_diarization_errors_equal_those_of_pyannote(collar_s):
    core = pytest.importorskip("pyannote.core")
    oracle = pytest.importorskip("pyannote.metrics.diarization")
    generator = np.random.default_rng(0)
    for _ in range(10):
        annotations, sides = [], []
        for names in ("abcd", "uvwxy"):
            # of one speaker no two turns overlap
            starts = {name: np.arange(6) * 10.0 + generator.uniform(0.0, 5.0, 6) for name in names}
            side = [(s, s + generator.uniform(0.1, 5.0), n) for n in names for s in starts[n].tolist()]
            annotation = core.Annotation()
            for number, (start, end, name) in enumerate(side):
                annotation[core.Segment(start, end), number] = name
            annotations.append(annotation)
            sides.append(side)
        everything = core.Timeline([core.Segment(-1.0, 80.0)])
        metric = oracle.DiarizationErrorRate(collar=2 * collar_s)  # there it is the width of both sides
        parts = metric(*annotations, uem=everything, detailed=True)
        expected = [parts[name] for name in ("missed detection", "false alarm", "confusion", "total")]
        assert diarization_error(*sides, collar_s) == pytest.approx(expected, abs=1e-6)


def test_windows_lie_in_the_speech_and_reach_its_ends():
    regions = np.array([[100, 400], [500, 580]])  # 3 s and 0.8 s
    found = windows.windows_in(regions)
    assert found.starts.tolist() == [100, 175, 250, 500] and found.ends.tolist() == [250, 325, 400, 580]
    assert found.region.tolist() == [0, 0, 0, 1]
    assert windows.windows_in(np.array([[0, 160]])).starts.tolist() == [0, 10]
    assert len(windows.windows_in(np.empty((0, 2), np.int64)).starts) == 0
    flags = np.zeros(30, bool)
    flags[[0, 1, 5, 6, 29]] = True
    runs = windows.runs(flags)
    assert runs.tolist() == [[0, 2], [5, 7], [29, 30]]
    assert windows.bridged(runs, 3).tolist() == [[0, 7], [29, 30]]


def test_short_speech_is_repeated_to_fill_its_window():
    audio = np.arange(60_000, dtype=np.float32)
    found = windows.windows_in(np.array([[0, 200], [300, 350]]))  # 2 s, then 0.5 s at 3 s
    embedded = []

    def embed(batches):
        embedded.extend(batches)
        return np.concatenate([batch[:, :2] for batch in embedded])

    vectors = windows.embed_windows(SimpleNamespace(embed_windows=embed), audio, found)
    assert vectors[:, 0].tolist() == [0.0, 8_000.0, 48_000.0]
    assert len(embedded) == 1 and embedded[0].shape == (3, 24_000)
    assert np.array_equal(embedded[0][2].reshape(3, 8_000), np.tile(audio[48_000:56_000], (3, 1)))


def embeddings(speakers, noise=0.25, seed=0):
    """Numbers of speakers (W,) -> made-up embeddings (W, 16) around an axis for each."""
    generator = np.random.default_rng(seed)
    vectors = np.eye(16)[speakers] + generator.normal(0.0, noise / 4, (len(speakers), 16))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_clusters_are_the_speakers_and_odd_windows_are_none():
    speakers = np.repeat([0, 1, 2, 0, 5], [10, 8, 6, 4, 1])  # 5 is heard in one window
    vectors = embeddings(speakers)
    assert [int(c.argmax()) for c in clustering.centroids(vectors)] in ([0, 1, 2], [2, 1, 0], [1, 0, 2])
    assert sorted(c.argmax() for c in clustering.centroids(vectors, 3)) == [0, 1, 2]
    assert sorted(c.argmax() for c in clustering.centroids(vectors, 2)) == [0, 1]  # the largest ones
    assert len(clustering.centroids(vectors, 1)) == 1
    # two voices that are alike are one, unless two are asked for
    alike = vectors[speakers < 2] + 0.8 * np.eye(16, dtype=np.float32)[9]
    alike /= np.linalg.norm(alike, axis=1, keepdims=True)
    assert len(clustering.centroids(alike)) == 1 and len(clustering.centroids(alike, 2)) == 2
    assert len(clustering.centroids(vectors, least_cosine=-1.0)) == 1
    assert np.allclose(clustering.centroids(vectors[:1]), vectors[:1])


def test_many_windows_are_clustered_by_some_of_them(monkeypatch):
    monkeypatch.setattr(clustering, "MOST_CLUSTERED", 20)
    vectors = embeddings(np.repeat([3, 1], [100, 60]))
    assert sorted(c.argmax() for c in clustering.centroids(vectors)) == [1, 3]


def test_turns_change_where_the_scores_cross_and_short_ones_vanish():
    # 6 s of speech, then 2 s after a pause: speaker 4 speaks up to 3 s, then 7, and 4 again in the end
    found = windows.windows_in(np.array([[50, 650], [800, 1000]]))
    middles = (found.starts + found.ends) / 2
    vectors = embeddings(np.where((middles > 350) & (middles < 700), 7, 4), noise=0.0)
    timeline = turns.assign(found, vectors)
    assert [turn.speaker for turn in timeline.turns] == ["1", "2", "1"]
    edges = [edge for turn in timeline.turns for edge in turn[:2]]
    # windows with middles at 3.5 s and 4.25 s differ: the scores cross half way
    assert edges == pytest.approx([0.5, 3.875, 3.875, 6.5, 8.0, 10.0], abs=0.02)
    scores = np.tile([0.7, 0.2], (300, 1))
    scores[80:100] = [0.2, 0.7]  # 0.2 s: 20 * 0.5 isn't worth two changes of 15
    scores[180:260] = [0.2, 0.7]
    path = turns.smooth(scores, 15.0)
    assert np.flatnonzero(path).tolist() == list(range(180, 260))


def test_pauses_within_a_turn_and_voices_between_two_speakers():
    merged = turns.joined(
        [Turn(0.0, 1.0, "1"), Turn(1.5, 2.0, "1"), Turn(2.0, 3.0, "2"), Turn(4.0, 5.0, "2")]
    )
    assert merged == [Turn(0.0, 2.0, "1"), Turn(2.0, 3.0, "2"), Turn(4.0, 5.0, "2")]
    found = windows.windows_in(np.array([[0, 41 * 75 + 150]]))
    vectors = embeddings(np.repeat([2, 6], [21, 21]), noise=0.0)
    vectors[20:22] = (vectors[0] + vectors[-1]) / np.sqrt(2)  # with middles at 15.75 and 16.5 s
    overlaps = turns.assign(found, vectors).overlaps
    assert [(each.speaker, each.other) for each in overlaps] == [("1", "2")]
    assert overlaps[0][:2] == pytest.approx((15.75, 16.5), abs=0.1)


class Book:
    """In place of a voice and a database: the first sample says who it is."""

    def identify(self, recording):  # noqa: D102
        samples, rate = recording
        assert rate == 16_000
        self.lengths = [*getattr(self, "lengths", []), len(samples)]
        name = {1.0: "anna", 2.0: "speaker 1"}.get(float(samples[0]))
        return SimpleNamespace(ranked=[Match("anna", float(samples[0]) / 4)], answer=Answer(name, 0.5, ""))


def test_names_come_from_the_database_and_others_are_numbered():
    audio = np.repeat([1.0, 3.0, 1.0, 2.0, 4.0], [16_000, 16_000, 16_000, 16_000, 16_000]).astype(np.float32)
    timeline = Timeline(
        [Turn(float(n), n + 1.0, name) for n, name in enumerate(["1", "2", "3", "4", "5"])],
        [Overlap(0.0, 0.5, "1", "3"), Overlap(1.0, 1.5, "2", "1")],
    )
    named, speakers = naming.with_names(timeline, audio, Book())
    # 1 and 3 are one enrolled speaker; "speaker 1" is the name of another
    assert [turn.speaker for turn in named.turns] == ["anna", "speaker 2", "anna", "speaker 1", "speaker 3"]
    assert named.overlaps == [Overlap(1.0, 1.5, "speaker 2", "anna")]
    assert speakers == [
        NamedSpeaker("anna", True, 0.25, 2.0),
        NamedSpeaker("speaker 2", False, 0.75, 1.0),
        NamedSpeaker("speaker 1", True, 0.5, 1.0),
        NamedSpeaker("speaker 3", False, 1.0, 1.0),
    ]
    _, speakers = naming.with_names(timeline, audio, None)
    assert [(each.name, each.score) for each in speakers] == [(f"speaker {n}", None) for n in range(1, 6)]
    # the longest turns up to 30 s
    long, book = Timeline([Turn(0.0, 20.0, "1"), Turn(30.0, 55.0, "1")], []), Book()
    naming.with_names(long, np.zeros(60 * 16_000, np.float32), book)
    assert book.lengths == [30 * 16_000]


RESULT = Diarization(
    "calls/monday 1.wav",
    12.0,
    9.0,
    [Turn(0.5, 3.25, "anna b"), Turn(4.0, 10.0625, "speaker 1")],
    [Overlap(2.0, 3.0, "anna b", "speaker 1")],
    [NamedSpeaker("anna b", True, 0.61234, 2.75), NamedSpeaker("speaker 1", False, 0.1, 6.0625)],
    ("quiet",),
)


def test_rttm_and_json(tmp_path):
    files.write(RESULT, tmp_path / "a.rttm")
    assert (tmp_path / "a.rttm").read_text() == (
        "SPEAKER monday_1 1 0.500 2.750 <NA> <NA> anna_b <NA> <NA>\n"
        "SPEAKER monday_1 1 4.000 6.062 <NA> <NA> speaker_1 <NA> <NA>\n"
    )
    files.write(RESULT, tmp_path / "a.JSON")
    content = json.loads((tmp_path / "a.JSON").read_text())
    assert content["turns"][1] == {"start_s": 4.0, "end_s": 10.062, "speaker": "speaker 1"}
    assert content["speakers"][0] == {"name": "anna b", "is_enrolled": True, "score": 0.612, "speech_s": 2.75}
    assert content["overlaps"] == [{"start_s": 2.0, "end_s": 3.0, "speaker": "anna b", "other": "speaker 1"}]
    assert (content["file"], content["duration_s"], content["warnings"]) == (RESULT.name, 12.0, ["quiet"])
    with pytest.raises(ValueError, match=r"a\.txt: expected a name that ends in \.rttm or \.json$"):
        files.write(RESULT, tmp_path / "a.txt")
    alike = RESULT._replace(speakers=[*RESULT.speakers, NamedSpeaker("anna_b", True, 0.5, 1.0)])
    with pytest.raises(ValueError, match=r"^RTTM can't tell anna b, anna_b, speaker 1 apart; write \.json$"):
        files.write(alike, tmp_path / "b.rttm")
    assert not (tmp_path / "b.rttm").exists()


def test_the_table_is_readable():
    assert verb.lines(RESULT) == [
        "calls/monday 1.wav: 2 speakers, speech in 9.0 of 12.0 s",
        "  0:00:00.5 0:00:03.2   anna b",
        "  0:00:04.0 0:00:10.1   speaker 1",
        "  overlap    0:00:02.0 0:00:03.0   anna b, or speaker 1, or both",
        "  speech          2.8 s  31 %   anna b   score 0.6123",
        "  speech          6.1 s  69 %   speaker 1   score 0.1000",
        "  warning    quiet",
    ]
    nothing = Diarization("a.wav", 2.0, 0.0, [], [], [], ())
    assert verb.lines(nothing) == ["a.wav: no speech in 2.0 s"]
    assert verb.clock(3725.04) == "1:02:05.0"
