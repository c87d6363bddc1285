"""Open-set identification: the rule, its tuning on the enrolled speakers, and remarks at enrolment."""

import math

import numpy as np
import pytest

from inference.speakers.cohort_scores import Cohort
from inference.speakers.database import Enrolment, SpeakerDatabase
from inference.speakers.database_file import Model
from inference.speakers.enrolment import remarks
from inference.speakers.open_set import OpenSetRule, untuned_rule
from inference.speakers.search import Match, SpeakerSearch
from inference.speakers.tuning import LeaveOneOut, leave_one_out, tune, tuned
from metrics.wilson import Share

RULE = OpenSetRule(threshold=0.6, tail=0.03, margin=0.1, p_fa=0.01, origin="by hand")


def test_the_threshold_grows_with_the_logarithm_of_the_speakers():
    assert RULE.threshold_for(1) == 0.6
    assert RULE.threshold_for(100) == pytest.approx(0.6 + 0.03 * 4.605170)
    # where P(score > t) = 0.01 exp(-(t - 0.6) / 0.03), 100 strangers raise one false alarm in a hundred still
    assert 100 * 0.01 * math.exp(-(RULE.threshold_for(100) - 0.6) / 0.03) == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("scores", "count", "name", "reason"),
    [
        ((0.70, 0.50), 2, "A", ""),
        ((0.621,), 2, "A", ""),  # 0.6 + 0.03 ln 2 = 0.6208
        ((0.620,), 2, None, "the score is below the threshold 0.621"),
        ((0.70, 0.50), 100, None, "the score is below the threshold 0.738"),
        ((0.75, 0.66), 100, None, "A and B differ by less than the margin 0.100"),
        ((), 0, None, "no speaker is enrolled"),
    ],
)
def test_threshold_and_margin_decide(scores, count, name, reason):
    ranked = [Match(*pair) for pair in zip("AB", scores, strict=False)]
    answer = RULE.decide(ranked, count)
    assert (answer.name, answer.reason) == (name, reason)
    assert answer.threshold == RULE.threshold_for(count)


def test_rules_are_stored_and_untuned_ones_know_their_tail():
    assert OpenSetRule.from_dict(RULE.to_dict(), "s.db") == RULE
    for damage in ({"tail": math.nan}, {"margin": "0.1"}, {"origin": 1}):
        with pytest.raises(ValueError, match=r"s.db: its tuned decision is damaged; tune it again"):
            OpenSetRule.from_dict(RULE.to_dict() | damage, "s.db")
    assert untuned_rule(0.6, 0.03, "x").margin == 0.06
    alone = untuned_rule(0.6, None, "x")
    assert alone.threshold_for(1000) == 0.6 and alone.margin == 0.0


def test_wilson_intervals():
    # Newcombe 1998, table I: 81 of 263 and 15 of 148
    assert Share(81, 263).interval == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert Share(15, 148).interval == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert Share(0, 20).interval == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert str(Share(15, 148)) == "10.1 % (6.2 to 16.0; 15 of 148)" and Share(0, 0).interval == (0.0, 1.0)


@pytest.mark.parametrize("kind", ["mean", "max"])
@pytest.mark.parametrize("top_n", [None, 4])
def test_each_recording_is_left_out_of_its_speaker(kind, top_n, tmp_path):
    """Equals a search in the database without the recording."""
    generator = np.random.default_rng(0)
    speakers = np.array([0, 0, 1, 1, 1, 2, 3, 3])
    vectors = generator.normal(size=(8, 5)).astype(np.float32)
    cohort = None if top_n is None else Cohort(generator.normal(size=(6, 5)), top_n)
    scores = leave_one_out(vectors, speakers, kind, cohort)
    with SpeakerDatabase.create(tmp_path / "s.db", Model("m", "f", 5), kind) as database:
        enrolments = [Enrolment(f"/{row}", vector, 1.0, 1.0) for row, vector in enumerate(vectors)]
        for speaker in range(4):
            database.enrol(f"{speaker}", [enrolments[row] for row in np.flatnonzero(speakers == speaker)])
        search = SpeakerSearch(database, cohort)
        for row, speaker in enumerate(speakers):
            database.remove(f"{speaker}", f"/{row}")
            found = dict(search.identify(vectors[row], top=9))
            database.enrol(f"{speaker}", [enrolments[row]])
            own = found.pop(f"{speaker}", -np.inf)
            expected = own, *sorted(found.values(), reverse=True)[:2]
            assert (scores.own[row], scores.best[row], scores.second[row]) == pytest.approx(
                expected, abs=1e-5
            )


