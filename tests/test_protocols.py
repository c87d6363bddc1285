"""corpora/*.py, protocols.py: train lists and official evaluations of miniatures with the true names."""

from pathlib import Path

import pytest
from conftest import run_here

from audio.lists import is_file
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
WITH_SEGMENTS = "eval_assist-multi"


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
    assert {stem.removeprefix(f"{name}_"): path.read_text() for stem, path in lists.items()} == expected
    lines = [line for line in result.stdout.splitlines() if line.startswith(name) and " --test_path " in line]
    assert len(lines) == sum(stem.endswith(("_test_list", "_gallery")) for stem in expected)
    for line in lines:
        words_of_line = line.split()
        flags = dict(zip(words_of_line[-2::-2], words_of_line[:0:-2], strict=False))
        if "--gallery" in flags:
            names = Identification.read(flags["--gallery"], flags["--probe"]).lists.files
        elif WITH_SEGMENTS in line:
            continue
        else:
            enrol_list = flags.get("--enrol_list", "")
            names = TrialLists.read([flags["--test_list"]], flags["--test_path"], enrol_list).files
        assert names and all(is_file(flags["--test_path"], path) for path in names)
