"""corpora/*.py, protocols.py: train lists and official evaluations of miniatures with the true names."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import soundfile
from conftest import assert_refused, run_here, voice

from audio.lists import is_file, read_train_list
from evaluation.identification import Identification
from evaluation.trial_lists import TrialLists

SITW = {
    "keys/core-core.lst": "12013 audio/aaaaa.flac tgt\n12013 audio/bbb.flac imp\n",
    "keys/assist-multi.lst": "45205 audio/aaaaa.flac tgt\n45205 audio/bbb.flac imp\n",
    "lists/enroll-core.lst": "12013 audio/unotx.flac\n",
    "lists/enroll-assist.lst": "45205 audio/ggjnl.flac 88.000 97.990\n",
    "audio/aaaaa.flac": "",
    "audio/bbb.flac": "",
    "audio/unotx.flac": "",
    "audio/ggjnl.flac": "",
}
VOICES_DEV = "Development_Data/Speaker_Recognition"
VOICES_NAME = "Lab41-SRI-VOiCES-rm1-babb-sp0032-ch127170-sg0001-mc01-stu-clo-dg010"
OSSI = "ScriptsForVoxBlink2/data/ossi/small/perspk1"
LIBRI = "LibriSpeech/dev-clean"
# Corpus -> files of its miniature (path -> text), lists that --generate makes of them (name -> text)
MINIATURES = {
    "cnceleb": (
        {
            "CN-Celeb_flac/eval/lists/trials.lst": (
                "id00800-enroll test/id00800-singing-01-001.wav 1\n"
                "id00800-enroll test/id00999-movie-01-001.wav 0\n"
            ),
            "CN-Celeb_flac/eval/lists/enroll.lst": "id00800-enroll enroll/id00800-enroll.wav\n",
            "CN-Celeb_flac/eval/lists/enroll.map": (
                "id00800-enroll id00800/singing-01-002.wav id00800/singing-01-003.wav\n"
            ),
            "CN-Celeb_flac/eval/enroll/id00800-enroll.flac": "",
            "CN-Celeb_flac/eval/test/id00800-singing-01-001.flac": "",
            "CN-Celeb_flac/eval/test/id00999-movie-01-001.flac": "",
            "CN-Celeb_flac/data/id00800/singing-01-002.flac": "",
            "CN-Celeb_flac/data/id00800/singing-01-003.flac": "",
            "CN-Celeb_flac/data/id00012/interview-01-002.flac": "",
            "CN-Celeb2_flac/data/id10001/vlog-01-002.flac": "",
        },
        {
            "train_list": (
                "id10001 CN-Celeb2_flac/data/id10001/vlog-01-002.flac\n"
                "id00012 CN-Celeb_flac/data/id00012/interview-01-002.flac\n"
            ),
            "concat_test_list": (
                "1 CN-Celeb_flac/eval/enroll/id00800-enroll.flac "
                "CN-Celeb_flac/eval/test/id00800-singing-01-001.flac\n"
                "0 CN-Celeb_flac/eval/enroll/id00800-enroll.flac "
                "CN-Celeb_flac/eval/test/id00999-movie-01-001.flac\n"
            ),
            "avg_test_list": (
                "1 id00800-enroll CN-Celeb_flac/eval/test/id00800-singing-01-001.flac\n"
                "0 id00800-enroll CN-Celeb_flac/eval/test/id00999-movie-01-001.flac\n"
            ),
            "avg_enrol_list": (
                "id00800-enroll CN-Celeb_flac/data/id00800/singing-01-002.flac\n"
                "id00800-enroll CN-Celeb_flac/data/id00800/singing-01-003.flac\n"
            ),
        },
    ),
    "threedspeaker": (
        {
            "files/train_wav.scp": (
                "11_Device01_Distance00 train/11/a.wav\n11_Device09_Distance00 train/11/b.wav\n"
            ),
            "files/train_utt2spk": "11_Device01_Distance00 11\n11_Device09_Distance00 11\n",
            "files/test_wav.scp": (
                "22_Device02 /test/22/a.wav\n22_Device03 test/22/b.wav\n33_x test/33/a.wav\n"
            ),
            "files/trials_cross_device": "22_Device02 22_Device03 target\n22_Device02 33_x nontarget\n",
            **dict.fromkeys(("train/11/a.wav", "train/11/b.wav"), ""),
            **dict.fromkeys(("test/22/a.wav", "test/22/b.wav", "test/33/a.wav"), ""),
        },
        {
            "train_list": "11 train/11/a.wav\n",
            "cross_device_test_list": "1 test/22/a.wav test/22/b.wav\n0 test/22/a.wav test/33/a.wav\n",
        },
    ),
    "voxblink2": (
        {
            f"{OSSI}/gallery": "id000001/aB-cdEfg_h1/00000 0\nid000002/aBcdEfg_h12/00000 1\n",
            f"{OSSI}/probe": (
                "id000001/aB-cdEfg_h1/00001 0\nid000003/aBcdEfg_h13/00000 2\nid000003/deleted--00/00000 2\n"
            ),
            **{
                f"audio/{name}.wav": ""
                for name in (
                    "id000001/aB-cdEfg_h1/00000",
                    "id000001/aB-cdEfg_h1/00001",
                    "id000002/aBcdEfg_h12/00000",
                    "id000003/aBcdEfg_h13/00000",
                )
            },
        },
        {
            "train_list": (
                "id000001 id000001/aB-cdEfg_h1/00000.wav\nid000001 id000001/aB-cdEfg_h1/00001.wav\n"
                "id000002 id000002/aBcdEfg_h12/00000.wav\nid000003 id000003/aBcdEfg_h13/00000.wav\n"
            ),
            "small_perspk1_gallery": "0 id000001/aB-cdEfg_h1/00000.wav\n1 id000002/aBcdEfg_h12/00000.wav\n",
            "small_perspk1_probe": "0 id000001/aB-cdEfg_h1/00001.wav\n2 id000003/aBcdEfg_h13/00000.wav\n",
        },
    ),
    "commonvoice": (
        {
            "cv-corpus-19.0-2024-09-13/de/validated.tsv": (
                "client_id\tpath\tsentence\taccents\n"
                'f00\tcommon_voice_de_1.mp3\t"Ja\t\nf01\tcommon_voice_de_2.mp3\tNein.\t\n'
            ),
            "cv-corpus-19.0-2024-09-13/sv-SE/validated.tsv": (
                "client_id\tage\tpath\ne77\t\tcommon_voice_sv-SE_9.mp3\n"
            ),
            "cv-corpus-19.0-2024-09-13/de/clips/common_voice_de_1.mp3": "",
            "cv-corpus-19.0-2024-09-13/de/clips/common_voice_de_2.mp3": "",
            "cv-corpus-19.0-2024-09-13/sv-SE/clips/common_voice_sv-SE_9.mp3": "",
        },
        {
            "train_list": (
                "f00 de/clips/common_voice_de_1.mp3\nf01 de/clips/common_voice_de_2.mp3\n"
                "e77 sv-SE/clips/common_voice_sv-SE_9.mp3\n"
            ),
        },
    ),
    "librispeech": (
        {
            "vpc/data/libri_dev_trials_f/trials": (
                "1272 1272-128104-0002 target\n1272 84-121123-0000 nontarget\n"
            ),
            "vpc/data/libri_dev_enrolls/spk2utt": "1272 1272-128104-0000 1272-128104-0001\n",
            **{f"{LIBRI}/1272/128104/1272-128104-000{take}.flac": "" for take in range(3)},
            f"{LIBRI}/84/121123/84-121123-0000.flac": "",
            "LibriSpeech/train-clean-100/103/1240/103-1240-0000.flac": "",
        },
        {
            "train_list": "103 train-clean-100/103/1240/103-1240-0000.flac\n",
            "voiceprivacy_dev_f_test_list": (
                "1 1272 dev-clean/1272/128104/1272-128104-0002.flac\n"
                "0 1272 dev-clean/84/121123/84-121123-0000.flac\n"
            ),
            "voiceprivacy_dev_f_enrol_list": (
                "1272 dev-clean/1272/128104/1272-128104-0000.flac\n"
                "1272 dev-clean/1272/128104/1272-128104-0001.flac\n"
            ),
        },
    ),
    "sitw": (
        {f"sitw_database.v4/eval/{name}": text for name, text in SITW.items()},
        {
            "eval_core-core_test_list": (
                "1 eval/audio/unotx.flac eval/audio/aaaaa.flac\n0 eval/audio/unotx.flac eval/audio/bbb.flac\n"
            ),
            "eval_assist-multi_test_list": "1 45205 eval/audio/aaaaa.flac\n0 45205 eval/audio/bbb.flac\n",
            "eval_assist-multi_enrol_list": "45205 eval/audio/ggjnl.flac 88.000 97.990\n",
        },
    ),
    "voices": (
        {
            f"{VOICES_DEV}/sid_dev_lists_and_keys/dev-trial-keys.lst": (
                f"m1 sid_dev/sp0032/{VOICES_NAME}.wav tgt\nm1 sid_dev/sp0083/b.wav imp\n"
            ),
            f"{VOICES_DEV}/sid_dev_lists_and_keys/dev-enroll.lst": "m1 sid_dev/sp0032/a.wav\n",
            f"{VOICES_DEV}/sid_dev/sp0032/{VOICES_NAME}.wav": "",
            f"{VOICES_DEV}/sid_dev/sp0032/a.wav": "",
            f"{VOICES_DEV}/sid_dev/sp0083/b.wav": "",
            "post-eval-release/VOiCES_challenge_2019_eval.SID.trial-keys.lst": (
                "xaaa xbbb.wav imp\nxaaa xccc.wav tgt\n"
            ),
            "lists/eval-enroll.lst": "xaaa sid_eval/xaaa.wav\n",
            **{f"Speaker_Recognition/sid_eval/x{name}.wav": "" for name in ("aaa", "bbb", "ccc")},
        },
        {
            "dev_test_list": (
                f"1 sid_dev/sp0032/a.wav sid_dev/sp0032/{VOICES_NAME}.wav\n"
                "0 sid_dev/sp0032/a.wav sid_dev/sp0083/b.wav\n"
            ),
            "eval_test_list": (
                "0 sid_eval/xaaa.wav sid_eval/xbbb.wav\n1 sid_eval/xaaa.wav sid_eval/xccc.wav\n"
            ),
        },
    ),
}


def build(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def words(name, folder, *more):
    return ("--corpus", name, "--from", folder / "have", "--save_path", folder / "data", *more)


@pytest.mark.parametrize("name", MINIATURES)
def test_official_lists_of_a_miniature(name, tmp_path):
    """The lists hold what the corpus's own files say, and evaluation reads them."""
    files, expected = MINIATURES[name]
    build(tmp_path / "have", files)
    result = run_here("dataprep.py", *words(name, tmp_path, "--generate"))
    assert result.returncode == 0, result.stderr
    lists = {path.stem: path for path in sorted((tmp_path / "data").iterdir())}
    drawn = lists.pop(f"{name}_test_list", None)
    assert (drawn is not None) == (name == "librispeech")  # its official trials have models
    assert {stem.removeprefix(f"{name}_"): path.read_text() for stem, path in lists.items()} == expected
    lines = [line for line in result.stdout.splitlines() if line.startswith(name) and " --test_path " in line]
    assert len(lines) == sum(stem.endswith(("_test_list", "_gallery")) for stem in expected)
    for line in lines:
        root, utterances = read_by_evaluation(line)
        assert all(is_file(root, utterance.path) for utterance in utterances)
        assert ("assist" in line) == any(not utterance.is_whole for utterance in utterances)