def test_tuning_finds_the_threshold_of_an_exponential_tail():
    """Best scores of 5,000 strangers among 100 speakers, of which each is 0.3 + 0.03 * an exponential."""
    generator = np.random.default_rng(0)
    others = np.sort(0.3 + 0.03 * generator.exponential(size=(5000, 99)), axis=1)
    own = generator.uniform(0.45, 0.9, size=5000)
    result = tuned(LeaveOneOut(own, others[:, -1], others[:, -2]), 100, 0.01, None)
    assert result.rule.tail == pytest.approx(0.03, abs=0.003)
    # 100 * exp(-(t - 0.3) / 0.03) = 0.01
    assert result.rule.threshold_for(100) == pytest.approx(0.3 + 0.03 * math.log(100 / 0.01), abs=0.01)
    assert result.rule.threshold == pytest.approx(0.3 + 0.03 * math.log(1 / 0.01), abs=0.02)
    accepted = result.right.num / result.right_without_margin.num
    assert result.right.total == 5000 and 0.989 <= accepted < 1.0  # the margin costs one in a hundred
    assert result.strangers.value <= 0.012
    # the model's threshold weighs as 20 speakers do, its tail as 10 of the highest 500 scores
    model_rule = untuned_rule(0.8, 0.06, "model")
    both = tuned(LeaveOneOut(own, others[:, -1], others[:, -2]), 100, 0.01, model_rule)
    assert both.rule.tail == pytest.approx((500 * result.rule.tail + 10 * 0.06) / 510)
    tail = both.rule.tail
    count_level = np.sort(others[:, -1])[::-1][500] + tail * math.log(0.1 / 0.01) + tail * math.log(100 / 99)
    expected = (100 * count_level + 20 * (0.8 + 0.06 * math.log(100))) / 120
    assert both.rule.threshold_for(100) == pytest.approx(expected)
    # the threshold of a model whose tail isn't known grows by that of the scores
    scores = LeaveOneOut(own, others[:, -1], others[:, -2])
    alone = tuned(scores, 100, 0.01, untuned_rule(0.8, None, "model")).rule
    without = 100 * result.rule.threshold_for(100)
    expected = (without + 20 * (0.8 + result.rule.tail * math.log(100))) / 120
    assert alone.tail == result.rule.tail and alone.threshold_for(100) == pytest.approx(expected)


def enrol_speakers(database, num_speakers, num_recordings):
    generator = np.random.default_rng(1)
    for speaker in range(num_speakers):
        centre = generator.normal(size=8)
        for number in range(num_recordings):
            vector = centre + 0.2 * generator.normal(size=8)
            vector = (vector / np.linalg.norm(vector)).astype(np.float32)
            database.enrol(f"s{speaker}", [Enrolment(f"/{speaker}/{number}", vector, 3.0, 3.0)])


def test_tuning_is_stored_or_says_what_is_missing(tmp_path):
    model_rule = untuned_rule(0.6, 0.03, "model")
    with SpeakerDatabase.create(tmp_path / "s.db", Model("m", "f", 8)) as database:
        enrol_speakers(database, 4, 2)
        database.enrol("alone", [Enrolment("/x", np.ones(8, np.float32), 1.0, 1.0)])
        with pytest.raises(
            ValueError, match=r"5 speakers with two recordings or more, got 4 \(and 1 with one"
        ):
            tune(database, model_rule=model_rule)
        database.enrol("alone", [Enrolment("/y", np.ones(8, np.float32), 1.0, 1.0)])
        with pytest.raises(ValueError, match="needs 20 speakers where the model has no threshold, got 5"):
            tune(database)
        with pytest.raises(ValueError, match=r"p_fa must be above 0 and at most 0.1, got 0.5"):
            tune(database, 0.5, model_rule=model_rule)
        result = tune(database, 0.02, model_rule=model_rule)
        stored = database.tuning()
        assert OpenSetRule.from_dict(stored, "s.db") == result.rule and result.rule.p_fa == 0.02
        assert stored["right"] == [result.right.num, 10] and stored["strangers"][1] == 10
        assert any(line.startswith("strangers") and "the aim is 2 %" in line for line in result.lines())
        for text in ("[1]", "{"):
            with database.writing() as connection:
                connection.execute("UPDATE meta SET value = ? WHERE key = 'tuning'", (text,))
            with pytest.raises(ValueError, match=r"s.db: its tuned decision is damaged; tune it again"):
                database.tuning()


def files(*vectors, speech_s=3.0):
    return [
        Enrolment(f"{number}.wav", np.array(v, np.float32) / np.linalg.norm(v), 4.0, speech_s)
        for number, v in enumerate(vectors)
    ]


def test_remarks_name_the_file_that_disagrees():
    alike = files((1, 0, 0.1), (1, 0.1, 0), (1, 0, 0))
    assert remarks("id1", alike, 0.6) == []
    # (0, 0, 1) against the mean of the three: 0.1 / 3 of its length
    (line,) = remarks("id1", [*alike, *files((0, 0, 1))], 0.6)
    assert line.startswith("0.wav: doesn't resemble the other recordings of id1, score 0.033 below 0.600")
    (line,) = remarks("id1", files((1, 0, 0), (0, 1, 0)), 0.6)
    assert line == "0.wav and 1.wav may be of different speakers: score 0.000"
    assert remarks("id1", files((1, 0, 0), (0, 1, 0)), None) == []
    lines = remarks("id1", files((1, 0), (1, 0), speech_s=1.5), 0.6, nearest=Match("id2", 0.7))
    assert lines == [
        "0.wav: 1.5 s of speech, 2 s or more are advised",
        "1.wav: 1.5 s of speech, 2 s or more are advised",
        "id1: 3.0 s of speech in all, 5 s or more are advised",
        "id1 resembles id2, who is enrolled already: score 0.700; are they one person?",
    ]
    assert remarks("id1", alike, 0.6, nearest=Match("id2", 0.5)) == []
    # (1, 0) has the cohort scores 1, 0 and (0, 1) has 0, 0.5: their score 0 is ((0-.5)/.5 + (0-.25)/.25) / 2
    cohort = Cohort([[1.0, 0.0], [0.0, 0.5]])
    (line,) = remarks("id1", files((1, 0), (0, 1)), 0.6, cohort=cohort)
    assert line.endswith("may be of different speakers: score -1.000")
