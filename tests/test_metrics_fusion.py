"""`tuneThreshold.py calibrate`: plain library calls as oracle, held-out trials, speakers, files, refusals."""

import csv
import json
import re

import numpy as np
import pytest
from conftest import assert_refused, run_here

import tuneThreshold as tune
from metrics import score_files as scorefiles
from metrics.calibration import Calibration, fit
from metrics.costs import cllr, min_cllr
from metrics.cross_validation import cross_validate
from metrics.rates import error_rates
from metrics.score_files import read_score_file

SPEAKERS, TAKES = 12, 4


def trials(name, seed):
    """Target trials and as many nontarget ones, each pair of takes once -> pairs of paths, labels."""
    generator = np.random.default_rng(seed)
    paths = [(s, f"{name}{s:02d}/{t}.wav") for s in range(SPEAKERS) for t in range(TAKES)]
    pairs = [(a, b) for i, a in enumerate(paths) for b in paths[i + 1 :]]
    targets = [(a[1], b[1]) for a, b in pairs if a[0] == b[0]]
    others = [(a[1], b[1]) for a, b in pairs if a[0] != b[0]]
    drawn = generator.choice(len(others), 4 * len(targets), replace=False)
    return [*targets, *(others[i] for i in drawn)], np.repeat([1, 0], [len(targets), 4 * len(targets)])