def read_by_evaluation(line):
    """Message with the flags for an evaluation -> --test_path, what its lists name."""
    words_of_line = line.split()
    flags = dict(zip(words_of_line[-2::-2], words_of_line[:0:-2], strict=False))
    root = flags["--test_path"]
    if "--gallery" in flags:
        values = SimpleNamespace(
            gallery=flags["--gallery"], probe=flags["--probe"], test_path=root, enrol_path=""
        )
        return root, Identification.read(values).lists.utterances
    return root, TrialLists.read([flags["--test_list"]], root, flags.get("--enrol_list", "")).utterances


def changed(name, **texts):
    """Files of a miniature with other texts, by the ends of their paths."""
    files = dict(MINIATURES[name][0])
    for end, text in texts.items():
        (path,) = (path for path in files if path.endswith(end.replace("__", ".")))
        files[path] = text
    return files


WRONG = {
    ("sitw", "core-core__lst"): {
        "12013 audio/aaaaa.flac\n": 'core-core.lst:1: expected "model name label", got',
        "12013 audio/aaaaa.flac tgt\n12013 audio/bbb.flac no\n": "core-core.lst:2: expected",
        "99999 audio/aaaaa.flac tgt\n": "core-core.lst:1: expected a model or recording that the other key",
    },
    ("sitw", "enroll-core__lst"): {"12013\n": 'enroll-core.lst:1: expected "model name name ..."'},
    ("sitw", "enroll-assist__lst"): {
        "45205 audio/ggjnl.flac\n": 'enroll-assist.lst:1: expected "model name start end"'
    },
    ("threedspeaker", "trials_cross_device"): {
        "22_Device02 44_x target\n": "trials_cross_device:1: expected a recording that the other key files"
    },
    ("threedspeaker", "train_utt2spk"): {"x 11\n": 'train_utt2spk:1: expected "utterance speaker"'},
    ("threedspeaker", "test_wav__scp"): {"22_Device02\n": 'test_wav.scp:1: expected "utterance path"'},
    ("librispeech", "spk2utt"): {"1272 1272-128104\n": "spk2utt:1: expected a recording"},
    ("voxblink2", "probe"): {
        "id000001/00001 0\n": "probe:1: expected a recording",
        "id000001/aB-cdEfg_h1/00001\n": 'probe:1: expected "name speaker"',
        "id000001/deleted--00/00001 0\n": "voxblink2: small_perspk1: no recording of it is in",
    },
    ("commonvoice", "de/validated__tsv"): {
        "path\tsentence\n": "validated.tsv:1: expected a header with client_id and path",
        "client_id\tpath\n\tcommon_voice_de_1.mp3\tJa\n": "validated.tsv:2: expected a client_id and a path",
        "client_id\tpath\na\tb.mp3\nc\tb.mp3\n": "name de/clips/b.mp3 twice",
    },
}


