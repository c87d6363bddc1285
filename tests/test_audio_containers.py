"""Compressed and streamed files: read whole, or refused by name with what to do; libmpg123 prints nothing."""

import os
import struct
import subprocess
import threading
from contextlib import suppress
from unittest import mock

import numpy as np
import pytest
import soundfile
from conftest import voice

from audio.decoder_messages import hidden
from audio.errors import AudioError, UnsupportedAudioError
from audio.recording import NO_END, AudioFile
from audio.streams import require_one_stream
from audio.wave_file import WaveFile
from preparation.convert import Job, Report, convert_files

COMMAND = "python dataprep.py --convert --from FOLDER --save_path NEW"
SPEECH = np.rint(voice(0, 0, 2.5) * 32768).astype(np.int16)
SPEECH[16_000:32_000] //= 256  # so that a variable bit rate differs along the file
STREAMED = {  # sizes that programs write into a pipe: RIFF chunk, data chunk
    "sox": (0x7FFFF024, 0x7FFFF000),
    "recorder": (0x80000024, 0x80000000),
    "ffmpeg": (0xFFFFFFFF, 0xFFFFFFFF),
    "lame": (0xFFFFFFFF, 0xFFFFFFFF - 36),
    "half": (0x7FFFFFFF, 0x7FFFFFFF - 36),
}
KILLED = {"zero": (0, 0), "header only": (36, 0)}


def with_sizes(path, riff, data):
    """Write the sizes into a WAV file."""
    with path.open("r+b") as file:
        place = file.read(4096).index(b"data") + 4
        for where, size in ((4, riff), (place, data)):
            file.seek(where)
            file.write(struct.pack("<I", size))


def converted(path):
    """File -> its samples after --convert."""
    target = path.parent / "converted" / f"{path.name}.wav"
    report = convert_files([Job(path, target)], workers=1)
    assert report == Report(1, 0, [])
    return soundfile.read(target, dtype="int16")[0]


def refusal(path, kind=UnsupportedAudioError):
    """File that can't be opened -> the message without its path."""
    with pytest.raises(kind, match=r"^[^\n]+$") as caught:
        AudioFile(str(path))
    assert type(caught.value) is kind and str(caught.value).startswith(f"{path}: ")
    return str(caught.value).removeprefix(f"{path}: ")


def assert_crops_are_pieces(path, tolerance=0.0):
    """That crops equal pieces of the whole file, bit by bit or within a tolerance."""
    whole = AudioFile(str(path)).whole()
    opened = AudioFile(str(path))
    for start in (9000, 3000, len(whole) - 4000, 0):  # forwards, backwards, to the end
        crop = opened.crop(4000, mock.Mock(integers=lambda _, start=start: start))
        np.testing.assert_allclose(crop, whole[start : start + 4000], rtol=0, atol=tolerance)


@pytest.mark.parametrize("sizes", STREAMED)
@pytest.mark.parametrize(("kind", "subtype"), [("WAV", "PCM_16"), ("WAVEX", "PCM_16"), ("WAV", "PCM_24")])
def test_streamed_wav_files_are_read_whole(sizes, kind, subtype, tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, SPEECH, 16_000, subtype, format=kind)
    with_sizes(path, *STREAMED[sizes])
    np.testing.assert_array_equal(AudioFile(str(path)).whole(), SPEECH / np.float32(32768))
    np.testing.assert_array_equal(converted(path), SPEECH)
    assert_crops_are_pieces(path)


@pytest.mark.parametrize("sizes", KILLED)
@pytest.mark.parametrize("kind", ["WAV", "WAVEX"])
def test_wav_files_of_length_zero_are_left_to_convert(sizes, kind, ffmpeg, tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, SPEECH, 16_000, format=kind)
    with_sizes(path, *KILLED[sizes])
    assert refusal(path) == (
        f"its header says that its {path.stat().st_size} bytes hold no samples; convert it: {COMMAND}"
    )
    np.testing.assert_array_equal(converted(path), SPEECH)


