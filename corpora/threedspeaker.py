"""3D-Speaker: 10,000 speakers, devices, distances and dialects (Zheng et al. 2023, arXiv:2306.15354)."""

from corpora._corpus import Archive, Corpus, Listing, Part, Protocol, Tree, single
from corpora._keys import Lines, Lists, Recordings, verification

SERVER = "https://speech-lab-share-data.oss-cn-shanghai.aliyuncs.com/3D-Speaker"
PARTS = {
    "train.tar.gz-part-a": "4109addde41d88760947263f18117ac3",
    "train.tar.gz-part-b": "5a17ef2fa28b1b9e340277edffb8b51c",
    "train.tar.gz-part-c": "bd2ce08f5b51005b66afe484b01a4a59",
    "train.tar.gz-part-d": "5cd31d961d2d5211aea38b8b95f7239a",
    "train.tar.gz-part-e": "58f3fb7d28ae7f4b65ee35a1ed7ab106",
    "train.tar.gz-part-f": "be64551c030e8087562a10df2c74ccb1",
}
LEFT_OUT = "Device09"  # by all of the authors' recipes


def _paths(scp: Lines) -> dict[str, str]:
    """Lines `utterance path` -> the paths, which start at the folder that holds train, test and files."""
    paths: dict[str, str] = {}
    for line in scp:
        if len(line.fields) != 2:
            raise line.wrong('"utterance path"')
        utterance, path = line.fields
        paths[utterance] = path.lstrip("/")
    return paths


def recordings(scp: Lines, speakers: Lines) -> Recordings:
    """train_wav.scp and train_utt2spk -> the recordings of all devices but one."""
    paths = _paths(scp)
    for line in speakers:
        if len(line.fields) != 2 or line.fields[0] not in paths:
            raise line.wrong('"utterance speaker" of an utterance in train_wav.scp')
        utterance, speaker = line.fields
        if LEFT_OUT not in utterance:
            yield paths[utterance], speaker, ""


def trials(keys: Lines, scp: Lines) -> Lists:
    """Trials of utterances, and their paths."""
    paths = _paths(scp)
    return verification(keys, {name: [(path,)] for name, path in paths.items()}, paths.__getitem__)


CORPUS = Corpus(
    title="3D-Speaker",
    licence="CC BY-SA 4.0",
    access="open: https://3dspeaker.github.io",
    archives=(
        Archive(
            "train.tar.gz",
            tuple(Part(name, f"{SERVER}/{name}", md5) for name, md5 in PARTS.items()),
            "3dspeaker",
            (Tree(".", r"3dspeaker/train/.+\.wav"),),
            "c2cea55fd22a2b867d295fb35a2d3340",
        ),
        single(
            f"{SERVER}/test.tar.gz",
            Tree(".", r"3dspeaker/test/.+\.wav"),
            "3dspeaker",
            "45972606dd10d3f7c1c31f27acdfbed7",
        ),
        single(
            f"{SERVER}/3dspeaker_files.tar.gz",
            Tree("3dspeaker", r"files/train_utt2spk"),
            "3dspeaker/files",
            None,  # its authors changed it and give no checksum
        ),
    ),
    train=Listing(
        "3dspeaker", r"files/train_utt2spk", ("files/train_wav.scp", "files/train_utt2spk"), recordings
    ),
    protocols=tuple(
        Protocol(
            f"cross_{kind}",
            Tree("3dspeaker", r"files/test_wav\.scp"),
            (f"files/trials_cross_{kind}", "files/test_wav.scp"),
            trials,
        )
        for kind in ("device", "distance", "dialect")
    ),
)