def write(path, pairs, scores, labels=None, gap=" ", order=None):
    lines = [
        gap.join([f"{scores[i]:.6f}", *pairs[i], *([] if labels is None else [str(labels[i])])])
        for i in (range(len(pairs)) if order is None else order)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def systems(tmp_path):
    """Two systems with independent errors, on trials to fit on and on test trials; badly scaled cosines."""
    paths = {}
    for seed, name in enumerate(("dev", "test")):
        pairs, labels = trials(name, seed)
        for k, system in enumerate("ab"):
            noise = np.random.default_rng([seed, k]).normal(size=len(labels))
            scores = 0.3 + (0.1 - 0.04 * k) * (noise + 2.0 * labels)
            paths[name, system] = write(tmp_path / f"{name}.{system}.txt", pairs, scores, labels)
    return paths


def calibrate(*words):
    result = run_here("tuneThreshold.py", "calibrate", *words)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout


def refused(*words):
    return run_here("tuneThreshold.py", "calibrate", *words)


def read(path):
    """Score file -> path pairs with score and label, in the file's order."""
    return [(a, b, float(s), int(y)) for s, a, b, y in map(str.split, path.read_text().splitlines())]


def by_pair(path):
    """Score file -> scores and labels in the order of the path pairs."""
    rows = sorted(read(path))
    return np.array([row[2] for row in rows]), np.array([row[3] for row in rows])


@pytest.mark.parametrize("p_target", [0.5, 0.05])
def test_one_file_is_calibrated_as_by_the_library(systems, tmp_path, p_target):
    out = tmp_path / "llr.txt"
    dev, test = systems["dev", "a"], systems["test", "a"]
    said = calibrate(test, "--fit", dev, "--output", out, "--p_target", p_target)
    model = fit(*by_pair(dev), p_target)
    scores, labels = by_pair(test)
    np.testing.assert_allclose(by_pair(out)[0], model.apply(scores), rtol=1e-7, atol=1e-7)
    assert [row[:2] for row in read(out)] == sorted(row[:2] for row in read(test))
    np.testing.assert_array_equal(by_pair(out)[1], labels)
    assert f"fitted on {len(read(dev))} trials, 72 of them target, for p_target {p_target:g}" in said
    assert f"weight of score of {test}: {model.weights[0]:.6g}\noffset: {model.offset:.6g}\n" in said
    rates = error_rates(model.apply(scores), labels)
    loss = f"{out}: Cllr {cllr(rates):.5f} bit = minCllr {min_cllr(rates):.5f} + calibration loss "
    assert f"{loss}{cllr(rates) - min_cllr(rates):.5f}" in said
    found = tune.figures(rates, [0.05], 1.0, 1.0, llr=True)
    assert f"{out}: EER {100 * found['eer']:.4f} %, minDCF(0.05) {found['min_dcf_0.05']:.5f}, " in said
    assert f"actDCF(0.05) {found['act_dcf_0.05']:.5f}" in said
    before = tune.figures(error_rates(scores, labels), [0.05], 1.0, 1.0)
    assert f"{test}: EER {100 * before['eer']:.4f} %, minDCF(0.05) {before['min_dcf_0.05']:.5f}, m" in said
    assert f"minCllr {before['min_cllr']:.5f} bit\n" in said
    assert "note" not in said


def test_a_fused_pair_beats_either_on_held_out_trials(systems, tmp_path):
    figures = {}
    for name, chosen in (("a", "a"), ("b", "b"), ("both", "ab")):
        out = tmp_path / f"{name}.txt"
        tested, fitted = ([systems[part, k] for k in chosen] for part in ("test", "dev"))
        calibrate(*tested, "--fit", *fitted, "--output", out)
        figures[name] = tune.figures(error_rates(*by_pair(out)), [0.05], 1.0, 1.0, llr=True)
    for figure in ("cllr", "eer", "min_cllr"):
        assert figures["both"][figure] < 0.8 * min(figures["a"][figure], figures["b"][figure])


def test_files_of_systems_are_aligned_and_their_order_names_the_weights(systems, tmp_path):
    a, b = (by_pair(systems["dev", k])[0] for k in "ab")
    labels = by_pair(systems["dev", "a"])[1]
    model = fit(np.column_stack([a, b]), labels)
    for words, weights in (("ab", model.weights), ("ba", model.weights[::-1])):
        tested, fitted = ([systems[part, k] for k in words] for part in ("test", "dev"))
        said = calibrate(*tested, "--fit", *fitted, "--output", tmp_path / "llr.txt")
        for i, weight in enumerate(weights):
            value = float(re.search(rf"weight of score {i + 1} of {tested[i]}: (\S+)", said)[1])
            assert value == pytest.approx(weight, rel=1e-4)
        expected = model.apply(np.column_stack([by_pair(systems["test", k])[0] for k in "ab"]))
        np.testing.assert_allclose(by_pair(tmp_path / "llr.txt")[0], expected, rtol=1e-5, atol=1e-5)


def test_the_order_of_lines_plays_no_part(systems, tmp_path):
    outputs = []
    for seed in (None, 1, 2):
        if seed is not None:
            for i, path in enumerate(systems.values()):
                lines = path.read_text().splitlines(keepends=True)
                path.write_text("".join(np.random.default_rng([seed, i]).permutation(lines)))
        for way in (["--fit", systems["dev", "a"], systems["dev", "b"]], ["--cross_validate"]):
            words = systems["test", "a"], systems["test", "b"], *way
            calibrate(*words, "--output", tmp_path / "llr.txt", "--csv", tmp_path / "llr.csv")
            outputs.append((tmp_path / "llr.txt").read_text() + (tmp_path / "llr.csv").read_text())
    assert len(set(outputs)) == 2
    assert outputs[::2] == outputs[:1] * 3 and outputs[1::2] == outputs[1:2] * 3


@pytest.mark.parametrize("swapped", [False, True])
def test_trials_that_were_fitted_on_are_refused(systems, tmp_path, swapped):
    dev, test, out = systems["dev", "a"], systems["test", "a"], tmp_path / "llr.txt"
    enrol, other, score, label = read(test)[5]
    pair = (other, enrol) if swapped else (enrol, other)
    dev.write_text(dev.read_text() + f"{score} {' '.join(pair)} {label}\n")
    result = refused(test, "--fit", dev, "--output", out)
    assert_refused(result, f"{test}", f"{dev}", "1 test trials", f"{enrol} {other}", "--cross_validate")
    assert not out.exists()


def test_cross_validation_is_the_librarys(systems, tmp_path):
    test, out = systems["test", "a"], tmp_path / "llr.txt"
    said = calibrate(test, "--cross_validate", "--output", out, "--num_groups", 4, "--seed", 3)
    scores, labels = by_pair(test)
    speakers = [np.array([row[side].split("/")[0] for row in sorted(read(test))]) for side in (0, 1)]
    expected = cross_validate(scores, labels, *speakers, num_groups=4, seed=3)
    np.testing.assert_allclose(by_pair(out)[0], expected.llr, rtol=1e-7, atol=1e-7)
    assert "10 models, each fitted on " in said  # 4 groups: 4 * 5 / 2 pairs of them
    weights = [model.weights[0] for model in expected.models]
    spread = f"{np.mean(weights):.6g} ({min(weights):.6g} to {max(weights):.6g})"
    assert f"weight of score of {test}: {spread}\n" in said
    (tmp_path / "utt2spk").write_text(
        "".join(f"{name} {name.split('/')[0]}\n" for name in read_score_file(str(test)).files)
    )
    again = tmp_path / "again.txt"
    words = "--num_groups", 4, "--seed", 3, "--utt2spk", tmp_path / "utt2spk", "--speaker_folder", 7
    calibrate(test, "--cross_validate", "--output", again, *words)
    assert again.read_text() == out.read_text()


def few_speakers(path):
    """Target trials of two speakers alone: the trial between them can't be scored."""
    rows = "2 a/1 a/2 1,3 a/1 a/3 1,2 b/1 b/2 1,1 b/1 b/3 1,1 a/1 c/1 0,0 c/1 d/1 0,2 c/1 e/1 0,1 d/1 e/1 0"
    path.write_text("\n".join([*rows.split(","), "0 a/1 b/1 0"]) + "\n")
    return path


def test_trials_without_a_model_are_left_out_and_counted(tmp_path):
    path, out = few_speakers(tmp_path / "scores.txt"), tmp_path / "llr.txt"
    said = calibrate(path, "--cross_validate", "--output", out, "--csv", tmp_path / "llr.csv")
    assert "note: 1 trials left out" in said and f"8 LLRs in {out}" in said
    assert {row[:2] for row in read(path)} - {row[:2] for row in read(out)} == {("a/1", "b/1")}
    assert len((tmp_path / "llr.csv").read_text().splitlines()) == 9
    left = [row for row in read(path) if row[:2] != ("a/1", "b/1")]  # figures of the same trials
    found = tune.figures(error_rates(*([row[i] for row in left] for i in (2, 3))), [0.05], 1.0, 1.0)
    assert f"{path}: EER {100 * found['eer']:.4f} %" in said
    path.write_text("1 a/1 b/1 0\n2 a/1 a/2 1\n1 a/2 c/1 0\n")
    assert_refused(refused(path, "--cross_validate", "--output", out, "--num_groups", 3), f"{path}: too few")


def test_cross_validation_refuses_other_speakers_and_groups(systems, tmp_path):
    test = systems["test", "a"]
    words = test, "--cross_validate", "--output", tmp_path / "llr.txt"
    assert_refused(refused(*words, "--num_groups", 2), f"{test}: expected 3 to 12 groups")
    assert_refused(refused(*words, "--speaker_folder", 2), "no folder 2")
    names = read_score_file(str(test)).files
    (tmp_path / "utt2spk").write_text("".join(f"{name} one\n" for name in names))
    said = refused(*words, "--utt2spk", tmp_path / "utt2spk")
    assert_refused(said, f"{test}: the trial", "has label 0, but", "one speaker")
    test.write_text(re.sub(r" [01]\n", "\n", test.read_text()))
    assert_refused(refused(*words), f'{test}:1: expected "score enrol test label"')
    assert not (tmp_path / "llr.txt").exists()


def quality_table(path, names):
    """Durations from 1 to 10 s, norms, a gender -> values by path."""
    generator = np.random.default_rng(7)
    values = {name: (round(generator.uniform(1, 10), 2), round(generator.normal(20, 3), 2)) for name in names}
    rows = [f"{name}\t{seconds}\t{'fm'[len(name) % 2]}\t{norm}" for name, (seconds, norm) in values.items()]
    path.write_text("\n".join(["path\tduration_s\tgender\tnorm", *rows]) + "\n")
    return values


def test_quality_measures_are_min_and_max_of_both_sides(systems, tmp_path):
    dev, test, out, table = (
        systems["dev", "a"],
        systems["test", "a"],
        tmp_path / "llr.txt",
        tmp_path / "q.tsv",
    )
    names = sorted({name for path in (dev, test) for row in read(path) for name in row[:2]})
    values = quality_table(table, names)

    def by_hand(path):
        columns = []
        for enrol, other, score, _ in sorted(read(path)):
            (d1, n1), (d2, n2) = values[enrol], values[other]
            measures = [np.log(min(d1, d2)), np.log(max(d1, d2)), min(n1, n2), max(n1, n2)]
            columns.append([score, *measures])
        return np.array(columns)

    said = calibrate(test, "--fit", dev, "--quality", table, "--output", out)
    model = fit(by_hand(dev), by_pair(dev)[1])
    np.testing.assert_allclose(by_pair(out)[0], model.apply(by_hand(test)), rtol=1e-6, atol=1e-6)
    for name, weight in zip(
        ("min log duration_s", "max norm"), (model.weights[1], model.weights[4]), strict=True
    ):
        assert float(re.search(rf"weight of {name}: (\S+)", said)[1]) == pytest.approx(weight, rel=1e-4)
    assert "note: no numbers in the table's gender: left out" in said

    speakers = [np.array([row[side].split("/")[0] for row in sorted(read(test))]) for side in (0, 1)]
    calibrate(test, "--cross_validate", "--quality", table, "--output", out)
    expected = cross_validate(by_hand(test), by_pair(test)[1], *speakers)
    np.testing.assert_allclose(by_pair(out)[0], expected.llr, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace("test03/1.wav\t", "other\t"), "q.tsv: has no line for test03/1.wav"),
        (lambda text: text.replace("dev03/1.wav\t", "other\t"), "q.tsv: has no line for dev03/1.wav"),
        (lambda text: re.sub(r"(dev03/1.wav)\t\S+", r"\1\tlong", text), "duration_s of dev03/1.wav: ex"),
        (lambda text: re.sub(r"(dev03/1.wav)\t\S+", r"\1\tnan", text), "expected a number, got 'nan'"),
        (lambda text: re.sub(r"(test03/1.wav)\t\S+", r"\1\t0.0", text), "duration_s of test03/1.wav: ex"),
        (lambda text: re.sub(r"\t[\d.]+", "\tx", text), "q.tsv: no column of numbers, only duration_s, g"),
        (lambda text: text.replace("gender", "norm"), "q.tsv:1: the header repeats a name"),
        (lambda text: text.replace("\t", " "), "q.tsv:1: expected a header"),
        (lambda text: text + "more\t1.0\n", "q.tsv:98: expected 4 fields"),
    ],
)
def test_quality_tables_that_do_not_fit_are_refused(systems, tmp_path, change, words):
    dev, test, table = systems["dev", "a"], systems["test", "a"], tmp_path / "q.tsv"
    quality_table(table, sorted({name for path in (dev, test) for row in read(path) for name in row[:2]}))
    table.write_text(change(table.read_text()))
    result = refused(test, "--fit", dev, "--quality", table, "--output", tmp_path / "llr.txt")
    assert_refused(result, f"{table}", words)
    assert not (tmp_path / "llr.txt").exists()