@pytest.mark.parametrize("name, file", WRONG)
def test_key_files_of_another_form_are_errors_that_name_the_line(name, file, tmp_path):
    for number, (text, error) in enumerate(WRONG[name, file].items()):
        folder = tmp_path / str(number)
        build(folder / "have", changed(name, **{file: text}))
        assert_refused(run_here("dataprep.py", *words(name, folder, "--generate")), error)


def test_a_key_file_in_two_places_or_another_list_in_the_place_is_an_error(tmp_path):
    build(tmp_path / "have", MINIATURES["voices"][0])
    assert run_here("dataprep.py", *words("voices", tmp_path, "--generate")).returncode == 0
    again = run_here("dataprep.py", *words("voices", tmp_path, "--generate"))
    assert again.returncode == 0, again.stderr
    (tmp_path / "data" / "voices_dev_test_list.txt").write_text("1 a b\n")
    assert_refused(run_here("dataprep.py", *words("voices", tmp_path, "--generate")), "exists and differs")
    build(tmp_path / "have", {"more/eval-enroll.lst": "xaaa sid_eval/xaaa.wav\n"})
    (tmp_path / "data" / "voices_dev_test_list.txt").unlink()
    refused = run_here("dataprep.py", *words("voices", tmp_path, "--generate"))
    assert_refused(refused, "lists/eval-enroll.lst and ", "more/eval-enroll.lst have the same")


