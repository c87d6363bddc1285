"""The only caller of ffmpeg: what it may open, its errors in one line, its time limit, its absence."""

import pytest
import soundfile
from conftest import fake_program, voice

from audio import ffmpeg as audio_ffmpeg
from audio.ffmpeg import decode, find_ffmpeg


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile secret.wav\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.5,\nFOLDER/secret.wav\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.5,\nhttp://127.0.0.1:9/secret.wav\n#EXT-X-ENDLIST\n",
    ],
    ids=["concat", "playlist", "network"],
)
def test_lists_of_other_files_are_not_followed(text, ffmpeg, tmp_path):
    soundfile.write(tmp_path / "secret.wav", voice(0, 0), 16_000)
    (tmp_path / "list.m4a").write_text(text.replace("FOLDER", str(tmp_path)))
    with pytest.raises(ValueError, match=r"^ffmpeg: [^\n]+$"):
        decode([tmp_path / "list.m4a"], ffmpeg)


def test_complaints_are_errors_in_one_line(tmp_path):
    source, place = tmp_path / "a.m4a", tmp_path / "ffmpeg"
    program = fake_program(place, r"printf 'first\n[aist#0:0 @ 0x5e] [mov @ 0x5f00] bad thing\n' >&2")
    with pytest.raises(ValueError, match=r"^ffmpeg: bad thing$"):
        decode([source], program)
    with pytest.raises(ValueError, match=r"^ffmpeg: exit status 3$"):
        decode([source], fake_program(place, "exit 3"))
    assert [len(samples) for samples in decode([source], fake_program(place, "exit 0"))] == [0]


def test_a_time_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(audio_ffmpeg, "TIME_LIMIT_S", 0.2)
    with pytest.raises(ValueError, match=r"^ffmpeg was stopped after 0\.2 s$"):
        decode([tmp_path / "a.m4a"], fake_program(tmp_path / "ffmpeg", "exec sleep 20"))


def test_absence_is_explained(no_ffmpeg):
    with pytest.raises(ValueError, match=r"^[^\n]*apt install ffmpeg, brew .* pip install imageio-ffmpeg$"):
        find_ffmpeg()


def test_the_program_on_the_path_comes_first(tmp_path, monkeypatch):
    program = fake_program(tmp_path / "ffmpeg", "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_ffmpeg() == program