def test_score_files_that_do_not_fit_together_are_refused(systems, tmp_path):
    a, b, dev_a, dev_b = (systems[part, k] for part in ("test", "dev") for k in "ab")
    output = "--output", tmp_path / "llr.txt"
    assert_refused(
        refused(a, b, "--fit", dev_a, *output), "--fit: expected 2 score files", f"got 1 ({dev_a})"
    )
    assert_refused(refused(a, "--fit", dev_a, dev_b, *output), "expected 1", f"got 2 ({dev_a}, {dev_b})")
    assert_refused(refused(a, dev_b, "--cross_validate", *output), f"{dev_b}: lacks the trial test00/")
    assert_refused(refused(a, b, "--fit", dev_a, a, *output), f"{a}: lacks the trial dev00/")
    assert_refused(refused(a, "--fit", tmp_path / "absent", *output), "absent")
    whole = dev_a.read_text()
    dev_a.write_text(re.sub(r" [01]\n", "\n", whole))
    assert_refused(refused(a, "--fit", dev_a, *output), f'{dev_a}:1: expected "score enrol test label" or')
    dev_a.write_text(whole.replace(" 1\n", " 0\n"))
    assert_refused(
        refused(a, "--fit", dev_a, *output), f"{dev_a}: no calibration from 360 trials without a t"
    )
    b.write_text(b.read_text().replace(" 1\n", " 0\n", 1))
    assert_refused(refused(a, b, "--cross_validate", *output), f"{b}: the trial", "has another label")
    b.write_text(re.sub(r" [01]\n", "\n", b.read_text()))
    dev_a.write_text(whole)
    assert_refused(refused(a, b, "--fit", dev_a, dev_b, *output), f"{b}: has no labels, but {a} has")
    assert_refused(refused(b, a, "--fit", dev_a, dev_b, *output), f"{b}: has no labels, but {a} has")
    assert not (tmp_path / "llr.txt").exists()