def test_a_header_that_promises_more_than_any_memory_holds(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, np.zeros(16000), 16000)
    content = bytearray(path.read_bytes())
    content[22:26] = (60_000_000_000 % 2**32).to_bytes(4, "big")  # the last 32 of 36 bits of the length
    content[21] |= 60_000_000_000 >> 32
    path.write_bytes(content)
    with pytest.raises(AudioError, match=r"its header says 60,000,000,000 samples, too many for"):
        AudioFile(str(path))


@pytest.mark.parametrize("kind", ["WAV", "WAVEX", "RF64", "W64", "AIFF", "AU"])
def test_headers_that_promise_more_are_refused(kind, tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, SPEECH, 16_000, format=kind)
    assert len(AudioFile(str(path)).whole()) == 40_000
    path.write_bytes(path.read_bytes()[:-100])
    words = "truncated: its header promises more samples than it holds"
    assert refusal(path, AudioError) == words
    report = convert_files([Job(path, tmp_path / "out" / "a.wav")], workers=1)
    assert report.failed == [(str(path), words)]


def streamed_flac(path):
    """A FLAC file that doesn't say how long it is."""
    soundfile.write(path, SPEECH, 16_000)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # the 36 bits that count the samples
    content[22:26] = bytes(4)
    path.write_bytes(content)
    return path


def test_the_length_of_streamed_flac_is_measured_once(tmp_path):
    path = streamed_flac(tmp_path / "a.flac")
    with mock.patch.object(os, "open", wraps=os.open) as opened:
        np.testing.assert_array_equal(AudioFile(str(path)).whole(), SPEECH / np.float32(32768))
        assert opened.call_count == 2  # for its length, for its samples
        AudioFile(str(path))
        assert opened.call_count == 3
    np.testing.assert_array_equal(converted(path), SPEECH)
    assert_crops_are_pieces(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert refusal(path).startswith("damaged or truncated: ")


@pytest.mark.parametrize(("suffix", "subtype"), [("flac", "PCM_16"), ("ogg", "VORBIS"), ("opus", "OPUS")])
def test_crops_of_compressed_files_are_pieces_of_the_whole(suffix, subtype, tmp_path):
    soundfile.write(
        tmp_path / f"a.{suffix}", SPEECH, 16_000, subtype, format=None if suffix == "flac" else "OGG"
    )
    assert_crops_are_pieces(tmp_path / f"a.{suffix}", 0.0 if suffix == "flac" else 1e-6)


def mp3(path, mode, rate=16_000):
    """An MP3 file with a Xing header in its first frame -> length of that frame in bytes."""
    soundfile.write(path, SPEECH, rate, "MPEG_LAYER_III", format="MP3", bitrate_mode=mode)
    content = path.read_bytes()
    assert b"Xing" in content[:64] or b"Info" in content[:64]
    return content.index(content[:2], 64)


@pytest.fixture(params=["CONSTANT", "VARIABLE"])
def without_header(request, tmp_path):
    """An MP3 file without Xing header, as pipes and recorders write them."""
    path = tmp_path / "a.mp3"
    first = mp3(path, request.param)
    path.write_bytes(path.read_bytes()[first:])
    return path


def test_mp3_files_without_a_length_are_read_whole(without_header, ffmpeg, capfd):
    command = [ffmpeg, "-v", "error", "-i", without_header, "-f", "s16le", "-"]
    expected = np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, "<i2")
    whole = AudioFile(str(without_header)).whole()
    assert len(expected) == len(whole) and 40_000 < len(whole) < 44_000  # its encoder pads
    assert soundfile.info(without_header).frames != len(whole)  # libsndfile's guess
    np.testing.assert_allclose(whole, expected / 32768, rtol=0, atol=2 / 32768)
    assert np.abs(converted(without_header).astype(int) - expected).max() <= 2
    assert_crops_are_pieces(without_header)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("tag_size", [100, 300_000])
