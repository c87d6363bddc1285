"""Recordings in tar files: found, read where they lie, and refused."""

import gzip
import io
import json
import os
import pickle
import tarfile

import numpy as np
import pytest
import soundfile
from conftest import assert_refused, run_here, voice

import runtime
import trainSpeakerNet
from audio.lists import read_train_list
from audio.named import NamedRecordings
from audio.pack import Pack
from audio.recording import AudioError, AudioFile
from audio.recordings import Recordings
from audio.tars import TarIndex
from audio.wave_file import WaveFile
from DatasetLoader import TrainData
from preparation.index import index_tars, read_tar
from preparation.kaldi import write_kaldi
from preparation.lists import Utterances


def sound(number=0, suffix="wav", duration_s=0.6):
    stream = io.BytesIO()
    settings = {"format": "OGG", "subtype": "OPUS"} if suffix == "opus" else {"format": suffix.upper()}
    soundfile.write(stream, voice(number, 0, duration_s), 16_000, **settings)
    return stream.getvalue()


def member(name, kind=tarfile.REGTYPE, **fields):
    info = tarfile.TarInfo(name)
    info.type = kind
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def tar_of(path, *members, **settings):
    """Names and contents, or headers without contents -> a tar of them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", **settings) as archive:
        for name, content in members:
            info = member(name) if isinstance(name, str) else name
            content = content.encode() if isinstance(content, str) else content
            info.size = info.size or len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


SPEAKER = ("a.spk", "anna")


@pytest.fixture
def shards(tmp_path):
    """Two tars, in wespeaker's and in WebDataset's manner -> their folder, paths and bytes of recordings."""
    sounds = [sound(n, suffix) for n, suffix in enumerate(("wav", "flac", "opus", "mp3", "wav"))]
    folder = tmp_path / "shards"
    long = "x" * 120 + "/" + "y" * 120
    tar_of(
        folder / "0.tar",
        (member("./", tarfile.DIRTYPE), b""),
        ("./a.spk", "anna"),
        ("./a.wav", sounds[0]),
        ("../b c.FLAC", sounds[1]),
        ("../b c.spk", "bob\n"),
        format=tarfile.GNU_FORMAT,
    )
    tar_of(
        folder / "more" / "1.tar",
        ("/v1.2/c.json", json.dumps({"text": "?", "speaker_id": 7})),
        ("/v1.2/c.opus", sounds[2]),
        ("note.txt", "of no sample"),
        ("/v1.2/README", "of none either"),
        (f"{long}.mp3", sounds[3]),
        (f"{long}.txt", "yes"),
        (f"{long}.json", json.dumps({"spk": "bob", "speaker": "bob"})),
        ("later.spk", "nobody"),
        ("d.m4a", b"?"),
        ("e.wav", sounds[4]),
        ("e.spk", "anna"),
        format=tarfile.PAX_FORMAT,
    )
    paths = ["0.tar/a.wav", "0.tar/../b c.FLAC", "more/1.tar//v1.2/c.opus", f"more/1.tar/{long}.mp3"]
    return folder, [*paths, "more/1.tar/e.wav"], sounds


def test_the_recordings_of_an_index_are_those_that_were_put_into_the_tars(shards, tmp_path):
    folder, paths, sounds = shards
    result = run_here("dataprep.py", "--index", "--from", folder, "--save_path", tmp_path, "--workers", 2)
    train_list = tmp_path / "train_list.txt"
    assert result.stdout.splitlines() == [
        f"{train_list}: 5 recordings of 3 speakers in 2 tars",
        f"{folder}/tar_index.npz: where they are; give --train_path {folder}",
        "skipped: 1 members .m4a",
        "skipped: 2 members .txt",
        "skipped: 1 members without suffix",
        "skipped: 4 samples without a recording",
        "next: python trainSpeakerNet.py --model ResNetSE34L --trainfunc angleproto "
        f"--train_list {train_list} --train_path {folder} --test_list ''",
    ], result
    listed = read_train_list(str(train_list))
    assert listed.paths == paths
    assert [listed.speakers[label] for label in listed.labels] == ["anna", "bob", "7", "bob", "anna"]
    for order in ([0, 1, 2, 3, 4], [4, 1]):
        recordings = Recordings(str(folder), [paths[number] for number in order])
        recordings.require(range(len(order)), "--train_path")
        assert recordings.sizes() == [len(sounds[number]) for number in order]
        assert recordings.durations() is None and len({*recordings.identities()}) == len(order)
        for place, number in enumerate(order):
            file = tmp_path / f"{number}.{paths[number].rpartition('.')[2].lower()}"
            file.write_bytes(sounds[number])
            assert type(recordings[place]) is (WaveFile if file.suffix == ".wav" else AudioFile)
            assert np.array_equal(recordings[place].whole(), Recordings("", [str(file)])[0].whole())
            crops = [
                each.crop(2000, np.random.default_rng(0)) for each in (recordings[place], AudioFile(file))
            ]
            assert np.array_equal(*crops)


def test_check_and_pack_read_tars(shards, tmp_path):
    folder, paths, sounds = shards
    words = ("--index", "--check", "--from", folder, "--save_path", tmp_path, "--workers", 1)
    assert run_here("dataprep.py", *words).returncode == 0
    report = json.loads((tmp_path / "check" / "own" / "check.json").read_text())
    assert report["num_files"] == 5 and report["findings"] == []
    (tmp_path / "train_list.txt").write_text(f"anna\t{paths[0]}\nbob\t{paths[1]}\nbob\t0.tar/absent.wav\n")
    words = ("--check", "--pack", "--from", folder, "--save_path", tmp_path, "--workers", 1)
    result = run_here("dataprep.py", *words)
    assert result.returncode == 0, result
    report = json.loads((tmp_path / "check" / "own" / "check.json").read_text())
    found = sorted((finding["kind"], finding["path"]) for finding in report["findings"])
    assert found == [("missing", "0.tar/absent.wav"), *(("unlisted", path) for path in sorted(paths[2:]))]
    pack = Pack(tmp_path / "pack" / "own")
    assert pack.paths == paths[:2]
    assert np.array_equal(pack.samples(1), soundfile.read(io.BytesIO(sounds[1]), dtype="int16")[0])
    os.utime(folder / "0.tar", ns=(1, 1))
    assert_refused(
        run_here("dataprep.py", *words), "0.tar: changed since 0.tar/a.wav was found in it; index it"
    )


def test_kaldi_directories_can_not_name_members(shards, tmp_path):
    folder, paths, _ = shards
    index_tars(folder, tmp_path, workers=0)
    with pytest.raises(ValueError, match=r"wav\.scp can't name recordings in the tar files of"):
        write_kaldi(Utterances([paths[0]], ["anna"], [""]), folder, tmp_path / "kaldi")


def test_what_is_excluded_may_be_in_the_index_alone(shards, corpus, tmp_path):
    folder, paths, _ = shards
    index_tars(folder, tmp_path, 1)
    (tmp_path / "list").write_text("".join(f"s{n}\t{path}\n" for n, path in enumerate(paths[:4])))
    (tmp_path / "excluded").write_text(f"{paths[4]}\n")
    changes = {"train_list": tmp_path / "list", "train_path": folder, "exclude": tmp_path / "excluded"}
    words = corpus.options(tmp_path / "exp", trainfunc="softmax", nPerSpeaker=1, test_list="", **changes)
    data = TrainData.read(trainSpeakerNet.parse(words).options, runtime.CPU)
    assert data.utterances.num_excluded == 0 and data.utterances.num_to_exclude == 1
    assert data.dataset.crops.dtype is np.float32


def test_trials_name_members_also_by_other_suffixes(shards, tmp_path):
    folder, paths, _ = shards
    index_tars(folder, tmp_path, 1)
    named = NamedRecordings(str(folder), "--test_path")
    assert named.test("0.tar/../b c").path == named.test("0.tar/../b c").path == "0.tar/../b c"
    assert named.test("0.tar/a").path == paths[0] and named.known(paths[2]) and not named.known("x")
    assert len(named.recordings([named.test("0.tar/a.flac")])[0].whole()) == 9600
    with pytest.raises(
        ValueError, match=r"--enrol_path x: --test_path .* has an index of tars, which have to"
    ):
        NamedRecordings(str(folder), "--test_path", enrol_root="x")


def test_what_is_not_in_the_index_is_looked_for_in_the_folder(shards, tmp_path):
    folder, paths, sounds = shards
    index_tars(folder, tmp_path, 1)
    (folder / "f.wav").write_bytes(sounds[0])
    recordings = Recordings(str(folder), ["f.wav", paths[0], "0.tar/x.wav"])
    assert np.array_equal(recordings[0].whole(), recordings[1].whole())
    with pytest.raises(AudioError, match=r"0\.tar/x\.wav: cannot be read: Not a directory"):
        recordings[2]
    with pytest.raises(FileNotFoundError, match=r"x\.wav: no such file; is --train_path .* right"):
        recordings.require([1, 2], "--train_path")


def test_a_segment_and_a_copy_of_a_member(shards, tmp_path):
    folder, paths, _ = shards
    index_tars(folder, tmp_path, 1)
    recordings = Recordings(str(folder), paths[1:2], spans=np.array([[0.1, 0.35]]))
    assert np.array_equal(recordings[0].whole(), Recordings(str(folder), paths[1:2])[0].whole()[1600:5600])
    again = pickle.loads(pickle.dumps(recordings.file(0)))
    assert again == recordings.file(0) == f"{folder}/{paths[1]}" and again.size == recordings.file(0).size


def test_tars_that_change_or_vanish_after_they_were_indexed_are_refused(shards, tmp_path):
    folder, paths, _ = shards
    index_tars(folder, tmp_path, 1)
    with (folder / "0.tar").open("ab") as stream:
        stream.write(b"\0")
    with pytest.raises(
        ValueError, match=r"0\.tar: changed since 0.tar/a\.wav was found in it; index it again"
    ):
        Recordings(str(folder), paths)
    Recordings(str(folder), paths[2:])  # which are in the other tar
    (folder / "0.tar").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"0\.tar: cannot be read: No such file .*; 0.tar/a\.wav is in"
    ):
        Recordings(str(folder), paths)
    (folder / TarIndex.INDEX).write_bytes(b"x")
    with pytest.raises(
        ValueError, match=r"tar_index\.npz: damaged: .*; index it again: dataprep\.py --index"
    ):
        Recordings(str(folder), paths)


def test_a_file_that_is_cut_after_it_was_opened(shards, tmp_path):
    folder, paths, _ = shards
    index_tars(folder, tmp_path, 1)
    recording = Recordings(str(folder), paths)[0]
    os.truncate(folder / "0.tar", 3000)
    with pytest.raises(AudioError, match=rf"^{folder}/0\.tar/a\.wav: truncated: \d+ of 9600 samples"):
        recording.whole()


def cut(path, size):
    os.truncate(path, size)


def gap(path):
    content = bytearray(path.read_bytes())
    content[512 + 512 : 512 + 512 + 20] = b"z" * 20  # the header of the second member
    path.write_bytes(content)


LINK = member("link.wav", tarfile.SYMTYPE, linkname="/etc/passwd")
HOSTILE = {  # members, what is done to the tar -> words of the error
    "no speaker": (
        [("a.wav", b"x")],
        None,
        r"a\.wav: no speaker; expected a\.spk, or a\.json with spk, speak",
    ),
    "empty speaker": ([("a.wav", b"x"), ("a.spk", " \n")], None, r"a\.wav: no speaker"),
    "two recordings": (
        [("a.wav", b"x"), SPEAKER, ("a.flac", b"x")],
        None,
        r"a\.wav: .* there is a\.flac, too",
    ),
    "the same twice": ([("a.wav", b"x"), SPEAKER, ("a.wav", b"x")], None, r"a\.wav: .* there is a\.wav, too"),
    "a key twice": (
        [("a.wav", b"x"), SPEAKER, ("b.wav", b"x"), ("b.spk", "bob"), ("a.wav", b"y"), SPEAKER],
        None,
        "a: a second sample of this name, or its members aren't one after another",
    ),
    "two speakers": (
        [SPEAKER, ("a.json", '{"spk": "bob"}'), ("a.wav", b"x")],
        None,
        "two speakers, anna and bob",
    ),
    "no JSON": ([("a.json", "{"), ("a.wav", b"x")], None, r"a\.json: Expecting property name"),
    "deep JSON": ([("a.json", "[" * 100_000), ("a.wav", b"x")], None, r"a\.json: maximum recursion"),
    "a list": (
        [("a.json", "[1]"), ("a.wav", b"x")],
        None,
        r"a\.json: expected a JSON object with spk, speaker",
    ),
    "null": ([("a.json", '{"spk": null}'), ("a.wav", b"x")], None, r"a\.json: spk is null, expected a text"),
    "true": ([("a.json", '{"spk": true}'), ("a.wav", b"x")], None, r"a\.json: spk is true, expected a text"),
    "not UTF-8": ([("a.spk", b"\xff"), ("a.wav", b"x")], None, r"a\.spk: 'utf-8' codec can't decode"),
    "long text": (
        [("a.spk", bytes((1 << 20) + 1))],
        None,
        r"a\.spk: 1048577 bytes, expected a speaker's name",
    ),
    "a tab": ([("a.spk", "x\ty"), ("a.wav", b"x")], None, r"a\.wav: no list can hold 'x\\ty'"),
    "a line end": (
        [("a\n.wav", b"x"), ("a\n.spk", "x")],
        None,
        r"a\n\.wav: no list can hold '0.tar/a\\n\.wav'",
    ),
    "a name that isn't UTF-8": ([("\udcff.wav", b"x"), ("\udcff.spk", "x")], None, "no list can hold"),
    "a link": ([SPEAKER, (LINK, b"")], None, r"a member is neither a file nor a folder, .*'link\.wav'"),
    "a hard link": ([(member("b.wav", tarfile.LNKTYPE, linkname="a"), b"")], None, "nor a folder.*'b.wav'"),
    "a device": ([(member("b.wav", tarfile.CHRTYPE), b"")], None, r"nor a folder.*'b\.wav'"),
    "sparse": ([(member("b.wav", tarfile.GNUTYPE_SPARSE), b"")], None, r"nor a folder.*'b\.wav'"),
    "sparse by pax": (
        [(member("b.wav", pax_headers={"GNU.sparse.map": "0,1", "GNU.sparse.size": "9"}), b"x")],
        None,
        r"nor a folder: 'b\.wav'",
    ),
    "negative size by pax": (
        [SPEAKER, (member("b.wav", pax_headers={"size": "-512"}), b"")],
        None,
        r"nor a folder: 'b\.wav'",
    ),
    "large size by pax": (
        [SPEAKER, (member("b.wav", pax_headers={"size": "99999999999"}), b"")],
        None,
        r"damaged, truncated or not a tar, after b\.wav: unexpected end of data",
    ),
    "cut in the data": (
        [SPEAKER, ("a.wav", bytes(5000))],
        lambda path: cut(path, 4096),
        r"after a\.wav: unexp",
    ),
    "cut in a header": ([SPEAKER, ("a.wav", b"x")], lambda path: cut(path, 1300), r"after a\.spk: truncated"),
    "cut at a member": (
        [SPEAKER, ("a.wav", b"x")],
        lambda path: cut(path, 2048),
        r"after a\.wav: empty header",
    ),
    "a damaged header": ([SPEAKER, ("a.wav", b"x")], gap, r"after a\.spk: bad checksum"),
    "no tar": ([], lambda path: path.write_bytes(b"RIFF" * 200), r"not a tar, at its start: "),
    "an empty file": ([], lambda path: path.write_bytes(b""), r"not a tar, at its start: empty header"),
    "joined": (
        [SPEAKER, ("a.wav", b"x")],
        lambda path: path.write_bytes(2 * path.read_bytes()),
        "goes on after its end, like tars that were joined by cat",
    ),
    "compressed": (
        [SPEAKER],
        lambda path: path.write_bytes(gzip.compress(path.read_bytes())),
        "compressed, so",
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_tars_are_one_line(tmp_path, kind):
    members, damage, words = HOSTILE[kind]
    path = tar_of(tmp_path / "0.tar", *members)
    if damage:
        damage(path)
    with pytest.raises(ValueError, match=rf"^{tmp_path}/0\.tar: [\S\s]*{words}"):
        read_tar(tmp_path, "0.tar")


def test_folders_without_tars_or_with_compressed_ones_are_refused(tmp_path):
    words = ("--index", "--save_path", tmp_path / "new", "--workers", 1, "--from", tmp_path)
    assert_refused(
        run_here("dataprep.py", "--index"), "tar or parquet files, not for corpora; give --from DIR"
    )
    assert_refused(
        run_here("dataprep.py", *words, "--corpus", "musan", "--generate"), "not for corpora; give --from"
    )
    assert_refused(run_here("dataprep.py", *words), f"--from {tmp_path}: no tar files; expected .tar files")
    tar_of(tmp_path / "0.tar", SPEAKER)
    assert_refused(
        run_here("dataprep.py", *words),
        f"{tmp_path}: no wav, flac, ogg, opus or mp3 in its tar files; skipped: 1",
    )
    (tmp_path / "1.tar.gz").write_bytes(b"")
    assert_refused(
        run_here("dataprep.py", *words), "1.tar.gz: compressed, so that nothing in it can be read alone"
    )
    assert not list(tmp_path.glob("*.npz"))