def test_test_trials_need_no_labels(systems, tmp_path):
    dev, test, table = systems["dev", "a"], systems["test", "a"], tmp_path / "llr.csv"
    calibrate(test, "--fit", dev, "--output", tmp_path / "with.txt")
    test.write_text(re.sub(r" [01]\n", "\n", test.read_text()))
    said = calibrate(test, "--fit", dev, "--output", tmp_path / "without.txt", "--csv", table)
    with_labels = (tmp_path / "with.txt").read_text()
    assert (tmp_path / "without.txt").read_text() == re.sub(r" [01]\n", "\n", with_labels)
    assert "no figures without labels of both classes" in said and "EER" not in said
    assert table.read_text().startswith("enrol,test,llr,probability\n")
    nontargets = [line for line in with_labels.splitlines(keepends=True) if line.endswith(" 0\n")]
    test.write_text("".join(nontargets))  # one class has no error rates, but can be scored
    assert "no figures" in calibrate(test, "--fit", dev, "--output", tmp_path / "one.txt")
    assert len(read(tmp_path / "one.txt")) == len(nontargets)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1 a b\n2 a c 1\n", ":2: some trials have labels and some have none"),
        ("1 a b 0\n2 a c\n", ":2: some trials have labels and some have none"),
        (
            "1 a\n",
            ':1: expected "score enrol test label" or "enrol test score label" with label 0 or 1, or the',
        ),
        ("1 a b\n2 my file b\n", ':2: expected "score enrol test label" or "enrol test score label" with'),
        ("1 a b\nx a c\n", ":2: expected a score first, got 'x'"),
        ("nan a b\n", ": 1 scores are not finite"),
        ("", ": holds no scores"),
    ],
)
def test_damaged_files_without_labels_are_refused(tmp_path, text, words):
    (tmp_path / "scores.txt").write_text(text)
    with pytest.raises(ValueError, match="^" + re.escape(f"{tmp_path / 'scores.txt'}{words}")):
        read_score_file(str(tmp_path / "scores.txt"), labels_needed=False)