def test_tags_of_any_size_are_not_audio(without_header, tag_size):
    expected = AudioFile(str(without_header)).whole()
    size = bytes(tag_size >> shift & 127 for shift in (21, 14, 7, 0))
    content = without_header.read_bytes()
    without_header.write_bytes(b"ID3\4\0\0" + size + bytes(tag_size) + content + b"TAG" + bytes(125))
    np.testing.assert_array_equal(AudioFile(str(without_header)).whole(), expected)


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_mp3_files_that_say_their_length(mode, rate, tmp_path, capfd):
    path = tmp_path / "a.mp3"
    mp3(path, mode, rate)
    content = path.read_bytes()
    assert AudioFile(str(path)).num_frames == 40_000 == soundfile.info(path).frames
    if rate == 16_000:
        assert_crops_are_pieces(path)
    path.write_bytes(content + b"APETAGEX" + bytes(len(content)))  # a cover picture
    assert AudioFile(str(path)).num_frames == 40_000
    path.write_bytes(content[: len(content) // 2])
    assert refusal(path, AudioError) == f"truncated: {len(content) // 2} of {len(content)} bytes are there"
    path.write_bytes(content + content)
    words = f"goes on after the {len(content)} bytes that its header names; convert it: {COMMAND}"
    assert refusal(path) == words
    assert capfd.readouterr().err == ""


def test_mp3_in_wav_is_left_to_convert(ffmpeg, tmp_path, capfd):
    soundfile.write(tmp_path / "pcm.wav", SPEECH, 16_000)
    path = tmp_path / "a.wav"
    subprocess.run(
        [ffmpeg, "-v", "error", "-i", tmp_path / "pcm.wav", "-c:a", "libmp3lame", path], check=True
    )
    assert refusal(path) == f"WAV with MPEG_LAYER_III doesn't say how long it is; convert it: {COMMAND}"
    assert 40_000 < len(converted(path)) < 44_000  # its encoder pads
    assert capfd.readouterr().err == ""


def test_other_formats_are_answered_by_the_command_that_converts_them(ffmpeg, tmp_path, capfd):
    soundfile.write(tmp_path / "pcm.wav", SPEECH, 16_000)
    for name in ("a.m4a", "a.aac", "a.webm", "a.wma"):
        subprocess.run([ffmpeg, "-v", "error", "-i", tmp_path / "pcm.wav", tmp_path / name], check=True)
    (tmp_path / "text.mp3").write_text("no recording\n" * 1000)
    for name, place in {"aac.mp3": "a.aac", "m4a.mp3": "a.m4a", "webm.ogg": "a.webm"}.items():
        (tmp_path / name).write_bytes((tmp_path / place).read_bytes())  # of another name than its format
    for path in sorted({*tmp_path.iterdir()} - {tmp_path / "pcm.wav"}):
        assert refusal(path) == f"cannot be read: not wav, flac, ogg, opus or mp3; convert it: {COMMAND}"
        if path.name != "text.mp3":
            assert abs(len(converted(path)) - 40_000) <= 2100  # AAC without a container is padded
    assert capfd.readouterr().err == ""


def with_serial(ogg, number):
    """Ogg, number -> the same with this number of its logical stream; the checksums are not computed anew."""
    pages = ogg.split(b"OggS")[1:]
    return b"".join(b"OggS" + page[:10] + struct.pack("<I", number) + page[14:] for page in pages)


@pytest.mark.parametrize(("suffix", "subtype"), [("ogg", "VORBIS"), ("opus", "OPUS")])
def test_ogg_streams_in_succession_are_left_to_convert(suffix, subtype, ffmpeg, tmp_path):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, SPEECH, 16_000, subtype, format="OGG")
    content = path.read_bytes()
    path.write_bytes(content + content)
    words = f"holds several Ogg streams; convert it: {COMMAND}"
    assert soundfile.info(path).frames == 40_000  # libsndfile's silence about the second
    with pytest.raises(UnsupportedAudioError, match=words):
        require_one_stream(str(path))
    assert 80_000 <= len(converted(path)) <= 80_512  # the last block of the first isn't cut
    path.write_bytes(content + with_serial(content, 1))
    assert refusal(path) == words
    path.write_bytes(content[:-100])
    assert refusal(path, AudioError) == "truncated: its last Ogg page is cut off"


@pytest.mark.parametrize(("suffix", "subtype"), [("ogg", "VORBIS"), ("opus", "OPUS")])
def test_ogg_without_an_end_is_read_as_far_as_it_goes(suffix, subtype, tmp_path):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, np.tile(SPEECH, 2), 16_000, subtype, format="OGG")
    content = path.read_bytes()
    assert NO_END not in AudioFile(str(path)).remarks
    path.write_bytes(content[: content.rindex(b"OggS")])
    page = path.read_bytes().rindex(b"OggS")
    (granule,) = struct.unpack_from("<q", content, page + 6)  # the time at which this page ends
    # Opus counts at 48 kHz, from a start that is cut off, 312 samples here
    expected = granule if suffix == "ogg" else (granule - 312) // 3
    audio = AudioFile(str(path))
    assert audio.remarks == [NO_END] and 20_000 < expected < 80_000
    assert len(audio.whole()) == expected == len(converted(path))
    assert_crops_are_pieces(path, 1e-6)