def test_two_releases_of_common_voice_are_an_error(tmp_path):
    build(tmp_path / "have", MINIATURES["commonvoice"][0])
    build(tmp_path / "have", {"cv-corpus-20.0-2024-12-06/de/validated.tsv": "client_id\tpath\n"})
    refused = run_here("dataprep.py", *words("commonvoice", tmp_path, "--generate"))
    assert_refused(refused, "have/cv-corpus-19.0-2024-09-13 and ", "cv-corpus-20.0-2024-12-06 have such")


def test_what_an_official_list_lacks_is_told(tmp_path):
    """Lists with recordings that aren't there are written whole; key files that aren't there are named."""
    files = changed("sitw")
    del files["sitw_database.v4/eval/audio/bbb.flac"], files["sitw_database.v4/eval/lists/enroll-assist.lst"]
    build(tmp_path / "have", files)
    output = run_here("dataprep.py", *words("sitw", tmp_path, "--generate")).stdout
    assert "warning: sitw: eval_core-core: 1 of 3 recordings, such as eval/audio/bbb.flac, aren't" in output
    assert "eval_assist-multi (eval/lists/enroll-assist.lst)" in output
    assert "dev_core-core (recordings)" in output
    status = run_here("dataprep.py", *words("sitw", tmp_path, "--status")).stdout
    assert "1 of 8" in status
    (tmp_path / "empty").mkdir()
    nothing = ("--corpus", "sitw", "--from", tmp_path / "empty", "--save_path", tmp_path / "x")
    assert_refused(run_here("dataprep.py", *nothing, "--generate"), "dev_core-core (recordings)", "ask SRI")
    assert_refused(
        run_here("dataprep.py", *nothing, "--extract"), "sitw: no recordings in", "give --from DIR"
    )
    assert "can't be downloaded here; ask SRI" in run_here("dataprep.py", *nothing, "--download").stdout