def test_files_without_labels_as_they_are_written(tmp_path):
    path = tmp_path / "scores.txt"
    for files, gap in ((["a/my 1.wav", "b,c"], "\t"), (["a/1.wav", "0"], " ")):
        sides, scores = np.array([[0, 1], [1, 0]]), np.array([0.1234567891, -2.0])
        for labels in (None, np.array([1, 0], dtype=np.int8)):
            path.write_text("".join(scorefiles.score_texts(files, tuple(sides.T), scores, labels)))
            assert path.read_text().startswith(gap.join(["0.123456789", *files]))
            trials_read = read_score_file(str(path), labels_needed=False)
            assert set(trials_read.pairs()) == {(files[0], files[1]), (files[1], files[0])}
            assert (
                dict(zip(trials_read.pairs(), trials_read.scores, strict=True))[files[0], files[1]]
                == 0.123456789
            )
            assert (trials_read.labels is None) == (labels is None)
    with pytest.raises(ValueError, match="its trials have no labels"):
        trials_read._replace(labels=None).known_labels()


def test_probabilities_of_the_table(tmp_path):
    # LLR(1) = log 3 and LLR(0) = -log 3, test_metrics_calibration.py: odds 3 and 1/3, times prior odds 1/4
    dev, test, table = (tmp_path / name for name in ("dev.txt", "test.txt", "llr.csv"))
    write(dev, [(f"d/{i}", "e") for i in range(8)], [1, 1, 1, 0, 1, 0, 0, 0], [1, 1, 1, 1, 0, 0, 0, 0])
    write(test, [('my "file", 1.wav', "x/é.wav"), ("b", "c")], [1, 0], [1, 0], gap="\t")
    words = test, "--fit", dev, "--output", tmp_path / "llr.txt", "--csv", table
    calibrate(*words, "--prior", 0.2)
    assert table.read_text(encoding="utf-8").splitlines()[0] == "enrol,test,llr,probability,label"
    with table.open(newline="", encoding="utf-8") as stream:
        rows = {row["enrol"]: row for row in csv.DictReader(stream)}
    first, second = rows['my "file", 1.wav'], rows["b"]
    assert (first["test"], first["label"], second["test"], second["label"]) == ("x/é.wav", "1", "c", "0")
    assert float(first["llr"]) == pytest.approx(np.log(3), abs=1e-8)
    assert float(first["probability"]) == pytest.approx(3 / 7, abs=1e-8)  # odds 3/4
    assert float(second["probability"]) == pytest.approx(1 / 13, abs=1e-8)  # odds 1/12
    calibrate(*words)
    with table.open(newline="", encoding="utf-8") as stream:
        found = [float(row["probability"]) for row in csv.DictReader(stream)]
    assert sorted(found) == pytest.approx([0.25, 0.75], abs=1e-8)