@pytest.mark.parametrize("tag", [b"", b"ID3\4\0\0\0\0\0\x10" + bytes(16)])
def test_flac_files_in_succession_are_converted_whole(tag, ffmpeg, tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, SPEECH, 16_000)
    path.write_bytes(tag + path.read_bytes() * 2)
    np.testing.assert_array_equal(converted(path), np.concatenate([SPEECH, SPEECH]))
    with pytest.raises(UnsupportedAudioError, match="holds several FLAC streams, one after another; convert"):
        require_one_stream(str(path))


@pytest.mark.parametrize(
    ("size", "named"),
    [
        (3_000_000_000, 0x7FFFF000),  # sox in a pipe
        (5_000_000_000, 0xFFFFFFFF),  # ffmpeg in a pipe
        (5_000_000_000, 5_000_000_000 - (1 << 32)),  # counted in 32 bits
        (80_000, 40_000),  # a recorder that was killed between two updates
    ],
)
def test_samples_behind_those_that_a_wav_header_names_are_an_error(size, named, tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, SPEECH, 16_000)
    with_sizes(path, min(named + 36, 0xFFFFFFFF), named)
    with path.open("r+b") as file:
        file.truncate(44 + size)  # zeros that take no space on the disk
    assert WaveFile.open(str(path)) is None
    words = f"goes on for {size - named - named % 2} bytes after the samples that its header names; write the"
    assert refusal(path, AudioError).startswith(words)
    report = convert_files([Job(path, tmp_path / "out" / "a.wav")], workers=1)
    assert len(report.failed) == 1 and report.failed[0][1].startswith(words)
    with_sizes(path, min(size + 36, 0xFFFFFFFF), min(size, 0xFFFFFFFF))
    assert (
        size > 0xFFFFFFFF
        or WaveFile.open(str(path)).num_frames == AudioFile(str(path)).num_frames == size // 2
    )


@pytest.mark.parametrize(("kind", "chunk"), [("AIFF", b"SSND"), ("CAF", b"data"), ("AU", b"")])
def test_samples_behind_those_that_other_headers_name_are_an_error(kind, chunk, tmp_path):
    path = tmp_path / "a"
    soundfile.write(path, SPEECH, 16_000, "PCM_16", format=kind)
    content = path.read_bytes()
    place = content.index(chunk) + 4 if chunk else 8
    form = ">q" if kind == "CAF" else ">I"
    (size,) = struct.unpack_from(form, content, place)
    assert len(AudioFile(str(path)).whole()) == 40_000 and size in (80_000, 80_004, 80_008)
    path.write_bytes(
        content[:place] + struct.pack(form, size - 40_000) + content[place + struct.calcsize(form) :]
    )
    assert refusal(path, AudioError).startswith("goes on for 40000 bytes after the samples that its header")


@pytest.mark.parametrize(
    "rest",
    [
        b"LIST" + struct.pack("<I", 1000) + bytes(1000),
        b"LIST" + struct.pack("<I", 999) + bytes(999),  # without its byte of padding
        b"bext" + struct.pack("<I", 602) + bytes(602) + b"id3 " + struct.pack("<I", 9000) + bytes(9000),
        bytes(512),  # to the end of a sector
    ],
)
def test_chunks_behind_the_samples_are_not_samples(rest, tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, SPEECH, 16_000)
    path.write_bytes(path.read_bytes() + rest)
    for audio in (WaveFile.open(str(path)), AudioFile(str(path))):
        np.testing.assert_array_equal(audio.whole(), SPEECH / np.float32(32768))