def test_speakers_of_other_trials_are_left_out_and_found_by_check(tmp_path):
    """The overlap of VoxCeleb1 with SITW names people, whose ids are in VoxCeleb1's own table."""
    for speaker in ("id10001", "id10002", "id10045"):
        write_voice(tmp_path / "have/wav" / speaker / "v" / "00001.wav", int(speaker[-2:]))
    for name in ("aaaaa", "bbb", "unotx", "ggjnl"):
        write_voice(tmp_path / "have/sitw_database.v4/eval/audio" / f"{name}.flac", ord(name[0]))
    build(tmp_path / "have/sitw_database.v4/eval", {n: t for n, t in SITW.items() if "audio/" not in n})
    people = "VoxCeleb1 ID\tVGGFace1 ID\tGender\nid10001\tA.J._Buckley\tm\nid10045\tAlex_Smith\tf\n"
    overlap = {"vox1_meta.csv": people, "voxceleb1_sitw_overlap.txt": "Alex_Smith\nNot_Here\n"}
    both = ("--corpus", "voxceleb1", "sitw", "--from", tmp_path / "have", "--save_path", tmp_path / "data")
    result = run_here("dataprep.py", *both, "--generate", "--check", "--workers", 1)
    assert "voxceleb1_sitw_overlap.txt, the speakers who are in sitw, too, is missing" in result.stdout
    overlap_path = build(tmp_path / "data", overlap) / "voxceleb1_sitw_overlap.txt"
    assert run_here("dataprep.py", *both, "--check", "--workers", 1).returncode == 0
    report = (tmp_path / "data/check/voxceleb1/check.txt").read_text()
    assert "1 of 3 in voxceleb1_train_list.txt are in sitw, too: id10045" in report
    report = (tmp_path / "data/check/sitw/check.txt").read_text()
    assert "missing" not in report and "unlisted" not in report
    train_list = tmp_path / "data/voxceleb1_train_list.txt"
    train_list.unlink()
    result = run_here("dataprep.py", *both[:2], *both[3:], "--generate", "--exclude_speakers", overlap_path)
    assert "left out: 1 of 2 speakers of --exclude_speakers" in result.stdout
    assert read_train_list(str(train_list)).speakers == ["id10001", "id10002"]


def write_voice(path, speaker):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, voice(speaker, 1, 0.6), 16_000)