def test_a_stored_calibration_does_the_same(systems, tmp_path):
    tested, fitted = ([systems[part, k] for k in "ab"] for part in ("test", "dev"))
    store, out, again = (tmp_path / name for name in ("c.json", "llr.txt", "again.txt"))
    words = *tested, "--fit", *fitted, "--p_target", 0.1
    said = calibrate(*words, "--output", out, "--save", store, "--csv", tmp_path / "1.csv")
    content = json.loads(store.read_text())
    columns = np.column_stack([by_pair(path)[0] for path in fitted])
    assert Calibration.from_dict(content) == fit(columns, by_pair(fitted[0])[1], 0.1, ("score 1", "score 2"))
    later = calibrate(*tested, "--load", store, "--output", again, "--csv", tmp_path / "2.csv")
    assert again.read_text() == out.read_text()
    assert (tmp_path / "2.csv").read_text() == (tmp_path / "1.csv").read_text()
    assert later == said.replace(str(out), str(again))
    said = refused(tested[0], "--load", store, "--output", again)
    assert_refused(said, f"{store}: the calibration needs columns ['score 1', 'score 2'], got 1 columns")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not the JSON of a calibration"),
        ('{"format": "calibration-1", ', "not the JSON of a calibration"),
        ("[" * 100_000, "not the JSON of a calibration"),
        ("9" * 5000, "not the JSON of a calibration"),
        ("[]", "not a calibration of this program"),
        ("3", "not a calibration of this program"),
        ("[{}, {}]", "holds 2 calibrations, one for each fold of --cross_validate"),
        ('{"format": "calibration-1"}', "damaged calibration"),
    ],
    ids=["empty", "cut", "deep", "long", "list", "number", "folds", "bare"],
)
def test_damaged_stored_calibrations_are_refused(systems, tmp_path, text, words):
    (tmp_path / "c.json").write_text(text)
    result = refused(systems["test", "a"], "--load", tmp_path / "c.json", "--output", tmp_path / "llr.txt")
    assert_refused(result, f"{tmp_path / 'c.json'}: {words}")
    assert not (tmp_path / "llr.txt").exists()


def test_stored_numbers_must_be_finite_and_results_too(systems, tmp_path):
    test, store, out = systems["test", "a"], tmp_path / "c.json", tmp_path / "llr.txt"
    model = Calibration(("score",), (2.0,), 1.0, 0.5, 1, 1, 0.0)
    store.write_text(json.dumps(model.to_dict()).replace("[2.0]", "[NaN]"))
    assert_refused(refused(test, "--load", store, "--output", out), f"{store}: damaged calibration")
    store.write_text(json.dumps([model.to_dict()]))
    calibrate(test, "--load", store, "--output", out)
    np.testing.assert_allclose(by_pair(out)[0], 2.0 * by_pair(test)[0] + 1.0, rtol=1e-8)
    test.write_text("1e308 a b 1\n0 a c 0\n")
    assert_refused(
        refused(test, "--load", store, "--output", out), f"{test}: the LLRs of some trials are too"
    )