@pytest.mark.parametrize("kind", ["NIST", "CAF", "VOC", "AVR", "SVX", "MPC2K", "MAT4"])
@pytest.mark.parametrize("share", [0.5, 0.999])
def test_other_headers_that_promise_more_are_refused(kind, share, tmp_path):
    path = tmp_path / "a.sph"
    soundfile.write(path, SPEECH, 16_000, "PCM_16", format=kind)
    assert len(AudioFile(str(path)).whole()) == 40_000
    content = path.read_bytes()
    path.write_bytes(content[: round(share * len(content))])
    words = "truncated: its header promises more samples than it holds"
    assert refusal(path, AudioError) == words
    report = convert_files([Job(path, tmp_path / "out" / "a.wav")], workers=1)
    assert report.failed == [(str(path), words)]


def test_gsm_in_wav_is_read_whole(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, SPEECH, 16_000, "GSM610")  # blocks of 65 bytes and 320 samples; the last is padding
    audio = AudioFile(str(path))
    assert audio.num_frames == len(audio.whole()) == len(converted(path)) == 126 * 320
    np.testing.assert_array_equal(audio.whole(), soundfile.read(path, dtype="float32")[0])
    assert_crops_are_pieces(path)


def test_streamed_caf_is_left_to_convert(ffmpeg, tmp_path):
    path = tmp_path / "a.caf"
    soundfile.write(path, SPEECH, 16_000, "PCM_16", format="CAF")
    content = path.read_bytes()
    place = content.index(b"data") + 4
    path.write_bytes(content[:place] + b"\xff" * 8 + content[place + 8 :])
    assert "convert it" in refusal(path)
    np.testing.assert_array_equal(converted(path), SPEECH)


def test_files_that_cannot_be_opened(tmp_path):
    (tmp_path / "empty.mp3").write_bytes(b"")
    (tmp_path / "byte.mp3").write_bytes(b"\xff")
    assert refusal(tmp_path / "empty.mp3", AudioError) == "cannot be read: empty, 0 bytes"
    assert refusal(tmp_path, AudioError) == "cannot be read: a folder, not a file"
    assert refusal(tmp_path / "absent.mp3", AudioError) == "cannot be read: no such file"
    assert "not wav, flac, ogg, opus or mp3" in refusal(tmp_path / "byte.mp3")
    (tmp_path / "zeros.mp3").write_bytes(b"\xff\xfb" + bytes(3000))
    assert (
        refusal(tmp_path / "zeros.mp3")
        == f"cannot be read: no MPEG audio frames found; convert it: {COMMAND}"
    )


def test_damage_in_mp3_is_named(tmp_path):
    path = tmp_path / "a.mp3"
    first = mp3(path, "CONSTANT")
    content = path.read_bytes()[first:]
    path.write_bytes(content[:2000] + bytes(4000) + content[6000:])
    words = f"damaged or truncated: no further MPEG audio frame found; convert it: {COMMAND}"
    assert refusal(path) == words


def test_what_the_decoder_prints_about_damage_is_hidden(tmp_path, capfd, monkeypatch):
    """All but the error: libmpg123 has several lines for this file, which one of several ranks shows."""
    path = tmp_path / "a.mp3"
    first = mp3(path, "CONSTANT")
    content = path.read_bytes()
    noise = np.random.default_rng(0).bytes(3000)
    for begin in (0, first):
        path.write_bytes(content[begin:4000] + noise + content[7000:])
        with suppress(AudioError):
            AudioFile(str(path)).whole()
        os.write(2, b"after it\n")
        assert capfd.readouterr().err == "after it\n"
    monkeypatch.setenv("WORLD_SIZE", "2")
    with suppress(AudioError):
        AudioFile(str(path)).whole()
    assert "mpg123" in capfd.readouterr().err


def test_messages_of_threads_that_decode_at_once_come_back(capfd):
    """The second thread would restore what the first has hidden."""
    entered = threading.Barrier(2)

    def decode():
        entered.wait()
        for _ in range(200):
            with hidden():
                os.write(2, b"noise\n")

    threads = [threading.Thread(target=decode) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.write(2, b"shown\n")
    assert capfd.readouterr().err == "shown\n"
