"""Packs: exact samples, added to, damaged, refused."""

import zlib

import numpy as np
import pytest
import soundfile
from conftest import voice

from audio import AudioError
from corpora._pack import Pack, read_int16, shard_path, write_pack


@pytest.fixture
def recordings(tmp_path):
    """Files of three formats -> their folder and paths."""
    paths = []
    for number, (suffix, subtype) in enumerate([("wav", "PCM_16"), ("flac", "PCM_16"), ("wav", "FLOAT")]):
        path = tmp_path / "audio" / f"s{number}" / f"a {number}.{suffix}"
        path.parent.mkdir(parents=True)
        soundfile.write(path, voice(number, 0, 0.2 + 0.1 * number), 16_000, subtype=subtype)
        paths.append(path.relative_to(tmp_path / "audio").as_posix())
    return tmp_path / "audio", paths


def test_samples_come_back_exactly(recordings, tmp_path):
    root, paths = recordings
    assert write_pack(root, [*paths, paths[0]], tmp_path / "pack") == 3
    pack = Pack(tmp_path / "pack")
    assert list(pack.entries) == paths and pack.verify() == []
    for path in paths[:2]:
        expected, _ = soundfile.read(root / path, dtype="int16")
        assert np.array_equal(pack.samples(path), expected)
    floats, _ = soundfile.read(root / paths[2])
    assert np.array_equal(pack.samples(paths[2]), np.clip(np.rint(floats * 32768), -32768, 32767))
    assert pack.samples(paths[1]).base is not None  # a view, not a copy
    assert {p.name for p in (tmp_path / "pack").iterdir()} == {"0000.npy", "index.tsv"}


def test_loud_floats_are_clipped_and_not_wrapped(tmp_path):
    soundfile.write(
        tmp_path / "a.wav", np.array([1.0, 1.5, -1.0, -2.0, 0.5 / 32768]), 16_000, subtype="FLOAT"
    )
    assert read_int16(str(tmp_path / "a.wav")).tolist() == [32767, 32767, -32768, -32768, 0]


def test_more_recordings_add_a_shard(recordings, tmp_path):
    root, paths = recordings
    assert write_pack(root, paths[:1], tmp_path / "pack") == 1
    first = shard_path(tmp_path / "pack", 0).read_bytes()
    assert write_pack(root, paths, tmp_path / "pack") == 2
    assert write_pack(root, paths, tmp_path / "pack") == 0
    assert shard_path(tmp_path / "pack", 0).read_bytes() == first
    pack = Pack(tmp_path / "pack")
    assert pack.num_shards == 2 and list(pack.entries) == paths and pack.verify() == []


def test_damage_is_found(recordings, tmp_path):
    root, paths = recordings
    write_pack(root, paths, tmp_path / "pack")
    shard = np.load(shard_path(tmp_path / "pack", 0), mmap_mode="r+")
    shard[Pack(tmp_path / "pack").entries[paths[1]].start] ^= 1
    shard.flush()
    assert Pack(tmp_path / "pack").verify() == [paths[1]]
    shard_path(tmp_path / "pack", 0).write_bytes(b"x")
    with pytest.raises(ValueError, match=r"0000\.npy: missing or damaged"):
        Pack(tmp_path / "pack").samples(paths[0])
    (tmp_path / "pack" / "index.tsv").write_text("a b\n")
    with pytest.raises(ValueError, match=r"index\.tsv:1: expected path, shard"):
        Pack(tmp_path / "pack")
    with pytest.raises(FileNotFoundError, match="no pack; make one"):
        Pack(tmp_path / "absent")


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (16_000, 2)])
def test_other_rates_and_channels_are_refused_before_writing(recordings, tmp_path, rate, channels):
    root, paths = recordings
    soundfile.write(root / "x.wav", np.zeros((4000, channels)), rate)
    with pytest.raises(AudioError, match=rf"x\.wav: {rate} Hz, {channels} channels; a pack holds 16000 Hz"):
        write_pack(root, [*paths, "x.wav"], tmp_path / "pack")
    assert not (tmp_path / "pack").exists()


def test_checksums_are_those_of_the_samples(recordings, tmp_path):
    root, paths = recordings
    write_pack(root, paths, tmp_path / "pack", workers=1)
    entry = Pack(tmp_path / "pack").entries[paths[0]]
    assert entry.crc32 == zlib.crc32(read_int16(str(root / paths[0])).tobytes())