def test_models_of_the_folds_are_stored_but_not_applied(systems, tmp_path):
    test, store, out = systems["test", "a"], tmp_path / "c.json", tmp_path / "llr.txt"
    calibrate(test, "--cross_validate", "--output", out, "--save", store)
    models = [Calibration.from_dict(content) for content in json.loads(store.read_text())]
    assert len(models) == 15 and {model.names for model in models} == {("score",)}
    result = refused(systems["dev", "a"], "--load", store, "--output", out)
    assert_refused(result, f"{store}: holds 15 calibrations")


def test_a_ridge_is_reported(tmp_path):
    dev, test = tmp_path / "dev.txt", tmp_path / "test.txt"
    write(dev, [(f"d/{i}", "e") for i in range(4)], [1, 2, 3, 4], [0, 0, 1, 1])
    write(test, [("a", "b"), ("c", "d")], [1, 4], [0, 1])
    said = calibrate(test, "--fit", dev, "--output", tmp_path / "llr.txt")
    assert "note: in 1 of 1 fits " in said and "a ridge of 0.25 keeps" in said  # 2 * 0.5 / 4


def test_files_are_written_whole_or_not_at_all(systems, tmp_path, monkeypatch):
    words = systems["test", "a"], "--fit", systems["dev", "a"], "--output", tmp_path / "new" / "llr.txt"
    calibrate(*words)
    before = (tmp_path / "new" / "llr.txt").read_text()

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("storage.files.os.fsync", full_disk)
    assert_refused(refused(*words, "--p_target", 0.1), "No space left", "llr.txt")
    assert (tmp_path / "new" / "llr.txt").read_text() == before
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["llr.txt"]


def test_no_file_is_written_over_another(systems, tmp_path):
    test, dev, out = systems["test", "a"], systems["dev", "a"], tmp_path / "llr.txt"
    before = test.read_text(), dev.read_text()
    (tmp_path / "sub").mkdir()
    for path in (test, dev, tmp_path / "sub" / ".." / test.name):
        assert_refused(
            refused(test, "--fit", dev, "--output", path), f"--output {path}: this command already reads"
        )
    for flag in ("--csv", "--save"):
        result = refused(test, "--fit", dev, "--output", out, flag, out)
        assert_refused(result, f"{flag} {out}: this command already reads")
    assert (test.read_text(), dev.read_text()) == before and not out.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a.txt", "--output", "o"], "one of the arguments --fit --cross_validate --load is required"),
        (["a.txt", "--fit", "b", "--cross_validate", "--output", "o"], "not allowed with argument"),
        (["a.txt", "--fit", "b", "--output", ""], "--output: expected a file, got an empty name"),
        (["a.txt", "--fit", "b"], "the following arguments are required: --output"),
        (
            ["a.txt", "--fit", "b", "--output", "o", "--prior", "1"],
            "--prior: a prior must be between 0 and 1",
        ),
        (["a.txt", "--fit", "b", "--output", "o", "--p_target", "nan"], "--p_target: a prior must be"),
        (["a.txt", "--fit", "b", "--output", "o", "--p_target", "x"], "--p_target: invalid prior value: 'x'"),
    ],
)
def test_wrong_options_are_refused_in_one_line(capsys, words, said):
    with pytest.raises(SystemExit, match="2"):
        tune.main(["calibrate", *words])
    error = capsys.readouterr().err
    assert error.startswith("tuneThreshold.py: error: ") and error.count("\n") == 1 and said in error


def test_help_teaches_each_command():
    top = run_here("tuneThreshold.py", "--help")
    assert top.returncode == 0
    for word in tune.COMMANDS:
        said = run_here("tuneThreshold.py", *filter(None, [word]), "--help")
        assert said.returncode == 0 and f"usage: tuneThreshold.py {word}".rstrip() in said.stdout
        assert f"  tuneThreshold.py {word}" in top.stdout or not word
    assert "--fit" in run_here("tuneThreshold.py", "calibrate", "--help").stdout
    assert "--fit" not in top.stdout


def test_an_error_names_its_file_once():
    for message in ("too few", "a.txt: too few"):
        with pytest.raises(ValueError, match=r"^a\.txt: too few$"), scorefiles.naming("a.txt"):
            raise ValueError(message)
